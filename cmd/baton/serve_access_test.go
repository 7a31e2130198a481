package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"
	amqp "github.com/rabbitmq/amqp091-go"
)

// A secured is a broker that is reached with TLS alone, and what its clients know.
type secured struct {
	*running
	dir   string // of the certificates
	trust *tls.Config
}

// startSecured starts one whose first user is "root", with the password "first", and which takes certificates.
func startSecured(t *testing.T, more string) *secured {
	t.Helper()
	dir := testCertificates(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	config := writeFile(t, "baton.yaml", `
default_user: root
default_pass: first
amqp: {listen: off, tls_listen: "127.0.0.1:0"}
mqtt: {listen: off, tls_listen: "127.0.0.1:0", websocket: off, websocket_tls: "127.0.0.1:0"}
admin: {listen: off, tls_listen: "127.0.0.1:0", socket: off}
metrics: {listen: off}
tls: {cert_file: `+file("server.crt")+`, key_file: `+file("server.key")+`, ca_file: `+file("ca.crt")+`, client_auth: request}
auth: {backends: [certificate, internal]}
`+more)
	s := &secured{dir: dir}
	s.trust = s.trusting(t, "ca.crt")
	s.running = start(t, "serve", "--data", t.TempDir(), "--config", config)
	s.ready(t)
	return s
}

func (s *secured) trusting(t *testing.T, ca string) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, ca))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatal("no certificate in " + ca)
	}
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// amqp logs in, by certificate where there is no user.
func (s *secured) amqp(t *testing.T, user, password string) (*amqp.Connection, error) {
	t.Helper()
	c := amqp.Config{TLSClientConfig: s.trust.Clone()}
	if user == "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(s.dir, "client.crt"), filepath.Join(s.dir, "client.key"))
		if err != nil {
			t.Fatal(err)
		}
		c.TLSClientConfig.Certificates = []tls.Certificate{pair}
		c.SASL = []amqp.Authentication{&amqp.ExternalAuth{}}
	} else {
		c.SASL = []amqp.Authentication{&amqp.PlainAuth{Username: user, Password: password}}
	}
	conn, err := amqp.DialConfig("amqps://"+s.addr(t, "amqps")+"/", c)
	if err == nil {
		t.Cleanup(func() { _ = conn.Close() })
	}
	return conn, err
}

// mqtt logs in over TCP or WebSocket, and returns the reason code.
func (s *secured) mqtt(t *testing.T, name, user, password string) byte {
	t.Helper()
	var conn net.Conn
	if name == "wss" {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.trust}}
		ws, resp, err := websocket.Dial(t.Context(), "wss://"+s.addr(t, name)+"/ws", &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"mqtt"}})
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body != nil {
			_ = resp.Body.Close()
		}
		defer func() { _ = ws.CloseNow() }()
		conn = websocket.NetConn(t.Context(), ws, websocket.MessageBinary)
	} else {
		var err error
		if conn, err = (&tls.Dialer{Config: s.trust}).DialContext(t.Context(), "tcp", s.addr(t, name)); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	connect := mqttPacket(0x10, mqttText("MQTT"), []byte{5, 0xc2, 0, 0, 0}, mqttText("c-"+name), mqttText(user), mqttText(password))
	return exchange(t, conn, connect)[1]
}

// api asks the admin port as a user.
func (s *secured) api(t *testing.T, user, password, method, path string, body any) (code int, answer string) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+s.addr(t, "admin-tls")+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(user, password)
	req.Close = true
	resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: s.trust}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// askSocket asks a broker's admin socket.
func askSocket(t *testing.T, socket, method, path, body string) (code int, answer string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://baton"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func wantRefused(t *testing.T, what string, err error) {
	t.Helper()
	var e *amqp.Error
	if !errors.As(err, &e) || e.Code != amqp.AccessRefused {
		t.Errorf("%s: %v, want %d", what, err, amqp.AccessRefused)
	}
}

func TestServe_UsersLogInOverTLS(t *testing.T) {
	s := startSecured(t, "")
	if _, err := s.amqp(t, "root", "first"); err != nil {
		t.Fatalf("the first user: %v", err)
	}
	_, err := s.amqp(t, "guest", "guest")
	wantRefused(t, "the user that was replaced", err)

	type object = map[string]any
	for _, put := range []struct {
		path string
		body object
	}{
		{"/api/users/app", object{"password": "second", "tags": ""}},
		{"/api/permissions/%2F/app", object{"configure": "^app\\.", "write": ".*", "read": ".*"}},
	} {
		if code, answer := s.api(t, "root", "wrong", http.MethodPut, put.path, put.body); code != http.StatusUnauthorized {
			t.Errorf("%s with a wrong password: %d %s", put.path, code, answer)
		}
		if code, answer := s.api(t, "root", "first", http.MethodPut, put.path, put.body); code != http.StatusCreated {
			t.Fatalf("%s: %d %s", put.path, code, answer)
		}
	}
	if code, answer := s.api(t, "app", "second", http.MethodGet, "/api/users", nil); code != http.StatusUnauthorized {
		t.Errorf("a user without tags administrates: %d %s", code, answer)
	}

	_, err = s.amqp(t, "app", "wrong")
	wantRefused(t, "a wrong password", err)
	for _, login := range []string{"app", ""} { // by password, and by certificate
		conn, err := s.amqp(t, login, "second")
		if err != nil {
			t.Fatalf("%q: %v", login, err)
		}
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ch.QueueDeclare("app.q", true, false, false, false, nil); err != nil {
			t.Errorf("%q: %v", login, err)
		}
		_, err = ch.QueueDeclare("other", true, false, false, false, nil)
		wantRefused(t, "a queue that the permission does not allow", err)
	}
	for _, name := range []string{"mqtts", "wss"} {
		if code := s.mqtt(t, name, "app", "second"); code != 0 {
			t.Errorf("%s: %#x", name, code)
		}
		if code := s.mqtt(t, name, "app", "wrong"); code != 0x86 {
			t.Errorf("%s with a wrong password: %#x", name, code)
		}
	}
}

func TestServe_ReloadTakesNewCertificatesAndLeavesConnectionsAlone(t *testing.T) {
	s := startSecured(t, "")
	before, err := s.amqp(t, "root", "first")
	if err != nil {
		t.Fatal(err)
	}
	other := testCertificates(t)
	for _, name := range []string{"ca.crt", "server.crt", "server.key"} {
		text, err := os.ReadFile(filepath.Join(other, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.reload <- syscall.SIGHUP
	s.log.await(t, `msg="configuration reloaded"`)
	_, err = s.amqp(t, "root", "first")
	if unknown := (x509.UnknownAuthorityError{}); !errors.As(err, &unknown) {
		t.Errorf("with the former authority: %v", err)
	}
	s.trust = s.trusting(t, "ca.crt")
	if _, err := s.amqp(t, "root", "first"); err != nil {
		t.Errorf("with the new one: %v", err)
	}
	if _, err := before.Channel(); err != nil {
		t.Errorf("a connection from before: %v", err)
	}
}

// TestServe_FirstUserIsOfANewStore: the settings do not give back a user that was taken away, nor a password that was changed.
func TestServe_FirstUserIsOfANewStore(t *testing.T) {
	data, socket := t.TempDir(), filepath.Join(t.TempDir(), "s")
	serve := func() *running {
		t.Helper()
		r := start(t, "serve", "--data", data, "--amqp", "127.0.0.1:0", "--mqtt", "off", "--ws", "off", "--admin", "off", "--metrics", "off", "--admin-socket", socket)
		r.ready(t)
		return r
	}
	login := func(r *running, password string) error {
		t.Helper()
		conn, err := amqp.Dial("amqp://" + (&url.URL{User: url.UserPassword("guest", password)}).User.String() + "@" + r.addr(t, "amqp") + "/")
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	change := func(method, path, body string) {
		t.Helper()
		if code, answer := askSocket(t, socket, method, path, body); code/100 != 2 {
			t.Fatalf("%s %s: %d %s", method, path, code, answer)
		}
	}
	again := func(r *running) *running {
		t.Helper()
		r.stop()
		if code := r.exit(t); code != exitOK {
			t.Fatal(code)
		}
		return serve()
	}
	r := serve()
	if err := login(r, "guest"); err != nil {
		t.Fatal(err)
	}
	change(http.MethodPut, "/api/users/guest", `{"password": "another", "tags": "administrator"}`)
	wantRefused(t, "the former password", login(r, "guest"))
	r = again(r)
	wantRefused(t, "the former password after a restart", login(r, "guest"))
	if err := login(r, "another"); err != nil {
		t.Error(err)
	}
	change(http.MethodDelete, "/api/users/guest", "")
	r = again(r)
	wantRefused(t, "a user that was deleted", login(r, "guest"))
}

// TestServe_StandbyRefusesChanges: and names who takes them.
func TestServe_StandbyRefusesChanges(t *testing.T) {
	data, sockets := t.TempDir(), t.TempDir()
	serve := func(name string) (*running, string) {
		socket := filepath.Join(sockets, name)
		return start(t, "serve", "--ha", "--ha-ttl", "1s", "--node", name, "--data", data, "--amqp", "127.0.0.1:0", "--mqtt", "off", "--ws", "off",
			"--admin", "127.0.0.1:0", "--metrics", "off", "--admin-socket", socket), socket
	}
	primary, _ := serve("one")
	primary.ready(t)
	standby, socket := serve("two")
	standby.awaitFit(t)
	code, answer := askSocket(t, socket, http.MethodPut, "/api/users/app", `{"password": "x", "tags": ""}`)
	if code != http.StatusServiceUnavailable || !strings.Contains(answer, "standby") || !strings.Contains(answer, "one") {
		t.Errorf("%d %s", code, answer)
	}
}

// TestServe_MemoryWatermarkStopsPublishers: it is ordered while the broker runs, and taken back.
func TestServe_MemoryWatermarkStopsPublishers(t *testing.T) {
	s := startSecured(t, "")
	conn, err := s.amqp(t, "root", "first")
	if err != nil {
		t.Fatal(err)
	}
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 4))
	publish(t, conn, 1)
	order := func(watermark any) {
		t.Helper()
		body := map[string]any{"memory": map[string]any{"watermark": watermark}}
		if code, answer := s.api(t, "root", "first", http.MethodPut, "/alarms", body); code/100 != 2 {
			t.Fatalf("%d %s", code, answer)
		}
	}
	order(1)
	s.log.await(t, `msg="memory alarm: publishers wait`)
	published := make(chan error, 1)
	go func() {
		ch, err := conn.Channel()
		if err == nil {
			err = ch.PublishWithContext(context.WithoutCancel(t.Context()), "", "q", false, false, amqp.Publishing{Body: []byte("x")})
		}
		published <- err
	}()
	if b := <-blocked; !b.Active || b.Reason != "low on memory" {
		t.Errorf("told %+v", b)
	}
	order(nil)
	s.log.await(t, `msg="memory alarm cleared`)
	if b := <-blocked; b.Active {
		t.Errorf("told %+v", b)
	}
	if err := <-published; err != nil {
		t.Error(err)
	}
}
