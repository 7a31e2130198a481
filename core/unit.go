package core

import (
	"sync"
	"sync/atomic"
)

// unit is messages that are published, and records that go with them, of which all pass or none does. Publishing takes places that nobody
// sees yet, commit hands all records over and shows the places: no consumer may cause a record that precedes them.
//
// A unit belongs to one goroutine and is used once. No queue's lock is held.
type unit struct {
	broker *Broker
	ops    []Op
	hidden []reserved
	kept   []withheld

	stays bool // a message that is refused stays where it comes from, and is no dead letter therefore
	whole bool // places of transient messages are hidden, too, until all are shown
	once  bool // some message is to arrive exactly once: the places are shown when the records have passed
}

// reserved is a place whose message is not visible yet.
type reserved struct {
	queue *Queue
	place
	fresh bool // its message may expire and has not waited
}

// publish takes a place for m in each queue and returns how many queues took it. kept, when not nil, is one more place of m. err tells of a
// queue that is full and refused it (Overflow); the others have taken it all the same.
func (u *unit) publish(targets []*Queue, kept *Pair, m *Message) (routed int, err error) {
	var pairs []Pair
	for _, q := range targets {
		q.stamp(m) // before anybody has it
	}
	for _, q := range targets {
		at, durable, full := u.reserve(q, m)
		switch {
		case full != nil:
			err = full
			continue
		case at.lane == nil: // it is gone
			continue
		}
		routed++
		if durable {
			pairs = append(pairs, Pair{Queue: at.lane.id, Seq: at.seq})
		}
	}
	if kept != nil {
		pairs = append(pairs, *kept)
	}
	if len(pairs) > 0 {
		u.once = u.once || m.Once
		u.add(Op{Kind: OpPublish, Msg: m, Queue: pairs[0].Queue, Seq: pairs[0].Seq, More: pairs[1:]})
	}
	return routed, err
}

// reserve takes a place for m in one queue, in no lane if the queue is gone. It is visible at once where no record is needed: where it is
// not durable.
func (u *unit) reserve(q *Queue, m *Message) (at place, durable bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return place{}, false, nil
	}
	if err := q.admits(m, u.stays); err != nil {
		return place{}, false, err
	}
	durable = m.Persistent && q.durable()
	hidden := durable || u.whole
	at = q.push(m, durable, hidden)
	if hidden {
		u.hidden = append(u.hidden, reserved{queue: q, place: at, fresh: m.mayExpire()})
	} else {
		q.afterPush(at, m.mayExpire())
	}
	return at, durable, nil
}

// settle ends places of a lane that have been taken out of it. The unit keeps the ranges until its commit.
func (u *unit) settle(lane QueueID, places ...Range) {
	if lane != 0 && len(places) > 0 {
		u.add(Op{Kind: OpSettle, Queue: lane, Ranges: places})
	}
}

// add has records go with the rest.
func (u *unit) add(ops ...Op) { u.ops = append(u.ops, ops...) }

// commit hands over the records and shows what was published: at once, or when all has passed where a message is to arrive exactly once, so
// that a crash cannot deliver it and then forget that it was published. c, when not nil, is completed with tag after everything that was
// committed before, also where the unit has no record. It returns the records' array, empty, to be used again.
func (u *unit) commit(c Completion, tag uint64) []Op {
	if u.once && len(u.hidden) > 0 {
		c, u.hidden = &held{broker: u.broker, hidden: u.hidden, next: c}, nil
	}
	if len(u.ops) == 0 && c != nil {
		u.add(Op{Kind: OpNone})
	}
	if n := len(u.ops); n > 0 {
		u.ops[n-1].Done, u.ops[n-1].Tag = c, tag
		u.broker.store.Commit(u.ops)
	}
	for i := range u.hidden {
		u.hidden[i].show()
	}
	for i := range u.kept {
		u.kept[i].show()
	}
	clear(u.ops) // who keeps the array must not keep the last message
	return u.ops[:0]
}

// show makes the place visible.
func (r *reserved) show() {
	r.queue.mu.Lock()
	defer r.queue.mu.Unlock()
	r.queue.show(r.place)
	r.queue.afterPush(r.place, r.fresh)
}

// held is a Completion that has places shown before it completes the next.
type held struct {
	broker *Broker
	hidden []reserved
	next   Completion
}

// Complete implements Completion. Queue locks may not be taken here, so the broker's own goroutine shows the places, or whoever asks for
// them before it has come to that.
func (h *held) Complete(tag uint64, err error) {
	if err == nil {
		for i := range h.hidden {
			h.hidden[i].fresh = false // what was on record too late for its time is not handed out
		}
		h.broker.shows.add(h.hidden)
	}
	if h.next != nil {
		h.next.Complete(tag, err)
	}
}

// shows is the places whose records have passed and that are to be shown. Who has been told that its message is on record is answered as
// if they were: see Broker.showPassed.
type shows struct {
	todo  todo[[]reserved]
	units atomic.Int64 // that are to be shown, or are being

	mu sync.Mutex // above every queue.mu; held while places are shown
}

func (s *shows) add(places []reserved) {
	s.units.Add(1)
	s.todo.add(places)
}

// showPassed shows what is to be shown by now. No lock is held.
func (b *Broker) showPassed() {
	s := &b.shows
	if s.units.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	units := s.todo.take()
	for _, places := range units {
		for i := range places {
			places[i].show()
		}
	}
	s.units.Add(-int64(len(units)))
}
