package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

// fill publishes n messages to queue q, that begin with their numbers.
func fill(t *testing.T, s *core.Session, n int, persistent bool, size int) {
	t.Helper()
	for i := 1; i <= n; i++ {
		body := append(fmt.Appendf(nil, "%d ", i), bytes.Repeat([]byte("."), size)...)
		publish(t, s, &core.Message{Key: "q", Body: body, Persistent: persistent})
	}
	flush(t, s)
}

func declareNamed(t *testing.T, s *core.Session, durable bool, args field.Table, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: name, Durable: durable, Args: args}); err != nil {
			t.Fatal(err)
		}
	}
}

// label is the first word of a message.
func label(m *core.Message) string {
	word, _, _ := strings.Cut(string(m.Body), " ")
	return word
}

// browseAll reads all pages of so many messages.
func browseAll(t *testing.T, s *core.Session, queue string, count int) (labels []string, at []core.Position) {
	t.Helper()
	spec := core.BrowseSpec{Queue: queue, Count: count, Bytes: 16 << 20}
	for {
		page, err := s.Browse(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Messages) > count {
			t.Fatalf("a page of %d has %d messages", count, len(page.Messages))
		}
		for _, b := range page.Messages {
			labels, at = append(labels, label(b.Message)), append(at, b.Position)
			spec.After = b.Position
		}
		if !page.More {
			return labels, at
		}
	}
}

func labels(first, last int) (list []string) {
	for i := first; i <= last; i++ {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

func wantLabels(t *testing.T, what string, got, want []string) {
	t.Helper()
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s:\n%v\nwant\n%v", what, got, want)
	}
}

// drain gets everything from a queue.
func drain(t *testing.T, s *core.Session, queue string) (list []string) {
	t.Helper()
	for {
		d, _, ok, err := s.Get(t.Context(), queue, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return list
		}
		if d.Redelivered {
			t.Errorf("message %s is marked as delivered before", label(d.Message))
		}
		list = append(list, label(d.Message))
	}
}

// Wherever messages wait, in memory or in the store, pages of any size have each of them once, in order, and take none.
func TestBrowse_SeesWhatWaitsWhereverItIs(t *testing.T) {
	for _, tt := range []struct {
		name       string
		durable    bool
		persistent bool
	}{{"in memory", false, false}, {"in the store", true, true}, {"transient in a durable queue", true, false}} {
		t.Run(tt.name, func(t *testing.T) {
			b := engine(t, core.Options{MemoryBudget: 64 << 20, PageAt: 64 << 10})
			s := attach(t, b)
			declareNamed(t, s, tt.durable, nil, "q")
			fill(t, s, 1500, tt.persistent, 500)
			// Some are put back, some are loaded ahead, some are with a consumer.
			var held []core.Delivery
			for range 20 {
				d, _, ok, err := s.Get(t.Context(), "q", false)
				if !ok || err != nil {
					t.Fatal(ok, err)
				}
				held = append(held, d)
			}
			s.Settle(held[5:15], core.Requeue)
			want := append(labels(6, 15), labels(21, 1500)...)
			for _, count := range []int{7, 1000} {
				got, _ := browseAll(t, s, "q", count)
				wantLabels(t, fmt.Sprintf("pages of %d", count), got, want)
			}
			if st := b.Stats(); st.Ready != 1490 || st.Unsettled != 10 {
				t.Errorf("ready %d, unsettled %d after browsing", st.Ready, st.Unsettled)
			}
		})
	}
}

func TestBrowse_PrioritiesHighestFirst(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	declareNamed(t, s, true, field.Table{{Key: "x-max-priority", Value: int64(5)}}, "q")
	for i, priority := range []uint8{0, 5, 3, 0, 5} {
		publish(t, s, &core.Message{Key: "q", Body: fmt.Appendf(nil, "%d", i), Priority: priority, Persistent: i%2 == 0})
	}
	flush(t, s)
	for _, count := range []int{1, 2, 10} {
		got, at := browseAll(t, s, "q", count)
		wantLabels(t, "browsed", got, []string{"1", "4", "2", "0", "3"})
		if text := fmt.Sprint(at); text != "[5.1 5.2 3.1 1 2]" {
			t.Errorf("positions %s", text)
		}
	}
	move(t, s, core.MoveSpec{Queue: "q", Places: []core.Position{{Priority: 5, Seq: 2}, {Seq: 1}}}, core.Moved{Waiting: 5, Moved: 2, Passed: 2})
	wantLabels(t, "left", drain(t, s, "q"), []string{"1", "2", "3"})
}

func TestBrowse_PagesAreBounded(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	declareNamed(t, s, true, nil, "q")
	fill(t, s, 1100, true, 2000)
	for _, tt := range []struct{ count, bytes, want int }{{0, 1 << 30, 100}, {5000, 1 << 30, 1000}, {50, 10_000, 5}, {50, 1, 1}} {
		page, err := s.Browse(t.Context(), core.BrowseSpec{Queue: "q", Count: tt.count, Bytes: tt.bytes})
		if err != nil || len(page.Messages) != tt.want || !page.More {
			t.Errorf("%+v: %d messages, more %t, %v", tt, len(page.Messages), page.More, err)
		}
	}
}

func move(t *testing.T, s *core.Session, spec core.MoveSpec, want core.Moved) {
	t.Helper()
	got, err := s.Move(t.Context(), spec)
	if err != nil || got != want {
		t.Errorf("move %+v, %v, want %+v", got, err, want)
	}
}

func only(list ...string) func(*core.Message) bool {
	return func(m *core.Message) bool {
		for _, l := range list {
			if l == label(m) {
				return true
			}
		}
		return false
	}
}

func TestMove(t *testing.T) {
	b := engine(t, core.Options{PageAt: 64 << 10, MemoryBudget: 64 << 20})
	s := attach(t, b)
	declareNamed(t, s, true, nil, "q", "to")
	fill(t, s, 2000, true, 200)

	move(t, s, core.MoveSpec{Queue: "q", To: core.Destination{Kind: core.ToQueue, Queue: "to"}, Count: 3, DryRun: true}, core.Moved{Waiting: 2000, Moved: 3, More: true})
	move(t, s, core.MoveSpec{Queue: "q", DryRun: true}, core.Moved{Waiting: 2000, Moved: 2000})
	move(t, s, core.MoveSpec{Queue: "q", Only: only("2", "1900")}, core.Moved{Waiting: 2000, Moved: 2, Passed: 1998})
	move(t, s, core.MoveSpec{Queue: "q", Places: []core.Position{{Seq: 5}, {Seq: 2}}}, core.Moved{Waiting: 1998, Moved: 1, Passed: 3})
	move(t, s, core.MoveSpec{Queue: "q", To: core.Destination{Kind: core.ToQueue, Queue: "to"}, Count: 4}, core.Moved{Waiting: 1997, Moved: 4, More: true})
	move(t, s, core.MoveSpec{Queue: "q", To: core.Destination{Kind: core.ToQueue, Queue: "to"}}, core.Moved{Waiting: 1993, Moved: 1000, More: true})
	got := drain(t, s, "to")
	wantLabels(t, "moved", got, append([]string{"1", "3", "4", "6"}, labels(7, 1006)...))
	wantLabels(t, "left", drain(t, s, "q"), append(labels(1007, 1899), labels(1901, 2000)...))
	if st := b.Stats(); st.Ready != 0 || st.Unsettled != 0 || st.HeldBytes > 128<<10 {
		t.Errorf("%+v", st)
	}
}

func TestMove_ToAnExchange(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	declareNamed(t, s, true, nil, "q", "a", "b")
	for _, bind := range []core.BindingSpec{{Source: "amq.fanout", Dest: "a"}, {Source: "amq.fanout", Dest: "b"}, {Source: "amq.direct", Dest: "a", Key: "k"}, {Source: "amq.direct", Dest: "q", Key: "q"}} {
		if err := s.Bind(t.Context(), bind); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, s, 3, true, 0)
	key := "k"
	to := core.Destination{Kind: core.ToExchange, Exchange: "amq.direct"}
	// Its own key leads back to where it is.
	move(t, s, core.MoveSpec{Queue: "q", To: to}, core.Moved{Waiting: 3, Kept: 3})
	to.Key = &key
	move(t, s, core.MoveSpec{Queue: "q", To: to, Only: only("2")}, core.Moved{Waiting: 3, Moved: 1, Passed: 2})
	d, _, ok, err := s.Get(t.Context(), "a", true)
	if !ok || err != nil || d.Message.Exchange != "amq.direct" || d.Message.Key != "k" || label(d.Message) != "2" {
		t.Fatalf("%+v, %v", d.Message, err)
	}
	move(t, s, core.MoveSpec{Queue: "q", To: core.Destination{Kind: core.ToExchange, Exchange: "amq.fanout"}}, core.Moved{Waiting: 2, Moved: 2})
	wantLabels(t, "in a", drain(t, s, "a"), []string{"1", "3"})
	wantLabels(t, "in b", drain(t, s, "b"), []string{"1", "3"})
}

// dead is a dead letter as RabbitMQ makes it.
func dead(t *testing.T, queue, exchange, key, body string) *core.Message {
	t.Helper()
	headers := field.Table{
		{Key: "x-death", Value: []any{
			field.Table{{Key: "queue", Value: "between"}, {Key: "reason", Value: "expired"}, {Key: "routing-keys", Value: []any{"other"}}},
			field.Table{
				{Key: "count", Value: int64(1)},
				{Key: "reason", Value: "rejected"},
				{Key: "queue", Value: queue},
				{Key: "exchange", Value: exchange},
				{Key: "routing-keys", Value: []any{key, "cc"}},
			},
		}},
		{Key: "x-first-death-queue", Value: queue},
		{Key: "x-first-death-reason", Value: "rejected"},
		{Key: "x-first-death-exchange", Value: exchange},
	}
	props, err := field.AppendProperties(nil, &field.Properties{Headers: headers, DeliveryMode: 2})
	if err != nil {
		t.Fatal(err)
	}
	return &core.Message{Exchange: "dlx", Key: "dlq", Props: props, Body: []byte(body), Persistent: true}
}

// A dead letter goes back to where it died first, as it was published there, and nowhere else.
func TestMove_Redrive(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	declareNamed(t, s, true, nil, "dlq", "orders", "bills")
	into := func(m *core.Message) {
		t.Helper()
		m.Exchange, m.Key = "", "dlq"
		publish(t, s, m)
	}
	into(dead(t, "orders", "shop", "new.1", "1"))
	into(dead(t, "bills", "", "bills", "2"))
	into(dead(t, "gone", "shop", "new.2", "3"))
	into(&core.Message{Body: []byte("4"), Persistent: true})
	into(dead(t, "dlq", "", "dlq", "5"))
	into(dead(t, "orders", "shop", "new.6", "6"))
	flush(t, s)
	redrive := core.MoveSpec{Queue: "dlq", To: core.Destination{Kind: core.ToOrigin}}
	redrive.DryRun = true
	move(t, s, redrive, core.Moved{Waiting: 6, Moved: 3, Kept: 3})
	redrive.DryRun = false
	move(t, s, redrive, core.Moved{Waiting: 6, Moved: 3, Kept: 3})
	d, _, ok, err := s.Get(t.Context(), "orders", true)
	if !ok || err != nil || d.Message.Exchange != "shop" || d.Message.Key != "new.1" || label(d.Message) != "1" || d.Redelivered {
		t.Fatalf("%+v, %v", d.Message, err)
	}
	props, err := field.ParseProperties(d.Message.Props)
	if _, has := props.Headers.Get("x-death"); !has || err != nil {
		t.Errorf("its history is lost: %v, %v", props.Headers, err)
	}
	wantLabels(t, "orders", drain(t, s, "orders"), []string{"6"})
	wantLabels(t, "bills", drain(t, s, "bills"), []string{"2"})
	wantLabels(t, "dlq", drain(t, s, "dlq"), []string{"3", "4", "5"})
}

// What a full queue refuses stays where it is, and is in no third place.
func TestMove_ToAFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{})
		s := attach(t, b)
		declareNamed(t, s, true, nil, "q", "third")
		declareNamed(t, s, true, field.Table{
			{Key: "x-max-length", Value: int64(2)},
			{Key: "x-overflow", Value: "reject-publish-dlx"},
			{Key: "x-dead-letter-exchange", Value: ""},
			{Key: "x-dead-letter-routing-key", Value: "third"},
		}, "full")
		fill(t, s, 5, true, 0)
		to := core.Destination{Kind: core.ToQueue, Queue: "full"}
		move(t, s, core.MoveSpec{Queue: "q", To: to}, core.Moved{Waiting: 5, Moved: 2, Kept: 3})
		key := "full"
		to = core.Destination{Kind: core.ToExchange, Exchange: "", Key: &key}
		move(t, s, core.MoveSpec{Queue: "q", To: to}, core.Moved{Waiting: 3, Kept: 3})
		synctest.Wait()
		wantLabels(t, "dead", drain(t, s, "third"), nil)
		wantLabels(t, "moved", drain(t, s, "full"), labels(1, 2))
		wantLabels(t, "left", drain(t, s, "q"), labels(3, 5))
	})
}

// denyQueues refuses a right to some queues.
type denyQueues struct {
	right core.Right
	names []string
}

func (denyQueues) Enter(string) error         { return nil }
func (denyQueues) Generation() uint64         { return 1 }
func (denyQueues) Topics(string, string) bool { return false }
func (d denyQueues) Allow(r core.Request) error {
	for _, name := range d.names {
		if r.Right == d.right && r.Name == name {
			return core.ErrDenied
		}
	}
	return nil
}

func TestCare_AsksForRights(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	declareNamed(t, s, true, nil, "dlq", "to", "orders")
	m := dead(t, "orders", "", "orders", "1")
	m.Exchange, m.Key = "", "dlq"
	publish(t, s, m)
	flush(t, s)
	for _, tt := range []struct {
		name string
		deny denyQueues
		do   func(s *core.Session) error
		want string
	}{
		{"browse", denyQueues{core.Read, []string{"dlq"}}, func(s *core.Session) error {
			_, err := s.Browse(t.Context(), core.BrowseSpec{Queue: "dlq"})
			return err
		}, "read access to queue 'dlq'"},
		{"delete", denyQueues{core.Read, []string{"dlq"}}, func(s *core.Session) error { _, err := s.Move(t.Context(), core.MoveSpec{Queue: "dlq"}); return err }, "read access to queue 'dlq'"},
		{"to a queue", denyQueues{core.Write, []string{"to"}}, func(s *core.Session) error {
			_, err := s.Move(t.Context(), core.MoveSpec{Queue: "dlq", To: core.Destination{Kind: core.ToQueue, Queue: "to"}})
			return err
		}, "write access to queue 'to'"},
		{"to an exchange", denyQueues{core.Write, []string{"amq.fanout"}}, func(s *core.Session) error {
			_, err := s.Move(t.Context(), core.MoveSpec{Queue: "dlq", To: core.Destination{Kind: core.ToExchange, Exchange: "amq.fanout"}})
			return err
		}, "write access to exchange 'amq.fanout'"},
		{"redrive", denyQueues{core.Write, []string{"orders"}}, func(s *core.Session) error {
			_, err := s.Move(t.Context(), core.MoveSpec{Queue: "dlq", To: core.Destination{Kind: core.ToOrigin}})
			return err
		}, "write access to queue 'orders'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			denied, err := b.Attach("/", core.SessionOptions{User: "u", Access: tt.deny})
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.do(denied); core.KindOf(err) != core.Refused || !errors.Is(err, core.ErrDenied) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
			if got, _ := browseAll(t, s, "dlq", 10); len(got) != 1 {
				t.Errorf("%v is left", got)
			}
		})
	}
}

func TestCare_OfWhatIsNot(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	declareNamed(t, s, false, nil, "q")
	ctx := t.Context()
	for _, tt := range []struct {
		spec core.MoveSpec
		kind core.Kind
	}{
		{core.MoveSpec{Queue: "nope"}, core.NotFound},
		{core.MoveSpec{Queue: "q", To: core.Destination{Kind: core.ToQueue, Queue: "nope"}}, core.NotFound},
		{core.MoveSpec{Queue: "q", To: core.Destination{Kind: core.ToQueue, Queue: "q"}}, core.Invalid},
		{core.MoveSpec{Queue: "q", To: core.Destination{Kind: core.ToExchange, Exchange: "nope"}}, core.NotFound},
	} {
		if _, err := s.Move(ctx, tt.spec); core.KindOf(err) != tt.kind {
			t.Errorf("%+v: %v", tt.spec, err)
		}
	}
	if _, err := s.Browse(ctx, core.BrowseSpec{Queue: "nope"}); core.KindOf(err) != core.NotFound {
		t.Error(err)
	}
	fill(t, s, 3, false, 0)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Move(gone, core.MoveSpec{Queue: "q"}); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that was given up: %v", err)
	}
	wantLabels(t, "left", drain(t, s, "q"), labels(1, 3))
}

// Whatever a crash cuts off, each message is in exactly one of two queues: units pass whole or not at all.
func TestMove_ACrashNeitherLosesNorDoubles(t *testing.T) {
	for passed := range 3 {
		t.Run(fmt.Sprintf("%d units passed", passed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memstore.Open(memstore.Options{Manual: true})
				disk := store.Disk()
				b, err := core.Open(t.Context(), store, core.Options{})
				if err != nil {
					t.Fatal(err)
				}
				s := attach(t, b)
				for _, name := range []string{"dlq", "orders"} {
					if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: name, Durable: true, NoWait: true}); err != nil {
						t.Fatal(err)
					}
				}
				for i := range 300 {
					m := dead(t, "orders", "", "orders", fmt.Sprint(i+1))
					m.Exchange, m.Key = "", "dlq"
					publish(t, s, m)
				}
				store.Flush()
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() {
					defer close(done)
					if _, err := s.Move(ctx, core.MoveSpec{Queue: "dlq", To: core.Destination{Kind: core.ToOrigin}}); !errors.Is(err, context.Canceled) {
						t.Errorf("what did not pass was promised: %v", err)
					}
				}()
				synctest.Wait()
				for range passed {
					store.FlushOne()
				}
				cancel()
				<-done
				store.Crash()
				b.Close()

				store = memstore.Open(memstore.Options{Disk: disk})
				b = engineOn(t, store, 2)
				s = attach(t, b)
				left, _ := browseAll(t, s, "dlq", 1000)
				moved, _ := browseAll(t, s, "orders", 1000)
				wantLabels(t, "moved", moved, labels(1, 100*passed))
				wantLabels(t, "left", left, labels(100*passed+1, 300))
			})
		})
	}
}

// Deleting messages makes room: it does not wait for it.
func TestMove_DeletesWhilePublishersMustWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{})
		s := attach(t, b)
		declareNamed(t, s, true, nil, "q")
		fill(t, s, 3, true, 0)
		b.SetMemoryAlarm(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if moved, err := s.Move(ctx, core.MoveSpec{Queue: "q"}); err != nil || moved.Moved != 3 {
			t.Errorf("%d were deleted, %v; want 3", moved.Moved, err)
		}
	})
}
