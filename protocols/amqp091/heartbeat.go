package amqp091

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/outbox"
)

// heart sends heartbeats and listens for the client's (section 4.2.7). It is a
// timer that looks, every half interval, whether anything moved since; nothing
// is noted per frame but the byte counters that exist anyway.
type heart struct {
	interval time.Duration // as negotiated; zero for none

	mu      sync.Mutex
	timer   *time.Timer // nil when stopped
	written uint64      // at the last look
	read    uint64
	silent  int // looks in a row that found nothing read
}

// missedLooks is two intervals: half an interval more, or less, is the price of
// looking twice per interval.
const missedLooks = 4

func (h *heart) start(ctx context.Context, c *conn) {
	if h.interval == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.timer = time.AfterFunc(h.interval/2, func() { h.look(ctx, c) })
}

func (h *heart) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
}

func (h *heart) look(ctx context.Context, c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer == nil || ctx.Err() != nil {
		return
	}
	h.timer.Reset(h.interval / 2)

	// Where bytes wait to be written, a heartbeat behind them proves nothing.
	if n := c.out.Written(); n == h.written && c.out.Size() == 0 {
		c.out.Append(func(b *outbox.Buffer) { b.B = wire.AppendHeartbeat(b.B) })
		h.written = n + wire.FrameOverhead // a heartbeat is all overhead
	} else {
		h.written = n
	}
	// A reader that waits for the broker (disk, memory) leaves the client's
	// heartbeats unread; that is no fault of the client.
	if n := c.count.bytesRead.Load(); n != h.read || !c.reading.Load() {
		h.read, h.silent = n, 0
		return
	}
	if h.silent++; h.silent >= missedLooks {
		c.interrupt(fmt.Errorf("%w, timeout: %v", errMissedHeartbeats, h.interval))
	}
}
