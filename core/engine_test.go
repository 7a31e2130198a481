package core_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

// engine opens a broker on a memory store that passes records by itself.
func engine(tb testing.TB, opt core.Options) *core.Broker {
	tb.Helper()
	store := memstore.Open(memstore.Options{})
	b, err := core.Open(tb.Context(), store, opt)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		b.Close()
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b
}

func attach(tb testing.TB, b *core.Broker) *core.Session {
	tb.Helper()
	s, err := b.Attach("/", core.SessionOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func declare(tb testing.TB, s *core.Session, durable bool) {
	tb.Helper()
	if _, err := s.DeclareQueue(tb.Context(), core.QueueSpec{Name: "q", Durable: durable}); err != nil {
		tb.Fatal(err)
	}
}

func publish(tb testing.TB, s *core.Session, m *core.Message) {
	tb.Helper()
	if n, err := s.Publish(m, nil, 0); err != nil || n != 1 {
		tb.Fatalf("publish: routed to %d queues, %v", n, err)
	}
}

// flush waits until everything published before has passed.
func flush(tb testing.TB, s *core.Session) {
	tb.Helper()
	done := make(completion, 1)
	s.Confirm(done, 0)
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
}

type completion chan error

func (c completion) Complete(_ uint64, err error) { c <- err }

func TestTransientBacklogMakesPublishersWaitUntilItShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{MemoryBudget: 1 << 20})
		s, consumer := attach(t, b), attach(t, b)
		declare(t, s, false)
		published := 0
		for b.Stats().HeldBytes < 1<<20 {
			publish(t, s, &core.Message{Key: "q", Body: make([]byte, 1024)})
			published++
		}
		if published > 1024 {
			t.Fatalf("%d messages of 1 KiB fit into 1 MiB", published)
		}
		admitted := make(chan error, 1)
		go func() { admitted <- s.Admit(t.Context(), 0) }()
		synctest.Wait()
		select {
		case err := <-admitted:
			t.Fatalf("a publisher was admitted above the budget: %v", err)
		default:
		}
		for range published / 4 {
			if _, _, ok, err := consumer.Get(t.Context(), "q", true); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		if err := <-admitted; err != nil {
			t.Fatal(err)
		}
	})
}

func TestAdmitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{MemoryBudget: 1 << 12})
		s := attach(t, b)
		declare(t, s, false)
		publish(t, s, &core.Message{Key: "q", Body: make([]byte, 1<<13)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Admit(ctx, 0); err == nil {
			t.Fatal("admitted above the budget")
		}
	})
}

func TestDurableBacklogLeavesMemoryAndReturnsInOrder(t *testing.T) {
	const n, size = 20_000, 1024
	b := engine(t, core.Options{MemoryBudget: 8 << 20, PageAt: 1 << 20})
	s, r := attach(t, b), attach(t, b)
	declare(t, s, true)
	for i := range n {
		if err := s.Admit(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		body := make([]byte, size)
		binary.BigEndian.PutUint64(body, uint64(i))
		publish(t, s, &core.Message{Key: "q", Body: body, Persistent: true})
		if i%500 == 0 {
			flush(t, s) // the store may take its time; what it has passed can leave memory
		}
	}
	flush(t, s)
	publish(t, s, &core.Message{Key: "q", Body: make([]byte, 8), Persistent: true})
	st := b.Stats()
	if st.Ready != n+1 {
		t.Fatalf("%d messages ready, want %d", st.Ready, n+1)
	}
	if st.HeldBytes > 4<<20 {
		t.Errorf("%d bytes in memory for a backlog of %d", st.HeldBytes, n*size)
	}
	for i := range n {
		d, _, ok, err := r.Get(t.Context(), "q", false)
		if err != nil || !ok {
			t.Fatalf("message %d: %t, %v", i, ok, err)
		}
		if got := binary.BigEndian.Uint64(d.Message.Body); got != uint64(i) {
			t.Fatalf("message %d came in place of %d", got, i)
		}
		r.Settle([]core.Delivery{d}, core.Accept)
	}
	if st := b.Stats(); st.Ready != 1 || st.Settled != n {
		t.Errorf("ready %d, settled %d; want 1, %d", st.Ready, st.Settled, n)
	}
}

// worker is a receiver that settles on a goroutine of its own, as a connection's reader does.
type worker struct {
	deliveries chan core.Delivery
}

func (w *worker) Ready() bool              { return len(w.deliveries) < cap(w.deliveries)-1 }
func (w *worker) Deliver(d core.Delivery)  { w.deliveries <- d }
func (w *worker) Cancelled(*core.Consumer) {}

// ledger is what the consumers of one queue saw.
type ledger struct {
	mu       sync.Mutex
	accepted map[uint64]int
	left     int
	done     chan struct{}
}

// consume settles what comes until the ledger is full, and puts one in ten back. First deliveries of one publisher must come in order.
func (l *ledger) consume(t *testing.T, s *core.Session, w *worker, rng *rand.Rand) {
	t.Helper()
	defer s.Close()
	last := map[uint64]uint64{} // by publisher
	for {
		select {
		case <-l.done:
			return
		case d := <-w.deliveries:
			s.Resume()
			key := binary.BigEndian.Uint64(d.Message.Body)
			if publisher := key >> 32; !d.Redelivered {
				if key <= last[publisher] {
					t.Errorf("message %x came after %x", key, last[publisher])
				}
				last[publisher] = key
			}
			if rng.IntN(10) == 0 {
				s.Settle([]core.Delivery{d}, core.Requeue)
				continue
			}
			s.Settle([]core.Delivery{d}, core.Accept)
			l.accept(key)
		}
	}
}

func (l *ledger) accept(key uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accepted[key]++
	if l.left--; l.left == 0 {
		close(l.done)
	}
}

// Many publishers and consumers, several queues for each message, windows, full outboxes, paging and requeues at once: every message
// is accepted exactly once in every queue, and first deliveries keep each publisher's order.
func TestConcurrentUseLosesAndDoublesNothing(t *testing.T) {
	const publishers, queues, consumers, each = 3, 3, 2, 3_000
	b := engine(t, core.Options{PageAt: 64 << 10})
	top := attach(t, b)
	var wg sync.WaitGroup
	var ledgers []*ledger
	for q := range queues {
		l := &ledger{accepted: map[uint64]int{}, left: publishers * each, done: make(chan struct{})}
		ledgers = append(ledgers, l)
		name := fmt.Sprintf("q%d", q)
		if _, err := top.DeclareQueue(t.Context(), core.QueueSpec{Name: name, Durable: q > 0}); err != nil {
			t.Fatal(err)
		}
		if err := top.Bind(t.Context(), core.BindingSpec{Source: "amq.fanout", Dest: name}); err != nil {
			t.Fatal(err)
		}
		for c := range consumers {
			s, w := attach(t, b), &worker{deliveries: make(chan core.Delivery, 8)}
			spec := core.ConsumerSpec{Queue: name, Tag: "c", Receiver: w, Window: core.NewWindow(3 + c), Shared: core.NewWindow(4)}
			if _, err := s.Consume(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(uint64(q), uint64(c)))
			wg.Go(func() { l.consume(t, s, w, rng) })
		}
	}
	for p := range publishers {
		s := attach(t, b)
		wg.Go(func() {
			for i := range each {
				if err := s.Admit(t.Context(), 0); err != nil {
					t.Error(err)
					return
				}
				body := binary.BigEndian.AppendUint64(nil, uint64(p)<<32|uint64(i+1))
				m := &core.Message{Exchange: "amq.fanout", Body: body, Persistent: i%3 != 0}
				if n, err := s.Publish(m, nil, 0); err != nil || n != queues {
					t.Errorf("published to %d queues: %v", n, err)
				}
			}
		})
	}
	wg.Wait()
	for q, l := range ledgers {
		for key, n := range l.accepted {
			if n != 1 {
				t.Errorf("queue %d: message %x accepted %d times", q, key, n)
			}
		}
		if len(l.accepted) != publishers*each {
			t.Errorf("queue %d: %d messages accepted, want %d", q, len(l.accepted), publishers*each)
		}
	}
	if st := b.Stats(); st.Ready != 0 || st.Unsettled != 0 {
		t.Errorf("ready %d, unsettled %d after all was accepted", st.Ready, st.Unsettled)
	}
}

// A failed store is final: promises break, and the broker says that it cannot go on.
func TestStoreFailureFailsTheBroker(t *testing.T) {
	store := memstore.Open(memstore.Options{})
	b, err := core.Open(t.Context(), store, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s := attach(t, b)
	declare(t, s, true)
	store.Fail(context.DeadlineExceeded)
	if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: "r", Durable: true}); err == nil {
		t.Error("a queue was promised by a failed store")
	}
	<-b.Failed()
	if b.Err() == nil {
		t.Error("the broker failed without a reason")
	}
}

// discard counts deliveries and never runs full.
type discard struct{ n int }

func (*discard) Ready() bool              { return true }
func (d *discard) Deliver(core.Delivery)  { d.n++ }
func (*discard) Cancelled(*core.Consumer) {}

func BenchmarkPublishDeliverTransient(b *testing.B) {
	benchmarkPublish(b, attach(b, engine(b, core.Options{})))
}

func benchmarkPublish(b *testing.B, s *core.Session) {
	b.Helper()
	declare(b, s, false)
	r := &discard{}
	if _, err := s.Consume(b.Context(), core.ConsumerSpec{Queue: "q", NoAck: true, Receiver: r}); err != nil {
		b.Fatal(err)
	}
	m := &core.Message{Key: "q", Body: make([]byte, 12)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Publish(m, nil, 0); err != nil {
			b.Fatal(err)
		}
	}
}

// A record that lost its subscriber, as a takeover can leave one, must not keep the broker from starting.
func TestRecordWithoutItsSubscriberIsRemovedAtStart(t *testing.T) {
	store := memstore.Open(memstore.Options{})
	b, err := core.Open(t.Context(), store, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := attach(t, b)
	p := &peer{script: &script{t: t}, name: "c"}
	link, _, err := s.Subscriber(t.Context(), core.SubscriberSpec{Name: "c", Queue: "c", Expiry: core.Forever, Receiver: p})
	if err != nil {
		t.Fatal(err)
	}
	done := make(completion, 1)
	m := &core.Message{Exchange: core.TopicExchange, Key: "k", Persistent: true, Once: true}
	if err := link.PublishOnce(m, 1, done, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for d, err := range store.Recover(t.Context()) { // take the subscriber away, and leave the id it took
		if err != nil {
			t.Fatal(err)
		}
		if d.Key[0] == 's' {
			store.Commit([]core.Op{{Kind: core.OpRemove, Key: d.Key, Queue: d.Queue}})
		}
	}
	flush(t, s)
	b.Close()
	disk := store.Disk()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		store = memstore.Open(memstore.Options{Disk: disk})
		b, err = core.Open(t.Context(), store, core.Options{Epoch: 2})
		if err != nil {
			t.Fatal(err)
		}
		b.Close()
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for d, err := range memstore.Open(memstore.Options{Disk: disk}).Recover(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Key[0] == 'r' {
			t.Errorf("record %q is still there", d.Key)
		}
	}
}
