package journal

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
)

// goldenGroup is the group of goldenSegment, and its records by place.
func goldenGroup(t *testing.T) (frame []byte, at Position, records map[int][]byte) {
	t.Helper()
	segment := goldenSegment()
	frame, at = segment[int(segment[12]):], Position{Epoch: 3, Offset: 4096}
	g, err := openGroup(frame, goldenStore, at)
	if err != nil {
		t.Fatal(err)
	}
	return frame, at, recordsOf(t, &g)
}

func recordsOf(t *testing.T, g *Group) map[int][]byte {
	t.Helper()
	records := make(map[int][]byte)
	var r Record
	if err := g.Each(&r, func(r *Record) error { records[r.Off] = bytes.Clone(g.Raw(r)); return nil }); err != nil {
		t.Fatal(err)
	}
	return records
}

// checkMended holds what was read of a damaged group against what was written: a record is whole and where it was, or lost, and what is
// said of a lost one is true.
func checkMended(t *testing.T, g *Group, want map[int][]byte) (lost int) {
	t.Helper()
	got := recordsOf(t, g)
	for off, b := range got {
		if !bytes.Equal(b, want[off]) {
			t.Errorf("the record at %d is % x, was % x", off, b, want[off])
		}
	}
	for off, b := range want {
		if got[off] != nil {
			continue
		}
		lost++
		i := slices.IndexFunc(g.Lost, func(l Lost) bool { return l.Off <= off && off+len(b) <= l.Off+l.Len })
		if i < 0 {
			t.Errorf("the record at %d is neither there nor lost: %+v", off, g.Lost)
			continue
		}
		l := g.Lost[i]
		if l.Kind != 0 && (l.Off != off || l.Len != len(b)) {
			t.Errorf("the record at %d of %d bytes is lost as %+v", off, len(b), l)
		}
		if kind := Kind(b[8]); l.Kind != 0 && l.Kind != kind && (!l.IsMessage() || !kind.isMessage()) {
			t.Errorf("the %v record at %d is lost as %v", kind, off, l.Kind)
		}
		if l.Pairs != nil && !slices.Equal(l.Pairs, placesOf(b)) {
			t.Errorf("the message at %v is lost as %v", placesOf(b), l.Pairs)
		}
	}
	return lost
}

// TestMend_EveryByte: one wrong byte costs no more than the record it is in, of which the kind is known; a byte of a length or of what is
// not in a record costs nothing.
func TestMend_EveryByte(t *testing.T) {
	frame, at, want := goldenGroup(t)
	for i := range frame {
		damaged := bytes.Clone(frame)
		damaged[i] ^= 0x10
		g := mend(damaged, goldenStore, at)
		harmless := true // outside of any record, or in a length
		for off, b := range want {
			if i >= off && i < off+len(b) && (i < off+4 || i >= off+8) {
				harmless = false
			}
		}
		lost := checkMended(t, &g, want)
		if lost > 1 || harmless && lost > 0 || !harmless && lost != 1 {
			t.Errorf("byte %d: %d records lost: %+v", i, lost, g.Lost)
		}
		for _, l := range g.Lost {
			if l.Kind == 0 && !inHeader(i, want) {
				t.Errorf("byte %d: the kind is not known: %+v", i, l)
			}
		}
	}
}

// TestMend_Fill: what fills a group up behind its last record is no record, whatever has become of it: it costs nothing, however short it is,
// and whether the record before it is whole or lost.
func TestMend_Fill(t *testing.T) {
	at := Position{Epoch: 3, Offset: 4096}
	fills := map[int]bool{}
	for pad := range groupAlign {
		b := AppendClosed(BeginGroup(nil))
		b = AppendPublish(b, &core.Message{Key: "k", Body: bytes.Repeat([]byte("b"), pad), Persistent: true}, []core.Pair{{Queue: 1, Seq: 1}})
		end := len(b)
		frame := SealGroup(b, goldenStore, at, 4096, time.Unix(1, 0))
		fills[len(frame)-end] = true
		g, err := openGroup(frame, goldenStore, at)
		if err != nil {
			t.Fatal(err)
		}
		want := recordsOf(t, &g)
		for i := end; i < len(frame); i++ {
			for _, wrong := range []byte{0x01, 0x10, 0xff} {
				damaged := bytes.Clone(frame)
				damaged[i] ^= wrong
				if g := mend(damaged, goldenStore, at); checkMended(t, &g, want) != 0 || len(g.Lost) != 0 {
					t.Errorf("%d bytes of fill, byte %d: lost %+v", len(frame)-end, i-end, g.Lost)
				}
				damaged[end-recordSum-1] ^= 0x10 // of the message
				if g := mend(damaged, goldenStore, at); checkMended(t, &g, want) != 1 || len(g.Lost) != 1 || g.Lost[0].Kind != KindPublish {
					t.Errorf("%d bytes of fill, byte %d and the message: lost %+v", len(frame)-end, i-end, g.Lost)
				}
			}
		}
	}
	if len(fills) != groupAlign {
		t.Errorf("fills of %d lengths, want all from 0 to %d", len(fills), groupAlign-1)
	}
}

// inHeader reports whether byte i lies in the header of a record that holds no message: then two checksums fail, and nothing tells what
// it was.
func inHeader(i int, records map[int][]byte) bool {
	for off, b := range records {
		if i >= off && i < off+recordHeader {
			return !Kind(b[8]).isMessage()
		}
	}
	return false
}

// TestMend_Anything: however much is wrong, no record is read that was not written there.
func TestMend_Anything(t *testing.T) {
	frame, at, want := goldenGroup(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		damaged := bytes.Clone(frame)
		from := rng.IntN(len(damaged))
		to := min(len(damaged), from+1+rng.IntN(200))
		switch rng.IntN(4) {
		case 0:
			clear(damaged[from:to])
		case 1: // what stood elsewhere
			copy(damaged[from:to], frame[rng.IntN(len(frame)-1):])
		case 2:
			for i := from; i < to; i++ {
				damaged[i] = byte(rng.Uint32())
			}
		default:
			for range 1 + rng.IntN(4) {
				damaged[rng.IntN(len(damaged))] ^= byte(1 << rng.IntN(8))
			}
		}
		g := mend(damaged, goldenStore, at)
		got := recordsOf(t, &g)
		for off, b := range got {
			if known := slices.ContainsFunc(slices.Collect(mapValues(want)), func(w []byte) bool { return bytes.Equal(w, b) }); !known {
				t.Fatalf("a record at %d that was never written: % x", off, b)
			}
		}
		for off := range want {
			if got[off] == nil && !slices.ContainsFunc(g.Lost, func(l Lost) bool { return l.Off <= off && off < l.Off+l.Len }) {
				t.Fatalf("the record at %d is neither there nor lost", off)
			}
		}
	}
}

func mapValues(m map[int][]byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// TestFrames_DamagedNeighbours: groups that are damaged one after the other are each read for themselves, and the one behind them too.
func TestFrames_DamagedNeighbours(t *testing.T) {
	top := goldenSegment()
	head := int(top[12])
	segment := top[:head:head]
	at := Position{Epoch: 3, Offset: 4096}
	var starts []int
	for i := range 4 {
		b := AppendPublish(BeginGroup(nil), &core.Message{Body: []byte{'m', byte(i)}}, []core.Pair{{Queue: 1, Seq: core.Seq(i + 1)}})
		b = AppendRanges(b, KindSettle, 1, []core.Range{{First: 9, Last: 9}})
		b = SealGroup(b, goldenStore, at, 0, time.Unix(1, 0))
		starts = append(starts, len(segment))
		segment = append(segment, b...)
		at.Offset += uint64(len(b))
	}
	for _, start := range starts[:3] {
		segment[start+groupHeader+recordHeader+8] ^= 1 // in the message
	}
	s := &frames{
		file: bytesFile{bytes.NewReader(segment)}, id: SegmentID{Epoch: 3, Number: 2}, store: goldenStore, size: int64(len(segment)),
		off: int64(head), pos: Position{Epoch: 3, Offset: 4096},
	}
	for i := range starts {
		g, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		var r Record
		settled := false
		if err := g.Each(&r, func(r *Record) error { settled = settled || r.Kind == KindSettle; return nil }); err != nil {
			t.Fatal(err)
		}
		if damaged := i < 3; g.FileOff != int64(starts[i]) || !settled || (g.Damage != nil) != damaged || damaged && (len(g.Lost) != 1 || g.Lost[0].Pairs[0].Seq != core.Seq(i+1)) {
			t.Errorf("group %d at %d: settled %v, %v, lost %+v", i, g.FileOff, settled, g.Damage, g.Lost)
		}
	}
	if _, err := s.next(); !isEnd(err) {
		t.Errorf("behind the last group: %v", err)
	}
}
