package core_test

import (
	"runtime"
	"testing"
	"weak"

	"github.com/batonmq/baton/core"
)

// A subscriber that waits for its client, and a queue without consumers, must not keep the connections that have gone: there may be
// a hundred thousand of them.
func TestQueueKeepsNothingOfAConsumerThatHasGone(t *testing.T) {
	b := engine(t, core.Options{})
	declare(t, attach(t, b), true)
	linked := func() weak.Pointer[core.Session] {
		c := linkClient(t, b, "c", core.SubscriberSpec{Expiry: core.Forever})
		c.session.Close()
		return weak.Make(c.session)
	}()
	consumed := func() weak.Pointer[core.Session] {
		s := attach(t, b)
		if _, err := s.Consume(t.Context(), core.ConsumerSpec{Queue: "q", Receiver: &hold{}}); err != nil {
			t.Fatal(err)
		}
		s.Close()
		return weak.Make(s)
	}()
	runtime.GC()
	if linked.Value() != nil {
		t.Error("the subscriber keeps the session of its last link")
	}
	if consumed.Value() != nil {
		t.Error("the queue keeps the session of its last consumer")
	}
}
