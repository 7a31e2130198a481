package persistence

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal"
)

// TestChunkCode: what a chunk's value says is what the chunk held, its parts are their sum, and its parts can be read without the rest.
func TestChunkCode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLive()
		segments := rapid.IntRange(1, 4).Draw(t, "segments")
		for n := range segments {
			l.segments.add(journal.SegmentID{Epoch: 1, Number: uint32(n + 1)})
		}
		c := &chunk{number: 7}
		e := entry{segment: 1}
		place := rapid.IntRange(0, 20).Draw(t, "first")
		for place < chunkPlaces {
			if rapid.IntRange(0, 9).Draw(t, "other") == 0 { // most are like the one before, as in a queue
				e.segment = uint32(rapid.IntRange(1, segments).Draw(t, "segment"))
				e.offset = rapid.Uint32Range(0, 1<<26).Draw(t, "offset")
				e.length = rapid.Uint32Range(0, 5000).Draw(t, "length")
				e.size = rapid.Uint32().Draw(t, "size")
				e.delivered = rapid.Uint32Range(0, 3).Draw(t, "delivered")
			}
			c.put(place, e)
			e.offset += e.length
			place += 1 + rapid.IntRange(0, 30).Draw(t, "gap")/28*rapid.IntRange(1, 300).Draw(t, "wide gap")
		}
		parts := c.sum()
		b := encodeChunk(c, parts, func(i uint32) uint64 { return l.segments.at(i).id.Key() })
		if r := (stateReader{b: b}); !slices.Equal(l.readParts(&r), parts) || r.bad {
			t.Fatalf("the parts are read as other than %v", parts)
		}
		got := &chunk{number: 7}
		if err := l.decodeChunk(b, got); err != nil {
			t.Fatal(err)
		}
		if got.count != c.count || !slices.Equal(got.alive, c.alive) || !slices.Equal(got.parts, parts) {
			t.Fatalf("%d entries, want %d", got.count, c.count)
		}
		for p := c.after(0); p < chunkPlaces; p = c.after(p + 1) {
			if *got.get(p) != *c.get(p) {
				t.Fatalf("place %d: %+v, want %+v", p, *got.get(p), *c.get(p))
			}
		}
		if again := encodeChunk(got, got.sum(), func(i uint32) uint64 { return l.segments.at(i).id.Key() }); !bytes.Equal(again, b) {
			t.Fatal("encoded again, it is another value")
		}
	})
}

// TestChunkCodeRefusesWhatIsMalformed: the index's own checksum finds damage before; a value that is wrong all the same is an error, and
// never another queue.
func TestChunkCodeRefusesWhatIsMalformed(t *testing.T) {
	l, c := publishedChunk(3, 100)
	key := func(i uint32) uint64 { return l.segments.at(i).id.Key() }
	value := encodeChunk(c, c.sum(), key)
	if err := l.decodeChunk(value, &chunk{}); err != nil {
		t.Fatal(err)
	}
	for n := range value {
		if l.decodeChunk(value[:n], &chunk{}) == nil {
			t.Errorf("a value cut to %d of %d bytes is taken", n, len(value))
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		bad := bytes.Clone(value)
		for range 1 + rng.IntN(3) {
			bad[rng.IntN(len(bad))] = byte(rng.Uint32())
		}
		got := &chunk{}
		if l.decodeChunk(bad, got) == nil && !slices.Equal(got.sum(), got.parts) {
			t.Fatalf("%x is taken, and its parts are not its sum", bad)
		}
	}
}

// publishedChunk is a full chunk of messages of one size, published by so many in a group.
func publishedChunk(seed uint64, group int) (*live, *chunk) {
	l := newLive()
	at := l.segments.add(journal.SegmentID{Epoch: 1, Number: uint32(seed)})
	c, offset := &chunk{}, uint32(100)
	for p := range chunkPlaces {
		if p%group == 0 {
			offset += 40
		}
		c.put(p, entry{segment: at, offset: offset, length: 145, size: 110})
		offset += 145
	}
	return l, c
}

// TestChunkOfLikeMessagesIsSmall holds the size on which the memory and the restart of a long queue depend.
func TestChunkOfLikeMessagesIsSmall(t *testing.T) {
	l, c := publishedChunk(1, 100)
	if n := len(encodeChunk(c, c.sum(), func(i uint32) uint64 { return l.segments.at(i).id.Key() })); n > 256 {
		t.Errorf("%d entries of 11 groups take %d bytes, want at most 256", c.count, n)
	}
}

func BenchmarkChunkCode(b *testing.B) {
	for _, group := range []int{1, 100} {
		l, c := publishedChunk(1, group)
		key := func(i uint32) uint64 { return l.segments.at(i).id.Key() }
		value := encodeChunk(c, c.sum(), key)
		b.Run(fmt.Sprintf("encode/groups of %d", group), func(b *testing.B) {
			b.ReportMetric(float64(len(value)), "value-bytes")
			for b.Loop() {
				encodeChunk(c, c.sum(), key)
			}
		})
		b.Run(fmt.Sprintf("decode/groups of %d", group), func(b *testing.B) {
			entries := make([]entry, 0, chunkPlaces)
			for b.Loop() {
				if err := l.decodeChunk(value, &chunk{entries: entries}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPurge is what a purge of a queue of 10 M messages holds live.mu for.
func BenchmarkPurge(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		l := newLive()
		for n := range uint32(24) {
			l.segments.add(journal.SegmentID{Epoch: 1, Number: n + 1})
		}
		q := l.queueOf(q1)
		for n := range uint64(10_000_000 / chunkPlaces) {
			p := part{segment: uint32(n/500 + 1), entries: chunkPlaces, bytes: 145 * chunkPlaces, size: 110 * chunkPlaces}
			q.chunks = append(q.chunks, &chunk{number: n, count: chunkPlaces, parts: []part{p}, indexed: true, absent: true})
		}
		b.StartTimer()
		l.settle(q1, []core.Range{{Last: ^core.Seq(0)}}, 24) // so that no chunk ends in part, which would be read
	}
}
