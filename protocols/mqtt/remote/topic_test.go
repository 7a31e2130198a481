package remote

import (
	"strings"
	"testing"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

func TestParseTopic(t *testing.T) {
	for _, tt := range []struct {
		line string
		want Topic
		err  string
	}{
		{line: `a/#`, want: Topic{Pattern: "a/#", Direction: Out}},
		{line: ` a/# in `, want: Topic{Pattern: "a/#", Direction: In}},
		{line: `# both 2 l/ r/`, want: Topic{Pattern: "#", Direction: Both, QoS: 2, LocalPrefix: "l/", RemotePrefix: "r/"}},
		{line: `+/x out 1 "" r/`, want: Topic{Pattern: "+/x", Direction: Out, QoS: 1, RemotePrefix: "r/"}},
		{line: `"" in 0 l r`, want: Topic{Direction: In, LocalPrefix: "l", RemotePrefix: "r"}},
		{line: ``, err: "is not PATTERN"},
		{line: `a out 1 l r x`, err: "is not PATTERN"},
		{line: `a up`, err: `"up" is none of out, in and both`},
		{line: `a out 3`, err: `"3" is none of 0, 1 and 2`},
		{line: `a/#/b`, err: `"a/#/b" is not a topic filter`},
		{line: `#/a`, err: "is not a topic filter"},
		{line: `# out 1 a`, err: `"a#" is not a topic filter`},
		{line: `"" out 1 a`, err: `"" is not a topic filter`},
		{line: `a out 1 +/ r`, err: `the prefix "+/" cannot begin a topic`},
		{line: `$share/g/a in`, err: "is not a topic filter"},
		{line: `a/\x23`, err: "no pattern matches exactly"},
		{line: strings.Repeat("a/", 300), err: "more than 256 levels"},
	} {
		got, err := ParseTopic(tt.line)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("ParseTopic(%q): %v, want %q", tt.line, err, tt.err)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("ParseTopic(%q) = %+v, %v, want %+v", tt.line, got, err, tt.want)
		}
	}
}

func TestRules(t *testing.T) {
	var rules []Topic
	for _, line := range []string{`a/b out 1 x/ y/`, `a/# out 1 x/ z/`, `# both 1 all/ other/`, `"" in 1 here there`, `$SYS/# in 1 "" far/`, `+/p out`} {
		topic, err := ParseTopic(line)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, topic)
	}
	for _, tt := range []struct {
		name    string
		move    func([]Topic, string) (string, bool)
		topic   string
		want    string
		nowhere bool
	}{
		{"the first rule", outward, "x/a/b", "y/a/b", false},
		{"another rule", outward, "x/a/c", "z/a/c", false},
		{"the parent", outward, "x/a", "z/a", false},
		{"the parent that is the prefix", outward, "all", "other", false},
		{"the parent that is the prefix, in", inward, "other", "all", false},
		{"all", outward, "all/$x/y.z", "other/$x/y.z", false},
		{"back", inward, "other/a", "all/a", false},
		{"one topic", inward, "there", "here", false},
		{"its other direction", outward, "here", "", true},
		{"what is far only", inward, "far/$SYS/load", "$SYS/load", false},
		{"no rule", outward, "nothing", "", true},
		{"a wildcard and a topic of the system", outward, "$x/p", "", true},
		{"a wildcard", outward, "q/p", "q/p", false},
	} {
		got, ok := tt.move(rules, tt.topic)
		if got != tt.want || ok == tt.nowhere {
			t.Errorf("%s: %q becomes %q, %v, want %q", tt.name, tt.topic, got, ok, tt.want)
		}
	}
}

// moved has no name for a topic whose prefix would be all of it.
func TestMoved_TopicsThatAreNone(t *testing.T) {
	for _, tt := range []struct{ topic, from, to string }{
		{"a", "a/", ""}, {"a", "a", ""}, {"a", "a/", "b"}, {"b", "a/", "c/"}, {"a/x", "a/", strings.Repeat("x/", 256)}, {"a", "", strings.Repeat("x", 1<<16)},
	} {
		if got, ok := moved(tt.topic, tt.from, tt.to); ok {
			t.Errorf("moved(%q, %q, %.20q) = %.20q", tt.topic, tt.from, tt.to, got)
		}
	}
}

func TestOptions_Validate(t *testing.T) {
	good := Options{Name: "b-1_x", Addresses: []string{"mqtt://h", "mqtts://[::1]:1"}, Topics: []Topic{{Pattern: "a", Direction: Out}}}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Options){
		"the name":          func(o *Options) { o.Name = "B" },
		"there is no add":   func(o *Options) { o.Addresses = nil },
		"not mqtt://":       func(o *Options) { o.Addresses = []string{"tcp://h"} },
		"is not mqtt":       func(o *Options) { o.Addresses = []string{"mqtt://h/path"} },
		"has a user in it":  func(o *Options) { o.Addresses = []string{"mqtt://u:p@h"} },
		"neither 5.0":       func(o *Options) { o.Version = wire.V31 },
		"without a user":    func(o *Options) { o.Version, o.Password = wire.V311, "p" },
		"keep alive":        func(o *Options) { o.KeepAlive = 1 },
		"there are no":      func(o *Options) { o.Topics = nil },
		"does not exist":    func(o *Options) { o.Topics = []Topic{{Pattern: "a"}} },
		"is not a topic":    func(o *Options) { o.Notify = "+" },
		"is shorter":        func(o *Options) { o.RetryMin, o.RetryMax = 2, 1 },
		"messages on their": func(o *Options) { o.Window = 1 << 16 },
	} {
		o := good
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
}

// Whatever the far broker sends, nothing panics.
func FuzzPackets(f *testing.F) {
	f.Add([]byte{0, 0, 0}, true)
	f.Add([]byte{1, 0, 14, 0x21, 0, 2, 0x27, 0, 0, 0, 0x18, 0x24, 1, 0x25, 0, 0x13, 0, 5}, true)
	f.Add([]byte{0, 1, 0, 1, 0x87}, true)
	f.Add([]byte{0x8e, 0}, false)
	f.Fuzz(func(t *testing.T, body []byte, five bool) {
		v := wire.V311
		if five {
			v = wire.V5
		}
		if c, err := parseConnack(wire.Frame{Type: wire.CONNACK, Body: body}, v); err == nil && c.reason != 0 && c.refusal(v) == "" {
			t.Error("a refusal without a reason")
		}
		_, _ = parseSuback(wire.Frame{Type: wire.SUBACK, Body: body}, v)
		_ = parseDisconnect(wire.Frame{Type: wire.DISCONNECT, Body: body}, v)
	})
}
