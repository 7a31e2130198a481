package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"weak"
)

func data(n int) []byte { return bytes.Repeat([]byte{byte(n)}, 100+n) }

// example returns a checkpoint with some of everything.
func example() *Checkpoint {
	return &Checkpoint{
		Position: Position{Epoch: 1, Offset: 100},
		Meta:     []byte("lineage"),
		PutDefinitions: []Definition{
			{Key: "a", Value: []byte("one"), Order: 1},
			{Key: "ab", Value: nil, Queue: 7, Order: 2},
			{Key: "", Value: []byte("empty key"), Order: 3},
		},
		PutQueues:   []Queue{{ID: 7, Next: 4000, Count: 3, Bytes: -1}, {ID: 8}},
		PutChunks:   []Chunk{{ChunkID{7, 3}, data(3)}, {ChunkID{7, 1}, data(1)}, {ChunkID{7, 2}, nil}, {ChunkID{8, 0}, data(8)}},
		PutSegments: []Segment{{1, []byte("live 1")}, {2, []byte("live 2")}},
	}
}

func TestNewIndexHasNoRoot(t *testing.T) {
	x := mustOpen(t, testOptions(t, t.TempDir()))
	if root, ok := x.Root(); ok || x.Reason() == "" {
		t.Fatalf("Root = %+v, %v; reason %q", root, ok, x.Reason())
	}
	if c, _ := mustRead(t, x); len(c) != 0 {
		t.Fatalf("a new index holds %v", c)
	}
	if _, found, err := x.Chunk(ChunkID{1, 1}); found || err != nil {
		t.Fatalf("Chunk of nothing: %v, %v", found, err)
	}
}

func TestCheckpointIsFoundAgain(t *testing.T) {
	o := testOptions(t, t.TempDir())
	x := mustOpen(t, o)
	apply(t, x, example())
	want, position := mustRead(t, x)
	if len(want) != 1+3+2+4+2 || position != (Position{1, 100}) {
		t.Fatalf("after Apply: %d values at %v: %v", len(want), position, want)
	}
	var numbers []uint64
	for c, err := range x.Chunks() {
		if err != nil {
			t.Fatal(err)
		}
		if c.Queue == 7 {
			numbers = append(numbers, c.Number)
		}
	}
	if !slices.Equal(numbers, []uint64{1, 2, 3}) {
		t.Errorf("chunks %v of queue 7", numbers)
	}
	for _, how := range []string{"crash", "close"} {
		dir := o.Dir
		if how == "crash" {
			dir = copyDir(t, o.Dir)
		} else {
			closeIndex(t, x)
		}
		again := mustOpen(t, testOptions(t, dir))
		if got, p := mustRead(t, again); !maps.Equal(got, want) || p != position {
			t.Errorf("after %s, at %v (%s): %s", how, p, again.Reason(), diff(got, want))
		}
	}
}

func TestCheckpointReplacesAndRemoves(t *testing.T) {
	o := testOptions(t, t.TempDir())
	x := mustOpen(t, o)
	apply(t, x, example())
	apply(t, x, &Checkpoint{
		Position:          Position{Epoch: 1, Offset: 200},
		PutDefinitions:    []Definition{{Key: "a", Value: []byte("two"), Order: 1}},
		RemoveDefinitions: []string{"ab", "never there"},
		PutQueues:         []Queue{{ID: 8, Next: 2}, {ID: 9}},
		RemoveQueues:      []uint64{7, 77},
		PutChunks:         []Chunk{{ChunkID{9, 5}, data(5)}},
		RemoveChunks:      []ChunkID{{8, 0}, {7, 1}, {8, 99}},
		RemoveSegments:    []uint64{1, 99},
	})
	want := contents{
		"meta": "", "definition a": "0 1two", "definition ": "0 3empty key", "queue 8": "2 0 0", "queue 9": "0 0 0",
		"chunk 9/5": string(data(5)), "segment 2": "live 2",
	}
	got, _ := mustRead(t, x)
	if !maps.Equal(got, want) {
		t.Fatal(diff(got, want))
	}
	again := mustOpen(t, testOptions(t, copyDir(t, o.Dir)))
	if got, _ := mustRead(t, again); !maps.Equal(got, want) {
		t.Fatal(diff(got, want))
	}
}

func TestCheckpointRefusesWhatCannotBeMeant(t *testing.T) {
	cases := map[string]*Checkpoint{
		"a chunk twice":        {PutChunks: []Chunk{{ChunkID{7, 9}, nil}, {ChunkID{7, 9}, nil}}},
		"put and removed":      {PutSegments: []Segment{{Number: 1}}, RemoveSegments: []uint64{1}},
		"unknown queue":        {PutChunks: []Chunk{{ChunkID{99, 1}, nil}}},
		"chunk of ended queue": {RemoveQueues: []uint64{7}, PutChunks: []Chunk{{ChunkID{7, 1}, nil}}},
		"large value":          {PutSegments: []Segment{{5, make([]byte, MaxValue+1)}}},
		"large meta":           {Meta: make([]byte, MaxValue+1)},
		"large key":            {PutDefinitions: []Definition{{Key: strings.Repeat("k", MaxKey+1)}}},
		"step back":            {Position: Position{Epoch: 1, Offset: 99}},
	}
	for name, cp := range cases {
		t.Run(name, func(t *testing.T) {
			x := mustOpen(t, testOptions(t, t.TempDir()))
			apply(t, x, example())
			if name != "step back" {
				cp.Position = Position{Epoch: 1, Offset: 200}
			}
			if err := x.Apply(cp); err == nil {
				t.Fatal("applied")
			}
			<-x.Failed()
			if err := x.Apply(&Checkpoint{Position: Position{Epoch: 2}}); err == nil {
				t.Fatal("a dead index applied another checkpoint")
			}
		})
	}
}

func TestLargestValuesFit(t *testing.T) {
	x := mustOpen(t, testOptions(t, t.TempDir()))
	cp := &Checkpoint{Meta: make([]byte, MaxValue), PutDefinitions: []Definition{{Key: strings.Repeat("k", MaxKey)}}}
	for i := range uint64(20) {
		cp.PutSegments = append(cp.PutSegments, Segment{i, make([]byte, MaxValue)})
	}
	for i := range uint64(20_000) {
		cp.PutQueues = append(cp.PutQueues, Queue{ID: i + 1})
	}
	apply(t, x, cp)
	if c, _ := mustRead(t, x); len(c) != 1+1+20+20_000 {
		t.Fatalf("%d values", len(c))
	}
}

func TestApplyWithoutRoomLeavesTheIndexAlive(t *testing.T) {
	o := testOptions(t, t.TempDir())
	free := int64(1 << 40)
	o.Free = func() (int64, error) { return free, nil }
	x := mustOpen(t, o)
	free = 1 << 20
	if err := x.Apply(example()); !errors.Is(err, ErrSpace) {
		t.Fatalf("Apply: %v, want ErrSpace", err)
	}
	if _, err := Open(t.Context(), o); !errors.Is(err, ErrSpace) {
		t.Fatalf("Open: %v, want ErrSpace", err)
	}
	free = 1 << 40
	apply(t, x, example())
}

func TestResetEmpties(t *testing.T) {
	o := testOptions(t, t.TempDir())
	x := mustOpen(t, o)
	apply(t, x, example())
	if err := x.Reset(); err != nil {
		t.Fatal(err)
	}
	if _, ok := x.Root(); ok {
		t.Fatal("a root after Reset")
	}
	cp := example()
	cp.Position = Position{Epoch: 1, Offset: 1} // a rebuild may begin before where the index was
	apply(t, x, cp)
	if err := x.Err(); err != nil {
		t.Fatal(err)
	}
	want, _ := mustRead(t, x)
	again := mustOpen(t, testOptions(t, copyDir(t, o.Dir)))
	if got, _ := mustRead(t, again); !maps.Equal(got, want) {
		t.Fatal(diff(got, want))
	}
}

func TestClosedIndexSaysSo(t *testing.T) {
	x := mustOpen(t, testOptions(t, t.TempDir()))
	apply(t, x, example())
	closeIndex(t, x)
	closeIndex(t, x)
	if err := x.Apply(example()); !errors.Is(err, ErrClosed) {
		t.Errorf("Apply: %v", err)
	}
	if _, _, err := x.Chunk(ChunkID{7, 1}); !errors.Is(err, ErrClosed) {
		t.Errorf("Chunk: %v", err)
	}
	for _, err := range x.Queues() {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("Queues: %v", err)
		}
	}
	if err := x.Err(); err != nil {
		t.Errorf("closing made it fail: %v", err)
	}
}

func TestOpenStopsWithItsContext(t *testing.T) {
	o := testOptions(t, t.TempDir())
	x := mustOpen(t, o)
	cp := &Checkpoint{}
	for i := range uint64(5000) {
		cp.PutQueues = append(cp.PutQueues, Queue{ID: i + 1})
	}
	apply(t, x, cp)
	closeIndex(t, x)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatalf("Open: %v", err)
	}
	if root, ok := mustOpen(t, o).Root(); !ok || root.Queues != 5000 {
		t.Fatalf("after an Open that was stopped: %+v, %v", root, ok)
	}
}

// TestChunksAreReadDuringApply reads chunks that every checkpoint replaces.
func TestChunksAreReadDuringApply(t *testing.T) {
	x := mustOpen(t, testOptions(t, t.TempDir()))
	round := func(n int) *Checkpoint {
		cp := &Checkpoint{Position: Position{Epoch: 1, Offset: uint64(n)}, PutQueues: []Queue{{ID: 1, Next: uint64(n)}}}
		for i := range uint64(20) {
			cp.PutChunks = append(cp.PutChunks, Chunk{ChunkID{1, i}, fmt.Appendf(nil, "round %d chunk %d", n, i)})
		}
		return cp
	}
	apply(t, x, round(0))
	done := make(chan error)
	stop := make(chan struct{})
	go func() {
		for i := uint64(0); ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			b, found, err := x.Chunk(ChunkID{1, i % 20})
			if err != nil || !found || !bytes.HasSuffix(b, fmt.Appendf(nil, " chunk %d", i%20)) {
				done <- fmt.Errorf("chunk %d: %q, %v, %w", i%20, b, found, err)
				return
			}
		}
	}()
	for n := range 50 {
		apply(t, x, round(n+1))
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestRandomCheckpointsMatchAMap applies random checkpoints to an index and to a map, and compares the two after each, after copies of
// the directory at any moment, and after closing.
func TestRandomCheckpointsMatchAMap(t *testing.T) {
	o := testOptions(t, t.TempDir())
	r := rand.New(rand.NewPCG(7, 7))
	x := mustOpen(t, o)
	model := contents{}
	for round := range uint64(60) {
		cp := randomCheckpoint(r, round, model)
		apply(t, x, cp)
		if got, _ := mustRead(t, x); !maps.Equal(got, model) {
			t.Fatalf("round %d: %s", round, diff(got, model))
		}
		if round%15 == 14 {
			closeIndex(t, x)
			x = mustOpen(t, o)
			if got, p := mustRead(t, x); !maps.Equal(got, model) || p.Offset != round {
				t.Fatalf("round %d reopened at %v: %s", round, p, diff(got, model))
			}
		}
	}
	files, err := os.ReadDir(filepath.Join(o.Dir, "node", "db"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
}

// randomCheckpoint makes a checkpoint over a small set of ids and applies it to the model.
func randomCheckpoint(r *rand.Rand, round uint64, model contents) *Checkpoint {
	cp := &Checkpoint{Position: Position{Epoch: 1, Offset: round}, Meta: fmt.Append(nil, "meta ", round)}
	model["meta"] = string(cp.Meta)
	for _, k := range []string{"a", "b", "bb", "c"} {
		switch r.IntN(4) {
		case 0:
			d := Definition{Key: k, Value: randomData(r, r.IntN(50)), Order: round}
			cp.PutDefinitions = append(cp.PutDefinitions, d)
			model["definition "+k] = fmt.Sprint(d.Queue, d.Order, string(d.Value))
		case 1:
			cp.RemoveDefinitions = append(cp.RemoveDefinitions, k)
			delete(model, "definition "+k)
		}
	}
	for q := range uint64(4) {
		key := fmt.Sprint("queue ", q)
		if r.IntN(6) == 0 {
			cp.RemoveQueues = append(cp.RemoveQueues, q)
			maps.DeleteFunc(model, func(k, _ string) bool { return k == key || strings.HasPrefix(k, fmt.Sprint("chunk ", q, "/")) })
			continue
		}
		cp.PutQueues = append(cp.PutQueues, Queue{ID: q, Next: round})
		model[key] = fmt.Sprint(round, 0, 0)
		for n := range uint64(10) {
			key := fmt.Sprint("chunk ", q, "/", n)
			switch r.IntN(4) {
			case 0:
				b := randomData(r, r.IntN(3000))
				cp.PutChunks = append(cp.PutChunks, Chunk{ChunkID{q, n}, b})
				model[key] = string(b)
			case 1:
				cp.RemoveChunks = append(cp.RemoveChunks, ChunkID{q, n})
				delete(model, key)
			}
		}
	}
	if r.IntN(2) == 0 {
		n := r.Uint64N(5)
		cp.PutSegments = []Segment{{n, fmt.Append(nil, round)}}
		model[fmt.Sprint("segment ", n)] = fmt.Sprint(round)
	}
	return cp
}

// What the first reader is given after Open is what a later reader finds: long values, which are not held, too.
func TestFirstReadingAfterOpenEqualsTheNext(t *testing.T) {
	o := testOptions(t, t.TempDir())
	x := mustOpen(t, o)
	cp := example()
	cp.PutChunks = append(cp.PutChunks, Chunk{ChunkID{8, 1}, bytes.Repeat([]byte("long"), heldValue)}, Chunk{ChunkID{8, 2}, data(2)})
	cp.PutDefinitions = append(cp.PutDefinitions, Definition{Key: "long", Value: bytes.Repeat([]byte("v"), heldValue+1), Order: 4})
	apply(t, x, cp)
	want, _ := mustRead(t, x)
	closeIndex(t, x)
	x = mustOpen(t, o)
	for _, reading := range []string{"first", "second"} {
		if got, _ := mustRead(t, x); !maps.Equal(got, want) {
			t.Errorf("%s reading: %v, want %v", reading, got, want)
		}
	}
}

// A checkpoint before the first reading shows in it.
func TestFirstReadingAfterOpenSeesTheCheckpointBefore(t *testing.T) {
	o := testOptions(t, t.TempDir())
	x := mustOpen(t, o)
	apply(t, x, example())
	closeIndex(t, x)
	x = mustOpen(t, o)
	apply(t, x, &Checkpoint{
		Position:          Position{Epoch: 1, Offset: 200},
		PutDefinitions:    []Definition{{Key: "a", Value: []byte("two"), Order: 1}},
		RemoveDefinitions: []string{""},
		RemoveChunks:      []ChunkID{{7, 1}},
	})
	got, _ := mustRead(t, x)
	if _, there := got["definition "]; there || got["definition a"] != "0 1two" {
		t.Errorf("definitions: %v", got)
	}
	if _, there := got["chunk 7/1"]; there || got["chunk 7/3"] != string(data(3)) {
		t.Errorf("chunks: %v", got)
	}
}

func TestDefinitionIsFoundByItsKey(t *testing.T) {
	x := mustOpen(t, testOptions(t, t.TempDir()))
	apply(t, x, example())
	for _, want := range example().PutDefinitions {
		got, found, err := x.Definition(want.Key)
		if err != nil || !found || string(got.Value) != string(want.Value) || got.Queue != want.Queue || got.Order != want.Order {
			t.Errorf("%q: %+v, %t, %v", want.Key, got, found, err)
		}
	}
	if _, found, err := x.Definition("another"); found || err != nil {
		t.Errorf("one that is not there: %t, %v", found, err)
	}
}

// TestApply_LetsGoOfThePlan: what a checkpoint was made of does not stay in memory until the next one.
func TestApply_LetsGoOfThePlan(t *testing.T) {
	x := mustOpen(t, testOptions(t, t.TempDir()))
	p, err := x.plan(&Checkpoint{PutDefinitions: []Definition{{Key: "k", Value: []byte("v"), Order: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	installed := weak.Make(p)
	x.install(p)
	runtime.GC()
	if installed.Value() != nil {
		t.Error("the plan is still there")
	}
}
