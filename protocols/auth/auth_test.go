package auth

import (
	"net"
	"testing"
)

func tcpAddr(host string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(host), Port: 40000} }

func TestIsLocal(t *testing.T) {
	pipe, other := net.Pipe()
	t.Cleanup(func() { _ = pipe.Close(); _ = other.Close() })
	for _, tt := range []struct {
		name string
		addr net.Addr
		want bool
	}{
		{"IPv4 loopback", tcpAddr("127.0.0.1"), true},
		{"all of 127/8", tcpAddr("127.9.9.9"), true},
		{"IPv6 loopback", tcpAddr("::1"), true},
		{"IPv4 loopback mapped into IPv6", tcpAddr("::ffff:127.0.0.1"), true},
		{"a unix socket", &net.UnixAddr{Name: "/run/baton", Net: "unix"}, true},
		{"a pipe in the process", pipe.RemoteAddr(), true},
		{"another host", tcpAddr("192.0.2.1"), false},
		{"another host by IPv6", tcpAddr("2001:db8::1"), false},
		{"an unknown address", nil, false},
	} {
		if got := IsLocal(tt.addr); got != tt.want {
			t.Errorf("%s is local: %t", tt.name, got)
		}
	}
}
