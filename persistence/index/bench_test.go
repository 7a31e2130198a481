package index

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// randomData is a chunk that no compression would make smaller.
func randomData(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// BenchmarkOpenEmpty is a first start: make a slot, open Badger in it.
func BenchmarkOpenEmpty(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		o := testOptions(b, b.TempDir())
		o.Logger = nil
		b.StartTimer()
		x, err := Open(b.Context(), o)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		closeIndex(b, x)
		b.StartTimer()
	}
}

// BenchmarkApply is one checkpoint of a deep queue: 100 chunks in, the 100 oldest out.
func BenchmarkApply(b *testing.B) {
	o := testOptions(b, b.TempDir())
	o.Logger = nil
	x := mustOpen(b, o)
	apply(b, x, &Checkpoint{PutQueues: []Queue{{ID: 1}}})
	r := rand.New(rand.NewPCG(1, 2))
	chunks, bytes := make([][]byte, 100), 0
	for i := range chunks {
		chunks[i] = randomData(r, 16<<10+r.IntN(8<<10))
		bytes += len(chunks[i])
	}
	b.SetBytes(int64(bytes))
	next := uint64(0)
	for b.Loop() {
		cp := &Checkpoint{Position: Position{Epoch: 1, Offset: next + 1}}
		for _, data := range chunks {
			cp.PutChunks = append(cp.PutChunks, Chunk{ChunkID{1, next}, data})
			if next >= 1000 {
				cp.RemoveChunks = append(cp.RemoveChunks, ChunkID{1, next - 1000})
			}
			next++
		}
		apply(b, x, cp)
	}
}

// BenchmarkOpenMillion opens an index of a queue of 1,000,000 entries: 1,000 chunks of 16 to 24 KiB.
func BenchmarkOpenMillion(b *testing.B) {
	o := testOptions(b, b.TempDir())
	o.Logger = nil
	x := mustOpen(b, o)
	r := rand.New(rand.NewPCG(1, 2))
	cp := &Checkpoint{PutQueues: []Queue{{ID: 1, Next: 1_000_001, Count: 1_000_000}}}
	for n := range uint64(1000) {
		cp.PutChunks = append(cp.PutChunks, Chunk{ChunkID{1, n}, randomData(r, 16<<10+r.IntN(8<<10))})
		if len(cp.PutChunks) == 100 {
			apply(b, x, cp)
			cp = &Checkpoint{}
		}
	}
	b.Run("after a crash", func(b *testing.B) { benchmarkOpen(b, copyDir(b, o.Dir)) })
	closeIndex(b, x)
	b.Run("after Close", func(b *testing.B) { benchmarkOpen(b, o.Dir) })
}

// benchmarkOpen opens dir as it is now again and again.
func benchmarkOpen(b *testing.B, dir string) {
	b.Helper()
	for b.Loop() {
		b.StopTimer()
		o := testOptions(b, copyDir(b, dir))
		o.Logger = nil
		b.StartTimer()
		x, err := Open(b.Context(), o)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if root, ok := x.Root(); !ok || root.Chunks != 1000 {
			b.Fatalf("root %+v, reason %q", root, x.Reason())
		}
		closeIndex(b, x)
		b.StartTimer()
	}
}

// BenchmarkOpenSessions opens an index with the definitions of 100,000 sessions and reads them, as a start does.
func BenchmarkOpenSessions(b *testing.B) {
	o := testOptions(b, b.TempDir())
	o.Logger = nil
	x := mustOpen(b, o)
	const sessions, each = 100_000, 5
	cp := &Checkpoint{}
	for n := range uint64(sessions) {
		cp.PutQueues = append(cp.PutQueues, Queue{ID: n + 1, Next: 6, Count: 5, Bytes: 500})
		cp.PutChunks = append(cp.PutChunks, Chunk{ChunkID{n + 1, 0}, make([]byte, 40)})
		for k := range each {
			key := fmt.Sprintf("vhost/session-%d/%d", n, k)
			cp.PutDefinitions = append(cp.PutDefinitions, Definition{Key: key, Value: make([]byte, 60), Order: n*each + uint64(k)})
		}
	}
	apply(b, x, cp)
	closeIndex(b, x)
	for b.Loop() {
		x := mustOpen(b, o)
		if _, _, err := readAll(x); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		closeIndex(b, x)
		b.StartTimer()
	}
}

// readAll counts what a start reads.
func readAll(x *Index) (definitions, chunks int, err error) {
	for _, err := range x.Queues() {
		if err != nil {
			return 0, 0, err
		}
	}
	for _, err := range x.Chunks() {
		if err != nil {
			return 0, 0, err
		}
		chunks++
	}
	for _, err := range x.Definitions() {
		if err != nil {
			return 0, 0, err
		}
		definitions++
	}
	return definitions, chunks, nil
}
