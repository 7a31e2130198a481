//go:build unix

package listen

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// openRaw takes the socket of a connection, as Reader.openRaw does.
func (c *fairConn) openRaw() {
	if c.raw = rawOf(c.Conn); c.raw != nil {
		c.tryRead = c.readFD
	}
}

// readFD is called with a socket that does not block: it reads once and returns
// true, or false to be called again when there is something to read.
func (c *fairConn) readFD(fd uintptr) bool {
	for {
		n, err := syscall.Read(int(fd), c.p)
		switch {
		case n > 0:
			c.n = n
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			c.turn.waited()
			return false
		case err != nil:
			c.err = readError(c.Conn, err)
		default:
			c.err = io.EOF
		}
		return true
	}
}

// readError is what net makes of the error of a read.
func readError(conn net.Conn, err error) error {
	return &net.OpError{
		Op: "read", Net: conn.LocalAddr().Network(), Source: conn.LocalAddr(), Addr: conn.RemoteAddr(),
		Err: os.NewSyscallError("read", err),
	}
}
