package persistence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

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
	Chunks() iter.Seq2[index.Chunk, error]
	Definition(key string) (index.Definition, bool, error)
	Definitions() iter.Seq2[index.Definition, error]
	Queues() iter.Seq2[index.Queue, error]
	Segments() iter.Seq2[index.Segment, error]
	Reset() error
	Failed() <-chan struct{}
	Err() error
	Close() error
}

// snapshot returns what has changed since the last one, as of the last group that has passed, and notes it as saved. Chunks are
// encoded, and the index is written, without live.mu: an entry that is changed meanwhile is changed in a copy of its array.
func (l *live) snapshot() *index.Checkpoint {
	l.gatherSparse()
	cp, frozen, keys := l.freeze()
	for i := range frozen {
		f := &frozen[i]
		f.parts = f.chunk.sum()
		cp.PutChunks[i].Data = encodeChunk(&f.chunk, f.parts, func(segment uint32) uint64 { return keys[segment] })
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range frozen {
		f := &frozen[i]
		if f.of.dirty == 0 {
			f.of.parts = f.parts
		}
		f.of.shared = false
	}
	return cp
}

// frozenChunk is a chunk as it was at a snapshot.
type frozenChunk struct {
	of    *chunk
	chunk chunk
	parts []part
}

// freeze is snapshot up to the chunks' data. It returns the segments' keys with them: they may have gone when the data are encoded.
func (l *live) freeze() (*index.Checkpoint, []frozenChunk, map[uint32]uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	cp := &index.Checkpoint{Position: index.Position(l.position), Meta: l.encodeMeta()}
	l.changed, l.replayed = false, 0
	queues, chunks := l.countChanged()
	cp.PutQueues, cp.PutChunks = make([]index.Queue, 0, queues), make([]index.Chunk, 0, chunks)
	frozen := make([]frozenChunk, 0, chunks)
	for _, q := range l.changedQueues {
		if l.queues[q.id] == q {
			frozen = l.freezeQueue(cp, q, frozen)
		}
	}
	for _, id := range l.goneQueues {
		cp.RemoveQueues = append(cp.RemoveQueues, uint64(id))
	}
	l.freezePages(cp)
	for key := range l.goneDefs {
		cp.RemoveDefinitions = append(cp.RemoveDefinitions, key)
	}
	for _, d := range l.changedDefs {
		if d.Alive() {
			cp.PutDefinitions = append(cp.PutDefinitions, index.Definition{
				Key: l.defs.Key(d), Value: l.encodeDefinition(d), Queue: uint64(d.queue), Order: d.order,
			})
			d.Flags = defIndexed
		}
	}
	l.defs.Reuse() // only changedDefs could still point to any
	cp.RemoveSegments, l.segments.forget = l.segments.forget, nil
	keys := make(map[uint32]uint64, len(l.segments.present))
	for _, i := range l.segments.present {
		keys[i] = l.segments.at(i).id.Key()
		if s := l.segments.at(i); s.dirty {
			cp.PutSegments = append(cp.PutSegments, index.Segment{Number: s.id.Key(), Data: l.encodeSegment(s)})
			s.dirty, s.saved = false, true
		}
	}
	l.changedQueues, l.changedDefs, l.goneQueues = nil, nil, nil
	l.goneDefs = make(map[string]struct{}) // one that was cleared keeps the room of the most that it ever held
	return cp, frozen, keys
}

// countChanged counts what freeze freezes: a hundred thousand queues may have changed, and lists that grow would take twice the room.
func (l *live) countChanged() (queues, chunks int) {
	for _, q := range l.changedQueues {
		if l.queues[q.id] == q {
			queues++
			chunks += len(q.changed)
		}
	}
	return queues, chunks
}

func (l *live) freezeQueue(cp *index.Checkpoint, q *queue, frozen []frozenChunk) []frozenChunk {
	cp.PutQueues = append(cp.PutQueues, index.Queue{
		ID: uint64(q.id), Next: uint64(q.next), Count: q.count, Bytes: q.bytes,
	})
	q.dirty, q.indexed = false, true
	for _, number := range q.gone {
		cp.RemoveChunks = append(cp.RemoveChunks, index.ChunkID{Queue: uint64(q.id), Number: number})
	}
	for _, c := range q.changed {
		cp.PutChunks = append(cp.PutChunks, index.Chunk{ChunkID: index.ChunkID{Queue: uint64(q.id), Number: c.number}})
		frozen = append(frozen, frozenChunk{of: c, chunk: *c})
		frozen[len(frozen)-1].chunk.alive = slices.Clone(c.alive)
		c.dirty, c.indexed, c.shared = 0, true, true
	}
	q.gone, q.changed = nil, nil
	return frozen
}

const stateFormat = 2 // of the values below; the index is thrown away when it is another

var errState = errors.New("a value of the index is malformed")

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

// definitionHead is the length of what stands before a definition's value: the format, and the segment its record is in.
const definitionHead = 1 + 8

func (l *live) encodeDefinition(d *definition) []byte {
	b := make([]byte, 0, definitionHead+d.length)
	b = append(b, stateFormat)
	b = binary.LittleEndian.AppendUint64(b, l.segments.at(d.segment).id.Key())
	return append(b, l.heldValue(d)...)
}

// letGoOf forgets the values of definitions that cp has brought into the index, and that have not changed since.
func (l *live) letGoOf(cp *index.Checkpoint) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range cp.PutDefinitions {
		put := &cp.PutDefinitions[i]
		if queue, number, is := parsePageKey(put.Key); is {
			l.letGoOfPage(queue, number)
			continue
		}
		if d := l.defs.Get(put.Key); d != nil && !d.dirty() && !d.absent() && bytes.Equal(put.Value[definitionHead:], l.heldValue(d)) {
			l.letGo(d)
		}
	}
}

// valueOf returns the value of a definition, which is read where it is absent. An error is final for the store: see Store.pass.
func (l *live) valueOf(d *definition) ([]byte, error) {
	if !d.absent() {
		return l.heldValue(d), nil
	}
	key := l.defs.Key(d)
	value, err := l.readValue(key)
	if err == nil && len(value) != int(d.length) {
		err = errState
	}
	if err != nil {
		return nil, fmt.Errorf("read definition %q from the index: %w", key, err)
	}
	return value, nil
}

// readValue reads a definition's value from the index.
func (l *live) readValue(key string) ([]byte, error) {
	b, err := l.readDef(key)
	if err != nil {
		return nil, err
	}
	if len(b) < definitionHead {
		return nil, errState
	}
	return b[definitionHead:], nil
}

// bringDefinition reads the value of a definition for valueOf, without mu, which the committer may want meanwhile. What cannot be read is left
// to valueOf. It is for the checkpointer, without which no other value comes into the index meanwhile.
func (l *live) bringDefinition(key string) {
	l.mu.Lock()
	d := l.defs.Get(key)
	wanted := d != nil && d.absent()
	l.mu.Unlock()
	if !wanted {
		return
	}
	value, err := l.readValue(key)
	l.mu.Lock()
	defer l.mu.Unlock()
	if d = l.defs.Get(key); err == nil && d != nil && d.absent() && len(value) == int(d.length) {
		l.setValue(d, value)
	}
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

// restore fills l from the index's last checkpoint.
func (l *live) restore(x indexer) error {
	root, _ := x.Root()
	l.position = journal.Position(root.Position)
	l.queues = make(map[core.QueueID]*queue, root.Queues)
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
	var wg sync.WaitGroup
	var pages []foundPage
	var defsErr error
	wg.Go(func() { pages, defsErr = l.restoreDefinitions(x) })
	err := l.restoreQueues(x)
	wg.Wait()
	if err = errors.Join(err, defsErr); err != nil {
		return err
	}
	return errors.Join(l.markDefined(), l.restorePages(pages))
}

func (l *live) restoreQueues(x indexer) error {
	for v, err := range x.Queues() {
		if err != nil {
			return err
		}
		q := &queue{
			id: core.QueueID(v.ID), indexed: true, next: core.Seq(v.Next), count: v.Count, bytes: v.Bytes,
		}
		l.queues[q.id] = q
	}
	return l.restoreChunks(x)
}

// restoreChunks learns which chunks there are and what they sum up to. The entries of long ones stay in the index until they are asked for.
func (l *live) restoreChunks(x indexer) error {
	for v, err := range x.Chunks() {
		if err != nil {
			return err
		}
		q := l.queues[core.QueueID(v.Queue)]
		if q == nil || len(q.chunks) > 0 && q.chunks[len(q.chunks)-1].number >= v.Number {
			return errState
		}
		c := &chunk{number: v.Number}
		if err := l.load(q, c, v.Data); err != nil {
			return err
		}
		q.chunks = append(q.chunks, c)
	}
	return nil
}

// restoreDefinitions returns the pages that it has met: they need their queues.
func (l *live) restoreDefinitions(x indexer) (pages []foundPage, err error) {
	for v, err := range x.Definitions() {
		if err != nil {
			return nil, err
		}
		if queue, number, is := parsePageKey(v.Key); is {
			pages = append(pages, foundPage{queue, number, v.Value})
			continue
		}
		r := stateReader{b: v.Value}
		r.format()
		segment, ok := l.segments.byID[journal.SegmentOfKey(r.uint64())]
		if r.bad || !ok {
			return nil, errState
		}
		d := l.defs.Add(v.Key)
		d.queue, d.order, d.segment, d.Flags = core.QueueID(v.Queue), v.Order, segment, defIndexed
		l.setValue(d, r.b)
		l.segments.at(segment).defBytes += d.cost()
		l.order = max(l.order, v.Order)
	}
	return pages, nil
}

// markDefined tells the queues which definitions there are.
func (l *live) markDefined() error {
	for d := range l.defs.All() {
		if d.queue == 0 {
			continue
		}
		q := l.queues[d.queue]
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

func (r *stateReader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *stateReader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
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
