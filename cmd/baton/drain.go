package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/http/api"
)

// drainTick is how often some connections are ended.
const drainTick = 50 * time.Millisecond

// A drain is a broker's maintenance: clients are kept out, and the connections that they have end, some at a time, so that those which come
// back elsewhere do not do so all at once. It is over with the tenure.
type drain struct {
	broker    *core.Broker
	successor func() bool // a node would take over
	log       *slog.Logger

	mu     sync.Mutex
	over   bool               // the tenure is
	since  time.Time          // zero: there is no maintenance
	cancel context.CancelFunc // of the ending; nil: none was begun
	ending sync.WaitGroup
	ends   bool // connections are being ended
}

func newDrain(broker *core.Broker, successor func() bool, log *slog.Logger) *drain {
	return &drain{broker: broker, successor: successor, log: log}
}

// order begins or ends a maintenance. Another order while one holds says anew what becomes of the connections.
func (d *drain) order(o api.MaintenanceOrder) error {
	if o.On && !o.Here && d.successor() {
		return api.ErrSuccessor
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return errors.New("this node does not serve any more")
	}
	d.stopLocked()
	d.broker.SetMaintenance(o.On)
	if !o.On {
		if !d.since.IsZero() {
			d.log.Info("maintenance is over", slog.Duration("after", time.Since(d.since)))
		}
		d.since = time.Time{}
		return nil
	}
	all := d.broker.Clients()
	if d.since.IsZero() {
		d.since = time.Now()
		d.log.Warn("maintenance: no connections are taken", slog.Int("connections", len(all)), slog.Bool("keep", o.Keep))
	}
	if o.Keep {
		return nil
	}
	each := len(all)
	if o.Rate > 0 {
		each = max(1, o.Rate/int(time.Second/drainTick))
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel, d.ends = cancel, true
	d.ending.Go(func() { d.end(ctx, all, each, pause(o.Rate)) })
	return nil
}

// pause is the time between two lots: longer than a tick where less than one connection is ended in that.
func pause(rate int) time.Duration {
	if rate <= 0 {
		return drainTick
	}
	return max(drainTick, time.Second/time.Duration(rate))
}

// errMaintenance is what those are told who are inside.
func errMaintenance(s *core.Session) error {
	return &core.Error{Kind: core.Closing, Op: "close", Name: "connection " + s.Name(), Text: "the broker is in maintenance"}
}

// end ends so many at a time, until ctx does.
func (d *drain) end(ctx context.Context, all []*core.Session, each int, every time.Duration) {
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if ctx.Err() == nil {
			d.ends = false
		}
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for len(all) > 0 {
		n := min(each, len(all))
		for _, s := range all[:n] {
			s.End(errMaintenance(s))
		}
		if all = all[n:]; len(all) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// stopLocked leaves the connections that are left.
func (d *drain) stopLocked() {
	if d.cancel != nil {
		d.cancel()
		d.cancel = nil
	}
	d.ends = false
}

// state is how it is now.
func (d *drain) state() api.MaintenanceState {
	d.mu.Lock()
	defer d.mu.Unlock()
	return api.MaintenanceState{On: d.broker.InMaintenance(), Since: d.since, Ending: d.ends, Connections: len(d.broker.Clients())}
}

// Close ends it with the tenure.
func (d *drain) Close() {
	d.mu.Lock()
	d.stopLocked()
	d.over = true
	d.mu.Unlock()
	d.ending.Wait()
}
