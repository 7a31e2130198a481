package ha

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// osFiles are the operating system's files. What differs between systems
// (reading past the cache, locks, how to sync) is in the files_*.go beside.
type osFiles struct {
	direct bool // reads must go past the cache
}

var _ Files = (*osFiles)(nil)

// OSFiles are the operating system's files, as Run uses them.
func OSFiles() Files { return new(osFiles) }

func (o *osFiles) Fresh(dir string) (Freshness, error) {
	f, err := freshness(dir)
	if err != nil {
		return Stale, fmt.Errorf("tell what file system %s is on: %w", dir, err)
	}
	o.direct = f == Direct
	return f, nil
}

func (*osFiles) Names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (o *osFiles) Mkdir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if err := o.Mkdir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

func (o *osFiles) Open(path string, create bool) (File, error) {
	flag := os.O_RDWR
	if create {
		flag |= os.O_CREATE | os.O_EXCL
	}
	if o.direct {
		flag |= directFlag
	}
	f, err := os.OpenFile(path, flag, 0o640)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Place does not clean up after a directory that could not be renamed: a server
// may have renamed it and lost the answer, and then what a cached name leads to
// is the claim itself.
func (*osFiles) Place(temp, path string) error {
	info, err := os.Lstat(temp)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.Join(os.Link(temp, path), os.Remove(temp))
	}
	return os.Rename(temp, path)
}

// Sync syncs all paths at the same time: a disk is told once to keep what it was
// sent, and a file system with a journal of its own writes that once.
func (*osFiles) Sync(paths ...string) error {
	errs := make([]error, len(paths))
	var syncing sync.WaitGroup
	for i, path := range paths {
		syncing.Go(func() { errs[i] = syncPath(path) })
	}
	syncing.Wait()
	return errors.Join(errs...)
}

// syncPath syncs a file through a descriptor of its own, which is told of errors
// of writing back that nobody was told of yet.
func syncPath(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return syncDir(path)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(syncData(f), f.Close())
}

func (*osFiles) Remove(temp string) error { return os.RemoveAll(temp) }

type osFile struct{ f *os.File }

func (o osFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.f.ReadAt(p, off)
	if n == len(p) && err == io.EOF { // ends exactly here
		err = nil
	}
	return n, err
}

func (o osFile) Write(p []byte, off int64, sync bool) error {
	if _, err := o.f.WriteAt(p, off); err != nil {
		return err
	}
	if !sync {
		return nil
	}
	return syncData(o.f)
}

func (o osFile) Sync() error           { return syncData(o.f) }
func (o osFile) Lock() error           { return lockFile(o.f) }
func (o osFile) Locked() (bool, error) { return lockedFile(o.f) }

func (o osFile) Same(other File) (bool, error) {
	a, err := o.f.Stat()
	if err != nil {
		return false, err
	}
	b, err := other.(osFile).f.Stat()
	if err != nil {
		return false, err
	}
	return os.SameFile(a, b), nil
}

func (o osFile) Close() error { return o.f.Close() }

// onDescriptor runs call on f's descriptor, without changing its mode as Fd does.
func onDescriptor(f *os.File, call func(fd uintptr) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	if err := conn.Control(func(fd uintptr) { callErr = call(fd) }); err != nil {
		return err
	}
	return callErr
}

// pathError gives a system call's error the form of package os' errors.
func pathError(op string, f *os.File, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: f.Name(), Err: err}
}

// errLocked is another open file's lock.
var errLocked = errors.New("locked by another")
