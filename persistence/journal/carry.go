package journal

import (
	"encoding/binary"

	"github.com/batonmq/baton/core"
)

// Carried is one place of a message that is carried forward.
type Carried struct {
	core.Pair
	Delivered uint32 // how often it was delivered by then
}

// AppendCarry appends the message of r, a publish or carry record, again with the places that are left of it. Flags, priority and
// everything behind the places are taken over byte by byte.
func AppendCarry(b []byte, r *Record, places []Carried) []byte {
	start := len(b)
	b = appendHeader(b, KindCarry, r.publish.flags, r.publish.priority)
	b = binary.AppendUvarint(b, uint64(len(places)))
	for _, p := range places {
		b = binary.AppendUvarint(appendPair(b, p.Pair), uint64(p.Delivered))
	}
	b = append(b, r.message...)
	return finish(append(b, 0, 0, 0, 0), start)
}

// Scan walks the groups of a segment that is complete.
type Scan struct {
	s   *frames
	end uint64
}

// NewScan opens segment id of store, whose groups end at offset end of its epoch.
func NewScan(files Files, dir string, id SegmentID, store [16]byte, end uint64) (*Scan, error) {
	r := &Reader{h: History{Files: files, Dir: dir, Store: store}}
	s, _, err := r.open(id)
	if err != nil {
		return nil, r.headerDamage(id, err)
	}
	s.endAt(end)
	return &Scan{s: s, end: end}, nil
}

// Next returns the next group, which is valid until the call after it; false at the end. Where no group can be read the error is a
// *DamageError.
func (c *Scan) Next() (Group, bool, error) {
	if c.s.pos.Offset >= c.end {
		return Group{}, false, nil
	}
	g, err := c.s.next()
	if isEnd(err) {
		return Group{}, false, c.s.damage(err, "groups that had passed")
	}
	return g, err == nil, err
}

// Close lets go of the file.
func (c *Scan) Close() { c.s.close() }
