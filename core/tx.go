package core

import (
	"cmp"
	"context"
	"slices"
)

// Transaction is what a session does all at once.
type Transaction struct {
	Messages    []*Message   // to be published
	Settlements []Settlement // of deliveries that are outstanding

	// Unrouted is called, before Transact returns, with the index of each message that reaches nobody.
	Unrouted func(i int)
}

// Settlement is one outcome of deliveries of any mix of queues and consumers.
type Settlement struct {
	Outcome    Outcome
	Deliveries []Delivery
}

// CheckPublish reports what would be wrong with publishing m now, but for what routing finds out. It is for messages that are kept for a
// transaction.
func (s *Session) CheckPublish(m *Message) error {
	if s.opt.Access != nil {
		if err := s.mayPublish(m); err != nil {
			return err
		}
	}
	if m.Exchange == "" {
		return nil
	}
	_, err := s.entry(m)
	return err
}

// Transact publishes the messages of t, which CheckPublish has passed, settles its deliveries, and returns when that has passed. Messages
// and what ends deliveries are one unit: after a crash all of it has happened or nothing, and nobody sees one of the messages before all have
// their places. What is put back, or rejected and then a dead letter, is so behind it: a crash in between puts it back. A message that is to be kept for its key
// (Message.Retain) is a unit of its own. All are routed now, whatever was bound when their client sent them. A full queue that refuses a
// message goes without it, and that is an error (Overflow) once all the rest has passed.
func (s *Session) Transact(ctx context.Context, t *Transaction) error {
	u := unit{broker: s.broker, whole: true}
	s.vhost.dedups.mu.Lock() // until what is remembered is on record
	var refused error
	for i, m := range t.Messages {
		if m.kept() {
			continue
		}
		routed, full := s.publishIn(&u, m)
		if refused = cmp.Or(refused, full); routed == 0 && full == nil {
			s.unrouted(m)
			t.Unrouted(i)
		}
	}
	var later []Settlement
	for _, n := range t.Settlements {
		s.eachQueue(n.Deliveries, func(q *Queue, ds []Delivery) {
			if n.Outcome.putsBack() || n.Outcome == Reject && q.buries() {
				later = append(later, Settlement{Outcome: n.Outcome, Deliveries: ds})
			} else {
				q.settleIn(&u, ds, n.Outcome)
			}
		})
	}
	u.commit(nil, 0)
	s.vhost.dedups.mu.Unlock()
	for _, m := range t.Messages {
		if m.kept() {
			_, full := s.publishRetained(m, nil, 0)
			refused = cmp.Or(refused, full)
		}
	}
	for _, n := range later {
		s.eachQueue(n.Deliveries, func(q *Queue, ds []Delivery) { q.settle(ds, n.Outcome) })
	}
	for i := range t.Settlements {
		s.grant(t.Settlements[i].Deliveries)
	}
	p := newPromise()
	s.Confirm(p, 0)
	if err := p.wait(ctx); err != nil || refused == nil {
		return err
	}
	return &Error{Kind: Overflow, Op: "commit", Name: "a transaction", Text: "partial tx completion", Err: refused}
}

// kept reports whether the message is to be kept for its key.
func (m *Message) kept() bool { return m.Retain && m.Exchange == TopicExchange }

// publishIn takes places for m in u, hands it to those who get it at most once, and returns how many it reaches, and the error of a full
// queue that refuses it.
func (s *Session) publishIn(u *unit, m *Message) (routed int, full error) {
	if s.vhost.dedups.on.Load() {
		if id, ok := m.dedupID(); ok {
			routed, err := s.uniqueIn(u, &unique{id: id}, m, func() error { return s.route(m) })
			if err != nil && KindOf(err) != Overflow {
				err = nil // its exchange is gone
			}
			return routed, err
		}
	}
	if gone := s.route(m); gone != nil {
		return 0, nil //nolint:nilerr // the exchange was there when the client published
	}
	pushed, _ := s.push(m)
	routed, full = s.put(u, nil, m)
	if routed += pushed; routed == 0 && full == nil && m.Exchange == "" {
		routed = s.reply(m)
	}
	return routed, full
}

// settleIn ends the entries of deliveries of this queue with u, accepted or not.
func (q *Queue) settleIn(u *unit, ds []Delivery, o Outcome) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		q.settleDeleted(ds)
		return
	}
	for i := range ds {
		q.forget(&ds[i])
	}
	if o != Accept {
		q.stats.Discarded += uint64(len(ds))
	}
	q.noted(OpSettle)
	for _, op := range q.ops {
		u.settle(op.Queue, slices.Clone(op.Ranges)...) // they are the queue's scratch
	}
}
