package persistence

import (
	"fmt"
	"slices"

	"github.com/batonmq/baton/core"
)

// Of a long queue only the chunks in use are in memory: where it is published to and consumed from. The others are in the index alone,
// and memory holds what they sum up to. So a backlog costs some 200 bytes for each chunk of 1,024 entries, and a purge, which wants to
// know of every chunk only what it held of which segment, reads none of them.

// maxResident is how many chunks stay in memory. Beyond it, those that the index has too are let go at the next checkpoint: 1024 of them
// are at most 20 MiB and a million entries.
const maxResident = 1024

// inMemory is a chunk whose entries are in memory.
type inMemory struct {
	q *queue
	c *chunk
}

// list notes that the entries of c are in memory.
func (l *live) list(q *queue, c *chunk) {
	l.inMemory = append(l.inMemory, inMemory{q, c})
	c.listed = len(l.inMemory)
}

func (l *live) unlist(c *chunk) {
	if c.listed == 0 {
		return
	}
	last := len(l.inMemory) - 1
	moved := l.inMemory[last]
	l.inMemory[c.listed-1], moved.c.listed = moved, c.listed
	l.inMemory[last] = inMemory{}
	l.inMemory, c.listed = l.inMemory[:last], 0
}

// touch notes that c differs from what the index has.
func (l *live) touch(q *queue, c *chunk) {
	if c.dirty == 0 {
		q.changed = append(q.changed, c)
		c.dirty, c.parts = len(q.changed), nil
	}
	l.touchQueue(q)
}

func (q *queue) untouch(c *chunk) {
	if c.dirty == 0 {
		return
	}
	last := len(q.changed) - 1
	moved := q.changed[last]
	q.changed[c.dirty-1], moved.dirty = moved, c.dirty
	q.changed[last] = nil
	q.changed, c.dirty = q.changed[:last], 0
}

// at returns q's chunk that covers seq, in memory, and seq's place in it; nil when there is none.
func (l *live) at(q *queue, seq core.Seq) (*chunk, int) {
	i, ok := q.find(uint64(seq) / chunkPlaces)
	if !ok {
		return nil, 0
	}
	l.fetch(q, q.chunks[i])
	q.chunks[i].used = true
	return q.chunks[i], int(seq % chunkPlaces)
}

// fetch reads a chunk that is absent. One that cannot be read looks empty from then on, and the store fails: see Store.pass.
func (l *live) fetch(q *queue, c *chunk) {
	if !c.absent {
		return
	}
	b, err := l.read(q.id, c.number)
	if err == nil {
		err = l.install(q, c, b)
	}
	if err != nil {
		c.absent = false
		c.empty()
		if l.err == nil {
			l.err = fmt.Errorf("read chunk %d of queue %d from the index: %w", c.number, q.id, err)
		}
	}
}

// install takes over the value b of a chunk that is absent.
func (l *live) install(q *queue, c *chunk, b []byte) error {
	c.entries = l.array(c.count)
	if err := l.decodeChunk(b, c); err != nil {
		return err
	}
	c.absent = false
	c.turn++
	c.used = true
	l.list(q, c)
	return nil
}

// shortChunk is how many entries take about as much memory as the chunk that they are in takes without them. There may be a hundred
// thousand queues with a chunk of some entries: they are not worth being away.
const shortChunk = 8

// load takes over the value b of a chunk that was met in the index: all of it if it is short, and what it sums up to otherwise.
func (l *live) load(q *queue, c *chunk, b []byte) error {
	r := stateReader{b: b}
	c.parts, c.count, c.indexed, c.absent = l.readParts(&r), 0, true, true
	if r.bad {
		return errState
	}
	for _, p := range c.parts {
		c.count += int(p.entries)
	}
	if q.id.Keyed() {
		c.pages = new(pages)
		if err := l.markAlive(c, b); err != nil {
			return err
		}
	}
	if c.count > shortChunk {
		return nil
	}
	err := l.install(q, c, b)
	c.parts = nil // they are summed up as fast
	return err
}

// fetchAhead is how many chunks are read at a time without live.mu.
const fetchAhead = 4

// absentChunk is a chunk that was absent when it was looked at.
type absentChunk struct {
	c      *chunk
	number uint64
	turn   uint32
}

// bring fetches the absent chunks with which a read of up to n entries in r begins. The index is read without mu, which the committer
// may want meanwhile. What cannot be read is left to fetch.
func (l *live) bring(id core.QueueID, r core.Range, n int) {
	var array [fetchAhead]absentChunk
	for _, a := range l.absent(id, r, n, array[:0]) {
		b, err := l.read(id, a.number)
		if err != nil || !l.installed(id, a, b) {
			return
		}
	}
}

// absent lists the first chunks that are absent among those with the first n entries of r.
func (l *live) absent(id core.QueueID, r core.Range, n int, list []absentChunk) []absentChunk {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queues[id]
	if q == nil {
		return nil
	}
	i, _ := q.find(uint64(r.First) / chunkPlaces)
	for ; i < len(q.chunks) && n > 0 && len(list) < cap(list); i++ {
		c := q.chunks[i]
		if core.Seq(c.number*chunkPlaces) > r.Last {
			break
		}
		if c.absent {
			list = append(list, absentChunk{c, c.number, c.turn})
		}
		n -= c.count
	}
	return list
}

// installed takes over b, unless the chunk was in memory meanwhile: b may be what it was before that.
func (l *live) installed(id core.QueueID, a absentChunk, b []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queues[id]
	if q == nil {
		return false
	}
	i, ok := q.find(a.number)
	if !ok || q.chunks[i] != a.c || !a.c.absent || a.c.turn != a.turn {
		return false
	}
	kept := *a.c
	if l.install(q, a.c, b) == nil {
		return true
	}
	*a.c = kept
	return false
}

// evict lets go of chunks that the index has, until no more than l.resident are in memory or all were looked at. The first and the
// last two of a queue stay, and those used since the last time: they are in use.
func (l *live) evict() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.inMemory) - 1; i >= 0 && len(l.inMemory) > l.resident; i-- { // what moves into its place was looked at
		m := l.inMemory[i]
		c := m.c
		entries := c.entries
		if !c.used && c.dirty == 0 && c.indexed && !m.q.atEnd(c) {
			l.unlist(c)
			*c = chunk{number: c.number, count: c.count, parts: c.summed(), indexed: true, absent: true, turn: c.turn, pages: c.pages}
			l.keep(entries)
		}
		c.used = false
	}
}

// atEnd reports whether c is the first or one of the last two of q.
func (q *queue) atEnd(c *chunk) bool {
	n := len(q.chunks)
	return n <= 3 || c == q.chunks[0] || c.number >= q.chunks[n-2].number
}

// chunkOf returns q's chunk of that number, made where it is new.
func (l *live) chunkOf(q *queue, number uint64) *chunk {
	i, ok := q.find(number)
	if ok {
		l.fetch(q, q.chunks[i])
		return q.chunks[i]
	}
	c := &chunk{number: number, entries: l.array(q.filled)}
	if q.id.Keyed() {
		c.pages = new(pages)
	}
	if g := slices.Index(q.gone, number); g >= 0 {
		q.gone = slices.Delete(q.gone, g, g+1)
		c.indexed = true
	}
	q.chunks = slices.Insert(q.chunks, i, c)
	l.list(q, c)
	return c
}

// pool keeps arrays for reuse, long ones apart from those with which chunks of short queues can do.
type pool struct{ long, short [][]entry }

const (
	poolArrays = 64 // of each kind: at most 1.25 MiB of the long ones
	longArray  = chunkPlaces / 2
)

// array returns an empty array for about n entries.
func (l *live) array(n int) (a []entry) {
	list := &l.pool.short
	if n >= longArray {
		list, n = &l.pool.long, chunkPlaces
	}
	if k := len(*list); k > 0 {
		a, *list = (*list)[k-1], (*list)[:k-1]
		return a
	}
	return make([]entry, 0, n)
}

// keep takes back the array of a chunk that needs it no more.
func (l *live) keep(entries []entry) {
	list := &l.pool.short
	if cap(entries) >= longArray {
		list = &l.pool.long
	}
	if cap(entries) > 0 && len(*list) < poolArrays {
		*list = append(*list, entries[:0])
	}
}

// release takes an empty chunk out of its queue.
func (l *live) release(q *queue, c *chunk) {
	i, _ := q.find(c.number)
	if i == 0 { // a queue is consumed from its head
		q.chunks[0] = nil
		q.chunks = q.chunks[1:]
	} else {
		q.chunks = slices.Delete(q.chunks, i, i+1)
	}
	l.discard(q, c)
}

// discard lets go of a chunk that is in its queue no more.
func (l *live) discard(q *queue, c *chunk) {
	if c.indexed {
		q.gone = append(q.gone, c.number)
	}
	l.touchQueue(q)
	q.untouch(c)
	l.unlist(c)
	q.filled = len(c.entries)
	if !c.shared {
		l.keep(c.entries)
	}
	c.entries = nil
}

// each calls do with every live entry of q in r, until it returns false. do may end the entry, but takes no chunk out.
func (l *live) each(q *queue, r core.Range, do func(c *chunk, place int) bool) {
	i, _ := q.find(uint64(r.First) / chunkPlaces)
	for ; i < len(q.chunks); i++ {
		c := q.chunks[i]
		if core.Seq(c.number*chunkPlaces) > r.Last {
			return
		}
		l.fetch(q, c)
		c.used = true
		from, to := c.within(r)
		for place := c.after(from); place <= to; place = c.after(place + 1) {
			if !do(c, place) {
				return
			}
		}
	}
}

// within returns the first and the last place of c that lie in r, which does not end before c.
func (c *chunk) within(r core.Range) (from, to int) {
	base := core.Seq(c.number * chunkPlaces)
	if r.First > base {
		from = int(r.First - base)
	}
	return from, int(min(r.Last-base, chunkPlaces-1))
}

// endRange ends what lives of q in r, because of a record in segment by. Chunks that end as a whole are not read.
func (l *live) endRange(q *queue, r core.Range, by uint32) {
	first, _ := q.find(uint64(r.First) / chunkPlaces)
	i, empty := first, 0
	for ; i < len(q.chunks); i++ {
		c := q.chunks[i]
		if core.Seq(c.number*chunkPlaces) > r.Last {
			break
		}
		if l.endWithin(q, c, r, by); c.count == 0 {
			empty++
		}
	}
	switch {
	case empty == 0:
	case first == 0 && empty == i: // from its head, or all of it
		for _, c := range q.chunks[:i] {
			l.discard(q, c)
		}
		clear(q.chunks[:i])
		q.chunks = q.chunks[i:]
	default:
		q.chunks = slices.DeleteFunc(q.chunks, func(c *chunk) bool {
			if c.count == 0 {
				l.discard(q, c)
			}
			return c.count == 0
		})
	}
}

// endWithin ends what lives of c in r. The chunk stays, also when it is empty.
func (l *live) endWithin(q *queue, c *chunk, r core.Range, by uint32) {
	from, to := c.within(r)
	if from > 0 || to < chunkPlaces-1 {
		l.fetch(q, c)
		for place := c.after(from); place <= to; place = c.after(place + 1) {
			l.end(q, c, place, by)
		}
		return
	}
	for _, p := range c.summed() {
		l.uncount(q, p, by)
	}
	clear(c.alive)
	c.count, c.absent = 0, false
	l.dropPages(q, c)
}
