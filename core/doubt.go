package core

import (
	"context"
	"sync"
	"sync/atomic"
)

// doubt is whether another broker may have taken over from this one without its having noticed. What a client acknowledges may go out all
// the same: the other then delivers it again, marked. What it does not acknowledge would be given away twice, so it waits. While there
// is no doubt that costs one load.
type doubt struct {
	on    atomic.Bool
	stall stall // consumers that wait for its end

	mu   sync.Mutex
	over chan struct{} // closed when it is; nil while there is none
}

// Doubt begins or ends a doubt about whether this broker is still the one that serves. Until it ends nothing more goes out that no client
// acknowledges, but for what no queue keeps: a successor does not have that.
func (b *Broker) Doubt(on bool) {
	if d := &b.doubt; d.set(on) && !on {
		d.stall.wake(func(*Consumer) bool { return !d.on.Load() })
	}
}

// set reports whether on is news.
func (d *doubt) set(on bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.on.Load() == on {
		return false
	}
	d.on.Store(on)
	if on {
		d.over = make(chan struct{})
	} else {
		close(d.over)
		d.over = nil
	}
	return true
}

// spares reports whether c may be given something for good. If not, c is woken when it may.
func (d *doubt) spares(c *Consumer) bool {
	if !d.on.Load() {
		return true
	}
	d.stall.add(c)
	return !d.on.Load() // an end before c was listed woke nobody
}

// wait returns once there is no doubt, or ctx ends.
func (d *doubt) wait(ctx context.Context) error {
	for d.on.Load() {
		d.mu.Lock()
		over := d.over
		d.mu.Unlock()
		if over == nil {
			continue
		}
		select {
		case <-over:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
