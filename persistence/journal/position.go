package journal

import (
	"cmp"
	"fmt"
)

// Position is a place in the journal: an offset in the stream of groups that one epoch wrote. Offsets count the bytes of groups only,
// from 0, on through all of the epoch's segments; segment headers take no offsets. The zero Position lies before everything.
type Position struct {
	Epoch  uint32
	Offset uint64
}

// Compare orders positions: by epoch, then by offset.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Epoch, q.Epoch), cmp.Compare(p.Offset, q.Offset))
}

// Before reports whether p lies before q.
func (p Position) Before(q Position) bool { return p.Compare(q) < 0 }

// String returns the position as logs print it.
func (p Position) String() string { return fmt.Sprintf("%d:%d", p.Epoch, p.Offset) }

// Seal says that an epoch's journal is history up to Offset, and not beyond.
type Seal struct {
	Epoch  uint64
	Offset uint64
}

// SegmentID names a segment: the epoch that wrote it and its number in that epoch, from 1.
type SegmentID struct {
	Epoch  uint32
	Number uint32
}

// Compare orders segments: by epoch, then by number.
func (s SegmentID) Compare(t SegmentID) int {
	return cmp.Or(cmp.Compare(s.Epoch, t.Epoch), cmp.Compare(s.Number, t.Number))
}

// Key is the id as one number, ordered as Compare orders.
func (s SegmentID) Key() uint64 { return uint64(s.Epoch)<<32 | uint64(s.Number) }

// SegmentOfKey is the inverse of Key.
func SegmentOfKey(key uint64) SegmentID {
	return SegmentID{Epoch: uint32(key >> 32), Number: uint32(key)}
}

// File is the segment's file name.
func (s SegmentID) File() string { return fmt.Sprintf("e%010d-%010d.seg", s.Epoch, s.Number) }

// ParseFile is the inverse of File; false when name is not that of a segment.
func ParseFile(name string) (SegmentID, bool) {
	var s SegmentID
	if _, err := fmt.Sscanf(name, "e%010d-%010d.seg", &s.Epoch, &s.Number); err != nil || s.File() != name {
		return SegmentID{}, false
	}
	return s, true
}
