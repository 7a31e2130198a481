package core

import (
	"cmp"
	"slices"
)

// A ladder is the lanes of a queue that has priorities: its own is for priority 0, and each other priority gets one with the first
// message that needs it. The next message is the first of the highest lane that has one. A lane's places are its own: when a message is
// put back it returns to its place among those of its priority.
//
// A lane is on record from its first durable message on, as a queue of the store that belongs to this queue.
type ladder struct {
	max   uint8   // what a message asks for beyond it counts as this
	above []*lane // the lanes of priorities above 0, highest first
	from  int     // those before it have no message that is visible
	due   []*lane // whose next message is to be read back because its time may be over
	noted []*lane // that have places noted for the next commitRanges
}

// newLadder returns the ladder that a queue's settings ask for, nil for none.
func newLadder(st *QueueSettings) *ladder {
	if st == nil || st.MaxPriority == 0 {
		return nil
	}
	return &ladder{max: st.MaxPriority}
}

// lane returns the lane of a priority above 0. It may be given a message, or have one made visible.
func (r *ladder) lane(priority uint8) *lane {
	i, ok := slices.BinarySearchFunc(r.above, priority, func(l *lane, p uint8) int { return cmp.Compare(p, l.priority) })
	if !ok {
		r.above = slices.Insert(r.above, i, &lane{priority: priority, next: 1})
	}
	r.from = min(r.from, i)
	return r.above[i]
}

// highest is the highest lane above priority 0 that has a message, nil for none.
func (r *ladder) highest() *lane {
	for ; r.from < len(r.above); r.from++ {
		if l := r.above[r.from]; l.waiting() {
			return l
		}
	}
	return nil
}

// laneFor is the lane that m goes to.
func (q *Queue) laneFor(m *Message) *lane {
	if q.ladder == nil || m.Priority == 0 {
		return &q.lane
	}
	return q.ladder.lane(min(m.Priority, q.ladder.max))
}

// laneOf is the lane that a delivery came from.
func (q *Queue) laneOf(d *Delivery) *lane {
	if d.lane == 0 {
		return &q.lane
	}
	return q.ladder.lane(d.lane)
}

// front is the lane that holds the next message.
func (q *Queue) front() *lane {
	if q.ladder != nil {
		if l := q.ladder.highest(); l != nil {
			return l
		}
	}
	return &q.lane
}

// show makes a reserved entry visible.
func (q *Queue) show(at place) {
	at.lane.show(at.seq)
	if at.lane != &q.lane {
		q.ladder.lane(at.lane.priority)
	}
}

// lanes yields every lane, the highest first.
func (q *Queue) lanes(yield func(*lane) bool) {
	if q.ladder != nil {
		for _, l := range q.ladder.above {
			if !yield(l) {
				return
			}
		}
	}
	yield(&q.lane)
}

// noteDue notes the lanes whose next message is in the store alone, and reports whether there are any.
func (q *Queue) noteDue() bool {
	due := q.ladder.due[:0]
	for l := range q.lanes {
		if l.waiting() && l.peek() == nil {
			due = append(due, l)
		}
	}
	q.ladder.due = due
	return len(due) > 0
}

// wanted returns what is to be loaded next of what is due.
func (r *ladder) wanted() (w want, ok bool) {
	for ; len(r.due) > 0; r.due = r.due[1:] {
		if l := r.due[0]; l.peek() == nil {
			if w, ok = l.wanted(); ok {
				return w, ok
			}
		}
	}
	return w, false
}

// read notes that what a lane wanted was looked for.
func (r *ladder) read(l *lane) {
	r.due = slices.DeleteFunc(r.due, func(o *lane) bool { return o == l })
}

// define puts a lane on record, ahead of its first durable message. q.mu is held, and the queue is not deleted: the record of its end
// comes later.
func (q *Queue) define(l *lane) {
	l.id = q.vhost.broker.newQueueID()
	q.vhost.broker.store.Commit([]Op{q.laneDefinition(l)})
}

// removal returns what ends a durable queue and its lanes on record. The queue has ended: no lane is made any more.
func (q *Queue) removal() []Op {
	ops := []Op{removeOp(q.definition())}
	for l := range q.lanes {
		if l != &q.lane && l.id != 0 {
			ops = append(ops, removeOp(q.laneDefinition(l)))
		}
	}
	return ops
}
