package core_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

// forgetful is a store that passes everything at once and keeps nothing: what is measured beside it is the engine's.
type forgetful struct{ core.Store }

func (forgetful) Commit(ops []core.Op) {
	for i := range ops {
		if ops[i].Done != nil {
			ops[i].Done.Complete(ops[i].Tag, nil)
		}
	}
}

// heap is what is allocated and reachable.
func heap() int64 {
	for range 2 { // what is freed with the first may have been held by finalizers
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// idleQueueCost is the most that a durable queue may take that nothing is bound to and nobody uses.
const idleQueueCost = 2 << 10

func TestIdleQueueIsSmallAndGivesItsMemoryBack(t *testing.T) {
	n := 50_000
	if testing.Short() {
		n = 5000
	}
	b, err := core.Open(t.Context(), forgetful{memstore.Open(memstore.Options{})}, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	s := attach(t, b)
	before := heap()
	for i := range n {
		if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: fmt.Sprintf("queue-%06d", i), Durable: true}); err != nil {
			t.Fatal(err)
		}
	}
	declared := heap() - before
	t.Logf("%d bytes for each of %d queues", declared/int64(n), n)
	if declared > int64(n)*idleQueueCost {
		t.Errorf("an idle queue takes %d bytes, at most %d are to be", declared/int64(n), idleQueueCost)
	}
	for i := range n {
		name := fmt.Sprintf("queue-%06d", i)
		publish(t, s, &core.Message{Key: name, Body: make([]byte, 100), Persistent: true})
		if _, _, ok, err := s.Get(t.Context(), name, true); err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	used := heap() - before
	t.Logf("%d bytes for each that was used", used/int64(n))
	if used > int64(n)*idleQueueCost {
		t.Errorf("an idle queue that was used takes %d bytes, at most %d are to be", used/int64(n), idleQueueCost)
	}
	for i := range n {
		if _, err := s.DeleteQueue(t.Context(), fmt.Sprintf("queue-%06d", i), false, false, false); err != nil {
			t.Fatal(err)
		}
	}
	b.Look(time.Now(), core.Look{}) // as whoever runs a broker does
	if left := heap() - before; left > int64(n)*16 {
		t.Errorf("%d bytes are left of %d deleted queues", left, n)
	}
	runtime.KeepAlive(b)
}
