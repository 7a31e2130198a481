package core_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
)

// logged is an engine, and what it says.
func logged(t *testing.T) (*core.Broker, *syncBuffer) {
	t.Helper()
	var log syncBuffer
	return engine(t, core.Options{OpenBytes: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))}), &log
}

// after lets time pass, and returns when what was due is done.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// consume has a session consume from "q" within windows.
func consume(t *testing.T, s *core.Session, h *hold, own, shared *core.Window) {
	t.Helper()
	if _, err := s.Consume(t.Context(), core.ConsumerSpec{Queue: "q", Tag: "slow", Receiver: h, Window: own, Shared: shared}); err != nil {
		t.Fatal(err)
	}
}

// theQueue is what there is to know of "q".
func theQueue(t *testing.T, b *core.Broker) core.QueueInfo {
	t.Helper()
	i, ok := b.Queue("/", "q").Info()
	if !ok {
		t.Fatal("the queue is gone")
	}
	return i
}

// A queue is slow half a minute after a consumer has taken something last, until one takes something again; the log tells of it now and
// then, and once that it is over.
func TestSlowConsumersAreFoundAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := logged(t)
		s, err := b.Attach("/", core.SessionOptions{Conn: "c1", User: "joe"})
		if err != nil {
			t.Fatal(err)
		}
		declare(t, s, false)
		after(10 * time.Second)
		h := &hold{}
		consume(t, s, h, core.NewWindow(2), nil)
		for range 5 {
			publish(t, s, &core.Message{Key: "q"})
		}
		began := time.Now()
		if i := theQueue(t, b); !i.Stalled || began.Sub(i.StalledSince).Abs() > 2*time.Second || len(b.SlowQueues()) != 0 {
			t.Errorf("at once: stalled %t since %v, %d slow queues", i.Stalled, i.StalledSince, len(b.SlowQueues()))
		}
		if k := b.Queue("/", "q").Consumers()[0]; k.Lack != core.LacksCredit || k.Unacked != 2 || began.Sub(k.Since).Abs() > 2*time.Second {
			t.Errorf("the consumer has %d messages and lacks %s since %v", k.Unacked, k.Lack, k.Since)
		}
		after(45 * time.Second)
		if slow := b.SlowQueues(); len(slow) != 1 || slow[0].Name() != "q" || b.Stats().SlowQueues != 1 {
			t.Errorf("%d slow queues", len(slow))
		}
		const line = "no consumer takes the messages that are ready"
		if out := log.String(); strings.Count(out, line) != 1 ||
			!strings.Contains(out, "queue=q ready=3 unacknowledged=2 consumers=1 waits_for=credit since=3") || !strings.Contains(out, "consumer=slow conn=c1 user=joe") {
			t.Errorf("after 45 s: %s", out)
		}
		after(3 * time.Hour)
		if n := strings.Count(log.String(), line); n < 4 || n > 9 {
			t.Errorf("in three hours %d lines", n)
		}
		if i := theQueue(t, b); i.Capacity > 0.01 {
			t.Errorf("capacity %.3f", i.Capacity)
		}

		for range 3 {
			s.Settle(h.take(), core.Accept)
		}
		after(10 * time.Second)
		if len(b.SlowQueues()) != 0 || theQueue(t, b).Stalled || strings.Count(log.String(), "consumers take messages again") != 1 {
			t.Errorf("when all is taken %d queues are slow; the log: %s", len(b.SlowQueues()), log.String())
		}
		if k := b.Queue("/", "q").Consumers()[0]; k.Lack != core.LacksNothing && k.Unacked != 0 {
			t.Errorf("the consumer has %d messages and lacks %s", k.Unacked, k.Lack)
		}
		after(5 * time.Minute)
		if i := theQueue(t, b); i.Capacity != 1 {
			t.Errorf("capacity %.3f after all was taken", i.Capacity)
		}
	})
}

// One that acknowledges now and then is not slow, but the queue's capacity tells.
func TestConsumersThatGoOnAreNotSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := logged(t)
		s := attach(t, b)
		declare(t, s, false)
		h := &hold{}
		consume(t, s, h, core.NewWindow(1), nil)
		for range 100 {
			publish(t, s, &core.Message{Key: "q"})
		}
		for range 12 {
			after(20 * time.Second)
			s.Settle(h.take(), core.Accept)
		}
		if i := theQueue(t, b); len(b.SlowQueues()) != 0 || i.Capacity > 0.1 || log.String() != "" {
			t.Errorf("%d queues are slow, capacity %.2f: %s", len(b.SlowQueues()), i.Capacity, log.String())
		}
	})
}

func TestConsumersTellWhatTheyLack(t *testing.T) {
	for _, tt := range []struct {
		name string
		want core.Lack
		stop func(t *testing.T, b *core.Broker, s *core.Session)
	}{
		{"its own window", core.LacksCredit, func(t *testing.T, _ *core.Broker, s *core.Session) {
			t.Helper()
			consume(t, s, &hold{}, core.NewWindow(1), nil)
		}},
		{"that of its channel", core.LacksShared, func(t *testing.T, _ *core.Broker, s *core.Session) {
			t.Helper()
			consume(t, s, &hold{}, core.NewWindow(0), core.NewWindow(1))
		}},
		{"memory for those without a limit", core.LacksMemory, func(t *testing.T, _ *core.Broker, s *core.Session) {
			t.Helper()
			consume(t, s, &hold{}, core.NewWindow(0), nil)
			for range core.OpenFloor {
				publish(t, s, &core.Message{Key: "q", Body: []byte("m")})
			}
		}},
		{"a client that reads", core.LacksRoom, func(t *testing.T, _ *core.Broker, s *core.Session) {
			t.Helper()
			consume(t, s, &hold{full: true}, core.NewWindow(1), nil)
		}},
		{"certainty", core.LacksCertainty, func(t *testing.T, b *core.Broker, s *core.Session) {
			t.Helper()
			b.Doubt(true)
			if _, err := s.Consume(t.Context(), core.ConsumerSpec{Queue: "q", Receiver: &hold{}, NoAck: true}); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, _ := logged(t)
			s := attach(t, b)
			declare(t, s, false)
			tt.stop(t, b, s)
			for range 2 {
				publish(t, s, &core.Message{Key: "q", Body: []byte("m")})
			}
			if k := b.Queue("/", "q").Consumers()[0]; k.Lack != tt.want || !theQueue(t, b).Stalled {
				t.Errorf("it lacks %q, want %q", k.Lack, tt.want)
			}
			b.Doubt(false)
		})
	}
}

// What reaches nobody is counted where it was published, by whatever way, and told of now and then.
func TestWhatReachesNobodyIsCountedAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := logged(t)
		s, err := b.Attach("/", core.SessionOptions{Conn: "c1", User: "joe"})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.DeclareExchange(t.Context(), core.ExchangeSpec{Name: "x", Kind: "direct"}); err != nil {
			t.Fatal(err)
		}
		x := b.Exchange("/", "x")
		if n := x.Unrouted(); n != (core.Unrouted{}) {
			t.Errorf("before anything was published: %+v", n)
		}
		lose := func(key string) {
			t.Helper()
			if n, err := s.Publish(&core.Message{Exchange: "x", Key: key}, nil, 0); n != 0 || err != nil {
				t.Fatalf("routed to %d, %v", n, err)
			}
		}
		for range 3 {
			lose("k1")
		}
		want := core.Unrouted{Messages: 3, Key: "k1", User: "joe", Conn: "c1", At: time.Now()}
		if n := x.Unrouted(); n != want {
			t.Errorf("%+v, want %+v", n, want)
		}
		after(6 * time.Second)
		const line = "messages were published and reached nobody"
		if out := log.String(); strings.Count(out, line) != 1 || !strings.Contains(out, "vhost=/ exchange=x messages=3 key=k1 user=joe conn=c1") {
			t.Errorf("the log: %s", out)
		}
		for range 3600 {
			lose(strings.Repeat("long", 100))
			after(time.Second)
		}
		if n := x.Unrouted(); n.Messages != 3603 || n.Key != strings.Repeat("long", 64) {
			t.Errorf("%+v", n)
		}
		if n := strings.Count(log.String(), line); n < 4 || n > 8 {
			t.Errorf("%d lines in an hour", n)
		}
		if n := b.Exchange("/", "").Unrouted(); n.Messages != 0 {
			t.Errorf("another exchange: %+v", n)
		}
		if _, err := s.Publish(&core.Message{Key: "nope"}, nil, 0); err != nil {
			t.Fatal(err)
		}
		err = s.Transact(t.Context(), &core.Transaction{Messages: []*core.Message{{Exchange: "x", Key: "k2"}}, Unrouted: func(int) {}})
		if err != nil || b.Exchange("/", "").Unrouted().Messages != 1 || x.Unrouted().Messages != 3604 {
			t.Errorf("%v, %+v, %+v", err, b.Exchange("/", "").Unrouted(), x.Unrouted())
		}
		if err := s.DeleteExchange(t.Context(), "x", false, false); err != nil {
			t.Fatal(err)
		}
		if n := b.Stats().Unroutable; n != 3605 {
			t.Errorf("with the exchange gone %d messages have reached nobody", n)
		}
	})
}

// That an MQTT client publishes what nobody has subscribed to is nothing to tell an operator of.
func TestWhatSubscribersPublishIsCountedAndNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := logged(t)
		s, _ := linked(t, b, core.SubscriberSpec{})
		if _, err := s.Publish(&core.Message{Exchange: core.TopicExchange, Key: "nobody"}, nil, 0); err != nil {
			t.Fatal(err)
		}
		after(10 * time.Second)
		if n := b.Exchange("/", core.TopicExchange).Unrouted(); n.Messages != 1 || n.Key != "nobody" || log.String() != "" {
			t.Errorf("%+v; the log: %s", n, log.String())
		}
	})
}

// Of one that is away nothing is told.
func TestSubscribersThatDoNotReadAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := logged(t)
		client := &quiet{full: true}
		s, l := linked(t, b, core.SubscriberSpec{Receiver: client, Expiry: time.Hour})
		publisher := attach(t, b)
		lose := func() {
			t.Helper()
			if _, err := publisher.Publish(&core.Message{Exchange: core.TopicExchange, Key: "k"}, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		for range 600 {
			lose()
			after(time.Second)
		}
		i, _ := b.SubscriberInfo("/", "c")
		if st := b.Stats(); i.Missed != 600 || st.Missed != 600 || st.Dropped != 600 {
			t.Errorf("missed %d, of all %d, dropped %d", i.Missed, st.Missed, st.Dropped)
		}
		if n := strings.Count(log.String(), "messages of QoS 0 were dropped"); n < 2 || n > 5 || !strings.Contains(log.String(), "vhost=/ client=c messages=") {
			t.Errorf("%d lines in ten minutes: %s", n, log.String())
		}
		l.Detach(true, nil)
		s.Close()
		lose()
		if st := b.Stats(); st.Missed != 600 || st.Dropped != 601 {
			t.Errorf("while the client is away: missed %d, dropped %d", st.Missed, st.Dropped)
		}
	})
}

// The lines of one look are bounded, however many queues and exchanges there is something to tell of.
func TestTroubleTakesFewLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := logged(t)
		s, err := b.Attach("/", core.SessionOptions{Conn: "c1"})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			name := fmt.Sprint("o", i)
			if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: name}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Consume(t.Context(), core.ConsumerSpec{Queue: name, Receiver: &hold{full: true}}); err != nil {
				t.Fatal(err)
			}
			if err := s.DeclareExchange(t.Context(), core.ExchangeSpec{Name: name, Kind: "fanout"}); err != nil {
				t.Fatal(err)
			}
			publish(t, s, &core.Message{Key: name})
			if _, err := s.Publish(&core.Message{Exchange: name}, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		after(6 * time.Second)
		if n := strings.Count(log.String(), "\n"); n != 5 {
			t.Errorf("%d lines of 50 exchanges", n)
		}
		after(36 * time.Second)
		if n := len(b.SlowQueues()); n != 50 {
			t.Errorf("%d queues are slow", n)
		}
		if n := strings.Count(log.String(), "no consumer takes"); n < 5 || n > 15 {
			t.Errorf("%d lines of 50 queues", n)
		}
		names := []string{}
		for _, q := range b.SlowQueues() {
			names = append(names, q.Name())
		}
		if slices.Sort(names); len(slices.Compact(names)) != 50 {
			t.Errorf("%q", names)
		}
	})
}
