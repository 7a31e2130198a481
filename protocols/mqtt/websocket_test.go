package mqtt_test

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// serveWebSocket lets the server serve nc, which begins with an upgrade request.
func (b *bed) serveWebSocket(nc net.Conn) {
	over := make(chan struct{})
	go b.server.StartWebSocket(b.ctx, nc, func() { close(over) })
	b.serving.Go(func() { <-over })
}

// dialWebSocketPipe is dialWebSocket in a bubble.
func dialWebSocketPipe(b *bed, v wire.Version) (*peer, *websocket.Conn) {
	b.t.Helper()
	near, far := net.Pipe()
	b.serveWebSocket(near)
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return far, nil }}
	ws, r, err := websocket.Dial(b.t.Context(), "ws://broker/ws", &websocket.DialOptions{
		Subprotocols: []string{"mqtt"}, HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	if r.Body != nil {
		_ = r.Body.Close()
	}
	b.t.Cleanup(func() { _ = ws.CloseNow() })
	return &peer{t: b.t, nc: websocket.NetConn(context.Background(), ws, websocket.MessageBinary), version: v}, ws
}

// TestWebSocketPing: a client that pings its WebSocket is answered however long
// it has been silent, as no write is late that has not begun.
func TestWebSocketPing(t *testing.T) {
	for _, tt := range []struct {
		name string
		open func(p *peer)
	}{
		{"idle since CONNACK", func(p *peer) {
			p.write(connect(wire.V5, "c"))
			p.next() // CONNACK
		}},
		{"idle since an answer", func(p *peer) {
			p.write(connect(wire.V5, "c"))
			p.next()                     // CONNACK
			time.Sleep(45 * time.Second) // the deadline of CONNACK is moved
			p.write([]byte("\xC0\x00"))
			p.expect("PINGRESP")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				p, ws := dialWebSocketPipe(b, wire.V5)
				tt.open(p)
				time.Sleep(time.Hour)
				go func() { _, _, _ = ws.Reader(b.ctx) }() // which sees the pong
				ctx, cancel := context.WithTimeout(b.t.Context(), time.Second)
				defer cancel()
				if err := ws.Ping(ctx); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestWebSocketStalls: a client that does not read is given up all the same.
func TestWebSocketStalls(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p, _ := dialWebSocketPipe(b, wire.V5)
		p.write(connect(wire.V5, "c"))
		p.next()                    // CONNACK
		p.write([]byte("\xC0\x00")) // the answer is not read
		time.Sleep(2 * time.Minute)
		if n := b.server.Stats().Connections; n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}
