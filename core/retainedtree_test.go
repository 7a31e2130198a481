package core

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func (t *retainedTree) keys(pattern string) []string {
	var found []string
	t.match(strings.Split(pattern, topicSeparator), func(at *retainedMessage) { found = append(found, at.key) })
	slices.Sort(found)
	return slices.Compact(found)
}

// TestRetainedTreeMatchesTheModel makes and removes keys of few words, so that they part everywhere, and of thousands of words, so
// that tables grow, are parted and shrink.
func TestRetainedTreeMatchesTheModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	few := func() string { return []string{"", "a", "b", "ab", "abc"}[rnd.IntN(5)] }
	key := func(few func() string) string {
		words := []string{few()}
		for rnd.IntN(4) > 0 && len(words) < 5 {
			words = append(words, few())
		}
		return strings.Join(words, topicSeparator)
	}
	many := func() string { return fmt.Sprintf("a.%d.%s", rnd.IntN(3000), few()) }
	patterns := []string{"#", "*", "a.#", "#.a", "a.*.b", "*.*", "#.ab.#", "a.7.#", "a.*.abc", "*.#.*", "ab", "", "b.", ".#", "a.777", "#.#.b"}

	var tree retainedTree
	model := map[string]*retainedMessage{}
	seq := Seq(0)
	step := func(k string, put bool) {
		if put {
			seq++
			at := newRetained(strings.Clone(k), seq, 0)
			if was := tree.put(at); was != model[k] {
				t.Fatalf("put %q: it was %v, not %v", k, was, model[k])
			}
			model[k] = at
		} else {
			tree.remove(k)
			delete(model, k)
		}
		if got := tree.get(k); got != model[k] {
			t.Fatalf("get %q after put=%v: %v, not %v", k, put, got, model[k])
		}
	}
	check := func() {
		t.Helper()
		if tree.n != len(model) {
			t.Fatalf("%d messages, not %d", tree.n, len(model))
		}
		for k, at := range model {
			if tree.get(k) != at {
				t.Fatalf("get %q: %v, not %v", k, tree.get(k), at)
			}
		}
		for _, p := range patterns {
			var want []string
			for k := range model {
				if naiveMatch(strings.Split(p, topicSeparator), strings.Split(k, topicSeparator)) {
					want = append(want, k)
				}
			}
			slices.Sort(want)
			if got := tree.keys(p); !slices.Equal(got, want) {
				t.Fatalf("%q matches %d keys, not %d", p, len(got), len(want))
			}
		}
	}
	for round := range 6 {
		for range 1000 {
			step(key(few), rnd.IntN(2+round%3) > 0)
		}
		for range 3000 {
			step(many(), rnd.IntN(8) > round)
		}
		check()
	}
	for k := range model {
		step(k, false)
	}
	check()
	if tree.top.n != 0 || tree.top.parts != nil || tree.top.nodes != nil {
		t.Errorf("an empty tree holds %d nodes", tree.top.n)
	}
}

// fleetKeys are the keys of a fleet, one for each device.
func fleetKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("fleet.d%07d.state", i)
	}
	return keys
}

func liveHeap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// retainedCost is the most that a key of 20 bytes may take in memory, itself included.
const retainedCost = 110

func TestRetainedKeyIsSmall(t *testing.T) {
	n := 200_000
	if testing.Short() {
		n = 50_000
	}
	before := liveHeap()
	keys := fleetKeys(n)
	var tree retainedTree
	for i, key := range keys {
		tree.put(newRetained(key, Seq(i+1), 0))
	}
	clear(keys)
	cost := (liveHeap() - before - int64(16*n)) / int64(n)
	if t.Logf("%d bytes a key", cost); cost > retainedCost {
		t.Errorf("a retained message takes %d bytes of memory beside itself, at most %d are to be", cost, retainedCost)
	}
	runtime.KeepAlive(keys)
	runtime.KeepAlive(&tree)
}

func BenchmarkRetainedTree(b *testing.B) {
	const n = 1_000_000
	keys := fleetKeys(n)
	fill := func(tree *retainedTree) {
		for i, key := range keys {
			tree.put(newRetained(key, Seq(i+1), 0))
		}
	}
	b.Run("fill", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			fill(new(retainedTree))
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/key")
	})
	var tree retainedTree
	fill(&tree)
	b.Run("replace", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			tree.put(newRetained(keys[i*7919%n], Seq(i+1), 0))
		}
	})
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			tree.match([]string{"#"}, func(*retainedMessage) {})
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/key")
	})
}
