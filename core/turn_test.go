package core_test

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
)

// queued is a receiver that keeps what it is given, as a front-end does.
type queued struct{ deliveries chan core.Delivery }

func (q *queued) Ready() bool              { return true }
func (q *queued) Deliver(d core.Delivery)  { q.deliveries <- d }
func (q *queued) Cancelled(*core.Consumer) {}

// relay is what the consumers of a queue with a single active consumer have accepted, one after the other.
type relay struct {
	mu   sync.Mutex
	next uint64 // the message that is to be accepted next
	last uint64
	done chan struct{} // closed when all were
}

// accept notes a message and reports whether it was the one whose turn it was.
func (r *relay) accept(n uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n != r.next {
		return false
	}
	if r.next++; n == r.last {
		close(r.done)
	}
	return true
}

// run consumes in many sessions, of which each accepts some messages and ends with others outstanding.
func (r *relay) run(t *testing.T, b *core.Broker, rng *rand.Rand) {
	t.Helper()
	for {
		s := attach(t, b)
		in := &queued{deliveries: make(chan core.Delivery, 64)}
		spec := core.ConsumerSpec{
			Queue: "q", Receiver: in, Window: core.NewWindow(1 + rng.IntN(20)),
			Args: field.Table{{Key: "x-priority", Value: int32(rng.IntN(3))}},
		}
		c, err := s.Consume(t.Context(), spec)
		if err != nil {
			t.Error(err)
			return
		}
		over := r.turn(t, s, in, rng.IntN(30))
		c.Retire()
		close(in.deliveries) // nobody delivers any more
		var outstanding []core.Delivery
		for d := range in.deliveries {
			outstanding = append(outstanding, d)
		}
		s.Close(outstanding...)
		if over {
			return
		}
	}
}

// turn accepts some messages, and reports whether there are none to come.
func (r *relay) turn(t *testing.T, s *core.Session, in *queued, most int) (over bool) {
	t.Helper()
	for range most {
		select {
		case d := <-in.deliveries:
			if n := binary.BigEndian.Uint64(d.Message.Body); !r.accept(n) {
				t.Errorf("message %d came before others were accepted", n)
				return true
			}
			s.Settle([]core.Delivery{d}, core.Accept)
		case <-r.done:
			return true
		}
	}
	return false
}

func TestSingleActiveConsumersAcceptInOneOrderWhoeverEnds(t *testing.T) {
	const messages, workers = 3000, 4
	b := engine(t, core.Options{})
	s := attach(t, b)
	spec := core.QueueSpec{Name: "q", Durable: true, Args: field.Table{{Key: "x-single-active-consumer", Value: true}}}
	if _, err := s.DeclareQueue(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	r := &relay{last: messages - 1, done: make(chan struct{})}
	var all sync.WaitGroup
	for i := range uint64(workers) {
		all.Go(func() { r.run(t, b, rand.New(rand.NewPCG(i, 1))) })
	}
	for i := range uint64(messages) {
		publish(t, s, &core.Message{Key: "q", Body: binary.BigEndian.AppendUint64(nil, i), Persistent: i%2 == 0})
	}
	all.Wait()
	if st := b.Stats(); st.Ready != 0 || st.Unsettled != 0 || st.Consumers != 0 {
		t.Errorf("at the end %d messages wait, %d are out and %d consumers are there", st.Ready, st.Unsettled, st.Consumers)
	}
}
