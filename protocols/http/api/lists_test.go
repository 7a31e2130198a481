package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
)

// session opens a session in v1 as a front-end does, for a connection of that name.
func (f *fixture) session(t *testing.T, name string, channels func() []core.ChannelInfo) *core.Session {
	t.Helper()
	s, err := f.broker.Attach("v1", core.SessionOptions{
		User: "mgt", Channels: channels,
		Info: func(bool) core.ConnectionInfo {
			return core.ConnectionInfo{Name: name, User: "mgt", VHost: "v1", PeerHost: "192.0.2.9", PeerPort: 4712}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// topology makes one of each in v1.
func (f *fixture) topology(t *testing.T) {
	t.Helper()
	s := f.session(t, "1.2.3.4:5 -> 6.7.8.9:10", func() []core.ChannelInfo {
		return []core.ChannelInfo{{Number: 1, Confirm: true, Prefetch: 10, Consumers: 1, Unacked: 2}}
	})
	for _, q := range []core.QueueSpec{
		{Name: "orders", Durable: true, Args: field.Table{{Key: "x-message-ttl", Value: int32(60000)}}}, {Name: "mine", Exclusive: true}, {Name: "other"},
	} {
		if _, err := s.DeclareQueue(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeclareExchange(t.Context(), core.ExchangeSpec{Name: "x", Kind: "topic", Durable: true}); err != nil {
		t.Fatal(err)
	}
	for _, b := range []core.BindingSpec{
		{Source: "x", Dest: "orders", Key: "a.#"},
		{Source: "x", Dest: "orders", Key: "a.#", Args: field.Table{{Key: "n", Value: int32(1)}}},
		{Source: "x", Dest: "amq.fanout", DestExchange: true},
	} {
		if err := s.Bind(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Publish(&core.Message{Exchange: "x", Key: "a.b", Body: []byte("four")}, nil, 0); err != nil {
		t.Fatal(err)
	}
	_, err := s.Consume(t.Context(), core.ConsumerSpec{Queue: "other", Tag: "tag", Channel: 1, Receiver: deaf{}, Window: core.NewWindow(5)})
	if err != nil {
		t.Fatal(err)
	}
}

// deaf is the receiver of a consumer that is sent nothing.
type deaf struct{}

func (deaf) Ready() bool              { return true }
func (deaf) Deliver(core.Delivery)    {}
func (deaf) Cancelled(*core.Consumer) {}

// get returns what is at a path, as an administrator sees it.
func get[T any](t *testing.T, f *fixture, path string) (v T) {
	t.Helper()
	w := f.as(t, "adm", http.MethodGet, path, "")
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s = %d %s", path, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return v
}

type jsonObject = map[string]any

func TestTopologyLists(t *testing.T) {
	f := newFixture(t)
	f.topology(t)
	for path, want := range map[string]string{
		"/api/queues/v1":           "mine orders other",
		"/api/queues":              "mine orders other",
		"/api/queues/v2":           "",
		"/api/queues/v1?mqtt=true": "",
		"/api/queues/v1?sort=messages&sort_reverse=true": "orders mine other",
		"/api/queues/v1?sort=name&sort_reverse=true":     "other orders mine",
		"/api/exchanges/v1":                              " amq.direct amq.fanout amq.headers amq.match amq.rabbitmq.trace amq.topic x",
		"/api/vhosts/v1/channels":                        "1.2.3.4:5 -> 6.7.8.9:10 (1)",
		"/api/connections/" + inTopology + "/channels":   "1.2.3.4:5 -> 6.7.8.9:10 (1)",
	} {
		var names []string
		for _, o := range get[[]jsonObject](t, f, path) {
			names = append(names, fmt.Sprint(o["name"]))
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	basics := `{"name":"orders","vhost":"v1","type":"classic","durable":true,"auto_delete":false,"exclusive":false,"node":"node-a","state":"running","arguments":{"x-message-ttl":60000}`
	if w := f.as(t, "adm", "GET", "/api/queues/v1?disable_stats=true", ""); !strings.Contains(w.Body.String(), ","+basics+"},") {
		t.Errorf("without statistics: %s", w.Body)
	}
	totals := basics + `,"messages":1,"messages_ready":1,"messages_unacknowledged":0},`
	if w := f.as(t, "adm", "GET", "/api/queues/v1?disable_stats=true&enable_queue_totals=true", ""); !strings.Contains(w.Body.String(), ","+totals) {
		t.Errorf("with totals alone: %s", w.Body)
	}
	p := get[page](t, f, "/api/queues/v1?page=2&page_size=1&name=R&use_regex=false")
	if p.TotalCount != 3 || p.FilteredCount != 2 || p.ItemCount != 1 || p.PageCount != 2 || p.Items[0].(jsonObject)["name"] != "other" {
		t.Errorf("a page: %+v", p)
	}
}

const inTopology = "1.2.3.4:5%20-%3E%206.7.8.9:10" // the connection

// reader is a program that reads the API, and what it looks at there, with the type
// that it has in RabbitMQ 3.10.8. Rates are another test's.
type reader struct{ name, path, fields string }

var readers = []reader{
	{"KEDA's scaler", "/api/queues/v1/orders", "name:string messages:num messages_ready:num messages_unacknowledged:num message_stats.publish:num message_stats.deliver_get:num"},
	{"KEDA's scaler, by an expression", "/api/queues/v1?page=1&use_regex=true&pagination=false&name=%5Eord&page_size=100", "items:list page_count:num items.0.name:string items.0.messages:num"},
	{"rabbitmq_exporter, queues", "/api/queues?columns=", "0.vhost:string 0.name:string 0.durable:bool 0.policy:nil 0.state:string 0.node:string 0.messages:num 0.messages_ready:num " +
		"0.messages_unacknowledged:num 0.messages_ready_ram:num 0.messages_ram:num 0.message_bytes:num 0.message_bytes_ready:num 0.message_bytes_ram:num 0.consumers:num " +
		"0.consumer_utilisation:num 0.memory:num 0.head_message_timestamp:nil 0.arguments:map 0.effective_policy_definition:map " +
		"0.message_stats.publish:num 0.message_stats.deliver:num 0.message_stats.deliver_no_ack:num 0.message_stats.redeliver:num 0.message_stats.ack:num 0.message_stats.get:num 0.message_stats.get_no_ack:num 0.message_stats.get_empty:num"},
	{"rabbitmq_exporter, exchanges", "/api/exchanges", "0.vhost:string 0.name:string"},
	{"Celery Flower", "/api/queues/v1", "1.name:string 1.messages:num 1.messages_ready:num 1.messages_unacknowledged:num 1.consumers:num"},
	{"Terraform, a queue", "/api/queues/v1/orders", "name:string vhost:string type:string durable:bool auto_delete:bool arguments:map arguments.x-message-ttl:num"},
	{"Terraform, an exchange", "/api/exchanges/v1/x", "name:string vhost:string type:string durable:bool auto_delete:bool internal:bool arguments:map"},
	{"Terraform, bindings", "/api/bindings/v1", "0.source:string 0.vhost:string 0.destination:string 0.destination_type:string 0.routing_key:string 0.properties_key:string 0.arguments:map"},
	{"rabbit-hole, a queue", "/api/queues/v1/mine", "exclusive:bool owner_pid_details.name:string owner_pid_details.peer_host:string owner_pid_details.peer_port:num exclusive_consumer_tag:nil " +
		"single_active_consumer_tag:nil operator_policy:nil consumer_details:list incoming:list deliveries:list message_bytes_paged_out:num messages_paged_out:num consumer_capacity:num"},
	{"rabbit-hole, channels", "/api/channels", "0.name:string 0.number:num 0.node:string 0.user:string 0.vhost:string 0.state:string 0.connection_details.name:string " +
		"0.connection_details.peer_host:string 0.connection_details.peer_port:num 0.prefetch_count:num 0.global_prefetch_count:num 0.consumer_count:num 0.confirm:bool " +
		"0.transactional:bool 0.messages_unacknowledged:num 0.messages_unconfirmed:num 0.messages_uncommitted:num 0.acks_uncommitted:num"},
	{"rabbit-hole, a channel", "/api/channels/" + inTopology + "%20(1)", "name:string consumer_details:list publishes:list deliveries:list"},
	{"rabbit-hole, consumers", "/api/consumers/v1", "0.consumer_tag:string 0.queue.name:string 0.queue.vhost:string 0.channel_details.name:string 0.channel_details.number:num " +
		"0.channel_details.connection_name:string 0.channel_details.peer_host:string 0.channel_details.peer_port:num 0.channel_details.user:string 0.channel_details.node:string " +
		"0.ack_required:bool 0.exclusive:bool 0.active:bool 0.activity_status:string 0.prefetch_count:num 0.arguments:map"},
	{"rabbitmqadmin, a list", "/api/queues?columns=vhost,name,messages", "0.vhost:string 0.name:string 0.messages:num"},
	{"a plugin of Nagios, a queue", "/api/queues/v1/orders", "messages:num messages_ready:num messages_unacknowledged:num consumers:num"},
	{"a plugin of Nagios, an exchange", "/api/exchanges/v1/x", "name:string"},
}

func TestReadersFindWhatTheyLookAt(t *testing.T) {
	f := newFixture(t)
	f.topology(t)
	for _, r := range readers {
		body := get[any](t, f, r.path)
		for want := range strings.FieldsSeq(r.fields) {
			name, kind, _ := strings.Cut(want, ":")
			if got := kindOf(body, name); got != kind {
				t.Errorf("%s: %s of %s is a %s, want %s", r.name, name, r.path, got, kind)
			}
		}
	}
	k := get[[]jsonObject](t, f, "/api/consumers/v1")[0]
	if got, want := fmt.Sprint(slices.Sorted(maps.Keys(k))),
		"[ack_required active activity_status arguments channel_details consumer_tag exclusive messages_unacknowledged prefetch_count queue]"; got != want {
		t.Errorf("a consumer has %s, want %s", got, want)
	}
}

// kindOf names the JSON type of what is at a path of keys, and of places in lists.
func kindOf(v any, path string) string {
	for key := range strings.SplitSeq(path, ".") {
		if l, ok := v.([]any); ok {
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(l) {
				return "missing"
			}
			v = l[i]
			continue
		}
		m, _ := v.(jsonObject)
		value, ok := m[key]
		if !ok {
			return "missing"
		}
		v = value
	}
	switch v.(type) {
	case string:
		return "string"
	case float64:
		return "num"
	case bool:
		return "bool"
	case jsonObject:
		return "map"
	case []any:
		return "list"
	}
	return "nil"
}

func TestBindingsByTheirEnds(t *testing.T) {
	f := newFixture(t)
	f.topology(t)
	of := func(key, props, args string) string {
		return `{"source":"x","vhost":"v1","destination":"orders","destination_type":"queue","routing_key":"` + key + `","arguments":` + args + `,"properties_key":"` + props + `"}`
	}
	implicit := `{"source":"","vhost":"v1","destination":"orders","destination_type":"queue","routing_key":"orders","arguments":{},"properties_key":"orders"}`
	toFanout := `{"source":"x","vhost":"v1","destination":"amq.fanout","destination_type":"exchange","routing_key":"","arguments":{},"properties_key":"~"}`
	const hashed = "a.%23~nB8TvUNv80VNiavlq1VHpQ"
	for path, want := range map[string]string{
		"/api/queues/v1/orders/bindings":                    "[" + implicit + "," + of("a.#", "a.%23", "{}") + "," + of("a.#", hashed, `{"n":1}`) + "]",
		"/api/exchanges/v1/x/bindings/source":               "[" + toFanout + "," + of("a.#", "a.%23", "{}") + "," + of("a.#", hashed, `{"n":1}`) + "]",
		"/api/exchanges/v1/amq.fanout/bindings/destination": "[" + toFanout + "]",
		"/api/bindings/v1/e/x/e/amq.fanout":                 "[" + toFanout + "]",
		"/api/bindings/v1/e/x/e/amq.fanout/~":               toFanout,
		"/api/bindings/v1/e/x/q/orders/a.%2523":             of("a.#", "a.%23", "{}"),
		"/api/bindings/v1/e/amq.default/q/orders":           "[" + implicit + "]",
		"/api/bindings/v1/e/x/q/other":                      "[]",
	} {
		f.wantBody(t, path, want)
	}
}

// A list is written row by row, and is a list also when it is empty.
func TestListsAreWrittenRowByRow(t *testing.T) {
	f := newFixture(t)
	f.wantBody(t, "/api/queues/v1", `[]`)
	f.inQueue(t, "a")
	f.inQueue(t, "b")
	f.wantBody(t, "/api/queues/v1?columns=name,vhost", `[{"name":"a","vhost":"v1"},{"name":"b","vhost":"v1"}]`)
	var calls int
	a := &rows{items: list{goesAway{&calls}, aQueue{f.broker.Queue("v1", "b")}}}
	var names []any
	if err := a.each(&call{api: f.API, primary: f.primary}, func(row any) error { names = append(names, row); return nil }); err != nil || len(names) != 1 || calls != 1 {
		t.Errorf("what goes away meanwhile: %v rows, %v, asked for %d times", names, err, calls)
	}
}

// goesAway is an item that is gone when it is to be written.
type goesAway struct{ calls *int }

func (goesAway) name() string { return "" }

func (g goesAway) row(*call) any { //nolint:unparam // that is what it is for
	*g.calls++
	return nil
}

// manyQueues is how many queues the measurements have.
const manyQueues = 50_000

func BenchmarkListQueues(b *testing.B) {
	f := newFixtureOf(b)
	s, err := f.broker.Attach("v1", core.SessionOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for i := range manyQueues {
		if _, err := s.DeclareQueue(b.Context(), core.QueueSpec{Name: fmt.Sprintf("tenant-%d.orders", i)}); err != nil {
			b.Fatal(err)
		}
	}
	for _, path := range []string{
		"/api/queues", "/api/queues?page=3&page_size=100", "/api/queues?page=1&name=9.or&page_size=100", "/api/queues?disable_stats=true&enable_queue_totals=true",
		"/api/queues?columns=name,messages", "/api/queues?sort=messages&page=1",
	} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			var n discard
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, path, nil)
				r.SetBasicAuth("adm", "pw")
				n.n = 0
				f.ServeHTTP(&n, r)
			}
			b.ReportMetric(float64(n.n), "body-B/op")
		})
	}
}

// discard is an answer that nobody keeps.
type discard struct {
	header http.Header
	n      int
}

func (d *discard) WriteHeader(int) {}

func (d *discard) Header() http.Header {
	if d.header == nil {
		d.header = http.Header{}
	}
	return d.header
}

func (d *discard) Write(b []byte) (int, error) {
	d.n += len(b)
	return len(b), nil
}
