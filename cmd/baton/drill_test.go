package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// TestDrill_MeasuresTakeovers: both kinds of drill, with brokers in processes of their own, measure each takeover and find every message.
func TestDrill_MeasuresTakeovers(t *testing.T) {
	t.Parallel()
	env := append(os.Environ(), runVariable+"=1")
	for _, fault := range []string{"kill", "handover"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			code, out, stderr := baton(t, env, "ha", "drill", "--"+fault, "--runs", "2", "--data", dir, "--json")
			if code != exitOK {
				t.Fatalf("exit code %d: %s%s", code, out, stderr)
			}
			var r drillResult
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				t.Fatal(err)
			}
			if r.Fault != fault || r.Dir != dir || len(r.Gaps) != 2 || r.Promised == 0 || r.Lost != 0 {
				t.Errorf("the result is %+v", r)
			}
			for _, gap := range r.Gaps {
				if gap <= 0 || gap > drillWait {
					t.Errorf("a gap of %v", gap)
				}
			}
			for _, phase := range drillPhases() {
				if len(r.Phases[phase]) != 2 {
					t.Errorf("%s was measured %d times", phase, len(r.Phases[phase]))
				}
			}
			// Nobody is left: the directory's last primary was killed.
			if code, out, _ := baton(t, nil, "ha", "status", "--data", dir); code != exitFailure || !strings.Contains(out, "read up to") {
				t.Errorf("after the drill the status ends with %d: %s", code, out)
			}
		})
	}
}

func TestDrill_UsageAndText(t *testing.T) {
	for _, args := range [][]string{{}, {"--kill", "--handover"}, {"--kill", "--runs", "0"}} {
		if code, _, stderr := baton(t, nil, append([]string{"ha", "drill"}, args...)...); code != exitUsage || !strings.Contains(stderr, "say either --kill or --handover") {
			t.Errorf("drill %v: %d, %s", args, code, stderr)
		}
	}
	r := drillResult{
		Fault: "kill", Dir: "/d", TTL: time.Second, Gaps: []time.Duration{3 * time.Millisecond, time.Millisecond, 2 * time.Millisecond},
		Phases: map[string][]time.Duration{"total": {time.Millisecond}}, Promised: 5, Lost: 1,
	}
	text := r.text()
	for _, want := range []string{"kill, 3 takeovers, ttl 1s", "5 messages were confirmed, 1 of them are lost"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if row := strings.Fields(text[strings.Index(text, "client sees"):])[2:5]; strings.Join(row, " ") != "2ms 3ms 3ms" {
		t.Errorf("p50, p99 and max of the gaps are %v", row)
	}
}
