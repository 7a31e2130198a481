package persistence

import (
	"fmt"
	"math/bits"
	"slices"
	"sync"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal"
)

// chunkPlaces is how many places of a queue one chunk covers. A chunk is what the index keeps as one value.
const chunkPlaces = 1024

// live is everything that is alive as of the last group that has passed, and where its records are. The committer changes it, group
// by group, so that whoever holds mu sees whole groups.
type live struct {
	mu       sync.Mutex
	position journal.Position // after the last group applied
	changed  bool             // since the last snapshot
	replay   bool             // publishes may come before the definition of their queue
	suspect  journal.Position // as of position
	segments segmentTable
	queues   map[core.QueueID]*queue
	defs     map[string]*definition
	order    uint64 // the highest definition order given

	lost    map[core.Pair]struct{} // found damaged and given up
	damaged uint32                 // the newest segment that held one of them; 0: none

	goneDefs   map[string]struct{} // in the index, not alive any more
	goneQueues []core.QueueID
	pool       [][]entry // arrays of chunks that ended
	resident   int       // how many chunks may stay in memory

	read func(queue core.QueueID, number uint64) ([]byte, error) // a chunk from the index
	err  error                                                   // a chunk that the index should have could not be read
}

// entry is where a live place's message is. 20 bytes; its place is where it stands in its chunk.
type entry struct {
	segment   uint32 // index in the segment table
	offset    uint32 // of the publish record in the file
	length    uint32 // of the publish record
	size      uint32 // core.Message.Size
	delivered uint32
}

// chunk is the places number*chunkPlaces to number*chunkPlaces+chunkPlaces-1 of a queue.
type chunk struct {
	number  uint64
	first   int     // the place entries[0] stands for, in the chunk
	entries []entry // as long as the places in use need; at most chunkPlaces
	alive   [chunkPlaces / 64]uint64
	count   int
	dirty   bool // differs from what the index has
	indexed bool // the index has one under this number
	absent  bool // only the index has it: entries, alive and count are not known before it is read
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
	gone    []uint64 // chunks the index has and must forget
}

type definition struct {
	key     string
	value   []byte
	queue   core.QueueID
	order   uint64
	segment uint32
	dirty   bool
	indexed bool
}

// cost is about what the definition's record takes in the journal.
func (d *definition) cost() int64 { return int64(opOverhead + len(d.key) + len(d.value)) }

func newLive() *live {
	return &live{
		queues:   make(map[core.QueueID]*queue),
		defs:     make(map[string]*definition),
		goneDefs: make(map[string]struct{}),
		lost:     make(map[core.Pair]struct{}),
		segments: newSegmentTable(),
		resident: maxResident,
	}
}

// at returns q's chunk that covers seq, in memory, and seq's place in it; nil when there is none.
func (l *live) at(q *queue, seq core.Seq) (*chunk, int) {
	i, ok := q.find(uint64(seq) / chunkPlaces)
	if !ok {
		return nil, 0
	}
	l.fetch(q, q.chunks[i])
	return q.chunks[i], int(seq % chunkPlaces)
}

// fetch reads a chunk that is absent. One that cannot be read looks empty from then on, and the store fails: see Store.pass.
func (l *live) fetch(q *queue, c *chunk) {
	if !c.absent {
		return
	}
	c.absent = false
	b, err := l.read(q.id, c.number)
	if err == nil {
		err = l.decodeChunk(b, c)
	}
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("read chunk %d of queue %d from the index: %w", c.number, q.id, err)
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

// get returns the entry at a place of the chunk, nil when it is not alive.
func (c *chunk) get(place int) *entry {
	if c.alive[place/64]&(1<<(place%64)) == 0 {
		return nil
	}
	return &c.entries[place-c.first]
}

// after returns the first live place at or after place, chunkPlaces when there is none.
func (c *chunk) after(place int) int {
	for w := place / 64; w < len(c.alive); w++ {
		word := c.alive[w]
		if w == place/64 {
			word &= ^uint64(0) << (place % 64)
		}
		if word != 0 {
			return w*64 + bits.TrailingZeros64(word)
		}
	}
	return chunkPlaces
}

// put makes place alive with e.
func (c *chunk) put(place int, e entry) {
	switch {
	case len(c.entries) == 0:
		c.first = place
	case place < c.first:
		c.entries = slices.Insert(c.entries, 0, make([]entry, c.first-place)...)
		c.first = place
	}
	for len(c.entries) <= place-c.first {
		c.entries = append(c.entries, entry{})
	}
	c.entries[place-c.first] = e
	c.alive[place/64] |= 1 << (place % 64)
	c.count++
	c.dirty = true
}

func (c *chunk) drop(place int) {
	c.alive[place/64] &^= 1 << (place % 64)
	c.count--
	c.dirty = true
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

// chunkOf returns q's chunk of that number, made where it is new.
func (l *live) chunkOf(q *queue, number uint64) *chunk {
	i, ok := q.find(number)
	if ok {
		l.fetch(q, q.chunks[i])
		return q.chunks[i]
	}
	c := &chunk{number: number}
	if n := len(l.pool); n > 0 {
		c.entries, l.pool = l.pool[n-1], l.pool[:n-1]
	}
	if g := slices.Index(q.gone, number); g >= 0 {
		q.gone = slices.Delete(q.gone, g, g+1)
		c.indexed = true
	}
	q.chunks = slices.Insert(q.chunks, i, c)
	return c
}

// poolChunks bounds what is kept for reuse: 64 arrays are at most 1.25 MiB.
const poolChunks = 64

// release takes an empty chunk out of its queue.
func (l *live) release(q *queue, c *chunk) {
	i, _ := q.find(c.number)
	q.chunks = slices.Delete(q.chunks, i, i+1)
	l.discard(q, c)
}

// discard lets go of an empty chunk that is in its queue no more.
func (l *live) discard(q *queue, c *chunk) {
	if c.indexed {
		q.gone = append(q.gone, c.number)
	}
	if cap(c.entries) > 0 && len(l.pool) < poolChunks {
		l.pool = append(l.pool, c.entries[:0])
	}
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
		l.end(q, c, place, e.segment)
	}
	c.put(place, e)
	q.count++
	q.bytes += int64(e.size)
	q.dirty = true
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
		q.dirty = true
	}
}

// end takes an entry out, because of a record in segment by. The chunk stays, also when it is empty.
func (l *live) end(q *queue, c *chunk, place int, by uint32) {
	e := c.get(place)
	q.count--
	q.bytes -= int64(e.size)
	q.dirty = true
	s := l.segments.at(e.segment)
	s.entries--
	s.bytes -= int64(e.length)
	s.dirty = true
	l.segments.depend(by, e.segment)
	c.drop(place)
}

// each calls do with every live entry of q in r, until it returns false. do may end the entry, but takes no chunk out.
func (l *live) each(q *queue, r core.Range, do func(c *chunk, place int) bool) {
	i, _ := q.find(uint64(r.First) / chunkPlaces)
	for i < len(q.chunks) {
		c := q.chunks[i]
		base := core.Seq(c.number * chunkPlaces)
		if base > r.Last {
			return
		}
		l.fetch(q, c)
		place := 0
		if r.First > base {
			place = int(r.First - base)
		}
		for place = c.after(place); place < chunkPlaces && base+core.Seq(place) <= r.Last; place = c.after(place + 1) {
			if !do(c, place) {
				return
			}
		}
		i++
	}
}

// settle ends the entries of queue in ranges, because of a record in segment by.
func (l *live) settle(id core.QueueID, ranges []core.Range, by uint32) {
	q := l.queues[id]
	if q == nil {
		return
	}
	for _, r := range ranges {
		if r.First == r.Last { // the common case, without the closure
			if c, place := l.at(q, r.First); c != nil && c.get(place) != nil {
				l.end(q, c, place, by)
				if c.count == 0 {
					l.release(q, c)
				}
			}
			continue
		}
		empty := false
		l.each(q, r, func(c *chunk, place int) bool {
			l.end(q, c, place, by)
			empty = empty || c.count == 0
			return true
		})
		if empty {
			l.sweep(q)
		}
	}
}

// sweep takes all empty chunks out of q.
func (l *live) sweep(q *queue) {
	q.chunks = slices.DeleteFunc(q.chunks, func(c *chunk) bool {
		if c.count > 0 || c.absent {
			return false
		}
		l.discard(q, c)
		return true
	})
}

// mark adds a delivery to the entries of queue in ranges, because of a record in segment by.
func (l *live) mark(id core.QueueID, ranges []core.Range, by uint32) {
	q := l.queues[id]
	if q == nil {
		return
	}
	for _, r := range ranges {
		l.each(q, r, func(c *chunk, place int) bool {
			e := c.get(place)
			e.delivered = l.delivered(e) + 1
			c.dirty = true
			l.segments.depend(by, e.segment)
			return true
		})
	}
}

// define keeps a definition, because of a record in segment by.
func (l *live) define(key string, value []byte, id core.QueueID, order uint64, by uint32) {
	l.order = max(l.order, order)
	d := l.defs[key]
	if d == nil {
		d = &definition{key: key}
		if _, was := l.goneDefs[key]; was {
			delete(l.goneDefs, key)
			d.indexed = true
		}
		l.defs[key] = d
	} else {
		l.undefine(d, by)
	}
	d.value, d.queue, d.order, d.segment, d.dirty = value, id, order, by, true
	s := l.segments.at(by)
	s.defs++
	s.defBytes += d.cost()
	s.dirty = true
	if id != 0 {
		q := l.queueOf(id)
		q.defined, q.dirty = true, true
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
	if d := l.defs[key]; d != nil {
		l.undefine(d, by)
		delete(l.defs, key)
		if d.indexed {
			l.goneDefs[key] = struct{}{}
		}
	}
	if q := l.queues[id]; q != nil {
		l.removeQueue(q, by)
	}
}

func (l *live) removeQueue(q *queue, by uint32) {
	l.each(q, core.Range{Last: ^core.Seq(0)}, func(c *chunk, place int) bool {
		l.end(q, c, place, by)
		return true
	})
	l.dropQueue(q)
}

func (l *live) dropQueue(q *queue) {
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
