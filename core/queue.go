package core

import (
	"sync"
	"sync/atomic"

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

// DeclaredQueue is what a declaration answers.
type DeclaredQueue struct {
	Name      string
	Messages  int // ready to be delivered
	Consumers int
}

// Queue holds messages in order until consumers take and settle them. They lie in its lane.
type Queue struct {
	vhost      *VHost
	spec       QueueSpec
	owner      *Session            // of an exclusive queue
	subscriber *Subscriber         // whose queue it is
	inbound    map[string]*binding // by identity; guarded by vhost.mu

	governed atomic.Pointer[governed]      // the policies that apply; nil: none. It changes under vhost.mu
	settings atomic.Pointer[QueueSettings] // nil: none. It changes under mu

	mu        sync.Mutex
	lane      lane        // where its messages lie
	ladder    *ladder     // the lanes of higher priorities; nil: there are no priorities
	consumers []*Consumer // all, in the order of their making
	listed    []*Consumer // those that may have credit, the highest priority first
	active    *Consumer   // the one of a single queue, also when it is retired; nil: there is none
	turn      int         // index in listed of the one to be served next
	deleted   bool
	exclusive bool          // the one consumer is exclusive
	single    bool          // one consumer is active at a time; never changed
	used      bool          // it is on record that it has had a consumer; of durable auto-delete queues alone
	loading   bool          // the loader has the queue on its list
	unsaid    int64         // bytes in memory that the broker's sum does not show yet
	alarmed   int64         // when the alarm rings, at the latest; 0: it is not set
	alarm     alarm         // for the expiry of the next message
	lease     *lease        // of a queue that goes when it is not used
	resting   *resting      // messages that came back and are not ready yet; nil: there never were any
	dying     *dying        // messages that are dead and have not gone on; nil: there never were any
	slow      *slowness     // nil: consumers have always taken what was ready
	shorter   chan struct{} // closed when the queue is shorter than its share again; nil: nobody waits for that
	stats     QueueStats    // they change behind stir
	stirred   stirred
	ops       []Op // scratch for one commit
}

// push makes m the last entry of its lane and returns its place. The caller dispatches, and commits first when the entry is durable.
func (q *Queue) push(m *Message, durable, hidden bool) place {
	l := q.laneFor(m)
	if durable && l.id == 0 {
		q.define(l)
	}
	q.ready(1, int64(len(m.Body)))
	q.stats.Published++
	q.account(entryCost + m.held())
	return place{lane: l, seq: l.push(m, durable, hidden)}
}

// durable reports whether the queue outlives the process.
func (q *Queue) durable() bool { return q.lane.id != 0 }

// isDurable is durable for who does not hold mu: the queue of a share may become it.
func (q *Queue) isDurable() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.durable()
}

// isSubscribers reports whether the queue is a subscriber's, or a share's: no session but their own links may use it.
func (q *Queue) isSubscribers() bool {
	return q.subscriber != nil || q.spec.Exclusive && q.owner == nil
}

// ready adds to what waits.
func (q *Queue) ready(n int, bytes int64) {
	q.stir()
	q.stats.Ready += n
	q.stats.ReadyBytes += bytes
	if q.shorter != nil && n < 0 {
		q.tellShorter()
	}
}

// freed gives back what an entry that leaves memory cost.
func (q *Queue) freed(m *Message) {
	if m != nil {
		q.account(-m.let())
	}
	q.account(-entryCost)
}

// dispatch hands out what it can: entries in order, consumers in turn.
func (q *Queue) dispatch() {
	for len(q.listed) > 0 && q.stats.Ready > 0 {
		l := q.front()
		e := l.peek()
		if (e == nil || l.cold.n > 0) && q.wanting() {
			q.requestLoad()
		}
		if e == nil {
			return
		}
		if e.msg.mayExpire() {
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

// handOut takes the next entry out for c, or for a get when c is nil. Without acknowledgements that also settles it. A durable entry
// that is out does not count for the memory budget: it is in the store, and what its consumer does must not stop publishers.
func (q *Queue) handOut(c *Consumer, noAck bool) Delivery {
	l := q.front()
	e := l.pop()
	q.ready(-1, -int64(e.size))
	d := Delivery{
		Message: e.msg, Consumer: c, Seq: e.seq, Delivered: uint32(e.delivered), Redelivered: e.delivered > 0,
		queue: q, lane: l.priority, durable: e.durable,
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
		if c != nil {
			q.stats.DeliveredAuto++
		}
		q.forget(&d)
		q.commitRanges(OpSettle)
	case c != nil && c.open:
		q.vhost.broker.openBytes.Add(int64(d.Message.Size()))
	}
	return d
}

// forget ends d's entry; its record ends with the next commitRanges.
func (q *Queue) forget(d *Delivery) {
	q.stir()
	q.stats.Unsettled--
	q.stats.Settled++
	if d.durable {
		q.note(q.laneOf(d), Range{First: d.Seq, Last: d.Seq})
	} else {
		q.freed(d.Message)
	}
}

// giveBack returns d's entry to its place; bare, when it was unloaded, or memory is short and the store has the message. tried says that its consumer may
// have it, which ends on record with the next commitRanges.
func (q *Queue) giveBack(d *Delivery, tried bool) {
	q.ready(1, int64(d.bodySize()))
	q.laneOf(d).returned.push(q.takeBack(d, tried))
}

// takeBack makes an entry of a delivery again.
func (q *Queue) takeBack(d *Delivery, tried bool) entry {
	q.stir()
	q.stats.Unsettled--
	e := entry{seq: d.Seq, msg: d.Message, size: uint32(d.bodySize()), delivered: tries(d.Delivered), durable: d.durable}
	if tried {
		e.delivered = tries(d.Delivered + 1)
	}
	if d.durable {
		if tried {
			q.note(q.laneOf(d), Range{First: d.Seq, Last: d.Seq})
		}
		q.account(entryCost)
		if e.msg != nil && q.vhost.broker.crowded() && e.msg.Stored() {
			e.msg = nil
		}
		if e.msg != nil {
			q.account(e.msg.held())
		}
	}
	return e
}

// note adds a place to those that the next commitRanges records.
func (q *Queue) note(l *lane, r Range) {
	n := len(l.ranges)
	switch {
	case n > 0 && l.ranges[n-1].Last+1 == r.First:
		l.ranges[n-1].Last = r.Last
		return
	case n == 0 && l != &q.lane:
		q.ladder.noted = append(q.ladder.noted, l)
	}
	l.ranges = append(l.ranges, r)
}

// commitRanges records kind for the places noted since the last call.
func (q *Queue) commitRanges(kind OpKind) {
	if q.noted(kind); len(q.ops) > 0 {
		q.vhost.broker.store.Commit(q.ops)
	}
}

// noted makes q.ops the records of kind for the places noted since the last call. They are to be committed before any other is noted.
func (q *Queue) noted(kind OpKind) {
	q.ops = q.ops[:0]
	q.ops = q.lane.noted(kind, q.ops)
	if q.ladder != nil {
		for _, l := range q.ladder.noted {
			q.ops = l.noted(kind, q.ops)
		}
		q.ladder.noted = q.ladder.noted[:0]
	}
}

// settle applies one outcome to deliveries of this queue, in one record.
func (q *Queue) settle(ds []Delivery, o Outcome) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		q.settleDeleted(ds)
		return
	}
	if o.putsBack() {
		q.putBack(ds, o)
		q.shorten()
		q.dispatch()
		return
	}
	buries := o == Reject && q.buries()
	for i := range ds {
		if buries {
			q.reject(&ds[i], rejected)
		} else {
			q.forget(&ds[i])
		}
	}
	if o == Reject && !buries {
		q.stats.Discarded += uint64(len(ds))
	}
	q.commitRanges(OpSettle)
}

// settleDeleted gives back what deliveries cost whose queue is gone.
func (q *Queue) settleDeleted(ds []Delivery) {
	for i := range ds {
		if !ds[i].durable {
			q.freed(ds[i].Message)
		}
	}
	q.say()
}

// reject makes d's entry a dead letter.
func (q *Queue) reject(d *Delivery, why reason) {
	q.stir()
	q.stats.Unsettled--
	if d.durable { // what is out does not count
		q.account(entryCost)
		if d.Message != nil {
			q.account(d.Message.held())
		}
	}
	q.die(q.laneOf(d), entry{seq: d.Seq, msg: d.Message, size: uint32(d.bodySize()), delivered: tries(d.Delivered), durable: d.durable}, why)
}

// purge drops what waits, not what consumers hold, and returns the number of messages dropped.
func (q *Queue) purge() int {
	q.awakeAll()
	n := q.stats.Ready
	for l := range q.lanes {
		q.purgeLane(l)
	}
	q.commitRanges(OpSettle)
	return n - q.stats.Ready
}

func (q *Queue) purgeLane(l *lane) {
	for len(l.returned) > 0 {
		q.discard(l, l.returned.pop(), purged)
	}
	for l.head.len() > 0 {
		q.discard(l, l.head.popFront(), purged)
	}
	if l.cold.n > 0 {
		q.discarded(l.cold.from, l.cold.to)
		q.note(l, Range{First: l.cold.from, Last: l.cold.to})
		q.ready(-l.cold.n, -l.cold.bytes)
		q.stats.Settled += uint64(l.cold.n)
		q.stats.Discarded += uint64(l.cold.n)
		l.cold = coldRange{}
	}
	// A reserved entry stays: its record comes after this one.
	for l.tail.len() > 0 && !l.tail.at(0).hidden {
		q.discard(l, l.tail.popFront(), purged)
	}
}

// reason is why a queue drops a message that waits.
type reason uint8

const (
	purged  reason = iota // a client asked for it
	missing               // the store does not have it any more
	// Those from here on make it a dead letter.
	expired       // its time is over
	rejected      // a consumer does not want it
	maxlen        // the queue is too long
	deliveryLimit // it came back too often
)

// String returns RabbitMQ's word for a reason that makes a dead letter.
func (r reason) String() string {
	switch r {
	case expired:
		return "expired"
	case rejected:
		return "rejected"
	case maxlen:
		return "maxlen"
	case deliveryLimit:
		return "delivery_limit"
	case purged, missing:
	}
	return "dropped"
}

// discard drops an entry that was taken out of l; its record ends with the next commitRanges.
func (q *Queue) discard(l *lane, e entry, why reason) {
	q.discarded(e.seq, e.seq)
	q.ready(-1, -int64(e.size))
	switch why {
	case expired:
		q.stats.Expired++
	case maxlen:
		q.stats.Overflowed++
	default:
	}
	if why > missing && q.buries() {
		q.die(l, e, why)
		return
	}
	q.stats.Settled++
	q.stats.Discarded++
	q.freed(e.msg)
	if e.durable {
		q.note(l, Range{First: e.seq, Last: e.seq})
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

// end empties the queue for its deletion and tells its consumers, unless it has consumers or messages that protect it. It returns the
// number of messages that were ready. What is out is settled later, to no effect.
func (q *Queue) end(ifUnused, ifEmpty bool) (messages int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	object := q.vhost.queueName(q.spec.Name)
	switch {
	case ifUnused && len(q.consumers) > 0:
		return 0, inUse("delete", object)
	case ifEmpty && q.stats.Ready+q.stats.Resting > 0:
		return 0, &Error{Kind: InUse, Op: "delete", Name: object, Text: object + " not empty"}
	}
	q.awakeAll()
	messages = q.stats.Ready
	q.deleted = true
	for _, c := range q.consumers {
		c.cancelled, c.listed = true, false
		c.tell("consumer.deleted")
		c.spec.Receiver.Cancelled(c)
	}
	q.vhost.broker.consumers.Add(int64(-len(q.consumers)))
	q.consumers, q.listed, q.active = nil, nil, nil
	for l := range q.lanes {
		q.release(l)
	}
	for q.dying != nil && q.dying.list.len() > 0 {
		q.freed(q.dying.list.popFront().entry.msg)
	}
	if q.dying != nil {
		q.dying.tell()
	}
	if q.alarm.ring != nil {
		q.vhost.broker.expiries.cancel(&q.alarm)
	}
	if q.lease != nil {
		q.vhost.broker.expiries.cancel(&q.lease.alarm)
	}
	q.say()
	q.vhost.broker.churn.deleted.Add(1)
	q.stir()
	q.stats.Ready, q.stats.ReadyBytes, q.stats.Unsettled, q.stats.Resting = 0, 0, 0, 0
	if q.shorter != nil {
		q.tellShorter()
	}
	return messages, nil
}

// release empties a lane whose queue has ended.
func (q *Queue) release(l *lane) {
	for len(l.returned) > 0 {
		q.freed(l.returned.pop().msg)
	}
	for l.head.len() > 0 {
		q.freed(l.head.popFront().msg)
	}
	for l.tail.len() > 0 {
		q.freed(l.tail.popFront().msg)
	}
	l.head, l.tail, l.cold = deque[entry]{}, deque[entry]{}, coldRange{}
}

// info answers a declaration.
func (q *Queue) info() DeclaredQueue {
	q.dropAllExpired()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.touch()
	return DeclaredQueue{Name: q.spec.Name, Messages: q.stats.Ready, Consumers: len(q.consumers)}
}
