package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestServe_AtUnixSockets has clients of this machine come in by files, where no
// address is open at all; guest may, as from a loopback address.
func TestServe_AtUnixSockets(t *testing.T) {
	dir, err := os.MkdirTemp("", "baton") //nolint:usetesting // that of testing is too long for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	sockets := map[string]string{"amqp": filepath.Join(dir, "amqp"), "mqtt": filepath.Join(dir, "mqtt")}
	r := start(t, "serve", "--data", t.TempDir(), "--amqp", "off", "--mqtt", "off", "--ws", "off", "--admin", "127.0.0.1:0", "--metrics", "off",
		"--amqp-socket", sockets["amqp"], "--mqtt-socket", sockets["mqtt"])
	r.ready(t)
	for name, enter := range map[string]func(*testing.T, net.Conn) error{"amqp": enterAMQP, "mqtt": enterMQTT} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "unix", sockets[name])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := enter(t, conn); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		r.log.await(t, `msg="connection opened" conn=unix:1`)
	}
	code, _, stderr := baton(t, nil, "serve", "--data", t.TempDir(), "--amqp", "off", "--mqtt", "off", "--ws", "off", "--admin", "off", "--metrics", "off",
		"--mqtt-socket", sockets["mqtt"])
	if code != exitAddress || !strings.Contains(stderr, "listen for mqtt on "+sockets["mqtt"]+": another broker answers on it") {
		t.Errorf("a second broker at the socket: %d, %s", code, stderr)
	}
	r.stop()
	if code := r.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	for _, path := range sockets {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is there still", path)
		}
	}
}

func TestSocketSettings_ModesAreOctal(t *testing.T) {
	for text, want := range map[string]string{"0660": "", "600": "", "0888": "is not a mode like 0660", "rw": "is not a mode", "01777": "is not a mode"} {
		code, _, stderr := baton(t, []string{"BATON_MQTT_SOCKET_MODE=" + text}, "config", "check")
		if (code == exitOK) != (want == "") || !strings.Contains(stderr, want) {
			t.Errorf("%q: %d, %s", text, code, stderr)
		}
	}
}
