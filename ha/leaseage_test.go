package ha_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/ha/hatest"
)

// TestLeaseAge: it stays small on both sides while the primary renews, and grows on a standby from the moment on in which it stops.
func TestLeaseAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		a, freeze := frozenBroker(disk)
		a.start(t, ha.Options{Node: "a", Standby: true}, nil)
		tenure := a.serves(t)
		standby := make(chan *ha.Standby, 1)
		b := newBroker(disk).start(t, ha.Options{Node: "b", Standby: true, Preflight: func(context.Context) error {
			return context.DeadlineExceeded // it watches only
		}}, func(ctx context.Context, s *ha.Standby) error {
			standby <- s
			<-ctx.Done()
			return nil
		})
		s := <-standby
		for range 100 {
			time.Sleep(ttl / 10)
			if age := tenure.LeaseAge(); age > ttl/4 {
				t.Fatalf("the primary renewed its lease %v ago", age)
			}
			if age, ok := s.LeaseAge(); !ok || age > ttl/4 {
				t.Fatalf("the standby saw the lease change %v ago, %v", age, ok)
			}
		}
		thaw := freeze.freeze()
		time.Sleep(ttl / 2)
		if age, ok := s.LeaseAge(); !ok || age < ttl/4 || age > ttl {
			t.Errorf("half a ttl after the primary froze its lease is %v old, %v", age, ok)
		}
		thaw()
		a.cancel()
		b.cancel()
		t.Log(<-a.done, <-b.done)
	})
}
