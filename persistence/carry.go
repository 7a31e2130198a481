package persistence

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal"
)

// Carry-forward keeps the journal in proportion to what lives. While it is over its budget (see overBudget), what lives in one segment is
// written again at the journal's end, and the segment goes:
//
//   - a live entry's message, byte for byte, with the places where it still lives and how often each was delivered: a carry record. It
//     counts from its own position on, so what the suspect position made of the entry is in its deliveries;
//   - a live definition, with its order.
//
// It is one that ends nothing in an older segment, as the oldest always does: a settle, a mark, a remove in it then has nothing left to
// act on, and goes with it. One old message, or a queue's definition, holds its own segment, that one what ended its neighbours in the next
// one, and so on to the journal's end; carrying the first of them sets all free. See segmentTable.victim for which one is best.
//
// The checkpointer reads a segment that the last root no longer needs, step by step, and hands each step to the committer, which decides
// what of it still lives. The committer writes it in front of a group that other records share, so that a step costs no sync
// where there is traffic. In front, because what lives was decided by the groups before; what the group's own records end, they end
// after it. A step has passed before the next but one is read, and all of them before the record that makes the segment gone.

// carryStep is what is carried in one group.
type carryStep struct {
	segment uint32 // where it lies now
	records []carryRecord
	defs    []string // keys
	bytes   int64

	written []carryWritten // by the committer: what it found alive
	places  []journal.Carried
	orders  []uint64 // of the defs that were alive; 0: it was not
	values  [][]byte
	queues  []core.QueueID
}

// carryRecord is a publish or carry record in its segment.
type carryRecord struct {
	off uint32
	raw []byte
}

// carryWritten is one that was written again.
type carryWritten struct {
	off, length, size int // in the group
	from, to          int // in places
}

// encodeCarry puts what is alive of a step in front of the group.
func (c *committer) encodeCarry(step *carryStep) {
	l := c.s.live
	var rec journal.Record
	for _, r := range step.records {
		if _, err := rec.Decode(r.raw, 0); err != nil {
			continue // it was decoded when it was read
		}
		from := len(step.places)
		step.places = l.alivePlaces(step.places, &rec, step.segment, r.off)
		if from == len(step.places) {
			continue
		}
		off := len(c.buf)
		c.buf = journal.AppendCarry(c.buf, &rec, step.places[from:])
		step.written = append(step.written, carryWritten{
			off: off, length: len(c.buf) - off, size: rec.Size, from: from, to: len(step.places),
		})
	}
	for _, key := range step.defs {
		value, queue, order, ok := l.aliveDefinition(key, step.segment)
		if ok {
			c.buf = journal.AppendDefine(c.buf, queue, order, key, value)
		}
		step.orders, step.values, step.queues = append(step.orders, order), append(step.values, value), append(step.queues, queue)
	}
}

// alivePlaces appends the places of rec that live and point to it.
func (l *live) alivePlaces(list []journal.Carried, rec *journal.Record, segment, off uint32) []journal.Carried {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range rec.Pairs {
		if e := l.entryAt(p); e != nil && e.segment == segment && e.offset == off {
			list = append(list, journal.Carried{Pair: p, Delivered: l.delivered(e)})
		}
	}
	return list
}

// entryAt returns the live entry at a place, nil when there is none.
func (l *live) entryAt(p core.Pair) *entry {
	q := l.queues[p.Queue]
	if q == nil {
		return nil
	}
	c, place := l.at(q, p.Seq)
	if c == nil {
		return nil
	}
	return c.get(place)
}

// aliveDefinition returns what key holds, if its record lies in segment. An order of 0 is none: orders begin with 1.
func (l *live) aliveDefinition(key string, segment uint32) (value []byte, queue core.QueueID, order uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.defs.Get(key)
	if d == nil || d.segment != segment {
		return nil, 0, 0, false
	}
	value, err := l.valueOf(d)
	if err != nil {
		l.err = errors.Join(l.err, err)
		return nil, 0, 0, false
	}
	return value, d.queue, d.order, true
}

// carried gives a step its effect: entries and definitions point to where they were written again, in segment at.
func (l *live) carried(step *carryStep, at, base uint32) {
	for _, w := range step.written {
		e := entry{segment: at, offset: base + uint32(w.off), length: uint32(w.length), size: uint32(w.size)}
		for _, p := range step.places[w.from:w.to] {
			e.delivered = p.Delivered
			l.publish(p.Pair, e)
		}
		l.changed = true
	}
	for i, key := range step.defs {
		if step.orders[i] > 0 {
			l.define(key, step.values[i], step.queues[i], step.orders[i], at)
			l.changed = true
		}
	}
}

// overBudget returns the segment to carry forward when the journal takes more than it may: twice what lives, and the slack. It lies before
// at. Within the budget it is one that holds damage, or an older one.
func (l *live) overBudget(slack int64, at journal.Position) (uint32, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.segments.victim(at)
	if i != 0 && l.segments.excess(slack) <= 0 {
		if i = l.segments.present[0]; !l.holdsDamage(i) {
			i = 0
		}
	}
	return i, i != 0
}

// holdsDamage reports whether a damaged message lies in that segment or a later one.
func (l *live) holdsDamage(oldest uint32) bool {
	if l.damaged == 0 {
		return false
	}
	d := l.segments.at(l.damaged)
	return !d.gone && l.segments.at(oldest).id.Compare(d.id) <= 0
}

// carryForward carries segments forward until the journal is within its budget, the checkpoint at lies before what is left, or it is time
// for another checkpoint.
func (s *Store) carryForward(at journal.Position) error {
	count := s.live.segmentCount()
	for ; count > 0; count-- { // what is written meanwhile is for the next time
		i, over := s.live.overBudget(s.opt.slack, at)
		if !over {
			return nil
		}
		if err := s.carrySegment(i); err != nil {
			return err
		}
		if err := s.reclaim(s.live.reclaimable(at)); err != nil {
			return err
		}
		select {
		case <-s.stop:
			return nil
		default:
		}
		if s.stats.bytes.Load()-s.checkpointed.Load() >= uint64(s.opt.CheckpointBytes) {
			return nil
		}
	}
	return nil
}

// carrySegment writes again what lives in a segment.
func (s *Store) carrySegment(i uint32) error {
	carrier := &carrier{s: s, segment: i, limit: s.stepBytes()}
	err := carrier.definitions()
	if err == nil && s.live.hasEntries(i) {
		err = carrier.scan()
	}
	if err = errors.Join(err, carrier.flush(), carrier.wait(0)); err != nil {
		return err
	}
	if s.live.hasEntries(i) {
		// A group could not be read. Each record has a checksum of its own.
		if err := carrier.oneByOne(); err != nil {
			return err
		}
	}
	return errors.Join(s.live.failure(), s.live.emptied(i))
}

// emptied returns an error when something in a segment lives that should have been carried forward: it must not go then.
func (l *live) emptied(segment uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.segments.at(segment); s.entries != 0 || s.defs != 0 {
		return fmt.Errorf("carry journal segment %s forward: %d messages and %d definitions are left in it", s.id.File(), s.entries, s.defs)
	}
	return nil
}

// stepBytes is how much is carried in front of one group: as much as groups hold on their own, so that a commit hardly notices. That keeps
// up with any traffic: at the budget, half of the journal lives, so that a pass over it writes a byte for each that it frees. When the
// journal is far above its budget all the same, steps are up to five times as long. A longer one than a 16th of a segment
// would be noticed whatever the groups are, one shorter than a 256th makes too many of them.
func (s *Store) stepBytes() int64 {
	total, excess := s.live.budget(s.opt.slack)
	step := s.perGroup + 4*s.perGroup*max(excess, 0)/max(total, 1)
	return min(max(step, s.opt.SegmentSize/256), s.opt.SegmentSize/16)
}

// budget returns what the journal may take, and by how much it takes more.
func (l *live) budget(slack int64) (total, excess int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	excess = l.segments.excess(slack)
	return l.segments.size() - excess, excess
}

// pace notes how long groups are without what is carried in front of them, as of the last checkpoints.
func (s *Store) pace() {
	groups, bytes := s.stats.groups.Load(), s.stats.bytes.Load()-s.stats.carried.Load()
	if n := groups - s.paced.groups; n >= 64 {
		s.perGroup = int64((bytes - s.paced.bytes) / n)
		s.paced.groups, s.paced.bytes = groups, bytes
	}
}

// carrier makes steps of one segment and keeps two of them on their way: while one is being written, the next waits to share the
// group after it.
type carrier struct {
	s       *Store
	segment uint32
	limit   int64
	step    *carryStep
	waiting []waiter
}

// room returns the step that size more bytes go to.
func (c *carrier) room(size int) (*carryStep, error) {
	if c.step != nil && c.step.bytes+int64(size) > c.limit {
		if err := c.flush(); err != nil {
			return nil, err
		}
	}
	if c.step == nil {
		c.step = &carryStep{segment: c.segment}
	}
	c.step.bytes += int64(size)
	return c.step, nil
}

// flush hands the step over.
func (c *carrier) flush() error {
	if c.step == nil {
		return nil
	}
	if err := c.wait(1); err != nil {
		return err
	}
	c.s.stats.carried.Add(uint64(c.step.bytes))
	c.waiting = append(c.waiting, c.s.submitOwn(&ownRecords{carry: c.step}))
	c.step = nil
	return nil
}

// wait waits until no more than n steps are on their way.
func (c *carrier) wait(n int) error {
	for len(c.waiting) > n {
		err := <-c.waiting[0]
		c.waiting = c.waiting[1:]
		if err != nil {
			return err
		}
	}
	return nil
}

// definitions carries those whose record lies in the segment.
func (c *carrier) definitions() error {
	for key, size := range c.s.live.definitionsIn(c.segment) {
		step, err := c.room(size)
		if err != nil {
			return err
		}
		step.defs = append(step.defs, key)
		c.s.live.bringDefinition(key) // so that nobody waits for it
	}
	return nil
}

// definitionsIn returns the keys whose record lies in a segment, and about how long it is.
func (l *live) definitionsIn(segment uint32) map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.segments.at(segment).defs == 0 {
		return nil
	}
	keys := make(map[string]int)
	for d := range l.defs.All() {
		if d.segment == segment {
			keys[l.defs.Key(d)] = int(d.cost())
		}
	}
	return keys
}

// scan reads the segment and carries the messages in it that live.
func (c *carrier) scan() error {
	s := c.s
	id, end := s.live.extent(c.segment)
	scan, err := journal.NewScan(s.opt.Files, s.journal, id, s.opt.StoreID, end)
	if err != nil {
		return err
	}
	defer scan.Close()
	var rec journal.Record
	var places []journal.Carried
	for {
		g, ok, err := scan.Next()
		if damage, is := errors.AsType[*journal.DamageError](err); is {
			s.log.Error("journal damaged: what lives in the rest of the segment is saved message by message", slog.Any("err", damage))
			return nil
		}
		if err != nil || !ok {
			return err
		}
		err = g.Each(&rec, func(r *journal.Record) error {
			if r.Kind != journal.KindPublish && r.Kind != journal.KindCarry {
				return nil
			}
			for _, p := range r.Pairs {
				s.live.bring(p.Queue, core.Range{First: p.Seq, Last: p.Seq}, 1) // so that nobody else waits for it
			}
			off := uint32(g.FileOff + int64(r.Off))
			if places = s.live.alivePlaces(places[:0], r, c.segment, off); len(places) == 0 {
				return nil
			}
			return c.add(off, g.Raw(r))
		})
		if err != nil {
			return err
		}
	}
}

// add puts one record into a step.
func (c *carrier) add(off uint32, raw []byte) error {
	step, err := c.room(len(raw))
	if err != nil {
		return err
	}
	step.records = append(step.records, carryRecord{off: off, raw: append([]byte(nil), raw...)})
	return nil
}

// oneByOne carries what lives in the segment without its groups, and gives up what is damaged.
func (c *carrier) oneByOne() error {
	s := c.s
	ld := &loader{}
	defer ld.free()
	seg, list := s.live.entriesIn(c.segment)
	if err := seg.reader.acquire(s.opt.Files, s.segmentPath(seg.id)); err != nil {
		return err
	}
	ld.used = append(ld.used, seg)
	var lost []quarantined
	added := make(map[uint32]bool) // one record is carried once, for all of its places
	for p, e := range list {
		f := found{seq: p.Seq, at: seg, offset: e.offset, length: e.length}
		if _, err := s.read(ld, []found{f}); err != nil {
			return err
		}
		if err := verify(&ld.rec, ld.buf, s.seed, &f, p); err != nil {
			lost = append(lost, quarantined{p, f, err})
			continue
		}
		if added[e.offset] {
			continue
		}
		added[e.offset] = true
		if err := c.add(e.offset, ld.buf); err != nil {
			return err
		}
	}
	if err := errors.Join(c.flush(), c.wait(0)); err != nil {
		return err
	}
	return s.quarantineNow(lost)
}

// entriesIn lists the live entries of a segment. It looks at all that live: only damage asks for it.
func (l *live) entriesIn(segment uint32) (*segment, map[core.Pair]entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make(map[core.Pair]entry)
	for id, q := range l.queues {
		l.each(q, core.Range{Last: ^core.Seq(0)}, func(c *chunk, place int) bool {
			if e := c.get(place); e.segment == segment {
				list[core.Pair{Queue: id, Seq: core.Seq(c.number*chunkPlaces) + core.Seq(place)}] = *e
			}
			return true
		})
	}
	return l.segments.at(segment), list
}

func (l *live) hasEntries(segment uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments.at(segment).entries > 0
}

// extent returns which segment that is and where it ends in its epoch.
func (l *live) extent(segment uint32) (journal.SegmentID, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.segments.at(segment)
	return s.id, s.end
}

func (l *live) segmentCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments.count()
}
