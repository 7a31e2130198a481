//go:build unix

package listen

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
)

// transport returns the connection for TLS to be put on, with so many bytes for
// the handshake.
func transport(conn net.Conn, handshake int) net.Conn {
	in := inlet{Conn: conn, left: handshake}
	raw := rawOf(conn)
	if raw == nil {
		return &in
	}
	s := &socket{inlet: in, raw: raw}
	s.tryRead, s.tryWait = s.readFD, s.waitFD
	return s
}

// below returns what is below TLS.
func below(conn net.Conn) waiter {
	if secure, ok := conn.(*tls.Conn); ok {
		if s, ok := secure.NetConn().(*socket); ok {
			return s
		}
	}
	return nil
}

// A socket is a connection whose reads can be told not to wait.
type socket struct {
	inlet // around the connection

	raw syscall.RawConn

	// All below belongs to the goroutine that reads. tryRead and tryWait are
	// callbacks, made once because a method value allocates; the rest are their
	// arguments and results.
	tryRead, tryWait func(fd uintptr) bool
	instant          bool
	waited           bool
	p                []byte
	n                int
	err              error
}

var _ waiter = (*socket)(nil)

func (s *socket) setInstant(on bool) { s.instant = on }

func (s *socket) Read(p []byte) (int, error) {
	if !s.instant || len(p) == 0 || pending(s.Conn) {
		return s.inlet.Read(p)
	}
	s.p, s.n, s.err = p, 0, nil
	err := s.raw.Read(s.tryRead)
	s.p = nil
	if err != nil {
		return 0, err // the deadline, or closed
	}
	return s.n, s.err
}

// readFD reads once, and never asks to be called again.
func (s *socket) readFD(fd uintptr) bool {
	for {
		n, err := syscall.Read(int(fd), s.p)
		switch {
		case n > 0:
			s.n = n
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			s.err = errNothingYet
		case err != nil:
			s.err = readError(s.Conn, err)
		default:
			s.err = io.EOF
		}
		return true
	}
}

func (s *socket) wait() error {
	s.waited = false
	return s.raw.Read(s.tryWait)
}

// waitFD looks before it asks to be called again: what arrived between the read
// that found nothing and this wait is not announced a second time.
func (s *socket) waitFD(fd uintptr) bool {
	if s.waited {
		return true
	}
	s.waited = true
	var b [1]byte
	for {
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		if !errors.Is(err, syscall.EINTR) {
			return !errors.Is(err, syscall.EAGAIN) // an error is for the next read to tell
		}
	}
}
