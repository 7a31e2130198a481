package main

import (
	"io"
	"log/slog"
)

// newLogger writes to w as configured; its level can be changed while it is used.
func newLogger(w io.Writer, c *Config) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(c.logLevel())
	opt := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opt)), level
	}
	return slog.New(slog.NewTextHandler(w, opt)), level
}
