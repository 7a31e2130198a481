package core

import "slices"

// outgoing is a message on its way to a subscriber's client.
type outgoing struct {
	delivery Delivery
	match    Match
	recorded bool // its id is on record
	sent     bool // it was handed to a link, this one or one before
	released bool // the client has it; what is left is to forget the id
}

// Ready implements Receiver for the consumer of the subscriber's queue.
func (l *Link) Ready() bool { return l.receiver.Ready() }

// Cancelled implements Receiver. The queue ends only with the subscriber, and that only without a link.
func (l *Link) Cancelled(*Consumer) {}

// Deliver implements Receiver: it gives the message an id and hands it over. An id under which a message goes out exactly once is on
// record before the client hears of it, so that a successor knows it too.
func (l *Link) Deliver(d Delivery) {
	sub := l.sub
	match := sub.table.Load().match(d.Message)
	sub.mu.Lock()
	defer sub.mu.Unlock()
	id, known := sub.carried[d.Seq]
	if match.Level == AtMostOnce && !known {
		l.forget(d)
		l.receiver.Push(d.Message, &match)
		return
	}
	if known {
		delete(sub.carried, d.Seq)
		match.Level = ExactlyOnce // as it went out before, whatever the subscriptions say now
	} else {
		id = sub.newID()
	}
	o := &outgoing{delivery: d, match: match, recorded: known}
	sub.keep(id, o)
	if match.Level < ExactlyOnce || !sub.durable || known {
		l.send(id, o, d.Redelivered)
		return
	}
	o.recorded = true
	sub.vhost.broker.store.Commit([]Op{sub.outgoingDefinition(id, d.Seq, l, uint64(id))})
}

// forget settles a delivery that the client need not answer for. The queue's lock is held.
func (l *Link) forget(d Delivery) {
	q := l.sub.queue
	q.forget(&d)
	q.commitRanges(OpSettle)
	l.window.used.Add(-1) // the consumer that would wait for it is the one being served
}

// Complete implements Completion for the record of an outgoing id.
func (l *Link) Complete(tag uint64, err error) {
	if err != nil {
		return // the broker ends
	}
	sub := l.sub
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if o := sub.out[uint16(tag)]; o != nil && !o.sent && !o.released && sub.link.Load() == l {
		l.send(uint16(tag), o, o.delivery.Redelivered)
	}
}

// send hands o over. sub.mu is held.
func (l *Link) send(id uint16, o *outgoing, again bool) {
	o.sent = true
	l.receiver.Send(o.delivery.Message, id, &o.match, again)
}

// keep lists o as the latest on its way. sub.mu is held.
func (sub *Subscriber) keep(id uint16, o *outgoing) {
	if sub.out == nil {
		sub.out = map[uint16]*outgoing{}
	}
	sub.out[id] = o
	if len(sub.order) > 16 && len(sub.order) > 2*len(sub.out) {
		sub.compactOrder()
	}
	sub.order = append(sub.order, id)
}

// compactOrder drops the ids that are gone, and all but the last mention of those that were used again.
func (sub *Subscriber) compactOrder() {
	seen := make(map[uint16]bool, len(sub.out))
	kept := make([]uint16, 0, len(sub.out))
	for _, id := range slices.Backward(sub.order) {
		if sub.out[id] != nil && !seen[id] {
			seen[id] = true
			kept = append(kept, id)
		}
	}
	slices.Reverse(kept)
	sub.order = kept
}

// newID returns an id that nothing has. The window holds fewer messages than there are ids. sub.mu is held.
func (sub *Subscriber) newID() uint16 {
	for {
		sub.lastID++
		if sub.lastID != 0 && sub.out[sub.lastID] == nil && !sub.isCarried(sub.lastID) {
			return sub.lastID
		}
	}
}

// isCarried reports whether a place that was not delivered since the restart has the id. Few places do, and only for a moment.
func (sub *Subscriber) isCarried(id uint16) bool {
	for _, c := range sub.carried {
		if c == id {
			return true
		}
	}
	return false
}

// sendAgain hands what is on its way to a new link [MQTT-4.4.0-1]. The queue's lock is held.
func (sub *Subscriber) sendAgain(l *Link) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	sub.compactOrder()
	for _, id := range sub.order {
		o := sub.out[id]
		o.delivery.Consumer, o.delivery.queue = l.consumer, sub.queue
		l.window.used.Add(1)
		if o.released {
			l.receiver.Release(id)
		} else {
			l.send(id, o, o.sent || o.delivery.Redelivered)
		}
	}
}

// take finds what is on its way under id and matches the client's answer. sub.mu is held.
func (l *Link) take(id uint16, level Level) *outgoing {
	o := l.sub.out[id]
	if o == nil || !o.sent || o.match.Level != level || l.sub.link.Load() != l {
		return nil
	}
	return o
}

// Ack ends a message that was sent at least once: the client has it. It reports false for an id that is not on its way so.
func (l *Link) Ack(id uint16) bool {
	sub := l.sub
	sub.mu.Lock()
	o := l.take(id, AtLeastOnce)
	if o != nil {
		delete(sub.out, id)
	}
	sub.mu.Unlock()
	if o == nil {
		return false
	}
	l.session.Settle([]Delivery{o.delivery}, Accept)
	return true
}

// Received notes that the client has a message that is sent exactly once. c is completed when that is on record: the id may then be
// released. It reports false, and leaves c alone, for an id that is not on its way so.
func (l *Link) Received(id uint16, c Completion, tag uint64) bool {
	sub := l.sub
	sub.mu.Lock()
	o := l.take(id, ExactlyOnce)
	first := o != nil && !o.released
	if first {
		o.released = true
	}
	sub.mu.Unlock()
	switch {
	case o == nil:
		return false
	case !first:
		l.session.Confirm(c, tag)
		return true
	}
	op := Op{Kind: OpNone, Done: c, Tag: tag}
	if sub.durable {
		op = sub.outgoingDefinition(id, 0, c, tag)
	}
	sub.queue.settleWith(&o.delivery, op)
	o.delivery.Message = nil
	return true
}

// Refused ends a message that the client did not want, or that it never got: there is nothing to release.
func (l *Link) Refused(id uint16) bool {
	sub := l.sub
	sub.mu.Lock()
	o := l.take(id, ExactlyOnce)
	if o != nil && o.released {
		o = nil
	}
	if o != nil {
		delete(sub.out, id)
	}
	sub.mu.Unlock()
	if o == nil {
		return false
	}
	op := Op{Kind: OpNone}
	if o.recorded {
		op = Op{Kind: OpRemove, Key: sub.idKey(keyOutgoing, id)}
	}
	sub.queue.settleWith(&o.delivery, op)
	o.delivery.Consumer.grant(1, 0)
	return true
}

// Released ends the id of a message that was sent exactly once: the client has forgotten it.
func (l *Link) Released(id uint16) bool {
	sub := l.sub
	sub.mu.Lock()
	o := l.take(id, ExactlyOnce)
	if o != nil && !o.released {
		o = nil
	}
	if o != nil {
		delete(sub.out, id)
	}
	sub.mu.Unlock()
	if o == nil {
		return false
	}
	if o.recorded || sub.durable {
		sub.vhost.broker.store.Commit([]Op{{Kind: OpRemove, Key: sub.idKey(keyOutgoing, id)}})
	}
	o.delivery.Consumer.grant(1, 0)
	return true
}

// settleWith ends d's entry and records op with it, as one unit.
func (q *Queue) settleWith(d *Delivery, op Op) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ops = q.ops[:0]
	if !q.deleted {
		q.forget(d)
		if len(q.ranges) > 0 {
			q.ops = append(q.ops, Op{Kind: OpSettle, Queue: q.id, Ranges: q.ranges})
		}
	}
	q.ops = append(q.ops, op)
	q.vhost.broker.store.Commit(q.ops)
	q.ranges = q.ranges[:0]
}
