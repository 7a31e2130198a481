package main

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/protocols/http/api"
)

// lineSpan is the time in which lines are counted.
const lineSpan = 10 * time.Second

// A lineLimit bounds the lines that clients can have written: those that come and go as fast as they can must not fill the disk, nor
// take the processors for it. In each lineSpan so many lines of a kind are written, whatever comes first, and how many were left out is
// said at its end. One address leaves the last quarter to the others, or it could hide what they do.
//
// Only lines that name a peer count. What the broker says of itself is never left out, and neither are errors, which are the broker's
// own, administrative changes, and what was asked for by level debug.
type lineLimit struct {
	out  slog.Handler // hears of what was left out
	most atomic.Int64 // lines of a kind; 0: there is no limit

	mu    sync.Mutex
	until time.Time // the span's end; zero: none has begun
	kinds map[lineKind]*lineCount
	timer *time.Timer // ends the span; nil as long as nothing was left out
}

// A lineKind is told by its message, as messages are constant.
type lineKind struct {
	level   slog.Level
	message string
}

// lineCount is of one kind, in the span.
type lineCount struct {
	tally
	from map[string]*tally // by address: of those that have had a line written, so that there are not more of them than lines
}

type tally struct{ written, left int64 }

// limitLines returns a handler that keeps to a limit, which has still to be set.
func limitLines(to slog.Handler) (slog.Handler, *lineLimit) {
	l := &lineLimit{out: to, kinds: make(map[lineKind]*lineCount)}
	return &limitedHandler{Handler: to, limit: l}, l
}

// take reports whether a line may be written.
func (l *lineLimit) take(k lineKind, peer string) bool {
	most := l.most.Load()
	if most == 0 {
		return true
	}
	l.mu.Lock()
	now := time.Now()
	var before []slog.Record
	if now.After(l.until) {
		before = l.endLocked(now)
		l.until = now.Add(lineSpan)
	}
	may := l.countLocked(k, address(peer), most)
	if !may && l.timer == nil {
		l.timer = time.AfterFunc(l.until.Sub(now), l.flush)
	}
	l.mu.Unlock()
	l.say(before)
	return may
}

func (l *lineLimit) countLocked(k lineKind, from string, most int64) (may bool) {
	c := l.kinds[k]
	if c == nil {
		c = &lineCount{from: make(map[string]*tally)}
		l.kinds[k] = c
	}
	f := c.from[from]
	if c.written >= most || f != nil && f.written >= most-most/4 {
		c.left++
		if f != nil {
			f.left++
		}
		return false
	}
	if f == nil {
		f = new(tally)
		c.from[from] = f
	}
	c.written++
	f.written++
	return true
}

// flush ends the span, and says what was left out in it.
func (l *lineLimit) flush() {
	l.mu.Lock()
	left := l.endLocked(time.Now())
	l.until = time.Time{}
	l.mu.Unlock()
	l.say(left)
}

// endLocked returns what there is to say of the span.
func (l *lineLimit) endLocked(now time.Time) []slog.Record {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	var all []slog.Record
	for k, c := range l.kinds {
		if c.left > 0 {
			all = append(all, c.record(k, now))
		}
	}
	clear(l.kinds)
	return all
}

// record is the line that stands for those that were left out.
func (c *lineCount) record(k lineKind, now time.Time) slog.Record {
	r := slog.NewRecord(now, k.level, "lines left out", 0)
	r.AddAttrs(slog.String("like", k.message), slog.Int64("lines", c.left), slog.Duration("within", lineSpan))
	most := slices.MaxFunc(slices.Collect(maps.Keys(c.from)), func(a, b string) int { return cmp.Compare(c.from[a].left, c.from[b].left) })
	if n := c.from[most].left; n > 0 {
		r.AddAttrs(slog.String("most_from", most), slog.Int64("of_it", n))
	}
	return r
}

func (l *lineLimit) say(all []slog.Record) {
	for _, r := range all {
		_ = l.out.Handle(context.Background(), r) // as slog does with the error
	}
}

// address is what a peer's lines are counted under: as limits by address are, a /64 of IPv6.
func address(peer string) string {
	at, err := netip.ParseAddrPort(peer)
	if err != nil {
		return peer // no IP: a unix socket
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	return netip.PrefixFrom(ip, 64).Masked().String()
}

// limitedHandler leaves out the lines that a lineLimit does not let through.
type limitedHandler struct {
	slog.Handler

	limit *lineLimit
	peer  *string // that its attributes name; nil: none
}

// Handle implements slog.Handler.
func (h *limitedHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo || r.Level >= slog.LevelError || r.Message == api.AuditMessage {
		return h.Handler.Handle(ctx, r)
	}
	peer := h.peer
	r.Attrs(func(a slog.Attr) bool {
		if peer == nil {
			peer = peerOf(a)
		}
		return peer == nil
	})
	if peer != nil && !h.limit.take(lineKind{r.Level, r.Message}, *peer) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// peerOf is the peer that an attribute names: whose the connection is that a line is about.
func peerOf(a slog.Attr) *string {
	if a.Key != "conn" && a.Key != "peer" {
		return nil
	}
	text := a.Value.String()
	return &text
}

// WithAttrs implements slog.Handler.
func (h *limitedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	peer := h.peer
	for _, a := range attrs {
		if p := peerOf(a); p != nil {
			peer = p
		}
	}
	return &limitedHandler{h.Handler.WithAttrs(attrs), h.limit, peer}
}

// WithGroup implements slog.Handler.
func (h *limitedHandler) WithGroup(name string) slog.Handler {
	return &limitedHandler{h.Handler.WithGroup(name), h.limit, h.peer}
}
