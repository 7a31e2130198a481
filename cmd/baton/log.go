package main

import (
	"io"
	"log/slog"
)

// A logControl is what of the log can be changed while it is written.
type logControl struct {
	level slog.LevelVar
	limit *lineLimit
}

// newLogger writes to w as configured.
func newLogger(w io.Writer, c *Config) (*slog.Logger, *logControl) {
	control := new(logControl)
	opt := &slog.HandlerOptions{Level: &control.level}
	var h slog.Handler = slog.NewTextHandler(w, opt)
	if c.Log.Format == "json" {
		h = slog.NewJSONHandler(w, opt)
	}
	h, control.limit = limitLines(h)
	live := c.live()
	control.apply(&live)
	return slog.New(h), control
}

// apply takes the live settings.
func (l *logControl) apply(s *liveSettings) {
	l.level.Set(s.logLevel)
	l.limit.most.Store(int64(s.clientLines))
}
