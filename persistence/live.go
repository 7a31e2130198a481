package persistence

import (
	"slices"
	"sync"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/compact"
	"github.com/batonmq/baton/persistence/journal"
)

// live is everything that is alive as of the last group that has passed, and where its records are. The committer changes it, group
// by group, so that whoever holds mu sees whole groups.
type live struct {
	mu       sync.Mutex
	position journal.Position // after the last group applied
	changed  bool             // since the last snapshot
	replayed uint64           // bytes of groups replayed since the last snapshot
	replay   bool             // publishes may come before the definition of their queue
	suspect  journal.Position // as of position
	segments segmentTable
	queues   map[core.QueueID]*queue
	defs     compact.Map[definition, *definition]
	values   compact.Bytes // of definitions that are not absent
	order    uint64        // the highest definition order given

	lost    map[core.Pair]struct{} // found damaged and given up
	damaged uint32                 // the newest segment that held one of them; 0: none

	// What differs from the last snapshot: all that is dirty, and some that was removed since.
	changedQueues []*queue
	changedDefs   []*definition
	changedPages  []pageAt
	goneDefs      map[string]struct{} // in the index, not alive any more; keys of pages, too
	goneQueues    []core.QueueID
	sparsePages   []pageAt // to be written again without what is over

	inMemory []inMemory // chunks whose entries are in memory
	resident int        // how many may stay there
	pool     pool

	read    func(queue core.QueueID, number uint64) ([]byte, error) // a chunk from the index
	readDef func(key string) ([]byte, error)                        // a definition's value from the index
	err     error                                                   // what the index should have could not be read
}

// queue is a queue's live entries. It exists without a definition only during a replay that began after its first definition was
// replaced: its publishes may be older than the definition that lives.
type queue struct {
	id      core.QueueID
	defined bool
	indexed bool
	dirty   bool
	next    core.Seq
	nextIn  uint32 // the segment whose record makes next known; 0: not known
	count   int64
	bytes   int64
	chunks  []*chunk // by number; none is empty
	changed []*chunk // those that are dirty
	filled  int      // how many places its last chunk that ended had in use
	gone    []uint64 // chunks the index has and must forget
}

// definition is a keyed record. Its value is needed at a start, and when its segment is carried forward: once the index has it, memory
// need not. There may be millions: it holds no pointer.
type definition struct {
	compact.Key
	segment uint32
	queue   core.QueueID
	order   uint64
	length  uint32        // of the value
	value   compact.Place // in live.values; 0: only the index has it
}

// The flags of a definition.
const (
	defDirty   = 1 << iota // it differs from the last snapshot
	defIndexed             // the index has one of this key
)

func (d *definition) dirty() bool   { return d.Flags&defDirty != 0 }
func (d *definition) indexed() bool { return d.Flags&defIndexed != 0 }
func (d *definition) absent() bool  { return d.value == 0 }

// cost is about what the definition's record takes in the journal.
func (d *definition) cost() int64 { return int64(opOverhead + d.Len() + int(d.length)) }

// setValue makes value the definition's.
func (l *live) setValue(d *definition, value []byte) {
	d.value, d.length = l.values.Put(value), uint32(len(value))
}

// letGo forgets the value of a definition, which the index has, or which nobody needs.
func (l *live) letGo(d *definition) {
	if !d.absent() {
		l.values.Drop(d.value, int(d.length))
		d.value = 0
	}
}

// gatherValues puts the values together when most of their memory is lost. A standby holds all of them for as long as it follows, those that
// never change between those that change all the time.
func (l *live) gatherValues() {
	if !l.values.Wasteful() {
		return
	}
	var values compact.Bytes
	for d := range l.defs.All() {
		if !d.absent() {
			d.value = values.Put(l.heldValue(d))
		}
	}
	l.values = values
}

// heldValue returns the value of a definition that is not absent.
func (l *live) heldValue(d *definition) []byte { return l.values.Get(d.value, int(d.length)) }

func newLive() *live {
	return &live{
		queues:   make(map[core.QueueID]*queue),
		goneDefs: make(map[string]struct{}),
		lost:     make(map[core.Pair]struct{}),
		segments: newSegmentTable(),
		resident: maxResident,
	}
}

// find returns where the chunk of that number is, or belongs. The last one and the first one are asked for most.
func (q *queue) find(number uint64) (int, bool) {
	n := len(q.chunks)
	switch {
	case n == 0 || q.chunks[n-1].number < number:
		return n, false
	case q.chunks[n-1].number == number:
		return n - 1, true
	case q.chunks[0].number == number:
		return 0, true
	}
	return slices.BinarySearchFunc(q.chunks, number, func(c *chunk, number uint64) int {
		switch {
		case c.number < number:
			return -1
		case c.number > number:
			return 1
		}
		return 0
	})
}

// queueOf returns the queue, made where it is new.
func (l *live) queueOf(id core.QueueID) *queue {
	q := l.queues[id]
	if q == nil {
		q = &queue{id: id, next: 1}
		l.queues[id] = q
	}
	return q
}

// publish puts an entry at a place. A place that is alive already is pointed to the new record.
func (l *live) publish(p core.Pair, e entry) {
	q := l.queues[p.Queue]
	if q == nil {
		if !l.replay {
			return // the queue was removed meanwhile
		}
		q = l.queueOf(p.Queue)
	}
	c := l.chunkOf(q, uint64(p.Seq)/chunkPlaces)
	place := int(p.Seq % chunkPlaces)
	if c.get(place) != nil {
		l.take(q, c, place, e.segment)
	}
	c.put(place, e)
	if c.pages != nil {
		i, bit := split(place)
		c.pages[i].alive |= bit
	}
	l.touch(q, c)
	q.count++
	q.bytes += int64(e.size)
	l.reach(q, p.Seq+1, e.segment)
	s := l.segments.at(e.segment)
	s.entries++
	s.bytes += int64(e.length)
	s.dirty = true
}

// reach notes that the places below next are used, as a record in segment says.
func (l *live) reach(q *queue, next core.Seq, segment uint32) {
	if next >= q.next {
		q.next, q.nextIn = next, segment
		l.touchQueue(q)
	}
}

// end ends an entry, because of a record in segment by. The chunk stays, also when it is empty.
func (l *live) end(q *queue, c *chunk, place int, by uint32) {
	l.take(q, c, place, by)
	if c.pages != nil {
		l.unname(q, c, place)
	}
}

// take takes an entry out of its chunk.
func (l *live) take(q *queue, c *chunk, place int, by uint32) {
	e := c.get(place)
	l.uncount(q, part{segment: e.segment, entries: 1, bytes: int64(e.length), size: int64(e.size)}, by)
	c.drop(place)
	l.touch(q, c)
}

// uncount takes out of the sums what a record in segment by ended.
func (l *live) uncount(q *queue, p part, by uint32) {
	q.count -= int64(p.entries)
	q.bytes -= p.size
	s := l.segments.at(p.segment)
	s.entries -= int64(p.entries)
	s.bytes -= p.bytes
	s.dirty = true
	l.segments.depend(by, p.segment)
}

// touchQueue notes that a queue differs from what the index has.
func (l *live) touchQueue(q *queue) {
	if !q.dirty {
		q.dirty = true
		l.changedQueues = append(l.changedQueues, q)
	}
}

// settle ends the entries of queue in ranges, because of a record in segment by.
func (l *live) settle(id core.QueueID, ranges []core.Range, by uint32) {
	q := l.queues[id]
	if q == nil {
		return
	}
	for _, r := range ranges {
		if r.First != r.Last {
			l.endRange(q, r, by)
			continue
		}
		if c, place := l.at(q, r.First); c != nil && c.get(place) != nil { // the common case
			l.end(q, c, place, by)
			if c.count == 0 {
				l.release(q, c)
			}
		}
	}
}

// mark adds a delivery to the entries of queue in ranges, because of a record in segment by.
func (l *live) mark(id core.QueueID, ranges []core.Range, by uint32) {
	q := l.queues[id]
	if q == nil {
		return
	}
	for _, r := range ranges {
		l.each(q, r, func(c *chunk, place int) bool {
			c.own()
			e := c.get(place)
			e.delivered = l.delivered(e) + 1
			l.touch(q, c)
			l.segments.depend(by, e.segment)
			return true
		})
	}
}

// define keeps a definition, because of a record in segment by. The value is copied.
func (l *live) define(key string, value []byte, id core.QueueID, order uint64, by uint32) {
	l.order = max(l.order, order)
	d := l.defs.Get(key)
	if d == nil {
		d = l.defs.Add(key)
		if _, was := l.goneDefs[key]; was {
			delete(l.goneDefs, key)
			d.Flags |= defIndexed
		}
	} else {
		l.undefine(d, by)
		l.letGo(d)
	}
	l.setValue(d, value)
	l.gatherValues()
	d.queue, d.order, d.segment = id, order, by
	if !d.dirty() {
		d.Flags |= defDirty
		l.changedDefs = append(l.changedDefs, d)
	}
	s := l.segments.at(by)
	s.defs++
	s.defBytes += d.cost()
	s.dirty = true
	if id != 0 {
		q := l.queueOf(id)
		q.defined = true
		l.touchQueue(q)
	}
}

// undefine ends what d's record in its segment stood for.
func (l *live) undefine(d *definition, by uint32) {
	s := l.segments.at(d.segment)
	s.defs--
	s.defBytes -= d.cost()
	s.dirty = true
	l.segments.depend(by, d.segment)
}

// remove ends a definition and its queue, because of a record in segment by.
func (l *live) remove(key string, id core.QueueID, by uint32) {
	if d := l.defs.Get(key); d != nil {
		l.undefine(d, by)
		l.letGo(d)
		l.defs.Remove(key)
		l.gatherValues()
		if d.indexed() {
			l.goneDefs[key] = struct{}{}
		}
	}
	if q := l.queues[id]; q != nil {
		l.removeQueue(q, by)
	}
}

func (l *live) removeQueue(q *queue, by uint32) {
	l.endRange(q, core.Range{Last: ^core.Seq(0)}, by)
	delete(l.queues, q.id)
	if q.indexed {
		l.goneQueues = append(l.goneQueues, q.id)
	}
}

// finishReplay drops the queues that turned out to have no definition: they were removed before their last publishes came.
func (l *live) finishReplay(by uint32) {
	l.replay = false
	for _, q := range l.queues {
		if !q.defined {
			l.removeQueue(q, by)
		}
	}
}

// delivered is how often the entry was delivered, as far as can be known.
func (l *live) delivered(e *entry) uint32 {
	if e.delivered == 0 && l.segments.at(e.segment).position(e.offset).Before(l.suspect) {
		return 1
	}
	return e.delivered
}
