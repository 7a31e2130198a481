package core_test

import (
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

// TestNoCrashLosesOrDoublesDeadLetters rejects messages, lets a number of commits pass, and crashes: for each number, every message is either
// where it was or where dead letters go.
func TestNoCrashLosesOrDoublesDeadLetters(t *testing.T) {
	const messages = 4
	moved := 0
	for passed := 0; moved < messages; passed++ {
		synctest.Test(t, func(t *testing.T) {
			disk := memstore.NewDisk()
			store := memstore.Open(memstore.Options{Disk: disk, Manual: true})
			b, err := core.Open(t.Context(), store, core.Options{Epoch: 1})
			if err != nil {
				t.Fatal(err)
			}
			s := attach(t, b)
			for name, args := range map[string]field.Table{
				"q": {{Key: "x-dead-letter-exchange", Value: ""}, {Key: "x-dead-letter-routing-key", Value: "dead"}}, "dead": nil,
			} {
				if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: name, Durable: true, NoWait: true, Args: args}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range messages {
				publish(t, s, &core.Message{Key: "q", Body: fmt.Append(nil, i), Persistent: true})
			}
			store.Flush()
			for range messages {
				d, _, ok, err := s.Get(t.Context(), "q", false)
				if !ok || err != nil {
					t.Fatal(ok, err)
				}
				d.Unload()
				s.Settle([]core.Delivery{d}, core.Reject)
				synctest.Wait() // each is a unit of its own
			}
			for range passed {
				store.FlushOne()
			}
			store.Crash()
			b.Close()
			store = memstore.Open(memstore.Options{Disk: disk})
			if b, err = core.Open(t.Context(), store, core.Options{Epoch: 2}); err != nil {
				t.Fatal(err)
			}
			s = attach(t, b)
			seen := map[string]int{}
			for _, queue := range []string{"dead", "q"} {
				n := 0
				for {
					d, _, ok, err := s.Get(t.Context(), queue, true)
					if err != nil {
						t.Fatal(err)
					}
					if !ok {
						break
					}
					n++
					seen[string(d.Message.Body)]++
				}
				if queue == "dead" {
					moved = n
				}
			}
			if moved > passed {
				t.Errorf("%d messages are dead letters after %d commits", moved, passed)
			}
			for i := range messages {
				if n := seen[fmt.Sprint(i)]; n != 1 {
					t.Errorf("after %d commits message %d is there %d times", passed, i, n)
				}
			}
			b.Close()
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestManyDeadLetters: a long queue of durable messages expires into another one: none is lost, they keep their order, and what is under way
// is bounded.
func TestManyDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{PageAt: 1 << 16})
		s := attach(t, b)
		for name, args := range map[string]field.Table{
			"q": {{Key: "x-dead-letter-exchange", Value: ""}, {Key: "x-dead-letter-routing-key", Value: "dead"}, {Key: "x-message-ttl", Value: int32(1000)}}, "dead": nil,
		} {
			if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: name, Durable: true, Args: args}); err != nil {
				t.Fatal(err)
			}
		}
		const messages = 10_000
		for i := range messages {
			publish(t, s, &core.Message{Key: "q", Body: fmt.Append(nil, i), Persistent: true})
		}
		flush(t, s)
		for n := 0; n < messages; {
			d, _, ok, err := s.Get(t.Context(), "dead", true)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				time.Sleep(time.Millisecond) // of the bubble
				continue
			}
			if string(d.Message.Body) != fmt.Sprint(n) {
				t.Fatalf("got %s, want %d", d.Message.Body, n)
			}
			n++
		}
		if st := b.Stats(); st.Ready != 0 || st.Expired != messages || st.HeldBytes > 1<<16 {
			t.Errorf("%+v", st)
		}
	})
}

// behindStore says that more waits to be written than may, and gives up when it is asked for the time again and again meanwhile.
type behindStore struct {
	*gatedStore

	behind atomic.Bool
	asked  atomic.Int64
}

func (s *behindStore) Pending() int64 {
	if s.behind.Load() {
		return math.MaxInt64
	}
	return s.gatedStore.Pending()
}

func (s *behindStore) Now() time.Time {
	if s.behind.Load() && s.asked.Add(1) > 100_000 {
		panic("somebody looks at the time all the while")
	}
	return s.gatedStore.Now()
}

// Whoever asks for a message that lies behind more dead letters than may be under way waits until some have gone on, and gets it: they do
// not take the processor meanwhile.
func TestMessageBehindManyDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &behindStore{gatedStore: &gatedStore{Store: memstore.Open(memstore.Options{})}}
		b, err := core.Open(t.Context(), store, core.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s, mover := attach(t, b), attach(t, b)
		declareNamed(t, s, true, field.Table{{Key: "x-dead-letter-exchange", Value: "amq.fanout"}}, "got", "moved")
		for _, queue := range []string{"got", "moved"} {
			for range 3000 {
				publish(t, s, &core.Message{Key: queue, Persistent: true, Expires: store.Now().Add(time.Second).UnixMilli()})
			}
			publish(t, s, &core.Message{Key: queue, Persistent: true, Body: []byte("last")})
		}
		flush(t, s)
		release := store.hold()
		store.behind.Store(true) // the dead-letterer waits from here on
		time.Sleep(2 * time.Second)
		got, moved := make(chan string, 1), make(chan int, 1)
		go func() {
			d, _, ok, err := s.Get(t.Context(), "got", false)
			if err != nil || !ok {
				got <- fmt.Sprint("nothing: ", err)
				return
			}
			got <- string(d.Message.Body)
		}()
		go func() {
			m, err := mover.Move(t.Context(), core.MoveSpec{Queue: "moved", DryRun: true})
			if err != nil {
				t.Error(err)
			}
			moved <- m.Moved
		}()
		synctest.Wait()
		if len(got)+len(moved) > 0 {
			t.Error("somebody was answered before any dead letter had gone on")
		}
		store.behind.Store(false)
		release()
		if body := <-got; body != "last" {
			t.Errorf("got %s, want the last message", body)
		}
		if n := <-moved; n != 1 {
			t.Errorf("%d messages would move, want 1", n)
		}
		b.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
}
