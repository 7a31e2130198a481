package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	amqp "github.com/rabbitmq/amqp091-go"
)

func TestProxySettings_ErrorsNameKeyAndReason(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"no network", "{trusted: [proxy], required: [amqp]}", `proxy_protocol.trusted: "proxy" is neither an address like 10.0.0.5 nor a network`},
		{"a mapped network", `{trusted: ["::ffff:10.0.0.0/104"], required: [amqp]}`, "is neither an address"},
		{"an unknown listener", "{trusted: [10.0.0.5], required: [smtp]}", `proxy_protocol.required: "smtp" is not one of amqp, amqps`},
		{"a listener in both", "{trusted: [10.0.0.5], required: [amqp, mqtt], optional: [mqtt]}", "both name mqtt"},
		{"nobody to trust", "{optional: [mqtt]}", "proxy_protocol.trusted names no proxy"},
		{"nothing to trust them for", "{trusted: [10.0.0.0/8]}", "neither proxy_protocol.required nor proxy_protocol.optional names a listener"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, _, stderr := baton(t, nil, "config", "check", "--config", writeFile(t, "baton.yaml", "proxy_protocol: "+tt.file+"\n"))
			if code != exitUsage || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("%d, %q; want one line with %q", code, stderr, tt.want)
			}
		})
	}
}

// behind dials as a proxy for a client does.
func behind(t *testing.T, addr, client string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "PROXY TCP4 %s 198.51.100.1 40000 1883\r\n", client); err != nil {
		t.Fatal(err)
	}
	return conn
}

func enterAMQP(_ *testing.T, conn net.Conn) error {
	c, err := amqp.Open(conn, amqp.Config{Vhost: "/", SASL: []amqp.Authentication{&amqp.PlainAuth{Username: "guest", Password: "guest"}}})
	if err != nil {
		return err
	}
	return c.Close()
}

func enterMQTT(t *testing.T, conn net.Conn) error {
	t.Helper()
	if code := exchange(t, conn, mqttLogin)[1]; code != 0 {
		return fmt.Errorf("reason code %#x", code)
	}
	return nil
}

func enterWebSocket(t *testing.T, conn net.Conn) error {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}}
	ws, resp, err := websocket.Dial(t.Context(), "ws://localhost/ws", &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"mqtt"}})
	if err != nil {
		return err
	}
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	defer func() { _ = ws.CloseNow() }()
	return enterMQTT(t, websocket.NetConn(t.Context(), ws, websocket.MessageBinary))
}

// By every way in, the client counts for where the proxy says it is: guest, who
// may come from this machine only, is refused from elsewhere.
func TestServe_BehindAProxy(t *testing.T) {
	dir := testCertificates(t)
	s := &secured{dir: dir}
	s.trust = s.trusting(t, "ca.crt")
	config := writeFile(t, "baton.yaml", `
amqp: {tls_listen: "127.0.0.1:0"}
mqtt: {tls_listen: "127.0.0.1:0", websocket_tls: "127.0.0.1:0"}
tls: {cert_file: `+dir+`/server.crt, key_file: `+dir+`/server.key}
proxy_protocol: {trusted: [127.0.0.1], required: [amqp, amqps, mqtt, mqtts, ws, wss], optional: [admin]}
`)
	r := startServe(t, t.TempDir(), "--config", config)
	r.ready(t)

	for _, tt := range []struct {
		listener string
		tls      bool
		enter    func(*testing.T, net.Conn) error
	}{
		{"amqp", false, enterAMQP},
		{"amqps", true, enterAMQP},
		{"mqtt", false, enterMQTT},
		{"mqtts", true, enterMQTT},
		{"ws", false, enterWebSocket},
		{"wss", true, enterWebSocket},
	} {
		for client, lets := range map[string]bool{"127.0.0.1": true, "192.0.2.7": false} {
			conn := behind(t, r.addr(t, tt.listener), client)
			if tt.tls {
				conn = tls.Client(conn, s.trust)
			}
			if err := tt.enter(t, conn); lets != (err == nil) {
				t.Errorf("%s from %s: %v", tt.listener, client, err)
			}
		}
	}
	r.log.await(t, `level=WARN msg="login refused" conn=192.0.2.7:40000`)

	// Without a header the admin port answers; with one, as to that client.
	if code, body := r.get(t, "/livez"); code != http.StatusOK {
		t.Errorf("admin without a header: %d %s", code, body)
	}
	conn := behind(t, r.addr(t, "admin"), "192.0.2.7")
	if _, err := io.WriteString(conn, "GET /debug/pprof/ HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || !bytes.Contains(answer, []byte("403 Forbidden")) {
		t.Errorf("a profile for 192.0.2.7: %q (%v)", answer, err)
	}
}
