//go:build unix

package listen

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shortDir is a directory whose name leaves room for a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "baton") //nolint:usetesting // that of testing is too long for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func dialSocket(t *testing.T, path string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestStart_ServesASocketBesideAddresses(t *testing.T) {
	path := filepath.Join(shortDir(t), "mqtt.sock")
	peers := make(chan string, 2)
	l := start(t, Options{Addresses: []string{"127.0.0.1:0"}, Sockets: []string{path}, SocketMode: 0o620, Rate: newRate(t, RateOptions{PerSecond: 1, Burst: 1}), Handler: func(ctx context.Context, conn net.Conn) {
		if conn.RemoteAddr().Network() == "unix" {
			peers <- conn.RemoteAddr().String()
			r := NewReader(conn, 0)
			defer r.Release()
			if r.raw == nil {
				t.Error("a waiting reader of a socket holds a buffer")
			}
			if r.Fill(1) == nil {
				_, _ = conn.Write(r.Buffered())
			}
			return
		}
		echo(ctx, conn)
	}})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o620 {
		t.Errorf("the socket is %v (%v), want mode 0620", info, err)
	}
	for range 2 {
		if err := roundTrip(dialSocket(t, path)); err != nil {
			t.Error(err)
		}
	}
	if a, b := <-peers, <-peers; a == b {
		t.Errorf("two clients are both called %s", a)
	}
	if err := roundTrip(dial(t, l.Addrs()[0])); err != nil {
		t.Error(err)
	}
	l.CloseAll()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end the socket is there still (%v)", err)
	}
}

func TestOpenSocket_WhatIsThereAlready(t *testing.T) {
	dir := shortDir(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	open := func(name string) (net.Listener, error) { return OpenSocket(t.Context(), "mqtt", at(name), 0o600) }

	killed, err := new(net.ListenConfig).Listen(t.Context(), "unix", at("stale"))
	if err != nil {
		t.Fatal(err)
	}
	killed.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = killed.Close()
	if ln, err := open("stale"); err != nil {
		t.Errorf("a socket that a broker left which was killed: %v", err)
	} else if _ = ln.Close(); exists(at("stale")) || exists(at("stale"+staleSuffix)) {
		t.Error("files are left")
	}

	live, err := open("live")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	if _, err := open("live"); err == nil || err.Error() != "listen for mqtt on "+at("live")+": another broker answers on it" {
		t.Errorf("a socket that is answered on: %v", err)
	}
	dialSocket(t, at("live")) // it is where it was

	if err := os.WriteFile(at("file"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open("file"); err == nil || !strings.Contains(err.Error(), "it is no socket") || !exists(at("file")) {
		t.Errorf("a file: %v", err)
	}
	if _, err := open(strings.Repeat("x", 200)); err == nil || !strings.Contains(err.Error(), "choose a shorter one") {
		t.Errorf("a long path: %v", err)
	}
	if _, err := open("no/such/directory"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// A broker that ends late leaves its successor's socket alone.
func TestOpenSocket_CloseRemovesItsOwnFileAlone(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	first, err := OpenSocket(t.Context(), "mqtt", path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := OpenSocket(t.Context(), "mqtt", path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := first.Close(); err != nil || !exists(path) {
		t.Errorf("the successor's socket is gone (%v)", err)
	}
}
