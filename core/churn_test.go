package core_test

import (
	"testing"

	"github.com/batonmq/baton/core"
)

// TestStats_Queues: declarations are counted, those of what is there already too but not those that only look, and queues that come and go, sessions' included.
func TestStats_Queues(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	for _, spec := range []core.QueueSpec{{Name: "q", Durable: true}, {Name: "q", Durable: true}, {Name: "q", Passive: true}, {Name: "x", Exclusive: true}} {
		if _, err := s.DeclareQueue(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: "missing", Passive: true}); err == nil {
		t.Fatal("a queue that is not there was declared passively")
	}
	linkClient(t, b, "c", core.SubscriberSpec{Expiry: core.Forever})
	s.Close()
	if st := b.Stats(); st.QueuesDeclared != 3 || st.QueuesCreated != 3 || st.QueuesDeleted != 1 {
		t.Errorf("%d declared, %d created, %d deleted; want 3, 3 and 1", st.QueuesDeclared, st.QueuesCreated, st.QueuesDeleted)
	}
}
