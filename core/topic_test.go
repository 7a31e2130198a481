package core

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// naiveMatch is the definition of topic matching, word by word.
func naiveMatch(pattern, key []string) bool {
	if len(pattern) == 0 {
		return len(key) == 0
	}
	if pattern[0] == "#" {
		return naiveMatch(pattern[1:], key) || len(key) > 0 && naiveMatch(pattern, key[1:])
	}
	return len(key) > 0 && (pattern[0] == "*" || pattern[0] == key[0]) && naiveMatch(pattern[1:], key[1:])
}

func words(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ".")
}

func TestTopicTrieEqualsNaiveMatcher(t *testing.T) {
	word := rapid.SampledFrom([]string{"a", "b", "c", ""})
	wild := rapid.SampledFrom([]string{"a", "b", "*", "#", "#", ""})
	rapid.Check(t, func(t *rapid.T) {
		var r router = topicRouter{}
		var bound []*binding
		built := rapid.IntRange(0, 30).Draw(t, "built in place")
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			if i >= built && len(bound) > 0 && rapid.IntRange(0, 3).Draw(t, "unbind") == 0 {
				j := rapid.IntRange(0, len(bound)-1).Draw(t, "which")
				r = r.without(bound[j])
				bound = slices.Delete(bound, j, j+1)
				continue
			}
			b := &binding{key: strings.Join(rapid.SliceOfN(wild, 0, 5).Draw(t, "pattern"), ".")}
			if i < built {
				r = r.adding(b)
			} else {
				r = r.with(b)
			}
			bound = append(bound, b)
		}
		key := strings.Join(rapid.SliceOfN(word, 0, 6).Draw(t, "key"), ".")
		got := map[*binding]int{}
		for _, b := range r.match(&Message{Key: key}, nil, nil) {
			got[b]++
		}
		for _, b := range bound {
			want := 0
			if naiveMatch(words(b.key), words(key)) {
				want = 1
			}
			if got[b] != want {
				t.Fatalf("key %q matches %q %d times, want %d", key, b.key, got[b], want)
			}
			if matches(b.key, key) != (want == 1) {
				t.Fatalf("without a trie, key %q matches %q: %t", key, b.key, want == 0)
			}
			if found := r.(topicRouter).root.find(b.key); found == nil || found.key != b.key {
				t.Fatalf("%q is not found", b.key)
			}
		}
		for _, b := range bound {
			r = r.without(b)
		}
		if r.(topicRouter).root != nil {
			t.Fatal("the trie is not empty after all bindings went")
		}
	})
}

func TestTopicTable(t *testing.T) {
	for _, c := range []struct {
		pattern, key string
		want         bool
	}{
		{"#", "", true},
		{"", "", true},
		{"*", "", false},
		{"a.#", "a", true},
		{"a.#.b", "a.b", true},
		{"a.#.b", "a.x.y.b", true},
		{"a.#.b", "a.x.y.c", false},
		{"#.#", "", true},
		{"*.#.*", "a", false},
		{"*.#.*", "a.b", true},
		{"a.*", "a.", true},
		{"a..b", "a..b", true},
		{"a.*.b", "a..b", true},
	} {
		b := &binding{key: c.pattern}
		got := len(topicRouter{}.with(b).match(&Message{Key: c.key}, nil, nil)) == 1
		if got != c.want {
			t.Errorf("pattern %q, key %q: %t, want %t", c.pattern, c.key, got, c.want)
		}
	}
}

// Very many patterns at once, of which most are reached: those that end in # alone, as filters of MQTT do, and # anywhere.
func TestTopicTrieOfVeryManyPatternsEqualsNaiveMatcher(t *testing.T) {
	for name, signs := range map[string][]string{"# at the end": {"a", "*"}, "# anywhere": {"a", "*", "#"}} {
		t.Run(name, func(t *testing.T) {
			var r router = topicRouter{}
			bound := []*binding{{key: "#"}}
			for first, deep := 0, 0; deep < 4; deep++ { // each that there is with each sign before it
				last := len(bound)
				for _, b := range bound[first:last] {
					for _, sign := range signs {
						bound = append(bound, &binding{key: sign + "." + b.key})
					}
				}
				first = last
			}
			for _, b := range bound {
				r = r.with(b)
			}
			for _, key := range []string{"", "a", "b", "a.a", "a.b", "b.a", "a.a.a", "a.b.a.a", "b.b.b.b.b", "a.a.a.a.a.a.a", "b.a.a.a.b.a"} {
				got := map[*binding]int{}
				for _, b := range r.match(&Message{Key: key}, nil, nil) {
					got[b]++
				}
				for _, b := range bound {
					want := 0
					if naiveMatch(words(b.key), words(key)) {
						want = 1
					}
					if got[b] != want {
						t.Errorf("key %q matches %q %d times, want %d", key, b.key, got[b], want)
					}
				}
			}
		})
	}
}

func BenchmarkTopicMatchAmong10000Bindings(b *testing.B) {
	var r router = topicRouter{}
	for i := range 10_000 {
		r = r.with(&binding{key: fmt.Sprintf("dev.%d.*.temp", i)})
	}
	m := &Message{Key: "dev.4711.kitchen.temp"}
	var found []*binding
	b.ReportAllocs()
	for b.Loop() {
		found = r.match(m, found[:0], nil)
	}
	if len(found) != 1 {
		b.Fatalf("%d matches", len(found))
	}
}

func BenchmarkTopicBind(b *testing.B) {
	var r router = topicRouter{}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		r = r.with(&binding{key: fmt.Sprintf("dev.%d.*.temp", i)})
		i++
	}
}

// Patterns with many # must not cost more than words times nodes: this took minutes when every way through them was tried.
func TestTopicMatchOfManyHashesIsQuick(t *testing.T) {
	pattern := strings.Repeat("#.a.", 40) + "b"
	r := topicRouter{}.with(&binding{key: pattern})
	key := strings.Repeat("a.", 120)
	if found := r.match(&Message{Key: key + "c"}, nil, nil); len(found) != 0 {
		t.Errorf("%d bindings match", len(found))
	}
	if found := r.match(&Message{Key: key + "b"}, nil, nil); len(found) != 1 {
		t.Errorf("%d bindings match, want 1", len(found))
	}
}

// hashBomb is a table of n patterns, each of whose # a key of nothing but a reaches, by another way.
func hashBomb(n int) (r topicRouter) {
	signs := []string{"a.", "*."}
	for i := 1; i <= n; i++ {
		var pattern strings.Builder
		for rest := i; rest > 0; rest /= 2 {
			pattern.WriteString(signs[rest%2])
		}
		pattern.WriteString("#.a.#")
		r = r.adding(&binding{key: pattern.String()}).(topicRouter)
	}
	return r
}

// The # reached are as many as there are patterns: to look through them all for each step would take half a minute.
func TestTopicMatchOfManyPatternsIsQuick(t *testing.T) {
	const patterns = 5000
	key := strings.Repeat("a.", 126) + "a"
	if found := hashBomb(patterns).match(&Message{Key: key}, nil, nil); len(found) != patterns {
		t.Errorf("%d bindings match, want %d", len(found), patterns)
	}
}

func BenchmarkTopicMatchOfHashes(b *testing.B) {
	for _, n := range []int{4, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r, m := hashBomb(n), &Message{Key: strings.Repeat("a.", 126) + "a"}
			var found []*binding
			b.ReportAllocs()
			for b.Loop() {
				found = r.match(m, found[:0], nil)
			}
		})
	}
}
