package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/batonmq/baton/core"
)

// Lost is a stretch of a damaged group from which no record could be read.
type Lost struct {
	Off, Len int         // in the group's frame
	Kind     Kind        // of the one record that it was; 0: not known, it may have been anything
	Pairs    []core.Pair // of a message, the places it was at; nil: not known
	Err      error
}

// IsMessage reports whether a message is all that was lost.
func (l *Lost) IsMessage() bool { return l.Kind.isMessage() }

// Held says what was lost.
func (l *Lost) Held() string {
	switch {
	case l.Kind == 0:
		return "records of kinds that are not known"
	case !l.IsMessage():
		return "a record of kind " + l.Kind.String()
	case len(l.Pairs) == 0:
		return "a message of places that are not known"
	}
	return "a message at " + pairsString(l.Pairs)
}

// maxNamed is how many places of one message an error names.
const maxNamed = 8

func pairsString(pairs []core.Pair) string {
	var b strings.Builder
	for i, p := range pairs {
		if i == maxNamed {
			fmt.Fprintf(&b, " and %d more", len(pairs)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "queue %d place %d", p.Queue, p.Seq)
	}
	return b.String()
}

// DamageOf is what is lost of g, as an error.
func (g *Group) DamageOf(l *Lost) *DamageError {
	return &DamageError{
		Dir: g.dir, File: g.Segment.File(), Offset: g.FileOff + int64(l.Off), At: g.At, Held: l.Held(), Err: l.Err,
	}
}

// mend reads what can be read of a damaged group that is all of frame, which becomes the group's: every record whose checksums hold.
// Two ways lead to them. While the group's own checksum holds, lengths and kinds are what was written, and what is lost is known by
// kind. Otherwise each record must lead to the next, and where one does not, the next is looked for.
func mend(frame []byte, store [16]byte, p Position) Group {
	m := mender{frame: frame, store: StoreSeed(store), at: p}
	g, err := openFrame(frame, store, p)
	if err == nil {
		m.byRecord(g.records)
	} else {
		g = Group{At: p, frame: frame}
		g.records = m.byLength()
	}
	g.Lost = m.lost
	return g
}

// mender reads one damaged group.
type mender struct {
	frame []byte
	store uint32
	at    Position // of the frame
	lost  []Lost
}

// seed is what the checksums of a record at off start from.
func (m *mender) seed(off int) uint32 { return recordSeed(m.store, m.at.plus(off)) }

// byRecord checks the records up to end, whose headers are what was written.
func (m *mender) byRecord(end int) {
	for off := groupHeader; off < end; {
		b := m.frame[off:end]
		b = b[:recordLength(b)]
		if err := checkRecord(b, m.seed(off)); err != nil {
			m.lose(off, b, err)
		}
		off += len(b)
	}
}

// lose notes that the record b of known kind is lost. With errMessageSum its places are known too.
func (m *mender) lose(off int, b []byte, err error) {
	l := Lost{Off: off, Len: len(b), Kind: Kind(b[8]), Err: err}
	if errors.Is(err, errMessageSum) {
		l.Pairs = placesOf(b)
	}
	m.lost = append(m.lost, l)
}

// placesOf returns the places of a message's record whose own checksum holds.
func placesOf(b []byte) []core.Pair {
	var r Record
	r.reset(b, 0)
	c := cursor{b: b[recordHeader:headEnd(b)]}
	r.decodePlaces(&c)
	if c.bad || len(c.b) > 0 {
		return nil
	}
	return r.Pairs
}

// byLength goes from record to record, and returns where the last one ends. The way to each leads over what is known to end there, so that
// what is left behind the last fills the group up, whatever it holds: no record is as short as that.
func (m *mender) byLength() int {
	off := groupHeader
	for len(m.frame)-off >= groupAlign {
		b := m.frame[off:]
		b = b[:recordLength(b)]
		if err, whole := m.check(off, b); whole {
			if err != nil {
				m.lose(off, b, err)
			}
			off += len(b)
			continue
		}
		off = m.bridge(off)
	}
	return off
}

// check verifies the record b at off. whole means that its kind, its length and its places are what was written.
func (m *mender) check(off int, b []byte) (err error, whole bool) { //nolint:revive // the error says what is wrong with a whole one
	if len(b) < recordHeader || b[11] != 0 || Kind(b[8]) < KindPublish || Kind(b[8]) > KindCarry {
		return errRecord, false
	}
	err = checkRecord(b, m.seed(off))
	return err, err == nil || errors.Is(err, errMessageSum)
}

// bridge gets over the bytes at off, which are no whole record, to the next one or to the end, and returns where that is.
func (m *mender) bridge(off int) int {
	next := off + 1
	for ; next < len(m.frame); next++ {
		b := m.frame[next:]
		if _, whole := m.check(next, b[:recordLength(b)]); whole {
			m.between(off, next)
			return next
		}
	}
	// The last record. What fills the group up behind it is less than groupAlign zeros, and may look like part of it.
	for end := len(m.frame); end > off && isFill(m.frame[end:]); end-- {
		if m.repair(off, end) {
			return end
		}
	}
	m.lost = append(m.lost, Lost{Off: off, Len: len(m.frame) - off, Err: errRecord})
	return len(m.frame)
}

// between deals with the bytes from off to next.
func (m *mender) between(off, next int) {
	if !m.repair(off, next) {
		m.lost = append(m.lost, Lost{Off: off, Len: next - off, Err: errRecord})
	}
}

// repair reports whether the bytes from off to end are one record whose length is all that is wrong with it, which it puts right, or a
// message of which only the head is lost: a checksum of its own says that it is nothing else.
func (m *mender) repair(off, end int) bool {
	if end-off < recordHeader {
		return false
	}
	b := bytes.Clone(m.frame[off:end])
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)))
	if err, whole := m.check(off, b); whole {
		copy(m.frame[off:], b)
		if err != nil {
			m.lose(off, b, err)
		}
		return true
	}
	for _, kind := range [...]Kind{KindPublish, KindCarry} {
		b[8] = byte(kind)
		if head := headEnd(b); head > 0 && head < len(b) && checkMessage(b, head, m.seed(off)) == nil {
			m.lost = append(m.lost, Lost{Off: off, Len: len(b), Kind: kind, Err: errRecordSum})
			return true
		}
	}
	return false
}

// isFill reports whether b is what fills a group up behind its last record.
func isFill(b []byte) bool {
	return len(b) < groupAlign && len(bytes.Trim(b, "\x00")) == 0
}

// damaged reads what is left of the group at the walk's place, which is no valid one, as cause says. It does so where the journal is
// known to go on behind it; otherwise the error is cause.
func (s *frames) damaged(cause error) (Group, error) {
	next, err := s.goesOn()
	if err != nil {
		return Group{}, err
	}
	if next == 0 {
		return Group{}, cause
	}
	return s.mendUpTo(next, cause)
}

func (s *frames) mendUpTo(next int64, cause error) (Group, error) {
	frame, err := s.window(s.off, int(next-s.off))
	if err != nil {
		return Group{}, err
	}
	g := mend(bytes.Clone(frame), s.store, s.pos)
	g.Segment, g.FileOff, g.Suspect, g.dir = s.id, s.off, s.top.Suspect, s.dir
	g.Damage = s.damage(cause, "a group")
	return g, nil
}

// goesOn returns where the group at the walk's place ends: where a valid one begins, or where the segment is known to end. 0 when
// there is neither.
func (s *frames) goesOn() (int64, error) {
	if s.off+groupHeader > s.size {
		return 0, nil
	}
	if length := s.statedLength(); length > 0 {
		next := s.off + length
		frame, err := s.window(s.off, int(length))
		if err != nil {
			return 0, err
		}
		if _, err := openFrame(frame, s.store, s.pos); err == nil && s.follows(next) {
			return next, nil
		}
		p := Position{Epoch: s.pos.Epoch, Offset: s.pos.Offset + uint64(length)}
		switch _, err := s.at(next, p); {
		case next == s.end, err == nil:
			return next, nil
		case !errors.Is(err, errInvalid):
			return 0, err
		}
	}
	off, found, err := s.beyond()
	switch {
	case err != nil:
		return 0, err
	case found:
		return off, nil
	case s.end > s.off && s.end <= s.size:
		return s.end, nil
	}
	return 0, nil
}

// follows reports whether the journal is known to go on at next: bytes that look like a group are there, or the end.
func (s *frames) follows(next int64) bool {
	if next == s.end {
		return true
	}
	head, err := s.window(next, groupHeader)
	if err != nil {
		return false
	}
	_, err = frameLength(head)
	return err == nil
}

// statedLength is how long the group at the walk's place says it is, 0 when that cannot be.
func (s *frames) statedLength() int64 {
	head, err := s.window(s.off, 4)
	if err != nil {
		return 0
	}
	length := int64(binary.LittleEndian.Uint32(head))
	if length < groupHeader || length > MaxGroup || length%groupAlign != 0 || s.off+length > s.size {
		return 0
	}
	return length
}
