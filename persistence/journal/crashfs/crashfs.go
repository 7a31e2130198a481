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
)

// Op is one operation as Decide sees it.
type Op struct {
	Step int // counts from 1
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
}

// FS implements journal.Files.
type FS struct {
	// Decide is asked before every operation that changes something. It is set before the first use.
	Decide func(Op) Verdict
	// FreeBytes is what Free answers, less what is reserved, unless FreeUnknown.
	FreeBytes   int64
	FreeUnknown bool

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
	keep := rng.IntN(4) // 0: no unsynced sector, 1: all of them, else: some
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
		c := n.survive(rng, keep)
		after.names[p], after.durable[p] = c, c
	}
	return after
}

// Clone returns a copy in which everything is as a running process sees it, and durable.
func (f *FS) Clone() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := New()
	c.FreeBytes, c.FreeUnknown = f.FreeBytes, f.FreeUnknown
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

func (n *node) survive(rng *rand.Rand, keep int) *node {
	data := slices.Clone(n.synced)
	for _, s := range slices.Sorted(maps.Keys(n.dirty)) {
		if keep == 0 || keep > 1 && rng.IntN(2) == 0 {
			continue
		}
		from, to := s*Sector, min((s+1)*Sector, len(n.data))
		if to > len(data) {
			data = append(data, make([]byte, to-len(data))...)
		}
		copy(data[from:to], n.data[from:to])
	}
	return &node{data: data, synced: slices.Clone(data), dirty: make(map[int]bool), reserved: n.reserved}
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
	if f.crashed {
		return nil, ErrCrashed
	}
	n := f.names[path]
	if n == nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return &file{fs: f, node: n, path: path}, nil
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
func (f *FS) Free(string) (int64, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
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
	if h.fs.crashed {
		return 0, ErrCrashed
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
	if len(n.synced) < len(n.data) {
		n.synced = append(n.synced, make([]byte, len(n.data)-len(n.synced))...)
	}
	for s := range n.dirty {
		from, to := s*Sector, min((s+1)*Sector, len(n.data))
		copy(n.synced[from:to], n.data[from:to])
	}
	clear(n.dirty)
}

func (h *file) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return int64(len(h.node.data)), nil
}

func (h *file) Close() error { return nil }

// Step asks for a verdict on an operation of something else that shares the fate of this file system.
func (f *FS) Step(kind Kind, path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.do(kind, path, 0, func(int) error { return nil })
}
