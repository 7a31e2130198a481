package mqtt

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// keepAlive ends the connection of a client that says nothing for one and a
// half times its keep alive [MQTT-3.1.2-22]. To say something takes a whole
// packet: one that never ends is no sign of life. It is a timer that looks when
// it is due at the earliest; nothing is done per packet but to note, for the
// first one of each read, when that was.
type keepAlive struct {
	read    time.Duration // when bytes came last, since Server.start; 0 if they are accounted for; owned by the reader
	heard   atomic.Int64  // when a packet was complete last, since Server.start
	waiting atomic.Bool   // the reader waits for the client, not for the broker
	busy    atomic.Bool   // it was found waiting for the broker, and has not turned to the client since

	mu    sync.Mutex
	timer *time.Timer // nil when there is none, or stopped
}

// whole notes that the reader has a whole packet.
func (k *keepAlive) whole() {
	if k.read != 0 {
		k.heard.Store(int64(k.read))
		k.read = 0
	}
}

// excuse notes that the reader turns to the client again after it was seen waiting for the broker: that time does not count.
func (k *keepAlive) excuse(start time.Time) {
	k.busy.Store(false)
	k.heard.Store(int64(time.Since(start)))
}

// start begins to watch for a keep alive that is not zero.
func (k *keepAlive) start(ctx context.Context, c *conn, interval time.Duration) {
	if interval == 0 { // section 3.1.2.10: turned off
		return
	}
	k.heard.Store(int64(time.Since(c.srv.start)))
	k.mu.Lock()
	defer k.mu.Unlock()
	limit := interval + interval/2
	k.timer = time.AfterFunc(limit, func() { k.look(ctx, c, limit) })
}

func (k *keepAlive) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
}

func (k *keepAlive) look(ctx context.Context, c *conn, limit time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.timer == nil || ctx.Err() != nil {
		return
	}
	now := time.Since(c.srv.start)
	if !k.waiting.Load() {
		// A reader that waits for the broker (disk, memory) leaves the client's
		// packets unread; that is no fault of the client.
		k.heard.Store(int64(now))
		k.busy.Store(true)
	}
	left := limit - (now - time.Duration(k.heard.Load()))
	if left <= 0 {
		c.interrupt(wire.Errorf(wire.KeepAliveTimeout, "no packet was received for %v", limit))
		return
	}
	k.timer.Reset(left)
}
