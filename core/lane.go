package core

import "math"

// A lane is messages of one queue that go first in, first out, under a QueueID of their own.
//
// Every place the lane ever gave out is in exactly one of these states, and for those in memory the entry is held by one holder:
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
//
// It is guarded by its queue's mu, but for the id of the queue's own lane, which never changes.
type lane struct {
	id       QueueID // 0: nothing of it is on record
	priority uint8   // of its messages; 0: any, in a queue without priorities
	next     Seq     // the place the next publish takes
	returned entryHeap
	head     deque[entry]
	cold     coldRange
	tail     deque[entry]
	bared    Seq     // entries of the tail below it were looked at by pageOut
	fresh    Seq     // the place that became visible this moment; 0 at any other
	ranges   []Range // scratch: the places noted for the next commitRanges
}

// entry is one place in memory.
type entry struct {
	seq       Seq
	msg       *Message // nil: bare
	size      uint32   // of the message's body
	delivered uint16   // how often before, at most: it stops at the largest
	durable   bool     // its record is, or will be, in the store
	hidden    bool     // reserved: not to be delivered yet
}

// place is where an entry is.
type place struct {
	lane *lane
	seq  Seq
}

// coldRange is the places from From to To, of which n live ones are in the store and none in memory.
type coldRange struct {
	from, to Seq
	n        int
	bytes    int64 // the sum of their bodies' sizes
}

// entryCost is what an entry costs in memory beside its message.
const entryCost = 64

// tries is a count of deliveries as an entry keeps it.
func tries(n uint32) uint16 { return uint16(min(n, math.MaxUint16)) }

// push makes m the last entry and returns its place.
func (l *lane) push(m *Message, durable, hidden bool) Seq {
	seq := l.next
	l.next++
	l.tail.pushBack(entry{seq: seq, msg: m, size: uint32(len(m.Body)), durable: durable, hidden: hidden})
	return seq
}

// show makes a reserved entry visible.
func (l *lane) show(seq Seq) {
	if l.tail.len() == 0 {
		return // purged with the queue
	}
	// The tail has one entry per place, so the place tells the index.
	if i := seq - l.tail.at(0).seq; i < Seq(l.tail.len()) {
		l.tail.at(int(i)).hidden = false
	}
}

// peek returns the next entry to be delivered, nil when there is none that can be delivered now.
func (l *lane) peek() *entry {
	var e *entry
	switch {
	case len(l.returned) > 0:
		e = &l.returned[0]
	case l.head.len() > 0:
		e = l.head.at(0)
	case l.cold.n == 0 && l.tail.len() > 0:
		e = l.tail.at(0)
	}
	if e == nil || e.hidden || e.msg == nil {
		return nil
	}
	return e
}

// waiting reports whether the lane has a message that is visible, in memory or not.
func (l *lane) waiting() bool {
	return len(l.returned) > 0 || l.head.len() > 0 || l.cold.n > 0 || l.tail.len() > 0 && !l.tail.at(0).hidden
}

// pop removes the entry that peek returned.
func (l *lane) pop() entry {
	switch {
	case len(l.returned) > 0:
		return l.returned.pop()
	case l.head.len() > 0:
		return l.head.popFront()
	}
	return l.tail.popFront()
}

// noted appends the record of kind for the places noted since the last call.
func (l *lane) noted(kind OpKind, ops []Op) []Op {
	if len(l.ranges) == 0 {
		return ops
	}
	ops = append(ops, Op{Kind: kind, Queue: l.id, Ranges: l.ranges})
	l.ranges = l.ranges[:0]
	return ops
}

// restore gives a lane its places back.
func (l *lane) restore(d *Definition) {
	l.next = max(1, d.Next)
	if d.Count > 0 {
		l.cold = coldRange{from: 1, to: d.Next - 1, n: int(d.Count), bytes: d.Bytes}
	}
}
