package core_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

// prioritised declares a durable queue with priorities up to most.
func prioritised(tb testing.TB, s *core.Session, name string, most int32) {
	tb.Helper()
	spec := core.QueueSpec{Name: name, Durable: true, Args: field.Table{{Key: "x-max-priority", Value: most}}}
	if _, err := s.DeclareQueue(tb.Context(), spec); err != nil {
		tb.Fatal(err)
	}
}

func TestExpiredMessageInTheStoreGoesFromBehindHigherPriority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{PageAt: 1 << 10})
		s := attach(t, b)
		prioritised(t, s, "q", 9)
		for range 10 {
			publish(t, s, &core.Message{Key: "q", Body: make([]byte, 4<<10), Persistent: true, Priority: 9})
			publish(t, s, &core.Message{Key: "q", Body: make([]byte, 4<<10), Persistent: true, Priority: 3, Expires: s.ExpiresAfter(5 * time.Second)})
			publish(t, s, &core.Message{Key: "q", Body: make([]byte, 4<<10), Persistent: true, Expires: s.ExpiresAfter(6 * time.Second)})
		}
		time.Sleep(3 * time.Second)
		if st := b.Stats(); st.HeldBytes > 4<<10 || st.Ready != 30 {
			t.Fatalf("before: %d bytes are held for %d messages", st.HeldBytes, st.Ready)
		}
		time.Sleep(4 * time.Second)
		if st := b.Stats(); st.Expired != 20 || st.Ready != 10 || st.ReadyBytes != 10*4<<10 {
			t.Errorf("%d expired, %d are left with %d bytes", st.Expired, st.Ready, st.ReadyBytes)
		}
	})
}

// lanesOnRecord counts the lanes that a disk knows.
func lanesOnRecord(t *testing.T, disk *memstore.Disk) (n int) {
	t.Helper()
	for d, err := range memstore.Open(memstore.Options{Disk: disk}).Recover(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Key[0] == 'l' {
			n++
		}
	}
	return n
}

func TestLanesAreOnRecordFromTheirFirstDurableMessageToTheEndOfTheirQueue(t *testing.T) {
	for name, end := range map[string]func(ctx context.Context, s *core.Session, b *core.Broker) error{
		"queue": func(ctx context.Context, s *core.Session, _ *core.Broker) error {
			_, err := s.DeleteQueue(ctx, "q", false, false, false)
			return err
		},
		"vhost": func(ctx context.Context, _ *core.Session, b *core.Broker) error {
			_, err := b.Access().DeleteVHost(ctx, "/")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			disk := memstore.NewDisk()
			run := func(epoch uint32, f func(s *core.Session, b *core.Broker)) {
				store := memstore.Open(memstore.Options{Disk: disk})
				b, err := core.Open(t.Context(), store, core.Options{Epoch: epoch})
				if err != nil {
					t.Fatal(err)
				}
				f(attach(t, b), b)
				b.Close()
				if err := store.Close(); err != nil {
					t.Fatal(err)
				}
			}
			run(1, func(s *core.Session, _ *core.Broker) {
				prioritised(t, s, "q", 9)
				for _, m := range []*core.Message{{Priority: 1}, {Priority: 2, Persistent: true}, {Priority: 200, Persistent: true}, {Priority: 2, Persistent: true}, {Persistent: true}} {
					m.Key = "q"
					publish(t, s, m)
				}
			})
			if n := lanesOnRecord(t, disk); n != 2 {
				t.Errorf("%d lanes are on record, want those of priorities 2 and 9", n)
			}
			run(2, func(s *core.Session, b *core.Broker) {
				if err := end(t.Context(), s, b); err != nil {
					t.Fatal(err)
				}
			})
			if n := lanesOnRecord(t, disk); n != 0 {
				t.Errorf("%d lanes are left on record", n)
			}
		})
	}
}

func BenchmarkPublishDeliverPriorities(b *testing.B) {
	for name, most := range map[string]int32{"10": 10, "255": 255} {
		b.Run(name, func(b *testing.B) {
			s := attach(b, engine(b, core.Options{}))
			prioritised(b, s, "q", most)
			if _, err := s.Consume(b.Context(), core.ConsumerSpec{Queue: "q", NoAck: true, Receiver: &discard{}}); err != nil {
				b.Fatal(err)
			}
			body := make([]byte, 12)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if _, err := s.Publish(&core.Message{Key: "q", Body: body, Priority: uint8(n % int(most+1))}, nil, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
