package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// OSFiles is the operating system's file system.
func OSFiles() Files { return osFiles{} }

type osFiles struct{}

func (osFiles) Names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// MkdirAll syncs the parent of every directory it makes: a directory whose name a power cut takes away takes its files with it.
func (o osFiles) MkdirAll(dir string) error {
	info, err := os.Stat(dir)
	if err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		return nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := o.MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return err
	}
	return o.SyncDir(filepath.Dir(dir))
}

func (osFiles) Create(path string) (File, error) {
	return openOS(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (osFiles) Open(path string) (File, error) { return openOS(path, os.O_RDONLY) }

func (osFiles) OpenAhead(path string) (File, error) {
	if !overwritesInPlace(path) {
		return nil, errors.ErrUnsupported
	}
	return openOS(path, os.O_WRONLY)
}

func (osFiles) Remove(path string) error { return os.Remove(path) }

func (osFiles) SyncDir(dir string) error { return syncDir(dir) }

func (osFiles) Free(dir string) (int64, bool, error) { return freeBytes(dir) }

// Reserve fills the file where blocks cannot be had otherwise, with bytes that no file system compresses away.
func (o osFiles) Reserve(path string, size int64) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(path)) // what there is of it would only be in the way
		}
	}()
	err = allocate(f, size)
	if errors.Is(err, errors.ErrUnsupported) {
		err = fillFile(f, size)
	}
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return o.SyncDir(filepath.Dir(path))
}

func fillFile(f *os.File, size int64) error {
	random := rand.NewChaCha8([32]byte{})
	_, err := io.CopyN(f, random, size)
	return err
}

func openOS(path string, flag int) (File, error) {
	f, err := os.OpenFile(path, flag, fs.FileMode(0o600))
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

type osFile struct{ f *os.File }

func (o osFile) ReadAt(p []byte, off int64) (int, error)  { return o.f.ReadAt(p, off) }
func (o osFile) WriteAt(p []byte, off int64) (int, error) { return o.f.WriteAt(p, off) }
func (o osFile) Sync() error                              { return syncData(o.f) }
func (o osFile) Truncate(size int64) error                { return o.f.Truncate(size) }
func (o osFile) Close() error                             { return o.f.Close() }

func (o osFile) Size() (int64, error) {
	info, err := o.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
