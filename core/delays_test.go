package core_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

// landed notes what came.
type landed struct {
	mu    sync.Mutex
	came  []string
	props [][]byte
}

// bodies returns what has come by now.
func (a *landed) bodies() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.came)
}

func (*landed) Ready() bool              { return true }
func (*landed) Cancelled(*core.Consumer) {}
func (a *landed) Deliver(d core.Delivery) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.came = append(a.came, string(d.Message.Body))
	a.props = append(a.props, d.Message.Props)
}

func withDelay(tb interface{ Fatal(...any) }, delay any) []byte {
	props, err := field.AppendProperties(nil, &field.Properties{
		AppID: "app", Headers: field.Table{{Key: "k", Value: "v"}, {Key: "x-delay", Value: delay}}, DeliveryMode: 2,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return props
}

// delaying makes durable exchange d, of fanout routing, and queue q.
func delaying(tb testing.TB, b *core.Broker) *core.Session {
	tb.Helper()
	s := attach(tb, b)
	declare(tb, s, true)
	if err := s.DeclareExchange(tb.Context(), core.ExchangeSpec{
		Name: "d", Kind: "x-delayed-message", Durable: true, Args: field.Table{{Key: "x-delayed-type", Value: "fanout"}},
	}); err != nil {
		tb.Fatal(err)
	}
	if err := s.Bind(tb.Context(), core.BindingSpec{Source: "d", Dest: "q"}); err != nil {
		tb.Fatal(err)
	}
	return s
}

func receive(tb testing.TB, s *core.Session) *landed {
	tb.Helper()
	a := &landed{}
	if _, err := s.Consume(tb.Context(), core.ConsumerSpec{Queue: "q", NoAck: true, Receiver: a}); err != nil {
		tb.Fatal(err)
	}
	return a
}

// A consumer sees the header negated and all else as it was; what cannot be a delay is none.
func TestDelayedMessageIsDeliveredWithItsDelayNegated(t *testing.T) {
	for _, tt := range []struct {
		delay, want any
		after       time.Duration
	}{
		{int32(1500), int32(-1500), 1500 * time.Millisecond},
		{int64(1500), int32(-1500), 1500 * time.Millisecond},
		{uint8(100), int32(-100), 100 * time.Millisecond},
		{"250", int32(-250), 250 * time.Millisecond},
		{float64(99.9), int32(-99), 99 * time.Millisecond},
		{int64(60 * 24 * time.Hour / time.Millisecond), nil, 60 * 24 * time.Hour},
		{int32(0), int32(0), 0},
		{int32(-5), int32(-5), 0},
		{"later", "later", 0},
		{true, true, 0},
		{nil, nil, 0},
	} {
		t.Run(fmt.Sprintf("%T %v", tt.delay, tt.delay), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := engine(t, core.Options{})
				s := delaying(t, b)
				a := receive(t, s)
				start := time.Now()
				publish(t, s, &core.Message{Exchange: "d", Key: "k", Props: withDelay(t, tt.delay), Body: []byte("m"), Persistent: true})
				if tt.after > time.Hour { // the broker's clocks would tick millions of times
					list, _, err := s.Delayed(t.Context(), "d", 1)
					if err != nil || len(list) != 1 || list[0].Due.Sub(start) < tt.after {
						t.Errorf("kept back are %+v, %v", list, err)
					}
					return
				}
				if tt.after > 0 {
					time.Sleep(tt.after)
					synctest.Wait()
					if len(a.bodies()) > 0 {
						t.Fatal("it came early")
					}
					time.Sleep(time.Millisecond)
				}
				synctest.Wait()
				if len(a.props) != 1 {
					t.Fatalf("%d messages came", len(a.props))
				}
				got, err := field.ParseProperties(a.props[0])
				if err != nil {
					t.Fatal(err)
				}
				if v, _ := got.Headers.Get("x-delay"); v != tt.want || len(got.Headers) != 2 || got.AppID != "app" || got.DeliveryMode != 2 {
					t.Errorf("got %+v, want the delay %v", got, tt.want)
				}
			})
		})
	}
}

// Whatever is published, cancelled, reopened and paged out: messages come once, in the order in which they are due, and not early.
func TestDelayedMessagesComeInOrderOnce(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 0))
		steps := make([]int, 60)
		for i := range steps {
			steps[i] = rng.IntN(100)
		}
		synctest.Test(t, func(t *testing.T) { runDelays(t, steps) })
	}
}

// runDelays does what the steps say.
func runDelays(t *testing.T, steps []int) {
	t.Helper()
	store := memstore.Open(memstore.Options{})
	epoch := uint32(0)
	open := func() (*core.Broker, *core.Session) {
		epoch++
		b, err := core.Open(t.Context(), store, core.Options{PageAt: 1, Epoch: epoch})
		if err != nil {
			t.Fatal(err)
		}
		return b, delaying(t, b)
	}
	b, s := open()
	a := receive(t, s)
	type due struct {
		at   int64
		n    int
		body string
	}
	var pending, want []due
	for n, step := range steps {
		switch {
		case step < 60:
			delay := time.Duration(step*step) * time.Millisecond
			d := due{at: store.Now().Add(delay).UnixMilli(), n: n, body: fmt.Sprint(n)}
			publish(t, s, &core.Message{Exchange: "d", Props: withDelay(t, int32(delay/time.Millisecond)), Body: []byte(d.body), Persistent: true})
			if delay == 0 {
				want = append(want, d)
			} else {
				pending = append(pending, d)
			}
		case step < 70 && len(pending) > 0:
			list, _, err := s.Delayed(t.Context(), "d", len(steps))
			if err != nil {
				t.Fatal(err)
			}
			m := list[n%len(list)]
			if existed, err := s.CancelDelayed(t.Context(), "d", m.ID); err != nil || !existed {
				t.Fatalf("cancel %d: %t, %v", m.ID, existed, err)
			}
			pending = slices.DeleteFunc(pending, func(d due) bool { return d.body == string(m.Message.Body) })
		case step < 75:
			disk := store.Disk()
			b.Close()
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			store = memstore.Open(memstore.Options{Disk: disk})
			was := a.bodies()
			b, s = open()
			a = receive(t, s)
			a.mu.Lock()
			a.came = append(was, a.came...)
			a.mu.Unlock()
		default:
			time.Sleep(time.Duration(step) * 10 * time.Millisecond)
		}
		synctest.Wait()
		slices.SortFunc(pending, func(x, y due) int { return int(x.at-y.at)*1000 + x.n - y.n })
		for len(pending) > 0 && pending[0].at < store.Now().UnixMilli() {
			want, pending = append(want, pending[0]), pending[1:]
		}
		var bodies []string
		for _, d := range want {
			bodies = append(bodies, d.body)
		}
		if came := a.bodies(); !slices.Equal(came, bodies) {
			t.Fatalf("after step %d of %v came %v, want %v", n, steps, came, bodies)
		}
		if got := b.Stats().Delayed; got != len(pending) {
			t.Fatalf("%d messages are delayed, want %d", got, len(pending))
		}
	}
	b.Close()
	_ = store.Close()
}

// Bodies of what waits long do not stay in memory, and come back.
func TestDelayedMessagesLeaveMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{MemoryBudget: 8 << 20, PageAt: 1 << 20})
		s := delaying(t, b)
		body := strings.Repeat("b", 10_000)
		const n = 2000
		for i := range n {
			if err := s.Admit(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			publish(t, s, &core.Message{Exchange: "d", Props: withDelay(t, int32(60_000)), Body: fmt.Append(nil, i, body), Persistent: true})
			if i%100 == 0 {
				flush(t, s)
			}
		}
		flush(t, s)
		time.Sleep(2 * time.Second)
		if held := b.Stats().HeldBytes; held > 1<<20 {
			t.Errorf("%d bytes are in memory", held)
		}
		a := receive(t, s)
		time.Sleep(2 * time.Minute) // they are more than fits in memory: some wait a second for others to be on record
		synctest.Wait()
		if len(a.bodies()) != n {
			t.Fatalf("%d messages came", len(a.bodies()))
		}
		for i, got := range a.bodies() {
			if got != fmt.Sprint(i, body) {
				t.Fatalf("message %d is not what was published", i)
			}
		}
		if st := b.Stats(); st.Delayed != 0 || st.HeldBytes > 64<<10 {
			t.Errorf("%d messages and %d bytes are left", st.Delayed, st.HeldBytes)
		}
	})
}

// While publishers must wait delayed messages do, too; they are late then, and not lost.
func TestDueMessagesWaitAsPublishersDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{})
		s := delaying(t, b)
		a := receive(t, s)
		publish(t, s, &core.Message{Exchange: "d", Props: withDelay(t, int32(100)), Body: []byte("m"), Persistent: true})
		b.SetMemoryAlarm(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(a.bodies()) > 0 {
			t.Fatal("it was routed while publishers wait")
		}
		b.SetMemoryAlarm(false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(a.bodies()) != 1 {
			t.Errorf("%d messages came", len(a.bodies()))
		}
	})
}

// The time to live of a delayed message begins when it is due.
func TestDelayedMessageExpiresAfterItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{})
		s := delaying(t, b)
		publish(t, s, &core.Message{
			Exchange: "d", Props: withDelay(t, int32(10_000)), Body: []byte("m"), Persistent: true, Expires: s.ExpiresAfter(5 * time.Second),
		})
		time.Sleep(14 * time.Second)
		synctest.Wait()
		if st := b.Stats(); st.Ready != 1 || st.Expired != 0 {
			t.Errorf("4 seconds after it was due %d are ready and %d expired", st.Ready, st.Expired)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if st := b.Stats(); st.Ready != 0 || st.Expired != 1 {
			t.Errorf("6 seconds after it was due %d are ready and %d expired", st.Ready, st.Expired)
		}
	})
}

// A transaction's messages are delayed as others are, and on record with the rest of it.
func TestTransactionWithADelayedMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{})
		s := delaying(t, b)
		a := receive(t, s)
		m := &core.Message{Exchange: "d", Props: withDelay(t, int32(100)), Body: []byte("m"), Persistent: true}
		if err := s.Transact(t.Context(), &core.Transaction{Messages: []*core.Message{m}, Unrouted: func(int) { t.Error("it is not routed") }}); err != nil {
			t.Fatal(err)
		}
		if n := b.Stats().Delayed; n != 1 || len(a.bodies()) > 0 {
			t.Errorf("%d are delayed, %d came", n, len(a.bodies()))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(a.bodies()) != 1 {
			t.Errorf("%d messages came", len(a.bodies()))
		}
	})
}

// Delayed messages may be what fills the memory budget: they go on all the same when they are due, as nothing else would ever make room.
func TestDelayedMessagesThatFillTheMemoryGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{MemoryBudget: 1 << 20})
		s := delaying(t, b)
		a := receive(t, s)
		n := 0
		for ; !b.Alarms().Memory; n++ {
			publish(t, s, &core.Message{Exchange: "d", Props: withDelay(t, int32(1000)), Body: make([]byte, 10_000)})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(a.bodies()) != n || b.Alarms().Memory {
			t.Errorf("%d of %d came; publishers wait: %t", len(a.bodies()), n, b.Alarms().Memory)
		}
	})
}

// What is read back for queues that only memory has must not fill it up.
func TestDueMessagesDoNotFillTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const budget, n = 1 << 20, 2000
		b := engine(t, core.Options{MemoryBudget: budget, PageAt: 64 << 10})
		s := delaying(t, b)
		if _, err := s.DeleteQueue(t.Context(), "q", false, false, false); err != nil {
			t.Fatal(err)
		}
		declare(t, s, false)
		if err := s.Bind(t.Context(), core.BindingSpec{Source: "d", Dest: "q"}); err != nil {
			t.Fatal(err)
		}
		for range n {
			if err := s.Admit(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			publish(t, s, &core.Message{Exchange: "d", Props: withDelay(t, int32(3_600_000)), Body: make([]byte, 10_000), Persistent: true})
			flush(t, s)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if held := b.Stats().HeldBytes; held > 3*budget {
			t.Errorf("%d bytes are in memory", held)
		}
		a := receive(t, s)
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(a.bodies()) != n {
			t.Errorf("%d messages came, want %d", len(a.bodies()), n)
		}
	})
}
