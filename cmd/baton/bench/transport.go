package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"sync/atomic"

	"github.com/coder/websocket"
)

// perSource is how many connections come from one address of this host: a broker
// may limit how often one connects, and the ports of one are 28,000.
const perSource = 100

// mqttTransport opens what MQTT is spoken over.
type mqttTransport struct {
	scheme   string // "mqtt", "mqtts", "ws" or "wss"
	addr     string
	path     string // of a WebSocket
	insecure bool   // the broker's certificate is not verified

	// opened counts connections where they spread over this host's addresses,
	// else it is nil.
	opened *atomic.Uint32
}

// defaultPorts are those of Baton, by scheme.
func defaultPorts() map[string]string {
	return map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "15675", "wss": "15676"}
}

func newMQTTTransport(u *url.URL) (*mqttTransport, error) {
	t := &mqttTransport{scheme: u.Scheme, path: u.Path}
	if t.scheme == "tcp" {
		t.scheme = "mqtt"
	}
	port, ok := defaultPorts()[t.scheme]
	if !ok {
		return nil, fmt.Errorf("the generator does not speak %q: use a --url that begins with mqtt://, mqtts://, ws:// or wss://", u.Scheme)
	}
	if p := u.Port(); p != "" {
		port = p
	}
	if t.path == "" {
		t.path = "/ws"
	}
	t.addr = net.JoinHostPort(u.Hostname(), port)
	if ip := net.ParseIP(u.Hostname()); runtime.GOOS == "linux" && ip.To4() != nil && ip.IsLoopback() {
		t.opened = new(atomic.Uint32) // elsewhere 127.0.0.1 is the only one
	}
	return t, nil
}

// source is the local address of the next connection; nil: any.
func (t *mqttTransport) source() net.Addr {
	if t.opened == nil {
		return nil
	}
	n := t.opened.Add(1) / perSource
	return &net.TCPAddr{IP: net.IPv4(127, 1+byte(n>>16), byte(n>>8), byte(n))}
}

func (t *mqttTransport) dial(ctx context.Context) (net.Conn, error) {
	tlsConfig := &tls.Config{InsecureSkipVerify: t.insecure} //nolint:gosec // the operator asked for it, of a broker that is measured
	dialer := &net.Dialer{Timeout: handshakeLimit, LocalAddr: t.source()}
	switch t.scheme {
	case "mqtts":
		return (&tls.Dialer{NetDialer: dialer, Config: tlsConfig}).DialContext(ctx, "tcp", t.addr)
	case "ws", "wss":
		return t.dialWebSocket(ctx, &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: tlsConfig})
	}
	return dialer.DialContext(ctx, "tcp", t.addr)
}

func (t *mqttTransport) dialWebSocket(ctx context.Context, over *http.Transport) (net.Conn, error) {
	u := url.URL{Scheme: t.scheme, Host: t.addr, Path: t.path}
	c, resp, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: over}, Subprotocols: []string{"mqtt"},
	})
	if err != nil {
		return nil, err
	}
	_ = resp // the library has taken its body over
	return websocket.NetConn(context.WithoutCancel(ctx), c, websocket.MessageBinary), nil
}
