package core_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

// TestSubscriberInfo is what can be asked about a subscriber, with a link and without one.
func TestSubscriberInfo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t, &gatedStore{Store: memstore.Open(memstore.Options{})}, core.Options{})
		s, l := linked(t, b, core.SubscriberSpec{Expiry: core.Forever})
		send(t, b, 3, 1, &core.Message{Persistent: true})
		if got := slices.Collect(b.Subscribers("/")); !slices.Equal(got, []string{"c"}) {
			t.Errorf("subscribers are %q", got)
		}
		if info, ok := b.SubscriberInfo("/", "c"); !ok || !info.Linked || info.Waiting != 3 {
			t.Errorf("with a link: %+v, %v", info, ok)
		}
		if got := l.Subscriptions(); len(got) != 1 || got[0] != (core.SubscriptionSpec{Key: "k", Level: core.ExactlyOnce}) {
			t.Errorf("subscriptions are %+v", got)
		}
		s.Close()
		if info, ok := b.SubscriberInfo("/", "c"); !ok || info.Linked || info.Waiting != 3 {
			t.Errorf("without a link: %+v, %v", info, ok)
		}
		for vhost, name := range map[string]string{"/": "d", "none": "c"} {
			if _, ok := b.SubscriberInfo(vhost, name); ok || slices.Contains(slices.Collect(b.Subscribers(vhost)), name) {
				t.Errorf("there is a subscriber %q in vhost %q", name, vhost)
			}
		}
	})
}

// TestForgetReceived: ids that were forgotten can be used again, also after a restart; those of other subscribers stay.
func TestForgetReceived(t *testing.T) {
	for _, restart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			disk := memstore.NewDisk()
			store := memstore.Open(memstore.Options{Disk: disk})
			b, err := core.Open(t.Context(), store, core.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				b.Close()
				_ = store.Close() // it has crashed, perhaps
			}()
			_, l := linked(t, b, core.SubscriberSpec{Expiry: core.Forever})
			publish := func() {
				t.Helper()
				if err := l.PublishOnce(once("k"), 7, nil, 0, 0); err != nil {
					t.Fatal(err)
				}
			}
			publish()
			publish() // which is that one again
			l.ForgetReceived()
			synctest.Wait()
			next := b
			if restart {
				store.Crash()
				next = opened(t, &gatedStore{Store: memstore.Open(memstore.Options{Disk: disk})}, core.Options{})
				_, l = linked(t, next, core.SubscriberSpec{Expiry: core.Forever})
			}
			publish()
			synctest.Wait()
			if info, _ := next.SubscriberInfo("/", "c"); info.Waiting != 2 {
				t.Errorf("restart %v: %d messages were taken in, want 2", restart, info.Waiting)
			}
		})
	}
}

// TestUnusedID: it is not one under which a message is out.
func TestUnusedID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t, &gatedStore{Store: memstore.Open(memstore.Options{})}, core.Options{})
		client := &quiet{}
		_, l := linked(t, b, core.SubscriberSpec{Expiry: core.Forever, Receiver: client})
		var used []uint16
		for range 3 {
			used = append(used, l.UnusedID())
			send(t, b, 1, 1, &core.Message{Persistent: true})
			used = append(used, client.take()...)
		}
		slices.Sort(used)
		if len(used) != 6 || len(slices.Compact(used)) != 6 {
			t.Errorf("ids are %v", used)
		}
	})
}

// TestReach is where a message would go: nothing is published.
func TestReach(t *testing.T) {
	b := engine(t, core.Options{})
	s, l := linked(t, b, core.SubscriberSpec{Expiry: core.Forever})
	if _, err := l.Subscribe(t.Context(), []core.SubscriptionSpec{{Key: "low", Level: core.AtMostOnce}, {Key: "low", Share: "g", Queue: "shared"}}); err != nil {
		t.Fatal(err)
	}
	other := attach(t, b)
	declare(t, other, false)
	for _, spec := range []core.BindingSpec{{Source: "amq.direct", Dest: "amq.topic", DestExchange: true, Key: "k"}, {Source: "amq.topic", Dest: "q", Key: "k"}} {
		if err := other.Bind(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		exchange, key string
		want          core.Reach
	}{
		{"", "q", core.Reach{Queues: []string{"q"}}},
		{"", "none", core.Reach{}},
		{"amq.direct", "k", core.Reach{Exchanges: []string{"amq.direct", "amq.topic"}, Queues: []string{"q", "subscriber-c"}}},
		{"amq.topic", "low", core.Reach{Exchanges: []string{"amq.topic"}, Subscribers: []string{"c"}, Shared: []string{"shared"}}},
		{"amq.topic", "none", core.Reach{Exchanges: []string{"amq.topic"}}},
	} {
		got, err := other.Reach(&core.Message{Exchange: tt.exchange, Key: tt.key, Persistent: true})
		slices.Sort(got.Queues)
		if err != nil || !slices.Equal(got.Queues, tt.want.Queues) || !slices.Equal(got.Exchanges, tt.want.Exchanges) ||
			!slices.Equal(got.Subscribers, tt.want.Subscribers) || !slices.Equal(got.Shared, tt.want.Shared) || got.Nobody() != tt.want.Nobody() {
			t.Errorf("%q, %q: %+v, %v, want %+v", tt.exchange, tt.key, got, err, tt.want)
		}
	}
	if _, err := other.Reach(&core.Message{Exchange: "none"}); core.KindOf(err) != core.NotFound {
		t.Errorf("to an exchange that is not there: %v", err)
	}
	if i, _ := b.Queue("/", "q").Info(); i.Published != 0 {
		t.Errorf("%d messages were published", i.Published)
	}
	s.Close()
}
