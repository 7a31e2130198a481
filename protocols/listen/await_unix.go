//go:build unix

package listen

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// CanAwait reports whether [Await] works: for sockets, and TLS over one, on unix
// systems.
func CanAwait(conn net.Conn) bool {
	_, ok := conn.(socketConn)
	return ok || below(conn) != nil
}

func awaitSocket(conn net.Conn) error {
	raw := rawOf(conn)
	if raw == nil {
		return nil // closed already: the next read says so
	}
	var w readiness
	return raw.Read(w.look)
}

// readiness is asked before a wait, and after each.
type readiness struct{ waited bool }

// look reports whether there is no need to wait, or no more. What has arrived
// before the first wait is not announced a second time, so that it is looked for.
func (w *readiness) look(fd uintptr) bool {
	if w.waited {
		return true
	}
	w.waited = true
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(ready, 0)
		if !errors.Is(err, unix.EINTR) {
			return n != 0 // an error is for the next read to tell
		}
	}
}
