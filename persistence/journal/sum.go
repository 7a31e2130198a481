package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Every byte of a group is covered by one checksum, and every checksum by another, up to the group's:
//
//	group      its header, and the headers of its records, in which their checksums are
//	record     its header behind the checksum and its fields; of a message those before it and the message's checksum
//	message    a publish or carry record's, from behind the places to its end
//
// So the whole costs one pass over the bytes, and what is wrong in a group is known by record: while the group's own checksum holds,
// so do the kinds and lengths of all records in it, and the places of every message whose record's holds.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errRecordSum  = errors.New("record checksum")
	errMessageSum = errors.New("message checksum")
)

// StoreSeed is what is the same in the checksums of all of a store's records.
func StoreSeed(store [16]byte) uint32 { return crc32.Checksum(store[:], castagnoli) }

// recordSeed is what the checksums of the record at p start from: it can be verified when it was read back alone, and cannot be taken for
// one of another place: the same bytes have another checksum for every other seed. store is StoreSeed.
func recordSeed(store uint32, p Position) uint32 {
	return store ^ p.Epoch*0x9e3779b1 ^ uint32(p.Offset) ^ uint32(p.Offset>>32)*0x85ebca6b
}

// plus is the position n bytes behind p.
func (p Position) plus(n int) Position { return Position{Epoch: p.Epoch, Offset: p.Offset + uint64(n)} }

// headEnd returns where the head of the record that is all of b ends, which its first checksum covers: a message's behind its places,
// any other's at the end. 0 when there is no such place.
func headEnd(b []byte) int {
	var varints int // in one place
	switch Kind(b[8]) {
	case KindPublish:
		varints = 3
	case KindCarry:
		varints = 4
	default:
		return len(b)
	}
	n, off := binary.Uvarint(b[recordHeader:])
	if off <= 0 || n > uint64(len(b)) {
		return 0
	}
	off += recordHeader
	for left := n * uint64(varints); left > 0; off++ {
		if off == len(b) {
			return 0
		}
		if b[off] < 0x80 {
			left--
		}
	}
	if off+recordSum > len(b) {
		return 0
	}
	return off
}

// sealRecord puts the checksums into the record that is all of b.
func sealRecord(b []byte, seed uint32) {
	end := headEnd(b)
	if end < len(b) {
		message := crc32.Update(seed, castagnoli, b[end:len(b)-recordSum])
		binary.LittleEndian.PutUint32(b[len(b)-recordSum:], message)
	}
	binary.LittleEndian.PutUint32(b, headSum(b, end, seed))
}

func headSum(b []byte, end int, seed uint32) uint32 {
	sum := crc32.Update(seed, castagnoli, b[4:end])
	if end < len(b) {
		sum = crc32.Update(sum, castagnoli, b[len(b)-recordSum:])
	}
	return sum
}

// checkRecord verifies the record that is all of b. With errMessageSum its kind and places are right, and its message is not.
func checkRecord(b []byte, seed uint32) error {
	end := headEnd(b)
	if end == 0 {
		return fmt.Errorf("%w: no end of its places", errRecordSum)
	}
	if want, got := binary.LittleEndian.Uint32(b), headSum(b, end, seed); want != got {
		return fmt.Errorf("%w %08x, want %08x", errRecordSum, got, want)
	}
	return checkMessage(b, end, seed)
}

// checkMessage verifies the message of a record whose head ends at end.
func checkMessage(b []byte, end int, seed uint32) error {
	if end == len(b) {
		return nil
	}
	at := len(b) - recordSum
	if want, got := binary.LittleEndian.Uint32(b[at:]), crc32.Update(seed, castagnoli, b[end:at]); want != got {
		return fmt.Errorf("%w %08x, want %08x", errMessageSum, got, want)
	}
	return nil
}
