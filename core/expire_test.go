package core_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

// expiring is a message of 1 KiB for the queue q.
func expiring(s *core.Session, after time.Duration) *core.Message {
	return &core.Message{Key: "q", Body: make([]byte, 1<<10), Persistent: true, Expires: s.ExpiresAfter(after)}
}

// A backlog that has left memory goes when the time of its first message is over, as far as that of those behind it is.
func TestBacklogOnDiskExpiresWithoutAConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 5000
		b := engine(t, core.Options{MemoryBudget: 1 << 20, PageAt: 64 << 10})
		s := attach(t, b)
		declare(t, s, true)
		for i := range n {
			after := time.Hour
			if i >= n/2 {
				after = 2 * time.Hour
			}
			publish(t, s, expiring(s, after))
			flush(t, s)
		}
		time.Sleep(10 * time.Second)
		if st := b.Stats(); st.HeldBytes > 1<<18 {
			t.Fatalf("%d bytes are held: the backlog is in memory, and the test tests nothing", st.HeldBytes)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if st := b.Stats(); st.Ready != n/2 || st.Expired != n/2 {
			t.Errorf("after an hour %d are ready and %d expired, want half and half", st.Ready, st.Expired)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if st := b.Stats(); st.Ready != 0 || st.Expired != n || st.HeldBytes > 4<<10 { // give or take
			t.Errorf("after two hours %d are ready, %d expired, %d bytes held", st.Ready, st.Expired, st.HeldBytes)
		}
	})
}

// What is behind more expired messages than one hold of the lock drops is handed out to whoever asks: a consumer, a get.
func TestManyExpiredMessagesAreInNobodysWay(t *testing.T) {
	for _, ask := range []string{"consume", "get"} {
		t.Run(ask, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := memstore.NewDisk()
				const n = 3000
				crashedWith(t, disk, func(s *core.Session) {
					for range n {
						publish(t, s, expiring(s, time.Second))
					}
					publish(t, s, &core.Message{Key: "q", Body: []byte("last"), Persistent: true})
				})
				time.Sleep(time.Minute) // nobody looks: it is all on disk
				b := engineOn(t, memstore.Open(memstore.Options{Disk: disk}), 2)
				s := attach(t, b)
				var got string
				if ask == "get" {
					d, remaining, ok, err := s.Get(t.Context(), "q", true)
					if err != nil || !ok || remaining != 0 {
						t.Fatal(remaining, ok, err)
					}
					got = string(d.Message.Body)
				} else {
					h := &hold{}
					if _, err := s.Consume(t.Context(), core.ConsumerSpec{Queue: "q", Receiver: h}); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					for _, d := range h.take() {
						got += string(d.Message.Body)
					}
				}
				if got != "last" {
					t.Errorf("got %q", got)
				}
				if st := b.Stats(); st.Expired != n {
					t.Errorf("%d expired, want %d", st.Expired, n)
				}
			})
		})
	}
}

// crashedWith runs f on a broker with the durable queue q and ends it without a goodbye, once all has passed.
func crashedWith(t *testing.T, disk *memstore.Disk, f func(s *core.Session)) {
	t.Helper()
	store := memstore.Open(memstore.Options{Disk: disk})
	s := attach(t, engineOn(t, store, 1))
	declare(t, s, true)
	f(s)
	flush(t, s)
	store.Crash()
}

// engineOn opens a broker on a store, for the rest of the test.
func engineOn(t *testing.T, store *memstore.Store, epoch uint32) *core.Broker {
	t.Helper()
	b, err := core.Open(t.Context(), store, core.Options{Epoch: epoch})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		_ = store.Close() // it may have crashed
	})
	return b
}

// The expirer may come late. Whoever asks meanwhile is not told of what is over.
func TestNobodyIsToldOfWhatIsOverBeforeTheExpirerComes(t *testing.T) {
	for ask, f := range map[string]func(s *core.Session) (n int, err error){
		"declare": func(s *core.Session) (int, error) {
			info, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: "q", Passive: true})
			return info.Messages, err
		},
		"purge":  func(s *core.Session) (int, error) { return s.PurgeQueue(t.Context(), "q", false) },
		"delete": func(s *core.Session) (int, error) { return s.DeleteQueue(t.Context(), "q", false, false, false) },
		"get": func(s *core.Session) (int, error) {
			d, remaining, _, err := s.Get(t.Context(), "q", true)
			return remaining + len(d.Message.Body), err
		},
		"consume": func(s *core.Session) (n int, err error) {
			h := &hold{}
			if _, err := s.Consume(t.Context(), core.ConsumerSpec{Queue: "q", Receiver: h}); err != nil {
				return 0, err
			}
			for _, d := range h.take() {
				n += len(d.Message.Body)
			}
			return n, nil
		},
	} {
		t.Run(ask, func(t *testing.T) {
			var ahead atomic.Int64 // no timer follows it
			now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			s := attach(t, engineOn(t, memstore.Open(memstore.Options{Now: now}), 1))
			declare(t, s, true)
			publish(t, s, expiring(s, time.Hour))
			publish(t, s, expiring(s, time.Hour))
			publish(t, s, &core.Message{Key: "q", Body: make([]byte, 1)})
			ahead.Store(int64(time.Hour))
			if n, err := f(s); n != 1 || err != nil {
				t.Errorf("%d messages, %v; want the one that does not expire", n, err)
			}
		})
	}
}

// A retained message whose time is over is cleared, also by a broker that has never seen it.
func TestRetainedMessageIsClearedWhenItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := memstore.NewDisk()
		retain := func(s *core.Session, key string, after time.Duration) {
			m := &core.Message{
				Exchange: core.TopicExchange, Key: key, Body: []byte("kept"), Persistent: true, Retain: true, Expires: s.ExpiresAfter(after),
			}
			if _, err := s.Publish(m, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		crashedWith(t, disk, func(s *core.Session) {
			retain(s, "a", time.Minute)
			retain(s, "b", time.Hour)
		})
		b := engineOn(t, memstore.Open(memstore.Options{Disk: disk}), 2)
		for _, step := range []struct {
			wait time.Duration
			want int
		}{{time.Minute - time.Millisecond, 2}, {time.Millisecond, 1}, {time.Hour, 0}} {
			time.Sleep(step.wait)
			synctest.Wait()
			if n := b.Stats().Retained; n != step.want {
				t.Errorf("%v later %d messages are retained, want %d", step.wait, n, step.want)
			}
		}
		b = engineOn(t, memstore.Open(memstore.Options{Disk: disk}), 3)
		if n := b.Stats().Retained; n != 0 {
			t.Errorf("%d messages are back after a restart", n)
		}
	})
}

// The time is the broker's, which a host whose clock is ahead or behind does not change.
func TestExpiryDoesNotFollowTheHostsClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := memstore.NewDisk()
		crashedWith(t, disk, func(s *core.Session) { publish(t, s, expiring(s, time.Minute)) })
		behind := func() time.Time { return time.Now().Add(-24 * time.Hour) }
		b := engineOn(t, memstore.Open(memstore.Options{Disk: disk, Now: behind}), 2)
		s := attach(t, b)
		time.Sleep(30 * time.Second)
		d, _, ok, err := s.Get(t.Context(), "q", false)
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		if left := s.Left(d.Message); left != 30*time.Second {
			t.Errorf("%v is left on a host that is a day behind, want 30s", left)
		}
		s.Settle([]core.Delivery{d}, core.Requeue)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if st := b.Stats(); st.Ready != 0 || st.Expired != 1 {
			t.Errorf("%d are ready, %d expired", st.Ready, st.Expired)
		}
	})
}

// A message that is to arrive exactly once is handed out when it is on record, and not if its time was over by then.
func TestRecordThatTakesTooLongIsNotHandedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.Open(memstore.Options{Manual: true})
		s := attach(t, engineOn(t, store, 1))
		if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: "q", Durable: true, NoWait: true}); err != nil {
			t.Fatal(err)
		}
		h := &hold{}
		if _, err := s.Consume(t.Context(), core.ConsumerSpec{Queue: "q", Receiver: h}); err != nil {
			t.Fatal(err)
		}
		for i, after := range []time.Duration{time.Second, time.Minute} {
			m := expiring(s, after)
			m.Once, m.Body = true, fmt.Append(nil, i)
			publish(t, s, m)
		}
		time.Sleep(2 * time.Second)
		store.Flush()
		synctest.Wait()
		if got := h.take(); len(got) != 1 || string(got[0].Message.Body) != "1" {
			t.Errorf("handed out: %v", got)
		}
	})
}

// Queues that come and go leave nothing behind that waits for the end of their messages.
func TestDeletedQueueLeavesNoAlarm(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	for range 100 {
		declare(t, s, false)
		publish(t, s, expiring(s, time.Hour))
		if _, err := s.DeleteQueue(t.Context(), "q", false, false, false); err != nil {
			t.Fatal(err)
		}
	}
	retain := func(after time.Duration, body string) {
		m := &core.Message{Exchange: core.TopicExchange, Key: "k", Body: []byte(body), Retain: true, Expires: s.ExpiresAfter(after)}
		if _, err := s.Publish(m, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		retain(time.Hour, "kept")
	}
	retain(time.Hour, "")
	if n := b.AlarmsForTest(); n != 0 {
		t.Errorf("%d alarms are left", n)
	}
}

func BenchmarkPublishDeliverExpiring(b *testing.B) {
	s := attach(b, engine(b, core.Options{}))
	declare(b, s, false)
	if _, err := s.Consume(b.Context(), core.ConsumerSpec{Queue: "q", NoAck: true, Receiver: &discard{}}); err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 12)
	b.ReportAllocs()
	for b.Loop() {
		m := &core.Message{Key: "q", Body: body, Expires: s.ExpiresAfter(time.Minute)}
		if _, err := s.Publish(m, nil, 0); err != nil {
			b.Fatal(err)
		}
	}
}

// The backlog has every message expire at another time, so that each that is got may set another alarm.
func BenchmarkBacklogExpiring(b *testing.B) {
	s := attach(b, engine(b, core.Options{}))
	declare(b, s, false)
	body := make([]byte, 12)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		m := &core.Message{Key: "q", Body: body, Expires: s.ExpiresAfter(time.Hour - time.Duration(n%1000)*time.Second)}
		if _, err := s.Publish(m, nil, 0); err != nil {
			b.Fatal(err)
		}
		if n >= 1000 {
			if _, _, ok, err := s.Get(b.Context(), "q", true); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	}
}

// More dead letters than may be under way, most of them in the store alone: all of a queue that is over goes on, with nobody asking for it.
func TestExpiredMessagesInTheStoreAllGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 5000
		b := engine(t, core.Options{PageAt: 1 << 16})
		s := attach(t, b)
		declareNamed(t, s, true, nil, "dead")
		declareNamed(t, s, true, field.Table{
			{Key: "x-dead-letter-exchange", Value: ""}, {Key: "x-dead-letter-routing-key", Value: "dead"}, {Key: "x-message-ttl", Value: int32(1000)},
		}, "q")
		fill(t, s, messages, true, 0)
		flush(t, s)
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := b.Stats(); st.Ready != messages || st.Expired != messages {
			t.Errorf("%d are ready and %d have expired, want %d", st.Ready, st.Expired, messages)
		}
	})
}
