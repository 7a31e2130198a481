package core_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

// hold keeps what it is given, as a client that never answers does.
type hold struct {
	mu   sync.Mutex
	held []core.Delivery
	full bool
}

func (h *hold) Ready() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.full
}

func (h *hold) Deliver(d core.Delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = append(h.held, d)
}

func (h *hold) Cancelled(*core.Consumer) {}

func (h *hold) take() []core.Delivery {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := h.held
	h.held = nil
	return held
}

// backlog publishes n messages of 8 KiB.
func backlog(t *testing.T, s *core.Session, n int, persistent func(i int) bool) {
	t.Helper()
	for i := range n {
		if err := s.Admit(t.Context(), 0); err != nil {
			t.Fatalf("message %d of %d: %v", i, n, err)
		}
		body := bytes.Repeat([]byte{byte(i)}, 8<<10)
		publish(t, s, &core.Message{Key: "q", Body: body, Persistent: persistent(i)})
		flush(t, s)
	}
}

func always(int) bool { return true }

func TestConsumerThatNeverSettlesDoesNotStopPublishers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{MemoryBudget: 1 << 20})
		s, slow := attach(t, b), attach(t, b)
		declare(t, s, true)
		backlog(t, s, 1000, always) // eight times the budget
		h := &hold{}
		if _, err := slow.Consume(t.Context(), core.ConsumerSpec{Queue: "q", Receiver: h}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(h.held); n < core.OpenFloor || n > core.OpenFloor+64 {
			t.Errorf("%d messages of 8 KiB are outstanding without a prefetch limit, want about %d", n, core.OpenFloor)
		}
		backlog(t, s, 100, always)

		// It goes: what it held waits again, and must not take the memory it had.
		slow.Close(h.take()...)
		backlog(t, s, 100, always)
		time.Sleep(2 * time.Second)
		if st := b.Stats(); st.HeldBytes > 1<<20 || st.OpenBytes != 0 || st.Ready != 1200 {
			t.Errorf("held %d, open %d, ready %d after the consumer went", st.HeldBytes, st.OpenBytes, st.Ready)
		}
		for i := range 1000 {
			d, _, ok, err := s.Get(t.Context(), "q", true)
			if err != nil || !ok || d.Message.Body[0] != byte(i) {
				t.Fatalf("message %d: %t, %v", i, ok, err)
			}
		}
	})
}

func TestTransientMessageDoesNotKeepThoseBehindItInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{MemoryBudget: 1 << 20})
		s := attach(t, b)
		declare(t, s, true)
		transient := func(i int) bool { return i%100 != 0 }
		backlog(t, s, 2000, transient)
		for i := range 2000 {
			d, _, ok, err := s.Get(t.Context(), "q", true)
			if err != nil || !ok || d.Message.Body[0] != byte(i) {
				t.Fatalf("message %d: %t, %v", i, ok, err)
			}
		}
		if st := b.Stats(); st.Ready != 0 || st.HeldBytes > 64<<10 {
			t.Errorf("ready %d, held %d after the queue was emptied", st.Ready, st.HeldBytes)
		}
	})
}

func TestFanOutChargesABodyOnce(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	const queues = 600
	for i := range queues {
		name := fmt.Sprint("q", i)
		if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: name}); err != nil {
			t.Fatal(err)
		}
		if err := s.Bind(t.Context(), core.BindingSpec{Source: "amq.fanout", Dest: name}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Publish(&core.Message{Exchange: "amq.fanout", Body: make([]byte, 1<<20)}, nil, 0); err != nil {
		t.Fatal(err)
	}
	if held := b.Stats().HeldBytes; held > 2<<20 {
		t.Errorf("1 MiB in %d queues holds %d bytes", queues, held)
	}
	for i := range queues {
		if _, err := s.DeleteQueue(t.Context(), fmt.Sprint("q", i), false, false, false); err != nil {
			t.Fatal(err)
		}
	}
	if held := b.Stats().HeldBytes; held != 0 {
		t.Errorf("%d bytes are held after every queue went", held)
	}
}

// One unit of credit for three queues goes to each in turn.
func TestSharedWindowServesQueuesInTurn(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	h, shared := &hold{}, core.NewWindow(1)
	for _, name := range []string{"a", "b", "c"} {
		if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: name}); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if _, err := s.Publish(&core.Message{Key: name}, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Consume(t.Context(), core.ConsumerSpec{Queue: name, Receiver: h, Shared: shared}); err != nil {
			t.Fatal(err)
		}
	}
	var order strings.Builder
	for got := h.take(); len(got) > 0; got = h.take() {
		order.WriteString(got[0].Queue())
		s.Settle(got, core.Accept)
	}
	// a waits first, and so has the first two.
	if want := "aabcabcabcbc"; order.String() != want {
		t.Errorf("served %s, want %s", order.String(), want)
	}
}

// A full outbox with two consumers lets each have its turn once there is room.
func TestResumeServesConsumersInTurn(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	h := &onePerRoom{}
	for _, name := range []string{"a", "b"} {
		if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: name}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := s.Publish(&core.Message{Key: name}, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Consume(t.Context(), core.ConsumerSpec{Queue: name, Receiver: h, NoAck: true}); err != nil {
			t.Fatal(err)
		}
	}
	for range 6 {
		h.room = true
		s.Resume()
	}
	if got := h.order.String(); got != "abababa"[:6] {
		t.Errorf("served %s, want ababab", got)
	}
}

type onePerRoom struct {
	room  bool
	order strings.Builder
}

func (o *onePerRoom) Ready() bool              { return o.room }
func (o *onePerRoom) Cancelled(*core.Consumer) {}
func (o *onePerRoom) Deliver(d core.Delivery) {
	o.room = false
	o.order.WriteString(d.Queue())
}

// Whoever waits and whoever comes anew see the same: publishers stop at the budget and go on when a sixteenth of it is free.
func TestPublishersStopAndGoOnTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		b := engine(t, core.Options{MemoryBudget: 1 << 20, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		s := attach(t, b)
		declare(t, s, false)
		for !b.Stats().Blocked {
			publish(t, s, &core.Message{Key: "q", Body: make([]byte, 4<<10)})
		}
		synctest.Wait() // the broker says that it stops them
		for range 3 {   // below the budget, not yet by a sixteenth
			if _, _, ok, _ := s.Get(t.Context(), "q", true); !ok {
				t.Fatal("nothing to get")
			}
		}
		if !b.Stats().Blocked {
			t.Error("publishers go on before a sixteenth of the budget is free")
		}
		for range 30 {
			if _, _, ok, _ := s.Get(t.Context(), "q", true); !ok {
				t.Fatal("nothing to get")
			}
		}
		if b.Stats().Blocked {
			t.Error("publishers still wait")
		}
		time.Sleep(4 * time.Second) // that they go on is said when it lasts
		synctest.Wait()
		if out := log.String(); strings.Count(out, "publishers wait") != 1 || strings.Count(out, "go on") != 1 {
			t.Errorf("the log says %q", out)
		}
	})
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestArgumentsThatCannotBeKeptAreRefused(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	deep := field.Table{}
	for range field.MaxDepth - 1 {
		deep = field.Table{{Key: "d", Value: deep}}
	}
	for name, args := range map[string]field.Table{
		"too deep":  deep,
		"too large": {{Key: "big", Value: strings.Repeat("x", 70_000)}},
	} {
		_, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: "q", Durable: true, Args: args})
		if core.KindOf(err) != core.Invalid {
			t.Errorf("queue with arguments %s: %v", name, err)
		}
		err = s.DeclareExchange(t.Context(), core.ExchangeSpec{Name: "x", Kind: "fanout", Durable: true, Args: args})
		if core.KindOf(err) != core.Invalid {
			t.Errorf("exchange with arguments %s: %v", name, err)
		}
		err = s.Bind(t.Context(), core.BindingSpec{Source: "amq.topic", Dest: "amq.fanout", DestExchange: true, Args: args})
		if core.KindOf(err) != core.Invalid {
			t.Errorf("binding with arguments %s: %v", name, err)
		}
	}
	// One level less, and what an ordinary frame holds, are fine.
	args := field.Table{{Key: "big", Value: strings.Repeat("x", 40_000)}, {Key: "deep", Value: deep[0].Value.(field.Table)[0].Value}}
	if err := s.Bind(t.Context(), core.BindingSpec{Source: "amq.headers", Dest: "amq.fanout", DestExchange: true, Args: args}); err != nil {
		t.Error(err)
	}
}

func TestNamesLoseLineBreaksEverywhere(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: "q\r\n"}); err != nil {
		t.Fatal(err)
	}
	if err := s.DeclareExchange(t.Context(), core.ExchangeSpec{Name: "x\n", Kind: "fanout"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Bind(t.Context(), core.BindingSpec{Source: "x\r", Dest: "q\n"}); err != nil {
		t.Error(err)
	}
	if _, err := s.DeleteQueue(t.Context(), "q\n", false, false, false); err != nil {
		t.Error(err)
	}
	if err := s.DeleteExchange(t.Context(), "\rx", false, false); err != nil {
		t.Error(err)
	}
	if st := b.Stats(); st.Queues != 0 || st.Exchanges != 7 {
		t.Errorf("%d queues and %d exchanges are left", st.Queues, st.Exchanges)
	}
}

func TestFullDiskStopsPublishersAndNewObjectsButNotConsumers(t *testing.T) {
	store := memstore.Open(memstore.Options{})
	b, err := core.Open(t.Context(), store, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := attach(t, b)
	declare(t, s, true)
	publish(t, s, &core.Message{Key: "q", Body: []byte("m"), Persistent: true})
	flush(t, s)
	b.Close()
	disk := store.Disk()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}

	store = memstore.Open(memstore.Options{Disk: disk})
	store.SetSpace(core.Space{Level: core.SpaceFull})
	if b, err = core.Open(t.Context(), store, core.Options{Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s = attach(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Admit(ctx, 0); err == nil {
		t.Error("a publisher was admitted to a full disk")
	}
	if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: "r", Durable: true}); core.KindOf(err) != core.Exhausted {
		t.Errorf("a durable queue on a full disk: %v", err)
	}
	if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: "t"}); err != nil {
		t.Errorf("a transient queue on a full disk: %v", err)
	}
	d, _, ok, err := s.Get(t.Context(), "q", false)
	if err != nil || !ok {
		t.Fatalf("get: %t, %v", ok, err)
	}
	s.Settle([]core.Delivery{d}, core.Accept)
	flush(t, s)
}
