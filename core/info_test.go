package core_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
)

// counts is what a queue has counted, in the words of RabbitMQ's API.
func counts(t *testing.T, b *core.Broker, queue string) string {
	t.Helper()
	i, ok := b.Queue("/", queue).Info()
	if !ok {
		t.Fatalf("%s is gone", queue)
	}
	return fmt.Sprintf("ready %d, unacked %d, publish %d, deliver %d, no_ack %d, get %d, get_no_ack %d, get_empty %d, redeliver %d, ack %d, discarded %d",
		i.Ready, i.Unsettled, i.Published, i.DeliveredManual(), i.DeliveredAuto, i.Got, i.GotAuto, i.GotNothing, i.Redone, i.Acknowledged(), i.Discarded)
}

func TestQueueCountsByWhatBecameOfMessages(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	declare(t, s, true)
	want := func(what, want string) {
		t.Helper()
		if got := counts(t, b, "q"); got != want {
			t.Errorf("%s:\n%s, want\n%s", what, got, want)
		}
	}
	for range 6 {
		publish(t, s, &core.Message{Key: "q", Body: []byte("body"), Persistent: true})
	}
	want("published", "ready 6, unacked 0, publish 6, deliver 0, no_ack 0, get 0, get_no_ack 0, get_empty 0, redeliver 0, ack 0, discarded 0")
	get := func(noAck bool) core.Delivery {
		d, _, _, err := s.Get(t.Context(), "q", noAck)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	get(true)
	s.Settle([]core.Delivery{get(false)}, core.Accept)
	s.Settle([]core.Delivery{get(false)}, core.Reject)
	want("got", "ready 3, unacked 0, publish 6, deliver 0, no_ack 0, get 2, get_no_ack 1, get_empty 0, redeliver 0, ack 1, discarded 1")

	var got []core.Delivery
	take := receiverFunc(func(d core.Delivery) { got = append(got, d) })
	c, err := s.Consume(t.Context(), core.ConsumerSpec{Queue: "q", Tag: "t", Channel: 3, Receiver: take, Window: core.NewWindow(2)})
	if err != nil {
		t.Fatal(err)
	}
	if i, _ := b.Queue("/", "q").Info(); !i.Stalled || i.Consumers != 1 {
		t.Errorf("a consumer without credit, and a message: %+v", i)
	}
	s.Settle(got[:1], core.Requeue)
	s.Settle(got[1:2], core.Accept)
	want("consumed", "ready 0, unacked 2, publish 6, deliver 4, no_ack 0, get 2, get_no_ack 1, get_empty 0, redeliver 1, ack 2, discarded 1")
	if k := b.Queue("/", "q").Consumers(); len(k) != 1 || k[0].Tag != "t" || k[0].Channel != 3 || k[0].Prefetch != 2 || !k[0].Active || k[0].Session != s {
		t.Errorf("consumers: %+v", k)
	}
	c.Cancel()
	s.Settle(got[2:], core.Return)
	if n, err := s.PurgeQueue(t.Context(), "q", false); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	get(false)
	want("purged", "ready 0, unacked 0, publish 6, deliver 4, no_ack 0, get 2, get_no_ack 1, get_empty 1, redeliver 1, ack 2, discarded 3")

	if _, err := s.Consume(t.Context(), core.ConsumerSpec{Queue: "q", NoAck: true, Receiver: take}); err != nil {
		t.Fatal(err)
	}
	publish(t, s, &core.Message{Key: "q"})
	want("without acknowledgement", "ready 0, unacked 0, publish 7, deliver 4, no_ack 1, get 2, get_no_ack 1, get_empty 1, redeliver 1, ack 2, discarded 3")
	if k := b.Queue("/", "q").Consumers(); len(k) != 1 || !k[0].NoAck || k[0].Prefetch != 0 {
		t.Errorf("consumers: %+v", k)
	}
}

func TestQueueInfoTellsTheTimeOfTheNextMessage(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	declare(t, s, false)
	for _, at := range []field.Timestamp{1_700_000_000, 1_800_000_000} {
		props, err := field.AppendProperties(nil, &field.Properties{ContentType: "x", Timestamp: at})
		if err != nil {
			t.Fatal(err)
		}
		publish(t, s, &core.Message{Key: "q", Props: props, Body: []byte("abc")})
	}
	i, _ := b.Queue("/", "q").Info()
	if i.HeadTime != 1_700_000_000 || i.InMemory != 2 || i.InMemoryBytes != 6 {
		t.Errorf("head %d, %d messages of %d bytes in memory", i.HeadTime, i.InMemory, i.InMemoryBytes)
	}
}

func bindingTexts(all func(func(core.BindingSpec) bool)) (texts []string) {
	for s := range all {
		texts = append(texts, fmt.Sprintf("%s-%s->%s", s.Source, s.Key, s.Dest))
	}
	slices.Sort(texts)
	return texts
}

func TestBindingsAreThoseOfTheDefaultExchangeDeclaredOnesAndSubscriptions(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	declare(t, s, false)
	for _, spec := range []core.BindingSpec{
		{Source: "amq.direct", Dest: "q", Key: "a"}, {Source: "amq.topic", Dest: "q", Key: "b"}, {Source: "amq.topic", Dest: "amq.fanout", DestExchange: true, Key: "c"},
	} {
		if err := s.Bind(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	own := attach(t, b)
	l, _, err := own.Subscriber(t.Context(), core.SubscriberSpec{Name: "me", Queue: "mine", Expiry: core.Forever, Receiver: &quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Subscribe(t.Context(), []core.SubscriptionSpec{{Key: "d"}, {Key: "e", Share: "g", Queue: "shared"}}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		all  func(func(core.BindingSpec) bool)
		want []string
	}{
		{"vhost", b.Bindings("/"), []string{"-mine->mine", "-q->q", "-shared->shared", "amq.direct-a->q", "amq.topic-b->q", "amq.topic-c->amq.fanout", "amq.topic-d->mine", "amq.topic-e->shared"}},
		{"no vhost", b.Bindings("nope"), nil},
		{"source", b.Exchange("/", "amq.direct").Outbound(), []string{"amq.direct-a->q"}},
		{"destination", b.Exchange("/", "amq.fanout").Inbound(), []string{"amq.topic-c->amq.fanout"}},
		{"queue", b.Queue("/", "q").Bindings(), []string{"-q->q", "amq.direct-a->q", "amq.topic-b->q"}},
		{"a session's queue", b.Queue("/", "mine").Bindings(), []string{"-mine->mine", "amq.topic-d->mine"}},
		{"a shared one", b.Queue("/", "shared").Bindings(), []string{"-shared->shared", "amq.topic-e->shared"}},
	} {
		if got := bindingTexts(tt.all); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		tt.all(func(core.BindingSpec) bool { return false }) // whoever has enough may stop
	}
	if i, _ := b.Queue("/", "mine").Info(); i.Subscriber != "me" || i.Exclusive || !i.Durable || i.Owner != nil {
		t.Errorf("a queue of a session that outlives its connection: %+v", i)
	}
	if i, _ := b.Queue("/", "shared").Info(); !i.Shared || i.Exclusive || !i.Durable {
		t.Errorf("a queue of a shared subscription: %+v", i)
	}
}

// A list of bindings lets others bind while it is read.
func TestBindingsAreListedWithoutHoldingUpOthers(t *testing.T) {
	const n = 2000
	b := engine(t, core.Options{})
	s := attach(t, b)
	declare(t, s, false)
	bind := func(key string) {
		if err := s.Bind(t.Context(), core.BindingSpec{Source: "amq.direct", Dest: "q", Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		bind(fmt.Sprint("k", i))
	}
	seen := 0
	for range b.Exchange("/", "amq.direct").Outbound() {
		if seen++; seen%500 == 1 {
			bind(fmt.Sprint("another", seen)) // would wait for ever if the lock were held
		}
	}
	if seen < n {
		t.Errorf("saw %d of %d bindings", seen, n)
	}
}
