package admin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/http/api"
	"github.com/batonmq/baton/protocols/listen"
)

// emptyBroker has nothing but the default vhost.
func emptyBroker(tb testing.TB) *core.Broker {
	tb.Helper()
	store := memstore.Open(memstore.Options{})
	broker, err := core.Open(tb.Context(), store, core.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		broker.Close()
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	return broker
}

// primary serves with a broker whose administrator is "adm" with the password "pw".
func primary(t *testing.T) *api.Primary {
	t.Helper()
	broker := emptyBroker(t)
	user, perms, err := auth.FirstUser("adm", "pw", "/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := broker.Access().Seed(t.Context(), user, perms); err != nil {
		t.Fatal(err)
	}
	accounts, err := auth.NewAccounts(auth.AccountsOptions{Users: broker.Access()})
	if err != nil {
		t.Fatal(err)
	}
	internal, err := auth.NewInternal(accounts, auth.InternalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &api.Primary{Broker: broker, Auth: internal, Listeners: []api.Listener{{Protocol: "amqp", Addr: &net.TCPAddr{Port: 5672}}}}
}

func serving() *Health {
	h := new(Health)
	h.Set(State{Role: RolePrimary, Epoch: 1})
	return h
}

// do asks an address, or a socket, and leaves no connection behind.
func do(t *testing.T, network, addr, method, path, user, password string) (code int, body string) {
	t.Helper()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://baton"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := transport.RoundTrip(req)
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

func TestManagementIsOnTheAdminPort(t *testing.T) {
	p := primary(t)
	health := serving()
	s := start(t, Options{Health: health, Node: "a", Version: "1.2.3", Primary: func() *api.Primary { return p }})
	addr := s.AdminAddrs()[0].String()
	for _, tt := range []struct {
		path, user, password string
		code                 int
		want                 string
	}{
		{"/api/whoami", "adm", "pw", 200, `{"name":"adm","tags":["administrator"]}`},
		{"/api/whoami", "adm", "no", 401, `{"error":"not_authorized","reason":"Login failed"}`},
		{"/api/whoami", "", "", 401, `{"error":"not_authorized","reason":"Login failed"}`},
		{"/api/vhosts/%2F?columns=name", "adm", "pw", 200, `{"name":"/"}`},
		{"/api/vhosts/%2F/permissions?columns=vhost", "adm", "pw", 200, `[{"vhost":"/"}]`},
		{"/api/overview?columns=node,rabbitmq_version", "adm", "pw", 200, `{"node":"a","rabbitmq_version":"1.2.3"}`},
		{"/alarms", "adm", "pw", 200, `{"memory":{"alarm":false,`},
		{"/alarms", "", "", 401, `{"error":"not_authorized"`},
		{"/livez", "", "", 200, "ok\n"},
		{"/readyz", "", "", 200, `{"role":"primary"`},
	} {
		if code, body := do(t, "tcp", addr, http.MethodGet, tt.path, tt.user, tt.password); code != tt.code || !strings.HasPrefix(body, tt.want) {
			t.Errorf("%s as %q = %d %s, want %d %s", tt.path, tt.user, code, body, tt.code, tt.want)
		}
	}
	if code, _ := do(t, "tcp", s.MetricsAddrs()[0].String(), http.MethodGet, "/api/whoami", "adm", "pw"); code != 404 {
		t.Errorf("the metrics address answers /api with %d", code)
	}

	_, body := do(t, "tcp", addr, http.MethodGet, "/api/overview?columns=listeners", "adm", "pw")
	var o struct{ Listeners []struct{ Protocol string } }
	if err := json.Unmarshal([]byte(body), &o); err != nil {
		t.Fatal(err)
	}
	if len(o.Listeners) != 3 || o.Listeners[0].Protocol != "http" || o.Listeners[1].Protocol != "http/prometheus" || o.Listeners[2].Protocol != "amqp" {
		t.Errorf("listeners: %s", body)
	}

	for _, tt := range []struct {
		state State
		want  string
	}{
		{
			State{Role: RoleStandby, Reason: "node b is the primary", Standby: &Standby{Primary: "b", Addresses: []string{"amqp://b:5672", "mqtt://b:1883"}}},
			`this node is a standby; the primary is b at amqp://b:5672 mqtt://b:1883","primary":"b","addresses":["amqp://b:5672","mqtt://b:1883"]}`,
		},
		{State{Role: RoleStandby, Standby: &Standby{Primary: "b"}}, `this node is a standby; the primary is b","primary":"b"}`},
		{State{Role: RoleStarting, Reason: "the store is being opened"}, `this node is starting: the store is being opened"}`},
		{State{Role: RoleStopping}, `this node is stopping: it does not serve any more"}`},
	} {
		health.Set(tt.state)
		code, body := do(t, "tcp", addr, http.MethodGet, "/api/whoami", "", "")
		if want := `{"error":"service_unavailable","reason":"` + tt.want; code != 503 || body != want {
			t.Errorf("in state %s: %d %s, want %s", tt.state.Role, code, body, want)
		}
	}
}

func TestAdminConnectionsAreBounded(t *testing.T) {
	s := start(t, Options{MaxConns: 2})
	addr := s.AdminAddrs()[0].String()
	var open []net.Conn
	for range 2 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr); err == nil { // else it was reset that soon
		defer conn.Close()
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a third connection is answered")
		}
	}
	// A connection that ends makes room.
	open[0].Close()
	deadline := time.Now().Add(5 * time.Second)
	for s.admin.Stats().Open > 1 && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if code, _ := do(t, "tcp", addr, http.MethodGet, "/livez", "", ""); code != 200 {
		t.Errorf("after one has left: %d", code)
	}
}

func TestManagementOverTLS(t *testing.T) {
	cert, key, roots := selfSigned(t)
	secure, err := listen.OpenTLS(listen.TLSOptions{KeyPairs: []listen.KeyPair{{CertFile: cert, KeyFile: key}}})
	if err != nil {
		t.Fatal(err)
	}
	p := primary(t)
	s := start(t, Options{Health: serving(), Primary: func() *api.Primary { return p }, AdminTLS: []string{"127.0.0.1:0"}, TLS: secure})
	transport := &http.Transport{DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.AdminTLSAddrs()[0].String()+"/api/whoami", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("adm", "pw")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || string(body) != `{"name":"adm","tags":["administrator"]}` {
		t.Errorf("%s %s, %v", resp.Status, body, err)
	}
	expires := secure.Stats().Certificates[0].NotAfter.Unix()
	_, metrics := get(t, s.MetricsAddrs()[0], "/metrics")
	wantLines(t, metrics,
		`baton_tls_handshakes_total{listener="admin-tls"} 1`,
		`baton_tls_handshake_failures_total{listener="admin-tls",reason="plain"} 0`,
		fmt.Sprintf(`baton_tls_certificate_expiry_timestamp_seconds{serial="1",subject="broker.test"} %v`, float64(expires)),
		"baton_tls_reloads_total 0", "baton_tls_reload_failures_total 0",
	)
	if _, err := Start(t.Context(), Options{Health: new(Health), AdminTLS: []string{"127.0.0.1:0"}}); err == nil {
		t.Error("an address with TLS is opened without a certificate")
	}
}

// selfSigned makes a certificate for 127.0.0.1.
func selfSigned(t *testing.T) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"broker.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(cert)
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER), roots
}

// socketDir is a short path: a socket's may not be long.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "b") //nolint:usetesting // the test's name would be in the path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestSocket_ItsOwnerAdministrates(t *testing.T) {
	p := primary(t)
	path := filepath.Join(socketDir(t), "run", "a.sock")
	s := start(t, Options{Health: serving(), Primary: func() *api.Primary { return p }, Socket: path})
	code, body := do(t, "unix", path, http.MethodGet, "/api/whoami", "", "")
	if code != 200 || !strings.Contains(body, `via socket","tags":["administrator"]}`) {
		t.Errorf("whoami = %d %s", code, body)
	}
	if runtime.GOOS == "linux" && os.Geteuid() == 0 && !strings.HasPrefix(body, `{"name":"root via socket"`) {
		t.Errorf("whoami of root = %s", body)
	}
	if code, _ := do(t, "unix", path, http.MethodPut, "/api/vhosts/v", "", ""); code != 201 {
		t.Errorf("PUT = %d", code)
	}
	// Credentials count before the connection.
	if code, _ := do(t, "unix", path, http.MethodGet, "/api/whoami", "adm", "no"); code != 401 {
		t.Errorf("a wrong password: %d", code)
	}
	if code, body := do(t, "unix", path, http.MethodGet, "/debug/pprof/cmdline", "", ""); code != 200 {
		t.Errorf("profiles: %d %s", code, body)
	}
	if runtime.GOOS != "windows" {
		for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v", name, info.Mode(), err)
			}
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestSocket_IsReplacedOnlyIfNobodyAnswers(t *testing.T) {
	dir := socketDir(t)
	open := func(path string) error {
		s, err := Start(t.Context(), Options{Health: new(Health), Socket: path})
		if err == nil {
			err = s.Close(t.Context())
		}
		return err
	}
	wantErr := func(path, want string) {
		t.Helper()
		err := open(path)
		if e, ok := errors.AsType[*listen.AddressError](err); !ok || !strings.Contains(e.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	stale := filepath.Join(dir, "stale")
	ln, err := new(net.ListenConfig).Listen(t.Context(), "unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	wantErr(stale, "another broker answers on it")
	_ = ln.Close()
	if err := open(stale); err != nil {
		t.Errorf("over a stale one: %v", err)
	}

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantErr(file, "it is no socket")
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file is now %q, %v", b, err)
	}
	wantErr(filepath.Join(dir, strings.Repeat("x", 120)), "choose a shorter one")
	wantErr(filepath.Join(file, "sock"), "make its directory")
	if runtime.GOOS == "windows" {
		return
	}
	loose := filepath.Join(dir, "loose")
	if err := os.Mkdir(loose, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(loose, 0o770); err != nil { // past the umask
		t.Fatal(err)
	}
	wantErr(filepath.Join(loose, "sock"), "others may write to the directory")
}

func TestSocket_OthersAreRefused(t *testing.T) {
	own := os.Geteuid()
	for _, tt := range []struct {
		name string
		uid  int
		err  error
		want string // empty: refused
	}{
		{"root", 0, nil, "root via socket"},
		{"another user", own + 1, nil, ""},
		{"the system does not tell", -1, errNoPeerUID, "local via socket"},
		{"the question fails", -1, net.ErrClosed, ""},
	} {
		p, ok := socketPrincipal(tt.uid, tt.err)
		if ok != (tt.want != "") || p.Name != tt.want || ok != slices.Equal(p.Tags, []string{"administrator"}) {
			t.Errorf("%s: %+v, %t", tt.name, p, ok)
		}
	}
	h := ownersOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	for ctx, want := range map[context.Context]int{t.Context(): 204, context.WithValue(t.Context(), refusedKey{}, true): 403} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/livez", http.NoBody))
		if w.Code != want {
			t.Errorf("%d, want %d", w.Code, want)
		}
	}
}

func TestSocket_ConnectionsAreBounded(t *testing.T) {
	state := limitConns(1)
	a, b := net.Pipe()
	c, d := net.Pipe()
	defer b.Close()
	defer d.Close()
	state(a, http.StateNew)
	state(c, http.StateNew)
	if _, err := c.Write(nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the second one is open: %v", err)
	}
	state(c, http.StateClosed)
	state(a, http.StateClosed)
	e, g := net.Pipe()
	defer e.Close()
	defer g.Close()
	state(e, http.StateNew)
	if err := e.SetDeadline(time.Now()); err != nil {
		t.Errorf("after both have gone: %v", err)
	}
}

// Logins to the API count as those of the protocol http, which has no other numbers.
func TestMetrics_LoginsToTheAPI(t *testing.T) {
	p := primary(t)
	s := start(t, Options{Health: serving(), Primary: func() *api.Primary { return p }, Admin: []string{"127.0.0.1:0"}, Stats: func() (Stats, bool) {
		var s Stats
		s.Add(&Protocol{Name: "amqp091"})
		return s, true
	}})
	addr := s.AdminAddrs()[0].String()
	for _, password := range []string{"pw", "wrong", "pw"} {
		do(t, "tcp", addr, http.MethodGet, "/api/whoami", "adm", password)
	}
	for _, path := range []string{"/metrics", "/metrics/detailed?family=auth_attempt_metrics"} {
		_, body := get(t, s.MetricsAddrs()[0], path)
		body = strings.ReplaceAll(body, "rabbitmq_detailed_", "rabbitmq_")
		wantLines(t, body, `rabbitmq_auth_attempts_total{protocol="http"} 3`, `rabbitmq_auth_attempts_succeeded_total{protocol="http"} 2`,
			`rabbitmq_auth_attempts_failed_total{protocol="http"} 1`, `rabbitmq_auth_attempts_total{protocol="amqp091"} 0`)
		if strings.Contains(body, `global_publishers{protocol="http"}`) {
			t.Error("the API has publishers")
		}
	}
}
