package api

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
)

// Every verb of every route, by who asks. The columns are the statuses for adm,
// mon, pol, mgt (who may enter v1) and non. Rows run in order, each on a broker of
// its own.
var matrix = []struct {
	method, path, body      string
	adm, mon, pol, mgt, non int
}{
	{"GET", "/api/overview", "", 200, 200, 200, 200, 401},
	{"GET", "/api/whoami", "", 200, 200, 200, 200, 401},
	{"POST", "/api/auth/hash_password", `{"password":"x"}`, 200, 401, 401, 401, 401},
	{"GET", "/api/health/checks/alarms", "", 200, 200, 200, 200, 401},
	{"GET", "/api/health/checks/local-alarms", "", 200, 200, 200, 200, 401},

	{"GET", "/api/vhosts", "", 200, 200, 200, 200, 401},
	{"GET", "/api/vhosts/v1", "", 200, 401, 401, 401, 401},
	{"PUT", "/api/vhosts/new", "", 201, 401, 401, 401, 401},
	{"PUT", "/api/vhosts/v1", "", 204, 401, 401, 401, 401},
	{"DELETE", "/api/vhosts/v1", "", 204, 401, 401, 401, 401},
	{"GET", "/api/vhosts/v1/permissions", "", 200, 401, 401, 401, 401},
	{"GET", "/api/vhosts/v1/topic-permissions", "", 200, 401, 401, 401, 401},
	{"GET", "/api/vhosts/v1/connections", "", 200, 401, 401, 200, 401},
	{"GET", "/api/vhosts/v2/connections", "", 200, 401, 401, 401, 401},
	{"GET", "/api/vhost-limits", "", 200, 200, 200, 200, 401},
	{"GET", "/api/vhost-limits/v1", "", 200, 200, 401, 200, 401},
	{"GET", "/api/vhost-limits/v2", "", 200, 200, 401, 401, 401},
	{"PUT", "/api/vhost-limits/v1/max-queues", `{"value":1}`, 204, 401, 401, 401, 401},
	{"DELETE", "/api/vhost-limits/v1/max-queues", "", 204, 401, 401, 401, 401},

	{"GET", "/api/users", "", 200, 401, 401, 401, 401},
	{"GET", "/api/users/without-permissions", "", 200, 401, 401, 401, 401},
	{"POST", "/api/users/bulk-delete", `{"users":["non"]}`, 204, 401, 401, 401, 401},
	{"GET", "/api/users/mgt", "", 200, 401, 401, 401, 401},
	{"PUT", "/api/users/new", `{"tags":""}`, 201, 401, 401, 401, 401},
	{"PUT", "/api/users/mgt", `{"tags":""}`, 204, 401, 401, 401, 401},
	{"DELETE", "/api/users/mgt", "", 204, 401, 401, 401, 401},
	{"GET", "/api/users/mgt/permissions", "", 200, 401, 401, 401, 401},
	{"GET", "/api/users/mgt/topic-permissions", "", 200, 401, 401, 401, 401},
	{"GET", "/api/user-limits", "", 200, 200, 200, 200, 401},
	{"GET", "/api/user-limits/non", "", 200, 200, 401, 401, 401},
	{"GET", "/api/user-limits/mgt", "", 200, 200, 401, 200, 401},
	{"GET", "/api/user-limits/nope", "", 404, 404, 401, 401, 401},
	{"PUT", "/api/user-limits/non/max-channels", `{"value":1}`, 204, 401, 401, 401, 401},
	{"DELETE", "/api/user-limits/non/max-channels", "", 204, 401, 401, 401, 401},

	{"GET", "/api/permissions", "", 200, 401, 401, 401, 401},
	{"GET", "/api/permissions/v1/mgt", "", 200, 401, 401, 401, 401},
	{"PUT", "/api/permissions/v2/mgt", `{"configure":"","write":"","read":""}`, 201, 401, 401, 401, 401},
	{"DELETE", "/api/permissions/v1/mgt", "", 204, 401, 401, 401, 401},
	{"GET", "/api/topic-permissions", "", 200, 401, 401, 401, 401},
	{"GET", "/api/topic-permissions/v1/mgt", "", 200, 401, 401, 401, 401},
	{"PUT", "/api/topic-permissions/v2/mgt", `{"exchange":"x","write":"","read":""}`, 201, 401, 401, 401, 401},
	{"DELETE", "/api/topic-permissions/v1/mgt", "", 204, 401, 401, 401, 401},
	{"DELETE", "/api/topic-permissions/v1/mgt/amq.topic", "", 204, 401, 401, 401, 401},

	{"GET", "/api/health/checks/port-listener/5672", "", 503, 503, 503, 503, 401},
	{"GET", "/api/health/checks/protocol-listener/amqp", "", 503, 503, 503, 503, 401},
	{"GET", "/api/health/checks/virtual-hosts", "", 200, 200, 200, 200, 401},
	{"GET", "/api/health/checks/certificate-expiration/1/weeks", "", 200, 200, 200, 200, 401},
	{"GET", "/api/health/checks/node-is-quorum-critical", "", 503, 503, 503, 503, 401},
	{"GET", "/api/health/checks/node-is-mirror-sync-critical", "", 503, 503, 503, 503, 401},
	{"GET", "/api/health/checks/is-in-service", "", 200, 200, 200, 200, 401},
	{"GET", "/api/health/checks/ready-to-serve-clients", "", 200, 200, 200, 200, 401},
	{"GET", "/api/healthchecks/node", "", 200, 200, 200, 200, 401},
	{"GET", "/api/healthchecks/node/node-a", "", 200, 200, 200, 200, 401},
	{"GET", "/api/aliveness-test/v1", "", 401, 401, 401, 401, 401},
	{"GET", "/api/cluster-name", "", 200, 200, 200, 200, 401},
	{"PUT", "/api/cluster-name", `{"name":"x"}`, 204, 401, 401, 401, 401},
	{"GET", "/api/extensions", "", 200, 200, 200, 200, 401},
	{"GET", "/api/auth/attempts/node-a", "", 200, 200, 401, 401, 401},
	{"GET", "/api/auth/attempts/node-a/source", "", 200, 200, 401, 401, 401},
	{"POST", "/api/rebalance/queues", "", 204, 401, 401, 401, 401},

	{"GET", "/api/nodes", "", 200, 200, 401, 401, 401},
	{"GET", "/api/nodes/node-a", "", 200, 200, 401, 401, 401},
	{"GET", "/api/nodes/other", "", 404, 404, 401, 401, 401},
	{"GET", "/api/nodes/node-a/memory", "", 200, 200, 401, 401, 401},
	{"GET", "/api/nodes/node-a/memory/relative", "", 200, 200, 401, 401, 401},

	{"GET", "/api/policies", "", 200, 200, 200, 200, 401},
	{"GET", "/api/policies/v1", "", 200, 200, 401, 200, 401},
	{"GET", "/api/policies/v2", "", 200, 200, 401, 401, 401},
	{"GET", "/api/policies/v1/p", "", 404, 401, 401, 401, 401},
	{"PUT", "/api/policies/v1/p", `{"pattern":"","definition":{"max-length":1}}`, 201, 401, 401, 401, 401},
	{"DELETE", "/api/policies/v1/p", "", 404, 401, 401, 401, 401},
	{"GET", "/api/operator-policies", "", 200, 200, 200, 200, 401},
	{"GET", "/api/operator-policies/v1", "", 200, 200, 401, 200, 401},
	{"GET", "/api/operator-policies/v1/p", "", 404, 401, 401, 401, 401},
	{"PUT", "/api/operator-policies/v1/p", `{"pattern":"","definition":{"max-length":1}}`, 201, 401, 401, 401, 401},
	{"DELETE", "/api/operator-policies/v1/p", "", 404, 401, 401, 401, 401},

	{"GET", "/api/definitions", "", 200, 401, 401, 401, 401},
	{"POST", "/api/definitions", `{"vhosts":[{"name":"v3"}]}`, 204, 401, 401, 401, 401},
	{"GET", "/api/definitions/v1", "", 200, 401, 401, 401, 401},
	{"POST", "/api/definitions/v1", `{"queues":[{"name":"q3"}]}`, 204, 401, 401, 401, 401},

	{"GET", "/api/parameters", "", 200, 401, 200, 401, 401},
	{"GET", "/api/parameters/c", "", 200, 401, 200, 401, 401},
	{"GET", "/api/parameters/c/v1", "", 200, 401, 401, 401, 401},
	{"GET", "/api/parameters/c/v1/p", "", 404, 401, 401, 401, 401},
	{"PUT", "/api/parameters/c/v1/p", `{"value":1}`, 201, 401, 401, 401, 401},
	{"DELETE", "/api/parameters/c/v1/p", "", 404, 401, 401, 401, 401},
	{"GET", "/api/global-parameters", "", 200, 401, 200, 401, 401},
	{"GET", "/api/global-parameters/p", "", 404, 401, 404, 401, 401},
	{"PUT", "/api/global-parameters/p", `{"value":1}`, 204, 401, 201, 401, 401},
	{"DELETE", "/api/global-parameters/p", "", 404, 401, 404, 401, 401},

	{"GET", "/api/feature-flags", "", 200, 401, 401, 401, 401},
	{"PUT", "/api/feature-flags/quorum_queue/enable", "", 204, 401, 401, 401, 401},
	{"GET", "/api/deprecated-features", "", 200, 401, 401, 401, 401},
	{"GET", "/api/deprecated-features/used", "", 200, 401, 401, 401, 401},

	{"GET", "/api/queues", "", 200, 200, 200, 200, 401},
	{"GET", "/api/queues/v1", "", 200, 200, 401, 200, 401},
	{"GET", "/api/queues/v2", "", 200, 200, 401, 401, 401},
	{"GET", "/api/exchanges", "", 200, 200, 200, 200, 401},
	{"GET", "/api/exchanges/v1", "", 200, 200, 401, 200, 401},
	{"GET", "/api/exchanges/v2", "", 200, 200, 401, 401, 401},
	{"GET", "/api/bindings", "", 200, 200, 200, 200, 401},
	{"GET", "/api/bindings/v1", "", 200, 200, 401, 200, 401},
	{"GET", "/api/bindings/v2", "", 200, 200, 401, 401, 401},
	{"GET", "/api/consumers", "", 200, 200, 200, 200, 401},
	{"GET", "/api/consumers/v1", "", 200, 200, 401, 200, 401},
	{"GET", "/api/consumers/v2", "", 200, 200, 401, 401, 401},
	{"GET", "/api/queues/v1/q", "", 404, 404, 401, 404, 401},
	{"GET", "/api/queues/v1/q/bindings", "", 200, 200, 401, 200, 401},
	{"GET", "/api/bindings/v1/e/amq.topic/q/q", "", 200, 200, 401, 200, 401},
	{"GET", "/api/bindings/v1/e/amq.topic/q/q/k", "", 404, 404, 401, 404, 401},
	{"GET", "/api/bindings/v1/e/amq.topic/e/amq.fanout/k", "", 404, 404, 401, 404, 401},
	{"GET", "/api/exchanges/v1/amq.topic", "", 200, 200, 401, 200, 401},
	{"GET", "/api/exchanges/v1/amq.topic/bindings/source", "", 200, 200, 401, 200, 401},
	{"GET", "/api/exchanges/v1/amq.topic/bindings/destination", "", 200, 200, 401, 200, 401},
	{"GET", "/api/bindings/v1/e/amq.topic/e/amq.fanout", "", 200, 200, 401, 200, 401},
	{"PUT", "/api/queues/v1/c", `{}`, 401, 401, 401, 201, 401},
	{"DELETE", "/api/queues/v1/c", "", 401, 401, 401, 404, 401},
	{"DELETE", "/api/queues/v1/c/contents", "", 401, 401, 401, 404, 401},
	{"POST", "/api/queues/v1/c/actions", `{"action":"sync"}`, 404, 401, 401, 401, 401},
	{"PUT", "/api/exchanges/v1/c", `{}`, 401, 401, 401, 201, 401},
	{"DELETE", "/api/exchanges/v1/c", "", 401, 401, 401, 404, 401},
	{"POST", "/api/exchanges/v1/amq.direct/publish", `{"routing_key":"","properties":{},"payload":"","payload_encoding":"string"}`, 401, 401, 401, 400, 401},
	{"POST", "/api/bindings/v1/e/amq.topic/q/c", `{}`, 401, 401, 401, 401, 401},
	{"POST", "/api/bindings/v1/e/amq.topic/e/amq.fanout", `{}`, 401, 401, 401, 401, 401},
	{"DELETE", "/api/bindings/v1/e/amq.topic/q/c/k", "", 401, 401, 401, 404, 401},
	{"DELETE", "/api/bindings/v1/e/amq.topic/e/amq.fanout/k", "", 401, 401, 401, 404, 401},
	{"GET", "/api/channels", "", 200, 200, 200, 200, 401},
	{"GET", "/api/channels/of-mgt%20(1)", "", 404, 404, 401, 404, 401},
	{"GET", "/api/vhosts/v1/channels", "", 200, 200, 401, 200, 401},
	{"GET", "/api/connections/of-mgt/channels", "", 200, 200, 401, 200, 401},

	{"GET", "/api/exchanges/v1/x/delayed", "", 401, 401, 401, 404, 401},
	{"DELETE", "/api/exchanges/v1/x/delayed/1", "", 401, 401, 401, 401, 401},

	{"POST", "/api/queues/v1/q/get", `{"count":1,"ackmode":"ack_requeue_true","encoding":"auto"}`, 401, 401, 401, 404, 401},
	{"GET", "/api/queues/v1/q/messages", "", 401, 401, 401, 404, 401},
	{"DELETE", "/api/queues/v1/q/messages/1", "", 401, 401, 401, 404, 401},
	{"POST", "/api/queues/v1/q/move", `{"to_queue":"c"}`, 401, 401, 401, 404, 401},
	{"POST", "/api/queues/v1/q/redrive", "", 401, 401, 401, 404, 401},

	{"GET", "/api/connections", "", 200, 200, 200, 200, 401},
	{"GET", "/api/connections/of-mgt", "", 200, 200, 401, 200, 401},
	{"DELETE", "/api/connections/of-mgt", "", 204, 401, 401, 204, 401},
	{"DELETE", "/api/connections/of-adm", "", 204, 401, 401, 401, 401},
	{"GET", "/api/connections/nothing", "", 404, 404, 401, 401, 401},
	{"GET", "/api/connections/username/mgt", "", 200, 200, 401, 200, 401},
	{"DELETE", "/api/connections/username/mgt", "", 204, 401, 401, 204, 401},

	{"GET", "/api/sessions", "", 200, 200, 200, 200, 401},
	{"GET", "/api/sessions/v1", "", 200, 200, 401, 200, 401},
	{"GET", "/api/sessions/v2", "", 200, 200, 401, 401, 401},
	{"GET", "/api/sessions/v1/c", "", 404, 404, 401, 404, 401},

	{"GET", "/why", "", 200, 200, 400, 400, 401},
	{"GET", "/why?queue=q&vhost=v1", "", 404, 404, 401, 404, 401},
	{"GET", "/why?session=c&vhost=v1", "", 404, 404, 401, 404, 401},
	{"GET", "/why?connection=of-mgt", "", 200, 200, 401, 200, 401},
	{"GET", "/why?connection=of-adm", "", 200, 200, 401, 401, 401},
	{"GET", "/why?exchange=amq.topic&routing_key=a&vhost=v1", "", 401, 401, 401, 200, 401}, // adm may not enter v1

	{"GET", "/api/maintenance", "", 404, 404, 401, 401, 401},
	{"PUT", "/api/maintenance", "", 404, 401, 401, 401, 401},
	{"DELETE", "/api/maintenance", "", 404, 401, 401, 401, 401},
	{"POST", "/api/config/reload", "", 503, 401, 401, 401, 401},
	{"GET", "/alarms", "", 200, 200, 401, 401, 401},
	{"PUT", "/alarms", `{"memory":{"watermark":1}}`, 204, 401, 401, 401, 401},
}

func TestEveryVerbByRole(t *testing.T) {
	for _, row := range matrix {
		t.Run(row.method+" "+row.path, func(t *testing.T) {
			f := newFixture(t)
			f.primary.SetMemoryWatermark = func(int64) error { return nil }
			f.attach(t, core.ConnectionInfo{Name: "of-mgt", User: "mgt", VHost: "v1"})
			f.attach(t, core.ConnectionInfo{Name: "of-adm", User: "adm", VHost: "v1"})
			generation := f.broker.Access().Generation()
			check := func(who string, w *httptest.ResponseRecorder, want int, code string) {
				t.Helper()
				if w.Code != want || code != "" && !strings.HasPrefix(w.Body.String(), `{"error":"`+code+`"`) {
					t.Errorf("%s: %d %s, want %d %s", who, w.Code, w.Body, want, code)
				}
			}
			check("nobody", f.send(t, request{method: row.method, path: row.path, body: row.body}), 401, "not_authorized")
			check("a wrong password", f.send(t, request{user: "adm", password: "p", method: row.method, path: row.path, body: row.body}),
				401, "not_authorized")
			for _, who := range []struct {
				name string
				want int
			}{{"non", row.non}, {"pol", row.pol}, {"mon", row.mon}} {
				code := ""
				if who.want == 401 {
					code = "not_authorised"
				}
				check(who.name, f.as(t, who.name, row.method, row.path, row.body), who.want, code)
			}
			if row.mgt == 401 && f.broker.Access().Generation() != generation {
				t.Error("who may not changed something")
			}
			check("mgt", f.as(t, "mgt", row.method, row.path, row.body), row.mgt, "")
			check("adm", f.as(t, "adm", row.method, row.path, row.body), row.adm, "")

			f.primary = nil
			if route, _, err := f.find(row.path); err == nil && ownState["/"+strings.Join(route.elements, "/")] != nil {
				return
			}
			check("on a standby", f.as(t, "adm", row.method, row.path, row.body), 503, "service_unavailable")
		})
	}
}

func TestEveryVerbIsInTheMatrix(t *testing.T) {
	f := newFixture(t)
	tested := map[string]bool{}
	for _, row := range matrix {
		path, _, _ := strings.Cut(row.path, "?")
		route, _, err := f.find(path)
		if err != nil {
			t.Fatal(err)
		}
		tested[row.method+" "+strings.Join(route.elements, "/")] = true
	}
	for _, r := range f.routes {
		for method, v := range r.verbs {
			if v.may == anyone {
				continue
			}
			if name := method + " " + strings.Join(r.elements, "/"); !tested[name] {
				t.Errorf("%s has no row", name)
			}
		}
	}
}
