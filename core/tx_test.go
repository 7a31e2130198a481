package core_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

// books are a broker with the durable queues a and b, and t, a transient one, bound to amq.fanout all, on a store that passes records when it is told to.
type books struct {
	t       *testing.T
	store   *memstore.Store
	broker  *core.Broker
	session *core.Session
}

func openBooks(t *testing.T, disk *memstore.Disk) *books {
	t.Helper()
	store := memstore.Open(memstore.Options{Disk: disk, Manual: true})
	b, err := core.Open(t.Context(), store, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &books{t, store, b, attach(t, b)}
}

// settled runs f, which may wait for the store, to its end.
func (l *books) settled(f func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	for {
		synctest.Wait()
		select {
		case <-done:
			return
		default:
			l.store.Flush()
		}
	}
}

// fill declares the queues and publishes messages 1 to n to each of the durable ones.
func (l *books) fill(n int) {
	l.t.Helper()
	l.settled(func() {
		for _, q := range []string{"a", "b", "t"} {
			_, err := l.session.DeclareQueue(l.t.Context(), core.QueueSpec{Name: q, Durable: q != "t"})
			if err == nil {
				err = l.session.Bind(l.t.Context(), core.BindingSpec{Source: "amq.fanout", Dest: q})
			}
			if err != nil {
				l.t.Error(err)
			}
			for i := range n {
				if q != "t" {
					publish(l.t, l.session, &core.Message{Key: q, Body: fmt.Append(nil, i+1), Persistent: true})
				}
			}
		}
	})
	l.store.Flush()
}

// get takes n messages of a queue.
func (l *books) get(queue string, n int) (ds []core.Delivery) {
	l.t.Helper()
	for range n {
		d, _, ok, err := l.session.Get(l.t.Context(), queue, false)
		if err != nil || !ok {
			l.t.Fatalf("get from %s: %v %v", queue, ok, err)
		}
		ds = append(ds, d)
	}
	return ds
}

// holds says what waits in the queues.
func (l *books) holds() string {
	l.t.Helper()
	var all []string
	for _, q := range []string{"a", "b", "t"} {
		var bodies []string
		for {
			d, _, ok, err := l.session.Get(l.t.Context(), q, true)
			if core.KindOf(err) == core.NotFound && err != nil || err == nil && !ok {
				break
			}
			if err != nil {
				l.t.Fatal(err)
			}
			bodies = append(bodies, string(d.Message.Body))
		}
		all = append(all, q+":"+strings.Join(bodies, ","))
	}
	return strings.Join(all, " ")
}

// transact does a bit of everything: message x for all queues and y for b; of a 1 is accepted, 2 dropped and 3 put back, of b 1 accepted.
func (l *books) transact(unrouted func(int)) *core.Transaction {
	l.t.Helper()
	a, b := l.get("a", 3), l.get("b", 1)
	return &core.Transaction{
		Messages: []*core.Message{
			{Exchange: "amq.fanout", Body: []byte("x"), Persistent: true},
			{Key: "b", Body: []byte("y"), Persistent: true},
			{Key: "nowhere", Body: []byte("z"), Persistent: true},
			{Key: "t", Body: []byte("v")},
		},
		Settlements: []core.Settlement{
			{Outcome: core.Accept, Deliveries: []core.Delivery{a[0], b[0]}},
			{Outcome: core.Requeue, Deliveries: a[2:3]},
			{Outcome: core.Reject, Deliveries: a[1:2]},
		},
		Unrouted: unrouted,
	}
}

// TestTransact_AllOrNothing: whenever the broker dies, either all of a transaction has happened or nothing of it, and all of it has once
// it was answered.
func TestTransact_AllOrNothing(t *testing.T) {
	const before, after = "a:1,2,3 b:1,2 t:", "a:3,x b:2,x,y t:"
	seen := map[string]int{}
	for passed := 0; ; passed++ {
		answered := false
		synctest.Test(t, func(t *testing.T) {
			disk := memstore.NewDisk()
			l := openBooks(t, disk)
			l.fill(3)
			l.settled(func() {
				if _, err := l.session.PurgeQueue(t.Context(), "b", false); err != nil {
					t.Error(err)
				}
				for i := range 2 {
					publish(t, l.session, &core.Message{Key: "b", Body: fmt.Append(nil, i+1), Persistent: true})
				}
			})
			l.store.Flush()
			tx := l.transact(func(i int) {
				if i != 2 {
					t.Errorf("message %d reached nobody", i)
				}
			})
			done := make(chan error, 1)
			go func() { done <- l.session.Transact(t.Context(), tx) }()
			synctest.Wait()
			for range passed {
				l.store.FlushOne()
			}
			synctest.Wait()
			select {
			case err := <-done:
				answered = err == nil
			default:
			}
			l.store.Crash()
			l.broker.Close()

			l = openBooks(t, disk)
			got := l.holds()
			seen[got]++
			if got != before && got != after || answered && got != after {
				t.Errorf("after %d records, answered: %v, the queues hold %s", passed, answered, got)
			}
			l.broker.Close()
			if err := l.store.Close(); err != nil {
				t.Error(err)
			}
		})
		if answered {
			break
		}
	}
	if seen[before] == 0 || seen[after] == 0 {
		t.Errorf("seen: %v", seen)
	}
}

// TestTransact_IsSeenAtOnce: a consumer gets none of the messages before all have their places and the record is with the store.
func TestTransact_IsSeenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openBooks(t, memstore.NewDisk())
		l.fill(3)
		var got []string
		l.settled(func() {
			for _, q := range []string{"a", "b", "t"} {
				if _, err := l.session.PurgeQueue(t.Context(), q, false); err != nil {
					t.Error(err)
				}
				_, err := attach(t, l.broker).Consume(t.Context(), core.ConsumerSpec{Queue: q, NoAck: true, Receiver: receiverFunc(func(d core.Delivery) {
					// The record of its end waits already, behind the transaction's.
					got = append(got, fmt.Sprint(d.Queue(), string(d.Message.Body), " ", l.store.Waiting()))
				})})
				if err != nil {
					t.Error(err)
				}
			}
		})
		l.store.Flush()
		go func() {
			_ = l.session.Transact(t.Context(), &core.Transaction{Messages: []*core.Message{
				{Key: "t", Body: []byte("1")},
				{Exchange: "amq.fanout", Body: []byte("2"), Persistent: true},
			}})
		}()
		synctest.Wait()
		if want := []string{"t1 1", "a2 2", "b2 3", "t2 3"}; !slices.Equal(got, want) {
			t.Errorf("delivered, with as many records waiting: %q, want %q", got, want)
		}
		l.store.Flush()
		l.broker.Close()
		_ = l.store.Close()
	})
}

// receiverFunc takes all that is delivered.
type receiverFunc func(core.Delivery)

func (receiverFunc) Ready() bool               { return true }
func (f receiverFunc) Deliver(d core.Delivery) { f(d) }
func (receiverFunc) Cancelled(*core.Consumer)  {}
