package auth

import (
	"errors"
	"net"
	"strings"
	"testing"
)

func tcpAddr(host string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(host), Port: 40000} }

func TestStatic(t *testing.T) {
	pipe, other := net.Pipe()
	t.Cleanup(func() { _ = pipe.Close(); _ = other.Close() })
	configured := StaticOptions{Username: "app", Password: "s3cret"}
	for _, tt := range []struct {
		name               string
		opt                StaticOptions
		username, password string
		from               net.Addr
		err                error
	}{
		{name: "default user from IPv4 loopback", username: "guest", password: "guest", from: tcpAddr("127.0.0.1")},
		{name: "default user from all of 127/8", username: "guest", password: "guest", from: tcpAddr("127.9.9.9")},
		{name: "default user from IPv6 loopback", username: "guest", password: "guest", from: tcpAddr("::1")},
		{name: "default user from IPv4 loopback mapped into IPv6", username: "guest", password: "guest", from: tcpAddr("::ffff:127.0.0.1")},
		{name: "default user from a unix socket", username: "guest", password: "guest", from: &net.UnixAddr{Name: "/run/baton", Net: "unix"}},
		{name: "default user from a pipe in the process", username: "guest", password: "guest", from: pipe.RemoteAddr()},
		{name: "default user from another host", username: "guest", password: "guest", from: tcpAddr("192.0.2.1"), err: ErrNotLoopback},
		{name: "default user from an unknown address", username: "guest", password: "guest", err: ErrNotLoopback},
		{name: "wrong password", username: "guest", password: "Guest", from: tcpAddr("127.0.0.1"), err: ErrBadCredentials},
		{name: "wrong password from another host", username: "guest", password: "x", from: tcpAddr("192.0.2.1"), err: ErrBadCredentials},
		{name: "wrong user", username: "root", password: "guest", from: tcpAddr("127.0.0.1"), err: ErrBadCredentials},
		{name: "nothing", from: tcpAddr("127.0.0.1"), err: ErrBadCredentials},
		{name: "configured user from another host", opt: configured, username: "app", password: "s3cret", from: tcpAddr("192.0.2.1")},
		{name: "configured user replaces the default", opt: configured, username: "guest", password: "guest", from: tcpAddr("127.0.0.1"), err: ErrBadCredentials},
		{
			name: "guest configured by name is not limited to loopback", opt: StaticOptions{Username: "guest", Password: "x"},
			username: "guest", password: "x", from: tcpAddr("192.0.2.1"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := NewStatic(tt.opt)
			if err != nil {
				t.Fatal(err)
			}
			p, err := s.Authenticate(t.Context(), Credentials{Mechanism: PLAIN, Username: tt.username, Password: tt.password, RemoteAddr: tt.from})
			if tt.err == nil {
				if err != nil || p.Name != tt.username {
					t.Errorf("Authenticate = %+v, %v; want %s", p, err, tt.username)
				}
				return
			}
			if !errors.Is(err, tt.err) || !errors.Is(err, ErrRefused) || p.Name != "" {
				t.Errorf("Authenticate = %+v, %v; want %v", p, err, tt.err)
			}
		})
	}
}

func TestNewStatic_NeedsUserAndPasswordOrNeither(t *testing.T) {
	for _, opt := range []StaticOptions{{Username: "app"}, {Password: "s3cret"}} {
		if _, err := NewStatic(opt); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("NewStatic(%+v) error is %v", opt, err)
		}
	}
}
