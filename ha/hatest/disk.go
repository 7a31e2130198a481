package hatest

import (
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"

	"github.com/batonmq/baton/ha"
)

const sectorSize = 512

// Disk is what all nodes share.
type Disk struct {
	Freshness ha.Freshness // what nodes are told; New sets Cached
	NoLocks   bool         // locks are not supported

	mu   sync.Mutex
	root *inode
}

// New returns an empty disk.
func New() *Disk {
	return &Disk{Freshness: ha.Cached, root: newDir()}
}

// inode is a file or, when names is not nil, a directory.
type inode struct {
	data   []byte // as every node reads it
	synced []byte // as a power cut leaves it at least
	writes []write
	locker *file

	names   map[string]*inode
	durable map[string]*inode
	changes []change // of names, not yet durable
}

type write struct {
	off int64
	b   []byte
}

// change is one change of a directory: name now is node, or gone when nil.
type change map[string]*inode

func newDir() *inode {
	return &inode{names: map[string]*inode{}, durable: map[string]*inode{}}
}

func (f *inode) apply(c change) {
	f.changes = append(f.changes, c)
	update(f.names, c)
}

func update(names map[string]*inode, c change) {
	for name, node := range c {
		if node == nil {
			delete(names, name)
		} else {
			names[name] = node
		}
	}
}

func (f *inode) syncNames() {
	for _, c := range f.changes {
		update(f.durable, c)
	}
	f.changes = nil
}

func (f *inode) write(p []byte, off int64) {
	if need := int(off) + len(p); need > len(f.data) {
		f.data = append(f.data, make([]byte, need-len(f.data))...)
	}
	copy(f.data[off:], p)
	f.writes = append(f.writes, write{off, append([]byte(nil), p...)})
}

func (f *inode) sync() {
	f.synced = append([]byte(nil), f.data...)
	f.writes = nil
}

// lookup finds what path names. d.mu is held.
func (d *Disk) lookup(path string) (*inode, error) {
	at := d.root
	for part := range strings.SplitSeq(filepath.ToSlash(filepath.Clean(path)), "/") {
		if part == "." || part == "" {
			continue
		}
		if at.names == nil || at.names[part] == nil {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		at = at.names[part]
	}
	return at, nil
}

// parent finds the directory of path, and path's name in it. d.mu is held.
func (d *Disk) parent(path string) (*inode, string, error) {
	dir, err := d.lookup(filepath.Dir(path))
	if err == nil && dir.names == nil {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrInvalid}
	}
	return dir, filepath.Base(path), err
}

// PowerCut makes the disk what it might be after the power of every node failed
// now: of what was not synced it keeps any sectors of each file and, for itself in
// each directory, the first of the changes of names. Nodes made before must not be used any more.
func (d *Disk) PowerCut(seed uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.root.cut(rand.New(rand.NewPCG(seed, 0)))
}

func (f *inode) cut(r *rand.Rand) {
	f.locker = nil
	if f.names == nil {
		f.cutData(r)
		return
	}
	if n := len(f.changes); n > 0 {
		f.changes = f.changes[:r.IntN(n+1)]
	}
	f.syncNames()
	f.names = map[string]*inode{}
	for name, node := range f.durable {
		f.names[name] = node
		node.cut(r)
	}
}

// cutData keeps, of what was written since the last sync, any sectors.
func (f *inode) cutData(r *rand.Rand) {
	kept := append([]byte(nil), f.synced...)
	for _, w := range f.writes {
		for len(w.b) > 0 {
			n := min(sectorSize-int(w.off%sectorSize), len(w.b))
			if r.IntN(2) == 0 {
				if need := int(w.off) + n; need > len(kept) {
					kept = append(kept, make([]byte, need-len(kept))...)
				}
				copy(kept[w.off:], w.b[:n])
			}
			w.off, w.b = w.off+int64(n), w.b[n:]
		}
	}
	f.data = kept
	f.sync()
}

// DropLocks frees every lock while its holder lives, as some network file systems
// do.
func (d *Disk) DropLocks() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.root.dropLocks()
}

func (f *inode) dropLocks() {
	f.locker = nil
	for _, node := range f.names {
		node.dropLocks()
	}
}

// Edit changes the bytes of a file behind every node's back. It fails if there
// is no such file.
func (d *Disk) Edit(path string, edit func(data []byte)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.lookup(path)
	if err != nil {
		return err
	}
	edit(f.data)
	f.sync()
	return nil
}

// Put makes a file with its directories, as if it had been there for long.
func (d *Disk) Put(path string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := d.root
	for part := range strings.SplitSeq(filepath.ToSlash(filepath.Dir(path)), "/") {
		if part == "." {
			continue
		}
		if at.names[part] == nil {
			at.apply(change{part: newDir()})
			at.syncNames()
		}
		at = at.names[part]
	}
	f := &inode{data: append([]byte(nil), data...)}
	f.sync()
	at.apply(change{filepath.Base(path): f})
	at.syncNames()
	return nil
}

// Remove removes a file or a whole directory, durably. It fails if there is none.
func (d *Disk) Remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.lookup(path); err != nil {
		return err
	}
	dir, name, err := d.parent(path)
	if err != nil {
		return err
	}
	dir.apply(change{name: nil})
	dir.syncNames()
	return nil
}
