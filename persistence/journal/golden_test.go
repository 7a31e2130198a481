package journal

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

var goldenStore = [16]byte{0: 0xba, 15: 0x70}

// goldenSegment is one of everything, as FORMAT.md draws it.
func goldenSegment() []byte {
	h := Header{
		Store: goldenStore, ID: SegmentID{Epoch: 3, Number: 2}, First: 4096, Suspect: Position{Epoch: 2, Offset: 64},
		Lineage: []Seal{{Epoch: 1, Offset: 1000}, {Epoch: 2, Offset: 2000}},
		Kept:    []Kept{{ID: SegmentID{Epoch: 2, Number: 1}, End: 2000}, {ID: SegmentID{Epoch: 3, Number: 1}, End: 4096}},
	}
	b := BeginGroup(nil)
	q := core.QueueID(3<<32 | 7)
	msg := &core.Message{
		Exchange: "amq.topic", Key: "a.b", Keys: []string{"c", ""}, Props: []byte{0x10, 0x00, 0x02}, Body: []byte("hello"), Persistent: true, Priority: 4,
		Expires: 1_700_000_060_000, Arrived: 1_700_000_000_000, Delay: 6_000_000,
	}
	b = AppendPublish(b, msg, []core.Pair{{Queue: q, Seq: 300}, {Queue: q + 1, Seq: 1}})
	b = AppendRanges(b, KindSettle, q, []core.Range{{First: 1, Last: 299}, {First: 301, Last: 301}})
	b = AppendRanges(b, KindMark, q, []core.Range{{First: 300, Last: 300}})
	b = AppendDefine(b, q, 5, "queue/orders", []byte("durable"))
	b = AppendRemove(b, q, "queue/orders")
	b = AppendPlaces(b, q, 302)
	b = AppendReclaimed(b, []SegmentRange{{Epoch: 2, First: 1, Last: 3}})
	b = AppendOpened(b, true, "node-alpha", Position{Epoch: 2, Offset: 300})
	b = AppendCheckpoint(b, Position{Epoch: 3, Offset: 4096})
	b = AppendClosed(b)
	var published Record
	if _, err := published.Decode(b, groupHeader); err != nil {
		panic(err) // what was encoded above is a publish record
	}
	b = AppendCarry(b, &published, []Carried{{Pair: published.Pairs[1], Delivered: 3}})
	at := Position{Epoch: 3, Offset: 4096}
	return append(h.encode(), SealGroup(b, goldenStore, at, 4096, time.Unix(1_700_000_000, 5))...)
}

// TestGolden pins every byte that FORMAT.md describes. A change here is a new format version.
func TestGolden(t *testing.T) {
	path := filepath.Join("testdata", "segment.hex")
	got := hex.Dump(goldenSegment())
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.ReplaceAll(string(want), "\r\n", "\n") {
		t.Errorf("the format has changed:\n%s\nwant:\n%s", got, want)
	}
}

// TestRecordsRoundTrip reads back what TestGolden pins.
func TestRecordsRoundTrip(t *testing.T) {
	segment := goldenSegment()
	top := int(segment[12])
	g, err := openGroup(segment[top:], goldenStore, Position{Epoch: 3, Offset: 4096})
	if err != nil {
		t.Fatal(err)
	}
	if g.Passed != 4096 || !g.Time.Equal(time.Unix(1_700_000_000, 5)) {
		t.Errorf("passed %d at %v", g.Passed, g.Time)
	}
	var kinds []Kind
	var r Record
	err = g.Each(&r, func(r *Record) error {
		kinds = append(kinds, r.Kind)
		switch r.Kind {
		case KindPublish:
			m := r.Message()
			if m.Exchange != "amq.topic" || m.Key != "a.b" || string(m.Body) != "hello" || len(m.Props) != 3 ||
				!m.Persistent || m.Priority != 4 || !m.Stored() || len(m.Body) != r.Size || len(r.Pairs) != 2 || r.Pairs[0].Seq != 300 ||
				!slices.Equal(m.Keys, []string{"c", ""}) ||
				m.Expires != 1_700_000_060_000 || m.Arrived != 1_700_000_000_000 || m.Delay != 6_000_000 {
				t.Errorf("message %+v, pairs %v", m, r.Pairs)
			}
		case KindSettle:
			if len(r.Ranges) != 2 || r.Ranges[0] != (core.Range{First: 1, Last: 299}) {
				t.Errorf("ranges %v", r.Ranges)
			}
		case KindDefine:
			if r.Order != 5 || string(r.Key) != "queue/orders" || string(r.Value) != "durable" || r.Queue != 3<<32|7 {
				t.Errorf("define %+v", r)
			}
		case KindReclaimed:
			if r.Segments[0] != (SegmentRange{Epoch: 2, First: 1, Last: 3}) {
				t.Errorf("reclaimed %v", r.Segments)
			}
		case KindCarry:
			m := r.Message()
			if m.Exchange != "amq.topic" || m.Key != "a.b" || string(m.Body) != "hello" || len(m.Props) != 3 || !m.Persistent ||
				!slices.Equal(m.Keys, []string{"c", ""}) ||
				m.Priority != 4 || m.Expires != 1_700_000_060_000 || m.Arrived != 1_700_000_000_000 || m.Delay != 6_000_000 || len(m.Body) != r.Size || len(r.Pairs) != 1 || r.Pairs[0].Queue != 3<<32|8 || r.Counts[0] != 3 {
				t.Errorf("message %+v, places %v, deliveries %v", m, r.Pairs, r.Counts)
			}
			var alone Record
			if err := alone.DecodePublish(bytes.Clone(g.Raw(r)), StoreSeed(goldenStore), g.At.plus(r.Off)); err != nil {
				t.Error(err)
			}
		case KindMark, KindRemove, KindPlaces, KindOpened, KindClosed, KindCheckpoint:
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Kind{
		KindPublish, KindSettle, KindMark, KindDefine, KindRemove, KindPlaces, KindReclaimed, KindOpened, KindCheckpoint, KindClosed,
		KindCarry,
	}
	if !bytes.Equal(kindBytes(kinds), kindBytes(want)) {
		t.Errorf("kinds %v, want %v", kinds, want)
	}
}

func kindBytes(kinds []Kind) []byte {
	b := make([]byte, len(kinds))
	for i, k := range kinds {
		b[i] = byte(k)
	}
	return b
}

// TestGroupIsBoundToItsPlace: the same bytes at another position, in another epoch or another store are no group.
func TestGroupIsBoundToItsPlace(t *testing.T) {
	p := Position{Epoch: 2, Offset: 800}
	frame := SealGroup(AppendClosed(BeginGroup(nil)), goldenStore, p, 0, time.Unix(1, 0))
	if _, err := openGroup(frame, goldenStore, p); err != nil {
		t.Fatal(err)
	}
	if _, err := openGroup(frame, [16]byte{1}, p); err == nil {
		t.Error("valid in another store")
	}
	if _, err := openGroup(frame, goldenStore, Position{Epoch: 3, Offset: 800}); err == nil {
		t.Error("valid in another epoch")
	}
	if _, err := openGroup(frame, goldenStore, Position{Epoch: 2, Offset: 808}); err == nil {
		t.Error("valid at another offset")
	}
	for bit := range len(frame) * 8 {
		frame[bit/8] ^= 1 << (bit % 8)
		if length, err := frameLength(frame); err == nil && length == len(frame) {
			if _, err := openGroup(frame, goldenStore, p); err == nil {
				t.Errorf("valid with bit %d flipped", bit)
			}
		}
		frame[bit/8] ^= 1 << (bit % 8)
	}
}

// FuzzRecord: no bytes make the decoder panic, allocate without bound or read outside, and what it accepts it accepts alike again.
func FuzzRecord(f *testing.F) {
	segment := goldenSegment()
	g, err := openGroup(segment[int(segment[12]):], goldenStore, Position{Epoch: 3, Offset: 4096})
	if err != nil {
		f.Fatal(err)
	}
	var r Record
	if err := g.Each(&r, func(r *Record) error { f.Add(bytes.Clone(g.Raw(r))); return nil }); err != nil {
		f.Fatal(err)
	}
	store, at := StoreSeed(goldenStore), Position{Epoch: 3, Offset: 8}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Record
		for off := 0; off < len(b); {
			next, err := r.Decode(b, off)
			if err != nil {
				return
			}
			if next <= off || next > len(b) {
				t.Fatalf("record from %d to %d of %d", off, next, len(b))
			}
			if r.Kind == KindPublish || r.Kind == KindCarry {
				m := r.Message()
				again := AppendPublish(nil, m, r.Pairs)
				sealRecord(again, recordSeed(store, at))
				var s Record
				if err := s.DecodePublish(again, store, at); err != nil || s.Size != len(m.Body) || len(s.Pairs) != len(r.Pairs) {
					t.Fatalf("written again: %v", err)
				}
			}
			off = next
		}
	})
}

// FuzzSegment: no file makes the reader panic or read outside.
func FuzzSegment(f *testing.F) {
	f.Add(goldenSegment(), uint64(4096))
	f.Fuzz(func(t *testing.T, b []byte, first uint64) {
		s := &frames{
			file: bytesFile{bytes.NewReader(b)}, id: SegmentID{Epoch: 3, Number: 2}, store: goldenStore, size: int64(len(b)),
			pos: Position{Epoch: 3, Offset: first},
		}
		if h, top, err := readHeader(s.file, s.id, goldenStore); err == nil {
			s.off, s.pos.Offset = top, h.First
		}
		var r Record
		for {
			g, err := s.next()
			if err != nil {
				break
			}
			if err := g.Each(&r, func(*Record) error { return nil }); err != nil {
				break
			}
		}
		if _, _, err := s.beyond(); err != nil {
			t.Fatal(err)
		}
	})
}

type bytesFile struct{ *bytes.Reader }

func (bytesFile) WriteAt([]byte, int64) (int, error) { panic("a reader writes") }
func (bytesFile) Truncate(int64) error               { panic("a reader writes") }
func (bytesFile) Sync() error                        { return nil }
func (bytesFile) Close() error                       { return nil }
func (f bytesFile) Size() (int64, error)             { return f.Reader.Size(), nil }
