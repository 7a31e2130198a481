package bridge_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

func TestPattern(t *testing.T) {
	for _, tt := range []struct {
		filter, pattern string
		refused         bool
	}{
		{filter: "#", pattern: "#"},
		{filter: "+", pattern: "*"},
		{filter: "a/b", pattern: "a.b"},
		{filter: "sport/#", pattern: "sport.#"},
		{filter: "+/+/#", pattern: "*.*.#"},
		{filter: "/+", pattern: ".*"},
		{filter: "v1.2/+", pattern: "v1/2.*"},
		{filter: "a/*", pattern: "a.+"},
		{filter: `irc/\x23676f`, pattern: "irc.#go"},
		{filter: `\x`, pattern: ""},
		{filter: `a/\x/#`, pattern: `a.\x.#`},
		{filter: `\x23`, refused: true},
		{filter: `a/\x2a/#`, refused: true},
		{filter: `\x/#`, refused: true},
		{filter: `\x5c78/#`, refused: true},
	} {
		got, err := bridge.Pattern(tt.filter)
		if got != tt.pattern || errors.Is(err, bridge.ErrFilter) != tt.refused {
			t.Errorf("Pattern(%q) = %q, %v, want %q", tt.filter, got, err, tt.pattern)
		}
	}
}

// TestMatch is the definition of section 4.7, with its own examples.
func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		filter, topic string
		want          bool
	}{
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/#", "sport", true},
		{"sport/#", "sports", false},
		{"#", "a/b", true},
		{"sport/tennis/+", "sport/tennis/player1", true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false},
		{"sport/+", "sport/", true},
		{"+/+", "/finance", true},
		{"/+", "/finance", true},
		{"+", "/finance", false},
		{"+/#", "a", true},
		{"a/b", "a", false},
		{"a", "a/b", false},
		{"a//b", "a//b", true},
		{"a/+/b", "a//b", true},
		{"a", "A", false},
		{"#", "$SYS/x", false},                               // [MQTT-4.7.2-1]
		{"+/monitor/Clients", "$SYS/monitor/Clients", false}, // [MQTT-4.7.2-1]
		{"$SYS/#", "$SYS/x", true},
		{"$SYS/monitor/+", "$SYS/monitor/Clients", true},
		{"a/+", "a/$x", true},
		{"*", "x", false},
	} {
		if got := bridge.Match(tt.filter, tt.topic); got != tt.want {
			t.Errorf("Match(%q, %q) = %t", tt.filter, tt.topic, got)
		}
	}
}

// TestEngineMatchesAsMQTTDoes binds patterns of filters in a real engine and
// publishes keys of topics.
func TestEngineMatchesAsMQTTDoes(t *testing.T) {
	store := memstore.Open(memstore.Options{})
	broker, err := core.Open(t.Context(), store, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		broker.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	session, err := broker.Attach("/", core.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.DeclareQueue(t.Context(), core.QueueSpec{Name: "q"}); err != nil {
		t.Fatal(err)
	}
	level := rapid.SampledFrom([]string{
		"a", "b", "", "*", ".", "a.b", "$a", "*b", `\x`, `\x23`, `\x2a`, `\x2a62`, `\xff`, `\x5c78`, `\x5c783233`, `\x61`, "ö",
	})
	var matched, missed int
	rapid.Check(t, func(rt *rapid.T) {
		topic := strings.Join(rapid.SliceOfN(level, 1, 4).Draw(rt, "topic"), "/")
		filter := drawFilter(rt, topic, level)
		if !wire.ValidTopic(topic) || !wire.ValidFilter(filter) {
			return
		}
		pattern, err := bridge.Pattern(filter)
		if err != nil {
			if !strings.Contains(filter, `\x`) {
				rt.Fatalf("filter %q refused", filter)
			}
			return
		}
		spec := core.BindingSpec{Source: "amq.topic", Dest: "q", Key: pattern}
		if err := session.Bind(t.Context(), spec); err != nil {
			rt.Fatal(err)
		}
		key := bridge.Key(topic)
		routed, err := session.Publish(&core.Message{Exchange: "amq.topic", Key: key}, nil, 0)
		if err != nil {
			rt.Fatal(err)
		}
		got := routed == 1 && !bridge.Hidden(filter, topic)
		if got {
			matched++
		} else {
			missed++
		}
		if want := matches(filter, topic, key); got != want {
			rt.Fatalf("filter %q (%q), topic %q (%q): routed %t, want %t", filter, pattern, topic, key, got, want)
		}
		if _, err := session.PurgeQueue(t.Context(), "q", false); err != nil {
			rt.Fatal(err)
		}
		if err := session.Unbind(t.Context(), spec); err != nil {
			rt.Fatal(err)
		}
	})
	if matched == 0 || missed == 0 {
		t.Errorf("%d matches and %d misses: the draw is too narrow", matched, missed)
	}
}

// matches is bridge.Match with the one exception: the empty key has no word for
// a plus.
func matches(filter, topic, key string) bool {
	return bridge.Match(filter, topic) && (key != "" || filter[0] != '+')
}

// drawFilter makes a filter out of a topic, so that it often matches.
func drawFilter(t *rapid.T, topic string, level *rapid.Generator[string]) string {
	levels := strings.Split(topic, "/")
	for i := range levels {
		switch rapid.IntRange(0, 5).Draw(t, "level") {
		case 0, 1:
			levels[i] = "+"
		case 2:
			levels[i] = level.Draw(t, "other")
		}
	}
	switch rapid.IntRange(0, 3).Draw(t, "end") {
	case 0:
		levels = append(levels, "#")
	case 1:
		levels = append(slices.Clip(levels[:rapid.IntRange(0, len(levels)-1).Draw(t, "cut")]), "#")
	}
	return strings.Join(levels, "/")
}

// FuzzPattern compares the same with any bytes, against the definition of the
// engine's matching.
func FuzzPattern(f *testing.F) {
	for _, p := range pairs {
		f.Add(p.topic, p.topic)
		f.Add(p.topic+"/#", p.topic)
		f.Add("+/"+p.topic, "a/"+p.topic)
	}
	f.Add("+/+/#", "a/b")
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if !wire.ValidTopic(topic) || !wire.ValidFilter(filter) {
			return
		}
		pattern, err := bridge.Pattern(filter)
		if err != nil {
			return
		}
		key := bridge.Key(topic)
		got := wordsMatch(words(pattern), words(key)) && !bridge.Hidden(filter, topic)
		if want := matches(filter, topic, key); got != want {
			t.Fatalf("filter %q (%q), topic %q (%q): %t, want %t", filter, pattern, topic, key, got, want)
		}
	})
}

// words splits as the engine does: an empty key has no word.
func words(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ".")
}

// wordsMatch tries all lengths for every #. Two of them in one pattern do not
// come from a filter.
func wordsMatch(pattern, key []string) bool {
	if len(pattern) == 0 {
		return len(key) == 0
	}
	if pattern[0] == "#" {
		return wordsMatch(pattern[1:], key) || len(key) > 0 && wordsMatch(pattern, key[1:])
	}
	return len(key) > 0 && (pattern[0] == "*" || pattern[0] == key[0]) && wordsMatch(pattern[1:], key[1:])
}
