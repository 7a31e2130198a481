package core_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

// sorter notes which queue each message came from, by its body.
type sorter struct{ came map[string]string }

func (*sorter) Ready() bool              { return true }
func (*sorter) Cancelled(*core.Consumer) {}
func (s *sorter) Deliver(d core.Delivery) {
	body := string(d.Message.Body)
	if first := s.came[body]; first != "" {
		body += " again, after " + first
	}
	s.came[body] = d.Queue()
}

// spreading is a broker whose exchange x spreads over queues.
type spreading struct {
	*testing.T
	broker  *core.Broker
	session *core.Session
	sorter  sorter
}

func spread(t *testing.T, kind string, args field.Table) *spreading {
	t.Helper()
	b := engine(t, core.Options{})
	sp := &spreading{T: t, broker: b, session: attach(t, b)}
	sp.must(sp.session.DeclareExchange(t.Context(), core.ExchangeSpec{Name: "x", Kind: kind, Durable: true, Args: args}))
	return sp
}

func (sp *spreading) must(err error) {
	sp.Helper()
	if err != nil {
		sp.Fatal(err)
	}
}

// bind binds a queue, which it makes and consumes.
func (sp *spreading) bind(queue, key string) {
	sp.Helper()
	if _, err := sp.session.DeclareQueue(sp.Context(), core.QueueSpec{Name: queue, Durable: true}); err != nil {
		sp.Fatal(err)
	}
	sp.must(sp.session.Bind(sp.Context(), core.BindingSpec{Source: "x", Dest: queue, Key: key}))
	sp.consume(queue)
}

func (sp *spreading) consume(queue string) {
	sp.Helper()
	if _, err := sp.session.Consume(sp.Context(), core.ConsumerSpec{Queue: queue, NoAck: true, Receiver: &sp.sorter}); err != nil {
		sp.Fatal(err)
	}
}

// publish publishes n messages of different keys and returns which queue each came from.
func (sp *spreading) publish(n int) map[string]string {
	sp.Helper()
	sp.sorter.came = map[string]string{}
	for i := range n {
		key := fmt.Sprintf("key-%d", i)
		if routed, err := sp.session.Publish(&core.Message{Exchange: "x", Key: key, Body: []byte(key)}, nil, 0); err != nil || routed != 1 {
			sp.Fatalf("%s was routed to %d queues: %v", key, routed, err)
		}
	}
	if len(sp.sorter.came) != n {
		sp.Fatalf("%d messages came of %d", len(sp.sorter.came), n)
	}
	return sp.sorter.came
}

// shares checks that queues got messages in proportion to their weights: nobody is five standard deviations away.
func (sp *spreading) shares(came map[string]string, weights map[string]float64) {
	sp.Helper()
	got, sum := map[string]float64{}, 0.0
	for _, queue := range came {
		got[queue]++
	}
	for _, w := range weights {
		sum += w
	}
	n := float64(len(came))
	for queue, w := range weights {
		p := w / sum
		if want, most := n*p, 5*math.Sqrt(n*p*(1-p)); math.Abs(got[queue]-want) > most {
			sp.Errorf("queue %s got %v messages, want %.0f ± %.0f", queue, got[queue], want, most)
		}
		delete(got, queue)
	}
	if len(got) > 0 {
		sp.Errorf("messages came from %v", got)
	}
}

const spreadMessages = 20_000

func TestConsistentHashSpreadsByWeight(t *testing.T) {
	for name, weights := range map[string]map[string]float64{
		"equal":     {"a": 3, "b": 3, "c": 3, "d": 3, "e": 3},
		"different": {"a": 1, "b": 2, "c": 4, "d": 10},
	} {
		t.Run(name, func(t *testing.T) {
			sp := spread(t, "x-consistent-hash", nil)
			for queue, w := range weights {
				sp.bind(queue, fmt.Sprint(w))
			}
			sp.shares(sp.publish(spreadMessages), weights)
		})
	}
}

// What moves when a destination comes, goes or changes its weight is its share, and it moves from and to nobody else.
func TestConsistentHashMovesNoMoreThanIsNeeded(t *testing.T) {
	sp := spread(t, "x-consistent-hash", nil)
	for _, queue := range []string{"a", "b", "c"} {
		sp.bind(queue, "2")
	}
	moved := func(before, after map[string]string, to string) (n int) {
		sp.Helper()
		for key, queue := range after {
			if queue == before[key] {
				continue
			}
			if n++; to != "" && queue != to || to == "" && before[key] != "d" {
				sp.Fatalf("%s moved from %s to %s", key, before[key], queue)
			}
		}
		return n
	}
	three := sp.publish(spreadMessages)
	sp.bind("d", "2")
	four := sp.publish(spreadMessages)
	if n := moved(three, four, "d"); n < spreadMessages/5 || n > spreadMessages*3/10 {
		t.Errorf("%d of %d messages moved to the fourth of four queues", n, spreadMessages)
	}
	sp.must(sp.session.Bind(t.Context(), core.BindingSpec{Source: "x", Dest: "d", Key: "3"}))
	heavy := sp.publish(spreadMessages)
	moved(four, heavy, "d")
	sp.shares(heavy, map[string]float64{"a": 2, "b": 2, "c": 2, "d": 5})
	sp.must(sp.session.Unbind(t.Context(), core.BindingSpec{Source: "x", Dest: "d", Key: "2"}))
	sp.shares(sp.publish(spreadMessages), map[string]float64{"a": 2, "b": 2, "c": 2, "d": 3})
	if _, err := sp.session.DeleteQueue(t.Context(), "d", false, false, false); err != nil {
		t.Fatal(err)
	}
	if n := moved(heavy, sp.publish(spreadMessages), ""); n == 0 {
		t.Error("nothing moved from a queue that was deleted")
	}
	moved(three, sp.publish(spreadMessages), "nowhere")
}

// A message goes where its like went before, whoever is the broker now and in whatever order the bindings were made.
func TestConsistentHashIsTheSameAfterARestart(t *testing.T) {
	store := memstore.Open(memstore.Options{})
	epoch := uint32(0)
	open := func() *spreading {
		epoch++
		b, err := core.Open(t.Context(), store, core.Options{Epoch: epoch})
		if err != nil {
			t.Fatal(err)
		}
		return &spreading{T: t, broker: b, session: attach(t, b)}
	}
	sp := open()
	sp.must(sp.session.DeclareExchange(t.Context(), core.ExchangeSpec{Name: "x", Kind: "x-consistent-hash", Durable: true}))
	queues := []string{"a", "b", "c", "d"}
	for i, queue := range queues {
		sp.bind(queue, fmt.Sprint(1+i))
	}
	before := sp.publish(1000)
	disk := store.Disk()
	sp.broker.Close()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store = memstore.Open(memstore.Options{Disk: disk})
	again := open()
	defer again.broker.Close()
	for _, queue := range queues {
		again.consume(queue)
	}
	other := spread(t, "x-consistent-hash", nil)
	for i := range queues {
		last := len(queues) - 1 - i
		other.bind(queues[last], fmt.Sprint(1+last))
	}
	after, elsewhere := again.publish(1000), other.publish(1000)
	for key, queue := range before {
		if after[key] != queue || elsewhere[key] != queue {
			t.Fatalf("%s went to %s, then to %s, and in another broker to %s", key, queue, after[key], elsewhere[key])
		}
	}
	// These choices were made by the version that introduced them: no later one may choose otherwise.
	for key, queue := range map[string]string{"key-0": "a", "key-1": "d", "key-2": "d", "key-3": "a", "key-4": "b", "key-5": "d"} {
		if before[key] != queue {
			t.Errorf("%s went to %s, want %s", key, before[key], queue)
		}
	}
}

func TestConsistentHashOfHeadersAndProperties(t *testing.T) {
	header := func(v any) field.Properties {
		return field.Properties{ContentType: "text/plain", Headers: field.Table{{Key: "k", Value: "v"}, {Key: "id", Value: v}}, Priority: 1}
	}
	for _, tt := range []struct {
		name  string
		args  field.Table
		props func(i int) field.Properties
	}{
		{"header", field.Table{{Key: "hash-header", Value: "id"}}, func(i int) field.Properties { return header(fmt.Sprint(i)) }},
		{"number", field.Table{{Key: "hash-header", Value: "id"}}, func(i int) field.Properties { return header(int64(i)) }},
		{"message_id", field.Table{{Key: "hash-property", Value: "message_id"}}, func(i int) field.Properties {
			p := header("same")
			p.MessageID = fmt.Sprint(i)
			return p
		}},
		{"correlation_id", field.Table{{Key: "hash-property", Value: "correlation_id"}}, func(i int) field.Properties {
			return field.Properties{CorrelationID: fmt.Sprint(i), ReplyTo: "same"}
		}},
		{"timestamp", field.Table{{Key: "hash-property", Value: "timestamp"}}, func(i int) field.Properties {
			return field.Properties{Timestamp: field.Timestamp(i), Expiration: "1000", AppID: "same"}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sp := spread(t, "x-consistent-hash", tt.args)
			for _, queue := range []string{"a", "b", "c"} {
				sp.bind(queue, "1")
			}
			publish := func(p field.Properties, key, body string) {
				props, err := field.AppendProperties(nil, &p)
				sp.must(err)
				if _, err := sp.session.Publish(&core.Message{Exchange: "x", Key: key, Props: props, Body: []byte(body)}, nil, 0); err != nil {
					t.Fatal(err)
				}
			}
			sp.sorter.came = map[string]string{}
			used := map[string]bool{}
			for i := range 50 {
				publish(tt.props(i), fmt.Sprint(i), fmt.Sprint("one ", i))
				publish(tt.props(i), "other", fmt.Sprint("two ", i))
				one, two := sp.sorter.came[fmt.Sprint("one ", i)], sp.sorter.came[fmt.Sprint("two ", i)]
				if used[one] = true; one == "" || one != two {
					t.Fatalf("messages of one hash went to %q and %q", one, two)
				}
				publish(field.Properties{}, fmt.Sprint(i), fmt.Sprint("none ", i))
			}
			if len(used) != 3 {
				t.Errorf("50 hashes chose among %v", used)
			}
			for i := range 50 {
				if got, want := sp.sorter.came[fmt.Sprint("none ", i)], sp.sorter.came["none 0"]; got != want {
					t.Errorf("of messages without a hash one went to %q and one to %q", want, got)
				}
			}
		})
	}
}

// An exchange is a destination as a queue is, and one of the same name is another.
func TestSpreadingOverExchanges(t *testing.T) {
	for _, kind := range []string{"x-consistent-hash", "x-random"} {
		t.Run(kind, func(t *testing.T) {
			sp := spread(t, kind, nil)
			sp.bind("y", "1")
			sp.must(sp.session.DeclareExchange(t.Context(), core.ExchangeSpec{Name: "y", Kind: "fanout"}))
			sp.must(sp.session.Bind(t.Context(), core.BindingSpec{Source: "x", Dest: "y", DestExchange: true, Key: "1"}))
			if _, err := sp.session.DeclareQueue(t.Context(), core.QueueSpec{Name: "behind"}); err != nil {
				t.Fatal(err)
			}
			sp.must(sp.session.Bind(t.Context(), core.BindingSpec{Source: "y", Dest: "behind"}))
			sp.consume("behind")
			sp.shares(sp.publish(spreadMessages), map[string]float64{"y": 1, "behind": 1})
		})
	}
}

func TestRandomExchangeTakesEachDestinationAsOften(t *testing.T) {
	sp := spread(t, "x-random", nil)
	for _, queue := range []string{"a", "b", "c"} {
		sp.bind(queue, "")
	}
	sp.must(sp.session.Bind(t.Context(), core.BindingSpec{Source: "x", Dest: "a", Key: "another binding"}))
	sp.shares(sp.publish(spreadMessages), map[string]float64{"a": 1, "b": 1, "c": 1})
	sp.must(sp.session.Unbind(t.Context(), core.BindingSpec{Source: "x", Dest: "a"}))
	sp.must(sp.session.Unbind(t.Context(), core.BindingSpec{Source: "x", Dest: "b"}))
	sp.shares(sp.publish(spreadMessages), map[string]float64{"a": 1, "c": 1})
}

func BenchmarkConsistentHash(b *testing.B) {
	for _, n := range []int{4, 64, 1024} {
		for _, weights := range []string{"equal", "different"} {
			b.Run(fmt.Sprintf("%d_%s", n, weights), func(b *testing.B) {
				s := attach(b, engine(b, core.Options{}))
				if err := s.DeclareExchange(b.Context(), core.ExchangeSpec{Name: "x", Kind: "x-consistent-hash"}); err != nil {
					b.Fatal(err)
				}
				for i := range n {
					name, key := fmt.Sprint("q", i), "1"
					if weights == "different" {
						key = fmt.Sprint(1 + i%7)
					}
					if _, err := s.DeclareQueue(b.Context(), core.QueueSpec{Name: name}); err != nil {
						b.Fatal(err)
					}
					if err := s.Bind(b.Context(), core.BindingSpec{Source: "x", Dest: name, Key: key}); err != nil {
						b.Fatal(err)
					}
					if _, err := s.Consume(b.Context(), core.ConsumerSpec{Queue: name, NoAck: true, Receiver: &discard{}}); err != nil {
						b.Fatal(err)
					}
				}
				m := &core.Message{Exchange: "x", Key: "some.routing.key", Body: make([]byte, 12)}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.Publish(m, nil, 0); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
