package core_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

// subscribeAll subscribes to keys in one request and returns what was refused, by key.
func subscribeAll(tb testing.TB, l *core.Link, keys ...string) map[string]error {
	tb.Helper()
	specs := make([]core.SubscriptionSpec, len(keys))
	for i := range keys {
		specs[i].Key = keys[i]
	}
	results, err := l.Subscribe(tb.Context(), specs)
	if err != nil {
		tb.Fatal(err)
	}
	refused := map[string]error{}
	for i := range results {
		if results[i].Err != nil {
			refused[keys[i]] = results[i].Err
		}
	}
	return refused
}

func TestSubscriptionsBeyondTheLimitAreRefusedOneByOne(t *testing.T) {
	b := engine(t, core.Options{Subscriptions: 3})
	c := linkClient(t, b, "c", core.SubscriberSpec{Expiry: core.Forever})
	refused := subscribeAll(t, c.link, "a", "b", "a", "c", "d", "b", "e")
	if len(refused) != 2 || core.KindOf(refused["d"]) != core.Exhausted || core.KindOf(refused["e"]) != core.Exhausted {
		t.Fatalf("refused: %v", refused)
	}
	if text := refused["d"].Error(); !strings.Contains(text, "has 3 subscriptions") {
		t.Errorf("refused with %q", text)
	}
	if n := b.Stats().Subscriptions; n != 3 {
		t.Errorf("there are %d subscriptions", n)
	}
	if _, err := c.link.Unsubscribe(t.Context(), []core.Filter{{Key: "a"}}); err != nil {
		t.Fatal(err)
	}
	if refused := subscribeAll(t, c.link, "d"); len(refused) != 0 {
		t.Errorf("refused although there is room: %v", refused)
	}
	other := linkClient(t, b, "other", core.SubscriberSpec{})
	if refused := subscribeAll(t, other.link, "a", "b", "c"); len(refused) != 0 {
		t.Errorf("refused for what another has: %v", refused)
	}
}

func TestFullDiskRefusesWhatWouldBeRecorded(t *testing.T) {
	store := memstore.Open(memstore.Options{})
	b, err := core.Open(t.Context(), store, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		_ = store.Close()
	})
	lasting := linkClient(t, b, "lasting", core.SubscriberSpec{Expiry: core.Forever})
	passing := linkClient(t, b, "passing", core.SubscriberSpec{})
	subscribeAll(t, lasting.link, "old")
	store.SetSpace(core.Space{Level: core.SpaceFull})
	refused := subscribeAll(t, lasting.link, "old", "new")
	if len(refused) != 1 || core.KindOf(refused["new"]) != core.Exhausted {
		t.Errorf("refused: %v", refused)
	}
	if refused := subscribeAll(t, passing.link, "new"); len(refused) != 0 {
		t.Errorf("refused although it is not recorded: %v", refused)
	}
	store.SetSpace(core.Space{})
	if refused := subscribeAll(t, lasting.link, "new"); len(refused) != 0 {
		t.Errorf("refused although there is space again: %v", refused)
	}
}

func TestSubscriptionsEndWithTheirSubscriber(t *testing.T) {
	store := memstore.Open(memstore.Options{})
	b, err := core.Open(t.Context(), store, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := attach(t, b)
	stays := linkClient(t, b, "stays", core.SubscriberSpec{Expiry: core.Forever})
	goes := linkClient(t, b, "goes", core.SubscriberSpec{Expiry: core.Forever})
	for _, c := range []*client{stays, goes} {
		subscribeAll(t, c.link, "a.b", "a.*", "a.#", "#", "*.b")
	}
	var end core.SubscriberSpec
	end.Fresh = true
	goes = linkClient(t, b, "goes", end)
	if n, err := s.Publish(&core.Message{Exchange: core.TopicExchange, Key: "a.b"}, nil, 0); n != 1 || err != nil {
		t.Errorf("%d subscribers are reached, %v", n, err)
	}
	if n := b.Stats().Subscriptions; n != 5 {
		t.Errorf("there are %d subscriptions, not 5", n)
	}
	goes.session.Close()
	b.Close()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	again := memstore.Open(memstore.Options{Disk: store.Disk()})
	recorded := 0
	for d, err := range again.Recover(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Key[0] == 'u' {
			recorded++
		}
	}
	if recorded != 5 {
		t.Errorf("%d subscriptions are on record, not 5", recorded)
	}
}

// BenchmarkSubscriptions measures the subscriptions of one subscriber, from the first to the end of all.
func BenchmarkSubscriptions(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		for _, expiry := range []struct {
			name string
			spec core.SubscriberSpec
		}{{"passing", core.SubscriberSpec{}}, {"durable", core.SubscriberSpec{Expiry: core.Forever}}} {
			b.Run(fmt.Sprintf("%s/n=%d", expiry.name, n), func(b *testing.B) {
				engine := engine(b, core.Options{Subscriptions: n})
				specs := make([]core.SubscriptionSpec, n)
				for i := range specs {
					specs[i].Key = fmt.Sprintf("site.%d.sensor.%d", i%100, i)
				}
				ending := time.Duration(0)
				for b.Loop() {
					session := attach(b, engine)
					spec := expiry.spec
					spec.Name, spec.Queue, spec.Fresh, spec.Receiver = "c", "c", true, new(client)
					l, _, err := session.Subscriber(b.Context(), spec)
					if err != nil {
						b.Fatal(err)
					}
					for at := 0; at < n; at += 100 {
						if _, err := l.Subscribe(b.Context(), specs[at:at+100]); err != nil {
							b.Fatal(err)
						}
					}
					over := time.Duration(0)
					end := time.Now()
					l.Detach(true, &over)
					ending += time.Since(end)
				}
				b.ReportMetric(float64(ending.Microseconds())/float64(b.N)/1000, "ms/end")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/subscription")
			})
		}
	}
}
