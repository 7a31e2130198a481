package persistence

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/batonmq/baton/persistence/journal"
)

// chunkPlaces is how many places of a queue one chunk covers. A chunk is what the index keeps as one value.
const chunkPlaces = 1024

// entry is where a live place's message is. 20 bytes; its place is where it stands in its chunk.
type entry struct {
	segment   uint32 // index in the segment table
	offset    uint32 // of the publish record in the file
	length    uint32 // of the publish record
	size      uint32 // of the message's body
	delivered uint32
}

// chunk is the places number*chunkPlaces to number*chunkPlaces+chunkPlaces-1 of a queue.
type chunk struct {
	number  uint64
	first   int      // the place entries[0] stands for, in the chunk
	entries []entry  // as long as the places in use need; at most chunkPlaces
	alive   []uint64 // a bit for each of entries
	count   int
	parts   []part // what lives in it, so that it can be ended without being read; nil: to be summed up
	dirty   int    // where it is in queue.changed, from 1; 0: it is what the index has
	listed  int    // where it is in live.inMemory, from 1; 0: it is absent
	indexed bool   // the index has one under this number
	absent  bool   // only the index has its entries
	used    bool   // since it was last looked at by evict
	shared  bool   // a snapshot reads entries, as far as they went then, without live.mu
	turn    uint32 // how often it was read from the index
	pages   *pages // of a keyed queue
}

// part is what lives of one segment in a chunk.
type part struct {
	segment uint32
	entries uint32
	bytes   int64 // the length of their records
	size    int64 // the sum of the sizes of their bodies
}

// get returns the entry at a place of the chunk, nil when it is not alive.
func (c *chunk) get(place int) *entry {
	i := place - c.first
	if i < 0 || i >= len(c.entries) || c.alive[i/64]&(1<<(i%64)) == 0 {
		return nil
	}
	return &c.entries[i]
}

// after returns the first live place at or after place, chunkPlaces when there is none.
func (c *chunk) after(place int) int {
	from := max(0, place-c.first)
	for w := from / 64; w < len(c.alive); w++ {
		word := c.alive[w]
		if w == from/64 {
			word &= ^uint64(0) << (from % 64)
		}
		if word != 0 {
			return c.first + w*64 + bits.TrailingZeros64(word)
		}
	}
	return chunkPlaces
}

// own makes the entries c's own, so that they can be changed. Putting one behind the last does not need it.
func (c *chunk) own() {
	if c.shared {
		c.entries, c.shared = slices.Clone(c.entries), false
	}
}

// put makes place alive with e.
func (c *chunk) put(place int, e entry) {
	switch {
	case len(c.entries) == 0:
		c.first = place
	case place < c.first:
		c.widen(place)
	case place < c.first+len(c.entries):
		c.own()
	}
	i := place - c.first
	for len(c.entries) <= i {
		c.entries = append(c.entries, entry{})
	}
	for len(c.alive) <= i/64 {
		c.alive = append(c.alive, 0)
	}
	c.entries[i] = e
	c.alive[i/64] |= 1 << (i % 64)
	c.count++
}

// widen has the entries begin at or before a place that is before the first, as it may be when messages are read out of order.
func (c *chunk) widen(place int) {
	first := place &^ 63
	wide := chunk{first: first, entries: make([]entry, 1, c.first-first+len(c.entries)), alive: make([]uint64, 1)}
	for p := c.after(0); p < chunkPlaces; p = c.after(p + 1) {
		wide.put(p, *c.get(p))
	}
	c.first, c.entries, c.alive, c.shared = first, wide.entries, wide.alive, false
}

func (c *chunk) drop(place int) {
	i := place - c.first
	c.alive[i/64] &^= 1 << (i % 64)
	c.count--
}

// empty lets go of all entries.
func (c *chunk) empty() { c.entries, c.alive, c.count = nil, nil, 0 }

// sum returns what lives in c by segment, in the order in which it is met.
func (c *chunk) sum() []part {
	var parts []part
	for p := c.after(0); p < chunkPlaces; p = c.after(p + 1) {
		e := c.get(p)
		i := partOf(parts, e.segment)
		if i < 0 {
			i = len(parts)
			parts = append(parts, part{segment: e.segment})
		}
		parts[i].entries++
		parts[i].bytes += int64(e.length)
		parts[i].size += int64(e.size)
	}
	return parts
}

// summed is sum, which one that is absent has at hand.
func (c *chunk) summed() []part {
	if c.parts != nil {
		return c.parts
	}
	return c.sum()
}

// partOf returns where in parts a segment is, -1 when it is not. The newest is asked for most.
func partOf(parts []part, segment uint32) int {
	for i, p := range slices.Backward(parts) {
		if p.segment == segment {
			return i
		}
	}
	return -1
}

// The value of a chunk, integers as uvarints where no width is given:
//
//	format[1]  number of parts  part...  run...
//	part       segment key[8]  entries  bytes  size
//	run        mask[1]  what has changed...  [further entries]
//
// A run is an entry and those after it that are like it. What an entry has is told by six numbers: the distance to the place
// before, the part its segment is, how far its record is from the end of the one before in its segment (from the file's start for
// the first), the record's length, by how much that is more than the message's size, and the deliveries. A bit of the mask tells
// that one of them is not what it was for the entry before, and follows, as a signed varint. Messages of one size that were published
// one after the other are one run for each group of the journal: some bytes instead of 11 for each.
const (
	changedGap byte = 1 << iota
	changedPart
	changedSkip
	changedLength
	changedExtra
	changedDelivered
	runFollows // more than one entry
)

// told is an entry as a run tells it. Before the first one all is 0.
type told struct {
	gap, part, skip, length, extra, delivered int64
}

// encodeChunk writes c, of which parts is the sum.
func encodeChunk(c *chunk, parts []part, key func(segment uint32) uint64) []byte {
	b := make([]byte, 0, 64+32*len(parts))
	b = append(b, stateFormat)
	b = binary.AppendUvarint(b, uint64(len(parts)))
	for _, p := range parts {
		b = binary.LittleEndian.AppendUint64(b, key(p.segment))
		b = binary.AppendUvarint(b, uint64(p.entries))
		b = binary.AppendUvarint(b, uint64(p.bytes))
		b = binary.AppendUvarint(b, uint64(p.size))
	}
	ends := make([]int64, len(parts)) // of the last record met of each part
	var last, run told
	length, before := 0, -1
	for p := c.after(0); p < chunkPlaces; p = c.after(p + 1) {
		e := c.get(p)
		at := partOf(parts, e.segment)
		t := told{
			gap: int64(p - before), part: int64(at), skip: int64(e.offset) - ends[at], length: int64(e.length),
			extra: int64(e.length) - int64(e.size), delivered: int64(e.delivered),
		}
		before, ends[at] = p, int64(e.offset)+int64(e.length)
		if length > 0 && t == run {
			length++
			continue
		}
		b = appendRun(b, last, run, length)
		last, run, length = run, t, 1
	}
	return appendRun(b, last, run, length)
}

// appendRun writes a run that comes after one of last.
func appendRun(b []byte, last, run told, length int) []byte {
	if length == 0 {
		return b
	}
	mask := len(b)
	b = append(b, 0)
	change := func(bit byte, from, to int64) {
		if from != to {
			b[mask] |= bit
			b = binary.AppendVarint(b, to)
		}
	}
	change(changedGap, last.gap, run.gap)
	change(changedPart, last.part, run.part)
	change(changedSkip, last.skip, run.skip)
	change(changedLength, last.length, run.length)
	change(changedExtra, last.extra, run.extra)
	change(changedDelivered, last.delivered, run.delivered)
	if length > 1 {
		b[mask] |= runFollows
		b = binary.AppendUvarint(b, uint64(length-1))
	}
	return b
}

// readParts reads the head of a chunk's value.
func (l *live) readParts(r *stateReader) []part {
	r.format()
	n := r.count(11)
	parts := make([]part, 0, n)
	for ; n > 0; n-- {
		segment, ok := l.segments.byID[journal.SegmentOfKey(r.uint64())]
		p := part{segment: segment, entries: r.uint32(), bytes: int64(r.uvarint()), size: int64(r.uvarint())}
		r.bad = r.bad || !ok || p.entries > chunkPlaces
		parts = append(parts, p)
	}
	return parts
}

// decodeChunk reads what encodeChunk wrote into c, which has no entries.
func (l *live) decodeChunk(b []byte, c *chunk) error {
	r := &stateReader{b: b}
	parts := l.readParts(r)
	if r.bad {
		return errState
	}
	c.parts, c.count = parts, 0
	ends := make([]int64, len(parts))
	var run told
	place := int64(-1)
	for len(r.b) > 0 {
		length := run.read(r)
		if r.bad || run.part < 0 || run.part >= int64(len(parts)) || run.gap < 1 || run.gap > chunkPlaces {
			return errState
		}
		for ; length > 0; length-- {
			place += run.gap
			offset := ends[run.part] + run.skip
			size := run.length - run.extra
			if place >= chunkPlaces || !is32(offset) || !is32(run.length) || !is32(size) || !is32(run.delivered) {
				return errState
			}
			ends[run.part] = offset + run.length
			c.put(int(place), entry{
				segment: parts[run.part].segment, offset: uint32(offset), length: uint32(run.length), size: uint32(size),
				delivered: uint32(run.delivered),
			})
		}
	}
	if !slices.Equal(c.sum(), parts) {
		return errState
	}
	return r.end()
}

// read reads the run that comes after t, and returns how many entries it has.
func (t *told) read(r *stateReader) int {
	mask := r.byte()
	for _, f := range []struct {
		bit   byte
		field *int64
	}{
		{changedGap, &t.gap},
		{changedPart, &t.part},
		{changedSkip, &t.skip},
		{changedLength, &t.length},
		{changedExtra, &t.extra},
		{changedDelivered, &t.delivered},
	} {
		if mask&f.bit != 0 {
			*f.field = r.varint()
		}
	}
	if mask&runFollows == 0 {
		return 1
	}
	more := r.uvarint()
	r.bad = r.bad || more == 0 || more >= chunkPlaces
	return int(min(more, chunkPlaces)) + 1
}

func is32(n int64) bool { return n >= 0 && n <= math.MaxUint32 }
