package core_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

// ready is how many messages wait in queue q.
func ready(t *testing.T, s *core.Session) int {
	t.Helper()
	info, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: "q", Passive: true})
	if err != nil {
		t.Fatal(err)
	}
	return info.Messages
}

func clearPolicy(t *testing.T, b *core.Broker, name string, operator bool) {
	t.Helper()
	if existed, err := b.ClearPolicy(t.Context(), "/", name, operator); err != nil || !existed {
		t.Fatal(existed, err)
	}
}

// A queue that is longer than a new policy allows loses its oldest messages at once, wherever they are, and what an operator allows counts
// even where the queue's own argument asks for more.
func TestPolicy_MaxLengthCutsAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name    string
		durable bool
		size    int
	}{{"in memory", false, 0}, {"in the store", true, 2000}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := engine(t, core.Options{PageAt: 64 << 10, MemoryBudget: 64 << 20})
				s := attach(t, b)
				declareNamed(t, s, tt.durable, field.Table{{Key: "x-max-length", Value: int64(900)}}, "q")
				fill(t, s, 1000, tt.durable, tt.size)
				synctest.Wait()
				if n := ready(t, s); n != 900 {
					t.Fatalf("%d messages by the argument, want 900", n)
				}
				setPolicy(t, b, core.Policy{Name: "p", Definition: terms("max-length=800")})
				synctest.Wait()
				if n := ready(t, s); n != 800 {
					t.Errorf("%d messages under the policy, want 800", n)
				}
				setPolicy(t, b, core.Policy{Name: "o", Operator: true, Definition: terms("max-length=700")})
				synctest.Wait()
				if n := ready(t, s); n != 700 {
					t.Errorf("%d messages under the operator policy, want 700", n)
				}
				clearPolicy(t, b, "p", false)
				clearPolicy(t, b, "o", true)
				fill(t, s, 300, tt.durable, tt.size)
				synctest.Wait()
				if n := ready(t, s); n != 900 {
					t.Errorf("%d messages by the argument again, want 900", n)
				}
				if d, _, ok, err := s.Get(t.Context(), "q", true); !ok || err != nil || label(d.Message) != "401" {
					t.Errorf("the first that is left is %s, %v, want 401", label(d.Message), err)
				}
			})
		})
	}
}

// After a restart a queue is what its policies want before anybody sees it.
func TestPolicy_HoldsAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.Open(memstore.Options{})
		b, err := core.Open(t.Context(), store, core.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s := attach(t, b)
		declareNamed(t, s, true, nil, "q", "full")
		setPolicy(t, b, core.Policy{Name: "ttl", Pattern: "^q$", Definition: terms("message-ttl=60000")})
		setPolicy(t, b, core.Policy{Name: "full", Pattern: "^full$", Definition: terms("max-length=1 overflow=reject-publish")})
		fill(t, s, 3, true, 0)
		publish(t, s, &core.Message{Key: "full", Body: []byte("1"), Persistent: true})
		flush(t, s)
		disk := store.Disk()
		store.Crash()
		b.Close()
		store = memstore.Open(memstore.Options{Disk: disk})
		b = engineOn(t, store, 2)
		s = attach(t, b)
		if n := ready(t, s); n != 3 {
			t.Errorf("%d messages, want 3", n)
		}
		if _, err := s.Publish(&core.Message{Key: "full"}, nil, 0); core.KindOf(err) != core.Overflow {
			t.Errorf("a full queue that refuses: %v", err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := ready(t, s); n != 0 {
			t.Errorf("%d messages after their time, want none", n)
		}
	})
}

// A time to live by policy counts from when a message arrived, and a shorter one from that time, too.
func TestPolicy_TimeToLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{})
		s := attach(t, b)
		declareNamed(t, s, true, nil, "q")
		setPolicy(t, b, core.Policy{Name: "p", Definition: terms("message-ttl=600000")})
		fill(t, s, 5, true, 0)
		time.Sleep(time.Minute)
		if n := ready(t, s); n != 5 {
			t.Fatalf("%d messages, want 5", n)
		}
		setPolicy(t, b, core.Policy{Name: "p", Definition: terms("message-ttl=90000")})
		time.Sleep(20 * time.Second)
		if n := b.Stats().Ready; n != 5 {
			t.Errorf("%d messages after 80 s, want 5", n)
		}
		time.Sleep(20 * time.Second)
		if n := b.Stats().Ready; n != 0 {
			t.Errorf("%d messages after 100 s, want none", n)
		}
		setPolicy(t, b, core.Policy{Name: "p", Definition: terms("message-ttl=0")})
		publish(t, s, &core.Message{Key: "q", Body: []byte("nobody is there")})
		if n := b.Stats().Ready; n != 0 {
			t.Errorf("%d messages that may not wait", n)
		}
	})
}

// A queue that a policy lets expire goes when it has not been used for so long since.
func TestPolicy_Expires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{})
		s := attach(t, b)
		declareNamed(t, s, true, nil, "q", "kept")
		time.Sleep(time.Hour)
		setPolicy(t, b, core.Policy{Name: "p", Pattern: "^q$", Definition: terms("expires=7200000")})
		time.Sleep(time.Minute)
		setPolicy(t, b, core.Policy{Name: "p", Pattern: "^q$", Definition: terms("expires=60000")})
		time.Sleep(30 * time.Second)
		if _, ok := b.QueuePolicy("/", "q"); !ok {
			t.Error("it went before its time")
		}
		time.Sleep(time.Minute)
		if _, ok := b.QueuePolicy("/", "q"); ok {
			t.Error("it did not go")
		}
		if _, ok := b.QueuePolicy("/", "kept"); !ok {
			t.Error("another went")
		}
	})
}

// What a policy cuts off goes where the policy sends dead letters, and from there it can be sent back.
func TestPolicy_DeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{})
		s := attach(t, b)
		declareNamed(t, s, true, nil, "q", "dlq")
		fill(t, s, 5, true, 0)
		setPolicy(t, b, core.Policy{Name: "p", Pattern: "^q$", Definition: append(terms("dead-letter-routing-key=dlq max-length=2"), field.Field{Key: "dead-letter-exchange", Value: ""})})
		synctest.Wait()
		got, _ := browseAll(t, s, "dlq", 10)
		wantLabels(t, "dead", got, labels(1, 3))
		got, _ = browseAll(t, s, "q", 10)
		wantLabels(t, "left", got, labels(4, 5))
		clearPolicy(t, b, "p", false)
		move(t, s, core.MoveSpec{Queue: "dlq", To: core.Destination{Kind: core.ToOrigin}}, core.Moved{Waiting: 3, Moved: 3})
		wantLabels(t, "sent back", drain(t, s, "q"), []string{"4", "5", "1", "2", "3"})
	})
}

// Policies of thousands of queues are in force within the call, and cost a queue a pointer.
func TestPolicy_ManyQueues(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	for i := range 5000 {
		if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: fmt.Sprint("q", i)}); err != nil {
			t.Fatal(err)
		}
	}
	setPolicy(t, b, core.Policy{Name: "even", Pattern: "[02468]$", Definition: terms("max-length=1")})
	for i := range 5000 {
		want := map[bool]string{true: "even||max-length=1", false: "||"}[i%2 == 0]
		if e, ok := b.QueuePolicy("/", fmt.Sprint("q", i)); !ok || effectText(e) != want {
			t.Fatalf("q%d has %s, want %s", i, effectText(e), want)
		}
	}
}

// How long a subscriber lasts is its own affair: a policy that lets queues expire takes none of them.
func TestPolicy_ExpiresSparesSubscribers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{})
		s := attach(t, b)
		link, _, err := s.Subscriber(t.Context(), core.SubscriberSpec{
			Name: "c", Queue: "q", Expiry: core.Forever, Receiver: &peer{script: &script{t: t}, name: "c"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := link.Subscribe(t.Context(), []core.SubscriptionSpec{{Key: "k", Level: core.AtLeastOnce}}); err != nil {
			t.Fatal(err)
		}
		link.Detach(false, nil)
		setPolicy(t, b, core.Policy{Name: "p", Definition: terms("expires=1000")})
		time.Sleep(time.Minute)
		publish(t, attach(t, b), &core.Message{Exchange: core.TopicExchange, Key: "k", Persistent: true})
		if n := b.Stats().Ready; n != 1 {
			t.Errorf("%d messages wait for the subscriber, want 1", n)
		}
	})
}
