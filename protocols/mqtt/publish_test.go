package mqtt_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// everyProperty has all that a PUBLISH may carry through, out of order and with
// a user property that repeats.
var everyProperty = user("a", "1") + long(wire.MessageExpiry, 60) + octet(wire.PayloadFormat, 1) +
	str(wire.ContentType, "text/plain") + user("b", "2") + str(wire.ResponseTopic, "r/t.x") +
	str(wire.CorrelationData, "\xff\x00") + user("a", "3")

// TestPropertiesAreCarriedThrough_MQTT_3_3_2_17 sends every property, at every
// QoS, to a receiver of the same version and one of an older.
func TestPropertiesAreCarriedThrough_MQTT_3_3_2_17(t *testing.T) { // [MQTT-3.3.2-17]
	inBubble(t, nil, func(b *bed) {
		s, old := b.connect(wire.V5, "s"), b.connect(wire.V311, "o")
		s.subscribe(1, 2, "t")
		old.subscribe(1, 2, "t")
		p := b.connect(wire.V5, "p")
		for qos, id := range []string{"", " q1 #1", " q2 #2"} {
			p.publish("t", "payload", byte(qos), uint16(qos), everyProperty)
			if qos > 0 {
				p.next()
			}
			got := s.next()
			for _, part := range []string{
				"PUBLISH t" + id, ` 1=1`, ` 2=60`, ` 3="text/plain"`, ` 8="r/t.x"`, ` 9="\xff\x00"`, ` "payload"`,
			} {
				if !strings.Contains(got, part) {
					t.Errorf("QoS %d: %s has no %s", qos, got, part)
				}
			}
			if a, rest, _ := strings.Cut(got, " a:1"); a == got || strings.Index(rest, " b:2") > strings.Index(rest, " a:3") ||
				!strings.Contains(rest, " b:2") {
				t.Errorf("QoS %d: user properties out of order: %s", qos, got)
			}
			old.expect("PUBLISH t" + id + ` "payload"`)
		}
	})
}

// TestSharedSectionsAreTheirOwn fans messages with properties out to many, so
// that their sections are shared.
func TestSharedSectionsAreTheirOwn(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		var subscribers []*peer
		for i := range 5 {
			s := b.connect(wire.V5, fmt.Sprint("s", i))
			s.subscribe(1, byte(i%3), "#")
			subscribers = append(subscribers, s)
		}
		p := b.connect(wire.V5, "p")
		for i := range 20 {
			p.publish("t", "m", 0, 0, user("n", fmt.Sprint(i)))
			for _, s := range subscribers {
				s.expect(fmt.Sprintf(`PUBLISH t n:%d "m"`, i))
			}
		}
	})
}

// TestBodies takes bodies of many sizes through, whole and in pieces, at each
// QoS: in the read buffer, beside it, by reference, and by pieces.
func TestBodies(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s")
		s.subscribe(1, 2, "t")
		p := b.connect(wire.V311, "p")
		rnd := rand.New(rand.NewPCG(1, 2))
		for i, size := range []int{0, 1, 127, 128, 8191, 8192, 32<<10 - 7, 32 << 10, 64 << 10, 64<<10 + 1, 200_000, 1 << 20, 3<<20 + 5} {
			body := make([]byte, size)
			for j := range body {
				body[j] = byte(rnd.Uint32())
			}
			qos := byte(i % 3)
			b.t.Logf("%d bytes with QoS %d", size, qos)
			go func() {
				for rest := publishPacket(wire.V311, qos<<1, "t", string(body), uint16(i+1)); len(rest) > 0; {
					n := min(1+rnd.IntN(1+len(rest)), len(rest))
					if _, err := p.nc.Write(rest[:n]); err != nil {
						return
					}
					rest = rest[n:]
				}
			}()
			if qos > 0 {
				p.next()
			}
			f, err := s.frame()
			if err != nil {
				t.Fatal(err)
			}
			m, err := wire.ParsePublish(f, wire.V5)
			if err != nil || string(m.Payload) != string(body) || m.QoS != qos {
				t.Fatalf("%d bytes with QoS %d arrive as %d with %d: %v", size, qos, len(m.Payload), m.QoS, err)
			}
			if qos > 0 {
				s.ack(wire.PUBACK, m.PacketID)
			}
		}
	})
}

// TestAnswersToPublish has the reason codes of MQTT 5 that older versions do
// not see.
func TestAnswersToPublish(t *testing.T) {
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		t.Run(v.String(), func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				unmatched, notFound := "", ""
				if v == wire.V5 {
					unmatched, notFound = " 0x10", " 0x92"
				}
				p := b.connect(v, "p")
				p.publish("nobody", "1", 1, 1)
				p.publish("nobody", "2", 2, 2)
				p.expect("PUBACK #1"+unmatched, "PUBREC #2"+unmatched)
				p.ack(wire.PUBREL, 2)
				p.expect("PUBCOMP #2")
				p.ack(wire.PUBREL, 2) // section 3.7.2.1
				p.expect("PUBCOMP #2" + notFound)
				p.ack(wire.PUBREC, 9) // section 3.6.2.1
				p.expect("PUBREL #9" + notFound)
				p.ack(wire.PUBACK, 9) // nothing to say
				p.ack(wire.PUBCOMP, 9)
				p.silence(time.Second)
				if s := b.server.Stats(); s.UnroutableDropped != 1 || s.Received != [3]uint64{0, 1, 1} || s.Publishers != 1 || s.Confirmed != 2 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// TestAnswersAreInOrder_MQTT_4_6_0_2 sends a burst in one piece: answers come
// in the order of what they answer.
func TestAnswersAreInOrder_MQTT_4_6_0_2(t *testing.T) { // [MQTT-4.6.0-2] [MQTT-4.6.0-3]
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s", durable)
		s.subscribe(1, 2, "yes")
		s.disconnect()
		p := b.connect(wire.V5, "p")
		var burst []byte
		var want []string
		for id := uint16(1); id <= 200; id++ {
			topic, reason := "yes", ""
			if id%3 == 0 {
				topic, reason = "no", " 0x10"
			}
			burst = append(burst, publishPacket(wire.V5, 2, topic, "m", id)...)
			want = append(want, fmt.Sprintf("PUBACK #%d%s", id, reason))
		}
		p.write(burst)
		p.expect(want...)
	})
}

func TestReceiveMaximumOfTheServer_MQTT_3_3_4_7(t *testing.T) { // [MQTT-3.3.4-7]
	change := func(s *setup) { s.server.ReceiveMaximum, s.store.Manual = 2, true }
	for _, tt := range []struct {
		name string
		qos  [3]byte
	}{{"QoS 1", [3]byte{1, 1, 1}}, {"QoS 2", [3]byte{2, 2, 2}}, {"both", [3]byte{2, 1, 1}}} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, change, func(b *bed) {
				p := b.dial(wire.V5)
				p.write(connect(wire.V5, "p"))
				synctest.Wait()
				b.store.Flush()
				p.next()
				for i, qos := range tt.qos {
					p.publish("t", "m", qos, uint16(i+1))
				}
				p.dropped(wire.ReceiveMaximumExceeded)
			})
		})
	}
	t.Run("3.1.1 was told of none", func(t *testing.T) {
		inBubble(t, change, func(b *bed) {
			p := b.dial(wire.V311)
			p.write(connect(wire.V311, "p"))
			synctest.Wait()
			b.store.Flush()
			p.next()
			for id := range uint16(20) {
				p.publish("t", "m", 1, id+1)
			}
			synctest.Wait()
			b.store.Flush()
			for id := range uint16(20) {
				p.expect(fmt.Sprintf("PUBACK #%d", id+1))
			}
		})
	})
	t.Run("the same message again does not count", func(t *testing.T) {
		inBubble(t, func(s *setup) { s.server.ReceiveMaximum = 2 }, func(b *bed) {
			p := b.connect(wire.V5, "p")
			for range 5 {
				p.publishFlags(0xC, "t", "m", 1)
				p.next()
			}
			p.publish("t", "m", 1, 2)
			p.expect("PUBACK #2 0x10")
		})
	})
}

func TestTopicAlias(t *testing.T) {
	alias := func(n uint16) string { return short(wire.TopicAlias, n) }
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s")
		s.subscribe(1, 0, "#")
		p := b.connect(wire.V5, "p")
		p.publish("a/b", "1", 0, 0, alias(16))
		p.publish("", "2", 0, 0, alias(16))
		p.publish("c", "3", 0, 0, alias(1))
		p.publish("d", "4", 0, 0, alias(16)) // section 3.3.2.3.4: a new meaning
		p.publish("", "5", 0, 0, alias(16))
		p.publish("", "6", 0, 0, alias(1))
		s.expect(`PUBLISH a/b "1"`, `PUBLISH a/b "2"`, `PUBLISH c "3"`, `PUBLISH d "4"`, `PUBLISH d "5"`, `PUBLISH c "6"`)
		p.disconnect()
		p = b.connect(wire.V5, "p") // [MQTT-3.3.2-7]: aliases end with the connection
		p.publish("", "7", 0, 0, alias(1))
		p.dropped(wire.ProtocolError)
	})
}

// TestTooLargeForTheClient_MQTT_3_1_2_25: such a message is dropped as if the
// client had it, and does not hold up what is behind it.
func TestTooLargeForTheClient_MQTT_3_1_2_25(t *testing.T) { // [MQTT-3.1.2-25] [MQTT-3.1.2-24]
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s", durable, properties(long(wire.MaximumPacketSize, 50)+short(wire.ReceiveMaximum, 1)))
		s.subscribe(1, 2, "t")
		p := b.connect(wire.V5, "p")
		large := strings.Repeat("x", 50)
		for qos := range byte(3) {
			p.publish("t", large, qos, 1)
			if qos > 0 {
				p.next()
			}
		}
		p.publish("t", "small", 1, 2)
		p.expect("PUBACK #2")
		got := s.next()
		if !strings.HasPrefix(got, "PUBLISH t q1") || !strings.HasSuffix(got, ` "small"`) {
			t.Errorf("got %s", got)
		}
		s.silence(time.Minute)
		if n := b.server.Stats().TooLarge; n != 3 {
			t.Errorf("%d dropped", n)
		}
		if q := b.broker.Stats(); q.Ready != 0 || q.Unsettled != 1 {
			t.Errorf("left in queues: %+v", q)
		}
	})
}

// TestSlowReader: QoS 0 is dropped for a client that does not read, QoS 1
// waits, and both go on when it reads again.
func TestSlowReader(t *testing.T) {
	inBubble(t, func(s *setup) { s.server.Outbox.High = 4096 }, func(b *bed) {
		s := b.connect(wire.V311, "s")
		s.subscribe(1, 1, "t")
		p := b.connect(wire.V311, "p")
		body := strings.Repeat("x", 1000)
		for id := range uint16(100) {
			p.publish("t", body, 0, 0)
			p.publish("t", body, 1, id+1)
			p.next()
		}
		zeros, ones := 0, 0
		for ones < 100 {
			f, err := s.frame()
			if err != nil {
				t.Fatal(err)
			}
			if m, _ := wire.ParsePublish(f, wire.V311); m.QoS == 0 {
				zeros++
			} else {
				ones++
				s.ack(wire.PUBACK, m.PacketID)
			}
		}
		if zeros > 20 || b.broker.Stats().Ready != 0 {
			t.Errorf("%d messages of QoS 0 for one that does not read; %+v", zeros, b.broker.Stats())
		}
		p.publish("t", "again", 0, 0)
		s.expect(`PUBLISH t "again"`)
	})
}

// TestUnreadAnswers: a client that asks and does not read is not listened to
// any more, and is listened to again when it reads.
func TestUnreadAnswers(t *testing.T) {
	inBubble(t, func(s *setup) {
		s.server.Outbox.High, s.server.MaxPacketSize = 1024, 64<<10
	}, func(b *bed) {
		p := b.connect(wire.V5, "p")
		const pings = 100_000
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range pings / 1000 {
				_, _ = p.nc.Write([]byte(strings.Repeat("\xC0\x00", 1000)))
			}
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("everything is taken of a client that reads nothing")
		default:
		}
		if _, err := io.ReadFull(p.nc, make([]byte, 2*pings)); err != nil {
			t.Fatal(err)
		}
		<-done
	})
}

// TestRetained follows a retained message through its life.
func TestRetained(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		const asPublished, ifNew, never = 8, 0x10, 0x20
		p := b.connect(wire.V5, "p")
		early := b.connect(wire.V5, "e")
		early.subscribe(1, 1, "a/#")
		early.lives() // what is retained from now on comes once
		p.publishFlags(1, "a/b", "kept", 0)
		early.expect(`PUBLISH a/b "kept"`) // [MQTT-3.3.1-12]: without the flag
		p.publishFlags(3, "a/c", "kept too", 1, user("k", "v"))
		p.expect("PUBACK #1")
		early.expect(`PUBLISH a/c q1 #1 k:v "kept too"`)

		s := b.connect(wire.V5, "s")
		s.subscribe(1, 2, "a/b") // [MQTT-3.3.1-9]
		s.expect(`PUBLISH a/b retain "kept"`)
		s.subscribe(2, 2, "a/c")
		s.expect(`PUBLISH a/c q1 #1 retain k:v "kept too"`)
		s.subscribe(3, 2|ifNew, "a/b") // [MQTT-3.3.1-10]: it is not
		s.silence(time.Second)
		s.subscribe(4, 0|ifNew, "+/b")
		s.expect(`PUBLISH a/b retain "kept"`)
		s.subscribe(5, 2|never, "a/#") // [MQTT-3.3.1-11]
		s.silence(time.Second)

		f := b.connect(wire.V5, "f")
		f.subscribe(1, asPublished, "x")
		p.publishFlags(1, "x", "flagged", 0)
		f.expect(`PUBLISH x retain "flagged"`) // [MQTT-3.3.1-13]
		p.publishFlags(1, "x", "", 0)          // [MQTT-3.3.1-6]
		f.expect(`PUBLISH x retain ""`)
		f.subscribe(2, 0, "x")
		f.silence(time.Second)
	})
}

// TestOrder_MQTT_4_6_0_6: messages of one publisher arrive in their order, at
// each QoS, over a window that they do not fit in.
func TestOrder_MQTT_4_6_0_6(t *testing.T) { // [MQTT-4.6.0-5] [MQTT-4.6.0-6]
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s", durable, properties(short(wire.ReceiveMaximum, 7)))
		s.subscribe(1, 2, "#")
		p := b.connect(wire.V5, "p")
		go func() {
			for i := range 300 {
				qos := byte(1 + i%2)
				_, _ = p.nc.Write(publishPacket(wire.V5, qos<<1, "t", fmt.Sprint(i), uint16(i+1)))
			}
		}()
		go func() {
			for {
				f, err := p.frame()
				if err != nil {
					return
				}
				if f.Type == wire.PUBREC {
					a, _ := wire.ParseAck(f, wire.V5)
					_, _ = p.nc.Write(wire.AppendAck(nil, wire.PUBREL, wire.V5, wire.Ack{PacketID: a.PacketID}))
				}
			}
		}()
		next := [3]int{1: 0, 2: 1}
		for range 600 {
			f, err := s.frame()
			if err != nil {
				t.Fatal(err)
			}
			switch f.Type { //nolint:exhaustive // others do not come
			case wire.PUBLISH:
				m, _ := wire.ParsePublish(f, wire.V5)
				if string(m.Payload) != fmt.Sprint(next[m.QoS]) {
					t.Fatalf("QoS %d: %s, want %d", m.QoS, m.Payload, next[m.QoS])
				}
				if next[m.QoS] += 2; m.QoS == 1 {
					s.ack(wire.PUBACK, m.PacketID)
				} else {
					s.ack(wire.PUBREC, m.PacketID)
				}
			case wire.PUBREL:
				a, _ := wire.ParseAck(f, wire.V5)
				s.ack(wire.PUBCOMP, a.PacketID)
			}
			if next[1] >= 300 && next[2] >= 300 {
				return
			}
		}
		t.Errorf("got as far as %v", next)
	})
}

// TestPublishersWait: while messages fill the memory budget a publisher waits,
// past its keep alive, and goes on when there is room.
func TestPublishersWait(t *testing.T) {
	inBubble(t, func(s *setup) { s.broker, s.store.Manual = core.Options{PendingLimit: 64 << 10}, true }, func(b *bed) {
		p := b.dial(wire.V311)
		p.write(connect(wire.V311, "p", keepAlive(1)))
		s := b.dial(wire.V311)
		s.write(append(connect(wire.V311, "s", resume), subscribePacket(wire.V311, 1, "", 1, "t")...))
		for range 3 {
			synctest.Wait()
			b.store.Flush()
		}
		p.next()
		s.expect("CONNACK 0x00", "SUBACK #1 0x01")
		s.disconnect() // and its messages wait
		body := strings.Repeat("x", 16<<10)
		go func() {
			for id := range uint16(20) {
				_, _ = p.nc.Write(publishPacket(wire.V311, 2, "t", body, id+1))
			}
		}()
		p.silence(time.Minute)
		if n := b.server.Stats().Received[1]; n > 5 {
			t.Errorf("%d messages taken", n)
		}
		for id := 1; id <= 20; {
			b.store.Flush()
			for {
				_ = p.nc.SetReadDeadline(time.Now().Add(time.Millisecond))
				f, err := p.frame()
				if errors.Is(err, os.ErrDeadlineExceeded) {
					break // for now that is all
				}
				if err != nil {
					t.Fatalf("waiting for PUBACK #%d: %v", id, err)
				}
				if got, want := describe(f, p.version), fmt.Sprintf("PUBACK #%d", id); got != want {
					t.Fatalf("got %s, want %s", got, want)
				}
				id++
			}
		}
	})
}
