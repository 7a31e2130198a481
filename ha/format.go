package ha

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"time"
	"unsafe"
)

// Every file is made of 4 KiB pages. Integers are little endian. A record (a
// page, half a page of the lease, a copy of the active file) begins with the
// same header and ends with the crc32c of all before it, in every version of the
// format, so that a torn record is never taken for a newer one.
//
//	0      4        6        8            24       32            size-4   size
//	| magic | version | zero  | store id    | epoch  | body ...    | crc32c |
//
// The store id of store.id is the id it makes.
const (
	pageSize      = 4096
	leaseSlotSize = pageSize / 2
	headerSize    = 32
	crcSize       = 4

	formatVersion = 1

	magicStore  = "BTNs"
	magicFloor  = "BTNf"
	magicLease  = "BTNl"
	magicFence  = "BTNx"
	magicActive = "BTNa"
	magicNode   = "BTNn"
	magicAsk    = "BTNr"
)

type storeID [16]byte

func (id storeID) String() string { return fmt.Sprintf("%x", id[:]) }

// soundness is what a record turned out to be.
type soundness int

const (
	blank   soundness = iota // zeros: never written
	sound                    // header and checksum are right
	unsound                  // anything else
)

func (s soundness) String() string {
	return [...]string{"blank", "sound", "unsound"}[s]
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// alignedPages returns n zeroed pages that begin at a page boundary, as reading
// past the cache requires. The garbage collector does not move them.
func alignedPages(n int) []byte {
	b := make([]byte, (n+1)*pageSize)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (pageSize - 1))
	return b[skip : skip+n*pageSize : skip+n*pageSize]
}

// AlignedPages returns n zeroed pages of 4 KiB for [File.ReadAt] and [File.Write].
func AlignedPages(n int) []byte { return alignedPages(n) }

// isZero compares b with itself moved by one byte: if its first byte is zero and
// every other equals the one before, all are.
func isZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}

// begin writes the header of rec; finish closes the record with its checksum.
func begin(rec []byte, magic string, id storeID, epoch uint64) {
	clear(rec)
	copy(rec, magic)
	binary.LittleEndian.PutUint16(rec[4:], formatVersion)
	copy(rec[8:], id[:])
	binary.LittleEndian.PutUint64(rec[24:], epoch)
}

func finish(rec []byte) {
	end := len(rec) - crcSize
	binary.LittleEndian.PutUint32(rec[end:], crc32.Checksum(rec[:end], castagnoli))
}

// examine checks rec's frame. The error is ErrNewer or, for a record of another
// store, ErrDamage; then and only then the record is sound and unusable.
func examine(rec []byte, magic string, id storeID) (soundness, error) {
	if isZero(rec) {
		return blank, nil
	}
	end := len(rec) - crcSize
	if end < headerSize || string(rec[:4]) != magic ||
		binary.LittleEndian.Uint32(rec[end:]) != crc32.Checksum(rec[:end], castagnoli) {
		return unsound, nil
	}
	if v := binary.LittleEndian.Uint16(rec[4:]); v != formatVersion {
		return sound, fmt.Errorf("%w: format %d, this broker knows %d; use the broker that wrote it, or a later one", ErrNewer, v, formatVersion)
	}
	if got := storeID(rec[8:24]); magic != magicStore && got != id {
		return sound, fmt.Errorf("%w: it belongs to store %v, the directory is store %v; files of two stores were mixed", ErrDamage, got, id)
	}
	return sound, nil
}

func recordEpoch(rec []byte) uint64 { return binary.LittleEndian.Uint64(rec[24:]) }

// encodeStore makes the page of store.id; its body is empty.
func encodeStore(id storeID) []byte {
	p := alignedPages(1)
	begin(p, magicStore, id, 0)
	finish(p)
	return p
}

func decodeStore(p []byte) (storeID, error) {
	switch s, err := examine(p, magicStore, storeID{}); {
	case err != nil:
		return storeID{}, err
	case s != sound:
		return storeID{}, fmt.Errorf("%w: it is %v", ErrDamage, s)
	}
	return storeID(p[8:24]), nil
}

// encodeFloor makes the page of ha/floor: the floor is the epoch of its header.
func encodeFloor(id storeID, floor uint64) []byte {
	p := alignedPages(1)
	begin(p, magicFloor, id, floor)
	finish(p)
	return p
}

// decodeFloor returns 0 for a floor that is absent, blank or torn: then every
// epoch counts, which costs time and nothing else.
func decodeFloor(p []byte, id storeID) (uint64, error) {
	s, err := examine(p, magicFloor, id)
	if err != nil || s != sound {
		return 0, err
	}
	return recordEpoch(p), nil
}

// encodeFence makes the mark that ends epoch. Any byte of it that is not zero
// marks; the rest is for the reader of a message.
//
//	32          40
//	| successor | zero ...
func encodeFence(id storeID, epoch, successor uint64) []byte {
	p := alignedPages(1)
	begin(p, magicFence, id, epoch)
	binary.LittleEndian.PutUint64(p[32:], successor)
	finish(p)
	return p
}

// successorOf reads who marked a fence: 0 when the mark does not tell.
func successorOf(p []byte, id storeID) uint64 {
	if s, err := examine(p, magicFence, id); err != nil || s != sound {
		return 0
	}
	return binary.LittleEndian.Uint64(p[32:])
}

// Copies of the active file. The file is two equal copies of whole pages, one
// behind the other; its size is fixed when the claim is made, because the size
// of a file that grows may be stale for a reader on another host.
//
//	32             36     40        48         56
//	| seals uint32 | zero | epoch 0 | offset 0 | epoch 1 ...
//
// The first copy is synced before the second is written, and before anything is
// promised. So a first copy that a crash has torn, with a second that is blank, means
// an activation that did not finish and promised nothing; two copies that are neither
// blank nor sound are damage. Between Activate and the end of Settle there is only the
// first copy, and no floor yet that tells of it: a disk that loses that one copy then
// is not found out.
const sealSize = 16

// activePages is how many pages a copy needs for n seals.
func activePages(n int) int {
	return (headerSize + 8 + n*sealSize + crcSize + pageSize - 1) / pageSize
}

func activeCapacity(pages int) int {
	return (pages*pageSize - headerSize - 8 - crcSize) / sealSize
}

func encodeActive(pages int, id storeID, epoch uint64, lineage []Seal) []byte {
	p := alignedPages(pages)
	begin(p, magicActive, id, epoch)
	binary.LittleEndian.PutUint32(p[32:], uint32(len(lineage)))
	b := p[40:]
	for i, s := range lineage {
		binary.LittleEndian.PutUint64(b[i*sealSize:], s.Epoch)
		binary.LittleEndian.PutUint64(b[i*sealSize+8:], s.Offset)
	}
	finish(p)
	return p
}

// decodeActive reads a whole active file: ok tells whether the epoch was ever
// active.
func decodeActive(p []byte, id storeID, epoch uint64) (lineage []Seal, ok bool, err error) {
	half := len(p) / 2
	if len(p) == 0 || len(p)%(2*pageSize) != 0 {
		return nil, false, fmt.Errorf("%w: its size %d is not two equal copies", ErrDamage, len(p))
	}
	for _, c := range [][]byte{p[:half], p[half:]} {
		s, err := examine(c, magicActive, id)
		if err != nil {
			return nil, false, err
		}
		n := binary.LittleEndian.Uint32(c[32:])
		if s != sound || recordEpoch(c) != epoch || uint64(n) > uint64(activeCapacity(half/pageSize)) {
			continue
		}
		lineage = make([]Seal, n)
		for i := range lineage {
			b := c[40+i*sealSize:]
			lineage[i] = Seal{Epoch: binary.LittleEndian.Uint64(b), Offset: binary.LittleEndian.Uint64(b[8:])}
		}
		return lineage, true, nil
	}
	if isZero(p[half:]) {
		return nil, false, nil
	}
	return nil, false, fmt.Errorf("%w: both copies of the lineage are bad", ErrDamage)
}

type leaseState uint8

const (
	stateClaimed leaseState = iota + 1
	stateServing
	stateReleased
	stateFailed
)

func (s leaseState) String() string {
	switch s {
	case stateClaimed:
		return "claimed"
	case stateServing:
		return "serving"
	case stateReleased:
		return "released"
	case stateFailed:
		return "failed"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// over tells that the holder itself gave the epoch up.
func (s leaseState) over() bool { return s == stateReleased || s == stateFailed }

// lease is one record of the lease page. The page has two slots, written in
// turn, so that a torn write leaves the record before it.
//
//	32      48        56    64         72        80            88
//	| nonce | counter | ttl | promised | segment | broker time | ...
//	88      89     92    96           97
//	| state | zero | pid | n addresses | node | config hash | addresses ... | zero
//
// Strings are a length byte and their bytes; a zero byte follows the last. ttl and broker time are in
// nanoseconds, the latter since 1970, 0 when unknown. Before the crc the slot ends with a reading of the
// boot's clock at broker time, zero where there is none:
//
//	end-28    end-12       end-4
//	| boot id | boot clock | crc
type lease struct {
	epoch      uint64
	nonce      [16]byte
	counter    uint64
	ttl        time.Duration
	promised   uint64
	segment    uint64
	brokerTime int64
	boot       bootReading
	state      leaseState
	pid        uint32
	node       string
	configHash string
	advertise  []string
}

const (
	leaseStrings = 97
	leaseBoot    = leaseSlotSize - crcSize - 24
)

// check tells whether the lease fits its slot.
func (l *lease) check() error {
	size := leaseStrings + 2 + len(l.node) + len(l.configHash) + 1
	for _, s := range append([]string{l.node, l.configHash}, l.advertise...) {
		if len(s) > 255 {
			return fmt.Errorf("name, hash or address %.20q... is longer than 255 bytes", s)
		}
	}
	for _, a := range l.advertise {
		size += 1 + len(a)
	}
	if size > leaseBoot || len(l.advertise) > 255 {
		return fmt.Errorf("%d advertised addresses do not fit the lease's %d bytes", len(l.advertise), leaseSlotSize)
	}
	return nil
}

// encodeInto writes the lease to the slot of page that its counter chooses.
func (l *lease) encodeInto(page []byte, id storeID) {
	at := int(l.counter%2) * leaseSlotSize
	b := page[at : at+leaseSlotSize]
	begin(b, magicLease, id, l.epoch)
	copy(b[32:], l.nonce[:])
	le := binary.LittleEndian
	le.PutUint64(b[48:], l.counter)
	le.PutUint64(b[56:], uint64(l.ttl))
	le.PutUint64(b[64:], l.promised)
	le.PutUint64(b[72:], l.segment)
	le.PutUint64(b[80:], uint64(l.brokerTime))
	b[88] = byte(l.state)
	le.PutUint32(b[92:], l.pid)
	b[96] = byte(len(l.advertise))
	at = leaseStrings
	for _, s := range append([]string{l.node, l.configHash}, l.advertise...) {
		b[at] = byte(len(s))
		at += 1 + copy(b[at+1:], s)
	}
	copy(b[leaseBoot:], l.boot.boot[:])
	le.PutUint64(b[leaseBoot+16:], uint64(l.boot.at))
	finish(b)
}

// decodeLease returns the newer of a page's sound records; ok is false when
// there is none.
func decodeLease(page []byte, id storeID, epoch uint64) (newest lease, ok bool, err error) {
	for slot := range slices.Chunk(page, leaseSlotSize) {
		s, err := examine(slot, magicLease, id)
		if err != nil {
			return lease{}, false, err
		}
		if s != sound || recordEpoch(slot) != epoch {
			continue
		}
		if l, fits := decodeLeaseSlot(slot); fits && (!ok || l.counter > newest.counter) {
			newest, ok = l, true
		}
	}
	return newest, ok, nil
}

func decodeLeaseSlot(b []byte) (l lease, ok bool) {
	le := binary.LittleEndian
	l = lease{
		epoch:      recordEpoch(b),
		nonce:      [16]byte(b[32:48]),
		counter:    le.Uint64(b[48:]),
		ttl:        time.Duration(le.Uint64(b[56:])),
		promised:   le.Uint64(b[64:]),
		segment:    le.Uint64(b[72:]),
		brokerTime: int64(le.Uint64(b[80:])),
		boot:       bootReading{boot: [16]byte(b[leaseBoot:]), at: time.Duration(le.Uint64(b[leaseBoot+16:]))},
		state:      leaseState(b[88]),
		pid:        le.Uint32(b[92:]),
	}
	rest := b[leaseStrings:leaseBoot]
	next := func() (s string) {
		if !ok {
			return ""
		}
		n := int(rest[0])
		if ok = n+1 < len(rest); ok {
			s, rest = string(rest[1:1+n]), rest[1+n:]
		}
		return s
	}
	ok = true
	l.node, l.configHash = next(), next()
	for range int(b[96]) {
		l.advertise = append(l.advertise, next())
	}
	return l, ok
}
