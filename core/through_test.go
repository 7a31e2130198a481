package core_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/batonmq/baton/core"
)

// taker copies what it is handed, and takes no more than its room.
type taker struct {
	session *core.Session
	room    int
	got     []string
}

func (k *taker) Ready() bool { return k.room > 0 }

func (k *taker) Deliver(d core.Delivery) {
	k.room--
	k.got = append(k.got, fmt.Sprintf("%d %q %q %q %v", d.Seq, d.Message.Key, d.Message.Props, d.Message.Body, d.Redelivered))
}

func (*taker) Cancelled(*core.Consumer) {}

func (k *taker) makeRoom(n int) {
	k.room = n
	k.session.Resume()
}

// TestWhatGoesThroughIsAsWhatRests publishes the same, with the same pauses of the consumer, lent and as its own. The lent
// messages are overwritten as soon as they are published: nothing of them is kept, but what the consumer has copied.
func TestWhatGoesThroughIsAsWhatRests(t *testing.T) {
	for _, durable := range []bool{false, true} {
		for seed := range uint64(20) {
			var got [2][]string
			var counts [2]core.QueueStats
			for i, lend := range []bool{false, true} {
				b := engine(t, core.Options{})
				s := attach(t, b)
				declare(t, s, durable)
				k := &taker{session: s}
				spec := core.ConsumerSpec{Queue: "q", NoAck: true, Receiver: k, Copies: 64}
				if _, err := s.Consume(t.Context(), spec); err != nil {
					t.Fatal(err)
				}
				publishLent(t, s, k, lend, rand.New(rand.NewPCG(seed, 0)))
				k.makeRoom(1000)
				info, _ := b.Queue("/", "q").Info()
				got[i], counts[i] = k.got, info.QueueStats
			}
			if fmt.Sprint(got[0]) != fmt.Sprint(got[1]) {
				t.Fatalf("durable %v, seed %d: as its own\n%q, lent\n%q", durable, seed, got[0], got[1])
			}
			if counts[0] != counts[1] {
				t.Fatalf("durable %v, seed %d: as its own %+v, lent %+v", durable, seed, counts[0], counts[1])
			}
		}
	}
}

func publishLent(t *testing.T, s *core.Session, k *taker, lend bool, rng *rand.Rand) {
	t.Helper()
	lent := new(core.Message)
	for i := range 300 {
		if rng.IntN(10) == 0 {
			k.makeRoom(rng.IntN(40))
		}
		m := new(core.Message)
		if lend {
			m = lent
		}
		props, body := fmt.Appendf(nil, "props %d", i), bytes.Repeat([]byte{byte('a' + i%26)}, rng.IntN(100))
		span := bytes.Join([][]byte{props, body}, []byte("framing"))
		m.Key, m.Persistent = "q", rng.IntN(2) == 0
		m.Props, m.Body = span[:len(props):len(props)], span[len(span)-len(body):]
		var err error
		var routed int
		if lend {
			routed, err = s.PublishLent(m, span, nil, 0)
			clear(span)
			m.Key, m.Props, m.Body = "", nil, nil
		} else {
			routed, err = s.Publish(m, nil, 0)
		}
		if err != nil || routed != 1 {
			t.Fatalf("publish %d: %d, %v", i, routed, err)
		}
	}
}

// BenchmarkPublishLent is BenchmarkPublishDeliverTransient for a message that goes through.
func BenchmarkPublishLent(b *testing.B) {
	s := attach(b, engine(b, core.Options{}))
	declare(b, s, false)
	if _, err := s.Consume(b.Context(), core.ConsumerSpec{Queue: "q", NoAck: true, Receiver: &discard{}, Copies: 64}); err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 12)
	m := &core.Message{Key: "q", Body: body}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.PublishLent(m, body, nil, 0); err != nil {
			b.Fatal(err)
		}
	}
}
