package journal

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/persistence/failpoint"
)

// WriterOptions say where a Writer writes.
type WriterOptions struct {
	Files       Files
	Dir         string
	Store       [16]byte
	Epoch       uint32
	SegmentSize int64
	Lineage     []Seal
	// Header completes the header of a segment that is about to be begun: Suspect and Kept.
	Header func(*Header)
	// Named returns once a successor knows that the segment is to be read; see persistence.Options.NameSegment.
	Named func(n uint64) error
	// Room is asked before n bytes of zeros are written ahead of the groups. Called in Append.
	Room func(n int64) bool
	// Filled is told of them as they are written, from a goroutine of the writer's.
	Filled func(n int64)
}

// Writer appends groups to one epoch's segments. After an error it must not be used again.
type Writer struct {
	opt    WriterOptions
	file   File
	zeros  atomic.Pointer[ahead] // of file
	id     SegmentID
	size   int64  // the end of the groups in the file
	groups int    // groups in the file
	offset uint64 // the position after the last group
	mean   int64  // about the length of the last groups
	failed bool
	sealed sync.WaitGroup // what is left to do for segments that have ended
}

// NewWriter returns a writer at the start of its epoch. Nothing is created before the first Append.
func NewWriter(opt WriterOptions) *Writer {
	if opt.Room == nil {
		opt.Room = func(int64) bool { return true }
	}
	if opt.Filled == nil {
		opt.Filled = func(int64) {}
	}
	return &Writer{opt: opt, id: SegmentID{Epoch: opt.Epoch}}
}

// Position is where the next group will start.
func (w *Writer) Position() Position { return Position{Epoch: w.opt.Epoch, Offset: w.offset} }

// Ahead is how many zeros are on disk behind the groups. It may be called by any goroutine.
func (w *Writer) Ahead() int64 {
	if a := w.zeros.Load(); a != nil {
		return a.left()
	}
	return 0
}

// Place is where a group was put.
type Place struct {
	At      Position
	Segment SegmentID
	FileOff int64
	Begun   bool // the segment was begun for it
}

// Append seals the group b for the current position and makes it durable: one write and one sync, of a segment that it may begin. It
// returns b, whose array may have grown, for reuse.
func (w *Writer) Append(b []byte, passed uint64, now time.Time) ([]byte, Place, error) {
	b = SealGroup(b, w.opt.Store, w.Position(), passed, now)
	if len(b) > MaxGroup {
		return b, Place{}, fmt.Errorf("a group of %d bytes is longer than %d", len(b), MaxGroup)
	}
	place, err := w.append(b)
	if err != nil {
		w.failed = true
		return b, place, err
	}
	w.size += int64(len(b))
	w.offset += uint64(len(b))
	w.groups++
	w.mean += (int64(len(b)) - w.mean) / 8
	if w.mean < fillBelow && w.groups > 1 { // one group is none that others follow
		w.zeros.Load().follow()
	}
	return b, place, nil
}

func (w *Writer) append(b []byte) (Place, error) {
	begun := w.file == nil || w.groups > 0 && w.size+int64(len(b)) > w.opt.SegmentSize
	if begun {
		if err := w.begin(); err != nil {
			return Place{}, fmt.Errorf("begin journal segment: %w", err)
		}
	}
	place := Place{At: w.Position(), Segment: w.id, FileOff: w.size, Begun: begun}
	w.zeros.Load().claim(w.size + int64(len(b)))
	if _, err := w.file.WriteAt(b, w.size); err != nil {
		return place, fmt.Errorf("write journal segment %s: %w", w.id.File(), err)
	}
	if err := failpoint.At(failpoint.JournalWritten); err != nil {
		return place, err
	}
	if err := w.sync(begun); err != nil {
		return place, fmt.Errorf("sync journal segment %s: %w", w.id.File(), err)
	}
	if begun {
		if err := w.opt.Named(uint64(w.id.Number)); err != nil {
			return place, fmt.Errorf("name journal segment %s: %w", w.id.File(), err)
		}
	}
	return place, w.zeros.Load().failure()
}

// sync makes the last group durable, and of a segment that was begun for it the header and the name, at the same time.
func (w *Writer) sync(begun bool) error {
	if !begun {
		return w.file.Sync()
	}
	var nameErr error
	var naming sync.WaitGroup
	naming.Go(func() { nameErr = w.opt.Files.SyncDir(w.opt.Dir) })
	err := w.file.Sync()
	naming.Wait()
	return errors.Join(err, nameErr)
}

// begin makes the next segment, whose header and name become durable with its first group: the last segment of an epoch then is the only
// one whose header can be torn or whose name can be lost, and then no group in it has passed.
func (w *Writer) begin() error {
	id := SegmentID{Epoch: w.opt.Epoch, Number: w.id.Number + 1}
	h := Header{Store: w.opt.Store, ID: id, First: w.offset, Lineage: w.opt.Lineage}
	w.opt.Header(&h)
	path := filepath.Join(w.opt.Dir, id.File())
	f, err := w.opt.Files.Create(path)
	if err != nil {
		return err
	}
	if old, zeros, size := w.file, w.zeros.Load(), w.size; old != nil {
		defer func() { w.sealed.Go(func() { seal(old, zeros, size) }) }() // also when what follows fails: its groups are synced
	}
	top := h.encode()
	w.file, w.id, w.groups, w.size = f, id, 0, int64(len(top))
	w.zeros.Store(&ahead{opt: &w.opt, path: path, claimed: w.size})
	_, err = f.WriteAt(top, 0)
	return err
}

// seal lets go of a segment that has ended at size: all of it is synced. What was filled for nothing is given back; that this may fail, or
// be undone by a crash, does no harm, because the headers of later segments say where this one ends.
func seal(f File, zeros *ahead, size int64) {
	if zeros.stop() {
		_ = f.Truncate(size)
	}
	_ = f.Close()
}

// Close gives back what was filled for nothing and closes the file. Everything that Append returned for is durable already.
func (w *Writer) Close() error {
	w.sealed.Wait()
	if w.file == nil {
		return nil
	}
	var err error
	if w.zeros.Load().stop() && !w.failed {
		err = w.file.Truncate(w.size)
	}
	return errors.Join(err, w.file.Close())
}
