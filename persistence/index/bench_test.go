package index

import (
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
