package mqtt

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/batonmq/baton/protocols/listen"
)

// A connection dozes while its client is silent, which most clients are nearly
// always. It has a goroutine then that waits for the socket and does nothing else:
// one that has just been started, because a stack that has grown once, for a login
// or for a packet, does not become small again. Everything that only a working
// reader needs is let go: its buffers, its context, its timer.
//
// What wakes it is a readable socket. So is one that was closed, one whose read
// deadline has come, which is that of the keep alive, and one that was interrupted.

// dozeAfter is how long a client has to be silent; twice that in the worst case. To
// doze and to wake up costs some microseconds, so that it must not happen for each
// message of those who send one now and then.
const dozeAfter = 5 * time.Second

// errSilent is what the reader meets when the connection may doze.
var errSilent = errors.New("the client is silent")

// wake makes the connection's goroutine its reader, and the context that it
// runs under.
func (c *conn) wake() context.Context {
	ctx, cancel := context.WithCancelCause(c.from.ctx)
	c.in = listen.NewReader(c.nc, int(c.sendMax))
	c.lifeMu.Lock()
	defer c.lifeMu.Unlock()
	c.cancel = cancel
	if c.reason != nil {
		cancel(c.reason)
	}
	c.deadlineLocked(time.Time{})
	return ctx
}

// rest lets go of what a reader needs. The connection may have been interrupted.
func (c *conn) rest() {
	c.alive.stop()
	c.in.Release()
	c.in = nil
	c.pub.rest()
	c.session.Rest()
	c.lifeMu.Lock()
	defer c.lifeMu.Unlock()
	c.cancel(nil)
	c.cancel = nil
	if c.alive.interval > 0 {
		c.deadlineLocked(time.Now().Add(c.alive.left(time.Since(c.srv.start))))
	}
}

// mayDoze reports whether a connection can wait without a buffer.
func mayDoze(nc net.Conn) bool {
	if ws, ok := nc.(*webSocket); ok {
		nc = ws.Conn
	}
	return listen.CanAwait(nc)
}

// isDrained reports whether a reader that has not waited for its socket may doze.
// TLS and WebSockets have buffers of their own.
func (c *conn) isDrained() bool {
	_, ok := c.nc.(syscall.Conn)
	return ok && c.dozes && len(c.in.Buffered()) == 0
}

// doze waits for the client, and then reads what it has to say.
func (c *conn) doze() {
	err := c.awaitSocket()
	c.work(err)
}

func (c *conn) awaitSocket() error {
	nc := c.nc
	if ws, ok := nc.(*webSocket); ok {
		if ws.pending() { // it came when the reader was nudged
			return nil
		}
		nc = ws.Conn
	}
	return listen.Await(nc)
}

// work is the reader of a connection that has dozed, until it does again or is
// over. waited is how the wait has ended; all but the deadline shows again.
func (c *conn) work(waited error) {
	ctx := c.wake()
	if errors.Is(waited, os.ErrDeadlineExceeded) && c.alive.interval > 0 && c.alive.left(time.Since(c.srv.start)) <= 0 {
		c.interrupt(c.alive.over()) // if it is not already, for another reason
	}
	c.alive.watch(c)
	c.read(ctx)
}

// read reads packets until the connection dozes or is over.
func (c *conn) read(ctx context.Context) {
	if err := c.run(ctx); !errors.Is(err, errSilent) {
		c.finish(err)
		return
	}
	c.rest()
	go c.doze() // it ends as every reader does: by finish, which the listener waits for
}

// nudge makes the reader doze if it waits for a packet. A deadline in the past ends
// its wait; it must not meet one that reads a payload.
func (c *conn) nudge() {
	c.lifeMu.Lock()
	defer c.lifeMu.Unlock()
	if c.reason == nil && !c.leaving && c.alive.waits.CompareAndSwap(waitsForPacket, waitsInVain) {
		c.deadlineLocked(time.Unix(1, 0))
	}
}

// nudged is what has become of a wait that was nudged: err, or errSilent if nothing
// has come.
func (c *conn) nudged(err error) error {
	c.lifeMu.Lock()
	defer c.lifeMu.Unlock()
	c.deadlineLocked(time.Time{})
	if c.reason == nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return errSilent
	}
	return err
}

// deadlineLocked sets the read deadline, unless the connection was interrupted: then
// it stays in the past. It fails only on a closed connection, as the next read does.
func (c *conn) deadlineLocked(t time.Time) {
	if c.reason == nil {
		_ = c.nc.SetReadDeadline(t)
	}
}
