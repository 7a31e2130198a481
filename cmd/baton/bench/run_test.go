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

// shortOptions are of a run that takes no longer than a test may.
func shortOptions(rows string) Options {
	o := defaultOptions()
	o.Rows, o.Duration = rows, 100*time.Millisecond
	o.Backlog, o.Offline, o.Bindings, o.Connections, o.PerSecond = 500, 300, 100, 20, 500
	return o
}

// leftovers returns the queues and exchanges that were declared and not deleted.
func (b *fakeBroker) leftovers() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queues) + len(b.exchanges)
}

func (b *fakeBroker) target() Target { return Target{Name: "fake", AMQP: b.url} }

func quiet() *progress { return newProgress(io.Discard) }

func TestEveryAMQPRowRunsAndCleansUp(t *testing.T) {
	for client, rows := range map[string]string{
		clientRaw:     rowsAMQP,
		clientAMQP091: "a1,a2-elided,a2-each,a4,a5",
	} {
		t.Run(client, func(t *testing.T) {
			b := startFake(t)
			o := shortOptions(rows)
			o.Client = client
			rep, err := Run(t.Context(), o, b.target(), quiet())
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rep.Rows {
				if r.Median.Rate <= 0 {
					t.Errorf("%s: rate %v", r.ID, r.Median.Rate)
				}
				if latency := strings.HasPrefix(r.ID, "a4"); latency != (r.Median.P50 != nil && r.Median.P99 != nil) {
					t.Errorf("%s: p50 %v, p99 %v", r.ID, r.Median.P50, r.Median.P99)
				}
			}
			if rep.Broker != "Fake" {
				t.Errorf("broker %q", rep.Broker)
			}
			if n := b.leftovers(); n != 0 {
				t.Errorf("%d queues and exchanges were left behind", n)
			}
		})
	}
}

// What is acknowledged by a consumer that stays behind was confirmed, and more after it.
func TestAConsumerBehindAcknowledgesOnlyWhatIsConfirmed(t *testing.T) {
	b := startFake(t)
	if _, err := Run(t.Context(), shortOptions("a2-written"), b.target(), quiet()); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.acked == 0 || b.early != 0 {
		t.Errorf("%d acknowledgements, %d of them before the confirm", b.acked, b.early)
	}
}

func TestBindingsOfTheTopicRow(t *testing.T) {
	b := startFake(t)
	rep, err := Run(t.Context(), shortOptions("a7"), b.target(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bound != 100 || len(rep.Rows) != 2 || rep.Rows[0].Counts != countBindings {
		t.Errorf("%d bindings; the report: %+v", b.bound, rep.Rows)
	}
}

func TestABareFileIsSyncedBesideLatency(t *testing.T) {
	b := startFake(t)
	o := shortOptions("a4-1")
	o.SyncDir = t.TempDir()
	rep, err := Run(t.Context(), o, b.target(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	if bare := rep.Rows[0].Median.Bare; bare == nil || *bare <= 0 || !strings.Contains(strings.Join(rep.Notes, "\n"), "bare files") {
		t.Errorf("bare %v, notes %q", bare, rep.Notes)
	}
}

func TestMessageBoundEndsARun(t *testing.T) {
	b := startFake(t)
	o := shortOptions("a1-12")
	o.MaxMessages, o.Duration = 500, time.Minute
	_, err := Run(t.Context(), o, b.target(), quiet())
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
		name, row string
		prepare   func(*fakeBroker)
		want      string
	}{
		{"broker closes", "a1-12", func(b *fakeBroker) { b.refuseAt = 100 }, "CONNECTION_FORCED - test"},
		{"nack while streaming", "a2-elided", func(b *fakeBroker) { b.nackAt = 100 }, "basic.nack"},
		{"nack of a round trip", "a4-1", func(b *fakeBroker) { b.nackAt = 3 }, "basic.nack"},
		{"nack while filling", "a5", func(b *fakeBroker) { b.nackAt = 3 }, "basic.nack"},
	}
	for _, tt := range tests {
		for _, client := range []string{clientRaw, clientAMQP091} {
			t.Run(tt.name+"/"+client, func(t *testing.T) {
				b := startFake(t)
				tt.prepare(b)
				o := shortOptions(tt.row)
				o.Client = client
				_, err := Run(t.Context(), o, b.target(), quiet())
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
	for _, row := range []string{"a1-12", "a3-written", "a4-50", "a6"} {
		t.Run(row, func(t *testing.T) {
			b := startFake(t)
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
				t.Errorf("error %v, want %v", err, stopped)
			}
			if n := b.leftovers(); n != 0 {
				t.Errorf("%d queues and exchanges were left behind", n)
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
	_, err = cl.consumer(t.Context(), consumeSpec{queues: []string{"q"}})
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
		if err := declareQueues(b.url, []string{"q"}, false); err != nil {
			t.Fatal(err)
		}
		cons, err := cl.consumer(t.Context(), consumeSpec{queues: []string{"q"}, ackEvery: tt.every, bodySize: 3, prefetch: 500})
		if err != nil {
			t.Fatal(err)
		}
		prod, err := cl.producer(t.Context(), message{keys: []string{"q"}, body: []byte("abc")}, confirmNone)
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
		{nil, "broker says Fake"},
		{[]string{"--json"}, `"per_second"`},
	} {
		cmd := Command()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(io.Discard)
		cmd.SetArgs(append([]string{"amqp", "--url", b.url, "--rows", "a4-1", "--duration", "100ms"}, tt.args...))
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
	c := &rawConsumer{rawConn: &rawConn{in: newFrameReader(&repeat{one: bytes.Repeat(one, 1000)}, readBuffer)}, spec: consumeSpec{bodySize: 12}}
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
