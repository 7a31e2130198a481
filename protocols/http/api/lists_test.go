package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
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
		Info: func() core.ConnectionInfo {
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
		"/api/queues/v1?sort=messages&sort_reverse=true":          "orders mine other",
		"/api/queues/v1?sort=name&sort_reverse=true":              "other orders mine",
		"/api/exchanges/v1":                                       " amq.direct amq.fanout amq.headers amq.match amq.rabbitmq.trace amq.topic x",
		"/api/vhosts/v1/channels":                                 "1.2.3.4:5 -> 6.7.8.9:10 (1)",
		"/api/connections/1.2.3.4:5%20-%3E%206.7.8.9:10/channels": "1.2.3.4:5 -> 6.7.8.9:10 (1)",
	} {
		var names []string
		for _, o := range get[[]jsonObject](t, f, path) {
			names = append(names, fmt.Sprint(o["name"]))
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	p := get[page](t, f, "/api/queues/v1?page=2&page_size=1&name=R&use_regex=false")
	if p.TotalCount != 3 || p.FilteredCount != 2 || p.ItemCount != 1 || p.PageCount != 2 || p.Items[0].(jsonObject)["name"] != "other" {
		t.Errorf("a page: %+v", p)
	}
}

// What the readers of RabbitMQ's API look at, with its type there.
func TestTopologyFields(t *testing.T) {
	f := newFixture(t)
	f.topology(t)
	for path, want := range map[string]string{
		"/api/queues/v1/orders": "name:string vhost:string type:string durable:bool auto_delete:bool exclusive:bool node:string state:string arguments:map " +
			"messages:num messages_ready:num messages_unacknowledged:num messages_ram:num message_bytes:num message_bytes_ready:num " +
			"message_bytes_ram:num head_message_timestamp:nil memory:num consumers:num consumer_capacity:num consumer_utilisation:num " +
			"exclusive_consumer_tag:nil single_active_consumer_tag:nil policy:nil operator_policy:nil effective_policy_definition:map " +
			"message_stats:map message_stats.publish:num message_stats.deliver_get:num message_stats.ack:num consumer_details:list incoming:list deliveries:list",
		"/api/queues/v1/mine": "exclusive:bool owner_pid_details:map owner_pid_details.name:string owner_pid_details.peer_host:string owner_pid_details.peer_port:num",
		"/api/exchanges/v1/x": "name:string vhost:string type:string durable:bool auto_delete:bool internal:bool arguments:map policy:nil incoming:list outgoing:list",
		"/api/channels/1.2.3.4:5%20-%3E%206.7.8.9:10%20(1)": "name:string number:num node:string user:string vhost:string state:string connection_details:map " +
			"connection_details.name:string connection_details.peer_host:string connection_details.peer_port:num prefetch_count:num global_prefetch_count:num " +
			"consumer_count:num confirm:bool transactional:bool messages_unacknowledged:num messages_unconfirmed:num messages_uncommitted:num acks_uncommitted:num consumer_details:list",
	} {
		o := get[jsonObject](t, f, path)
		for field := range strings.FieldsSeq(want) {
			name, kind, _ := strings.Cut(field, ":")
			if got := kindOf(o, name); got != kind {
				t.Errorf("%s: %s is a %s, want %s", path, name, got, kind)
			}
		}
	}
	k := get[[]jsonObject](t, f, "/api/consumers/v1")[0]
	if got, want := fmt.Sprint(slices.Sorted(maps.Keys(k))),
		"[ack_required active activity_status arguments channel_details consumer_tag exclusive prefetch_count queue]"; got != want {
		t.Errorf("a consumer has %s, want %s", got, want)
	}
}

// kindOf names the JSON type of what is at a path of keys.
func kindOf(o jsonObject, path string) string {
	keys := strings.Split(path, ".")
	if _, ok := o[keys[0]]; !ok {
		return "missing"
	}
	switch at(o, keys).(type) {
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
