//go:build unix

package listen

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// openRaw takes the socket of a TCP connection, as Reader.openRaw does.
func (c *fairConn) openRaw() {
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil { // else it is closed, and the first read says so
		c.raw, c.tryRead = raw, c.readFD
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
		Op: "read", Net: "tcp", Source: conn.LocalAddr(), Addr: conn.RemoteAddr(),
		Err: os.NewSyscallError("read", err),
	}
}
