package api

import (
	"net/http"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
)

// inQueue makes a queue in v1 with some messages.
func (f *fixture) inQueue(t *testing.T, queue string, messages ...*core.Message) {
	t.Helper()
	s, err := f.broker.Attach("v1", core.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: queue, Durable: true}); err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		m.Key, m.Persistent = queue, true
		if n, err := s.Publish(m, nil, 0); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
}

func blockOf(t *testing.T, p field.Properties) []byte {
	t.Helper()
	b, err := field.AppendProperties(nil, &p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// deadOf is a message that died in a queue.
func deadOf(t *testing.T, queue, body string) *core.Message {
	t.Helper()
	return &core.Message{Body: []byte(body), Props: blockOf(t, field.Properties{Headers: field.Table{
		{Key: "x-first-death-queue", Value: queue}, {Key: "x-first-death-reason", Value: "rejected"}, {Key: "try", Value: int32(2)},
	}})}
}

func TestGetMessages(t *testing.T) {
	f := newFixture(t)
	must(t)(f.broker.Access().SetPermission(t.Context(), core.Permission{VHost: "v1", User: "adm", Configure: ".*", Write: ".*", Read: ".*"}))
	props := blockOf(t, field.Properties{
		ContentType: "text/plain", DeliveryMode: 2, Timestamp: 1_700_000_000, Headers: field.Table{{Key: "n", Value: int64(1)}, {Key: "s", Value: "x"}},
	})
	f.inQueue(t, "q", &core.Message{Body: []byte("hello1"), Props: props}, &core.Message{Body: []byte("\xff\x00")})
	const path = "/api/queues/v1/q/get"
	shown := `"properties":{"content_type":"text/plain","delivery_mode":2,"headers":{"n":1,"s":"x"},"timestamp":1700000000}`
	f.play(t, []step{
		{
			"POST", path, `{"count":2,"ackmode":"ack_requeue_true","encoding":"auto"}`, 200,
			`=[{"payload_bytes":6,"redelivered":false,"exchange":"","routing_key":"q","message_count":1,` + shown + `,"payload":"hello1","payload_encoding":"string"},` +
				`{"payload_bytes":2,"redelivered":false,"exchange":"","routing_key":"q","message_count":0,"properties":{},"payload":"/wA=","payload_encoding":"base64"}]`,
		},
		{
			"POST", path, `{"count":"1","ackmode":"reject_requeue_true","encoding":"base64","truncate":3}`, 200,
			`=[{"payload_bytes":6,"redelivered":true,"exchange":"","routing_key":"q","message_count":1,` + shown + `,"payload":"aGVs","payload_encoding":"base64"}]`,
		},
		{"POST", path, `{"count":0,"ackmode":"ack_requeue_false","encoding":"auto"}`, 200, `=[]`},
		{"POST", path, `{"count":1,"ackmode":"ack_requeue_false","encoding":"auto"}`, 200, `[{"payload_bytes":6,`},
		{"POST", path, `{"count":-1,"ackmode":"reject_requeue_false","encoding":"auto"}`, 200, `[{"payload_bytes":2,`},
		{"POST", path, `{"count":1,"ackmode":"ack_requeue_true","encoding":"auto"}`, 200, `=[]`},
		{"POST", path, `{}`, 400, badBody + `key_missing: ackmode"}`},
		{"POST", path, `{"ackmode":"ack_requeue_true","encoding":"auto"}`, 400, badBody + `key_missing: count"}`},
		{"POST", path, `{"count":1,"ackmode":"ack_requeue_true"}`, 400, badBody + `key_missing: encoding"}`},
		{"POST", path, `{"count":1,"ackmode":"ack_requeue_true","encoding":"x"}`, 400, badBody + `Unsupported encoding. Please use auto or base64."}`},
		{"POST", path, `{"count":1,"ackmode":"x","encoding":"auto"}`, 400, `{"error":"bad_request","reason":"ackmode is not ack_requeue_true`},
		{"POST", path, `{"count":"x","ackmode":"ack_requeue_true","encoding":"auto"}`, 400, badBody + `\"x\" is not a whole number"}`},
		{"POST", "/api/queues/v1/nope/get", `{"count":1,"ackmode":"ack_requeue_true","encoding":"auto"}`, 404, `={"error":"not_found","reason":"NOT_FOUND - no queue 'nope' in vhost 'v1'"}`},
		{"POST", "/api/queues/nope/q/get", `{"count":1,"ackmode":"ack_requeue_true","encoding":"auto"}`, 404, gone},
	})
}

func TestMessages(t *testing.T) {
	f := newFixture(t)
	must(t)(f.broker.Access().SetPermission(t.Context(), core.Permission{VHost: "v1", User: "adm", Configure: ".*", Write: ".*", Read: ".*"}))
	f.inQueue(t, "q", deadOf(t, "orders", "one"), deadOf(t, "gone", "two"), &core.Message{Body: []byte("three")}, &core.Message{Body: []byte("four")})
	f.inQueue(t, "orders")
	f.inQueue(t, "other")
	const path = "/api/queues/v1/q"
	f.play(t, []step{
		{
			"GET", path + "/messages?count=1&truncate=2", "", 200,
			`={"items":[{"position":"1","deliveries":0,"payload_bytes":3,"redelivered":false,"exchange":"","routing_key":"q","properties":{"headers":{"try":2,"x-first-death-queue":"orders","x-first-death-reason":"rejected"}},"payload":"on","payload_encoding":"string"}],"next":"1"}`,
		},
		{"GET", path + "/messages?after=3", "", 200, `={"items":[{"position":"4","deliveries":0,"payload_bytes":4,"redelivered":false,"exchange":"","routing_key":"q","properties":{},"payload":"four","payload_encoding":"string"}]}`},
		{"GET", path + "/messages?after=4", "", 200, `={"items":[]}`},
		{"GET", path + "/messages?after=x", "", 400, badBody + `after is not a position"}`},
		{"GET", path + "/messages?count=-1", "", 400, badBody + `count is not a whole number"}`},
		{"GET", "/api/queues/v1/nope/messages", "", 404, `={"error":"not_found","reason":"NOT_FOUND - no queue 'nope' in vhost 'v1'"}`},
		{"GET", "/api/queues/nope/q/messages", "", 404, gone},
		{"DELETE", path + "/messages/4", "", 204, "="},
		{"DELETE", path + "/messages/4", "", 404, gone},
		{"DELETE", path + "/messages/x", "", 404, gone},
		{"POST", path + "/move", `{}`, 400, badBody + `give to_queue or to_exchange"}`},
		{"POST", path + "/move", `{"to_queue":"q"}`, 400, badBody + `messages cannot be moved from a queue to itself"}`},
		{"POST", path + "/move", `{"to_queue":"other","positions":["?"]}`, 400, badBody + `\"?\" is not a position"}`},
		{"POST", path + "/move", `{"to_queue":"nope"}`, 404, `={"error":"not_found","reason":"NOT_FOUND - no queue 'nope' in vhost 'v1'"}`},
		{"POST", path + "/move", `{"to_queue":"other","headers":{"try":2},"dry_run":true}`, 200, `={"waiting":3,"moved":2,"kept":0,"passed":1,"more":false}`},
		{"POST", path + "/move", `{"to_queue":"other","died_in":"gone","reason":"rejected"}`, 200, `={"waiting":3,"moved":1,"kept":0,"passed":2,"more":false}`},
		{"POST", path + "/move", `{"to_exchange":"amq.fanout","exchange":"","routing_key":"q"}`, 200, `={"waiting":2,"moved":0,"kept":2,"passed":0,"more":false}`},
		{"POST", path + "/move", `{"to_exchange":"","to_routing_key":"other","positions":["3"]}`, 200, `={"waiting":2,"moved":1,"kept":0,"passed":1,"more":false}`},
		{"POST", path + "/redrive", ``, 200, `={"waiting":1,"moved":1,"kept":0,"passed":0,"more":false}`},
		{"GET", "/api/queues/v1/other/messages?columns=next", "", 200, `={}`},
	})
	for queue, want := range map[string]int{"q": 0, "orders": 1, "other": 2} {
		s, err := f.broker.Attach("v1", core.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if info, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: queue, Passive: true}); err != nil || info.Messages != want {
			t.Errorf("%s has %d messages, %v, want %d", queue, info.Messages, err, want)
		}
		s.Close()
	}
}

// What somebody may do with messages is what the same user may do over AMQP.
func TestMessages_ByTheActorsRights(t *testing.T) {
	f := newFixture(t)
	f.inQueue(t, "q", &core.Message{Body: []byte("one")})
	f.inQueue(t, "to")
	f.inQueue(t, "cq")
	for _, tt := range []struct {
		user, method, path, body string
		code                     int
		want                     string
	}{
		{"mgt", http.MethodGet, "/api/queues/v1/q/messages?columns=next", "", 200, `{}`},
		{"mgt", http.MethodPost, "/api/queues/v1/q/move", `{"to_queue":"to"}`, 401, `{"error":"not_authorised","reason":"ACCESS_REFUSED - write access to queue 'to' in vhost 'v1' refused for user 'mgt'"}`},
		{"pol", http.MethodGet, "/api/queues/v1/q/messages", "", 401, `{"error":"not_authorised","reason":"User not authorised to access virtual host"}`},
		{"mon", http.MethodGet, "/api/queues/v1/q/messages", "", 401, `{"error":"not_authorised","reason":"User not authorised to access virtual host"}`},
	} {
		if w := f.as(t, tt.user, tt.method, tt.path, tt.body); w.Code != tt.code || w.Body.String() != tt.want {
			t.Errorf("%s %s %s: %d %s, want %d %s", tt.user, tt.method, tt.path, w.Code, w.Body, tt.code, tt.want)
		}
	}
}
