package persistence

import (
	"encoding/binary"
	"errors"
	"iter"
	"slices"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/index"
	"github.com/batonmq/baton/persistence/journal"
)

// indexer is what the store needs of the index.
//
//nolint:interfacebloat // the whole seam between the store and its index, so that tests can run on one in memory
type indexer interface {
	Root() (index.Root, bool)
	Reason() string
	Apply(cp *index.Checkpoint) error
	Chunk(id index.ChunkID) ([]byte, bool, error)
	Chunks(queue, from, to uint64) []uint64
	Definitions() iter.Seq2[index.Definition, error]
	Queues() iter.Seq2[index.Queue, error]
	Segments() iter.Seq2[index.Segment, error]
	Reset() error
	Failed() <-chan struct{}
	Err() error
	Close() error
}

// maxResident is how many chunks stay in memory. Beyond it, those that the index has too are let go at the next checkpoint: 4096 of them
// are at most 80 MiB and four million entries.
const maxResident = 4096

// snapshot returns what has changed since the last one, as of the last group that has passed, and notes it as saved. It copies under
// live.mu; the index is written without it.
func (l *live) snapshot() *index.Checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	cp := &index.Checkpoint{Position: index.Position(l.position), Meta: l.encodeMeta()}
	l.changed = false
	for _, q := range l.queues {
		l.snapshotQueue(cp, q)
	}
	for _, id := range l.goneQueues {
		cp.RemoveQueues = append(cp.RemoveQueues, uint64(id))
	}
	for key := range l.goneDefs {
		cp.RemoveDefinitions = append(cp.RemoveDefinitions, key)
	}
	l.goneQueues = nil
	clear(l.goneDefs)
	for _, d := range l.defs {
		if d.dirty {
			cp.PutDefinitions = append(cp.PutDefinitions, index.Definition{
				Key: d.key, Value: l.encodeDefinition(d), Queue: uint64(d.queue), Order: d.order,
			})
			d.dirty, d.indexed = false, true
		}
	}
	for _, s := range l.segments.list[1:] {
		switch {
		case s.gone && s.saved:
			cp.RemoveSegments = append(cp.RemoveSegments, s.id.Key())
			s.saved = false
		case s.dirty && !s.gone:
			cp.PutSegments = append(cp.PutSegments, index.Segment{Number: s.id.Key(), Data: l.encodeSegment(s)})
			s.saved = true
		}
		s.dirty = false
	}
	return cp
}

func (l *live) snapshotQueue(cp *index.Checkpoint, q *queue) {
	if q.dirty {
		cp.PutQueues = append(cp.PutQueues, index.Queue{
			ID: uint64(q.id), Next: uint64(q.next), Count: q.count, Bytes: q.bytes,
		})
		q.dirty, q.indexed = false, true
	}
	for _, number := range q.gone {
		cp.RemoveChunks = append(cp.RemoveChunks, index.ChunkID{Queue: uint64(q.id), Number: number})
	}
	q.gone = nil
	for _, c := range q.chunks {
		if c.dirty {
			cp.PutChunks = append(cp.PutChunks, index.Chunk{
				ChunkID: index.ChunkID{Queue: uint64(q.id), Number: c.number}, Data: l.encodeChunk(c),
			})
			c.dirty, c.indexed = false, true
		}
	}
}

// evict lets go of chunks that the index has, until no more than l.resident are in memory. The first and the last two of a queue
// stay: they are in use.
func (l *live) evict() {
	l.mu.Lock()
	defer l.mu.Unlock()
	resident := 0
	for _, q := range l.queues {
		for _, c := range q.chunks {
			if !c.absent {
				resident++
			}
		}
	}
	for _, q := range l.queues {
		for i := 1; i < len(q.chunks)-2 && resident > l.resident; i++ {
			if c := q.chunks[i]; !c.absent && !c.dirty && c.indexed {
				q.chunks[i] = &chunk{number: c.number, indexed: true, absent: true}
				resident--
			}
		}
	}
}

const stateFormat = 1 // of the values below; the index is thrown away when it is another

var errState = errors.New("a value of the index is malformed")

// encodeChunk writes the live entries of c: the segments they lie in, then for each the distance to the place before, its segment and
// the rest of the entry, all as uvarints.
func (l *live) encodeChunk(c *chunk) []byte {
	b := make([]byte, 0, 16+12*c.count)
	b = append(b, stateFormat)
	var table []uint32
	number := func(segment uint32) int {
		for i, known := range slices.Backward(table) {
			if known == segment {
				return i
			}
		}
		table = append(table, segment)
		return len(table) - 1
	}
	for p := c.after(0); p < chunkPlaces; p = c.after(p + 1) {
		number(c.get(p).segment)
	}
	b = binary.AppendUvarint(b, uint64(len(table)))
	for _, i := range table {
		b = binary.LittleEndian.AppendUint64(b, l.segments.at(i).id.Key())
	}
	b = binary.AppendUvarint(b, uint64(c.count))
	before := -1
	for p := c.after(0); p < chunkPlaces; p = c.after(p + 1) {
		e := c.get(p)
		b = binary.AppendUvarint(b, uint64(p-before))
		b = binary.AppendUvarint(b, uint64(number(e.segment)))
		b = binary.AppendUvarint(b, uint64(e.offset))
		b = binary.AppendUvarint(b, uint64(e.length))
		b = binary.AppendUvarint(b, uint64(e.size))
		b = binary.AppendUvarint(b, uint64(e.delivered))
		before = p
	}
	return b
}

// decodeChunk is the inverse of encodeChunk.
func (l *live) decodeChunk(b []byte, c *chunk) error {
	r := stateReader{b: b}
	r.format()
	table := make([]uint32, 0, 8)
	for n := r.count(8); n > 0; n-- {
		i, ok := l.segments.byID[journal.SegmentOfKey(r.uint64())]
		r.bad = r.bad || !ok
		table = append(table, i)
	}
	place := -1
	for n := r.count(6); n > 0; n-- {
		delta, segment := r.uvarint(), r.uvarint()
		e := entry{offset: r.uint32(), length: r.uint32(), size: r.uint32(), delivered: r.uint32()}
		if r.bad || delta == 0 || delta > chunkPlaces || place+int(delta) >= chunkPlaces || segment >= uint64(len(table)) {
			return errState
		}
		place += int(delta)
		e.segment = table[segment]
		c.put(place, e)
	}
	c.dirty = false
	return r.end()
}

func (l *live) encodeMeta() []byte {
	b := binary.AppendUvarint([]byte{stateFormat}, uint64(l.suspect.Epoch))
	return binary.AppendUvarint(b, l.suspect.Offset)
}

func (l *live) decodeMeta(b []byte) error {
	r := stateReader{b: b}
	r.format()
	l.suspect = journal.Position{Epoch: r.uint32(), Offset: r.uvarint()}
	return r.end()
}

func (l *live) encodeDefinition(d *definition) []byte {
	b := make([]byte, 0, 9+len(d.value))
	b = append(b, stateFormat)
	b = binary.LittleEndian.AppendUint64(b, l.segments.at(d.segment).id.Key())
	return append(b, d.value...)
}

// encodeSegment writes what is known of s.
func (l *live) encodeSegment(s *segment) []byte {
	b := []byte{stateFormat}
	b = binary.LittleEndian.AppendUint64(b, uint64(s.base))
	b = binary.LittleEndian.AppendUint64(b, s.end)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.entries))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.bytes))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.defs))
	b = binary.AppendUvarint(b, uint64(len(s.older)))
	for o := range s.older {
		b = binary.LittleEndian.AppendUint64(b, l.segments.at(o).id.Key())
	}
	return b
}

// restore fills l from the index's last checkpoint. Chunks stay in the index until they are asked for.
func (l *live) restore(x indexer) error {
	root, _ := x.Root()
	l.position = journal.Position(root.Position)
	if err := l.decodeMeta(root.Meta); err != nil {
		return err
	}
	older := make(map[uint32][]uint64)
	for v, err := range x.Segments() {
		if err != nil {
			return err
		}
		i := l.segments.add(journal.SegmentOfKey(v.Number))
		s := l.segments.at(i)
		r := stateReader{b: v.Data}
		r.format()
		s.base, s.end = int64(r.uint64()), r.uint64()
		s.entries, s.bytes, s.defs = int64(r.uint64()), int64(r.uint64()), int64(r.uint64())
		for n := r.count(8); n > 0; n-- {
			older[i] = append(older[i], r.uint64())
		}
		if err := r.end(); err != nil {
			return err
		}
		s.saved, s.dirty = true, false
	}
	for i, keys := range older {
		for _, key := range keys {
			if o, ok := l.segments.byID[journal.SegmentOfKey(key)]; ok { // one that is not there has gone
				l.segments.depend(i, o)
			}
		}
	}
	if err := l.restoreQueues(x); err != nil {
		return err
	}
	return l.restoreDefinitions(x)
}

func (l *live) restoreQueues(x indexer) error {
	for v, err := range x.Queues() {
		if err != nil {
			return err
		}
		q := &queue{
			id: core.QueueID(v.ID), indexed: true, next: core.Seq(v.Next), count: v.Count, bytes: v.Bytes,
		}
		for _, number := range x.Chunks(v.ID, 0, ^uint64(0)) {
			q.chunks = append(q.chunks, &chunk{number: number, indexed: true, absent: true})
		}
		l.queues[q.id] = q
	}
	return nil
}

func (l *live) restoreDefinitions(x indexer) error {
	for v, err := range x.Definitions() {
		if err != nil {
			return err
		}
		r := stateReader{b: v.Value}
		r.format()
		segment, ok := l.segments.byID[journal.SegmentOfKey(r.uint64())]
		if r.bad || !ok {
			return errState
		}
		l.defs[v.Key] = &definition{
			key: v.Key, value: r.b, queue: core.QueueID(v.Queue), order: v.Order, segment: segment, indexed: true,
		}
		l.segments.at(segment).defBytes += l.defs[v.Key].cost()
		l.order = max(l.order, v.Order)
		if v.Queue == 0 {
			continue
		}
		q := l.queues[core.QueueID(v.Queue)]
		if q == nil {
			return errState
		}
		q.defined = true
	}
	return nil
}

// stateReader reads a value of the index and remembers that something was missing.
type stateReader struct {
	b   []byte
	bad bool
}

func (r *stateReader) format() {
	if len(r.b) == 0 || r.b[0] != stateFormat {
		r.bad, r.b = true, nil
		return
	}
	r.b = r.b[1:]
}

func (r *stateReader) uint64() uint64 {
	if len(r.b) < 8 {
		r.bad, r.b = true, nil
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *stateReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *stateReader) uint32() uint32 {
	v := r.uvarint()
	r.bad = r.bad || v > 0xffffffff
	return uint32(v)
}

// count reads a number of items of at least size bytes each.
func (r *stateReader) count(size int) uint64 {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.bad, r.b = true, nil
		return 0
	}
	return n
}

func (r *stateReader) end() error {
	if r.bad || len(r.b) != 0 {
		return errState
	}
	return nil
}
