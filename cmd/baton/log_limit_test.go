package main

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/protocols/http/api"
)

// A readLog is a log that is read piece by piece.
type readLog struct {
	logLines
	read int
}

func newReadLog() *readLog {
	r := new(readLog)
	r.cond = sync.NewCond(&r.mu)
	return r
}

// next returns what was written since the last time.
func (r *readLog) next() string {
	synctest.Wait()
	text := r.String()[r.read:]
	r.read += len(text)
	return text
}

// limitedLog runs the script with a log of which clients get so many lines.
func limitedLog(t *testing.T, lines int, script func(log *slog.Logger, out *readLog, c *logControl)) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		out := newReadLog()
		var cfg Config
		cfg.Log.ClientLines = lines
		log, control := newLogger(out, &cfg)
		script(log, out, control)
		control.limit.flush()
	})
}

// connected logs n lines about connections of an address, each from a port of its own.
func connected(log *slog.Logger, address string, n int) {
	for i := range n {
		log.With(slog.String("conn", fmt.Sprintf("%s:%d", address, 1000+i))).Info("connection opened")
	}
}

func TestLineLimit_WritesTheFirstAndCountsTheOthers(t *testing.T) {
	limitedLog(t, 8, func(log *slog.Logger, out *readLog, _ *logControl) {
		connected(log, "10.0.0.1", 100)
		got := out.next()
		if n := strings.Count(got, `msg="connection opened" conn=10.0.0.1:`); n != 6 || strings.Count(got, "\n") != 6 {
			t.Errorf("%d lines, want 6, three quarters:\n%s", n, got)
		}
		if !strings.Contains(got, "conn=10.0.0.1:1000") {
			t.Errorf("the first line is not among them:\n%s", got)
		}
		time.Sleep(lineSpan - time.Millisecond)
		if got := out.next(); got != "" {
			t.Errorf("within the span: %s", got)
		}
		time.Sleep(2 * time.Millisecond)
		if got, want := out.next(), `msg="lines left out" like="connection opened" lines=94 within=10s most_from=10.0.0.1 of_it=94`; !strings.Contains(got, want) {
			t.Errorf("said %q, want %q", got, want)
		}
		connected(log, "10.0.0.1", 6)
		if n := strings.Count(out.next(), "connection opened"); n != 6 {
			t.Errorf("in the next span %d lines, want 6", n)
		}
		time.Sleep(2 * lineSpan)
		if got := out.next(); got != "" {
			t.Errorf("of a span in which nothing was left out: %s", got)
		}
	})
}

func TestLineLimit_OneAddressLeavesTheOthersAQuarter(t *testing.T) {
	for _, tt := range []struct{ loud, other string }{
		{"10.0.0.1", "10.0.0.2"},
		{"[2001:db8::1]", "[2001:db8:0:1::1]"},
	} {
		limitedLog(t, 8, func(log *slog.Logger, out *readLog, _ *logControl) {
			connected(log, tt.loud, 1000)
			connected(log, tt.other, 3)
			if got := out.next(); strings.Count(got, tt.loud+":") != 6 || strings.Count(got, tt.other+":") != 2 {
				t.Errorf("want 6 lines of %s and 2 of %s:\n%s", tt.loud, tt.other, got)
			}
			time.Sleep(lineSpan + time.Millisecond)
			if got := out.next(); !strings.Contains(got, "lines=995 ") || !strings.Contains(got, "of_it=994") {
				t.Errorf("said %q, want lines=995 and 994 of it from one address", got)
			}
		})
	}
	t.Run("addresses of one /64 are one", func(t *testing.T) {
		limitedLog(t, 4, func(log *slog.Logger, out *readLog, _ *logControl) {
			for i := range 100 {
				connected(log, fmt.Sprintf("[2001:db8::%x]", i+1), 1)
			}
			if n := strings.Count(out.next(), "connection opened"); n != 3 {
				t.Errorf("%d lines, want 3", n)
			}
		})
	})
}

func TestLineLimit_LeavesOutNothingElse(t *testing.T) {
	const change = api.AuditMessage
	limitedLog(t, 1, func(log *slog.Logger, out *readLog, _ *logControl) {
		peer := slog.String("peer", "10.0.0.1:1000")
		for name, write := range map[string]func(){
			"what the broker says of itself": func() { log.Warn("memory alarm", slog.Int64("used", 1)) },
			"an error":                       func() { log.Error("the store has failed", peer) },
			"an administrative change":       func() { log.Warn(change, peer) },
			"a kind that nothing was logged of, once": func() {
				log.Info("login failed", peer)
			},
		} {
			n := 50
			if strings.HasSuffix(name, "once") {
				n = 1
			}
			for range n {
				write()
			}
			if got := strings.Count(out.next(), "msg="); got != n {
				t.Errorf("%s: %d lines of %d", name, got, n)
			}
		}
	})
}

func TestLineLimit_TellsKindsApartByMessageAndLevel(t *testing.T) {
	limitedLog(t, 1, func(log *slog.Logger, out *readLog, _ *logControl) {
		peer := slog.String("peer", "10.0.0.1:1000")
		for range 10 {
			log.Info("connection closed", peer)
			log.Warn("connection closed", peer)
			log.Info("connection opened", peer)
		}
		if n := strings.Count(out.next(), "msg="); n != 3 {
			t.Errorf("%d lines, want one of each kind", n)
		}
		time.Sleep(lineSpan + time.Millisecond)
		if n := strings.Count(out.next(), "lines=9 "); n != 3 {
			t.Errorf("%d kinds are told of, want 3", n)
		}
	})
}

func TestLineLimit_IsChangedWhileTheLogIsWritten(t *testing.T) {
	limitedLog(t, 1, func(log *slog.Logger, out *readLog, c *logControl) {
		var cfg Config
		live := cfg.live()
		c.apply(&live)
		connected(log, "10.0.0.1", 100)
		if n := strings.Count(out.next(), "connection opened"); n != 100 {
			t.Errorf("without a limit %d lines of 100", n)
		}
		cfg.Log.ClientLines = 4
		live = cfg.live()
		c.apply(&live)
		connected(log, "10.0.0.1", 100)
		if n := strings.Count(out.next(), "connection opened"); n != 3 {
			t.Errorf("with a limit again %d lines, want 3", n)
		}
	})
}

func TestLineLimit_SaysAtTheEndOfTheProcessWhatWasLeftOut(t *testing.T) {
	limitedLog(t, 4, func(log *slog.Logger, out *readLog, c *logControl) {
		connected(log, "10.0.0.1", 10)
		_ = out.next()
		c.limit.flush()
		if got := out.next(); !strings.Contains(got, "lines=7 ") {
			t.Errorf("said %q, want lines=7", got)
		}
	})
}
