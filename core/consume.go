package core

import (
	"context"
	"fmt"
)

// Outcome is what a consumer decides about a delivery.
type Outcome uint8

// The outcomes.
const (
	Accept  Outcome = iota // done with
	Reject                 // not wanted: dropped
	Requeue                // it failed: put back at its place, to be delivered again
	Return                 // put back likewise, because its consumer has gone or gives it back as it is
)

// putsBack reports whether the delivery is to be delivered again.
func (o Outcome) putsBack() bool { return o == Requeue || o == Return }

// Consume subscribes to a queue. Deliveries may arrive before it returns; OnReady runs before the first of them.
func (s *Session) Consume(_ context.Context, spec ConsumerSpec) (*Consumer, error) {
	const op = "consume"
	if err := s.allow(op, QueueClass, Read, cleanName(spec.Queue), ""); err != nil {
		return nil, err
	}
	q, err := s.find(op, spec.Queue)
	if err != nil {
		return nil, err
	}
	priority, err := consumerPriority(op, s.vhost.queueName(q.spec.Name), spec.Args)
	if err != nil {
		return nil, err
	}
	c := &Consumer{spec: spec, session: s, queue: q, priority: priority, final: spec.NoAck}
	if spec.Window == nil || spec.Window.limit.Load() == 0 {
		c.spec.Window, c.open, c.lent = NewWindow(s.broker.opt.OpenWindow), !spec.NoAck, true
	}
	s.sweep()
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.admit(op, c); err != nil {
		return nil, err
	}
	if s.consumers == nil {
		s.consumers = map[*Consumer]struct{}{}
	}
	s.consumers[c] = struct{}{}
	c.tell("consumer.created")
	if spec.OnReady != nil {
		spec.OnReady()
	}
	q.dispatch()
	return c, nil
}

// sweep forgets consumers that ended with their queues, each time their number has doubled.
func (s *Session) sweep() {
	if len(s.consumers) < s.sweepAt {
		return
	}
	for c := range s.consumers {
		if c.ended() {
			delete(s.consumers, c)
		}
	}
	s.sweepAt = max(16, 2*len(s.consumers))
}

// Get takes one message from a queue. ok is false when none can be had now; remaining is how many are ready behind it.
func (s *Session) Get(ctx context.Context, queue string, noAck bool) (d Delivery, remaining int, ok bool, err error) {
	if err := s.mayGet(cleanName(queue)); err != nil {
		return Delivery{}, 0, false, err
	}
	q, err := s.find("get", queue)
	if err != nil {
		return Delivery{}, 0, false, err
	}
	if !noAck && s.gets >= s.broker.opt.OpenWindow {
		object := s.vhost.queueName(queue)
		return Delivery{}, 0, false, &Error{
			Kind: Exhausted, Op: "get", Name: object,
			Text: fmt.Sprintf("%d messages were got on this connection and not settled; settle some first", s.gets),
		}
	}
	s.broker.showPassed()
	ok, err = q.next(ctx, noAck, func() {
		d = q.handOut(nil, noAck)
		q.got(noAck)
		q.watch()
	}, &remaining)
	if err == nil && !ok {
		q.gotNothing()
	}
	if ok && !noAck {
		s.gets++
	}
	return d, remaining, ok, err
}

// next calls out, with mu held, when the next message can be handed out, and reports whether there is one: it is read back where it is in
// the store alone, and waited for where dead letters are before it that must go on first. final says that it ends with that. remaining is
// how many messages are ready then.
func (q *Queue) next(ctx context.Context, final bool, out func(), remaining *int) (ok bool, err error) {
	for {
		if final {
			if err := q.vhost.broker.doubt.wait(ctx); err != nil {
				return false, err
			}
		}
		ok, again, gone := q.tryNext(out, remaining)
		if ok || !again {
			return ok, nil
		}
		if err := q.awaitNext(ctx, gone); err != nil {
			return false, err
		}
	}
}

// tryNext does it if that is possible now. again says that there may be a message behind those that were dropped, in the store, or, where
// gone is not nil, behind dead letters, after that is closed.
func (q *Queue) tryNext(out func(), remaining *int) (ok, again bool, gone <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer func() { *remaining = q.stats.Ready }()
	q.touch()
	_, more := q.dropExpired()
	switch {
	case q.deleted:
		return false, false, nil
	case more && !q.mayDrop():
		return false, true, q.dying.someGone()
	case more:
		return false, true, nil
	case q.front().peek() == nil:
		return false, q.wanting(), nil
	}
	out()
	return true, false, nil
}

// awaitNext returns when the next message may be there: it loads what is wanted, or waits until gone is closed.
func (q *Queue) awaitNext(ctx context.Context, gone <-chan struct{}) error {
	if gone == nil {
		if err := q.load(); err != nil {
			return err
		}
		return context.Cause(ctx)
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-q.vhost.broker.failed:
		return q.vhost.broker.Err()
	}
}

// Settle applies one outcome to deliveries of any mix of queues and consumers, in the order given. Each delivery is settled once; the
// front-end keeps the list of those that are outstanding.
func (s *Session) Settle(ds []Delivery, o Outcome) {
	s.eachQueue(ds, func(q *Queue, ds []Delivery) { q.settle(ds, o) })
	s.grant(ds)
}

// eachQueue calls f with each stretch of deliveries of one queue.
func (s *Session) eachQueue(ds []Delivery, f func(q *Queue, ds []Delivery)) {
	for i := 0; i < len(ds); {
		j := i + 1
		for j < len(ds) && ds[j].queue == ds[i].queue {
			j++
		}
		f(ds[i].queue, ds[i:j])
		i = j
	}
}

// grant gives the credit of settled deliveries back. No lock may be held.
func (s *Session) grant(ds []Delivery) {
	for i := 0; i < len(ds); {
		c, bytes, j := ds[i].Consumer, int64(0), i
		for j < len(ds) && ds[j].Consumer == c {
			bytes += int64(ds[j].Size())
			j++
		}
		if c != nil {
			c.grant(j-i, bytes)
		} else {
			s.gets -= j - i
		}
		i = j
	}
}
