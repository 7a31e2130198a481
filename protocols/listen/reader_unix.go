//go:build unix

package listen

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// openRaw takes the socket below a connection. Anything else (TLS, a pipe)
// has no socket whose bytes are ours to take; for TLS see readOver.
func (r *Reader) openRaw() {
	if r.raw = rawOf(r.conn); r.raw != nil {
		r.tryRead = r.readFD
	}
}

// rawOf is the socket of a connection that has one, and is open.
func rawOf(conn net.Conn) syscall.RawConn {
	socket, ok := conn.(socketConn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil // closed already: the first plain read says so
	}
	return raw
}

// readFD is called with a socket that does not block: it reads once and returns
// true, or gives an empty buffer back and returns false to be called again when
// there is something to read.
func (r *Reader) readFD(fd uintptr) bool {
	r.makeRoom(r.need)
	for {
		n, err := syscall.Read(int(fd), r.buf.data[r.end:])
		switch {
		case n > 0:
			r.end += n
			return true
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			r.turn.waited()
			if r.end == 0 {
				r.Release()
			}
			return false
		case err != nil:
			r.err = readError(r.conn, err)
			return true
		default:
			r.err = io.EOF
			return true
		}
	}
}
