package bench

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

func TestIdleConnectionsAreMeasured(t *testing.T) {
	b := startFakeMQTT(t)
	cmd := Command()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SetArgs([]string{"mqtt-idle", "--url", b.url, "--connections", "20", "--settle", "0", "--idle", "0", "--ping"})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"broker says Fake; MQTT 3.1.1 over mqtt, no password, 20 connections, keep alive 300s", "CONNECT per second"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if n := b.leftovers(); n != 0 {
		t.Errorf("%d sessions were left behind", n)
	}
}

func TestMemoryOfAConnectionIsTheGrowthDivided(t *testing.T) {
	of := func(n int64) resident { return resident{&n} }
	if got := of(9<<20).per(of(1<<20), 2048); got == nil || *got != 4096 {
		t.Errorf("8 MiB among 2048 connections: %v bytes each", got)
	}
	if got := of(1).per(resident{}, 1); got != nil {
		t.Errorf("without a figure from before: %v", *got)
	}
}

func TestIdleRunsAreRefusedThatCannotBe(t *testing.T) {
	valid := IdleOptions{URL: "mqtt://127.0.0.1", Connections: 1, KeepAlive: time.Second}
	for name, spoil := range map[string]func(*IdleOptions){
		"no connections":             func(o *IdleOptions) { o.Connections = 0 },
		"keep alive above 16 bits":   func(o *IdleOptions) { o.KeepAlive = 65536 * time.Second },
		"negative settle":            func(o *IdleOptions) { o.Settle = -1 },
		"negative idle":              func(o *IdleOptions) { o.Idle = -1 },
		"negative pid":               func(o *IdleOptions) { o.PID = -1 },
		"scheme nobody knows":        func(o *IdleOptions) { o.URL = "amqp://127.0.0.1" },
		"nobody there":               func(o *IdleOptions) { o.URL = "mqtt://127.0.0.1:1" },
		"nobody there, by WebSocket": func(o *IdleOptions) { o.URL = "ws://127.0.0.1:1" },
	} {
		o := valid
		spoil(&o)
		if _, err := RunIdle(t.Context(), o, io.Discard); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestConnectionsSpreadOverTheAddressesOfThisHost(t *testing.T) {
	c, err := newMQTTClient("mqtt://127.0.0.1", mqtt5)
	if err != nil {
		t.Fatal(err)
	}
	if c.over.opened == nil {
		t.Skip("this system has one address of its own only")
	}
	from := map[string]int{}
	for range 10 * perSource {
		from[c.over.source().String()]++
	}
	for addr, n := range from {
		if n > perSource {
			t.Errorf("%d connections come from %s", n, addr)
		}
	}
}
