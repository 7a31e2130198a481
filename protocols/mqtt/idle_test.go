package mqtt_test

import (
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"testing"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// TestIdleConnections: what a connection costs while nothing happens. The
// client's end of it, in this process too, is one KiB of that on TCP, and a dozen
// on WebSocket; the stack of what dozes is two.
func TestIdleConnections(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has its own idea of memory")
	}
	const connections = 500
	for _, tt := range []struct {
		name      string
		limit     int64
		webSocket bool
		connect   func(p *peer, i int)
	}{
		{"clean", 7680, false, func(p *peer, i int) {
			p.write(connect(wire.V311, fmt.Sprint("client-", i)))
			p.next()
		}},
		{"session with a subscription", 10 << 10, false, func(p *peer, i int) {
			p.write(connect(wire.V5, fmt.Sprint("client-", i), durable, keepAlive(60)))
			p.next()
			p.subscribe(1, 1, fmt.Sprintf("dev/%d/#", i))
		}},
		{"WebSocket", 32 << 10, true, func(p *peer, i int) {
			p.write(connect(wire.V311, fmt.Sprint("client-", i)))
			p.next()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, func(s *setup) { s.server.Log = slog.New(slog.DiscardHandler) })
			start := b.server.Start
			if tt.webSocket {
				start = b.server.StartWebSocket
			}
			_, addr := listenOn(t, start)
			before, goroutines := memory(), runtime.NumGoroutine()
			clients := make([]net.Conn, connections)
			for i := range clients {
				var p *peer
				if tt.webSocket {
					p, _ = dialWebSocket(t, addr, wire.V311)
				} else {
					p = dialAddr(t, addr, wire.V5)
				}
				tt.connect(p, i)
				clients[i] = p.nc
			}
			per := (memory() - before) / connections
			t.Logf("%d bytes a connection", per)
			if per > tt.limit {
				t.Errorf("%d bytes a connection, want at most %d", per, tt.limit)
			}
			if n := runtime.NumGoroutine() - goroutines; n > connections {
				t.Errorf("%d goroutines for %d connections", n, connections)
			}
			runtime.KeepAlive(clients)
		})
	}
}

// memory is what heap and stacks hold.
func memory() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC() // stacks shrink by half each time
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
