package core_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/core"
)

// deliveries is a receiver that always has room.
type deliveries chan core.Delivery

func (deliveries) Ready() bool               { return true }
func (d deliveries) Deliver(x core.Delivery) { d <- x }
func (deliveries) Cancelled(*core.Consumer)  {}

// While the broker is in doubt whether it serves still, a consumer that acknowledges goes on, and one that does not waits.
func TestDoubt_StopsWhatNobodyAcknowledges(t *testing.T) {
	for _, noAck := range []bool{true, false} {
		b := engine(t, core.Options{})
		s := attach(t, b)
		declare(t, s, true)
		got := make(deliveries, 4)
		if _, err := s.Consume(t.Context(), core.ConsumerSpec{Queue: "q", NoAck: noAck, Receiver: got}); err != nil {
			t.Fatal(err)
		}
		publish(t, s, &core.Message{Key: "q"})
		b.Doubt(true)
		b.Doubt(true)
		publish(t, s, &core.Message{Key: "q"})
		want := map[bool]int{true: 1, false: 2}[noAck]
		if len(got) != want {
			t.Errorf("in doubt, %d messages went out, want %d (no ack %t)", len(got), want, noAck)
		}
		b.Doubt(false)
		if len(got) != 2 {
			t.Errorf("after the doubt, %d messages went out, want 2 (no ack %t)", len(got), noAck)
		}
	}
}

func TestDoubt_AGetThatNobodyAcknowledgesWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{})
		s := attach(t, b)
		declare(t, s, true)
		publish(t, s, &core.Message{Key: "q"})
		b.Doubt(true)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, ok, err := s.Get(ctx, "q", true); ok || !errors.Is(err, context.Canceled) {
			t.Errorf("a get in doubt: %t, %v", ok, err)
		}
		got := make(chan bool, 1)
		go func() {
			_, _, ok, err := s.Get(t.Context(), "q", true)
			got <- ok && err == nil
		}()
		synctest.Wait()
		if len(got) != 0 {
			t.Fatal("the get did not wait")
		}
		b.Doubt(false)
		if !<-got {
			t.Error("after the doubt, the get got nothing")
		}
	})
}
