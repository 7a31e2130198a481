package mqtt_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// lines is a log that may be written by several at once.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), s)
}

const fighting = "clients take each other over"

// TestFight_IsSlowedAndLoggedOnce: what two clients with one identifier do to each
// other [MQTT-3.1.4-3]; others are not concerned, and afterwards nobody is.
func TestFight_IsSlowedAndLoggedOnce(t *testing.T) {
	var log lines
	inBubble(t, func(s *setup) { s.server.Log = slog.New(slog.NewTextHandler(io.MultiWriter(&log, t.Output()), nil)) }, func(b *bed) {
		begin := time.Now()
		p := b.connect(wire.V5, "twin")
		turn := func() time.Duration {
			t.Helper()
			from := time.Now()
			next := b.connect(wire.V5, "twin")
			p.dropped(wire.SessionTakenOver)
			p = next
			return time.Since(from)
		}
		for i := range 5 {
			if took := turn(); took != 0 {
				t.Errorf("turn %d takes %v", i+1, took)
			}
		}
		last := time.Duration(0)
		for i := range 20 {
			took := turn()
			if took < last || took < 50*time.Millisecond || took > 3*time.Second {
				t.Errorf("turn %d takes %v, the one before %v", i+6, took, last)
			}
			last = took
			from := time.Now()
			b.connect(wire.V5, fmt.Sprint("other", i))
			if time.Since(from) != 0 {
				t.Error("another client has to wait")
			}
		}
		if took := time.Since(begin); took < 40*time.Second {
			t.Errorf("25 turns took %v", took)
		}
		if n := log.count(fighting); n != 1 {
			t.Errorf("%d lines say that they fight", n)
		}
		time.Sleep(time.Minute)
		if took := turn(); took != 0 {
			t.Errorf("a minute later a client waits for %v", took)
		}
	})
}

// TestFight_WhoWouldWaitTooLongIsRefused, so that waiting connections do not add up.
func TestFight_WhoWouldWaitTooLongIsRefused(t *testing.T) {
	for v, want := range map[wire.Version]string{wire.V311: "CONNACK 0x03", wire.V5: "CONNACK 0x9f"} {
		inBubble(t, nil, func(b *bed) {
			for range 12 { // 0.05 to 3 s
				b.connect(v, "twin")
			}
			var refused int
			var all sync.WaitGroup
			var mu sync.Mutex
			for range 10 {
				p := b.dial(v)
				p.write(connect(v, "twin"))
				all.Go(func() {
					f, err := p.frame()
					if err == nil && describe(f, v) == want {
						mu.Lock()
						refused++
						mu.Unlock()
					}
					for err == nil { // what comes until it is taken over
						_, err = p.frame()
					}
				})
			}
			time.Sleep(7 * time.Second)
			b.connect(v, "twin")
			b.stop(errTestOver)
			all.Wait()
			if refused != 8 {
				t.Errorf("%s: %d of 10 are refused, want those beyond 6 seconds", v, refused)
			}
		})
	}
}

var errTestOver = errors.New("the test is over")
