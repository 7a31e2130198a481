package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"
)

const (
	groupHeader = 32
	groupAlign  = 8
	groupMagic  = 0x50524742 // "BGRP"

	// MaxGroup is the longest frame. It bounds what a damaged length can make a reader allocate.
	MaxGroup = 1 << 30
)

// Group is one group as it was read. Its frame is valid until the reader's next step.
type Group struct {
	At      Position  // where it starts
	Segment SegmentID // the file it lies in
	FileOff int64     // where it starts in that file
	Suspect Position  // as the file's header says
	Passed  uint64    // the offset in its epoch that had passed when it was written
	Time    time.Time // the broker clock then

	dir     string // where the file is
	frame   []byte // the whole frame
	records int    // where the records end in it
}

// End is the position after the group.
func (g *Group) End() Position {
	return Position{Epoch: g.At.Epoch, Offset: g.At.Offset + uint64(len(g.frame))}
}

// Each calls do with every record; its Off counts from the start of the frame. r is used for each of them.
func (g *Group) Each(r *Record, do func(*Record) error) error {
	b := g.frame[:g.records]
	for off := groupHeader; off < len(b); {
		next, err := r.Decode(b, off)
		if err != nil {
			return &DamageError{
				Dir: g.dir, File: g.Segment.File(), Offset: g.FileOff + int64(off), At: g.At,
				Held: "a record of a group that is otherwise valid", Err: err,
			}
		}
		if err := do(r); err != nil {
			return err
		}
		off = next
	}
	return nil
}

// BeginGroup returns b emptied and ready for records.
func BeginGroup(b []byte) []byte {
	var header [groupHeader]byte
	return append(b[:0], header[:]...)
}

// HasRecords reports whether anything was appended since BeginGroup.
func HasRecords(b []byte) bool { return len(b) > groupHeader }

// SealGroup closes a group that is to be written at p. passed is the offset in p's epoch that has passed by now.
func SealGroup(b []byte, store [16]byte, p Position, passed uint64, now time.Time) []byte {
	records := len(b)
	for len(b)%groupAlign != 0 {
		b = append(b, 0)
	}
	binary.LittleEndian.PutUint32(b[0:], uint32(len(b)))
	binary.LittleEndian.PutUint32(b[8:], groupMagic)
	binary.LittleEndian.PutUint32(b[12:], uint32(records))
	binary.LittleEndian.PutUint64(b[16:], passed)
	binary.LittleEndian.PutUint64(b[24:], uint64(now.UnixNano()))
	binary.LittleEndian.PutUint32(b[4:], groupSum(b, store, p))
	return b
}

// groupSum is the checksum of a frame that is to stand at p. The length is part of the seed, because it lies before the sum.
func groupSum(frame []byte, store [16]byte, p Position) uint32 {
	var seed [32]byte
	copy(seed[:], store[:])
	binary.LittleEndian.PutUint32(seed[16:], p.Epoch)
	binary.LittleEndian.PutUint64(seed[20:], p.Offset)
	binary.LittleEndian.PutUint32(seed[28:], uint32(len(frame)))
	return crc32.Update(crc32.Checksum(seed[:], castagnoli), castagnoli, frame[8:])
}

// frameLength reads the length of the frame that b begins with: 0 and an error when there can be none.
func frameLength(b []byte) (int, error) {
	length := binary.LittleEndian.Uint32(b)
	if length < groupHeader || length > MaxGroup || length%groupAlign != 0 {
		return 0, fmt.Errorf("frame length %d", length)
	}
	if magic := binary.LittleEndian.Uint32(b[8:]); magic != groupMagic {
		return 0, fmt.Errorf("frame magic %08x", magic)
	}
	return int(length), nil
}

// openGroup verifies a whole frame that was read at p.
func openGroup(frame []byte, store [16]byte, p Position) (Group, error) {
	want, got := binary.LittleEndian.Uint32(frame[4:]), groupSum(frame, store, p)
	if got != want {
		return Group{}, fmt.Errorf("group checksum %08x, want %08x", got, want)
	}
	records := binary.LittleEndian.Uint32(frame[12:])
	if records < groupHeader || uint64(records) > uint64(len(frame)) {
		return Group{}, fmt.Errorf("group of %d bytes claims %d", len(frame), records)
	}
	return Group{
		At:      p,
		Passed:  binary.LittleEndian.Uint64(frame[16:]),
		Time:    time.Unix(0, int64(binary.LittleEndian.Uint64(frame[24:]))),
		frame:   frame,
		records: int(records),
	}, nil
}

// Raw is the bytes of one record of g.
func (g *Group) Raw(r *Record) []byte { return g.frame[r.Off : r.Off+r.Len] }

// GroupLength is how long the frame of b will be once it is sealed.
func GroupLength(b []byte) uint64 { return uint64(len(b)+groupAlign-1) &^ (groupAlign - 1) }

// Reopen reads back the group that Append has put at place.
func Reopen(frame []byte, store [16]byte, place Place, suspect Position) (Group, error) {
	g, err := openGroup(frame, store, place.At)
	if err != nil {
		return Group{}, err
	}
	g.Segment, g.FileOff, g.Suspect = place.Segment, place.FileOff, suspect
	return g, nil
}
