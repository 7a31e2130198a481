package journal

import (
	"fmt"
	"path/filepath"
	"time"
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
}

// Writer appends groups to one epoch's segments. After an error it must not be used again.
type Writer struct {
	opt    WriterOptions
	file   File
	id     SegmentID
	size   int64  // the file's end
	groups int    // groups in the file
	offset uint64 // the position after the last group
}

// NewWriter returns a writer at the start of its epoch. Nothing is created before the first Append.
func NewWriter(opt WriterOptions) *Writer {
	return &Writer{opt: opt, id: SegmentID{Epoch: opt.Epoch}}
}

// Position is where the next group will start.
func (w *Writer) Position() Position { return Position{Epoch: w.opt.Epoch, Offset: w.offset} }

// Place is where a group was put.
type Place struct {
	At      Position
	Segment SegmentID
	FileOff int64
	Begun   bool // the segment was begun for it
}

// Append seals the group b for the current position and makes it durable. It returns b, whose array may have grown, for reuse.
func (w *Writer) Append(b []byte, passed uint64, now time.Time) ([]byte, Place, error) {
	b = SealGroup(b, w.opt.Store, w.Position(), passed, now)
	if len(b) > MaxGroup {
		return b, Place{}, fmt.Errorf("a group of %d bytes is longer than %d", len(b), MaxGroup)
	}
	begun := w.file == nil || w.groups > 0 && w.size+int64(len(b)) > w.opt.SegmentSize
	if begun {
		if err := w.begin(); err != nil {
			return b, Place{}, fmt.Errorf("begin journal segment: %w", err)
		}
	}
	place := Place{At: w.Position(), Segment: w.id, FileOff: w.size, Begun: begun}
	if _, err := w.file.WriteAt(b, w.size); err != nil {
		return b, place, fmt.Errorf("write journal segment %s: %w", w.id.File(), err)
	}
	if err := w.file.Sync(); err != nil {
		return b, place, fmt.Errorf("sync journal segment %s: %w", w.id.File(), err)
	}
	if begun {
		if err := w.opt.Named(uint64(w.id.Number)); err != nil {
			return b, place, fmt.Errorf("name journal segment %s: %w", w.id.File(), err)
		}
	}
	w.size += int64(len(b))
	w.offset += uint64(len(b))
	w.groups++
	return b, place, nil
}

// begin makes the next segment. Its header is durable before a group follows, and so is its name: the last segment of an epoch then is
// the only one whose header can be torn, and a torn one holds nothing.
func (w *Writer) begin() error {
	id := SegmentID{Epoch: w.opt.Epoch, Number: w.id.Number + 1}
	h := Header{Store: w.opt.Store, ID: id, First: w.offset, Lineage: w.opt.Lineage}
	w.opt.Header(&h)
	f, err := w.opt.Files.Create(filepath.Join(w.opt.Dir, id.File()))
	if err != nil {
		return err
	}
	old := w.file
	w.file, w.id, w.groups = f, id, 0
	top := h.encode()
	if _, err := f.WriteAt(top, 0); err != nil {
		return err
	}
	w.size = int64(len(top))
	if err := f.Sync(); err != nil {
		return err
	}
	if err := w.opt.Files.SyncDir(w.opt.Dir); err != nil {
		return err
	}
	if old != nil {
		return old.Close() // all of it is synced
	}
	return nil
}

// Close closes the file. Everything that Append returned for is durable already.
func (w *Writer) Close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}
