package mqtt_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// listenOn puts a handler behind a listener, as it is used.
func listenOn(tb testing.TB, start listen.Starter) (l *listen.Listener, addr string) {
	tb.Helper()
	return listenWith(tb, listen.Options{Start: start})
}

func listenWith(tb testing.TB, opt listen.Options) (l *listen.Listener, addr string) {
	tb.Helper()
	opt.Name, opt.Addresses = "mqtt", []string{"127.0.0.1:0"}
	l, err := listen.Start(tb.Context(), opt)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		l.CloseAll()
		if err := l.Stop(context.Background()); err != nil { // the test's own context has ended
			tb.Error(err)
		}
	})
	return l, l.Addrs()[0].String()
}

func dialAddr(tb testing.TB, addr string, v wire.Version) *peer {
	tb.Helper()
	nc, err := new(net.Dialer).DialContext(tb.Context(), "tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = nc.Close() })
	return &peer{t: tb, nc: nc, version: v}
}

// dialWebSocket returns a peer on a WebSocket.
func dialWebSocket(tb testing.TB, addr string, v wire.Version) (*peer, *websocket.Conn) {
	tb.Helper()
	ws, r, err := websocket.Dial(tb.Context(), "ws://"+addr+"/ws", &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		tb.Fatal(err)
	}
	if r.Body != nil {
		_ = r.Body.Close()
	}
	if ws.Subprotocol() != "mqtt" {
		tb.Errorf("subprotocol %q", ws.Subprotocol()) // [MQTT-6.0.0-4]
	}
	ws.SetReadLimit(-1)
	nc := websocket.NetConn(context.Background(), ws, websocket.MessageBinary)
	tb.Cleanup(func() { _ = ws.CloseNow() })
	return &peer{t: tb, nc: nc, version: v}, ws
}

// TestConnectionsComeAndGo: after a thousand connections over TCP [MQTT-4.2.0-1]
// [MQTT-3.1.1 7.1.1-1], ended in every way, nothing of them is left.
func TestConnectionsComeAndGo(t *testing.T) {
	b := newBed(t, func(s *setup) { s.server.Log = slog.New(slog.DiscardHandler) })
	goroutines := runtime.NumGoroutine()
	l, addr := listenOn(t, b.server.Start)
	ends := []func(p *peer){
		func(p *peer) { p.disconnect() },
		func(p *peer) { p.write([]byte("\x00\x00")); p.dropped(wire.MalformedPacket) },
		func(*peer) {}, // just hangs up
	}
	var wg sync.WaitGroup
	for worker := range 10 {
		wg.Go(func() {
			id := string(rune('a' + worker))
			for i := range 100 {
				p := dialAddr(t, addr, wire.V5)
				p.write(connect(wire.V5, id, keepAlive(60), will("w", "gone", 1, false, "")))
				p.next()
				ends[i%len(ends)](p)
				_ = p.nc.Close()
			}
		})
	}
	wg.Wait()
	if err := l.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := b.server.Stats(); s.Connections != 0 || s.ConnectionsOpened != 1000 || s.ConnectionsClosed != 1000 {
		t.Errorf("%+v", s)
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutines; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
		}
	}
	if q := b.broker.Stats(); q.Queues != 0 {
		t.Errorf("%d queues are left", q.Queues)
	}
}

// TestGoodbyeArrives: the reason reaches a client that is still sending.
func TestGoodbyeArrives(t *testing.T) {
	b := newBed(t, nil)
	_, addr := listenOn(t, b.server.Start)
	for range 20 {
		p := dialAddr(t, addr, wire.V5)
		p.write(connect(wire.V5, "c"))
		p.next()
		p.write(append([]byte("\x00\x00"), make([]byte, 100_000)...))
		p.dropped(wire.MalformedPacket)
	}
}

// TestWebSocket runs a conversation over frames that are cut anywhere
// [MQTT-6.0.0-2] [MQTT-3.1.1 6.0.0-2], of the subprotocol mqtt [MQTT-6.0.0-4]
// [MQTT-3.1.1 6.0.0-4].
func TestWebSocket(t *testing.T) {
	for _, v := range []wire.Version{wire.V31, wire.V311, wire.V5} {
		t.Run(v.String(), func(t *testing.T) {
			b := newBed(t, nil)
			_, addr := listenOn(t, b.server.StartWebSocket)
			p, _ := dialWebSocket(t, addr, v)
			bytewise := append(connect(v, "c"), subscribePacket(v, 1, "", 2, "t/#")...)
			for i := range bytewise {
				p.write(bytewise[i : i+1])
			}
			if got := p.next(); !strings.HasPrefix(got, "CONNACK 0x00") {
				t.Fatal(got)
			}
			p.expect("SUBACK #1 0x02")
			var burst []byte // many packets in a frame
			for range 50 {
				burst = append(burst, publishPacket(v, 0, "t/x", "m", 0)...)
			}
			p.write(burst)
			for range 50 {
				p.expect(`PUBLISH t/x "m"`)
			}
			large := strings.Repeat("x", 1<<20)
			p.publish("t/x", large, 1, 1)
			got := []string{p.next(), p.next()}
			slices.Sort(got) // the answer and the message come in either order
			if got[0] != "PUBACK #1" || !strings.HasSuffix(got[1], large+`"`) {
				t.Errorf("got %.40s and %.40s", got[0], got[1])
			}
			p.disconnect()
		})
	}
}

func TestWebSocketEnds(t *testing.T) {
	b := newBed(t, nil)
	l, addr := listenOn(t, b.server.StartWebSocket)
	open := func() (*peer, *websocket.Conn) {
		p, ws := dialWebSocket(t, addr, wire.V5)
		p.write(connect(wire.V5, "c", keepAlive(60)))
		p.next()
		return p, ws
	}
	t.Run("[MQTT-6.0.0-1] [MQTT-3.1.1 6.0.0-1] text", func(t *testing.T) {
		_, ws := open()
		if err := ws.Write(t.Context(), websocket.MessageText, []byte("\xC0\x00")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
			t.Errorf("read: %v", err)
		}
	})
	t.Run("protocol error", func(*testing.T) {
		p, _ := open()
		p.write([]byte("\x00\x00"))
		p.dropped(wire.MalformedPacket)
	})
	t.Run("close without DISCONNECT", func(t *testing.T) {
		s, _ := dialWebSocket(t, addr, wire.V5)
		s.write(connect(wire.V5, "s"))
		s.next()
		s.subscribe(1, 0, "w")
		p, ws := dialWebSocket(t, addr, wire.V5)
		p.write(connect(wire.V5, "c", will("w", "gone", 0, false, "")))
		p.next()
		_ = ws.Close(websocket.StatusGoingAway, "")
		s.expect(`PUBLISH w "gone"`)
	})
	t.Run("shutdown", func(t *testing.T) {
		p, _ := open()
		done := make(chan error, 1)
		go func() { done <- l.Stop(t.Context()) }()
		p.dropped(wire.ServerShuttingDown)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestWebSocketRequests has requests that are not answered with an upgrade.
func TestWebSocketRequests(t *testing.T) {
	const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
	const mqtt = "Sec-WebSocket-Protocol: chat, mqtt\r\n"
	for _, tt := range []struct {
		name, request, want string
	}{
		{"upgrade", "GET /ws HTTP/1.1\r\nHost: h\r\n" + upgrade + mqtt, "HTTP/1.1 101"},
		{"from a page", "GET /ws HTTP/1.1\r\nHost: h\r\nOrigin: http://good.example\r\n" + upgrade + mqtt, "HTTP/1.1 101"},
		{"from another page", "GET /ws HTTP/1.1\r\nHost: h\r\nOrigin: http://evil.example\r\n" + upgrade + mqtt, "HTTP/1.1 403"},
		{"another path", "GET / HTTP/1.1\r\nHost: h\r\n" + upgrade + mqtt, "HTTP/1.1 404"},
		{"no upgrade", "GET /ws HTTP/1.1\r\nHost: h\r\n", "HTTP/1.1 426"},
		{"[MQTT-6.0.0-3] no subprotocol", "GET /ws HTTP/1.1\r\nHost: h\r\n" + upgrade, "HTTP/1.1 400"},
		{"another subprotocol", "GET /ws HTTP/1.1\r\nHost: h\r\n" + upgrade + "Sec-WebSocket-Protocol: amqp\r\n", "HTTP/1.1 400"},
		{"not HTTP", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", ""},
		{"endless", "GET /ws HTTP/1.1\r\nX: " + strings.Repeat("x", 20<<10), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(s *setup) { s.server.Origins = []string{"good.*"} }, func(b *bed) {
				near, far := net.Pipe()
				defer far.Close()
				b.serveWebSocket(near)
				go func() { _, _ = far.Write([]byte(tt.request + "\r\n")) }()
				answer := make([]byte, len(tt.want)+1)
				n, _ := io.ReadFull(far, answer)
				if !strings.HasPrefix(string(answer[:n]), tt.want) || tt.want == "" && n > 0 {
					t.Errorf("%q, want %s", answer[:n], tt.want)
				}
			})
		})
	}
}

// TestTakeoverStorm: many connections fight for one session. Whoever came last
// has it, whole; the others are gone.
func TestTakeoverStorm(t *testing.T) {
	b := newBed(t, func(s *setup) { s.server.Log = slog.New(slog.DiscardHandler) })
	b.server.LetFight() // all at once, and not one after the other
	_, addr := listenOn(t, b.server.Start)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				p := dialAddr(t, addr, wire.V311)
				p.write(append(connect(wire.V311, "c", resume), subscribePacket(wire.V311, 1, "", 1, "t")...))
				_, _ = p.frame() // CONNACK, or the end
			}
		})
	}
	wg.Wait()
	last := dialAddr(t, addr, wire.V311)
	last.write(append(connect(wire.V311, "c", resume), subscribePacket(wire.V311, 1, "", 1, "t")...))
	last.expect("CONNACK 0x00 present", "SUBACK #1 0x01")
	last.publish("t", "mine", 1, 1)
	got := []string{last.next(), last.next()}
	slices.Sort(got)
	if got[0] != "PUBACK #1" || !strings.HasSuffix(got[1], `"mine"`) {
		t.Errorf("got %q", got)
	}
	for deadline := time.Now().Add(5 * time.Second); b.server.Stats().Connections > 1; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections", b.server.Stats().Connections)
		}
	}
	if s := b.broker.Stats(); s.Subscribers != 1 || s.Consumers != 1 {
		t.Errorf("%d subscribers, %d consumers", s.Subscribers, s.Consumers)
	}
}
