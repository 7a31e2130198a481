package bench

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestRetainedMessagesAreMeasured(t *testing.T) {
	for _, version := range []string{"--v5=false", "--v5"} {
		b := startFakeMQTT(t)
		run := func(more ...string) string {
			cmd := Command()
			var out bytes.Buffer
			cmd.SetOut(&out)
			cmd.SetErr(io.Discard)
			cmd.SetArgs(append([]string{"mqtt-retained", "--url", b.url, "--topics", "3000", "--settle", "0", version}, more...))
			if err := cmd.ExecuteContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			return out.String()
		}
		out := run()
		for _, want := range []string{"broker says Fake", "3000 topics, messages of 200 bytes", "published, QoS 1", "sent to who subscribes to all"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s", version, want, out)
			}
		}
		if n := len(b.kept()); n != 0 {
			t.Errorf("%s: %d messages were left behind", version, n)
		}
		run("--keep", "fleet")
		if kept := b.kept(); len(kept) != 3000 || len(kept["fleet/d0002999/state"]) != 200 {
			t.Errorf("%s: %d messages were kept", version, len(kept))
		}
	}
}

func TestRetainedRunsAreRefusedThatCannotBe(t *testing.T) {
	valid := RetainedOptions{URL: "mqtt://127.0.0.1", Topics: 1, Size: 1}
	for name, spoil := range map[string]func(*RetainedOptions){
		"no topics":       func(o *RetainedOptions) { o.Topics = 0 },
		"empty messages":  func(o *RetainedOptions) { o.Size = 0 },
		"negative settle": func(o *RetainedOptions) { o.Settle = -1 },
		"negative pid":    func(o *RetainedOptions) { o.PID = -1 },
		"nobody there":    func(o *RetainedOptions) { o.URL = "mqtt://127.0.0.1:1" },
	} {
		o := valid
		spoil(&o)
		if _, err := RunRetained(t.Context(), o, io.Discard); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
