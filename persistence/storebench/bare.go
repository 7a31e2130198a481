package storebench

import (
	"fmt"
	"path/filepath"
	"sync"

	"github.com/batonmq/baton/persistence/journal"
)

// recorder is journal.Files that notes how long each group is: what a journal's own handle writes behind a segment's header.
type recorder struct {
	journal.Files
	begun chan struct{} // holds one when a group has begun to be written

	mu     sync.Mutex
	groups []int
}

func newRecorder() *recorder {
	return &recorder{Files: journal.OSFiles(), begun: make(chan struct{}, 1)}
}

type recordedFile struct {
	journal.File
	r *recorder
}

// Create implements journal.Files.
func (r *recorder) Create(path string) (journal.File, error) {
	f, err := r.Files.Create(path)
	if err != nil {
		return nil, err
	}
	return recordedFile{f, r}, nil
}

// WriteAt implements journal.File.
func (f recordedFile) WriteAt(p []byte, off int64) (int, error) {
	if off > 0 { // not the header
		f.r.mu.Lock()
		f.r.groups = append(f.r.groups, len(p))
		f.r.mu.Unlock()
		select {
		case f.r.begun <- struct{}{}:
		default:
		}
	}
	return f.File.WriteAt(p, off)
}

// take returns the lengths noted since the last call.
func (r *recorder) take() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	groups := r.groups
	r.groups = nil
	return groups
}

// bare is a file without a store around it.
type bare struct {
	files journal.Files
	path  string
	file  journal.File
	off   int64
	bytes []byte
}

// bareLimit is the length at which a bare file begins anew.
const bareLimit = 512 << 20

func newBare(files journal.Files, dir, name string) (*bare, error) {
	b := &bare{files: files, path: filepath.Join(dir, name)}
	return b, b.begin()
}

func (b *bare) begin() (err error) {
	b.file, err = b.files.Create(b.path)
	b.off = 0
	return err
}

// room begins a new file if the next n bytes would make this one too long.
func (b *bare) room(n int64) error {
	if b.off+n <= bareLimit {
		return nil
	}
	if err := b.close(); err != nil {
		return err
	}
	return b.begin()
}

// zero fills the next n bytes, for groups that overwrite them.
func (b *bare) zero(n int64) error {
	zeros := make([]byte, 32<<10) // the journal fills in steps of that length too
	for off := b.off; off < b.off+n; off += int64(len(zeros)) {
		if _, err := b.file.WriteAt(zeros, off); err != nil {
			return err
		}
	}
	return b.file.Sync()
}

// write appends the groups, or overwrites zeros with them.
func (b *bare) write(groups []int) error {
	for _, n := range groups {
		for len(b.bytes) < n {
			b.bytes = append(b.bytes, byte(len(b.bytes)*7))
		}
		if _, err := b.file.WriteAt(b.bytes[:n], b.off); err != nil {
			return fmt.Errorf("write %s: %w", b.path, err)
		}
		if err := b.file.Sync(); err != nil {
			return fmt.Errorf("sync %s: %w", b.path, err)
		}
		b.off += int64(n)
	}
	return nil
}

// close closes and removes the file.
func (b *bare) close() error {
	if err := b.file.Close(); err != nil {
		return err
	}
	return b.files.Remove(b.path)
}
