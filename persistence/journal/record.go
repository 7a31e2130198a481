package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/batonmq/baton/core"
)

// Kind is a record's type as it stands on disk. Numbers are never reused.
type Kind uint8

// The kinds of record. Numbers 32 to 47 are set aside for sessions, retained messages, QoS 2 receive state, de-duplication ids and
// wills.
const (
	KindPublish    Kind = 1  // a message and the places it went to
	KindSettle     Kind = 2  // places of a queue that are over
	KindMark       Kind = 3  // places of a queue that were delivered once more
	KindDefine     Kind = 4  // a keyed definition
	KindRemove     Kind = 5  // the end of a keyed definition
	KindPlaces     Kind = 6  // the next free place of a queue
	KindReclaimed  Kind = 7  // segments that are gone or about to go
	KindOpened     Kind = 8  // an epoch began here
	KindClosed     Kind = 9  // an epoch ended orderly here
	KindCheckpoint Kind = 10 // the index is about to hold everything up to a position
	KindCarry      Kind = 11 // a message again, with the places where it still lives
)

// String is the kind's name in FORMAT.md.
func (k Kind) String() string {
	names := [...]string{
		"", "publish", "settle", "mark", "define", "remove", "places", "reclaimed", "opened", "closed", "checkpoint", "carry",
	}
	if k == 0 || int(k) >= len(names) {
		return strconv.Itoa(int(k))
	}
	return names[k]
}

// isMessage reports whether records of kind k hold a message and its places.
func (k Kind) isMessage() bool { return k == KindPublish || k == KindCarry }

const (
	recordHeader   = 12 // checksum, length, kind, flags, priority, reserved
	recordSum      = 4  // a checksum
	flagClean      = 1
	flagPersistent = 1 // this and those below: of a message
	flagOnce       = 2
	flagRetain     = 4
	flagReplayed   = 8
	flagExpires    = 16  // the message begins with when it expires
	flagArrived    = 32  // behind that, if any, is when it arrived
	flagDelay      = 128 // and behind that for how long it is delayed
	flagKeys       = 64  // behind its routing key are its further ones
	minPair        = 3   // bytes that a place or a range of segments takes at least: what a count may claim is bounded by what follows it
	minCarried     = 4   // likewise a place with its deliveries
	minRange       = 2   // likewise a range of places
)

var errRecord = errors.New("malformed record")

// SegmentRange is the segments First to Last of one epoch, both included.
type SegmentRange struct{ Epoch, First, Last uint32 }

// Record is one decoded record. Its slices are valid until the next call of the decoder that filled it, and alias the group.
type Record struct {
	Kind Kind
	Off  int // where the record starts in its group's frame
	Len  int // its length there

	Pairs    []core.Pair    // Publish, Carry
	Counts   []uint32       // Carry: the deliveries of each of Pairs
	Size     int            // Publish, Carry: of the message's body
	Queue    core.QueueID   // Settle, Mark, Define, Remove, Places
	Ranges   []core.Range   // Settle, Mark
	Next     core.Seq       // Places
	Key      []byte         // Define, Remove
	Value    []byte         // Define
	Order    uint64         // Define: definitions were made in this order
	Segments []SegmentRange // Reclaimed
	Clean    bool           // Opened: the life before ended orderly
	Node     []byte         // Opened
	At       Position       // Checkpoint, Opened

	message []byte // Publish, Carry: what lies between the places and the checksum
	publish publishView
}

// publishView is a publish record's message, not yet copied.
type publishView struct {
	flags               uint8
	priority            uint8
	expires, arrived    int64
	delay               int64
	exchange, key       []byte
	keys                []string // copied: they are rare
	properties, payload []byte
}

// Message copies the message of a publish or carry record. It is marked as stored.
func (r *Record) Message() *core.Message {
	v := &r.publish
	blob := make([]byte, len(v.properties)+len(v.payload))
	n := copy(blob, v.properties)
	copy(blob[n:], v.payload)
	m := &core.Message{
		Exchange:   string(v.exchange),
		Key:        string(v.key),
		Keys:       v.keys,
		Persistent: v.flags&flagPersistent != 0,
		Once:       v.flags&flagOnce != 0,
		Retain:     v.flags&flagRetain != 0,
		Replayed:   v.flags&flagReplayed != 0,
		Priority:   v.priority,
		Expires:    v.expires,
		Arrived:    v.arrived,
		Delay:      v.delay,
		Props:      blob[:n:n],
		Body:       blob[n:],
	}
	m.MarkStored()
	return m
}

// RoutingKey is the routing key of the message of a publish or carry record.
func (r *Record) RoutingKey() []byte { return r.publish.key }

// Expires is when the message of a publish or carry record expires, as core.Message.Expires.
func (r *Record) Expires() int64 { return r.publish.expires }

// appendHeader opens a record; finish closes it. Its checksums are put in by SealGroup.
func appendHeader(b []byte, kind Kind, flags, priority uint8) []byte {
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0, byte(kind), flags, priority, 0)
}

func finish(b []byte, start int) []byte {
	binary.LittleEndian.PutUint32(b[start+4:], uint32(len(b)-start))
	return b
}

func appendQueue(b []byte, q core.QueueID) []byte {
	b = binary.AppendUvarint(b, uint64(q)>>32)
	return binary.AppendUvarint(b, uint64(q)&0xffffffff)
}

func appendPair(b []byte, p core.Pair) []byte {
	return binary.AppendUvarint(appendQueue(b, p.Queue), uint64(p.Seq))
}

func appendBytes[T string | []byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func messageFlags(m *core.Message) (flags uint8) {
	for _, f := range [...]struct {
		set  bool
		flag uint8
	}{{m.Persistent, flagPersistent}, {m.Once, flagOnce}, {m.Retain, flagRetain}, {m.Replayed, flagReplayed}} {
		if f.set {
			flags |= f.flag
		}
	}
	if m.Expires != 0 {
		flags |= flagExpires
	}
	if m.Arrived != 0 {
		flags |= flagArrived
	}
	if m.Delay != 0 {
		flags |= flagDelay
	}
	if len(m.Keys) > 0 {
		flags |= flagKeys
	}
	return flags
}

// AppendPublish appends m with the places pairs.
func AppendPublish(b []byte, m *core.Message, pairs []core.Pair) []byte {
	start := len(b)
	b = appendHeader(b, KindPublish, messageFlags(m), m.Priority)
	b = binary.AppendUvarint(b, uint64(len(pairs)))
	for _, p := range pairs {
		b = appendPair(b, p)
	}
	if m.Expires != 0 {
		b = binary.AppendUvarint(b, uint64(m.Expires))
	}
	if m.Arrived != 0 {
		b = binary.AppendUvarint(b, uint64(m.Arrived))
	}
	if m.Delay != 0 {
		b = binary.AppendUvarint(b, uint64(m.Delay))
	}
	b = appendBytes(b, m.Exchange)
	b = appendBytes(b, m.Key)
	if len(m.Keys) > 0 {
		b = binary.AppendUvarint(b, uint64(len(m.Keys)))
		for _, key := range m.Keys {
			b = appendBytes(b, key)
		}
	}
	b = appendBytes(b, m.Props)
	b = appendBytes(b, m.Body)
	return finish(append(b, 0, 0, 0, 0), start)
}

// AppendRanges appends a settle or mark record.
func AppendRanges(b []byte, kind Kind, queue core.QueueID, ranges []core.Range) []byte {
	start := len(b)
	b = appendQueue(appendHeader(b, kind, 0, 0), queue)
	b = binary.AppendUvarint(b, uint64(len(ranges)))
	for _, r := range ranges {
		b = binary.AppendUvarint(b, uint64(r.First))
		b = binary.AppendUvarint(b, uint64(r.Last-r.First))
	}
	return finish(b, start)
}

// AppendDefine appends a define record.
func AppendDefine(b []byte, queue core.QueueID, order uint64, key string, value []byte) []byte {
	start := len(b)
	b = appendQueue(appendHeader(b, KindDefine, 0, 0), queue)
	b = binary.AppendUvarint(b, order)
	b = appendBytes(b, key)
	return finish(appendBytes(b, value), start)
}

// AppendRemove appends a remove record.
func AppendRemove(b []byte, queue core.QueueID, key string) []byte {
	start := len(b)
	return finish(appendBytes(appendQueue(appendHeader(b, KindRemove, 0, 0), queue), key), start)
}

// AppendPlaces appends a record of the next free place of queue.
func AppendPlaces(b []byte, queue core.QueueID, next core.Seq) []byte {
	start := len(b)
	return finish(binary.AppendUvarint(appendQueue(appendHeader(b, KindPlaces, 0, 0), queue), uint64(next)), start)
}

// AppendReclaimed appends a record that the segments are gone, whether or not their files still exist.
func AppendReclaimed(b []byte, segments []SegmentRange) []byte {
	start := len(b)
	b = binary.AppendUvarint(appendHeader(b, KindReclaimed, 0, 0), uint64(len(segments)))
	for _, s := range segments {
		b = binary.AppendUvarint(b, uint64(s.Epoch))
		b = binary.AppendUvarint(b, uint64(s.First))
		b = binary.AppendUvarint(b, uint64(s.Last-s.First))
	}
	return finish(b, start)
}

// AppendOpened appends the record that begins an epoch. before is the suspect position under which the records behind it in the group
// took effect: they are of the life before, of which nothing else may be left.
func AppendOpened(b []byte, clean bool, node string, before Position) []byte {
	start := len(b)
	var flags uint8
	if clean {
		flags |= flagClean
	}
	b = appendBytes(appendHeader(b, KindOpened, flags, 0), node)
	b = binary.AppendUvarint(b, uint64(before.Epoch))
	return finish(binary.AppendUvarint(b, before.Offset), start)
}

// AppendClosed appends the record that ends an epoch orderly.
func AppendClosed(b []byte) []byte { return finish(appendHeader(b, KindClosed, 0, 0), len(b)) }

// AppendCheckpoint appends a record that the index is about to hold everything up to p.
func AppendCheckpoint(b []byte, p Position) []byte {
	start := len(b)
	b = binary.AppendUvarint(appendHeader(b, KindCheckpoint, 0, 0), uint64(p.Epoch))
	return finish(binary.AppendUvarint(b, p.Offset), start)
}

// recordLength reads the length of the record that b begins with; 0 when there can be none of that length.
func recordLength(b []byte) int {
	if len(b) < recordHeader {
		return 0
	}
	length := binary.LittleEndian.Uint32(b[4:])
	if length < recordHeader || uint64(length) > uint64(len(b)) {
		return 0
	}
	return int(length)
}

// Decode reads the record that starts at b[off] into r and returns the offset of the one after it. Checksums are not looked at: a group
// that was read has been verified. See DecodePublish.
func (r *Record) Decode(b []byte, off int) (next int, err error) {
	length := recordLength(b[off:])
	if length == 0 {
		return 0, fmt.Errorf("%w: no length that %d bytes can hold", errRecord, len(b)-off)
	}
	body := b[off : off+length]
	r.reset(body, off)
	c := cursor{b: body[recordHeader:]}
	r.decodeBody(&c, body)
	if c.bad || len(c.b) != 0 {
		return 0, fmt.Errorf("%w of kind %d", errRecord, r.Kind)
	}
	return off + length, nil
}

// reset makes r empty, of the kind that body says, and keeps its arrays.
func (r *Record) reset(body []byte, off int) {
	*r = Record{
		Kind: Kind(body[8]), Off: off, Len: len(body),
		Pairs: r.Pairs[:0], Counts: r.Counts[:0], Ranges: r.Ranges[:0], Segments: r.Segments[:0],
	}
}

func (r *Record) decodeBody(c *cursor, body []byte) {
	switch r.Kind {
	case KindPublish, KindCarry:
		r.decodePlaces(c)
		r.decodeMessage(c, body)
	case KindSettle, KindMark:
		r.Queue = c.queue()
		for n := c.count(minRange); n > 0; n-- {
			first := c.uvarint()
			last := first + c.uvarint()
			c.bad = c.bad || last < first
			r.Ranges = append(r.Ranges, core.Range{First: core.Seq(first), Last: core.Seq(last)})
		}
	case KindDefine:
		r.Queue, r.Order = c.queue(), c.uvarint()
		r.Key, r.Value = c.bytes(), c.bytes()
	case KindRemove:
		r.Queue, r.Key = c.queue(), c.bytes()
	case KindPlaces:
		r.Queue, r.Next = c.queue(), core.Seq(c.uvarint())
	case KindReclaimed:
		for n := c.count(minPair); n > 0; n-- {
			s := SegmentRange{Epoch: c.uint32(), First: c.uint32()}
			s.Last = s.First + c.uint32()
			c.bad = c.bad || s.Last < s.First
			r.Segments = append(r.Segments, s)
		}
	case KindOpened:
		r.Clean, r.Node = body[9]&flagClean != 0, c.bytes()
		r.At = Position{Epoch: c.uint32(), Offset: c.uvarint()}
	case KindClosed:
	case KindCheckpoint:
		r.At = Position{Epoch: c.uint32(), Offset: c.uvarint()}
	default:
		c.bad = true
	}
}

// decodePlaces reads the places of a publish or carry record.
func (r *Record) decodePlaces(c *cursor) {
	if r.Kind == KindPublish {
		for n := c.count(minPair); n > 0; n-- {
			r.Pairs = append(r.Pairs, c.pair())
		}
		return
	}
	for n := c.count(minCarried); n > 0; n-- {
		r.Pairs, r.Counts = append(r.Pairs, c.pair()), append(r.Counts, c.uint32())
	}
}

func (r *Record) decodeMessage(c *cursor, body []byte) {
	if len(c.b) >= recordSum {
		r.message = c.b[:len(c.b)-recordSum]
	}
	v := &r.publish
	v.flags, v.priority = body[9], body[10]
	if v.flags&flagExpires != 0 {
		v.expires = int64(c.uvarint())
	}
	if v.flags&flagArrived != 0 {
		v.arrived = int64(c.uvarint())
	}
	if v.flags&flagDelay != 0 {
		v.delay = int64(c.uvarint())
	}
	v.exchange, v.key, v.keys = c.bytes(), c.bytes(), nil
	if v.flags&flagKeys != 0 {
		for n := c.count(1); n > 0; n-- {
			v.keys = append(v.keys, string(c.bytes()))
		}
	}
	v.properties, v.payload = c.bytes(), c.bytes()
	r.Size = len(v.payload)
	c.bad = c.bad || len(r.Pairs) == 0
	c.skip(recordSum)
}

// DecodePublish reads the publish or carry record that is all of b, as it was read back alone, and verifies its checksums. store is
// StoreSeed of the store, and at the position of the record.
func (r *Record) DecodePublish(b []byte, store uint32, at Position) error {
	if n := recordLength(b); n != len(b) {
		return fmt.Errorf("%w: its length is not %d", errRecord, len(b))
	}
	if err := checkRecord(b, recordSeed(store, at)); err != nil {
		return err
	}
	if _, err := r.Decode(b, 0); err != nil {
		return err
	}
	if !r.Kind.isMessage() {
		return fmt.Errorf("%w: kind %d is no message", errRecord, r.Kind)
	}
	return nil
}

// cursor reads fields and remembers that one was missing.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) uint32() uint32 {
	v := c.uvarint()
	c.bad = c.bad || v > 0xffffffff
	return uint32(v)
}

// count reads a number of items of at least size bytes each, so that a wrong number cannot make the decoder allocate or spin.
func (c *cursor) count(size int) uint64 {
	n := c.uvarint()
	if n > uint64(len(c.b)/size) {
		c.bad, c.b = true, nil
		return 0
	}
	return n
}

func (c *cursor) queue() core.QueueID {
	high := c.uint32()
	return core.QueueID(uint64(high)<<32 | uint64(c.uint32()))
}

func (c *cursor) pair() core.Pair {
	return core.Pair{Queue: c.queue(), Seq: core.Seq(c.uvarint())}
}

func (c *cursor) bytes() []byte {
	n := c.uvarint()
	if n > uint64(len(c.b)) {
		c.bad, c.b = true, nil
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) skip(n int) {
	if n > len(c.b) {
		c.bad, c.b = true, nil
		return
	}
	c.b = c.b[n:]
}
