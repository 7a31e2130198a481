package core_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

func withID(tb testing.TB, id string) []byte {
	tb.Helper()
	props, err := field.AppendProperties(nil, &field.Properties{Headers: field.Table{{Key: "x-deduplication-id", Value: id}}})
	if err != nil {
		tb.Fatal(err)
	}
	return props
}

// deduplicating makes durable exchange x, which remembers so many ids, with queue q behind it.
func deduplicating(tb testing.TB, b *core.Broker, size int32) *core.Session {
	tb.Helper()
	s := attach(tb, b)
	declare(tb, s, true)
	if err := s.DeclareExchange(tb.Context(), core.ExchangeSpec{
		Name: "x", Kind: "fanout", Durable: true, Args: field.Table{{Key: "x-deduplication-size", Value: size}},
	}); err != nil {
		tb.Fatal(err)
	}
	if err := s.Bind(tb.Context(), core.BindingSpec{Source: "x", Dest: "q"}); err != nil {
		tb.Fatal(err)
	}
	return s
}

// Of publishers that publish one id at the same moment exactly one gets through, and all are confirmed.
func TestOneOfManyWithOneIDGetsThrough(t *testing.T) {
	const publishers, ids = 4, 500
	b := engine(t, core.Options{})
	deduplicating(t, b, ids)
	var wg sync.WaitGroup
	var confirmed atomic.Int64
	for range publishers {
		s := attach(t, b)
		wg.Go(func() {
			for i := range ids {
				m := &core.Message{Exchange: "x", Props: withID(t, fmt.Sprint(i)), Persistent: i%2 == 0}
				if routed, err := s.Publish(m, counting{&confirmed}, 0); err != nil || routed != 1 {
					t.Errorf("routed to %d: %v", routed, err)
				}
			}
			flush(t, s)
		})
	}
	wg.Wait()
	if st := b.Stats(); st.Ready != ids || st.Duplicates != (publishers-1)*ids || confirmed.Load() != publishers*ids {
		t.Errorf("%d of %d ids got through, %d duplicates, %d confirmed", st.Ready, ids, st.Duplicates, confirmed.Load())
	}
}

// counting is a Completion that counts.
type counting struct{ n *atomic.Int64 }

func (c counting) Complete(_ uint64, err error) {
	if err == nil {
		c.n.Add(1)
	}
}

// What is forgotten leaves the store, too, and what is remembered is there after a start.
func TestForgottenIDsLeaveTheStore(t *testing.T) {
	const size, n = 10, 1000
	store := memstore.Open(memstore.Options{})
	b, err := core.Open(t.Context(), store, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := deduplicating(t, b, size)
	for i := range n {
		publish(t, s, &core.Message{Exchange: "x", Props: withID(t, fmt.Sprint(i)), Persistent: true})
	}
	flush(t, s)
	disk := store.Disk()
	b.Close()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store = memstore.Open(memstore.Options{Disk: disk})
	found := 0
	for d, err := range store.Recover(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Key[0] == 'e' {
			found++
			if d.Count < size || d.Count > size+64 {
				t.Errorf("%d ids are on record, want %d and some", d.Count, size)
			}
		}
	}
	if found != 1 {
		t.Fatalf("%d exchanges remember ids on record", found)
	}
	if b, err = core.Open(t.Context(), store, core.Options{Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s = attach(t, b)
	for i := n - size; i < n; i++ {
		publish(t, s, &core.Message{Exchange: "x", Props: withID(t, fmt.Sprint(i))})
	}
	if d := b.Stats().Duplicates; d != size {
		t.Errorf("%d of %d ids are remembered", d, size)
	}
	publish(t, s, &core.Message{Exchange: "x", Props: withID(t, fmt.Sprint(n-size-1))})
	if d := b.Stats().Duplicates; d != size {
		t.Error("an id beyond the size is remembered")
	}
}

// A transaction's ids are remembered with it, also for what follows in it.
func TestTransactionWithIDs(t *testing.T) {
	b := engine(t, core.Options{})
	s := deduplicating(t, b, 10)
	message := func(id string) *core.Message {
		return &core.Message{Exchange: "x", Props: withID(t, id), Persistent: true}
	}
	for range 2 {
		tx := &core.Transaction{
			Messages: []*core.Message{message("a"), message("b"), message("a")},
			Unrouted: func(i int) { t.Errorf("message %d is returned", i) },
		}
		if err := s.Transact(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, s, message("b"))
	if st := b.Stats(); st.Ready != 2 || st.Duplicates != 5 {
		t.Errorf("%d messages are ready, %d were duplicates", st.Ready, st.Duplicates)
	}
}

// What a subscriber's queue remembers ends with the subscriber: who comes fresh under its name gets what that had.
func TestIDsOfASubscriberEndWithIt(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	setPolicy(t, b, core.Policy{Name: "p", ApplyTo: "queues", Definition: terms("deduplication-window=600000")})
	for i := range 2 {
		link, _, err := s.Subscriber(t.Context(), core.SubscriberSpec{
			Name: "c", Queue: "q", Fresh: true, Expiry: core.Forever, Receiver: &peer{script: &script{t: t}, name: "c"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := link.Subscribe(t.Context(), []core.SubscriptionSpec{{Key: "k", Level: core.AtLeastOnce}}); err != nil {
			t.Fatal(err)
		}
		publish(t, s, &core.Message{Exchange: core.TopicExchange, Key: "k", Props: withID(t, "a"), Persistent: true})
		if st := b.Stats(); st.Ready != 1 || st.Duplicates != 0 {
			t.Errorf("round %d: %d wait, %d were duplicates; want 1, 0", i, st.Ready, st.Duplicates)
		}
		link.Detach(false, nil)
		s = attach(t, b)
	}
}

// A policy that goes takes along what its queue and exchange remembered: it leaves the store, and does not count when the policy is back.
func TestIDsGoWithTheirPolicy(t *testing.T) {
	store := memstore.Open(memstore.Options{})
	gated := &gatedStore{Store: store}
	b := opened(t, gated, core.Options{})
	s := attach(t, b)
	declare(t, s, true)
	if err := s.DeclareExchange(t.Context(), core.ExchangeSpec{Name: "x", Kind: "fanout", Durable: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.Bind(t.Context(), core.BindingSpec{Source: "x", Dest: "q"}); err != nil {
		t.Fatal(err)
	}
	policy := core.Policy{Name: "p", ApplyTo: "all", Definition: terms("deduplication-size=10")}
	for i := range 2 {
		setPolicy(t, b, policy)
		for range 2 {
			publish(t, s, &core.Message{Exchange: "x", Props: withID(t, "a"), Persistent: true})
		}
		flush(t, s)
		if st := b.Stats(); st.Ready != i+1 || st.Duplicates != uint64(i+1) {
			t.Errorf("round %d: %d wait, %d were duplicates", i, st.Ready, st.Duplicates)
		}
		if keys := gated.keys(t, 'e'); len(keys) != 2 {
			t.Errorf("round %d: those of %q are on record, want the exchange's and the queue's", i, keys)
		}
		if _, err := b.ClearPolicy(t.Context(), "/", "p", false); err != nil {
			t.Fatal(err)
		}
		flush(t, s)
		if keys := gated.keys(t, 'e'); len(keys) != 0 {
			t.Errorf("round %d: those of %q are on record without a policy", i, keys)
		}
	}
}

// stuckStore is a store that does not read until it is told to.
type stuckStore struct {
	*memstore.Store
	reads   chan struct{} // one token: somebody wants to read
	release chan struct{}
}

func (s *stuckStore) Load(queue core.QueueID, from, to core.Seq, maxEntries, maxBytes int) ([]core.Entry, error) {
	select {
	case s.reads <- struct{}{}:
	default:
	}
	<-s.release
	return s.Store.Load(queue, from, to, maxEntries, maxBytes)
}

// A message with an id is shown when its record has passed, by a goroutine that may be busy. Whoever was told that it has passed and asks for
// it finds it all the same.
func TestConfirmedMessageWithIDIsThere(t *testing.T) {
	disk := memstore.NewDisk()
	crashedWith(t, disk, func(s *core.Session) {
		publish(t, s, &core.Message{Key: "q", Body: []byte("old"), Persistent: true})
	})
	store := &stuckStore{Store: memstore.Open(memstore.Options{Disk: disk}), reads: make(chan struct{}, 1), release: make(chan struct{})}
	b, err := core.Open(t.Context(), store, core.Options{Epoch: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		_ = store.Close()
	})
	defer close(store.release)
	s := attach(t, b)
	remembers := field.Table{{Key: "x-deduplication-size", Value: int32(100)}}
	declareNamed(t, s, true, remembers, "got", "browsed", "purged", "moved")
	declareNamed(t, s, true, nil, "target")
	if _, err := s.Consume(t.Context(), core.ConsumerSpec{Queue: "q", Receiver: &peer{script: &script{t: t}, name: "c"}}); err != nil {
		t.Fatal(err)
	}
	<-store.reads // the goroutine that shows is busy from here on

	confirmed := func(queue string) {
		t.Helper()
		passed := make(completion, 1)
		m := &core.Message{Key: queue, Props: withID(t, queue), Persistent: true}
		if n, err := s.Publish(m, passed, 0); err != nil || n != 1 {
			t.Fatalf("publish: routed to %d queues, %v", n, err)
		}
		if err := <-passed; err != nil {
			t.Fatal(err)
		}
	}
	confirmed("got")
	if _, _, ok, err := s.Get(t.Context(), "got", false); err != nil || !ok {
		t.Errorf("get: found %v, %v", ok, err)
	}
	confirmed("browsed")
	if page, err := s.Browse(t.Context(), core.BrowseSpec{Queue: "browsed"}); err != nil || len(page.Messages) != 1 {
		t.Errorf("browse: %d messages, %v", len(page.Messages), err)
	}
	confirmed("purged")
	if n, err := s.PurgeQueue(t.Context(), "purged", false); err != nil || n != 1 {
		t.Errorf("purge: %d messages, %v", n, err)
	}
	confirmed("moved")
	moved, err := s.Move(t.Context(), core.MoveSpec{Queue: "moved", To: core.Destination{Kind: core.ToQueue, Queue: "target"}})
	if err != nil || moved.Moved != 1 {
		t.Errorf("move: %+v, %v", moved, err)
	}
}

// What an id that is to be on record came with is seen when it is: by nobody before, in whatever queue, also one that keeps nothing.
func TestMessageWithIDIsHeldUntilTheIDIsOnRecord(t *testing.T) {
	for _, c := range []struct {
		name                string
		exchange, durable   bool // who remembers the id; whether q keeps its messages
		persistent, waiting bool
	}{
		{"durable exchange, durable queue", true, true, true, true},
		{"durable exchange, transient message", true, true, false, true},
		{"durable exchange, transient queue", true, false, true, true},
		{"transient exchange, transient queue", false, false, true, false},
		{"transient exchange, durable queue", false, true, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := &gatedStore{Store: memstore.Open(memstore.Options{})}
			s := attach(t, opened(t, store, core.Options{}))
			declare(t, s, c.durable)
			if err := s.DeclareExchange(t.Context(), core.ExchangeSpec{
				Name: "x", Kind: "fanout", Durable: c.exchange, Args: field.Table{{Key: "x-deduplication-size", Value: int32(9)}},
			}); err != nil {
				t.Fatal(err)
			}
			if err := s.Bind(t.Context(), core.BindingSpec{Source: "x", Dest: "q"}); err != nil {
				t.Fatal(err)
			}
			release := store.hold()
			publish(t, s, &core.Message{Exchange: "x", Props: withID(t, "a"), Persistent: c.persistent})
			if _, _, ok, err := s.Get(t.Context(), "q", false); err != nil || ok == c.waiting {
				t.Errorf("before the record has passed: found %v, %v", ok, err)
			}
			release()
			flush(t, s)
			if _, _, ok, err := s.Get(t.Context(), "q", false); err != nil || ok != c.waiting {
				t.Errorf("when the record has passed: found %v, %v", ok, err)
			}
		})
	}
}
