package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
)

// Format is the version of everything this package writes.
const Format = 1

// Since is the first version of Baton that reads Format. It is in every file, for the sentence with which an older one refuses it.
const Since = "0.1.0"

// ErrNewer is in the chain of what Open returns for a file of a newer format.
var ErrNewer = errors.New("written by a newer version")

// DamageError is a place in the journal that does not hold what it must.
type DamageError struct {
	Dir    string   // where the file is
	File   string   // the segment's file name
	Offset int64    // where in it
	At     Position // the position that was expected there
	Held   string   // what it held, as far as is known
	Final  bool     // nothing can be read without it, so that History.Salvage does not help
	Err    error
}

// Error names the place and says what to do.
func (e *DamageError) Error() string {
	instead := "or start once with --salvage, which goes on without what is damaged and says what that was"
	if e.Final {
		instead = "for nothing can be read without it, so that --salvage does not help"
	}
	return fmt.Sprintf("journal damaged: %s at offset %d (position %v), which held %s: %v; check the disk and restore the store's "+
		"whole directory from a backup, %s (removing the file does not help: it is part of the history)",
		filepath.Join(e.Dir, e.File), e.Offset, e.At, e.Held, e.Err, instead)
}

// Unwrap returns the cause.
func (e *DamageError) Unwrap() error { return e.Err }

const (
	segmentMagic  = "BATONSEG"
	segmentFixed  = 84
	segmentSeal   = 12 // an item of the lineage
	segmentKept   = 16 // an item of the kept segments
	maxSegmentTop = 16 << 20
	sinceSize     = 16
)

// Header is what a segment begins with.
type Header struct {
	Store   [16]byte
	ID      SegmentID
	First   uint64   // the offset of its first group
	Suspect Position // entries below may have been delivered
	Lineage []Seal   // the history before this epoch
	Kept    []Kept   // the segments before this one that were not gone
}

// Kept is a segment that was complete when a later one was begun.
type Kept struct {
	ID  SegmentID
	End uint64 // the offset of its epoch at which it ends
}

// encode returns the header as it stands on disk, a multiple of groupAlign long.
func (h *Header) encode() []byte {
	n := segmentFixed + segmentSeal*len(h.Lineage) + segmentKept*len(h.Kept) + 4
	n = (n + groupAlign - 1) &^ (groupAlign - 1)
	le := binary.LittleEndian
	b := make([]byte, 0, n)
	b = append(b, segmentMagic...)
	b = le.AppendUint32(b, Format)
	b = le.AppendUint32(b, uint32(n))
	var since [sinceSize]byte
	copy(since[:], Since)
	b = append(b, since[:]...)
	b = append(b, h.Store[:]...)
	b = le.AppendUint32(b, h.ID.Epoch)
	b = le.AppendUint32(b, h.ID.Number)
	b = le.AppendUint64(b, h.First)
	b = le.AppendUint32(b, h.Suspect.Epoch)
	b = le.AppendUint64(b, h.Suspect.Offset)
	b = le.AppendUint32(b, uint32(len(h.Lineage)))
	b = le.AppendUint32(b, uint32(len(h.Kept)))
	for _, s := range h.Lineage {
		b = le.AppendUint32(b, uint32(s.Epoch))
		b = le.AppendUint64(b, s.Offset)
	}
	for _, k := range h.Kept {
		b = le.AppendUint32(b, k.ID.Epoch)
		b = le.AppendUint32(b, k.ID.Number)
		b = le.AppendUint64(b, k.End)
	}
	b = b[:n]
	le.PutUint32(b[n-4:], crc32.Checksum(b[:n-4], castagnoli))
	return b
}

// errHeader: the bytes are no segment header. What that means depends on where the file stands.
var errHeader = errors.New("no valid segment header")

// readHeader reads the header of f, which is segment id of store, and returns where its first group starts.
func readHeader(f File, id SegmentID, store [16]byte) (Header, int64, error) {
	var fixed [16 + sinceSize]byte
	if _, err := f.ReadAt(fixed[:], 0); err != nil {
		return Header{}, 0, headerReadError(err)
	}
	if string(fixed[:8]) != segmentMagic {
		return Header{}, 0, fmt.Errorf("%w: magic %q", errHeader, fixed[:8])
	}
	if v := binary.LittleEndian.Uint32(fixed[8:]); v > Format {
		return Header{}, 0, fmt.Errorf("%s has format %d, which Baton %s and later read, and this version reads up to format %d: %w; start that version again",
			id.File(), v, sinceOf(fixed[16:]), Format, ErrNewer)
	}
	n := binary.LittleEndian.Uint32(fixed[12:])
	if n < segmentFixed+4 || n > maxSegmentTop || n%groupAlign != 0 {
		return Header{}, 0, fmt.Errorf("%w: length %d", errHeader, n)
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, 0); err != nil {
		return Header{}, 0, headerReadError(err)
	}
	if want, got := binary.LittleEndian.Uint32(b[n-4:]), crc32.Checksum(b[:n-4], castagnoli); want != got {
		return Header{}, 0, fmt.Errorf("%w: checksum %08x, want %08x", errHeader, got, want)
	}
	h, err := decodeHeader(b)
	switch {
	case err != nil:
		return Header{}, 0, err
	case h.Store != store:
		return Header{}, 0, fmt.Errorf("%s belongs to store %x, not to %x", id.File(), h.Store, store)
	case h.ID != id:
		return Header{}, 0, fmt.Errorf("%s says that it is %s", id.File(), h.ID.File())
	}
	return h, int64(n), nil
}

// sinceOf is the version that a header names, as text that can be printed.
func sinceOf(b []byte) string {
	b = bytes.TrimRight(b, "\x00")
	for _, c := range b {
		if c != '.' && c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			b = nil
		}
	}
	if len(b) == 0 {
		return "of a version that it does not name"
	}
	return string(b)
}

func headerReadError(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: file too short", errHeader)
	}
	return err
}

// decodeHeader decodes what readHeader has verified.
func decodeHeader(b []byte) (Header, error) {
	le := binary.LittleEndian
	var h Header
	copy(h.Store[:], b[32:])
	h.ID = SegmentID{Epoch: le.Uint32(b[48:]), Number: le.Uint32(b[52:])}
	h.First = le.Uint64(b[56:])
	h.Suspect = Position{Epoch: le.Uint32(b[64:]), Offset: le.Uint64(b[68:])}
	lineage, kept := le.Uint32(b[76:]), le.Uint32(b[80:])
	if segmentFixed+segmentSeal*uint64(lineage)+segmentKept*uint64(kept)+4 > uint64(len(b)) {
		return Header{}, fmt.Errorf("%w: %d seals and %d kept ranges", errHeader, lineage, kept)
	}
	b = b[segmentFixed:]
	for range lineage {
		h.Lineage = append(h.Lineage, Seal{Epoch: uint64(le.Uint32(b)), Offset: le.Uint64(b[4:])})
		b = b[segmentSeal:]
	}
	for range kept {
		id := SegmentID{Epoch: le.Uint32(b), Number: le.Uint32(b[4:])}
		h.Kept = append(h.Kept, Kept{ID: id, End: le.Uint64(b[8:])})
		b = b[segmentKept:]
	}
	return h, nil
}
