package core

import (
	"cmp"
	"slices"
)

// outgoing is a message that is out, or released.
type outgoing struct {
	delivery Delivery // released: without a message; without a consumer if no link has asked for the release
	match    Match
	recorded bool   // its id is on record, or about to be
	sent     bool   // the client may have it
	moved    bool   // it was a share's
	released bool   // the client has it [MQTT-4.3.3-3]; what is left is to forget the id
	turn     uint64 // of a released one: its place in the order of releases
	id       uint16 // 0 where there is nothing
}

// passingMost is how many bytes may wait for the records of their ids: about what an outbox takes, where they are to go all at once.
const passingMost = 256 << 10

// Ready implements Receiver for the consumer of the subscriber's queue. What is about to be sent counts as if it was.
func (l *Link) Ready() bool {
	if l.passing.Load() >= passingMost {
		l.stalled.Store(true)
		if l.passing.Load() >= passingMost { // what has passed before the store above wakes nobody
			return false
		}
	}
	return l.receiver.Ready()
}

// Cancelled implements Receiver. The queue ends only with the subscriber, and that only without a link.
func (l *Link) Cancelled(*Consumer) {}

// Deliver implements Receiver: it gives the message an id and hands it over. An id under which a message goes out exactly once is on
// record before the client hears of it, so that a successor knows it too.
//
// ![MQTT-4.4.0-1] The id of a message that goes out at least once is not recorded: after a crash the message comes under another one.
// It would cost a record for each message, and the client could do nothing else with what it gains.
func (l *Link) Deliver(d Delivery) {
	sub := l.sub
	match, may := sub.matchNext(&d)
	sub.mu.Lock()
	defer sub.mu.Unlock()
	c, known := sub.uncarry(d.Seq)
	l.served(sub.queue.stats.Ready)
	switch {
	case known && c.shared != nil:
		match = *c.shared
	case known:
		match.Level = c.level
	case !may:
		l.forget(d)
		sub.queue.stats.Discarded++
		return
	case match.Level == AtMostOnce:
		l.forget(d)
		sub.queue.stats.DeliveredAuto++
		l.receiver.Push(d.Message, &match)
		return
	default:
		c.id = sub.newID()
	}
	l.handOver(outgoing{id: c.id, delivery: d, match: match, recorded: c.recorded, moved: c.shared != nil}, nil)
}

// handOver has out out, and sends it once its id is on record where it must be; ops are recorded with it. What need not be on record
// waits for what must and is before it: both go out in the order of the queue, and again in that order. sub.mu is held.
func (l *Link) handOver(out outgoing, ops []Op) {
	sub := l.sub
	o := sub.keep(out)
	if !sub.durable || (o.match.Level < ExactlyOnce || o.recorded) && l.passing.Load() == 0 {
		sub.vhost.commit(true, ops...)
		l.send(o)
		return
	}
	size := int64(o.delivery.Message.Size()) + messageCost
	l.passing.Add(size)
	op := Op{Kind: OpNone, Done: l, Tag: uint64(size)<<16 | uint64(o.id)} // not before those that wait [MQTT-4.6.0-1]
	if !o.recorded && o.match.Level == ExactlyOnce {
		o.recorded = true
		op = sub.outgoingDefinition(o.id, o.delivery.Seq, op.Done, op.Tag)
	}
	sub.vhost.broker.store.Commit(append(ops, op))
}

// forget settles a delivery that the client need not answer for. The queue's lock is held.
func (l *Link) forget(d Delivery) {
	q := l.sub.queue
	q.forget(&d)
	q.commitRanges(OpSettle)
	// Without shares the consumer that would wait for this credit is the one being served. Any other without a prefetch limit that met the budget
	// meanwhile has more than OpenFloor outstanding, and what it settles wakes it.
	l.returnCredit()
	l.session.broker.openBytes.Add(-int64(d.Message.Size()))
}

// Complete implements Completion for the record of an outgoing id. The tag is the id, and above it what the message counts in passing.
func (l *Link) Complete(tag uint64, err error) {
	if err != nil {
		return // the broker ends
	}
	sub, id := l.sub, uint16(tag)
	sub.mu.Lock()
	if l.holds() { // else the message is carried, and perhaps out again
		l.send(sub.out.get(id))
	}
	sub.mu.Unlock()
	if l.passing.Add(-int64(tag>>16)) < passingMost && l.stalled.Swap(false) {
		l.session.broker.resumes.add(l.session) // queue locks may not be taken here
	}
}

// send hands o over. sub.mu is held.
func (l *Link) send(o *outgoing) {
	o.sent = true
	l.receiver.Send(o.delivery.Message, o.id, &o.match, o.delivery.Redelivered)
}

// keep notes what is out, and returns where: see inflight.add. sub.mu is held.
func (sub *Subscriber) keep(o outgoing) *outgoing {
	if sub.out == nil {
		sub.out = new(inflight)
	}
	return sub.out.add(o)
}

// rest lets go of an empty table: a subscriber that is idle is small.
func (sub *Subscriber) rest() {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if sub.out.len() == 0 {
		sub.out = nil
	}
}

// keepReleased notes an id that the next link asks the client to forget. sub.mu is held.
func (sub *Subscriber) keepReleased(id uint16, recorded bool) {
	sub.releases++
	sub.keep(outgoing{id: id, match: Match{Level: ExactlyOnce}, recorded: recorded, sent: true, released: true, turn: sub.releases})
}

// releaseAgain has a new link ask for the release of what was released, in that order [MQTT-4.4.0-1] [MQTT-4.6.0-4]. The queue's lock
// is held.
func (sub *Subscriber) releaseAgain(l *Link) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	all := slices.Collect(sub.out.all) // nothing is out yet
	slices.SortFunc(all, func(a, b *outgoing) int { return cmp.Compare(a.turn, b.turn) })
	for _, o := range all {
		o.delivery.Consumer = l.consumer
		l.window.used.Add(1)
		l.receiver.Release(o.id)
	}
}

// take finds what is out, or released, under id and matches the client's answer. The gate is held.
func (l *Link) take(id uint16, level Level, released bool) *outgoing {
	o := l.sub.out.get(id)
	if o == nil || !o.sent || o.match.Level != level || o.released != released || !l.holds() {
		return nil
	}
	return o
}

// finish takes what the client has answered for in the last way there is. The gate is held.
func (l *Link) finish(id uint16, level Level, released bool) (o outgoing, ok bool) {
	l.sub.mu.Lock()
	defer l.sub.mu.Unlock()
	at := l.take(id, level, released)
	if at == nil {
		return outgoing{}, false
	}
	o = *at
	l.sub.out.remove(id)
	return o, true
}

// Ack ends a message that was sent at least once, and out until now [MQTT-4.3.2-3]: the client has it. It reports false for an id that is not out so.
func (l *Link) Ack(id uint16) bool {
	l.sub.gate.Lock()
	defer l.sub.gate.Unlock()
	o, ok := l.finish(id, AtLeastOnce, false)
	if !ok {
		return false
	}
	l.session.Settle([]Delivery{o.delivery}, Accept)
	return true
}

// AckAll is Ack for many ids, in the order of the client's answers, and returns how many of them were out so. The locks are taken, the
// record is written and credit is given back once for all: a client that is busy has hundreds of answers in what is read at a time.
// It is called by the connection's reader alone.
func (l *Link) AckAll(ids []uint16) (known int) {
	l.sub.gate.Lock()
	defer l.sub.gate.Unlock()
	s := l.session
	s.prepare()
	s.acked = l.finishAll(ids, s.acked[:0])
	s.Settle(s.acked, Accept)
	clear(s.acked)
	return len(s.acked)
}

// finishAll is finish for many that were sent at least once, whose deliveries it appends to ds. The gate is held.
func (l *Link) finishAll(ids []uint16, ds []Delivery) []Delivery {
	l.sub.mu.Lock()
	defer l.sub.mu.Unlock()
	for _, id := range ids {
		if o := l.take(id, AtLeastOnce, false); o != nil {
			ds = append(ds, o.delivery)
			l.sub.out.remove(id)
		}
	}
	return ds
}

// Received notes that the client has a message that is sent exactly once, which is not sent again from then on [MQTT-4.3.3-6]. c is completed when that is on record: the id may then be
// released. It reports false, and leaves c alone, for an id that is not out so.
func (l *Link) Received(id uint16, c Completion, tag uint64) (known bool, err error) {
	sub := l.sub
	sub.gate.Lock()
	defer sub.gate.Unlock()
	if !l.holds() { // the client must not forget an id under which it is about to be sent the message again
		return false, ErrTakenOver
	}
	d, known, again := l.release(id)
	if !known {
		if again { // what the first answer caused was recorded before
			l.session.Confirm(c, tag)
		}
		return again, nil
	}
	op := Op{Kind: OpNone, Done: c, Tag: tag}
	if sub.durable {
		op = sub.outgoingDefinition(id, 0, c, tag)
	}
	sub.queue.settleWith(&d, op)
	d.Consumer.grant(0, int64(d.Size()))
	return true, nil
}

// release notes that what is out under id is released, and returns its delivery. again: it was before. The gate is held.
func (l *Link) release(id uint16) (d Delivery, known, again bool) {
	sub := l.sub
	sub.mu.Lock()
	defer sub.mu.Unlock()
	o := l.take(id, ExactlyOnce, false)
	if o == nil {
		return Delivery{}, false, l.take(id, ExactlyOnce, true) != nil
	}
	d = o.delivery
	sub.releases++
	o.released, o.turn, o.delivery.Message = true, sub.releases, nil
	return d, true, false
}

// Refused ends a message that the client did not want, or that it never got: there is nothing to release [MQTT-4.4.0-2].
func (l *Link) Refused(id uint16) bool {
	sub := l.sub
	sub.gate.Lock()
	defer sub.gate.Unlock()
	o, ok := l.finish(id, ExactlyOnce, false)
	if !ok {
		return false
	}
	op := Op{Kind: OpNone}
	if o.recorded {
		op = Op{Kind: OpRemove, Key: sub.idKey(keyOutgoing, id)}
	}
	sub.queue.settleWith(&o.delivery, op)
	o.delivery.Consumer.grant(1, int64(o.delivery.Size()))
	return true
}

// Released ends the id of a message that was sent exactly once, and released until now [MQTT-4.3.3-5]: the client has forgotten it.
func (l *Link) Released(id uint16) bool {
	sub := l.sub
	sub.gate.Lock()
	defer sub.gate.Unlock()
	o, ok := l.finish(id, ExactlyOnce, true)
	if !ok {
		return false
	}
	if o.recorded {
		sub.vhost.broker.store.Commit([]Op{{Kind: OpRemove, Key: sub.idKey(keyOutgoing, id)}})
	}
	if c := o.delivery.Consumer; c != nil {
		c.grant(1, 0)
	}
	return true
}

// settleWith ends d's entry and records op with it, as one unit. With the queue its subscriber's records are gone, and no new one is
// made.
func (q *Queue) settleWith(d *Delivery, op Op) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return
	}
	q.forget(d)
	q.noted(OpSettle)
	q.ops = append(q.ops, op)
	q.vhost.broker.store.Commit(q.ops)
}
