package core_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

// told is what a publisher's front-end was told, and when.
type told struct {
	start time.Time

	mu  sync.Mutex
	log []string
}

func (l *told) blocked(a core.Alarms) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log = append(l.log, fmt.Sprintf("%v memory=%t disk=%t", time.Since(l.start), a.Memory, a.Disk))
}

func (l *told) check(t *testing.T, want ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.log, want) {
		t.Errorf("told %q, want %q", l.log, want)
	}
}

// blocking opens a broker in a bubble with a publisher that waits from the start.
func blocking(t *testing.T, f func(b *core.Broker, store *memstore.Store, l *told, admitted <-chan error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := memstore.Open(memstore.Options{})
		b, err := core.Open(t.Context(), store, core.Options{})
		if err != nil {
			t.Fatal(err)
		}
		l := &told{start: time.Now()}
		s, err := b.Attach("/", core.SessionOptions{Blocked: l.blocked})
		if err != nil {
			t.Fatal(err)
		}
		b.SetMemoryAlarm(true)
		admitted := make(chan error, 1)
		go func() { admitted <- s.Admit(t.Context(), 0) }()
		synctest.Wait()
		f(b, store, l, admitted)
		b.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestPublisherIsToldWhyItWaits(t *testing.T) {
	blocking(t, func(b *core.Broker, store *memstore.Store, l *told, admitted <-chan error) {
		time.Sleep(950 * time.Millisecond)
		store.SetSpace(core.Space{Level: core.SpaceLow})
		time.Sleep(time.Second)
		if got := b.Alarms(); got != (core.Alarms{Memory: true, Disk: true}) || !b.Stats().Blocked {
			t.Errorf("alarms %+v", got)
		}
		b.SetMemoryAlarm(false)
		b.SetMemoryAlarm(false)
		time.Sleep(time.Second)
		store.SetSpace(core.Space{})
		if err := <-admitted; err != nil {
			t.Fatal(err)
		}
		// The disk is looked at every 100 ms.
		l.check(t, "50ms memory=true disk=false", "1s memory=true disk=true", "1.95s memory=false disk=true", "3s memory=false disk=false")
		if got := b.Alarms(); got != (core.Alarms{}) {
			t.Errorf("alarms %+v", got)
		}
	})
}

func TestPublisherIsNotToldOfAMoment(t *testing.T) {
	blocking(t, func(b *core.Broker, _ *memstore.Store, l *told, admitted <-chan error) {
		time.Sleep(49 * time.Millisecond)
		b.SetMemoryAlarm(false)
		if err := <-admitted; err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		l.check(t)
	})
}

// Messages that fill the memory budget are a memory alarm as well.
func TestFullBudgetIsAMemoryAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{MemoryBudget: 1 << 12})
		s := attach(t, b)
		declare(t, s, false)
		publish(t, s, &core.Message{Key: "q", Body: make([]byte, 1<<13)})
		if got := b.Alarms(); got != (core.Alarms{Memory: true}) {
			t.Errorf("alarms %+v", got)
		}
		b.SetMemoryAlarm(true)
		if _, err := s.PurgeQueue(t.Context(), "q", true); err != nil {
			t.Fatal(err)
		}
		if got := b.Alarms(); got != (core.Alarms{Memory: true}) {
			t.Errorf("alarms %+v: one reason is over, the other holds", got)
		}
		b.SetMemoryAlarm(false)
		if got := b.Alarms(); got != (core.Alarms{}) {
			t.Errorf("alarms %+v", got)
		}
	})
}

// A storm opens and shuts the budget many times a second. The log has one line for its beginning and one for its end.
func TestFullBudgetIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		b := engine(t, core.Options{MemoryBudget: 1 << 12, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		s := attach(t, b)
		declare(t, s, false)
		for range 20 {
			publish(t, s, &core.Message{Key: "q", Body: make([]byte, 1<<13)})
			time.Sleep(400 * time.Millisecond)
			if _, err := s.PurgeQueue(t.Context(), "q", true); err != nil {
				t.Fatal(err)
			}
			time.Sleep(400 * time.Millisecond)
		}
		synctest.Wait()
		if n, room := strings.Count(log.String(), "publishers wait"), strings.Count(log.String(), "has room again"); n != 1 || room != 0 {
			t.Errorf("meanwhile the log has %d lines of waiting and %d of room:\n%s", n, room, log.String())
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if n, room := strings.Count(log.String(), "publishers wait"), strings.Count(log.String(), "has room again"); n != 1 || room != 1 {
			t.Errorf("in the end the log has %d lines of waiting and %d of room:\n%s", n, room, log.String())
		}
	})
}

// A publisher within its rates never waits; one that sends more is as fast as they let it, after a second's worth at once.
func TestPublishersKeepToTheirRates(t *testing.T) {
	for _, tt := range []struct {
		name            string
		messages, bytes float64
		size, n         int
		takes           time.Duration
	}{
		{"no limit", 0, 0, 1000, 100, 0},
		{"a second's worth of messages", 10, 0, 1000, 10, 0},
		{"one message more", 10, 0, 1000, 11, 100 * time.Millisecond},
		{"three seconds' worth of messages", 10, 0, 1000, 30, 2 * time.Second},
		{"a second's worth of bytes", 0, 1000, 100, 10, 0},
		{"three seconds' worth of bytes", 0, 1000, 100, 30, 2 * time.Second},
		{"both, and bytes are what is short", 10, 100, 20, 10, time.Second},
		{"a message of more than a second's worth", 0, 1000, 5000, 2, 5 * time.Second},
		{"empty messages", 0, 1, 0, 100, 0},
		{"less than one a second", 0.5, 0, 0, 3, 4 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := engine(t, core.Options{})
				s, err := b.Attach("/", core.SessionOptions{MessageRate: tt.messages, ByteRate: tt.bytes})
				if err != nil {
					t.Fatal(err)
				}
				for range 2 { // what was not used before is worth a second, however long that was
					start := time.Now()
					for range tt.n {
						if err := s.Admit(t.Context(), tt.size); err != nil {
							t.Fatal(err)
						}
					}
					if took := time.Since(start).Round(time.Millisecond); took != tt.takes {
						t.Errorf("%d messages took %v, want %v", tt.n, took, tt.takes)
					}
					time.Sleep(time.Hour)
				}
			})
		})
	}
}

func TestWaitForARateEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{})
		s, err := b.Attach("/", core.SessionOptions{MessageRate: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Admit(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		cause := errors.New("the client has gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		admitted := make(chan error, 1)
		go func() { admitted <- s.Admit(ctx, 0) }()
		synctest.Wait()
		cancel(cause)
		if err := <-admitted; !errors.Is(err, cause) {
			t.Errorf("admit: %v", err)
		}
		time.Sleep(time.Second) // what was given up does not count
		start := time.Now()
		if err := s.Admit(t.Context(), 0); err != nil || time.Since(start) != 0 {
			t.Errorf("admitted after %v: %v", time.Since(start), err)
		}
	})
}

// hoard publishes to a queue until messages take at least so many bytes.
func hoard(t *testing.T, b *core.Broker, s *core.Session, queue string, bytes int64) {
	t.Helper()
	for b.Stats().HeldBytes < bytes {
		publish(t, s, &core.Message{Key: queue, Body: make([]byte, 1024)})
	}
}

// When messages fill the budget those wait who make long queues longer; whose messages are consumed go on.
func TestFullBudgetStopsThoseWithLongQueuesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const budget = 1 << 20
		b := engine(t, core.Options{MemoryBudget: budget})
		l := &told{start: time.Now()}
		deaf, err := b.Attach("/", core.SessionOptions{Blocked: l.blocked})
		if err != nil {
			t.Fatal(err)
		}
		honest := attach(t, b)
		declareNamed(t, deaf, false, nil, "long", "other", "short")
		hoard(t, b, deaf, "other", budget/2)
		hoard(t, b, deaf, "long", budget)

		admitted := make(chan error, 1)
		go func() { admitted <- deaf.Admit(t.Context(), 0) }()
		for range 1000 {
			if err := honest.Admit(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			publish(t, honest, &core.Message{Key: "short", Body: make([]byte, 1024)})
			if _, _, ok, err := honest.Get(t.Context(), "short", true); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		time.Sleep(time.Second)
		if len(admitted) != 0 {
			t.Fatal("who publishes to a long queue was admitted")
		}
		if got := b.Alarms(); got != (core.Alarms{Memory: true}) {
			t.Errorf("alarms %+v", got)
		}
		l.check(t, "50ms memory=true disk=false")
		// Its queue is short again, and the budget still full.
		for range 4 {
			publish(t, honest, &core.Message{Key: "other", Body: make([]byte, budget/8)})
		}
		time.Sleep(10 * time.Millisecond)
		short := time.Now()
		if _, err := honest.PurgeQueue(t.Context(), "long", true); err != nil {
			t.Fatal(err)
		}
		if err := <-admitted; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(short); took != 0 {
			t.Errorf("it goes on %v after its queue is short again", took)
		}
		if got := b.Alarms(); got != (core.Alarms{Memory: true}) {
			t.Errorf("alarms %+v", got)
		}
	})
}

// What goes to many queues, none of which is long, is bounded too.
func TestBeyondTheBudgetAllPublishersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const budget = 1 << 20
		b := engine(t, core.Options{MemoryBudget: budget})
		s, idle := attach(t, b), attach(t, b)
		declare(t, s, false)
		hoard(t, b, s, "q", budget)
		if err := idle.Admit(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		hoard(t, b, s, "q", budget+budget/4)
		admitted := make(chan error, 1)
		go func() { admitted <- idle.Admit(t.Context(), 0) }()
		synctest.Wait()
		if len(admitted) != 0 {
			t.Fatal("admitted")
		}
		for b.Stats().HeldBytes >= budget+budget/4-budget/16 {
			if len(admitted) != 0 {
				t.Fatalf("admitted with %d bytes", b.Stats().HeldBytes)
			}
			if _, _, ok, err := s.Get(t.Context(), "q", true); !ok || err != nil {
				t.Fatal(ok, err)
			}
			synctest.Wait()
		}
		if err := <-admitted; err != nil {
			t.Fatal(err)
		}
	})
}

// Where the store can read a queue back it is not long, however much waits in it.
func TestWhatOnlyTheStoreHasMakesNoQueueLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const budget = 4 << 20
		b := engine(t, core.Options{MemoryBudget: budget, PageAt: 1 << 20})
		s, deaf := attach(t, b), attach(t, b)
		declare(t, s, true)
		declareNamed(t, deaf, false, nil, "long")
		for range 16 {
			for range 1024 {
				publish(t, s, &core.Message{Key: "q", Body: make([]byte, 1024), Persistent: true})
			}
			flush(t, s)
		}
		hoard(t, b, deaf, "long", budget)
		for range 2048 {
			publish(t, s, &core.Message{Key: "q", Body: []byte("x"), Persistent: true})
		}
		flush(t, s)
		hoard(t, b, deaf, "long", budget) // what s has published last went to q
		if got := b.Alarms(); got != (core.Alarms{Memory: true}) {
			t.Fatalf("alarms %+v", got)
		}
		if err := s.Admit(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	})
}
