package core

import (
	"cmp"
	"maps"
	"slices"
)

// carried is how a message went out that waits in the queue again: so it goes out again [MQTT-4.4.0-1], whatever is subscribed since.
type carried struct {
	id       uint16
	level    Level
	shared   *Match // how, of what was a share's; nil: the subscriptions there are say so
	recorded bool   // the id is on record, and the record has passed when the next link starts: that one's own comes after it
}

// putBack takes the link away and puts what was out back into the queue, in its order. It returns what it put back, and what is to go
// back to shares. gate is held, and the link's consumers are dropped.
func (sub *Subscriber) putBack() (n int, bytes int64, shared []Delivery) {
	q := sub.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	sub.mu.Lock()
	defer sub.mu.Unlock()
	sub.link.Store(nil)
	var own []outgoing
	out := sub.out
	sub.out = nil
	for o := range out.all {
		switch {
		case o.released:
			sub.keep(*o)
		case o.delivery.queue != q:
			shared = append(shared, o.delivery)
		default:
			own = append(own, *o)
		}
	}
	slices.SortFunc(own, func(a, b outgoing) int { return cmp.Compare(a.delivery.Seq, b.delivery.Seq) })
	for i := range own {
		o := &own[i]
		bytes += int64(o.delivery.Size())
		c := carried{id: o.id, level: o.match.Level, recorded: o.recorded}
		if o.moved {
			match := o.match
			c.shared = &match
		}
		sub.carry(o.delivery.Seq, c)
		q.giveBack(&o.delivery, o.sent)
	}
	q.commitRanges(OpMark)
	return len(own), bytes, shared
}

// carry reserves an id for a place. mu is held.
func (sub *Subscriber) carry(at Seq, c carried) {
	if sub.carried == nil {
		sub.carried, sub.reserved = map[Seq]carried{}, map[uint16]struct{}{}
	}
	sub.carried[at] = c
	sub.reserved[c.id] = struct{}{}
}

// uncarry frees the id of a place, if it has one. mu is held.
func (sub *Subscriber) uncarry(at Seq) (c carried, ok bool) {
	if c, ok = sub.carried[at]; !ok {
		return c, false
	}
	delete(sub.carried, at)
	delete(sub.reserved, c.id)
	if len(sub.carried) == 0 { // a subscriber that is idle is small
		sub.carried, sub.reserved = nil, nil
	}
	return c, true
}

// sentOnce reports whether the message at a place has gone out exactly once: it does not expire any more [MQTT-4.3.3-7].
func (sub *Subscriber) sentOnce(at Seq) bool {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return sub.carried[at].level == ExactlyOnce
}

// discarded tells that what waited at the places first to last is gone, undelivered. A client may hold the id of a message that went
// out exactly once: the next link asks for its release [MQTT-4.3.3-13]. queue.mu is held.
func (sub *Subscriber) discarded(first, last Seq) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if l := sub.link.Load(); l != nil {
		l.served(0) // perhaps there is more: then it declines again
	}
	if len(sub.carried) == 0 {
		return
	}
	if first == last {
		sub.discardedAt(first)
		return
	}
	for _, at := range slices.Sorted(maps.Keys(sub.carried)) {
		if first <= at && at <= last {
			sub.discardedAt(at)
		}
	}
}

func (sub *Subscriber) discardedAt(at Seq) {
	c, ok := sub.uncarry(at)
	if !ok || c.level < ExactlyOnce {
		return
	}
	sub.keepReleased(c.id, c.recorded)
	if c.recorded {
		sub.vhost.broker.store.Commit([]Op{sub.outgoingDefinition(c.id, 0, nil, 0)})
	}
}
