package main

import (
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/http/api"
)

func TestMaintenance_KeepsConnectionsOutAndEndsThem(t *testing.T) {
	r, _, socket := reloadable(t, "node: a\n")
	conn := r.dial(t)
	told := conn.NotifyClose(make(chan *amqp.Error, 1))
	order := func(want exitCode, text string, args ...string) {
		t.Helper()
		code, stdout, stderr := baton(t, nil, append(append([]string{"maintenance"}, args...), "--admin-socket", socket)...)
		if code != want || !strings.Contains(stdout+stderr, text) {
			t.Errorf("maintenance %v: %d %s%s", args, code, stdout, stderr)
		}
	}
	order(exitOK, "no ", "status")
	order(exitOK, "in maintenance; 1 connections are open", "on", "--keep")
	if conn.IsClosed() {
		t.Error("a connection that was to stay is closed")
	}
	if ack := exchange(t, r.dialMQTT(t, "mqtt"), mqttLogin); ack[1] != 0x88 {
		t.Errorf("CONNACK % x, want 0x88", ack)
	}
	if other, err := amqp.Dial("amqp://guest:guest@" + r.addr(t, "amqp") + "/"); err == nil {
		_ = other.Close()
		t.Error("an AMQP client is let in")
	}
	order(exitOK, "in maintenance; 0 connections are open", "on", "--rate", "1")
	if e := <-told; e == nil || e.Code != amqp.ConnectionForced || !strings.Contains(e.Reason, "maintenance") {
		t.Errorf("the client is told %v", e)
	}
	if code, body := r.get(t, "/isReady"); code != http.StatusServiceUnavailable || !strings.Contains(body, "maintenance") {
		t.Errorf("ready: %d %s", code, body)
	}
	if code, _ := r.get(t, "/isLive"); code != http.StatusOK {
		t.Errorf("live: %d", code)
	}
	if _, body := r.get(t, "/metrics"); !strings.Contains(body, "\nbaton_maintenance 1\n") {
		t.Error("no metric tells")
	}
	order(exitOK, "takes connections", "off")
	if code, body := r.get(t, "/readyz"); code != http.StatusOK {
		t.Errorf("ready: %d %s", code, body)
	}
	_ = r.dial(t)
}

// TestDrain_OrderThatComesTooLate: nothing is begun that nobody would wait for.
func TestDrain_OrderThatComesTooLate(t *testing.T) {
	d := newDrain(new(core.Broker), func() bool { return false }, slog.New(slog.DiscardHandler))
	d.Close()
	if err := d.order(api.MaintenanceOrder{On: true, Rate: math.MaxInt}); err == nil || d.broker.InMaintenance() {
		t.Errorf("an order is taken by a node that does not serve any more: %v", err)
	}
}

// TestMaintenance_EndsWithAStart: nobody finds a broker shut that has restarted.
func TestMaintenance_EndsWithAStart(t *testing.T) {
	data, socket := t.TempDir(), filepath.Join(t.TempDir(), "s")
	serve := func() *running { return startServe(t, data, "--admin-socket", socket) }
	r := serve()
	r.ready(t)
	if code, out, errs := baton(t, nil, "maintenance", "on", "--admin-socket", socket); code != exitOK {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	r.stop()
	if code := r.exit(t); code != exitOK {
		t.Fatal(code)
	}
	_ = serve().dial(t)
}

// TestMaintenance_OfAPairIsAHandover unless it is wanted here.
func TestMaintenance_OfAPairIsAHandover(t *testing.T) {
	data, sockets := t.TempDir(), t.TempDir()
	serve := func(name string, args ...string) (*running, string) {
		socket := filepath.Join(sockets, name)
		return start(t, append([]string{
			"serve", "--ha", "--ha-ttl", "5s", "--node", name, "--data", data, "--amqp", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--ws", "off",
			"--admin", "127.0.0.1:0", "--metrics", "off", "--admin-socket", socket,
		}, args...)...), socket
	}
	one, socket := serve("one")
	one.ready(t)
	two, _ := serve("two", "--config", writeFile(t, "two.yaml", "ha: {advertise: [\"mqtt://two.example:1883\"]}\n"))
	two.awaitFit(t)
	code, out, errs := baton(t, nil, "maintenance", "on", "--admin-socket", socket)
	for code == exitOK { // the primary does not know yet that there is somebody
		if code, out, errs = baton(t, nil, "maintenance", "off", "--admin-socket", socket); code != exitOK {
			t.Fatalf("%d %s%s", code, out, errs)
		}
		<-time.After(100 * time.Millisecond)
		code, out, errs = baton(t, nil, "maintenance", "on", "--admin-socket", socket)
	}
	if code != exitFailure || !strings.Contains(errs, "baton ha handover") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	client := one.dialMQTT(t, "mqtt")
	if ack := exchange(t, client, mqttLogin); ack[1] != 0 {
		t.Fatalf("CONNACK % x", ack)
	}
	if code, out, errs = baton(t, nil, "maintenance", "on", "--here", "--admin-socket", socket); code != exitOK {
		t.Errorf("%d %s%s", code, out, errs)
	}
	last, err := io.ReadAll(client)
	if err != nil && !errors.Is(err, io.EOF) || len(last) < 3 || last[0] != 0xe0 || last[2] != 0x98 {
		t.Errorf("the client is told % x, %v", last, err)
	}
	// Nobody takes over, so nobody is sent to the other one.
	if ack := exchange(t, one.dialMQTT(t, "mqtt"), mqttLogin); ack[1] != 0x88 {
		t.Errorf("CONNACK % x", ack)
	}
}
