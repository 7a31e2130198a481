package listen

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"syscall"
	"time"
)

// Pauses of an accept loop that fails: doubled from the first to the last.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// acceptLoop accepts until the listener is closed. An error is retried after a
// pause, since nearly all of them are about the new connection or about
// resources that other connections hold and will give back. Handlers get ctx.
//
// Where many connect at once it gives way after each, to its handler and to those
// connections whose sockets are ready: a thousand handlers that begin together
// would make all others wait for a thousand beginnings.
func (l *Listener) acceptLoop(ctx context.Context, ln net.Listener) {
	_, socket := ln.(syscall.Conn)
	var pause time.Duration // zero while accepting works
	for {
		begun := time.Now()
		conn, err := ln.Accept()
		switch {
		case err == nil:
			if pause != 0 {
				pause = 0
				l.log.Info("accepting connections again", slog.String("addr", ln.Addr().String()))
			}
			l.serve(ctx, conn)
			if socket && time.Since(begun) < quantum {
				arrivals.pass()
			}
			continue
		case errors.Is(err, net.ErrClosed):
			return
		case aborted(err):
			continue // the peer's doing, and gone from the queue
		case broken(err):
			l.fail(ln, err)
			return
		}
		if pause == 0 { // once per episode
			pause = minAcceptPause
			l.log.Error("cannot accept connections, retrying",
				slog.String("addr", ln.Addr().String()), slog.Any("err", err))
		} else {
			pause = min(2*pause, maxAcceptPause)
		}
		if !l.sleep(pause) {
			return
		}
	}
}

// sleep waits for d and reports whether the listener is still open.
func (l *Listener) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.stop:
		return false
	}
}

func (l *Listener) fail(ln net.Listener, err error) {
	select {
	case l.failed <- &AddressError{Name: l.opt.Name, Addr: ln.Addr().String(), Err: err}:
	default: // another loop of this listener has failed before
	}
}

// aborted reports a connection that its peer gave up while it was queued.
func aborted(err error) bool {
	return errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.ECONNRESET)
}

// broken reports an error of the listening socket itself, which no waiting mends.
func broken(err error) bool {
	return errors.Is(err, syscall.EBADF) || errors.Is(err, syscall.ENOTSOCK) || errors.Is(err, syscall.EINVAL)
}
