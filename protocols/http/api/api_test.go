package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
	"github.com/batonmq/baton/protocols/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is the API over a real broker that has users with every tag. Their
// password is "pw".
type fixture struct {
	*API

	broker  *core.Broker
	primary *Primary
	log     *syncBuffer
	failed  []net.Addr
	facts   NodeFacts
	peers   []Peer
	totals  func() Totals
	absence Absence
	open    []Listener // of whatever role
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// rabbitHash is a hash that costs nothing to check.
func rabbitHash(password string) string {
	salt := "salt"
	sum := sha256.Sum256([]byte(salt + password))
	return base64.StdEncoding.EncodeToString(append([]byte(salt), sum[:]...))
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return newFixtureOf(t)
}

func newFixtureOf(tb testing.TB) *fixture {
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
	accounts, err := auth.NewAccounts(auth.AccountsOptions{Users: broker.Access()})
	if err != nil {
		tb.Fatal(err)
	}
	internal, err := auth.NewInternal(accounts, auth.InternalOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	f := &fixture{broker: broker, log: new(syncBuffer)}
	f.absence = Absence{
		Reason: "this node is a standby; the primary is b at amqp://b:5672", Role: "standby",
		Primary: "b", Addresses: []string{"amqp://b:5672", "http://b:15672"},
	}
	f.totals = func() Totals { return Totals{Queues: 3, Ready: 5, Unacked: 2, PublishedTotal: 11, Connections: 4} }
	f.primary = &Primary{Broker: broker, Auth: internal, Account: accounts.Principal, Compatible: "3.13.7"}
	f.API, err = New(Options{
		Node: "node-a", Version: "1.2.3", Log: slog.New(slog.NewTextHandler(f.log, nil)),
		Primary: func() *Primary { return f.primary }, Absent: func() Absence { return f.absence },
		Totals: func() Totals { return f.totals() },
		Facts:  func() NodeFacts { return f.facts }, Peers: func() []Peer { return f.peers },
		Listeners:   func() []Listener { return f.open },
		LoginFailed: func(a net.Addr) { f.failed = append(f.failed, a) },
	})
	if err != nil {
		tb.Fatal(err)
	}
	a := broker.Access()
	for name, tags := range map[string][]string{
		"adm": {"administrator"}, "mon": {"monitoring"}, "pol": {"policymaker"}, "mgt": {"management"}, "non": nil,
	} {
		u := core.User{
			Name: name, Password: "rabbit_password_hashing_sha256:" + rabbitHash("pw"), Tags: tags, MaxConnections: -1, MaxChannels: -1,
		}
		must(tb)(a.PutUser(tb.Context(), u))
	}
	must(tb)(a.PutVHost(tb.Context(), core.VHostInfo{Name: "v1", MaxConnections: 7, MaxQueues: -1}))
	must(tb)(a.PutVHost(tb.Context(), core.VHostInfo{Name: "v2", MaxConnections: -1, MaxQueues: 9}))
	must(tb)(a.SetPermission(tb.Context(), core.Permission{VHost: "v1", User: "mgt", Configure: "^c", Write: "", Read: ".*"}))
	must(tb)(a.SetTopicPermission(tb.Context(), core.TopicPermission{VHost: "v1", User: "mgt", Exchange: "amq.topic", Write: "w", Read: "r"}))
	return f
}

func must(tb testing.TB) func(bool, error) {
	tb.Helper()
	return func(_ bool, err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// attach opens a session as a front-end does. What ends it is sent to ended.
func (f *fixture) attach(t *testing.T, info core.ConnectionInfo) (ended chan error) {
	t.Helper()
	return f.attachCounting(t, &info)
}

// attachCounting does so for a connection whose info changes.
func (f *fixture) attachCounting(t *testing.T, info *core.ConnectionInfo) (ended chan error) {
	t.Helper()
	ended = make(chan error, 4)
	s, err := f.broker.Attach(info.VHost, core.SessionOptions{
		Conn: info.Name, User: info.User, Info: func(bool) core.ConnectionInfo { return *info }, End: func(err error) { ended <- err },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return ended
}

// request is what the tests send.
type request struct {
	user, password string // both empty: nobody; a password alone is never sent
	method, path   string
	body           string
	header         map[string]string
	ctx            context.Context //nolint:containedctx // of the one request
}

func (f *fixture) send(t *testing.T, q request) *httptest.ResponseRecorder {
	t.Helper()
	ctx := q.ctx
	if ctx == nil {
		ctx = t.Context()
	}
	r := httptest.NewRequestWithContext(ctx, q.method, q.path, strings.NewReader(q.body))
	r.RemoteAddr = "192.0.2.7:4711"
	if q.user != "" {
		r.SetBasicAuth(q.user, q.password)
	}
	for k, v := range q.header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

// as sends a request with the password that all users have.
func (f *fixture) as(t *testing.T, user, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	return f.send(t, request{user: user, password: "pw", method: method, path: path, body: body})
}

func (f *fixture) wantBody(t *testing.T, path, want string) {
	t.Helper()
	if w := f.as(t, "adm", http.MethodGet, path, ""); w.Code != http.StatusOK || w.Body.String() != want {
		t.Errorf("GET %s = %d\n%s\nwant\n%s", path, w.Code, w.Body, want)
	}
}

func TestStandbyNamesThePrimary(t *testing.T) {
	f := newFixture(t)
	f.primary = nil
	want := `{"error":"service_unavailable","reason":"this node is a standby; the primary is b at amqp://b:5672",` +
		`"primary":"b","addresses":["amqp://b:5672","http://b:15672"]}`
	for _, path := range []string{"/api/whoami", "/api/nothing", "/alarms"} {
		if w := f.send(t, request{method: "GET", path: path}); w.Code != 503 || w.Body.String() != want || w.Header().Get("Baton-Primary") != "http://b:15672" {
			t.Errorf("%s: %d %s, header %q", path, w.Code, w.Body, w.Header())
		}
	}
}

func TestPathsAndMethods(t *testing.T) {
	f := newFixture(t)
	for _, tt := range []struct {
		method, path string
		code         int
		allow, body  string
	}{
		{"GET", "/api/nope", 404, "", `{"error":"Object Not Found","reason":"Not Found"}`},
		{"GET", "/api", 404, "", ""},
		{"GET", "/api/", 404, "", ""},
		{"GET", "/api/vhosts/", 200, "", `[{"name":"/"`},
		{"GET", "/api/vhosts//", 404, "", `{"error":"Object Not Found","reason":"Not Found"}`},
		{"GET", "/api/vhosts/%2F", 200, "", `{"name":"/"`},
		{"GET", "/api/vhosts/%2f?columns=name", 200, "", `{"name":"/"}`},
		{"GET", "/api/users/nope", 404, "", `{"error":"Object Not Found","reason":"Not Found"}`},
		{"POST", "/api/whoami", 405, "GET, HEAD, OPTIONS", `{"error":"method_not_allowed"`},
		{"DELETE", "/api/users/bulk-delete", 405, "POST, OPTIONS", ""},
		{"OPTIONS", "/api/users/x", 200, "DELETE, GET, HEAD, PUT, OPTIONS", ""},
		{"HEAD", "/api/whoami", 200, "", ""},
	} {
		w := f.as(t, "adm", tt.method, tt.path, "")
		if w.Code != tt.code || w.Header().Get("Allow") != tt.allow || !strings.HasPrefix(w.Body.String(), tt.body) {
			t.Errorf("%s %s = %d, Allow %q, %s", tt.method, tt.path, w.Code, w.Header().Get("Allow"), w.Body)
		}
	}
}

func TestLogin(t *testing.T) {
	f := newFixture(t)
	for _, tt := range []struct {
		name, header string
		code         int
	}{
		{"no scheme", "x", 401},
		{"another scheme", "Digest x", 401},
		{"not base64", "Basic !", 401},
		{"an empty name", "Basic " + base64.StdEncoding.EncodeToString([]byte(":pw")), 401},
		{"a token that is none", "Bearer abc", 401},
		{"basic in lower case", "basic " + base64.StdEncoding.EncodeToString([]byte("adm:pw")), 200},
	} {
		w := f.send(t, request{method: "GET", path: "/api/whoami", header: map[string]string{"Authorization": tt.header}})
		if w.Code != tt.code || (w.Header().Get("WWW-Authenticate") != "") != (tt.code == 401) {
			t.Errorf("%s: %d %s", tt.name, w.Code, w.Body)
		}
	}
	if w := f.as(t, "nope", "GET", "/api/whoami", ""); w.Code != 401 || w.Body.String() != `{"error":"not_authorized","reason":"Login failed"}` {
		t.Errorf("an unknown user: %d %s", w.Code, w.Body)
	}
	if len(f.failed) != 6 || f.failed[0].String() != "192.0.2.7:4711" {
		t.Errorf("failures were told of %v", f.failed)
	}

	// What a connection proves counts where the request names nobody, and there only.
	ctx := WithPrincipal(t.Context(), auth.Principal{Name: "root via socket", Tags: []string{"administrator"}})
	w := f.send(t, request{ctx: ctx, method: "GET", path: "/api/whoami"})
	if want := `{"name":"root via socket","tags":["administrator"]}`; w.Body.String() != want {
		t.Errorf("whoami over the socket = %s", w.Body)
	}
	if w := f.send(t, request{ctx: ctx, user: "mgt", password: "pw", method: "GET", path: "/api/users"}); w.Code != 401 {
		t.Errorf("mgt over the socket: %d", w.Code)
	}
	if w := f.send(t, request{ctx: ctx, user: "adm", password: "no", method: "GET", path: "/api/users"}); w.Code != 401 {
		t.Errorf("a wrong password over the socket: %d", w.Code)
	}
}

// A login that cannot be checked is nobody's fault but the backend's.
func TestLogin_BackendIsDown(t *testing.T) {
	f := newFixture(t)
	f.primary.Auth = authFunc(func() error { return context.DeadlineExceeded })
	if w := f.as(t, "adm", "GET", "/api/whoami", ""); w.Code != 503 || len(f.failed) != 0 {
		t.Errorf("%d %s; failures %v", w.Code, w.Body, f.failed)
	}
}

type authFunc func() error

func (f authFunc) Authenticate(context.Context, auth.Credentials) (auth.Principal, error) {
	return auth.Principal{}, f()
}

func TestGuestIsForLoopbackOnly(t *testing.T) {
	f := newFixture(t)
	must(t)(f.broker.Access().PutUser(t.Context(), core.User{
		Name: "guest", Password: "rabbit_password_hashing_sha256:" + rabbitHash("guest"), Tags: []string{"administrator"}, MaxConnections: -1, MaxChannels: -1,
	}))
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/api/whoami", http.NoBody)
	r.SetBasicAuth("guest", "guest")
	for peer, want := range map[string]int{"127.0.0.1:1": 200, "[::1]:1": 200, "192.0.2.1:1": 401, "": 401} {
		r.RemoteAddr = peer
		w := httptest.NewRecorder()
		if f.ServeHTTP(w, r); w.Code != want {
			t.Errorf("from %q: %d, want %d", peer, w.Code, want)
		}
	}
}

func TestCrossSiteRequestsChangeNothing(t *testing.T) {
	f := newFixture(t)
	w := f.send(t, request{
		user: "adm", password: "pw", method: "POST", path: "/api/users/bulk-delete", body: `{"users":["non"]}`,
		header: map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://elsewhere.example", "Content-Type": "text/plain"},
	})
	if _, ok := f.broker.Access().User("non"); w.Code != 403 || !ok {
		t.Errorf("%d %s, user left: %t", w.Code, w.Body, ok)
	}
	for name := range w.Header() {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("header %s is sent", name)
		}
	}
}

// One line for each change, made or refused, and never a secret.
func TestAudit(t *testing.T) {
	f := newFixture(t)
	f.as(t, "adm", "PUT", "/api/users/new", `{"password":"s3cret","tags":["management"]}`)
	f.as(t, "adm", "PUT", "/api/users/new", `{"password_hash":"`+rabbitHash("other")+`","tags":""}`)
	f.as(t, "mgt", "DELETE", "/api/vhosts/v1", "")
	f.as(t, "adm", "PUT", "/api/permissions/%2F/new", `{"configure":"^q","write":"(","read":""}`)
	f.as(t, "adm", "PUT", "/api/permissions/%2F/new", `{"configure":"^q","write":"","read":""}`)
	f.as(t, "adm", "GET", "/api/users", "")
	f.send(t, request{user: "adm", password: "wr0ng", method: "DELETE", path: "/api/users/new"})
	log := f.log.String()
	for _, want := range []string{
		`level=INFO msg=administration actor=adm peer=192.0.2.7:4711 action="put user" object="user 'new'" result=created tags=[management] password=given`,
		`action="put user" object="user 'new'" result=done tags=[] password="hash given"`,
		`level=WARN msg=administration actor=mgt peer=192.0.2.7:4711 action="delete vhost" object="vhost 'v1'" result="not_authorised: Not administrator user"`,
		`action="set permission" object="user 'new', vhost '/'" result="bad_request: invalid_regexp: write:`,
		`action="set permission" object="user 'new', vhost '/'" result=created configure=^q write="" read=""`,
		`msg="admin login refused" peer=192.0.2.7:4711`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %s", want)
		}
	}
	for _, secret := range []string{"s3cret", "wr0ng", rabbitHash("other"), rabbitHash("pw"), "$argon2id"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %q in it", secret)
		}
	}
	if n := strings.Count(log, "msg=administration"); n != 5 {
		t.Errorf("%d audit lines, want 5:\n%s", n, log)
	}
}

func TestHealthChecks(t *testing.T) {
	f := newFixture(t)
	f.wantBody(t, "/api/health/checks/alarms", `{"status":"ok"}`)
	f.broker.SetMemoryAlarm(true)
	for path, want := range map[string]string{
		"/api/health/checks/alarms":       `{"status":"failed","reason":"There are alarms in effect in the cluster","alarms":[{"node":"node-a","resource":"memory"}]}`,
		"/api/health/checks/local-alarms": `{"status":"failed","reason":"There are alarms in effect on the node","alarms":[{"node":"node-a","resource":"memory"}]}`,
	} {
		if w := f.as(t, "mgt", "GET", path, ""); w.Code != 503 || w.Body.String() != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestAlarms(t *testing.T) {
	f := newFixture(t)
	if w := f.as(t, "adm", "PUT", "/alarms", `{"memory":{"watermark":1}}`); w.Code != 400 {
		t.Errorf("where it cannot be changed: %d %s", w.Code, w.Body)
	}
	watermark := int64(100)
	f.facts = NodeFacts{MemoryUsed: 50, MemoryWatermark: watermark, MemoryLimit: 200, DiskFree: 7, DiskWatermark: 8}
	f.primary.SetMemoryWatermark = func(n int64) error {
		if watermark = n; n < 0 {
			watermark = 100
		}
		f.facts.MemoryWatermark = watermark
		f.broker.SetMemoryAlarm(watermark < 50)
		return nil
	}
	f.wantBody(t, "/alarms", `{"memory":{"alarm":false,"used":50,"watermark":100,"limit":200},"disk":{"alarm":false,"free":7,"watermark":8}}`)
	for _, tt := range []struct {
		body string
		code int
		want int64
	}{
		{`{"memory":{"watermark":10}}`, 204, 10},
		{`{"memory":{"watermark":-1}}`, 400, 10},
		{`{"memory":{"watermark":"1"}}`, 400, 10},
		{`{}`, 400, 10},
		{`{"memory":{"watermark":0}}`, 204, 0},
		{`{"memory":{"watermark":null}}`, 204, 100},
		{`{"memory":{"watermark":10}}`, 204, 10},
	} {
		if w := f.as(t, "adm", "PUT", "/alarms", tt.body); w.Code != tt.code || watermark != tt.want {
			t.Errorf("PUT %s = %d %s, watermark %d", tt.body, w.Code, w.Body, watermark)
		}
	}
	f.wantBody(t, "/alarms", `{"memory":{"alarm":true,"used":50,"watermark":10,"limit":200},"disk":{"alarm":false,"free":7,"watermark":8}}`)
}

func TestOverview(t *testing.T) {
	f := newFixture(t)
	f.primary.Listeners = []Listener{
		{Protocol: "amqp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5672}},
		{Protocol: "amqp/ssl", Addr: &net.TCPAddr{IP: net.IPv6unspecified, Port: 5671}, TLS: true},
	}
	f.attach(t, core.ConnectionInfo{Name: "a", User: "mgt", VHost: "v1", Channels: 3})
	f.attach(t, core.ConnectionInfo{Name: "b", User: "adm", VHost: "v1", Channels: 5})
	var o struct {
		RabbitMQVersion string           `json:"rabbitmq_version"`
		ProductVersion  string           `json:"product_version"`
		ClusterName     string           `json:"cluster_name"`
		Node            string           `json:"node"`
		Objects         map[string]int   `json:"object_totals"`
		Queues          map[string]any   `json:"queue_totals"`
		Messages        map[string]any   `json:"message_stats"`
		Listeners       []map[string]any `json:"listeners"`
	}
	w := f.as(t, "mon", "GET", "/api/overview", "")
	if err := json.Unmarshal(w.Body.Bytes(), &o); err != nil {
		t.Fatal(err)
	}
	if o.RabbitMQVersion != "3.13.7" || o.ProductVersion != "1.2.3" || o.ClusterName != "node-a" || o.Node != "node-a" ||
		o.Objects["connections"] != 4 || o.Objects["queues"] != 3 || o.Queues["messages"] != 7.0 || o.Queues["messages_ready"] != 5.0 ||
		o.Messages["publish"] != 11.0 || len(o.Listeners) != 2 || o.Listeners[1]["port"] != 5671.0 || o.Listeners[1]["tls"] != true ||
		o.Listeners[0]["ip_address"] != "127.0.0.1" || o.Listeners[0]["protocol"] != "amqp" {
		t.Errorf("overview: %s", w.Body)
	}
	w = f.as(t, "mgt", "GET", "/api/overview?columns=node,object_totals,listeners,queue_totals", "")
	if want := `{"object_totals":{"channels":3,"connections":1},"queue_totals":{}}`; w.Body.String() != want {
		t.Errorf("overview of another: %s, want %s", w.Body, want)
	}
}

func TestConnections(t *testing.T) {
	f := newFixture(t)
	at := time.UnixMilli(1795384596987)
	ended := f.attach(t, core.ConnectionInfo{
		Name: "127.0.0.1:1 -> 127.0.0.1:5672", Protocol: "AMQP 0-9-1", User: "mgt", VHost: "v1", AuthMechanism: "PLAIN", State: "running",
		PeerHost: "127.0.0.1", PeerPort: 1, Host: "127.0.0.1", Port: 5672, Channels: 2, ChannelMax: 2047, FrameMax: 131072,
		Timeout: 10 * time.Second, ClientName: "app", ConnectedAt: at, BytesIn: 255, BytesOut: 533, PacketsIn: 3, PacketsOut: 4,
		ClientProperties: field.Table{
			{Key: "product", Value: "x"},
			{Key: "capabilities", Value: field.Table{{Key: "basic.nack", Value: true}}},
			{Key: "n", Value: int32(-5)},
			{Key: "f", Value: 1.5},
			{Key: "d", Value: field.Decimal{Scale: 2, Value: 150}},
			{Key: "list", Value: []any{uint8(1), "a", nil}},
			{Key: "bytes", Value: []byte("raw")},
			{Key: "at", Value: field.Timestamp(9)},
		},
	})
	f.attach(t, core.ConnectionInfo{Name: "m", Protocol: "MQTT 3-1-1", User: "adm", VHost: "/", ClientID: "dev 1", TLS: true, TLSVersion: "tlsv1.3", Cipher: "AES"})
	name := "127.0.0.1%3A1%20-%3E%20127.0.0.1%3A5672"
	f.wantBody(t, "/api/connections/"+name, `{"name":"127.0.0.1:1 -> 127.0.0.1:5672","type":"network","protocol":"AMQP 0-9-1","user":"mgt",`+
		`"user_who_performed_action":"mgt","vhost":"v1","node":"node-a","state":"running","auth_mechanism":"PLAIN","peer_host":"127.0.0.1",`+
		`"peer_port":1,"host":"127.0.0.1","port":5672,"ssl":false,"ssl_protocol":null,"ssl_cipher":null,"peer_cert_subject":null,`+
		`"peer_cert_issuer":null,"peer_cert_validity":null,"ssl_key_exchange":null,"ssl_hash":null,"channels":2,"channel_max":2047,"frame_max":131072,"timeout":10,"client_properties":{"at":9,"bytes":"raw",`+
		`"capabilities":{"basic.nack":true},"d":1.5,"f":1.5,"list":[1,"a",null],"n":-5,"product":"x"},"user_provided_name":"app",`+
		`"connected_at":1795384596987,"recv_oct":255,"recv_cnt":3,"send_oct":533,"send_cnt":4,"send_pend":0,`+
		`"recv_oct_details":{"rate":0},"send_oct_details":{"rate":0}}`)
	f.wantBody(t, "/api/connections/m?columns=ssl,ssl_protocol,variable_map,client_properties,state,connected_at",
		`{"client_properties":{"client_id":"dev 1"},"connected_at":0,"ssl":true,"ssl_protocol":"tlsv1.3","state":"running","variable_map":{"client_id":"dev 1"}}`)
	f.wantBody(t, "/api/connections/username/mgt", `[{"name":"127.0.0.1:1 -> 127.0.0.1:5672","vhost":"v1","user":"mgt","node":"node-a"}]`)
	f.wantBody(t, "/api/vhosts/%2F/connections?columns=name", `[{"name":"m"}]`)
	f.wantBody(t, "/api/connections?columns=user&sort=user", `[{"user":"adm"},{"user":"mgt"}]`)
	if w := f.as(t, "mgt", "GET", "/api/connections?columns=user", ""); w.Body.String() != `[{"user":"mgt"}]` {
		t.Errorf("mgt sees %s", w.Body)
	}

	for _, tt := range []struct{ header, want string }{
		{"because", "because"},
		{"", "Closed via management plugin"},
		{"tidy\x1b[31m up", "tidy[31m up"},
		{strings.Repeat("ä", 300), strings.Repeat("ä", 100)},
	} {
		w := f.send(t, request{user: "adm", password: "pw", method: "DELETE", path: "/api/connections/" + name, header: map[string]string{"X-Reason": tt.header}})
		if w.Code != 204 {
			t.Fatalf("DELETE: %d %s", w.Code, w.Body)
		}
		e, ok := (<-ended).(*core.Error) //nolint:errorlint // it is handed over as it is
		if !ok || e.Kind != core.Closing || e.Text != tt.want {
			t.Errorf("reason %q ends the connection with %v", tt.header, e)
		}
	}
	if w := f.as(t, "adm", "DELETE", "/api/connections/username/mgt", ""); w.Code != 204 || len(ended) != 1 {
		t.Errorf("DELETE of the user's: %d, %d ended", w.Code, len(ended))
	}
}
