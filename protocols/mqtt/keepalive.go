package mqtt

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// keepAlive ends the connection of a client that says nothing for one and a
// half times its keep alive [MQTT-3.1.2-22], and finds the ones that may doze. To say
// something takes a whole packet: one that never ends is no sign of life. It is a
// timer that looks when it is due at the earliest; nothing is done per packet but to
// note, for the first one of each read, when that was. A connection that dozes has no
// timer: its read deadline is when the keep alive is over.
type keepAlive struct {
	interval time.Duration // as agreed on in the handshake; 0: none (section 3.1.2.10)

	read  time.Duration // when bytes came last, since Server.start; 0 if they are accounted for; owned by the reader
	heard atomic.Int64  // when a packet was complete last, since Server.start
	waits atomic.Int32  // what for, see below
	busy  atomic.Bool   // the reader was found waiting for the broker, and has not turned to the client since

	mu    sync.Mutex
	timer *time.Timer // nil when there is none, or stopped
	seen  int64       // heard at the last look
}

// What the reader waits for.
const (
	waitsForBroker int32 = iota
	waitsForRest         // of a packet
	waitsForPacket       // nothing is buffered
	waitsInVain          // for a packet, and was told to doze instead
)

// waiting reports whether the reader waits for the client, not for the broker.
func (k *keepAlive) waiting() bool { return k.waits.Load() != waitsForBroker }

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

// begin notes that the client has just spoken for the first time.
func (k *keepAlive) begin(start time.Time) { k.heard.Store(int64(time.Since(start))) }

// limit is for how long the client may say nothing; 0: for ever.
func (k *keepAlive) limit() time.Duration { return k.interval + k.interval/2 }

// left is how long the client may go on saying nothing.
func (k *keepAlive) left(now time.Duration) time.Duration {
	return k.limit() - (now - time.Duration(k.heard.Load()))
}

// watch begins to look.
func (k *keepAlive) watch(c *conn) {
	next := k.next(c, time.Since(c.srv.start))
	if next == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen = k.heard.Load()
	k.timer = time.AfterFunc(next, func() { k.look(c) })
}

// next is how long it takes until there can be something to see; 0: there never is.
func (k *keepAlive) next(c *conn, now time.Duration) time.Duration {
	switch left := max(k.left(now), 1); {
	case !c.dozes && k.interval == 0:
		return 0
	case !c.dozes:
		return left
	case k.interval == 0:
		return c.srv.silence
	default:
		return min(left, c.srv.silence)
	}
}

func (k *keepAlive) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
}

func (k *keepAlive) look(c *conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.timer == nil {
		return
	}
	now := time.Since(c.srv.start)
	overdue := k.interval > 0 && k.left(now) <= 0
	switch heard := k.heard.Load(); {
	case overdue && k.waiting():
		c.interrupt(k.over())
		return
	case overdue:
		// A reader that waits for the broker (disk, memory) leaves the client's
		// packets unread; that is no fault of the client.
		k.heard.Store(int64(now))
		k.busy.Store(true)
	case c.dozes && heard == k.seen:
		c.nudge()
	default:
		k.seen = heard
	}
	k.timer.Reset(k.next(c, now))
}

// over is the end of a connection whose client was silent for too long.
func (k *keepAlive) over() error {
	return wire.Errorf(wire.KeepAliveTimeout, "no packet was received for %v", k.limit())
}
