package core

import (
	"cmp"
	"math"
	"slices"
)

// sharing is the part of a link in a share: the Receiver of its consumer of the share's queue.
type sharing struct {
	member   *member
	link     *Link
	consumer *Consumer
}

// share has the link take part. gate is held, and the link has started.
func (l *Link) share(m *member) {
	x, q := &sharing{member: m, link: l}, m.share.queue
	noAck := m.spec.Level == AtMostOnce
	x.consumer = &Consumer{
		session: l.session, queue: q, open: !noAck, final: true,
		spec: ConsumerSpec{Queue: q.spec.Name, Receiver: x, NoAck: noAck, Window: &l.window},
	}
	l.sharings = append(l.sharings, x)
	l.shares.Store(true)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.consumers = append(q.consumers, x.consumer)
	q.vhost.broker.consumers.Add(1)
	q.list(x.consumer)
	q.dispatch()
}

// unshare ends a part that the link takes. What is out stays out. gate is held.
func (l *Link) unshare(m *member) {
	if i := slices.IndexFunc(l.sharings, func(x *sharing) bool { return x.member == m }); i >= 0 {
		l.sharings[i].consumer.leave()
		l.sharings = slices.Delete(l.sharings, i, i+1)
	}
}

// unshareAll ends all parts that the link takes. gate is held.
func (l *Link) unshareAll() {
	for _, x := range l.sharings {
		x.consumer.leave()
	}
	l.sharings = nil
}

// leave ends a consumer that is not on its session's list.
func (c *Consumer) leave() {
	c.queue.drop(c)
	c.session.stall.remove(c)
	c.session.broker.openStall.remove(c)
	c.session.broker.doubt.stall.remove(c)
	c.spec.Window.stall.remove(c)
}

// Ready implements Receiver. A broker that stops shares nothing more: each connection that ends would hand what it has to the next.
func (x *sharing) Ready() bool { return x.link.Ready() && !x.link.session.broker.stopping() }

// Cancelled implements Receiver. A share ends only without members.
func (x *sharing) Cancelled(*Consumer) {}

// Deliver implements Receiver.
func (x *sharing) Deliver(d Delivery) {
	match := x.member.match(d.Message)
	switch match.Level {
	case AtMostOnce: // settled already
		x.link.receiver.Push(d.Message, &match)
	case AtLeastOnce:
		x.send(d, match)
	case ExactlyOnce:
		x.move(d, match)
	}
}

// send hands a message over that stays the share's.
func (x *sharing) send(d Delivery, match Match) {
	sub := x.link.sub
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if sub.shortOfIDs() {
		x.decline(d)
		return
	}
	x.link.handOver(outgoing{id: sub.newID(), delivery: d, match: match}, nil)
}

// shortOfIDs reports whether what is out, and what waits with an id in the subscriber's own queue, has all ids that there are. What waits
// there goes out first: it has its credit from the same window, which has no more than there are ids. mu is held.
func (sub *Subscriber) shortOfIDs() bool { return sub.out.len()+len(sub.reserved) >= math.MaxUint16 }

// move makes a message the subscriber's own, in one unit with its id, and hands it over. It keeps its credit.
func (x *sharing) move(d Delivery, match Match) {
	l, q := x.link, d.queue
	sub := l.sub
	own := sub.queue
	own.mu.Lock()
	defer own.mu.Unlock()
	if own.stats.Ready > 0 { // what waits there has its turn first; others may take this one meanwhile
		x.decline(d)
		return
	}
	m := d.Message.again() // nobody can read it back from its new place before that is on record
	m.Retain = d.Message.Retain
	own.stamp(m)
	at := own.push(m, sub.durable, false)
	q.forget(&d)
	q.stats.Discarded++ // the member answers for it in its own queue
	q.noted(OpSettle)
	ops := slices.Clip(q.ops)
	if sub.durable {
		ops = append(ops, Op{Kind: OpPublish, Msg: m, Queue: at.lane.id, Seq: at.seq})
	}
	l.session.broker.openBytes.Add(-int64(d.Message.Size())) // it counts for the other consumer now
	moved := own.handOut(l.consumer, false)                  // nothing else waits there
	sub.mu.Lock()
	defer sub.mu.Unlock()
	l.handOver(outgoing{id: sub.newID(), delivery: moved, match: match, moved: true}, ops)
}

// decline puts a message back that the link cannot take now, whose consumer waits until its subscriber's own queue has been served. The
// share's queue is dispatching.
func (x *sharing) decline(d Delivery) {
	l, c, q := x.link, x.consumer, d.queue
	l.declined.Store(true)
	q.unlistConsumer(c)
	c.lacks(LacksTurn)
	c.wait()
	l.session.stall.add(c)
	q.stats.Delivered--
	if d.Redelivered {
		q.stats.Redone--
	}
	size := int64(d.Size())
	q.giveBack(&d, false)
	l.session.broker.openBytes.Add(-size)
	l.returnCredit()
}

// returnCredit gives the credit of one delivery back under locks. Who waits for it is woken by somebody else.
func (l *Link) returnCredit() {
	l.window.used.Add(-1)
	if l.shares.Load() && l.window.stall.waiting.Load() {
		l.session.broker.resumes.add(l.session)
	}
}

// served tells that the subscriber's own queue has handed out, or dropped, something: whoever has declined looks again when nothing is
// left. The queue's lock and sub.mu are held, one of which is held by who declines, too.
func (l *Link) served(left int) {
	if left == 0 && l.declined.Load() && l.declined.Swap(false) {
		l.session.broker.resumes.add(l.session)
	}
}

// giveBackShared returns what was out of shares, of a link that has ended, to them. gate is held.
func (l *Link) giveBackShared(ds []Delivery) {
	slices.SortFunc(ds, func(a, b Delivery) int {
		return cmp.Or(cmp.Compare(a.Queue(), b.Queue()), cmp.Compare(a.Seq, b.Seq))
	})
	l.session.Settle(ds, Return)
}

// reachShare notes that m matches a share.
func (s *Session) reachShare(g *share, m *Message) {
	if min(Level(g.level.Load()), m.Level()) == AtMostOnce {
		s.shared = append(s.shared, g)
	} else {
		s.targets = append(s.targets, g.queue)
	}
}

// pushShared hands m to one member of each share for which nobody keeps it, and returns whether that was not possible for some.
func (s *Session) pushShared(m *Message) (missed bool) {
	for _, g := range s.shared {
		if !g.push(m) {
			s.broker.dropped.Add(1)
			missed = true
		}
	}
	return missed
}

// push hands m to the next member that is there and not slow. It reports false if there is none.
func (g *share) push(m *Message) bool {
	q := g.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	for range q.consumers {
		g.pushed = (g.pushed + 1) % len(q.consumers)
		x, ok := q.consumers[g.pushed].spec.Receiver.(*sharing)
		if ok && x.Ready() {
			match := x.member.match(m)
			x.link.receiver.Push(m, &match)
			return true
		}
	}
	return false
}
