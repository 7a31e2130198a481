//go:build unix

package listen

import (
	"context"
	"net"
	"syscall"
	"testing"
)

func TestListener_SocketOptions(t *testing.T) {
	options := make(chan [2]int, 1)
	l := start(t, Options{Handler: func(_ context.Context, conn net.Conn) {
		var got [2]int
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) {
				got[0], _ = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_NODELAY)
				got[1], _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
			})
		}
		if err != nil {
			t.Error(err)
		}
		options <- got
	}})
	dial(t, l.Addrs()[0])
	if got := <-options; got[0] == 0 || got[1] == 0 {
		t.Errorf("TCP_NODELAY %d, SO_KEEPALIVE %d, want both on", got[0], got[1])
	}
}
