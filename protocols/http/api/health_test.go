package api

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
)

// TestHealthChecks_OfRabbitMQ: the words are those that RabbitMQ 3.10.8 was
// recorded with.
func TestHealthChecks_OfRabbitMQ(t *testing.T) {
	f := newFixture(t)
	f.open = []Listener{{Protocol: "http", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 15672}}}
	f.primary.Listeners = []Listener{
		{Protocol: "amqp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5672}},
		{Protocol: "amqp", Addr: &net.TCPAddr{IP: net.IPv6loopback, Port: 5672}},
	}
	f.opt.Certificates = func() []*x509.Certificate {
		return []*x509.Certificate{{Subject: pkix.Name{CommonName: "b"}, SerialNumber: big.NewInt(7), NotAfter: time.Now().Add(10 * 24 * time.Hour)}}
	}
	for _, tt := range []struct {
		check string
		code  int
		want  string
	}{
		{"port-listener/5672", 200, `{"port":5672,"status":"ok"}`},
		{"port-listener/15672", 200, `{"port":15672,"status":"ok"}`},
		{"port-listener/9", 503, `{"missing":9,"ports":[15672,5672],"reason":"No active listener","status":"failed"}`},
		{"port-listener/x", 400, `{"error":"bad_request","reason":"Invalid port"}`},
		{"port-listener/66000", 400, `{"error":"bad_request","reason":"Invalid port"}`},
		{"protocol-listener/amqp", 200, `{"protocol":"amqp","status":"ok"}`},
		{"protocol-listener/AMQP091", 200, `{"protocol":"amqp","status":"ok"}`},
		{"protocol-listener/mqtt", 503, `{"missing":"mqtt","protocols":["http","amqp"],"reason":"No active listener","status":"failed"}`},
		{"virtual-hosts", 200, `{"status":"ok"}`},
		{"certificate-expiration/1/weeks", 200, `{"status":"ok"}`},
		{"certificate-expiration/x/weeks", 400, `{"error":"bad_request","reason":"Invalid expiration value."}`},
		{"certificate-expiration/1/apples", 400, `{"error":"bad_request","reason":"Time unit not recognised. Supported units: days, weeks, months, years."}`},
		{"is-in-service", 200, `{"status":"ok"}`},
	} {
		if w := f.as(t, "mgt", "GET", "/api/health/checks/"+tt.check, ""); w.Code != tt.code || w.Body.String() != tt.want {
			t.Errorf("%s: %d %s, want %d %s", tt.check, w.Code, w.Body, tt.code, tt.want)
		}
	}
	if w := f.as(t, "mgt", "GET", "/api/health/checks/certificate-expiration/1/months", ""); w.Code != 503 {
		t.Errorf("a certificate that expires: %d %s", w.Code, w.Body)
	}
}

// TestHealthChecks_Critical: a primary whose service would end with it is critical.
func TestHealthChecks_Critical(t *testing.T) {
	f := newFixture(t)
	const check = "/api/health/checks/node-is-quorum-critical"
	f.peers = []Peer{{Name: "b", Alive: true, Role: "standby", Reason: "its disk is full"}}
	if w := f.as(t, "mgt", "GET", check, ""); w.Code != 503 ||
		w.Body.String() != `{"reason":"There is no standby that would take over if this node were shut down","standbys":["b: its disk is full"],"status":"failed"}` {
		t.Errorf("without a standby that may: %d %s", w.Code, w.Body)
	}
	f.peers = append(f.peers, Peer{Name: "c", Alive: true, Role: "standby", Eligible: true})
	f.wantBody(t, check, `{"status":"ok"}`)
	f.opt.Peers = nil
	f.wantBody(t, check, `{"status":"ok","reason":"single node cluster"}`)
}

func TestHealthchecksNode(t *testing.T) {
	f := newFixture(t)
	f.wantBody(t, "/api/healthchecks/node", `{"status":"ok"}`)
	if w := f.as(t, "mgt", "GET", "/api/healthchecks/node/other", ""); w.Code != 404 {
		t.Errorf("of another node: %d %s", w.Code, w.Body)
	}
	f.broker.SetMemoryAlarm(true)
	f.wantBody(t, "/api/healthchecks/node/node-a", `{"status":"failed","reason":"There are alarms in effect on the node"}`)
}

// TestStandby_TellsItsOwnState, to anybody: it does not know the users.
func TestStandby_TellsItsOwnState(t *testing.T) {
	f := newFixture(t)
	f.primary = nil
	f.open = []Listener{{Protocol: "http", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 15672}}}
	f.peers = []Peer{{Name: "b", Alive: true, Role: "primary", Addresses: []string{"amqp://b:5672"}}}
	f.facts = NodeFacts{MemoryUsed: 5, DiskFree: -1, ContextSwitches: -1}
	notReady := `{"reason":"this node is a standby; the primary is b at amqp://b:5672","status":"failed"}`
	for _, tt := range []struct {
		path string
		code int
		want string
	}{
		{"/api/overview?columns=node,role,primary,cluster_name,listeners.port,object_totals,rates_mode", 200, `{"cluster_name":"node-a","node":"node-a","object_totals":{},"primary":"b","rates_mode":"basic","role":"standby"}`},
		{"/api/nodes?columns=name,role,running,mem_used,disk_free", 200, `[{"mem_used":5,"name":"node-a","role":"standby","running":true},{"name":"b","role":"primary","running":true}]`},
		{"/api/nodes/node-a?columns=name,os_pid,db_dir", 200, `{"name":"node-a"}`},
		{"/api/nodes/c", 404, `{"error":"Object Not Found","reason":"Not Found"}`},
		{"/api/health/checks/alarms", 200, `{"status":"ok"}`},
		{"/api/health/checks/port-listener/15672", 200, `{"port":15672,"status":"ok"}`},
		{"/api/health/checks/port-listener/5672", 503, `{"missing":5672,"ports":[15672],"reason":"No active listener","status":"failed"}`},
		{"/api/health/checks/virtual-hosts", 503, notReady},
		{"/api/health/checks/is-in-service", 503, notReady},
		{"/api/health/checks/node-is-quorum-critical", 200, `{"status":"ok"}`},
		{"/api/healthchecks/node", 200, `{"status":"failed","reason":"this node is a standby; the primary is b at amqp://b:5672"}`},
	} {
		if w := f.send(t, request{method: "GET", path: tt.path}); w.Code != tt.code || w.Body.String() != tt.want {
			t.Errorf("%s: %d %s, want %d %s", tt.path, w.Code, w.Body, tt.code, tt.want)
		}
	}
	if w := f.send(t, request{method: "PUT", path: "/api/nodes"}); w.Code != 503 {
		t.Errorf("a change: %d %s", w.Code, w.Body)
	}
}

func TestAliveness(t *testing.T) {
	f := newFixture(t)
	must(t)(f.broker.Access().SetPermission(t.Context(), core.Permission{VHost: "v1", User: "adm", Configure: ".*", Write: ".*", Read: ".*"}))
	for range 2 { // the queue stays
		f.wantBody(t, "/api/aliveness-test/v1", `{"status":"ok"}`)
	}
	for user, want := range map[string]string{
		"mgt": `{"error":"not_authorised","reason":"ACCESS_REFUSED - configure access to queue 'aliveness-test' in vhost 'v1' refused for user 'mgt'"}`,
	} {
		if w := f.as(t, user, "GET", "/api/aliveness-test/v1", ""); w.Code != 401 || w.Body.String() != want {
			t.Errorf("%s: %d %s", user, w.Code, w.Body)
		}
	}
	if w := f.as(t, "adm", "GET", "/api/aliveness-test/nope", ""); w.Code != 404 {
		t.Errorf("in no vhost: %d %s", w.Code, w.Body)
	}
	f.broker.SetMemoryAlarm(true)
	if w := f.as(t, "adm", "GET", "/api/aliveness-test/v1", ""); w.Code != 503 {
		t.Errorf("while publishers wait: %d %s", w.Code, w.Body)
	}
}

func TestClusterName(t *testing.T) {
	f := newFixture(t)
	f.play(t, []step{
		{"GET", "/api/cluster-name", "", 200, `{"name":"node-a"}`},
		{"PUT", "/api/cluster-name", `{}`, 400, `{"error":"bad_request","reason":"key_missing: name"}`},
		{"PUT", "/api/cluster-name", `{"name":""}`, 400, `{"error":"bad_request","reason":"the name is empty"}`},
		{"PUT", "/api/cluster-name", `{"name":"a pair"}`, 204, ""},
		{"GET", "/api/cluster-name", "", 200, `{"name":"a pair"}`},
		{"GET", "/api/overview?columns=cluster_name", "", 200, `{"cluster_name":"a pair"}`},
		{"GET", "/api/global-parameters/cluster_name", "", 200, `{"name":"cluster_name","value":"a pair"}`},
	})
}

func TestAuthAttempts(t *testing.T) {
	f := newFixture(t)
	f.opt.Attempts = func() []Attempts { return []Attempts{{"amqp091", 3, 1}} }
	f.send(t, request{user: "adm", password: "wrong", method: "GET", path: "/api/whoami"})
	f.wantBody(t, "/api/auth/attempts/node-a", `[{"protocol":"http","auth_attempts":2,"auth_attempts_failed":1,"auth_attempts_succeeded":1},`+
		`{"protocol":"amqp091","auth_attempts":4,"auth_attempts_failed":1,"auth_attempts_succeeded":3}]`)
	f.wantBody(t, "/api/auth/attempts/node-a/source", `[]`)
	if w := f.as(t, "adm", "GET", "/api/auth/attempts/other", ""); w.Code != 404 {
		t.Errorf("of another node: %d %s", w.Code, w.Body)
	}
	if w := f.send(t, request{method: "GET", path: "/api/auth"}); w.Code != 200 || w.Body.String() != `{"enable_uaa":false,"uaa_client_id":"","uaa_location":""}` {
		t.Errorf("how to log in, to somebody who has not: %d %s", w.Code, w.Body)
	}
}
