package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/cespare/xxhash/v2"
)

// format is the version of everything in a slot. A slot of another version is emptied: an index is never converted.
const format = 1

// kind is what a value is about, and the first byte of its key.
type kind byte

const (
	kindDefinition kind = 'd'
	kindQueue      kind = 'q'
	kindChunk      kind = 'c'
	kindSegment    kind = 's'
)

// kinds are all of them, in the order in which a root accounts for them.
var kinds = [...]kind{kindDefinition, kindQueue, kindChunk, kindSegment}

// Keys, all integers big endian:
//
//	value     kind[1]  id[...]  generation[8]  crc[4]
//	removal   'x'[1]  kind[1]  id[...]  generation[8]  crc[4]
//	root      'r'
//
//	id of     d: the definition's key   q: queue[8]   c: queue[8] number[8]   s: segment[8]
//
// The generation is that of the checkpoint which wrote the value; of several values of one id the highest generation that is not above
// the root's counts. A removal says that the id ends with its generation; that of a queue ends all its chunks. The crc is CRC-32C
// of the key up to it and the value, so that the keys alone, which the root's sums account for, determine every byte of the index.
const (
	prefixRemoval = 'x'
	prefixRoot    = 'r'
	keyTail       = 8 + 4
)

// rootKey returns the root's key.
func rootKey() []byte { return []byte{prefixRoot} }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// version tells one value of an id from every other.
type version struct {
	gen uint64
	crc uint32
}

// id names what a value is about.
type id struct {
	kind   kind
	key    string // kindDefinition
	queue  uint64 // kindQueue, kindChunk
	number uint64 // kindChunk, kindSegment
}

func (d id) String() string {
	switch d.kind {
	case kindDefinition:
		return fmt.Sprintf("definition %q", d.key)
	case kindQueue:
		return fmt.Sprintf("queue %d", d.queue)
	case kindChunk:
		return fmt.Sprintf("chunk %d of queue %d", d.number, d.queue)
	case kindSegment:
		return fmt.Sprintf("segment %d", d.number)
	}
	return fmt.Sprintf("unknown kind %q", byte(d.kind))
}

// appendID appends kind and id.
func (d id) appendID(b []byte) []byte {
	b = append(b, byte(d.kind))
	switch d.kind {
	case kindDefinition:
		b = append(b, d.key...)
	case kindQueue:
		b = binary.BigEndian.AppendUint64(b, d.queue)
	case kindChunk:
		b = binary.BigEndian.AppendUint64(b, d.queue)
		b = binary.BigEndian.AppendUint64(b, d.number)
	case kindSegment:
		b = binary.BigEndian.AppendUint64(b, d.number)
	}
	return b
}

// valueKey returns the key of a value already known by its version.
func valueKey(d id, v version) []byte {
	return appendValueKey(make([]byte, 0, 1+16+len(d.key)+keyTail), d, v)
}

func appendValueKey(b []byte, d id, v version) []byte {
	b = d.appendID(b)
	b = binary.BigEndian.AppendUint64(b, v.gen)
	return binary.BigEndian.AppendUint32(b, v.crc)
}

// newVersion returns the version of a new value. id is what appendID has written; what lies behind it in its array is scratch.
func newVersion(id []byte, gen uint64, data []byte) version {
	return version{gen: gen, crc: checksum(binary.BigEndian.AppendUint64(id, gen), data)}
}

// removalKey returns the key that says d ends with gen.
func removalKey(d id, gen uint64) []byte {
	b := binary.BigEndian.AppendUint64(d.appendID([]byte{prefixRemoval}), gen)
	return binary.BigEndian.AppendUint32(b, checksum(b, nil))
}

// checksum is CRC-32C of a key up to its crc, and the value.
func checksum(key, data []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, key), castagnoli, data)
}

var errKey = errors.New("a key is not one of the index's")

// parseKey is the inverse of valueKey and removalKey.
func parseKey(key []byte) (d id, v version, removal bool, err error) {
	if len(key) > 1 && key[0] == prefixRemoval && key[1] != prefixRemoval {
		d, v, _, err = parseKey(key[1:])
		if err == nil && v.crc != checksum(key[:len(key)-4], nil) {
			err = errKey
		}
		return d, v, true, err
	}
	if len(key) < 1+keyTail {
		return d, v, false, errKey
	}
	body, tail := key[1:len(key)-keyTail], key[len(key)-keyTail:]
	v = version{gen: binary.BigEndian.Uint64(tail), crc: binary.BigEndian.Uint32(tail[8:])}
	d.kind = kind(key[0])
	switch {
	case d.kind == kindDefinition:
		d.key = string(body)
	case d.kind == kindQueue && len(body) == 8:
		d.queue = binary.BigEndian.Uint64(body)
	case d.kind == kindChunk && len(body) == 16:
		d.queue, d.number = binary.BigEndian.Uint64(body), binary.BigEndian.Uint64(body[8:])
	case d.kind == kindSegment && len(body) == 8:
		d.number = binary.BigEndian.Uint64(body)
	default:
		return d, v, false, errKey
	}
	return d, v, false, nil
}

// tally accounts for the keys of one kind: how many, and the sum of their hashes, which does not depend on order and can be carried
// on from checkpoint to checkpoint.
type tally struct {
	count uint64
	sum   uint64
}

// add returns buf, which it writes to, grown where it was too short.
func (t *tally) add(buf []byte, d id, v version) []byte {
	buf = appendValueKey(buf[:0], d, v)
	t.addKey(buf)
	return buf
}

func (t *tally) addKey(key []byte) {
	t.count++
	t.sum += xxhash.Sum64(key)
}

func (t *tally) drop(d id, v version) {
	t.count--
	t.sum -= xxhash.Sum64(valueKey(d, v))
}

// rootRecord is the value of the root:
//
//	format u32 | generation u64 | epoch u32 | offset u64 | { count u64 | sum u64 } of each kind |
//	store length u16, store | meta length u32, meta | crc32c u32 of all before it
type rootRecord struct {
	gen      uint64
	position Position
	tallies  [len(kinds)]tally
	store    string
	meta     []byte
}

func (r *rootRecord) encode() []byte {
	b := binary.BigEndian.AppendUint32(nil, format)
	b = binary.BigEndian.AppendUint64(b, r.gen)
	b = binary.BigEndian.AppendUint32(b, r.position.Epoch)
	b = binary.BigEndian.AppendUint64(b, r.position.Offset)
	for _, t := range r.tallies {
		b = binary.BigEndian.AppendUint64(b, t.count)
		b = binary.BigEndian.AppendUint64(b, t.sum)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.store)))
	b = append(b, r.store...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.meta)))
	b = append(b, r.meta...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// rootFixed is the length of a root up to its store's length.
const rootFixed = 4 + 8 + 4 + 8 + len(kinds)*16

func decodeRoot(b []byte) (*rootRecord, error) {
	if len(b) < 8 {
		return nil, fmt.Errorf("root is %d bytes short", 8-len(b))
	}
	if f := binary.BigEndian.Uint32(b); f != format {
		return nil, fmt.Errorf("root has format %d, not %d", f, format)
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return nil, errors.New("root has a wrong checksum")
	}
	if len(body) < rootFixed+2 {
		return nil, errors.New("root is too short")
	}
	r := &rootRecord{
		gen:      binary.BigEndian.Uint64(body[4:]),
		position: Position{Epoch: binary.BigEndian.Uint32(body[12:]), Offset: binary.BigEndian.Uint64(body[16:])},
	}
	for i := range r.tallies {
		at := body[24+i*16:]
		r.tallies[i] = tally{count: binary.BigEndian.Uint64(at), sum: binary.BigEndian.Uint64(at[8:])}
	}
	rest := body[rootFixed:]
	n := 2 + int(binary.BigEndian.Uint16(rest))
	if len(rest) < n+4 || uint64(len(rest)-n-4) != uint64(binary.BigEndian.Uint32(rest[n:])) {
		return nil, errors.New("root has lengths that do not add up")
	}
	r.store, r.meta = string(rest[2:n]), rest[n+4:]
	return r, nil
}

// tally returns how r accounts for kind k.
func (r *rootRecord) tally(k kind) *tally { return &r.tallies[k.place()] }

// place is where k is among the kinds.
func (k kind) place() int {
	for i := range kinds {
		if kinds[i] == k {
			return i
		}
	}
	panic(fmt.Sprintf("index: no tally for kind %q", byte(k)))
}
