package core

import (
	"maps"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// Every version of a persistent map equals the plain map of the same moment, also after later versions were made from it.
func TestPersistentMapEqualsPlainMapInEveryVersion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m pmap[int]
		plain := map[string]int{}
		type version struct {
			m     pmap[int]
			plain map[string]int
		}
		var versions []version
		for i := range rapid.IntRange(0, 300).Draw(t, "steps") {
			key := strconv.Itoa(rapid.IntRange(0, 150).Draw(t, "key"))
			if rapid.Bool().Draw(t, "remove") {
				m = m.without(key)
				delete(plain, key)
			} else {
				m = m.with(key, i)
				plain[key] = i
			}
			if i%50 == 0 {
				versions = append(versions, version{m, maps.Clone(plain)})
			}
		}
		versions = append(versions, version{m, plain})
		for _, v := range versions {
			if v.m.len() != len(v.plain) || !maps.Equal(maps.Collect(v.m.all()), v.plain) {
				t.Fatalf("map has %v, want %v", maps.Collect(v.m.all()), v.plain)
			}
			for i := range 160 {
				key := strconv.Itoa(i)
				got, ok := v.m.get(key)
				if want, wantOK := v.plain[key]; ok != wantOK || got != want {
					t.Fatalf("get %q: %d, %t; want %d, %t", key, got, ok, want, wantOK)
				}
			}
		}
	})
}

// A map that was built in place equals the plain map, and is a version like any other from then on.
func TestPersistentMapBuiltInPlaceEqualsPlainMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m pmap[int]
		plain := map[string]int{}
		for i := range rapid.IntRange(0, 300).Draw(t, "steps") {
			key := strconv.Itoa(rapid.IntRange(0, 150).Draw(t, "key"))
			at := m.at(key)
			if *at != plain[key] {
				t.Fatalf("at %q is %d, want %d", key, *at, plain[key])
			}
			*at, plain[key] = i, i
		}
		next := m
		for i := range 150 {
			next = next.without(strconv.Itoa(i)).with("new", i)
		}
		if m.len() != len(plain) || !maps.Equal(maps.Collect(m.all()), plain) {
			t.Fatalf("map has %v, want %v", maps.Collect(m.all()), plain)
		}
		for key, want := range plain {
			if got, ok := m.get(key); !ok || got != want {
				t.Fatalf("get %q: %d, %t; want %d", key, got, ok, want)
			}
		}
	})
}

// Keys whose hashes are equal in every bit live side by side in the deepest node.
func TestPersistentMapKeepsKeysOfEqualHash(t *testing.T) {
	const deepest = pmapDepth + pmapBits
	var root *pnode[int]
	added := false
	for i := range 5 {
		root = root.with(deepest, 42, pentry[int]{key: strconv.Itoa(i), value: i}, &added)
	}
	removed := false
	root = root.without(deepest, 42, "3", &removed)
	got := map[string]int{}
	root.walk(func(k string, v int) bool { got[k] = v; return true })
	if want := map[string]int{"0": 0, "1": 1, "2": 2, "4": 4}; !removed || !maps.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestDequeIsFirstInFirstOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d deque[int]
		var plain []int
		for i := range rapid.IntRange(0, 3000).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "op") < 6 {
				d.pushBack(i)
				plain = append(plain, i)
			} else if len(plain) > 0 {
				if got := d.popFront(); got != plain[0] {
					t.Fatalf("popped %d, want %d", got, plain[0])
				}
				plain = plain[1:]
			}
			if d.len() != len(plain) {
				t.Fatalf("length %d, want %d", d.len(), len(plain))
			}
		}
		for i, want := range plain {
			if *d.at(i) != want {
				t.Fatalf("at %d: %d, want %d", i, *d.at(i), want)
			}
		}
	})
}

func TestDequeGivesMemoryBack(t *testing.T) {
	var d deque[int]
	for i := range 100_000 {
		d.pushBack(i)
	}
	for d.len() > 10 {
		d.popFront()
	}
	if len(d.buf) > 1024 {
		t.Fatalf("%d elements keep room for %d", d.len(), len(d.buf))
	}
	for d.len() > 0 {
		d.popFront()
	}
	if len(d.buf) > 32 {
		t.Fatalf("a drained deque keeps room for %d", len(d.buf))
	}
}

func TestEntryHeapPopsInOrderOfPlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		places := rapid.SliceOfDistinct(rapid.Uint64(), rapid.ID).Draw(t, "places")
		var h entryHeap
		for _, p := range places {
			h.push(entry{seq: Seq(p)})
		}
		slices.Sort(places)
		for _, want := range places {
			if got := h.pop(); got.seq != Seq(want) {
				t.Fatalf("popped %d, want %d", got.seq, want)
			}
		}
	})
}

// BenchmarkPersistentMap is what the coming and going of a client costs in the map of its kind.
func BenchmarkPersistentMap(b *testing.B) {
	const n = 20_000
	var m pmap[int]
	keys := make([]string, 2*n)
	for i := range keys {
		if keys[i] = "client-" + strconv.Itoa(i); i < n {
			m = m.with(keys[i], i)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m = m.with(keys[n+i%n], i).without(keys[n+i%n])
	}
}
