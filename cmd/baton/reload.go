package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/batonmq/baton/protocols/http/api"
	"github.com/batonmq/baton/protocols/listen"
)

// liveSettings is all of a configuration that a process which runs can change. What puts it in force sees nothing else of a Config, so
// that the table of settings says live of what is in here and of nothing besides: a test holds it to that.
type liveSettings struct {
	logLevel       slog.Level
	clientLines    int
	rate           listen.RateOptions
	maxConnections int
	client         clientRates
	memory         amount // watermark
}

// live is that part of a configuration.
func (c *Config) live() liveSettings {
	return liveSettings{
		logLevel: c.logLevel(), clientLines: c.Log.ClientLines, rate: c.rateOptions(), maxConnections: c.Limits.MaxConnections,
		client: clientRates{messages: c.Limits.ClientMessageRate, bytes: float64(c.Limits.ClientByteRate)},
		memory: c.Memory.Watermark,
	}
}

// A reloader knows which configuration is in force, and puts another one in force as far as a process that runs can.
type reloader struct {
	load    func() (*Config, error) // reads it from where the process has it
	doors   *doors
	control *logControl
	above   *supervisor // is told that a reload is under way
	log     *slog.Logger

	inForce atomic.Pointer[Config] // changes under mu

	mu     sync.Mutex   // one reload at a time
	memory *memoryWatch // nil before there is one
}

// watches has reloads set the watermark of w.
func (r *reloader) watches(w *memoryWatch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.memory = w
	w.configure(r.inForce.Load().Memory.Watermark)
}

// loop reloads at each signal until ctx ends.
func (r *reloader) loop(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		changes, err := r.reload(false)
		if err != nil {
			r.log.Warn("configuration not reloaded", slog.Any("err", err))
			continue
		}
		now, later := []string{}, []string{}
		for i := range changes {
			if changes[i].Acts == actsNow {
				now = append(now, changes[i].Key)
			} else {
				later = append(later, changes[i].Key)
			}
		}
		r.log.Info("configuration reloaded", slog.Any("applied", now), slog.Any("at_next_start", later))
	}
}

// reload reads the configuration again, and returns what has changed in it. With dry that is all; otherwise what can change while the
// process runs is in force when it returns. A configuration that is not valid, or names a file that cannot be read, changes nothing. The
// certificates are read again in either case: they have changed, as a rule, where the settings have not.
func (r *reloader) reload(dry bool) ([]api.SettingChange, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !dry {
		defer r.above.reloading()()
		_ = r.doors.reload() // it has logged what came of it
	}
	c, err := r.load()
	if err != nil {
		return nil, err
	}
	if err := c.checkFiles(); err != nil {
		return nil, err
	}
	running := r.inForce.Load()
	next := running.withLive(c)
	if err := next.complete(); err != nil {
		return nil, fmt.Errorf("with the settings that wait for the next start: %w", err)
	}
	changes := changed(running, c)
	if dry {
		return changes, nil
	}
	if err := r.apply(next); err != nil {
		return nil, err
	}
	return changes, nil
}

// take puts a configuration in force as a whole: this node becomes the primary with it.
func (r *reloader) take(c *Config) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.apply(c)
}

// apply puts what is live of a configuration in force. What may be refused comes first. r.mu is held.
func (r *reloader) apply(c *Config) error {
	l := c.live()
	if err := r.doors.limit(&l); err != nil {
		return err
	}
	r.control.apply(&l)
	if r.memory != nil {
		r.memory.configure(l.memory)
	}
	r.inForce.Store(c)
	return nil
}

// withLive is c with what is live of another configuration. Neither is changed: settings replace what they point to.
func (c *Config) withLive(from *Config) *Config {
	next := *c
	next.origin = maps.Clone(c.origin)
	for _, s := range settings() {
		if s.live {
			_ = s.bind(&next).set(s.bind(from).texts()) // they were accepted before
			next.origin[s.key] = from.origin[s.key]
		}
	}
	return &next
}

// When a setting that has changed acts.
const (
	actsNow        = "now"
	actsAtTakeover = "takeover" // when this node becomes the primary the next time, or at its next start
	actsAtStart    = "start"
)

func (s *setting) acts() string {
	switch {
	case s.live:
		return actsNow
	case s.held:
		return actsAtStart
	}
	return actsAtTakeover
}

// changed returns the settings that differ, in the order of the table.
func changed(running, c *Config) []api.SettingChange {
	all, seen := []api.SettingChange{}, map[string]bool{}
	for _, s := range slices.Concat(c.settings(), running.settings()) { // a bridge may be in one alone
		if seen[s.key] || slices.Equal(s.bind(running).texts(), s.bind(c).texts()) {
			continue
		}
		seen[s.key] = true
		all = append(all, api.SettingChange{
			Key: s.key, Old: strings.Join(s.shown(running), ", "), New: strings.Join(s.shown(c), ", "), From: c.origin[s.key], Acts: s.acts(),
		})
	}
	return all
}
