package core

import (
	"fmt"
	"slices"

	"github.com/batonmq/baton/core/field"
)

// Whose turn it is. Consumers of the highest priority (x-priority) that have credit are served, one after the other; those of a lower
// one only while none of these has any. A queue with a single active consumer (x-single-active-consumer) serves that one alone, whatever
// credit it has. Its successor is of the highest priority, and among equals the one that has been there for longest; no one takes the
// place of a consumer that stays.

// singleActive reports whether one consumer is served at a time.
func (st *QueueSettings) singleActive() bool { return st != nil && st.SingleActive }

// consumerPriority is the priority that a consumer's arguments ask for.
func consumerPriority(op, object string, args field.Table) (int64, error) {
	const arg = "x-priority"
	v, ok := args.Get(arg)
	if !ok {
		return 0, nil
	}
	n, ok := field.Int(v)
	if !ok {
		text := fmt.Sprintf("invalid arg '%s' for %s: %s", arg, object, notInteger(v))
		return 0, &Error{Kind: Invalid, Op: op, Name: object, Text: text}
	}
	return n, nil
}

// admit makes c a consumer of the queue, or refuses it beside the others.
func (q *Queue) admit(op string, c *Consumer) error {
	object := q.vhost.queueName(q.spec.Name)
	switch {
	case q.deleted:
		return q.vhost.noQueue(op, q.spec.Name)
	case q.exclusive || c.spec.Exclusive && (q.single || len(q.consumers) > 0):
		return &Error{Kind: Refused, Op: op, Name: object, Text: object + " in exclusive use"}
	}
	q.consumers = append(q.consumers, c)
	q.vhost.broker.consumers.Add(1)
	q.noteUse()
	q.exclusive = c.spec.Exclusive
	switch {
	case !q.single:
		q.list(c)
	case q.active == nil:
		q.active = c
		q.list(c)
	}
	return nil
}

// list notes that c may have credit: it is served after its equals.
func (q *Queue) list(c *Consumer) {
	i := len(q.listed)
	for i > 0 && q.listed[i-1].priority < c.priority {
		i--
	}
	if i == 0 {
		q.turn = 0
	}
	c.listed = true
	q.listed = slices.Insert(q.listed, i, c)
}

func (q *Queue) unlist(i int) {
	q.listed[i].listed = false
	q.listed = slices.Delete(q.listed, i, i+1)
	if q.turn > i {
		q.turn--
	}
}

// pick returns the next consumer that has credit, and takes it. Consumers without credit leave the list until they are woken.
func (q *Queue) pick() *Consumer {
	for len(q.listed) > 0 {
		if q.turn >= len(q.listed) || q.listed[q.turn].priority < q.listed[0].priority {
			q.turn = 0
		}
		c := q.listed[q.turn]
		if c.take() {
			q.turn++
			return c
		}
		q.unlist(q.turn)
		c.wait()
	}
	q.stall()
	return nil
}

// wake lists c again, as it may have credit now, and serves it.
func (q *Queue) wake(c *Consumer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.cancelled || c.retired || c.listed {
		return
	}
	q.list(c)
	q.dispatch()
}

// retire ends the deliveries to c if it is the single active consumer, whose place stays taken until it is dropped.
func (q *Queue) retire(c *Consumer) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.cancelled || q.active != c {
		return false
	}
	c.retired = true
	q.unlistConsumer(c)
	return true
}

func (q *Queue) unlistConsumer(c *Consumer) {
	if i := slices.Index(q.listed, c); i >= 0 {
		q.unlist(i)
	}
}

// drop removes c, and serves its successor if it was the single active consumer. It reports whether the queue is to be deleted with c.
func (q *Queue) drop(c *Consumer) (last bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.cancelled {
		return false
	}
	c.cancelled = true
	c.tell("consumer.deleted")
	q.unlistConsumer(c)
	if i := slices.Index(q.consumers, c); i >= 0 {
		q.vhost.broker.consumers.Add(-1)
		q.consumers = slices.Delete(q.consumers, i, i+1) // a queue must not keep the connection of a consumer that has gone
	}
	if len(q.consumers) == 0 {
		q.exclusive = false
		q.touch()
	}
	if q.active == c {
		q.activate()
	}
	return q.spec.AutoDelete && len(q.consumers) == 0 && !q.deleted
}

// activate makes the next consumer the active one.
func (q *Queue) activate() {
	q.active = nil
	for _, c := range q.consumers {
		if q.active == nil || c.priority > q.active.priority {
			q.active = c
		}
	}
	if q.active != nil {
		q.list(q.active)
		q.dispatch()
	}
}
