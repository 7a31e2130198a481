package amqp091_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/listen"
)

// serveTCP puts the server behind a listener, as it is used.
func serveTCP(t *testing.T, b *bed) (l *listen.Listener, addr string) {
	t.Helper()
	l, err := listen.Start(t.Context(), listen.Options{
		Name: "amqp", Addresses: []string{"127.0.0.1:0"}, Handler: b.server.Serve,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.CloseAll()
		if err := l.Stop(context.Background()); err != nil { // the test's own context has ended
			t.Error(err)
		}
	})
	return l, l.Addrs()[0].String()
}

func dialAddr(t *testing.T, addr string) *peer {
	t.Helper()
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return &peer{t: t, nc: nc, frameMax: 131072}
}

// TestConnectionsComeAndGo: after a thousand connections, ended in every way,
// nothing of them is left.
func TestConnectionsComeAndGo(t *testing.T) {
	b := newBed(t, func(s *setup) { s.server.Log = slog.New(slog.DiscardHandler) })
	goroutines := runtime.NumGoroutine()
	l, addr := serveTCP(t, b)
	ends := []func(p *peer){
		func(p *peer) { p.call(0, &wire.ConnectionClose{ReplyCode: 200}, &wire.ConnectionCloseOK{}) },
		func(p *peer) { p.write([]byte("garbage")); _, _ = io.Copy(io.Discard, p.nc) },
		func(p *peer) { p.send(1, &wire.ChannelFlow{}); p.next(0); p.send(0, &wire.ConnectionCloseOK{}) },
		func(*peer) {}, // just hangs up
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for i := range 100 {
				p := dialAddr(t, addr)
				p.handshake(nil, 131072, 60)
				p.openChannel(1)
				p.send(1, &wire.QueueDeclare{Exclusive: true}, &wire.BasicConsume{}, &wire.ConfirmSelect{}, &wire.BasicPublish{})
				for range 3 {
					p.next(1)
				}
				p.write(raw(2, 1, "\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00")) // a body that never comes
				ends[i%len(ends)](p)
				_ = p.nc.Close()
			}
		})
	}
	wg.Wait()
	if err := l.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > goroutines; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
		}
	}
	s := b.server.Stats()
	if s.ConnectionsClosed != 1000 || s.Channels != 0 || s.Consumers != 0 {
		t.Errorf("%d connections closed, %d channels and %d consumers left", s.ConnectionsClosed, s.Channels, s.Consumers)
	}
}

// TestLastWordsArrive: the server hangs up while input is unread, which resets
// a TCP connection, and yet the client reads why.
func TestLastWordsArrive(t *testing.T) {
	b := newBed(t, nil)
	_, addr := serveTCP(t, b)
	neighbour := dialAddr(t, addr)
	neighbour.handshake(nil, 131072, 0)
	neighbour.openChannel(1)
	for _, row := range []struct {
		name, input string
		open        bool
	}{
		{"HTTP", "GET / HTTP/1.1\r\n\r\n", false},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", false},
		{"noise on an open connection", "noise, and much of it", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := dialAddr(t, addr)
			if row.open {
				p.handshake(nil, 131072, 0)
			}
			p.write([]byte(row.input))
			p.write(make([]byte, 200<<10))
			if row.open {
				p.connectionLost("FRAME_ERROR - unknown frame type 110")
				return
			}
			got, err := io.ReadAll(p.nc)
			if string(got) != wire.ProtocolHeader || err != nil {
				t.Errorf("answer %q %v, want the protocol header", got, err)
			}
		})
	}
	neighbour.call(1, &wire.BasicQos{}, &wire.BasicQosOK{})
}
