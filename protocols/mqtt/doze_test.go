package mqtt_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// transports are the ways to a server whose connections doze.
func transports(b *bed) map[string]func(v wire.Version) *peer {
	_, plain := listenOn(b.t, b.server.Start)
	_, web := listenOn(b.t, b.server.StartWebSocket)
	secure := listenTLS(b)
	return map[string]func(v wire.Version) *peer{
		"TCP":       func(v wire.Version) *peer { return dialAddr(b.t, plain, v) },
		"WebSocket": func(v wire.Version) *peer { p, _ := dialWebSocket(b.t, web, v); return p },
		"TLS":       func(v wire.Version) *peer { return dialTLS(b.t, secure, v) },
	}
}

// listenTLS listens with the certificate that httptest has.
func listenTLS(b *bed) (addr string) {
	b.t.Helper()
	lender := httptest.NewTLSServer(http.NotFoundHandler())
	lender.Close()
	cert := lender.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		b.t.Fatal(err)
	}
	pair := listen.KeyPair{
		CertFile: writePEM(b.t, "CERTIFICATE", cert.Certificate[0]), KeyFile: writePEM(b.t, "PRIVATE KEY", key),
	}
	secure, err := listen.OpenTLS(listen.TLSOptions{KeyPairs: []listen.KeyPair{pair}})
	if err != nil {
		b.t.Fatal(err)
	}
	_, addr = listenWith(b.t, listen.Options{Start: b.server.Start, TLS: secure})
	return addr
}

func writePEM(tb testing.TB, kind string, der []byte) (file string) {
	tb.Helper()
	file = filepath.Join(tb.TempDir(), "pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		tb.Fatal(err)
	}
	return file
}

func dialTLS(tb testing.TB, addr string, v wire.Version) *peer {
	tb.Helper()
	anybody := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // whose certificate it is, is not what is tested
	nc, err := (&tls.Dialer{Config: anybody}).DialContext(tb.Context(), "tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = nc.Close() })
	return &peer{t: tb, nc: nc, version: v}
}

// TestDozing: whatever a client does, and whenever its connection falls asleep over
// that, nothing is lost.
func TestDozing(t *testing.T) {
	for _, silence := range []time.Duration{20 * time.Microsecond, 2 * time.Millisecond} {
		b := newBed(t, nil)
		b.server.SetSilence(silence)
		for name, dial := range transports(b) {
			t.Run(fmt.Sprint(name, " ", silence), func(t *testing.T) {
				p := dial(wire.V5)
				p.t = t
				p.write(connect(wire.V5, "c", keepAlive(300)))
				p.follow(accepted)
				p.subscribe(1, 1, "t/#")
				for i := range 25 {
					p.write([]byte("\xC0\x00"))
					p.expect("PINGRESP")
					body := strings.Repeat("x", i*6000)
					packet := publishPacket(wire.V5, 0, "t/a", body, 0)
					half := len(packet) / 2
					p.write(packet[:half])
					runtime.Gosched()
					p.write(packet[half:])
					p.expect(fmt.Sprintf("PUBLISH t/a %q", body))
				}
				p.disconnect()
			})
		}
	}
}

// TestDozing_KeepAlive_MQTT_3_1_2_22: one that dozes is ended in time.
func TestDozing_KeepAlive_MQTT_3_1_2_22(t *testing.T) {
	b := newBed(t, nil)
	b.server.SetSilence(time.Millisecond)
	begin := time.Now()
	var peers []*peer
	for name, dial := range transports(b) {
		p := dial(wire.V5)
		p.write(connect(wire.V5, name, keepAlive(1)))
		p.follow(accepted)
		peers = append(peers, p)
	}
	for _, p := range peers {
		p.dropped(wire.KeepAliveTimeout)
	}
	if d := time.Since(begin); d < 1500*time.Millisecond {
		t.Errorf("after %v", d)
	}
}

// TestDozing_Interrupted: whoever wants a connection to end does not have to wait for
// its client.
func TestDozing_Interrupted(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(b *bed, l *listen.Listener, again func() *peer)
		want func(p *peer)
	}{
		{
			"by another with its client identifier",
			func(_ *bed, _ *listen.Listener, again func() *peer) {
				p := again()
				p.write(connect(wire.V5, "c"))
				p.follow(accepted)
			},
			func(p *peer) { p.dropped(wire.SessionTakenOver) },
		},
		{
			"by the broker that stops",
			func(_ *bed, l *listen.Listener, _ func() *peer) { go func() { _ = l.Stop(context.Background()) }() },
			func(p *peer) { p.dropped(wire.ServerShuttingDown) },
		},
		{
			"by a cut",
			func(_ *bed, l *listen.Listener, _ func() *peer) { l.CloseAll() },
			func(p *peer) {
				if _, err := p.frame(); err == nil {
					p.t.Error("it hears something")
				}
			},
		},
		{
			"by an administrator",
			func(b *bed, _ *listen.Listener, _ func() *peer) { b.broker.Sessions()[0].End(errors.New("enough")) },
			func(p *peer) { p.dropped(wire.AdministrativeAction) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, nil)
			l, addr := listenOn(t, b.server.Start)
			dial := func() *peer { return dialAddr(t, addr, wire.V5) }
			p := dial()
			p.write(connect(wire.V5, "c"))
			p.follow(accepted)
			awaitDozing(t, 1)
			tt.end(b, l, dial)
			tt.want(p)
			if err := l.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// awaitDozing waits until so many goroutines do what those of dozing connections do.
func awaitDozing(t *testing.T, n int) {
	t.Helper()
	buf := make([]byte, 1<<20)
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		if strings.Count(string(buf[:runtime.Stack(buf, true)]), "listen.awaitSocket(") >= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no connection dozes")
		}
	}
}
