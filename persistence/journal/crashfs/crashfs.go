package crashfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"

	"github.com/batonmq/baton/persistence/journal"
)

// ErrCrashed is what every operation returns once the file system has stopped.
var ErrCrashed = errors.New("crashed")

// Sector is what a disk writes as a whole.
const Sector = 512

// Kind is a kind of operation.
type Kind string

// The operations that change something.
const (
	Create  Kind = "create"
	Write   Kind = "write"
	Sync    Kind = "sync"
	Remove  Kind = "remove"
	SyncDir Kind = "syncdir"

	Truncate Kind = "truncate"
)

// The operations that change nothing. They are no steps.
const (
	Open Kind = "open"
	Read Kind = "read"
	Free Kind = "free"
)

// Op is one operation as Decide sees it.
type Op struct {
	Step int // counts from 1; 0: it changes nothing
	Kind Kind
	Path string
	Len  int // Write
}

// Verdict is what becomes of an operation.
type Verdict struct {
	Err   error // it fails with this
	Short int   // Write: with Err, so many bytes are written all the same
	Crash bool  // the world stops before it
	After bool  // with Crash: the world stops after it

	// Wait makes the operation hang until it is closed, or take as long as that takes. It holds up no other.
	Wait <-chan struct{}
}

// FS implements journal.Files.
type FS struct {
	// Decide is asked before every operation that changes something. It is set before the first use.
	Decide func(Op) Verdict
	// DecideRead is asked before every operation of the kinds that change nothing. It is set before the first use.
	DecideRead func(Op) Verdict
	// FreeBytes is what Free answers, less what is reserved, unless FreeUnknown.
	FreeBytes   int64
	FreeUnknown bool
	// InPlace says that OpenAhead works, as on a disk where overwriting is cheaper than growing. It is set before the first use.
	InPlace bool

	mu      sync.Mutex
	steps   int
	crashed bool
	names   map[string]*node // as a running process sees them
	durable map[string]*node // as a crash leaves them at least
}

var _ journal.Files = (*FS)(nil)

type node struct {
	data   []byte
	synced []byte       // the content as of the last Sync
	dirty  map[int]bool // sectors written since

	reserved int64
}

// New returns an empty file system.
func New() *FS {
	return &FS{FreeBytes: 1 << 40, names: make(map[string]*node), durable: make(map[string]*node)}
}

// Steps is how many changing operations were asked for.
func (f *FS) Steps() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.steps
}

// Stop stops the world: every later operation fails.
func (f *FS) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashed = true
}

// Crash stops the world and returns what is found afterwards.
func (f *FS) Crash(rng *rand.Rand) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashed = true
	after := New()
	after.InPlace = f.InPlace
	keep := rng.IntN(4) // 0: no unsynced sector, 1: all of them, else: some
	tear := keep != 1 && rng.IntN(2) == 0
	paths := make(map[string]bool)
	for p := range f.names {
		paths[p] = true
	}
	for p := range f.durable {
		paths[p] = true
	}
	for _, p := range slices.Sorted(maps.Keys(paths)) { // a seed gives the same crash each time
		n, there := f.durable[p]
		if now := f.names[p]; now != n && rng.IntN(2) == 0 {
			n, there = now, now != nil
		}
		if !there {
			continue
		}
		c := n.survive(rng, keep, tear)
		after.names[p], after.durable[p] = c, c
	}
	return after
}

// Clone returns a copy in which everything is as a running process sees it, and durable.
func (f *FS) Clone() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := New()
	c.FreeBytes, c.FreeUnknown, c.InPlace = f.FreeBytes, f.FreeUnknown, f.InPlace
	for p, n := range f.names {
		m := &node{data: slices.Clone(n.data), synced: slices.Clone(n.data), dirty: make(map[int]bool), reserved: n.reserved}
		c.names[p], c.durable[p] = m, m
	}
	return c
}

// Flip changes one byte of a file, for good.
func (f *FS) Flip(path string, off int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.names[filepath.Clean(path)]
	if n == nil || off >= int64(len(n.data)) {
		return fs.ErrNotExist
	}
	n.data[off] ^= 0x10
	n.synced = slices.Clone(n.data)
	return nil
}

func (n *node) survive(rng *rand.Rand, keep int, tear bool) *node {
	data := slices.Clone(n.synced)
	for _, s := range slices.Sorted(maps.Keys(n.dirty)) {
		if keep == 0 || keep > 1 && rng.IntN(2) == 0 {
			continue
		}
		from, to := s*Sector, min((s+1)*Sector, len(n.data))
		if from >= to {
			continue // cut off since
		}
		data = resize(data, max(to, len(data)))
		if tear && rng.IntN(8) == 0 { // power went while this sector was written
			to = from + rng.IntN(to-from)
		}
		copy(data[from:to], n.data[from:to])
	}
	if sized := keep == 1 || keep > 1 && rng.IntN(2) == 0; sized {
		data = resize(data, len(n.data)) // its length became durable, whatever became of the bytes
	}
	return &node{data: data, synced: slices.Clone(data), dirty: make(map[int]bool), reserved: n.reserved}
}

// resize cuts data to length, or lengthens it with zeros.
func resize(data []byte, length int) []byte {
	if length <= len(data) {
		return data[:length]
	}
	return append(data, make([]byte, length-len(data))...)
}

// do asks for a verdict and runs apply if the operation happens at all.
func (f *FS) do(kind Kind, path string, length int, apply func(short int) error) error {
	if f.crashed {
		return ErrCrashed
	}
	f.steps++
	var v Verdict
	if f.Decide != nil {
		v = f.Decide(Op{Step: f.steps, Kind: kind, Path: path, Len: length})
	}
	if f.hang(v); f.crashed {
		return ErrCrashed
	}
	if v.Crash && !v.After {
		f.crashed = true
		return ErrCrashed
	}
	if v.Err != nil {
		if v.Short > 0 {
			_ = apply(min(v.Short, length)) // a short write's own error is the verdict's
		}
		return fmt.Errorf("%s %s: %w", kind, filepath.Base(path), v.Err)
	}
	err := apply(length)
	if v.Crash {
		f.crashed = true
		return ErrCrashed
	}
	return err
}

// hang waits as v says, without the lock.
func (f *FS) hang(v Verdict) {
	if v.Wait == nil {
		return
	}
	f.mu.Unlock()
	defer f.mu.Lock()
	<-v.Wait
}

// look asks for a verdict on an operation that changes nothing.
func (f *FS) look(kind Kind, path string) error {
	if f.crashed {
		return ErrCrashed
	}
	if f.DecideRead == nil {
		return nil
	}
	v := f.DecideRead(Op{Kind: kind, Path: path})
	if f.hang(v); f.crashed {
		return ErrCrashed
	}
	if v.Err != nil {
		return fmt.Errorf("%s %s: %w", kind, filepath.Base(path), v.Err)
	}
	return nil
}

// Names implements journal.Files.
func (f *FS) Names(dir string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.crashed {
		return nil, ErrCrashed
	}
	var names []string
	for p := range f.names {
		if filepath.Dir(p) == filepath.Clean(dir) {
			names = append(names, filepath.Base(p))
		}
	}
	return names, nil
}

// MkdirAll implements journal.Files. Directories are always there.
func (f *FS) MkdirAll(string) error { return nil }

// Create implements journal.Files.
func (f *FS) Create(path string) (journal.File, error) {
	path = filepath.Clean(path)
	f.mu.Lock()
	defer f.mu.Unlock()
	n := &node{dirty: make(map[int]bool)}
	err := f.do(Create, path, 0, func(int) error {
		if f.names[path] != nil {
			return fs.ErrExist
		}
		f.names[path] = n
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &file{fs: f, node: n, path: path}, nil
}

// Open implements journal.Files.
func (f *FS) Open(path string) (journal.File, error) {
	path = filepath.Clean(path)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.look(Open, path); err != nil {
		return nil, err
	}
	n := f.names[path]
	if n == nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return &file{fs: f, node: n, path: path}, nil
}

// OpenAhead implements journal.Files.
func (f *FS) OpenAhead(path string) (journal.File, error) {
	if !f.InPlace {
		return nil, errors.ErrUnsupported
	}
	return f.Open(path)
}

// Remove implements journal.Files.
func (f *FS) Remove(path string) error {
	path = filepath.Clean(path)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.do(Remove, path, 0, func(int) error {
		if f.names[path] == nil {
			return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
		}
		delete(f.names, path)
		return nil
	})
}

// SyncDir implements journal.Files.
func (f *FS) SyncDir(dir string) error {
	dir = filepath.Clean(dir)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.do(SyncDir, dir, 0, func(int) error {
		maps.DeleteFunc(f.durable, func(p string, _ *node) bool { return filepath.Dir(p) == dir })
		for p, n := range f.names {
			if filepath.Dir(p) == dir {
				f.durable[p] = n
			}
		}
		return nil
	})
}

// Free implements journal.Files.
func (f *FS) Free(dir string) (int64, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.look(Free, dir); err != nil {
		return 0, false, err
	}
	free := f.FreeBytes
	for _, n := range f.names {
		free -= n.reserved
	}
	return max(free, 0), !f.FreeUnknown, nil
}

// Reserve implements journal.Files. What is reserved counts in Free, and holds no bytes.
func (f *FS) Reserve(path string, size int64) error {
	path = filepath.Clean(path)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.do(Create, path, 0, func(int) error {
		if f.names[path] != nil {
			return fs.ErrExist
		}
		n := &node{dirty: make(map[int]bool), reserved: size}
		f.names[path], f.durable[path] = n, n
		return nil
	})
}

// SetFree changes what Free answers while others use f.
func (f *FS) SetFree(free int64, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.FreeBytes, f.FreeUnknown = free, !known
}

type file struct {
	fs   *FS
	node *node
	path string
}

func (h *file) ReadAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.fs.look(Read, h.path); err != nil {
		return 0, err
	}
	if off >= int64(len(h.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *file) WriteAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	err := h.fs.do(Write, h.path, len(p), func(short int) error {
		p := p[:short]
		end := int(off) + len(p)
		if end > len(h.node.data) {
			h.node.data = append(h.node.data, make([]byte, end-len(h.node.data))...)
		}
		copy(h.node.data[off:], p)
		for s := int(off) / Sector; s*Sector < end; s++ {
			h.node.dirty[s] = true
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (h *file) Sync() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.fs.do(Sync, h.path, 0, func(int) error {
		h.node.sync()
		return nil
	})
}

// sync copies only what was written since the last one: segments are long and synced often.
func (n *node) sync() {
	n.synced = resize(n.synced, len(n.data))
	for s := range n.dirty {
		if from, to := s*Sector, min((s+1)*Sector, len(n.data)); from < to {
			copy(n.synced[from:to], n.data[from:to])
		}
	}
	clear(n.dirty)
}

// Truncate implements journal.File.
func (h *file) Truncate(size int64) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.fs.do(Truncate, h.path, 0, func(int) error {
		h.node.data = resize(h.node.data, int(size))
		return nil
	})
}

func (h *file) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return max(int64(len(h.node.data)), h.node.reserved), nil
}

func (h *file) Close() error { return nil }

// Step asks for a verdict on an operation of something else that shares the fate of this file system.
func (f *FS) Step(kind Kind, path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.do(kind, path, 0, func(int) error { return nil })
}
