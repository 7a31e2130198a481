package bench

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func fakeMQTTOptions(b *fakeMQTT) MQTTOptions {
	return MQTTOptions{
		Options: Options{
			URL: b.url, Scenario: scenarioAll, Duration: 100 * time.Millisecond, Runs: 1, MaxMessages: 1_000_000,
		},
	}
}

func TestEveryMQTTScenarioRunsAndCleansUp(t *testing.T) {
	for _, v5 := range []bool{false, true} {
		b := startFakeMQTT(t)
		o := fakeMQTTOptions(b)
		o.V5 = v5
		rep, err := RunMQTT(t.Context(), o, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if len(rep.Rows) != len(mqttScenarios()) {
			t.Fatalf("%d rows, want %d", len(rep.Rows), len(mqttScenarios()))
		}
		for _, r := range rep.Rows {
			if r.Median.Rate <= 0 || r.Runs[0].Dropped != 0 {
				t.Errorf("v5 %v, %s: rate %v, dropped %d", v5, r.title(), r.Median.Rate, r.Runs[0].Dropped)
			}
		}
		if rep.Broker != "Fake" {
			t.Errorf("broker %q", rep.Broker)
		}
		if n := b.leftovers(); n != 0 {
			t.Errorf("v5 %v: %d sessions were left behind", v5, n)
		}
		b.mu.Lock()
		if b.answered == 0 || b.released == 0 {
			t.Errorf("v5 %v: subscribers answered %d times, publishers released %d messages", v5, b.answered, b.released)
		}
		b.mu.Unlock()
	}
}

func TestAFailingMQTTRunNamesTheCauseAndCleansUp(t *testing.T) {
	for _, tt := range []struct {
		name, scenario, want string
		prepare              func(*fakeMQTT)
	}{
		{"refused login", scenarioQoS0, "code 0x5", func(b *fakeMQTT) { b.refuse = 5 }},
		{"refused subscription", scenarioQoS2, "granted 0x80", func(b *fakeMQTT) { b.grantAt = 1 }},
		{"cut connection", scenarioQoS1, "EOF", func(b *fakeMQTT) { b.cutAt = 100 }},
		{"refused message", scenarioQoS1, "reason 0x97", func(b *fakeMQTT) { b.reason = 0x97 }},
		{"refused message of QoS 2", scenarioQoS2, "reason 0x83", func(b *fakeMQTT) { b.reason = 0x83 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := startFakeMQTT(t)
			tt.prepare(b)
			o := fakeMQTTOptions(b)
			o.Scenario, o.V5 = tt.scenario, true
			_, err := RunMQTT(t.Context(), o, io.Discard)
			if tt.want == "EOF" { // a write may notice it first
				if err == nil {
					t.Error("no error")
				}
			} else if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
			if n := b.leftovers(); n != 0 {
				t.Errorf("%d sessions were left behind", n)
			}
		})
	}
}

func TestCancelEndsAnMQTTRunAndCleansUp(t *testing.T) {
	for _, scenario := range []string{scenarioQoS0, scenarioQoS1} {
		b := startFakeMQTT(t)
		o := fakeMQTTOptions(b)
		o.Scenario, o.Duration = scenario, time.Minute
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped by the test")
		b.onPublish = func(n int) {
			if n == 10 {
				cancel(stopped)
			}
		}
		if _, err := RunMQTT(ctx, o, io.Discard); !errors.Is(err, stopped) {
			t.Errorf("%s: error %v, want %v", scenario, err, stopped)
		}
		if n := b.leftovers(); n != 0 {
			t.Errorf("%s: %d sessions were left behind", scenario, n)
		}
	}
}

// A broker may drop messages of QoS 0; the run goes on and the report says so.
func TestDroppedMessagesAreReported(t *testing.T) {
	b := startFakeMQTT(t)
	b.every = 2
	o := fakeMQTTOptions(b)
	o.Scenario, o.Duration = scenarioQoS0, time.Second
	rep, err := RunMQTT(t.Context(), o, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if rep.Rows[0].Runs[0].Dropped == 0 || !strings.Contains(strings.Join(rep.Notes, "\n"), "dropped") {
		t.Errorf("half of the messages were dropped; the report: %+v", rep)
	}
}

func TestMQTTCommandWritesTableOrJSON(t *testing.T) {
	b := startFakeMQTT(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "MQTT 3.1.1 client"},
		{[]string{"--v5", "--json"}, `"client": "MQTT 5.0"`},
	} {
		cmd := Command()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(io.Discard)
		cmd.SetArgs(append([]string{"mqtt", "--url", b.url, "--scenario", "qos1", "--duration", "100ms"}, tt.args...))
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), tt.want) {
			t.Errorf("%v: no %q in\n%s", tt.args, tt.want, out.String())
		}
	}
}

func TestMQTTOptionsOutOfBoundsAreRefused(t *testing.T) {
	o := fakeMQTTOptions(&fakeMQTT{url: "mqtt://127.0.0.1:1"})
	o.Runs = 0
	if _, err := RunMQTT(t.Context(), o, io.Discard); err == nil || !strings.Contains(err.Error(), "runs 0") {
		t.Errorf("error %v", err)
	}
}
