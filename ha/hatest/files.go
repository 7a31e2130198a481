package hatest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"github.com/batonmq/baton/ha"
)

// ErrKilled is what every operation of a killed node returns.
var ErrKilled = errors.New("node is killed")

// Files are one node's view of a Disk.
type Files struct {
	// Before is called before each operation, with what is about to happen
	// ("write ha/floor", "sync ha/floor", ...); its error fails the operation.
	// It may wait, and may call Kill. Nil: nothing fails.
	Before func(op string) error

	disk *Disk

	mu     sync.Mutex
	killed bool
	open   map[*file]bool
	ops    []string
}

var (
	_ ha.Files = (*Files)(nil)
	_ ha.File  = (*file)(nil)
)

// Node returns a new node's view of d.
func (d *Disk) Node() *Files { return &Files{disk: d, open: map[*file]bool{}} }

// Kill ends the node as kill -9 does: what it wrote stays, its locks are free,
// and it does nothing any more.
func (n *Files) Kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.killed = true
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	for f := range n.open {
		f.unlock()
	}
}

// Ops returns the operations begun so far.
func (n *Files) Ops() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.ops)
}

// begin records an operation and returns with the disk locked, or an error.
func (n *Files) begin(verb, path string) error {
	op := verb + " " + filepath.ToSlash(path)
	if n.Before != nil {
		if err := n.Before(op); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.killed {
		return ErrKilled
	}
	n.ops = append(n.ops, op)
	n.disk.mu.Lock()
	return nil
}

// Fresh implements ha.Files.
func (n *Files) Fresh(string) (ha.Freshness, error) { return n.disk.Freshness, nil }

// Names implements ha.Files.
func (n *Files) Names(dir string) ([]string, error) {
	if err := n.begin("names", dir); err != nil {
		return nil, err
	}
	defer n.disk.mu.Unlock()
	d, err := n.disk.lookup(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for name := range d.names {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, err
}

// Mkdir implements ha.Files.
func (n *Files) Mkdir(dir string) error {
	if dir = filepath.Clean(dir); dir == "." || dir == string(filepath.Separator) {
		return nil
	}
	if err := n.Mkdir(filepath.Dir(dir)); err != nil {
		return err
	}
	if there, err := n.mkdir(dir); there || err != nil {
		return err
	}
	return n.syncPath(filepath.Dir(dir))
}

func (n *Files) mkdir(dir string) (there bool, err error) {
	if err := n.begin("mkdir", dir); err != nil {
		return false, err
	}
	defer n.disk.mu.Unlock()
	parent, name, err := n.disk.parent(dir)
	if err != nil || parent.names[name] != nil {
		return true, err
	}
	parent.apply(change{name: newDir()})
	return false, nil
}

func (n *Files) syncPath(path string) error {
	if err := n.begin("sync", path); err != nil {
		return err
	}
	defer n.disk.mu.Unlock()
	node, err := n.disk.lookup(path)
	switch {
	case err != nil:
		return err
	case node.names != nil:
		node.syncNames()
	default:
		node.sync()
	}
	return nil
}

// Open implements ha.Files.
func (n *Files) Open(path string, create bool) (ha.File, error) {
	verb := "open"
	if create {
		verb = "create"
	}
	if err := n.begin(verb, path); err != nil {
		return nil, err
	}
	node, err := n.openLocked(path, create)
	n.disk.mu.Unlock()
	if err != nil {
		return nil, err
	}
	f := &file{of: n, path: path, node: node}
	n.mu.Lock()
	n.open[f] = true
	n.mu.Unlock()
	return f, nil
}

func (n *Files) openLocked(path string, create bool) (*inode, error) {
	dir, name, err := n.disk.parent(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, err
	}
	node := dir.names[name]
	switch {
	case create && node != nil:
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	case create:
		node = &inode{}
		dir.apply(change{name: node})
	case node == nil:
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	case node.names != nil:
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrInvalid}
	}
	return node, nil
}

// Place implements ha.Files.
func (n *Files) Place(temp, path string) error {
	if filepath.Dir(temp) != filepath.Dir(path) {
		return fmt.Errorf("place %s as %s: not in one directory", temp, path)
	}
	if err := n.begin("stat", temp); err != nil {
		return err
	}
	node, err := n.disk.lookup(temp)
	isDir := err == nil && node.names != nil
	n.disk.mu.Unlock()
	if err != nil {
		return err
	}
	if isDir {
		return n.placeDir(temp, path)
	}
	err = n.change("link", path, func(dir *inode, name string) error {
		if dir.names[name] != nil {
			return &fs.PathError{Op: "link", Path: path, Err: fs.ErrExist}
		}
		dir.apply(change{name: node})
		return nil
	})
	return errors.Join(err, n.change("unlink", temp, func(dir *inode, name string) error {
		dir.apply(change{name: nil})
		return nil
	}))
}

// Sync implements ha.Files.
func (n *Files) Sync(paths ...string) error {
	for _, path := range paths {
		if err := n.syncPath(path); err != nil {
			return err
		}
	}
	return nil
}

// Remove implements ha.Files.
func (n *Files) Remove(temp string) error {
	return n.change("remove", temp, func(dir *inode, name string) error {
		dir.apply(change{name: nil})
		return nil
	})
}

func (n *Files) placeDir(temp, path string) error {
	return n.change("rename", path, func(dir *inode, name string) error {
		if there := dir.names[name]; there != nil && len(there.names) > 0 {
			return &fs.PathError{Op: "rename", Path: path, Err: fs.ErrExist}
		}
		old := filepath.Base(temp)
		dir.apply(change{old: nil, name: dir.names[old]})
		return nil
	})
}

func (n *Files) change(verb, path string, do func(dir *inode, name string) error) error {
	if err := n.begin(verb, path); err != nil {
		return err
	}
	defer n.disk.mu.Unlock()
	dir, name, err := n.disk.parent(path)
	if err != nil {
		return err
	}
	return do(dir, name)
}

// file is an open file of one node.
type file struct {
	of     *Files
	path   string
	node   *inode
	closed bool // guarded by the disk's mu
}

func (f *file) begin(verb string) error {
	if err := f.of.begin(verb, f.path); err != nil {
		return err
	}
	if f.closed {
		f.of.disk.mu.Unlock()
		return fs.ErrClosed
	}
	return nil
}

// ReadAt implements ha.File.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.begin("read"); err != nil {
		return 0, err
	}
	defer f.of.disk.mu.Unlock()
	n := copy(p, f.node.data[min(int(off), len(f.node.data)):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Write implements ha.File.
func (f *file) Write(p []byte, off int64, sync bool) error {
	if err := f.begin("write"); err != nil {
		return err
	}
	f.node.write(p, off)
	f.of.disk.mu.Unlock()
	if !sync {
		return nil
	}
	return f.Sync()
}

// Sync implements ha.File.
func (f *file) Sync() error {
	if err := f.begin("sync"); err != nil {
		return err
	}
	f.node.sync()
	f.of.disk.mu.Unlock()
	return nil
}

// Lock implements ha.File.
func (f *file) Lock() error {
	if err := f.begin("lock"); err != nil {
		return err
	}
	defer f.of.disk.mu.Unlock()
	switch {
	case f.of.disk.NoLocks:
		return errors.ErrUnsupported
	case f.node.locker != nil:
		return errors.New("locked by another")
	}
	f.node.locker = f
	return nil
}

// Locked implements ha.File.
func (f *file) Locked() (bool, error) {
	if err := f.begin("locked"); err != nil {
		return false, err
	}
	defer f.of.disk.mu.Unlock()
	if f.of.disk.NoLocks {
		return false, errors.ErrUnsupported
	}
	return f.node.locker != nil && f.node.locker != f, nil
}

// Same implements ha.File.
func (f *file) Same(other ha.File) (bool, error) { return f.node == other.(*file).node, nil }

// Close implements ha.File. It is no operation: nothing can fail in it.
func (f *file) Close() error {
	f.of.mu.Lock()
	delete(f.of.open, f)
	f.of.mu.Unlock()
	f.of.disk.mu.Lock()
	defer f.of.disk.mu.Unlock()
	f.closed = true
	f.unlock()
	return nil
}

func (f *file) unlock() {
	if f.node.locker == f {
		f.node.locker = nil
	}
}
