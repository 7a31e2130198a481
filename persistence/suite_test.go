package persistence

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/storetest"
	"github.com/batonmq/baton/persistence/journal"
	"github.com/batonmq/baton/persistence/journal/crashfs"
)

var errBroken = errors.New("the disk is gone")

// harness leads one store through its lives, as ha does for a broker.
type harness struct {
	options func() Options // where; the rest is the harness's own
	stop    func()         // no operation of the last life reaches the disk any more
	lost    func()         // the disk is now as a crash leaves it

	epoch  uint64
	source *Source
	last   *Store
	named  uint64
	told   atomic.Uint64
	broken atomic.Bool
}

func (h *harness) Open(tb testing.TB) core.Store {
	tb.Helper()
	h.note()
	h.epoch++
	h.named = 0
	h.told.Store(0)
	h.broken.Store(false)
	opt := h.options()
	opt.StoreID, opt.Epoch, opt.Source, opt.SegmentSize = [16]byte{3}, h.epoch, h.source, 256<<10
	opt.CheckpointEvery, opt.CheckpointBytes, opt.slack = 20*time.Millisecond, 64<<10, 1
	opt.NameSegment = func(n uint64) error { h.named = n; return nil }
	opt.Promised = func(offset uint64, _ time.Time) { h.told.Store(offset) }
	opt.Guard = func() error {
		if h.broken.Load() {
			return errBroken
		}
		return nil
	}
	s, err := Open(tb.Context(), opt)
	if err != nil {
		tb.Fatal(err)
	}
	s.Activated()
	h.last = s
	return s
}

// note takes down what the lease would say of the last life.
func (h *harness) note() {
	if h.last != nil {
		h.source = &Source{
			Epoch: h.epoch, Lineage: h.last.Lineage(), Segment: h.named, Promised: h.told.Load(), Time: h.last.Now(),
		}
	}
}

func (h *harness) Crash(_ testing.TB, s core.Store) {
	h.stop()
	_ = s.Close() // it cannot: this only ends its goroutines
	h.lost()
}

func (h *harness) Break(testing.TB, core.Store) error {
	h.broken.Store(true)
	return errBroken
}

// stoppable is files that can be taken away from a store.
type stoppable struct {
	journal.Files
	stopped atomic.Bool
}

func (f *stoppable) Create(path string) (journal.File, error) {
	if f.stopped.Load() {
		return nil, crashfs.ErrCrashed
	}
	file, err := f.Files.Create(path)
	if err != nil {
		return nil, err
	}
	return stoppableFile{file, f}, nil
}

type stoppableFile struct {
	journal.File
	fs *stoppable
}

func (f stoppableFile) WriteAt(p []byte, off int64) (int, error) {
	if f.fs.stopped.Load() {
		return 0, crashfs.ErrCrashed
	}
	return f.File.WriteAt(p, off)
}

// TestStoreContract_Files is the suite on the operating system's files and Badger; the random model, with its thousands of lives, on
// an index in memory, because Badger takes a tenth of a second to come and go.
func TestStoreContract_Files(t *testing.T) {
	storetest.Run(t, func(tb testing.TB) storetest.Harness {
		tb.Helper()
		dir, disk := tb.TempDir(), newMemIndexDisk()
		var files *stoppable
		return &harness{
			options: func() Options {
				files = &stoppable{Files: journal.OSFiles()}
				opt := Options{Dir: dir, Node: "n", Files: files}
				if strings.HasSuffix(tb.Name(), "/Model") {
					opt.openIndex = func(*Options) (indexer, error) { return newMemIndex(crashfs.New(), disk), nil }
				}
				return opt
			},
			stop: func() { files.stopped.Store(true) },
			lost: func() {},
		}
	})
}

// TestStoreContract_CrashFiles is the suite where a crash loses what was not synced.
func TestStoreContract_CrashFiles(t *testing.T) {
	storetest.Run(t, func(testing.TB) storetest.Harness {
		files, disk := crashfs.New(), newMemIndexDisk()
		rng := rand.New(rand.NewPCG(1, 2))
		return &harness{
			options: func() Options {
				fs := files
				return Options{
					Dir: "/store", Node: "n", Files: fs,
					openIndex: func(*Options) (indexer, error) { return newMemIndex(fs, disk), nil },
				}
			},
			stop: func() { files.Stop() },
			lost: func() { files = files.Crash(rng) },
		}
	})
}
