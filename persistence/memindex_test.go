package persistence

import (
	"cmp"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/batonmq/baton/persistence/index"
	"github.com/batonmq/baton/persistence/journal/crashfs"
)

// memIndex is an index in memory that shares the fate of a crashfs: a checkpoint is there as a whole or not at all. As with the real
// index, the checkpointer writes it while loads read it.
type memIndex struct {
	fs     *crashfs.FS
	full   bool  // Apply finds no room
	broken error // Chunk fails with it
	failed chan struct{}
	closed bool

	mu   sync.Mutex
	disk *memIndexDisk
	err  error
}

// memIndexDisk is what survives. Its maps do not change: a checkpoint replaces them all.
type memIndexDisk struct {
	root     *index.Root
	defs     map[string]index.Definition
	queues   map[uint64]index.Queue
	chunks   map[index.ChunkID][]byte
	segments map[uint64][]byte
}

var _ indexer = (*memIndex)(nil)

func newMemIndexDisk() *memIndexDisk {
	return &memIndexDisk{
		defs: make(map[string]index.Definition), queues: make(map[uint64]index.Queue),
		chunks: make(map[index.ChunkID][]byte), segments: make(map[uint64][]byte),
	}
}

func (d *memIndexDisk) clone() *memIndexDisk {
	return &memIndexDisk{
		root: d.root, defs: maps.Clone(d.defs), queues: maps.Clone(d.queues),
		chunks: maps.Clone(d.chunks), segments: maps.Clone(d.segments),
	}
}

func newMemIndex(fs *crashfs.FS, disk *memIndexDisk) *memIndex {
	return &memIndex{fs: fs, disk: disk, failed: make(chan struct{})}
}

// now is the index after the last checkpoint.
func (x *memIndex) now() memIndexDisk {
	x.mu.Lock()
	defer x.mu.Unlock()
	return *x.disk
}

func (x *memIndex) replace(d *memIndexDisk) {
	x.mu.Lock()
	defer x.mu.Unlock()
	*x.disk = *d
}

func (x *memIndex) Root() (index.Root, bool) {
	d := x.now()
	if d.root == nil {
		return index.Root{}, false
	}
	return *d.root, true
}

func (x *memIndex) Reason() string { return "the index is empty" }

func (x *memIndex) Apply(cp *index.Checkpoint) error {
	if x.full {
		return index.ErrSpace
	}
	if err := x.fs.Step("values", "index"); err != nil {
		return x.fail(err)
	}
	now := x.now()
	d := now.clone()
	if err := d.apply(cp); err != nil {
		return x.fail(err)
	}
	if err := x.fs.Step("root", "index"); err != nil {
		return x.fail(err)
	}
	x.replace(d)
	return nil
}

func (x *memIndex) fail(err error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.err = err
	close(x.failed)
	return err
}

// apply is as strict as the real index: what it would refuse, the crash tests must not miss.
func (d *memIndexDisk) apply(cp *index.Checkpoint) error {
	if d.root != nil && cp.Position.Compare(d.root.Position) < 0 {
		return errors.New("checkpoint before the last one")
	}
	for _, q := range cp.RemoveQueues {
		delete(d.queues, q)
		maps.DeleteFunc(d.chunks, func(id index.ChunkID, _ []byte) bool { return id.Queue == q })
	}
	for _, k := range cp.RemoveDefinitions {
		delete(d.defs, k)
	}
	for _, c := range cp.RemoveChunks {
		delete(d.chunks, c)
	}
	for _, s := range cp.RemoveSegments {
		delete(d.segments, s)
	}
	for _, v := range cp.PutDefinitions {
		d.defs[v.Key] = v
	}
	for _, q := range cp.PutQueues {
		d.queues[q.ID] = q
	}
	for _, c := range cp.PutChunks {
		if _, ok := d.queues[c.Queue]; !ok {
			return errors.New("chunk without a queue")
		}
		if slices.Contains(cp.RemoveChunks, c.ChunkID) {
			return errors.New("chunk put and removed")
		}
		d.chunks[c.ChunkID] = c.Data
	}
	for _, s := range cp.PutSegments {
		d.segments[s.Number] = s.Data
	}
	d.root = &index.Root{Position: cp.Position, Meta: cp.Meta}
	return nil
}

func (x *memIndex) Chunk(id index.ChunkID) ([]byte, bool, error) {
	if x.broken != nil {
		return nil, false, x.broken
	}
	b, ok := x.now().chunks[id]
	return b, ok, nil
}

func (x *memIndex) Chunks() iter.Seq2[index.Chunk, error] {
	chunks := x.now().chunks
	return func(yield func(index.Chunk, error) bool) {
		for _, id := range slices.SortedFunc(maps.Keys(chunks), func(a, b index.ChunkID) int {
			return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Number, b.Number))
		}) {
			if !yield(index.Chunk{ChunkID: id, Data: chunks[id]}, nil) {
				return
			}
		}
	}
}

func all[K comparable, V, T any](m map[K]V, f func(K, V) T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for k, v := range m {
			if !yield(f(k, v), nil) {
				return
			}
		}
	}
}

func (x *memIndex) Definition(key string) (index.Definition, bool, error) {
	d, ok := x.now().defs[key]
	return d, ok, x.broken
}

func (x *memIndex) Definitions() iter.Seq2[index.Definition, error] {
	return all(x.now().defs, func(_ string, d index.Definition) index.Definition { return d })
}

func (x *memIndex) Queues() iter.Seq2[index.Queue, error] {
	return all(x.now().queues, func(_ uint64, q index.Queue) index.Queue { return q })
}

func (x *memIndex) Segments() iter.Seq2[index.Segment, error] {
	return all(x.now().segments, func(n uint64, b []byte) index.Segment { return index.Segment{Number: n, Data: b} })
}

func (x *memIndex) Reset() error {
	x.replace(newMemIndexDisk())
	return nil
}

func (x *memIndex) Failed() <-chan struct{} { return x.failed }

// Close lets go of nothing, and notes that it was called.
func (x *memIndex) Close() error {
	x.closed = true
	return nil
}

func (x *memIndex) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}
