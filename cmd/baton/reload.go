package main

import (
	"context"
	"log/slog"
	"os"
	"slices"
)

// reloadLoop reads the configuration again at each signal until ctx ends.
func reloadLoop(ctx context.Context, reload <-chan os.Signal, load func() (*Config, error), running *Config, d *doors, control *logControl, above *supervisor, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-reload:
		}
		done := above.reloading()
		reloadConfig(load, running, d, control, log)
		done()
	}
}

// reloadConfig reads the configuration again and applies the live settings: those of
// the log, and the limits. A configuration that is not valid changes nothing. The
// certificates are read again in either case.
func reloadConfig(load func() (*Config, error), running *Config, d *doors, control *logControl, log *slog.Logger) {
	_ = d.reload() // it has logged what came of it
	c, err := load()
	if err != nil {
		log.Warn("configuration not reloaded", slog.Any("err", err))
		return
	}
	if err := d.limit(c); err != nil {
		log.Warn("configuration not reloaded", slog.Any("err", err))
		return
	}
	control.apply(c)
	log.Info("configuration reloaded", slog.String("log_level", c.Log.Level), slog.Any("at_next_start", changed(running, c)))
}

// changed returns the keys whose new values wait for the next start.
func changed(running, c *Config) []string {
	keys := []string{}
	for _, s := range slices.Concat(c.settings(), running.settings()) { // a bridge may be in one alone
		if slices.Contains(keys, s.key) {
			continue
		}
		if !s.live && !slices.Equal(s.bind(running).texts(), s.bind(c).texts()) {
			keys = append(keys, s.key)
		}
	}
	return keys
}
