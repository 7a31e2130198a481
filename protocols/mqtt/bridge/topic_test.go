package bridge_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// pairs are topics and their keys. Each is tried in both directions.
var pairs = []struct{ topic, key string }{
	{"a", "a"},
	{"a/b", "a.b"},
	{"dev/4711/kitchen/temp", "dev.4711.kitchen.temp"},
	{"/a//", ".a.."},
	{"/", "."},
	{"//", ".."},
	{"v1.2/x", "v1/2.x"},
	{".", "/"},
	{"*", "+"},
	{"a/*/b", "a.+.b"},
	{"a*/*b", "a*.*b"},
	{"$SYS/x", "$SYS.x"},
	{"größe/日本", "größe.日本"},
	{"100%25/x", "100%25.x"},
	{`C:\x\y`, `C:\x\y`},
	{`a/\x`, `a.\x`},
	{`\y`, `\y`},

	// Keys that no level can show.
	{`\x`, ""},
	{`\x23`, "#"},
	{`\x2a`, "*"},
	{`a/\x23/b`, "a.#.b"},
	{`irc/\x23676f`, "irc.#go"},
	{`a/\x612b62`, "a.a+b"},
	{`\x612f2b`, "a/+"},
	{`\x00`, "\x00"},
	{`a/\xff`, "a.\xff"},
	{`\xc3/\xa9`, "\xc3.\xa9"},

	// What looks like these and is not.
	{`\x61`, `\x61`},
	{`\xc3a9`, `\xc3a9`},
	{`\x2A`, `\x2A`},
	{`\x2`, `\x2`},
	{`\x2e`, `\x2e`},
	{`x\x23`, `x\x23`},
	{`a/\x2b`, `a.\x2b`},

	// And keys that look like escaped topics.
	{`\x5c783233`, `\x23`},
	{`\x5c783563373833323333`, `\x5c783233`},
	{`\x5c78`, `\x`},
	{`a/\x5c78`, `a.\x5c78`},
}

func TestTopicsAndKeys(t *testing.T) {
	for _, p := range pairs {
		if got := bridge.Key(p.topic); got != p.key {
			t.Errorf("Key(%q) = %q, want %q", p.topic, got, p.key)
		}
		if got := bridge.Topic(p.key); got != p.topic {
			t.Errorf("Topic(%q) = %q, want %q", p.key, got, p.topic)
		}
		if got := string(bridge.AppendKey([]byte("-"), []byte(p.topic))); got != "-"+p.key {
			t.Errorf("AppendKey(%q) = %q", p.topic, got)
		}
		if got := string(bridge.AppendTopic([]byte("-"), p.key)); got != "-"+p.topic {
			t.Errorf("AppendTopic(%q) = %q", p.key, got)
		}
	}
}

func FuzzTopicToKeyAndBack(f *testing.F) {
	for _, p := range pairs {
		f.Add(p.topic)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		if !wire.ValidTopic(topic) {
			return
		}
		key := bridge.Key(topic)
		if back := bridge.Topic(key); back != topic {
			t.Fatalf("topic %q is key %q is topic %q", topic, key, back)
		}
		if !strings.ContainsAny(topic, `.*\`) && key != strings.ReplaceAll(topic, "/", ".") {
			t.Fatalf("ordinary topic %q is key %q", topic, key)
		}
		if topic[0] == '$' != strings.HasPrefix(key, "$") {
			t.Fatalf("topic %q is key %q: one is hidden, the other not", topic, key)
		}
	})
}

func FuzzKeyToTopicAndBack(f *testing.F) {
	for _, p := range pairs {
		f.Add(p.key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		topic := bridge.Topic(key)
		if back := bridge.Key(topic); back != key {
			t.Fatalf("key %q is topic %q is key %q", key, topic, back)
		}
		if len(topic) <= 65535 && !wire.ValidTopic(topic) {
			t.Fatalf("key %q is topic %q, which is none", key, topic)
		}
		if utf8.ValidString(key) && key != "" && !strings.ContainsAny(key, "/*+#\\\x00") && topic != strings.ReplaceAll(key, ".", "/") {
			t.Fatalf("ordinary key %q is topic %q", key, topic)
		}
	})
}

func TestTopicAllocations(t *testing.T) {
	buf := make([]byte, 0, 256)
	topic, key := []byte("dev/4711/kitchen/größe"), "dev.4711.kitchen.größe"
	for name, f := range map[string]func(){
		"AppendKey":          func() { bridge.AppendKey(buf, topic) },
		"AppendTopic":        func() { bridge.AppendTopic(buf, key) },
		"Key of one level":   func() { bridge.Key("temp") },
		"Topic of one word":  func() { bridge.Topic("temp") },
		"Pattern of a level": func() { _, _ = bridge.Pattern("#") },
		"Match":              func() { bridge.Match("dev/+/kitchen/#", "dev/4711/kitchen/temp") },
		"Hidden":             func() { _ = bridge.Hidden("#", "$SYS/x") },
	} {
		if got := testing.AllocsPerRun(100, f); got != 0 {
			t.Errorf("%s: %v allocations, want none", name, got)
		}
	}
}

func BenchmarkTopic(b *testing.B) {
	buf := make([]byte, 0, 256)
	topic := []byte("dev/4711/kitchen/temp")
	key := "dev.4711.kitchen.temp"
	b.Run("AppendKey", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			bridge.AppendKey(buf, topic)
		}
	})
	b.Run("AppendTopic", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			bridge.AppendTopic(buf, key)
		}
	})
}

// A word is what the level is in the key of any topic that has it, and no pattern
// takes it for a wildcard.
func TestWord(t *testing.T) {
	for level, want := range map[string]string{
		"a": "a", "a.b": "a/b", "*": "+", "a*": "a*", "größe": "größe", `a\x23`: `a\x23`, "$x": "$x",
		"": "", "a/b": "", "/": "", "+": "", "a+": "", "#": "", "#a": "", "a\x00": "", `\x23`: "", `\x2a`: "", `\x`: "",
	} {
		if got := bridge.Word(level); got != want {
			t.Errorf("Word(%q) = %q, want %q", level, got, want)
		}
		if want != "" && bridge.Key("t/"+level+"/u") != "t."+want+".u" {
			t.Errorf("the level %q is %q in a topic", level, bridge.Key("t/"+level+"/u"))
		}
	}
}
