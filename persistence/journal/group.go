package journal

import (
	"encoding/binary"
	"errors"
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

	Damage *DamageError // nil: the group is what was written. Otherwise Passed and Time may be zero
	Lost   []Lost       // what could not be read of a damaged one, in the order of the file

	dir     string // where the file is
	frame   []byte // the whole frame
	records int    // where the records end in it
}

// End is the position after the group.
func (g *Group) End() Position {
	return Position{Epoch: g.At.Epoch, Offset: g.At.Offset + uint64(len(g.frame))}
}

// Each calls do with every record that is not lost; its Off counts from the start of the frame. r is used for each of them.
func (g *Group) Each(r *Record, do func(*Record) error) error {
	b, lost := g.frame[:g.records], g.Lost
	for off := groupHeader; off < len(b); {
		if len(lost) > 0 && lost[0].Off == off {
			off += lost[0].Len
			lost = lost[1:]
			continue
		}
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

// SealGroup closes a group that is to be written at p, with the checksums of its records. passed is the offset in p's epoch that has
// passed by now.
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
	seed := StoreSeed(store)
	for off := groupHeader; off < records; {
		length := recordLength(b[off:records])
		if length == 0 {
			panic("journal: a record that was not finished is in the group")
		}
		sealRecord(b[off:off+length], recordSeed(seed, p.plus(off)))
		off += length
	}
	sum, _ := groupSum(b, store, p, records)
	binary.LittleEndian.PutUint32(b[4:], sum)
	return b
}

// groupSum is the checksum of a frame that is to stand at p and whose records end at records: of its header and its records' headers.
// The length is part of the seed, because it lies before the sum. False when the records' lengths do not lead to their end.
func groupSum(frame []byte, store [16]byte, p Position, records int) (uint32, bool) {
	var seed [32]byte
	copy(seed[:], store[:])
	binary.LittleEndian.PutUint32(seed[16:], p.Epoch)
	binary.LittleEndian.PutUint64(seed[20:], p.Offset)
	binary.LittleEndian.PutUint32(seed[28:], uint32(len(frame)))
	sum := crc32.Update(crc32.Checksum(seed[:], castagnoli), castagnoli, frame[8:groupHeader])
	// Small pieces make a checksum slow, so the headers are gathered.
	var gather [32 * recordHeader]byte
	n := 0
	for off := groupHeader; off < records; {
		length := recordLength(frame[off:records])
		if length == 0 {
			return 0, false
		}
		if n == len(gather) {
			sum, n = crc32.Update(sum, castagnoli, gather[:]), 0
		}
		n += copy(gather[n:], frame[off:off+recordHeader])
		off += length
	}
	return crc32.Update(sum, castagnoli, gather[:n]), true
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
	g, err := openFrame(frame, store, p)
	if err != nil {
		return Group{}, err
	}
	seed := StoreSeed(store)
	for off := groupHeader; off < g.records; {
		length := recordLength(frame[off:g.records])
		if err := checkRecord(frame[off:off+length], recordSeed(seed, p.plus(off))); err != nil {
			return Group{}, fmt.Errorf("record at %d of the group: %w", off, err)
		}
		off += length
	}
	return g, nil
}

// openFrame verifies the frame's own checksum: the lengths, kinds and checksums of its records are then what was written.
func openFrame(frame []byte, store [16]byte, p Position) (Group, error) {
	records := binary.LittleEndian.Uint32(frame[12:])
	if records < groupHeader || uint64(records) > uint64(len(frame)) || len(frame)-int(records) >= groupAlign {
		return Group{}, fmt.Errorf("group of %d bytes claims %d", len(frame), records)
	}
	for _, b := range frame[records:] {
		if b != 0 {
			return Group{}, errors.New("the bytes that fill the group up are not zeros")
		}
	}
	want := binary.LittleEndian.Uint32(frame[4:])
	got, ok := groupSum(frame, store, p, int(records))
	if !ok || got != want {
		return Group{}, fmt.Errorf("group checksum %08x, want %08x", got, want)
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
