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

func (b *fakeMQTT) target() Target { return Target{Name: "fake", MQTT: b.url} }

func TestEveryMQTTRowRunsAndCleansUp(t *testing.T) {
	for _, v5 := range []bool{false, true} {
		b := startFakeMQTT(t)
		o := shortOptions(rowsMQTT)
		o.V5 = v5
		rep, err := Run(t.Context(), o, b.target(), quiet())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rep.Rows {
			if r.Median.Rate <= 0 || r.Runs[0].Dropped != 0 {
				t.Errorf("v5 %v, %s: rate %v, dropped %d", v5, r.title(), r.Median.Rate, r.Runs[0].Dropped)
			}
			if latency := r.ID == "m8"; latency != (r.Median.P50 != nil && r.Median.Late != nil) {
				t.Errorf("v5 %v, %s: p50 %v", v5, r.title(), r.Median.P50)
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

func TestMQTTReachesAnAMQPQueue(t *testing.T) {
	m, a := startFakeMQTT(t), startFake(t)
	m.toAMQP = func(body []byte) {
		a.mu.Lock()
		var queue string
		for q := range a.exchanges[topicExchange] {
			queue = q
		}
		a.mu.Unlock()
		a.enqueue(queue, body)
	}
	rep, err := Run(t.Context(), shortOptions("x1"), Target{Name: "fakes", AMQP: a.url, MQTT: m.url}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if rep.Rows[0].Median.Rate <= 0 {
		t.Errorf("%+v", rep.Rows)
	}
	rep, err = Run(t.Context(), shortOptions("x1"), m.target(), quiet())
	if err != nil || len(rep.Rows) != 0 || !strings.Contains(strings.Join(rep.Notes, "\n"), "x1 was left out: the broker's URL for AMQP was not given") {
		t.Errorf("without AMQP: %v, %+v", err, rep)
	}
}

// A session whose messages the broker does not keep is not waited for until the end of time.
func TestAReplayThatIsNotComplete(t *testing.T) {
	b := startFakeMQTT(t)
	b.keepAtMost = 200
	rep, err := Run(t.Context(), shortOptions("m6"), b.target(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	if replay := rep.Rows[1]; replay.ID != "m6-replay" || replay.Runs[0].Dropped != 100 {
		t.Errorf("%+v, want 100 dropped", replay)
	}
}

func TestAFailingMQTTRunNamesTheCauseAndCleansUp(t *testing.T) {
	for _, tt := range []struct {
		name, row, want string
		prepare         func(*fakeMQTT)
	}{
		{"refused login", "m1", "code 0x5", func(b *fakeMQTT) { b.refuse = 5 }},
		{"refused subscription", "m3-clean", "granted 0x80", func(b *fakeMQTT) { b.grantAt = 1 }},
		{"cut connection", "m2-clean", "EOF", func(b *fakeMQTT) { b.cutAt = 100 }},
		{"refused message", "m2-clean", "reason 0x97", func(b *fakeMQTT) { b.reason = 0x97 }},
		{"refused message of QoS 2", "m3-clean", "reason 0x83", func(b *fakeMQTT) { b.reason = 0x83 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := startFakeMQTT(t)
			tt.prepare(b)
			o := shortOptions(tt.row)
			o.V5 = true
			_, err := Run(t.Context(), o, b.target(), quiet())
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
	for _, row := range []string{"m1", "m2-session", "m5", "m8"} {
		b := startFakeMQTT(t)
		o := shortOptions(row)
		o.Duration = time.Minute
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped by the test")
		b.onPublish = func(n int) {
			if n == 10 {
				cancel(stopped)
			}
		}
		if _, err := Run(ctx, o, b.target(), quiet()); !errors.Is(err, stopped) {
			t.Errorf("%s: error %v, want %v", row, err, stopped)
		}
		if n := b.leftovers(); n != 0 {
			t.Errorf("%s: %d sessions were left behind", row, n)
		}
	}
}

// A broker may drop messages of QoS 0; the run goes on and the report says so.
func TestDroppedMessagesAreReported(t *testing.T) {
	b := startFakeMQTT(t)
	b.every = 2
	o := shortOptions("m1")
	o.Duration = time.Second
	rep, err := Run(t.Context(), o, b.target(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	if rep.Rows[0].Runs[0].Dropped == 0 || !strings.Contains(strings.Join(rep.Notes, "\n"), "were not made") {
		t.Errorf("half of the messages were dropped; the report: %+v", rep)
	}
}

func TestMQTTCommandWritesTableOrJSON(t *testing.T) {
	b := startFakeMQTT(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "MQTT 3.1.1"},
		{[]string{"--v5", "--json"}, `"client": "MQTT 5.0"`},
	} {
		cmd := Command()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(io.Discard)
		cmd.SetArgs(append([]string{"mqtt", "--url", b.url, "--rows", "m2-clean", "--duration", "100ms"}, tt.args...))
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), tt.want) {
			t.Errorf("%v: no %q in\n%s", tt.args, tt.want, out.String())
		}
	}
}
