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

func fakeOptions(b *fakeBroker, client string) Options {
	return Options{
		URL: b.url, Client: client, Scenario: scenarioAll, Duration: 100 * time.Millisecond,
		Runs: 1, MaxMessages: 1_000_000,
	}
}

// leftovers returns the queues that were declared and not deleted.
func (b *fakeBroker) leftovers() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queues)
}

func TestEveryScenarioRunsAndCleansUp(t *testing.T) {
	for _, client := range []string{clientRaw, clientAMQP091} {
		t.Run(client, func(t *testing.T) {
			b := startFake(t)
			rep, err := Run(t.Context(), fakeOptions(b, client), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if len(rep.Rows) != len(scenarios()) {
				t.Fatalf("%d rows, want %d", len(rep.Rows), len(scenarios()))
			}
			for _, r := range rep.Rows {
				if r.Median.Rate <= 0 {
					t.Errorf("%s %s: rate %v", r.ID, r.Scenario, r.Median.Rate)
				}
				if latency := r.ID == "a4"; latency != (r.Median.P50 != nil && r.Median.P99 != nil) {
					t.Errorf("%s %s: p50 %v, p99 %v", r.ID, r.Scenario, r.Median.P50, r.Median.P99)
				}
			}
			if rep.Broker != "Fake" {
				t.Errorf("broker %q", rep.Broker)
			}
			if n := b.leftovers(); n != 0 {
				t.Errorf("%d of %d queues were left behind", n, b.declared)
			}
		})
	}
}

func TestMessageBoundEndsARun(t *testing.T) {
	b := startFake(t)
	o := fakeOptions(b, clientRaw)
	o.Scenario, o.MaxMessages, o.Duration = scenarioTransient, 500, time.Minute
	o.Size = 12
	_, err := Run(t.Context(), o, io.Discard)
	if !errors.Is(err, errNothing) && err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.published == 0 || b.published > 500 {
		t.Errorf("%d messages were published, the bound is 500", b.published)
	}
}

func TestAFailingRunNamesTheCauseAndCleansUp(t *testing.T) {
	tests := []struct {
		name     string
		scenario string
		prepare  func(*fakeBroker)
		want     string
	}{
		{"broker closes", scenarioTransient, func(b *fakeBroker) { b.refuseAt = 100 }, "CONNECTION_FORCED - test"},
		{"nack while streaming", scenarioDurable, func(b *fakeBroker) { b.nackAt = 100 }, "basic.nack"},
		{"nack of a round trip", scenarioLatency, func(b *fakeBroker) { b.nackAt = 3 }, "basic.nack"},
	}
	for _, tt := range tests {
		for _, client := range []string{clientRaw, clientAMQP091} {
			t.Run(tt.name+"/"+client, func(t *testing.T) {
				b := startFake(t)
				tt.prepare(b)
				o := fakeOptions(b, client)
				o.Scenario = tt.scenario
				_, err := Run(t.Context(), o, io.Discard)
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want one that says %q", err, tt.want)
				}
				if n := b.leftovers(); n != 0 {
					t.Errorf("%d queues were left behind", n)
				}
			})
		}
	}
}

func TestCancelEndsARunAndCleansUp(t *testing.T) {
	for _, scenario := range []string{scenarioTransient, scenarioLatency} {
		t.Run(scenario, func(t *testing.T) {
			b := startFake(t)
			o := fakeOptions(b, clientRaw)
			o.Scenario, o.Duration = scenario, time.Minute
			ctx, cancel := context.WithCancelCause(t.Context())
			stopped := errors.New("stopped by the test")
			b.onPublish = func(n int) {
				if n == 10 {
					cancel(stopped)
				}
			}
			if _, err := Run(ctx, o, io.Discard); !errors.Is(err, stopped) {
				t.Errorf("error %v, want %v", err, stopped)
			}
			if n := b.leftovers(); n != 0 {
				t.Errorf("%d queues were left behind", n)
			}
		})
	}
}

func TestRawHandshakeReportsARefusedLogin(t *testing.T) {
	b := startFake(t)
	b.loginOff = true
	cl, err := newClient(clientRaw, b.url)
	if err != nil {
		t.Fatal(err)
	}
	_, err = cl.consumer(t.Context(), consumeSpec{queue: "q"})
	if se, ok := errors.AsType[*serverError](err); !ok || se.Code != 403 {
		t.Errorf("error %v, want the broker's 403", err)
	}
}

func TestAcknowledgementsFollowTheScenario(t *testing.T) {
	for _, tt := range []struct{ every, messages, want int }{{0, 100, 0}, {1, 100, 100}, {50, 120, 2}} {
		b := startFake(t)
		cl, err := newClient(clientRaw, b.url)
		if err != nil {
			t.Fatal(err)
		}
		cons, err := cl.consumer(t.Context(), consumeSpec{queue: "q", ackEvery: tt.every, bodySize: 3, prefetch: 500})
		if err != nil {
			t.Fatal(err)
		}
		prod, err := cl.producer(t.Context(), message{queue: "q", body: []byte("abc")}, confirmNone)
		if err != nil {
			t.Fatal(err)
		}
		seen, all, ended := 0, make(chan struct{}), make(chan error, 1)
		go func() {
			ended <- cons.deliveries(func(n int) {
				if seen += n; seen == tt.messages {
					close(all)
				}
			})
		}()
		if err := prod.publish(tt.messages); err != nil {
			t.Fatal(err)
		}
		<-all
		// Acks are written before their messages are reported; the broker has read
		// them once it has seen this side of the connection end.
		cons.(*rawConsumer).closeWrite(t)
		if err := <-ended; !errors.Is(err, io.EOF) {
			t.Errorf("deliveries ended with %v, want the end of the connection", err)
		}
		if err := errors.Join(prod.Close(), cons.Close()); err != nil {
			t.Error(err)
		}
		b.mu.Lock()
		if b.acked != tt.want {
			t.Errorf("ack every %d: %d acknowledgements for %d messages, want %d", tt.every, b.acked, tt.messages, tt.want)
		}
		b.mu.Unlock()
	}
}

func TestCommandWritesTableOrJSON(t *testing.T) {
	b := startFake(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "scenario"},
		{[]string{"--json"}, `"messages_per_second"`},
	} {
		cmd := Command()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(io.Discard)
		cmd.SetArgs(append([]string{"amqp", "--url", b.url, "--scenario", "latency", "--duration", "100ms"}, tt.args...))
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), tt.want) {
			t.Errorf("%v: no %q in\n%s", tt.args, tt.want, out.String())
		}
	}
}

// BenchmarkRawConsume is what one delivery costs the generator when a broker
// writes in large pieces: the floor of the generator's own CPU per message.
func BenchmarkRawConsume(b *testing.B) {
	one := appendMethod(nil, 1, basicDeliver, append(appendShortstr(nil, "bench"), make([]byte, 11)...))
	header := append([]byte{0, classBasic, 0, 0}, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0)
	one = appendFrame(one, frameHeader, 1, header)
	one = appendFrame(one, frameBody, 1, make([]byte, 12))
	c := &rawConsumer{rawConn: &rawConn{in: newFrameReader(&repeat{one: bytes.Repeat(one, 1000)})}, spec: consumeSpec{bodySize: 12}}
	b.ReportAllocs()
	for b.Loop() {
		for range 1000 {
			for {
				fr, err := c.in.next()
				if err != nil {
					b.Fatal(err)
				}
				if err := c.handle(fr); err != nil {
					b.Fatal(err)
				}
				if fr.typ == frameBody {
					break
				}
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/msg")
}

// repeat reads the same bytes for ever.
type repeat struct {
	one []byte
	off int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.one[r.off:])
	r.off = (r.off + n) % len(r.one)
	return n, nil
}
