package persistence

import (
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/failpoint"
	"github.com/batonmq/baton/persistence/journal"
)

// maxGroupBytes is where a batch is cut into groups, between units. It bounds the buffer that stays allocated, and how long the first
// promise of a batch waits for the last one's bytes.
const maxGroupBytes = 4 << 20

// committer turns batches into groups. Everything in it belongs to its goroutine.
type committer struct {
	s         *Store
	writer    *journal.Writer
	suspect   journal.Position // the same for all of our segments
	passed    uint64           // the offset of our epoch up to which everything has passed
	buf       []byte
	placed    []placed    // by op of the group
	pairs     []core.Pair // of the group's publishes that are written
	elided    elision
	orders    map[string]uint64         // of the definitions that the group makes or ends; 0: it is ended
	order     uint64                    // the highest one given
	unsaid    map[core.QueueID]core.Seq // above the places that were elided and are not on record as used
	unwritten uint64                    // how many places the group elides
	said      []core.Pair               // the same, as the group says it
}

// placed is where an op's record stands in the group, and which of its places are written.
type placed struct {
	off, length int // length 0: no record
	from, to    int // in pairs
	order       uint64
}

// run passes batches until the store is closed and nothing waits. After the final error it goes on, to hand that error to whatever
// still comes.
func (c *committer) run() {
	for {
		b := c.s.take()
		if b == nil {
			return
		}
		for from, op := 0, 0; from < len(b.units); {
			to, bytes := from, int64(0)
			for to < len(b.units) && (to == from || bytes+b.units[to].bytes <= maxGroupBytes) {
				bytes += b.units[to].bytes
				to++
			}
			ops := b.ops[op:b.units[to-1].end]
			c.group(ops, bytes)
			from, op = to, b.units[to-1].end
		}
		c.s.giveBack(b)
	}
}

// group passes ops as one group and completes them.
func (c *committer) group(ops []op, bytes int64) {
	err := c.s.Err()
	if err == nil {
		if err = c.pass(ops); err == nil {
			err = failpoint.At(failpoint.JournalPassed)
		}
		if err != nil {
			err = c.s.fail(err)
		}
		c.s.stats.ends()
	}
	c.s.pending.Add(-bytes)
	for i := range ops {
		if o := &ops[i]; o.done != nil {
			o.done.Complete(o.tag, err)
		}
	}
}

// pass makes ops durable, asks the guard, and gives them their effect. A group without records writes nothing, but its promises need
// the guard like any other.
func (c *committer) pass(ops []op) error {
	c.encode(ops)
	if err := c.s.live.failure(); err != nil { // what could not be found alive was not carried
		return err
	}
	began := c.s.clock.elapsed()
	c.s.stats.begins(began)
	if !journal.HasRecords(c.buf) {
		c.s.stats.elided.Add(c.unwritten)
		return c.s.opt.Guard()
	}
	now := c.s.clock.at(began)
	buf, place, err := c.writer.Append(c.buf, c.passed, now)
	c.buf = buf
	if err != nil {
		return err
	}
	c.s.stats.wrote(c.s.clock.elapsed()-began, len(c.buf), c.unwritten)
	if err := failpoint.At(failpoint.JournalSynced); err != nil {
		return err
	}
	if err := c.s.opt.Guard(); err != nil {
		return err
	}
	c.passed = c.writer.Position().Offset
	c.apply(ops, place)
	c.s.grown(len(c.buf))
	if err := c.s.live.failure(); err != nil {
		return err
	}
	c.s.opt.Promised(c.passed, now)
	if cap(c.buf) > 2*maxGroupBytes {
		c.buf = nil
	}
	return nil
}

// encode puts the records of ops into buf and notes where.
func (c *committer) encode(ops []op) {
	c.buf = journal.BeginGroup(c.buf)
	c.placed, c.pairs, c.unwritten = c.placed[:0], c.pairs[:0], 0
	if len(c.orders) > 0 {
		c.orders = make(map[string]uint64) // clearing one that was large once would take as long for every group
	}
	c.elided.find(ops)
	for i := range ops {
		if own := ops[i].own; own != nil && own.carry != nil {
			c.encodeCarry(own.carry)
		}
	}
	for i := range ops {
		at := placed{off: len(c.buf), from: len(c.pairs)}
		c.encodeOp(&ops[i], &at)
		at.length, at.to = len(c.buf)-at.off, len(c.pairs)
		c.placed = append(c.placed, at)
	}
	c.sayPlaces()
}

// sayPlaces puts the places that were elided, by this group or by some before it, behind the records of the group. Where it has none, they
// wait for one that has: see elision.
func (c *committer) sayPlaces() {
	c.said = c.said[:0]
	if len(c.unsaid) == 0 || !journal.HasRecords(c.buf) {
		return
	}
	for queue, next := range c.unsaid {
		c.said = append(c.said, core.Pair{Queue: queue, Seq: next})
		c.buf = journal.AppendPlaces(c.buf, queue, next)
	}
	clear(c.unsaid)
}

func (c *committer) encodeOp(o *op, at *placed) {
	switch o.kind {
	case opNone:
	case opPublish:
		c.pairs = c.place(core.Pair{Queue: o.queue, Seq: o.seq})
		for _, p := range o.more {
			c.pairs = c.place(p)
		}
		if pairs := c.pairs[at.from:]; len(pairs) > 0 {
			c.buf = journal.AppendPublish(c.buf, o.msg, pairs)
		}
	case opSettle:
		if len(o.ranges) > 0 && !c.elided.all(o.queue, o.ranges) {
			c.buf = journal.AppendRanges(c.buf, journal.KindSettle, o.queue, o.ranges)
		}
	case opMark:
		if len(o.ranges) > 0 && !c.elided.all(o.queue, o.ranges) {
			c.buf = journal.AppendRanges(c.buf, journal.KindMark, o.queue, o.ranges)
		}
	case opDefine:
		at.order = c.orderOf(o.key)
		c.buf = journal.AppendDefine(c.buf, o.queue, at.order, o.key, o.value)
	case opRemove:
		c.orders[o.key] = 0
		delete(c.unsaid, o.queue)
		c.buf = journal.AppendRemove(c.buf, o.queue, o.key)
	case opOwn:
		c.encodeOwn(o.own)
	}
}

// orderOf returns the order of a definition that the group makes, given now where it is new.
func (c *committer) orderOf(key string) uint64 {
	order, decided := c.orders[key]
	if !decided {
		order = c.s.live.orderOf(key)
	}
	if order == 0 {
		c.order++
		order = c.order
	}
	c.orders[key] = order
	return order
}

// orderOf returns the order of a definition, 0 when there is none.
func (l *live) orderOf(key string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.defs.Get(key); d != nil {
		return d.order
	}
	return 0
}

// place returns the pairs with p, unless it is elided: then only that the place is used remains to be said, once for each queue, some time.
func (c *committer) place(p core.Pair) []core.Pair {
	if !c.elided.elided(p) {
		return append(c.pairs, p)
	}
	c.unsaid[p.Queue] = max(c.unsaid[p.Queue], p.Seq+1)
	c.unwritten++
	return c.pairs
}

func (c *committer) encodeOwn(own *ownRecords) {
	if len(own.reclaimed) > 0 {
		c.buf = journal.AppendReclaimed(c.buf, own.reclaimed)
	}
	for _, p := range own.places {
		c.buf = journal.AppendPlaces(c.buf, p.Queue, p.Seq)
	}
	for _, p := range own.settled {
		c.buf = journal.AppendRanges(c.buf, journal.KindSettle, p.Queue, []core.Range{{First: p.Seq, Last: p.Seq}})
	}
	if own.checkpoint != (journal.Position{}) {
		c.buf = journal.AppendCheckpoint(c.buf, own.checkpoint)
	}
	if own.closed {
		c.buf = journal.AppendClosed(c.buf)
	}
}

// apply gives the group that was written at place its effect.
func (c *committer) apply(ops []op, place journal.Place) {
	l := c.s.live
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.segments.add(place.Segment)
	s := l.segments.at(at)
	end := c.writer.Position()
	if place.Begun {
		s.base = place.FileOff - int64(place.At.Offset)
	}
	s.end, s.dirty = end.Offset, true
	l.position = end
	for i := range ops {
		if own := ops[i].own; own != nil && own.carry != nil {
			l.carried(own.carry, at, uint32(place.FileOff))
		}
	}
	for i := range ops {
		c.applyOp(l, &ops[i], c.placed[i], at, uint32(place.FileOff))
	}
	for _, p := range c.said {
		l.places(p.Queue, p.Seq, at)
	}
}

func (c *committer) applyOp(l *live, o *op, p placed, at, base uint32) {
	if o.kind != opNone && o.kind != opOwn {
		l.changed = true
	}
	switch o.kind {
	case opNone:
	case opPublish:
		if p.length == 0 {
			return
		}
		e := entry{segment: at, offset: base + uint32(p.off), length: uint32(p.length), size: uint32(len(o.msg.Body))}
		for _, pair := range c.pairs[p.from:p.to] {
			l.publish(pair, e)
			if pair.Queue.Keyed() {
				setKey(l, pair, o.msg.Key, o.msg.Expires)
			}
		}
		o.msg.MarkStored()
	case opSettle:
		l.settle(o.queue, o.ranges, at)
	case opMark:
		l.mark(o.queue, o.ranges, at)
	case opDefine:
		l.define(o.key, o.value, o.queue, p.order, at)
	case opRemove:
		l.remove(o.key, o.queue, at)
	case opOwn:
		for _, place := range o.own.places {
			l.places(place.Queue, place.Seq, at)
		}
		for _, p := range o.own.settled {
			l.settle(p.Queue, []core.Range{{First: p.Seq, Last: p.Seq}}, at)
			l.changed = true
		}
		l.reclaimed(o.own.reclaimed)
	}
}

// header completes the header of a segment that is being begun: everything applied so far lies in segments before it.
func (c *committer) header(h *journal.Header) {
	l := c.s.live
	l.mu.Lock()
	defer l.mu.Unlock()
	h.Suspect = c.suspect
	h.Kept = l.segments.kept()
}

// clock is the broker's time: it goes on from what an earlier process reached, at the pace of this host's monotonic clock.
type clock struct {
	base  time.Time // broker time at start
	start time.Time // this host's reading then
}

func newClock(base time.Time) clock { return clock{base: base, start: time.Now()} }

func (c clock) now() time.Time { return c.at(c.elapsed()) }

// elapsed is how long ago the store was opened.
func (c clock) elapsed() time.Duration { return time.Since(c.start) }

// at is the broker's time that long after the store was opened.
func (c clock) at(elapsed time.Duration) time.Time { return c.base.Add(elapsed) }
