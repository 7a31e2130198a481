package main

import (
	"log/slog"
	"time"

	"github.com/batonmq/baton/ha"
)

// takeover is how long the parts of a start took, from the look that showed the
// last holder gone to open addresses. Those before begin are known to package ha.
type takeover struct {
	begin time.Time // of active
	laps  time.Duration

	before             ha.Takeover
	seal, open, listen time.Duration
}

// lap sets part to the time since the lap before.
func (t *takeover) lap(part *time.Duration) {
	*part = time.Since(t.begin) - t.laps
	t.laps += *part
}

// total is the time from the look to open addresses.
func (t *takeover) total() time.Duration {
	return t.before.Stop + t.before.Claim + t.before.Mark + t.laps
}

// phases are the parts by name; none of a takeover that has not been.
func (t *takeover) phases() map[string]time.Duration {
	if t == nil {
		return nil
	}
	return map[string]time.Duration{
		"stop": t.before.Stop, "claim": t.before.Claim, "mark": t.before.Mark,
		"seal": t.seal, "open": t.open - t.before.Activate, "activate": t.before.Activate, "listen": t.listen, "total": t.total(),
	}
}

// tookOver tells how this node became the primary.
func (n *node) tookOver(t *ha.Tenure, took *takeover) {
	took.before = t.Takeover()
	n.took.Store(took)
	if !n.boot.HA.Enabled {
		return
	}
	n.log.Info("took over",
		slog.Uint64("epoch", t.Epoch()), slog.String("why", took.before.Why),
		slog.Duration("stop", took.before.Stop), slog.Duration("claim", took.before.Claim), slog.Duration("mark", took.before.Mark),
		slog.Duration("seal", took.seal), slog.Duration("open", took.open-took.before.Activate),
		slog.Duration("activate", took.before.Activate), slog.Duration("listen", took.listen), slog.Duration("total", took.total()))
}
