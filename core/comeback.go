package core

import (
	"cmp"
	"slices"

	"github.com/batonmq/baton/core/field"
)

// A message that comes back again and again keeps its consumers busy to no avail. A queue may have a limit to how often that happens, after
// which the message is a dead letter; and it may let a message rest before it is ready again, for longer each time.

// quorumDeliveryLimit is how often a message of a quorum queue may come back that says nothing else.
const quorumDeliveryLimit = 20

// headerDeliveryCount tells a consumer how often a message came back, where the queue counts.
const headerDeliveryCount = "x-delivery-count"

// deliveryLimit is how often a message may come back; false: there is no limit.
func (st *QueueSettings) deliveryLimit() (n int64, limited bool) {
	switch {
	case st == nil:
		return 0, false
	case st.DeliveryLimit != nil:
		return *st.DeliveryLimit, *st.DeliveryLimit >= 0
	}
	return quorumDeliveryLimit, st.Type == QuorumType
}

// counts reports whether consumers are told how often a message came back.
func (st *QueueSettings) counts() bool {
	return st != nil && (st.Type == QuorumType || st.DeliveryLimit != nil || st.Retry != RetryDisabled)
}

// Properties is the property block that a consumer is to be sent: the message's, with the count of deliveries where the queue counts.
func (d *Delivery) Properties() []byte {
	if d.Delivered == 0 || !d.queue.settings.Load().counts() {
		return d.Message.Props
	}
	p, err := field.ParseProperties(d.Message.Props)
	if err == nil {
		p.Headers = with(p.Headers, headerDeliveryCount, int64(d.Delivered))
		if block, err := field.AppendProperties(nil, &p); err == nil {
			return block
		}
	}
	return d.Message.Props // headers that nobody can have published
}

// resting is messages that came back and are not ready yet.
type resting struct {
	list  []rested // by due
	alarm alarm
}

type rested struct {
	lane  *lane
	entry entry
	due   int64 // in the broker's clock
}

// rest is how long a message rests, in milliseconds, that came back for the n-th time.
func (st *QueueSettings) rest(n uint32, o Outcome) int64 {
	switch {
	case st == nil || st.Retry == RetryDisabled, st.Retry == RetryFailed && o != Requeue, st.Retry == RetryReturned && o != Return:
		return 0
	}
	d := st.RetryMin * int64(n) // both have 33 bits at most
	if st.RetryMax > 0 {
		d = min(d, st.RetryMax)
	}
	return d
}

// putBack puts deliveries back, but for those that came back too often.
func (q *Queue) putBack(ds []Delivery, o Outcome) {
	st := q.settings.Load()
	limit, limited := st.deliveryLimit()
	over := 0
	for i := range ds {
		d := &ds[i]
		switch {
		case limited && int64(d.Delivered) >= limit:
			ds[over], ds[i] = ds[i], ds[over]
			over++
		case st != nil && st.Retry != RetryDisabled:
			q.giveBackLater(d, st.rest(d.Delivered+1, o))
		default:
			q.giveBack(d, true)
		}
	}
	q.commitRanges(OpMark)
	for i := range ds[:over] {
		if q.buries() {
			q.reject(&ds[i], deliveryLimit)
		} else {
			q.forget(&ds[i])
			q.stats.Discarded++
		}
	}
	q.commitRanges(OpSettle)
}

// giveBackLater is giveBack for a message that rests. A crash ends its rest.
func (q *Queue) giveBackLater(d *Delivery, ms int64) {
	if ms == 0 {
		q.giveBack(d, true)
		return
	}
	if q.resting == nil {
		q.resting = new(resting)
		q.resting.alarm.ring = q.rise
	}
	r := q.resting
	at := rested{lane: q.laneOf(d), entry: q.takeBack(d, true), due: q.vhost.broker.now() + ms}
	i, _ := slices.BinarySearchFunc(r.list, at.due+1, func(e rested, due int64) int { return cmp.Compare(e.due, due) })
	r.list = slices.Insert(r.list, i, at)
	q.stats.Resting++
	if i == 0 {
		q.vhost.broker.expiries.set(&r.alarm, at.due)
	}
}

// rise makes those ready that have rested.
func (q *Queue) rise() {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.resting
	now, n := q.vhost.broker.now(), 0
	for ; n < len(r.list) && r.list[n].due <= now; n++ {
		q.awake(&r.list[n])
	}
	r.list = slices.Delete(r.list, 0, n)
	if len(r.list) > 0 {
		q.vhost.broker.expiries.set(&r.alarm, r.list[0].due)
	}
	q.shorten()
	q.dispatch()
}

// awake puts one message that rests back to its place.
func (q *Queue) awake(e *rested) {
	q.stir()
	q.stats.Resting--
	q.ready(1, int64(e.entry.size))
	e.lane.returned.push(e.entry)
	if e.lane != &q.lane {
		q.ladder.lane(e.lane.priority) // it has something visible again
	}
}

// awakeAll ends the rest of all.
func (q *Queue) awakeAll() {
	if q.resting == nil {
		return
	}
	for i := range q.resting.list {
		q.awake(&q.resting.list[i])
	}
	q.resting.list = nil
	q.vhost.broker.expiries.cancel(&q.resting.alarm)
}
