package core

import (
	"slices"
	"sync"

	"github.com/batonmq/baton/core/field"
)

// QueueSpec asks for a queue.
type QueueSpec struct {
	Name       string // "" lets the broker make a name
	Durable    bool   // outlives the process; an exclusive queue never does
	Exclusive  bool   // used by the declaring session only, and deleted with it
	AutoDelete bool   // deleted when its last consumer goes
	Passive    bool   // only ask whether it exists
	NoWait     bool   // return before it is durable
	Args       field.Table

	named bool // by the broker: the name may be a reserved one
}

// QueueInfo is what a declaration answers.
type QueueInfo struct {
	Name      string
	Messages  int // ready to be delivered
	Consumers int
}

// Queue holds messages in order until consumers take and settle them.
//
// Every place the queue ever gave out is in exactly one of these states, and for those in memory the entry is held by one holder:
//
//	returned   put back after a delivery                       (heap by Seq)
//	head       waiting, loaded ahead of the consumers          (deque)
//	cold       waiting, only in the store: a range of places   (no memory)
//	tail       waiting, as published                           (deque, one entry per place)
//	out        with a consumer                                 (the front-end holds the Delivery, with its message or without)
//	settled    gone
//
// A durable entry in memory may be bare: its message is in the store only, and comes back before it is delivered.
//
// Places grow in this order: whatever is returned or out is below everything in head, head is below cold, cold below tail. So the
// next message is always the first of returned, head, cold, tail.
type Queue struct {
	vhost      *VHost
	spec       QueueSpec
	id         QueueID             // 0 for a transient queue
	owner      *Session            // of an exclusive queue
	subscriber *Subscriber         // whose queue it is
	inbound    map[string]*binding // by identity; guarded by vhost.mu

	mu        sync.Mutex
	deleted   bool
	next      Seq // the place the next publish takes
	returned  entryHeap
	head      deque[entry]
	cold      coldRange
	tail      deque[entry]
	bared     Seq         // entries of the tail below it were looked at by pageOut
	consumers []*Consumer // all, in the order of their making
	listed    []*Consumer // those that may have credit
	turn      int         // index in listed of the one to be served next
	exclusive bool        // the one consumer is exclusive
	used      bool        // it is on record that it has had a consumer; of durable auto-delete queues alone
	loading   bool        // the loader has the queue on its list
	unsaid    int64       // bytes in memory that the broker's sum does not show yet
	fresh     Seq         // the place that became visible this moment; 0 at any other
	alarmed   int64       // when the alarm rings, at the latest; 0: it is not set
	alarm     alarm       // for the expiry of the next message
	stats     QueueStats
	ops       []Op    // scratch for one commit
	ranges    []Range // scratch for its ranges
}

// entry is one place in memory.
type entry struct {
	seq       Seq
	msg       *Message // nil: bare
	delivered uint32   // how often before
	durable   bool     // its record is, or will be, in the store
	hidden    bool     // reserved: not to be delivered yet
}

// coldRange is the places from From to To, of which n live ones are in the store and none in memory.
type coldRange struct {
	from, to Seq
	n        int
}

// entryCost is what an entry costs in memory beside its message.
const entryCost = 64

// push makes m the last entry and returns its place. The caller dispatches, and commits first when the entry is durable.
func (q *Queue) push(m *Message, durable, hidden bool) Seq {
	seq := q.next
	q.next++
	q.stats.Published++
	q.stats.Ready++
	q.account(entryCost + m.held())
	q.tail.pushBack(entry{seq: seq, msg: m, durable: durable, hidden: hidden})
	return seq
}

// freed gives back what an entry that leaves memory cost.
func (q *Queue) freed(m *Message) {
	if m != nil {
		q.account(-m.let())
	}
	q.account(-entryCost)
}

// show makes a reserved entry visible.
func (q *Queue) show(seq Seq) {
	if q.tail.len() == 0 {
		return // purged with the queue
	}
	// The tail has one entry per place, so the place tells the index.
	if i := seq - q.tail.at(0).seq; i < Seq(q.tail.len()) {
		q.tail.at(int(i)).hidden = false
	}
}

// peek returns the next entry to be delivered, nil when there is none that can be delivered now.
func (q *Queue) peek() *entry {
	var e *entry
	switch {
	case len(q.returned) > 0:
		e = &q.returned[0]
	case q.head.len() > 0:
		e = q.head.at(0)
	case q.cold.n == 0 && q.tail.len() > 0:
		e = q.tail.at(0)
	}
	if e == nil || e.hidden || e.msg == nil {
		return nil
	}
	return e
}

// pop removes the entry that peek returned.
func (q *Queue) pop() entry {
	switch {
	case len(q.returned) > 0:
		return q.returned.pop()
	case q.head.len() > 0:
		return q.head.popFront()
	}
	return q.tail.popFront()
}

// dispatch hands out what it can: entries in order, consumers in turn.
func (q *Queue) dispatch() {
	for len(q.listed) > 0 {
		if q.wanting() {
			q.requestLoad()
		}
		e := q.peek()
		if e == nil {
			return
		}
		if e.msg.Expires != 0 {
			n, more := q.dropExpired()
			if more {
				return
			}
			if n > 0 {
				continue
			}
		}
		c := q.pick()
		if c == nil {
			break
		}
		c.spec.Receiver.Deliver(q.handOut(c, c.spec.NoAck))
	}
	q.watch()
}

// pick returns the next consumer that has credit, and takes it. Consumers without credit leave the list until they are woken.
func (q *Queue) pick() *Consumer {
	for len(q.listed) > 0 {
		if q.turn >= len(q.listed) {
			q.turn = 0
		}
		c := q.listed[q.turn]
		if c.take() {
			q.turn++
			return c
		}
		q.unlist(q.turn)
	}
	return nil
}

func (q *Queue) unlist(i int) {
	q.listed[i].listed = false
	q.listed = slices.Delete(q.listed, i, i+1)
	if q.turn > i {
		q.turn--
	}
}

// handOut takes the next entry out for c, or for a get when c is nil. Without acknowledgements that also settles it. A durable entry
// that is out does not count for the memory budget: it is in the store, and what its consumer does must not stop publishers.
func (q *Queue) handOut(c *Consumer, noAck bool) Delivery {
	e := q.pop()
	q.stats.Ready--
	d := Delivery{
		Message: e.msg, Consumer: c, Seq: e.seq, Delivered: e.delivered, Redelivered: e.delivered > 0,
		queue: q, durable: e.durable,
	}
	q.stats.Delivered++
	q.stats.Unsettled++
	if d.Redelivered {
		q.stats.Redone++
	}
	if d.durable {
		q.freed(d.Message)
	}
	switch {
	case noAck:
		q.forget(&d)
		q.commitRanges(OpSettle)
	case c != nil && c.open:
		q.vhost.broker.openBytes.Add(int64(d.Message.Size()))
	}
	return d
}

// forget ends d's entry; its record ends with the next commitRanges.
func (q *Queue) forget(d *Delivery) {
	q.stats.Unsettled--
	q.stats.Settled++
	if d.durable {
		q.addRange(d.Seq)
	} else {
		q.freed(d.Message)
	}
}

// giveBack returns d's entry to its place; bare, when it was unloaded, or memory is short and the store has the message. tried says that its consumer may
// have it, which ends on record with the next commitRanges.
func (q *Queue) giveBack(d *Delivery, tried bool) {
	q.stats.Unsettled--
	q.stats.Ready++
	e := entry{seq: d.Seq, msg: d.Message, delivered: d.Delivered, durable: d.durable}
	if tried {
		e.delivered++
	}
	if d.durable {
		if tried {
			q.addRange(d.Seq)
		}
		q.account(entryCost)
		if e.msg != nil && q.vhost.broker.crowded() && e.msg.Stored() {
			e.msg = nil
		}
		if e.msg != nil {
			q.account(e.msg.held())
		}
	}
	q.returned.push(e)
}

// addRange notes a place for the next commitRanges.
func (q *Queue) addRange(seq Seq) {
	if n := len(q.ranges); n > 0 && q.ranges[n-1].Last+1 == seq {
		q.ranges[n-1].Last = seq
		return
	}
	q.ranges = append(q.ranges, Range{First: seq, Last: seq})
}

// commitRanges records kind for the places noted since the last call.
func (q *Queue) commitRanges(kind OpKind) {
	if len(q.ranges) == 0 {
		return
	}
	q.ops = append(q.ops[:0], Op{Kind: kind, Queue: q.id, Ranges: q.ranges})
	q.vhost.broker.store.Commit(q.ops)
	q.ranges = q.ranges[:0]
}

// settle applies one outcome to deliveries of this queue, in one record.
func (q *Queue) settle(ds []Delivery, o Outcome) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		for i := range ds {
			if !ds[i].durable {
				q.freed(ds[i].Message)
			}
		}
		q.say()
		return
	}
	for i := range ds {
		if o == Requeue {
			q.giveBack(&ds[i], true)
		} else {
			q.forget(&ds[i])
		}
	}
	if o == Requeue {
		q.commitRanges(OpMark)
		q.dispatch()
		return
	}
	q.commitRanges(OpSettle)
}

// purge drops what waits, not what consumers hold, and returns the number of messages dropped.
func (q *Queue) purge() int {
	n := q.stats.Ready
	for len(q.returned) > 0 {
		q.discard(q.returned.pop(), purged)
	}
	for q.head.len() > 0 {
		q.discard(q.head.popFront(), purged)
	}
	if q.cold.n > 0 {
		q.discarded(q.cold.from, q.cold.to)
		q.ranges = append(q.ranges, Range{First: q.cold.from, Last: q.cold.to})
		q.stats.Ready -= q.cold.n
		q.stats.Settled += uint64(q.cold.n)
		q.cold = coldRange{}
	}
	// A reserved entry stays: its record comes after this one.
	for q.tail.len() > 0 && !q.tail.at(0).hidden {
		q.discard(q.tail.popFront(), purged)
	}
	q.commitRanges(OpSettle)
	return n - q.stats.Ready
}

// reason is why a queue drops a message that waits.
type reason uint8

const (
	purged  reason = iota // a client asked for it
	missing               // the store does not have it any more
	expired               // its time is over
)

// discard drops an entry that was taken out; its record ends with the next commitRanges.
func (q *Queue) discard(e entry, why reason) {
	q.discarded(e.seq, e.seq)
	q.stats.Ready--
	q.stats.Settled++
	if why == expired {
		q.stats.Expired++
	}
	q.freed(e.msg)
	if e.durable {
		q.addRange(e.seq)
	}
}

// discarded tells the subscriber whose queue it is that places ended undelivered.
func (q *Queue) discarded(first, last Seq) {
	if q.subscriber != nil {
		q.subscriber.discarded(first, last)
	}
}

// account adds to the bytes the queue holds in memory. The broker's sum follows in steps, to keep queues off one cache line.
func (q *Queue) account(n int64) {
	const step = 4 << 10
	q.unsaid += n
	if q.unsaid >= step || q.unsaid <= -step {
		q.say()
	}
}

func (q *Queue) say() {
	q.vhost.broker.hold(q.unsaid)
	q.unsaid = 0
}

// wake lists c again, as it may have credit now, and serves it.
func (q *Queue) wake(c *Consumer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.cancelled || c.listed {
		return
	}
	c.listed = true
	q.listed = append(q.listed, c)
	q.dispatch()
}

// drop removes c and reports whether the queue is to be deleted with it.
func (q *Queue) drop(c *Consumer) (last bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.cancelled {
		return false
	}
	c.cancelled = true
	for i, o := range q.listed {
		if o == c {
			q.unlist(i)
			break
		}
	}
	for i, o := range q.consumers {
		if o == c {
			q.consumers = slices.Delete(q.consumers, i, i+1) // a queue must not keep the connection of a consumer that has gone
			break
		}
	}
	if len(q.consumers) == 0 {
		q.exclusive = false
	}
	return q.spec.AutoDelete && len(q.consumers) == 0 && !q.deleted
}

// end empties the queue for its deletion and tells its consumers, unless it has consumers or messages that protect it. It returns the
// number of messages that were ready. What is out is settled later, to no effect.
func (q *Queue) end(ifUnused, ifEmpty bool) (messages int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	object := q.vhost.queueName(q.spec.Name)
	switch {
	case ifUnused && len(q.consumers) > 0:
		return 0, inUse("delete", object)
	case ifEmpty && q.stats.Ready > 0:
		return 0, &Error{Kind: InUse, Op: "delete", Name: object, Text: object + " not empty"}
	}
	messages = q.stats.Ready
	q.deleted = true
	for _, c := range q.consumers {
		c.cancelled, c.listed = true, false
		c.spec.Receiver.Cancelled(c)
	}
	q.consumers, q.listed = nil, nil
	for len(q.returned) > 0 {
		q.freed(q.returned.pop().msg)
	}
	for q.head.len() > 0 {
		q.freed(q.head.popFront().msg)
	}
	for q.tail.len() > 0 {
		q.freed(q.tail.popFront().msg)
	}
	q.cold = coldRange{}
	if q.alarm.ring != nil {
		q.vhost.broker.expiries.cancel(&q.alarm)
	}
	q.say()
	q.vhost.broker.past.add(q.stats)
	q.stats = QueueStats{}
	return messages, nil
}

// info answers a declaration.
func (q *Queue) info() QueueInfo {
	q.dropAllExpired()
	q.mu.Lock()
	defer q.mu.Unlock()
	return QueueInfo{Name: q.spec.Name, Messages: q.stats.Ready, Consumers: len(q.consumers)}
}
