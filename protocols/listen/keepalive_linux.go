package listen

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// listenConfig is how sockets are opened to listen. Here the connections that they accept inherit what is set on them: that saves four
// system calls for each, when a whole fleet comes back.
func listenConfig() net.ListenConfig {
	return net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		control := raw.Control(func(fd uintptr) { err = keepsAlive(int(fd)) })
		return errors.Join(control, err)
	}}
}

func keepsAlive(fd int) error {
	c := keepAlive()
	return errors.Join(
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, int(c.Idle/time.Second)),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, int(c.Interval/time.Second)),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, c.Count),
	)
}
