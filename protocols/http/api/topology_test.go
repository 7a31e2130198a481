package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
)

// mayAll lets adm do everything in v1.
func (f *fixture) mayAll(t *testing.T) {
	t.Helper()
	must(t)(f.broker.Access().SetPermission(t.Context(), core.Permission{VHost: "v1", User: "adm", Configure: ".*", Write: ".*", Read: ".*"}))
}

// The statuses and texts are those of RabbitMQ 3.10.8, but where a comment says
// that they are not.
func TestQueuesAreMadeAndDeleted(t *testing.T) {
	f := newFixture(t)
	f.mayAll(t)
	const q = "/api/queues/v1/q"
	const ttl = `{"durable":true,"arguments":{"x-message-ttl":60000,"s":"t","f":1.5,"b":true,"l":[1,"a"],"o":{"k":1},"big":5000000000}}`
	f.play(t, []step{
		{"PUT", q, `{}`, 201, "="},
		{"PUT", q, `{}`, 204, "="},
		{"PUT", q, ``, 204, "="},
		{"PUT", q, `{"durable":false,"zzz":1,"exclusive":true,"name":"x","vhost":"v2","node":"node-a","arguments":[]}`, 204, "="},
		{"GET", q + "?columns=durable,exclusive,auto_delete", "", 200, `={"auto_delete":false,"durable":false,"exclusive":false}`},
		{"PUT", q, `{"durable":true}`, 400, badBody + `inequivalent arg 'durable' for queue 'q' in vhost 'v1': received 'true' but current is 'false'"}`},
		{"PUT", q, `{"durable":"true"}`, 400, badBody + `inequivalent arg 'durable' for queue 'q' in vhost 'v1': received 'true' but current is 'false'"}`},
		{"PUT", q, `{"arguments":{"x-max-length":5}}`, 400, badBody + `inequivalent arg 'x-max-length' for queue 'q' in vhost 'v1': received the value '5' of type 'long' but current is none"}`},
		{"PUT", q, `{"durable":"x"}`, 400, badBody + `not_boolean: \"x\""}`}, // a list there
		{"PUT", q, `{"arguments":5}`, 400, badBody + `arguments should be an object"}`},
		{"PUT", q, `{"arguments":{"n":null}}`, 400, badBody + `null_not_allowed: n"}`}, // without the name there
		{"PUT", q, `{"node":"other"}`, 400, badBody + `Node other could not be contacted"}`},
		{"PUT", q, `{bad`, 400, badBody + `not_json"}`},
		{"PUT", "/api/queues/v1/q2", ttl, 201, "="},
		{"PUT", "/api/queues/v1/q2", ttl, 204, "="},
		{"GET", "/api/queues/v1/q2?columns=arguments", "", 200, `={"arguments":{"b":true,"big":5000000000,"f":1.5,"l":[1,"a"],"o":{"k":1},"s":"t","x-message-ttl":60000}}`},
		{"PUT", "/api/queues/v1/qq", `{"durable":true,"arguments":{"x-queue-type":"quorum"}}`, 201, "="},
		{"GET", "/api/queues/v1/qq?columns=type", "", 200, `={"type":"quorum"}`},
		{"PUT", "/api/queues/v1/bad", `{"arguments":{"x-queue-type":"quorum"}}`, 400, badBody + `invalid property 'non-durable' for queue 'bad' in vhost 'v1'"}`},
		{"PUT", "/api/queues/v1/bad", `{"arguments":{"x-message-ttl":-1}}`, 400, badBody + `invalid arg 'x-message-ttl' for queue 'bad' in vhost 'v1': {value_negative,-1}"}`},
		{"PUT", "/api/queues/v1/amq.foo", `{}`, 401, `={"error":"not_authorised","reason":"queue name 'amq.foo' contains reserved prefix 'amq.*'"}`}, // "Access refused." there
		{"PUT", "/api/queues/nope/q", `{}`, 404, `={"error":"not_found","reason":"vhost_not_found"}`},

		{"POST", "/api/exchanges/v1/amq.default/publish", `{"routing_key":"q","properties":{},"payload":"x","payload_encoding":"string"}`, 200, `={"routed":true}`},
		{"DELETE", q + "?if-empty=true", "", 400, badBody + `queue 'q' in vhost 'v1' not empty"}`},
		{"DELETE", q + "/contents", "", 204, "="},
		{"DELETE", "/api/queues/v1/nope/contents", "", 404, gone},
		{"DELETE", q + "?if-empty=true", "", 204, "="},
		{"DELETE", q, "", 404, gone},

		{"POST", "/api/queues/v1/q2/actions", `{"action":"sync"}`, 204, "="},
		{"POST", "/api/queues/v1/q2/actions", `{"action":"cancel_sync"}`, 204, "="},
		{"POST", "/api/queues/v1/q2/actions", `{"action":"x"}`, 400, badBody + `unknown: x"}`},
		{"POST", "/api/queues/v1/q2/actions", `{}`, 400, badBody + `key_missing: action"}`},
		{"POST", "/api/queues/v1/nope/actions", `{"action":"sync"}`, 404, gone}, // 500 there
	})
	f.topology(t)
	f.play(t, []step{
		{"DELETE", "/api/queues/v1/other?if-unused=true", "", 400, badBody + `queue 'other' in vhost 'v1' in use"}`},
		{"DELETE", "/api/queues/v1/mine", "", 400, `{"error":"bad_request","reason":"cannot obtain exclusive access to locked queue 'mine' in vhost 'v1'.`},
		{"DELETE", "/api/queues/v1/mine/contents", "", 400, `{"error":"bad_request","reason":"cannot obtain exclusive access to locked queue 'mine' in vhost 'v1'.`},
		{"DELETE", "/api/queues/v1/other", "", 204, "="},
	})
	for _, want := range []string{
		`action="delete queue" object="queue 'other', vhost 'v1'" result=done messages=0`,
		`action="put queue" object="queue 'amq.foo', vhost 'v1'" result="not_authorised: queue name`,
		`action="publish message" object="exchange 'amq.default', vhost 'v1'" result=done routing_key=q bytes=1 routed=true`,
	} {
		if !strings.Contains(f.log.String(), want) {
			t.Errorf("no line has %s in\n%s", want, f.log)
		}
	}
}

func TestExchangesAreMadeAndDeleted(t *testing.T) {
	f := newFixture(t)
	f.mayAll(t)
	const x = "/api/exchanges/v1/x"
	f.play(t, []step{
		{"PUT", x, `{}`, 201, "="},
		{"PUT", x, `{"type":"direct"}`, 204, "="},
		{"PUT", x, `{"type":"topic"}`, 400, badBody + `inequivalent arg 'type' for exchange 'x' in vhost 'v1': received 'topic' but current is 'direct'"}`},
		{"PUT", x, `{"type":"nope"}`, 400, badBody + `unknown exchange type 'nope'"}`},
		{"PUT", x, `{"internal":true}`, 400, badBody + `inequivalent arg 'internal' for exchange 'x' in vhost 'v1': received 'true' but current is 'false'"}`},
		{"PUT", x, `{"arguments":{"alternate-exchange":"x"}}`, 400, badBody + `inequivalent arg 'alternate-exchange' for exchange 'x' in vhost 'v1': received the value 'x' of type 'longstr' but current is none"}`},
		{"PUT", x, `{"type":5}`, 400, badBody + `type should be a string, actually was a number"}`},
		{"PUT", "/api/exchanges/v1/y", `{"type":"headers","durable":true,"auto_delete":true,"internal":true,"arguments":{"alternate-exchange":"amq.fanout"}}`, 201, "="},
		{"GET", "/api/exchanges/v1/y?columns=type,durable,auto_delete,internal,arguments", "", 200, `={"arguments":{"alternate-exchange":"amq.fanout"},"auto_delete":true,"durable":true,"internal":true,"type":"headers"}`},
		{"PUT", "/api/exchanges/v1/z", `{"arguments":{"alternate-exchange":5}}`, 400, badBody + `invalid type 'long' for arg 'alternate-exchange' in exchange 'z' in vhost 'v1'"}`},
		{"PUT", "/api/exchanges/v1/amq.foo", `{}`, 401, `{"error":"not_authorised"`},
		{"PUT", "/api/exchanges/v1/amq.default", `{}`, 401, `{"error":"not_authorised"`},
		{"PUT", "/api/exchanges/v1/amq.direct", `{}`, 400, `{"error":"bad_request","reason":"inequivalent arg 'durable'`},
		{"GET", "/api/exchanges/v1/amq.default?columns=name,type", "", 200, `={"name":"","type":"direct"}`},
		{"PUT", "/api/exchanges/nope/x", `{}`, 404, `={"error":"not_found","reason":"vhost_not_found"}`},
		{"POST", "/api/bindings/v1/e/x/e/amq.fanout", ``, 201, "="},
		{"DELETE", x + "?if-unused=true", "", 400, badBody + `exchange 'x' in vhost 'v1' in use"}`},
		{"DELETE", x, "", 204, "="},
		{"DELETE", x, "", 404, gone},
		{"DELETE", "/api/exchanges/v1/amq.direct", "", 401, `{"error":"not_authorised"`},
		{"DELETE", "/api/exchanges/v1/amq.default", "", 401, `{"error":"not_authorised"`},
	})
}

func TestBindingsAreMadeAndDeleted(t *testing.T) {
	f := newFixture(t)
	f.mayAll(t)
	f.inQueue(t, "q")
	const b = "/api/bindings/v1/e/amq.topic/q/q"
	for _, tt := range []struct{ path, body, location string }{
		{b, `{"routing_key":"a.#"}`, "q/a.%2523"},
		{b, `{"routing_key":"a.#"}`, "q/a.%2523"},
		{b, ``, "q/~"},
		{b, `{"routing_key":"k","arguments":{"n":1,"s":"x"}}`, "q/k~20Zl2ySAw1TflgQW93tp6Q"},
		{"/api/bindings/v1/e/amq.topic/e/amq.fanout", `{"routing_key":"k","arguments":[]}`, "amq.fanout/k"},
	} {
		w := f.as(t, "adm", http.MethodPost, tt.path, tt.body)
		if got := w.Header().Get("Location"); w.Code != http.StatusCreated || got != tt.location {
			t.Errorf("POST %s %s = %d, at %s, want %s", tt.path, tt.body, w.Code, got, tt.location)
		}
	}
	f.play(t, []step{
		{"GET", b + "?columns=properties_key", "", 200, `=[{"properties_key":"~"},{"properties_key":"a.%23"},{"properties_key":"k~20Zl2ySAw1TflgQW93tp6Q"}]`},
		{"GET", b + "/k~20Zl2ySAw1TflgQW93tp6Q?columns=arguments", "", 200, `={"arguments":{"n":1,"s":"x"}}`},
		{"GET", b + "/k~other", "", 404, gone},
		{"POST", "/api/bindings/v1/e/nope/q/q", ``, 404, `={"error":"not_found","reason":"no exchange 'nope' in vhost 'v1'"}`},
		{"POST", "/api/bindings/v1/e/amq.topic/q/nope", ``, 404, `={"error":"not_found","reason":"no queue 'nope' in vhost 'v1'"}`},
		{"POST", "/api/bindings/nope/e/amq.topic/q/q", ``, 404, `={"error":"not_found","reason":"vhost_not_found"}`},
		{"POST", "/api/bindings/v1/e/amq.default/q/q", ``, 401, `{"error":"not_authorised"`},
		{"POST", b, `{"arguments":5}`, 400, badBody + `arguments should be an object"}`}, // 500 there
		{"DELETE", b + "/a.%2523", "", 204, "="},
		{"DELETE", b + "/a.%2523", "", 404, gone},
		{"DELETE", b + "/k~20Zl2ySAw1TflgQW93tp6Q", "", 204, "="},
		{"DELETE", "/api/bindings/v1/e/amq.topic/e/amq.fanout/k", "", 204, "="},
		{"DELETE", "/api/bindings/v1/e/amq.default/q/q/q", "", 401, `{"error":"not_authorised"`},
		{"GET", b + "?columns=properties_key", "", 200, `=[{"properties_key":"~"}]`},
		// What does not exist has no bindings.
		{"GET", "/api/queues/v1/nope/bindings", "", 200, `=[]`},
		{"GET", "/api/bindings/v1/e/nope/q/q", "", 200, `=[]`},
		{"GET", "/api/exchanges/v1/nope/bindings/source", "", 200, `=[]`},
	})
}

// A subscription is its client's: nobody else ends it.
func TestSubscriptionsAreNotUnbound(t *testing.T) {
	f := newFixture(t)
	f.mayAll(t)
	l, _, err := f.session(t, "of a device", nil).Subscriber(t.Context(), core.SubscriberSpec{Name: "d", Queue: "mqtt-d", Expiry: core.Forever, Receiver: noDevice{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Subscribe(t.Context(), []core.SubscriptionSpec{{Key: "k"}}); err != nil {
		t.Fatal(err)
	}
	f.play(t, []step{
		{"DELETE", "/api/bindings/v1/e/amq.topic/q/mqtt-d/k", "", 400, `{"error":"bad_request","reason":"k is a subscription`},
		{"DELETE", "/api/queues/v1/mqtt-d", "", 400, `{"error":"bad_request","reason":"cannot obtain exclusive access`},
		{"GET", "/api/queues/v1/mqtt-d/bindings?columns=source,routing_key", "", 200, `=[{"routing_key":"mqtt-d","source":""},{"routing_key":"k","source":"amq.topic"}]`},
		{"GET", "/api/queues/v1?mqtt=true&columns=name,mqtt,exclusive", "", 200, `=[{"exclusive":false,"mqtt":{"client_id":"d","shared_subscription":false},"name":"mqtt-d"}]`},
		{"GET", "/api/queues/v1?mqtt=false", "", 200, `=[]`},
	})
}

type noDevice struct{ core.SubscriberReceiver }

func (noDevice) Ready() bool { return true }
func (noDevice) TakenOver()  {}

func TestPublish(t *testing.T) {
	f := newFixture(t)
	f.mayAll(t)
	f.inQueue(t, "q")
	f.play(t, []step{
		{"PUT", "/api/exchanges/v1/internal", `{"internal":true}`, 201, "="},
		{"PUT", "/api/queues/v1/full", `{"arguments":{"x-max-length":0,"x-overflow":"reject-publish"}}`, 201, "="},
	})
	body := func(key, properties, payload, encoding string) string {
		return fmt.Sprintf(`{"routing_key":"%s","properties":%s,"payload":"%s","payload_encoding":"%s"}`, key, properties, payload, encoding)
	}
	const path = "/api/exchanges/v1/amq.default/publish"
	all := `{"app_id":"a","cluster_id":"cl","content_encoding":"e","content_type":"text/plain","correlation_id":"c","delivery_mode":2,"expiration":"100000",` +
		`"headers":{"b":true,"f":1.5,"l":[1,"a"],"n":1,"o":{"k":1},"s":"x","z":null},"message_id":"m","priority":3,"reply_to":"r","timestamp":1700000000,"type":"t","user_id":"adm"}`
	f.play(t, []step{
		{"POST", path, body("q", `{}`, "hi", "string"), 200, `={"routed":true}`},
		{"POST", path, body("q", all, "aGk=", "base64"), 200, `={"routed":true}`},
		{"POST", path, body("q", `{"nope":1}`, "hi", "string"), 200, `={"routed":true}`},
		{"POST", path, body("nope", `[]`, "hi", "string"), 200, `={"routed":false}`},
		{"POST", path, body("nope", `{"headers":{"CC":["q"],"BCC":["other"]}}`, "hi", "string"), 200, `={"routed":true}`},
		{
			"POST", "/api/queues/v1/q/get", `{"count":9,"ackmode":"ack_requeue_false","encoding":"auto"}`, 200,
			`=[{"payload_bytes":2,"redelivered":false,"exchange":"","routing_key":"q","message_count":3,"properties":{},"payload":"hi","payload_encoding":"string"},` +
				`{"payload_bytes":2,"redelivered":false,"exchange":"","routing_key":"q","message_count":2,"properties":` + all + `,"payload":"hi","payload_encoding":"string"},` +
				`{"payload_bytes":2,"redelivered":false,"exchange":"","routing_key":"q","message_count":1,"properties":{},"payload":"hi","payload_encoding":"string"},` +
				`{"payload_bytes":2,"redelivered":false,"exchange":"","routing_key":"nope","message_count":0,"properties":{"headers":{"CC":["q"]}},"payload":"hi","payload_encoding":"string"}]`,
		},
		{"POST", path, body("q", `{}`, "!!", "base64"), 400, badBody + `not_base64"}`},
		{"POST", path, body("q", `{}`, "hi", "x"), 400, badBody + `unsupported_encoding: x"}`},
		{"POST", path, `{"routing_key":"q","properties":{},"payload":5,"payload_encoding":"string"}`, 400, badBody + `payload should be a string, actually was a number"}`},
		{"POST", path, `{"routing_key":"q","properties":{},"payload_encoding":"string"}`, 400, badBody + `key_missing: payload"}`},
		{"POST", path, ``, 400, badBody + `key_missing: routing_key"}`},
		{"POST", path, body("q", `{"delivery_mode":"2"}`, "hi", "string"), 400, badBody + `not_int: delivery_mode"}`},
		{"POST", path, body("q", `{"content_type":5}`, "hi", "string"), 400, badBody + `not_string: content_type"}`},
		{"POST", path, body("q", `{"headers":5}`, "hi", "string"), 400, badBody + `headers should be an object"}`},
		{"POST", path, body("q", `5`, "hi", "string"), 400, badBody + `properties should be an object"}`},
		{"POST", path, body("q", `{"expiration":"x"}`, "hi", "string"), 400, badBody + `406 PRECONDITION_FAILED - invalid expiration 'x': no_integer"}`},
		{"POST", path, body("q", `{"user_id":"other"}`, "hi", "string"), 400, badBody + `406 PRECONDITION_FAILED - user_id property set to 'other' but authenticated user was 'adm'"}`},
		{"POST", path, body("q", `{"headers":{"CC":"q"}}`, "hi", "string"), 400, badBody + `406 PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,\"CC\",longstr}"}`},
		{"POST", path, body("full", `{}`, "hi", "string"), 400, badBody + `rejected Unable to publish message. Check queue limits."}`},
		{"POST", "/api/exchanges/v1/nope/publish", body("q", `{}`, "hi", "string"), 400, badBody + `404 NOT_FOUND - no exchange 'nope' in vhost 'v1'"}`},
		{"POST", "/api/exchanges/v1/internal/publish", body("q", `{}`, "hi", "string"), 400, badBody + `403 ACCESS_REFUSED - cannot publish to internal exchange 'internal' in vhost 'v1'"}`},
		{"POST", "/api/exchanges/nope/x/publish", body("q", `{}`, "hi", "string"), 404, `={"error":"not_found","reason":"vhost_not_found"}`},
	})
}

// A user may do by the API what it may do over AMQP: mgt may configure what begins
// with c, read everything, and write nothing.
func TestChangesOfTopologyNeedRights(t *testing.T) {
	f := newFixture(t)
	f.inQueue(t, "q", &core.Message{Body: []byte("x")})
	f.inQueue(t, "cq")
	for _, tt := range []struct {
		method, path, body string
		code               int
	}{
		{"PUT", "/api/queues/v1/c", `{}`, 201},
		{"PUT", "/api/queues/v1/z", `{}`, 401},
		{"PUT", "/api/exchanges/v1/c", `{}`, 201},
		{"PUT", "/api/exchanges/v1/z", `{}`, 401},
		{"POST", "/api/bindings/v1/e/c/q/c", `{}`, 401},
		{"POST", "/api/exchanges/v1/c/publish", `{"routing_key":"","properties":{},"payload":"","payload_encoding":"string"}`, 400},
		{"DELETE", "/api/queues/v1/q/contents", "", 204},
		{"DELETE", "/api/queues/v1/q", "", 401},
		{"DELETE", "/api/queues/v1/cq", "", 204},
		{"DELETE", "/api/exchanges/v1/c", "", 204},
		{"PUT", "/api/queues/v2/c", `{}`, 401},
		{"POST", "/api/queues/v1/q/actions", `{"action":"sync"}`, 401},
	} {
		if w := f.as(t, "mgt", tt.method, tt.path, tt.body); w.Code != tt.code {
			t.Errorf("%s %s = %d %s, want %d", tt.method, tt.path, w.Code, w.Body, tt.code)
		}
	}
	if w := f.as(t, "adm", "PUT", "/api/queues/v1/c2", `{}`); w.Code != 401 {
		t.Errorf("an administrator without permissions: %d %s", w.Code, w.Body)
	}
}
