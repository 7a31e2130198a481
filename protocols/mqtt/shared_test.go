package mqtt_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// member connects a client and has it subscribe to filter with a QoS.
func (b *bed) member(v wire.Version, id, filter string, qos byte, change ...func(*connectPacket)) *peer {
	b.t.Helper()
	p := b.connect(v, id, change...)
	if got, want := p.subscribe(1, qos, filter), fmt.Sprintf("SUBACK #1 %#02x", qos); got != want {
		b.t.Fatalf("%s subscribes to %s: %s", id, filter, got)
	}
	return p
}

// sendOnce has p publish with QoS 2, to the end.
func (p *peer) sendOnce(topic, payload string, id uint16) {
	p.t.Helper()
	p.publish(topic, payload, 2, id)
	p.expect(fmt.Sprintf("PUBREC #%d", id))
	p.ack(wire.PUBREL, id)
	p.expect(fmt.Sprintf("PUBCOMP #%d", id))
}

// TestShared: each message goes to one of the members, in turn, with the QoS
// that this one was granted [MQTT-4.8.2-3]; who has subscribed by itself gets
// all of them. Clients of every version may share.
func TestShared(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		modern := b.member(wire.V5, "m", "$share/g/t/+", 2)
		old := b.member(wire.V311, "o", "$share/g/t/+", 1)
		alone := b.member(wire.V5, "a", "t/#", 0)
		p := b.connect(wire.V5, "p")
		p.sendOnce("t/1", "one", 1)
		p.sendOnce("t/2", "two", 2)
		modern.expect(`PUBLISH t/1 q2 #1 "one"`)
		old.expect(`PUBLISH t/2 q1 #1 "two"`)
		alone.expect(`PUBLISH t/1 "one"`, `PUBLISH t/2 "two"`)
		for i := range 4 {
			p.publish("t/1", fmt.Sprint(i), 0, 0)
		}
		modern.expect(`PUBLISH t/1 "1"`, `PUBLISH t/1 "3"`)
		old.expect(`PUBLISH t/1 "0"`, `PUBLISH t/1 "2"`)
		if got := old.unsubscribe(2, "$share/g/t/+", "$share/h/t/+"); got != "UNSUBACK #2" {
			t.Error(got)
		}
		if got := modern.unsubscribe(2, "$share/g/t/+", "$share/h/t/+"); got != "UNSUBACK #2 0x00 0x11" {
			t.Error(got)
		}
		p.publish("t/1", "more", 1, 3)
		p.expect("PUBACK #3")
		modern.silence(time.Second)
		alone.expect(`PUBLISH t/1 "0"`, `PUBLISH t/1 "1"`, `PUBLISH t/1 "2"`, `PUBLISH t/1 "3"`, `PUBLISH t/1 "more"`)
		if got := alone.unsubscribe(2, "t/#"); got != "UNSUBACK #2 0x00" {
			t.Error(got)
		}
		p.publish("t/1", "nobody", 1, 4)
		p.expect("PUBACK #4 0x10")
	})
}

// TestSharedFilters: a share name is not empty and has no wildcard, and a filter
// follows it [MQTT-4.8.2-1] [MQTT-4.8.2-2]. Shares of other names, or with
// other filters, are others.
func TestSharedFilters(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s")
		filters := []string{"$share/g/t", "$share/h/t", "$share/g/#", "$share//t", "$share/g", "$share/g/", "$share/g+/t", "$share/#/t", "$share/g/a#"}
		if got := s.subscribe(1, 0, filters...); got != "SUBACK #1 0x00 0x00 0x00 0x8f 0x8f 0x8f 0x8f 0x8f 0x8f" {
			t.Error(got)
		}
		p := b.connect(wire.V5, "p")
		p.publish("t", "m", 0, 0)
		s.expect(`PUBLISH t "m"`, `PUBLISH t "m"`, `PUBLISH t "m"`)
		p.publish("$x", "not for wildcards", 0, 0) // [MQTT-4.7.2-1]
		s.silence(time.Second)
	})
}

// TestSharedOptions: what a member has asked for holds for what it gets; but
// nothing that is retained comes because it has subscribed (section 4.8.2).
func TestSharedOptions(t *testing.T) {
	const asPublished = 8
	inBubble(t, nil, func(b *bed) {
		p := b.connect(wire.V5, "p")
		p.publishFlags(3, "t", "kept", 1)
		p.expect("PUBACK #1")
		first, second := b.connect(wire.V5, "first"), b.connect(wire.V5, "second")
		if got := first.subscribeWith(1, "\x0b\x07", 1|asPublished, "$share/g/t"); got != "SUBACK #1 0x01" {
			t.Error(got)
		}
		if got := second.subscribeWith(1, "\x0b\x08", 1, "$share/g/t"); got != "SUBACK #1 0x01" {
			t.Error(got)
		}
		first.silence(time.Second)
		p.publishFlags(3, "t", "one", 2)
		p.publishFlags(3, "t", "two", 3)
		p.expect("PUBACK #2", "PUBACK #3")
		first.expect(`PUBLISH t q1 #1 retain id=7 "one"`)
		second.expect(`PUBLISH t q1 #1 id=8 "two"`)
		if got := second.subscribeWith(2, "\x0b\x09", 0, "$share/g/t"); got != "SUBACK #2 0x00" { // [MQTT-3.8.4-3]
			t.Error(got)
		}
		p.publish("t", "three", 1, 4)
		p.publish("t", "four", 1, 5)
		p.expect("PUBACK #4", "PUBACK #5")
		second.expect(`PUBLISH t id=9 "three"`)
		first.expect(`PUBLISH t q1 #2 id=7 "four"`)
	})
}

// TestSharedByCredit: who does not answer has no more than its receive maximum,
// and the others go on. When its connection breaks, what it has goes to another
// one, with DUP.
func TestSharedByCredit(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		slow := b.member(wire.V5, "slow", "$share/g/t", 1, properties(short(wire.ReceiveMaximum, 2)))
		quick := b.member(wire.V5, "quick", "$share/g/t", 1, properties(short(wire.ReceiveMaximum, 2)))
		p := b.connect(wire.V5, "p")
		for i := range uint16(8) {
			p.publish("t", fmt.Sprint(i), 1, i+1)
			p.expect(fmt.Sprintf("PUBACK #%d", i+1))
		}
		slow.expect(`PUBLISH t q1 #1 "0"`, `PUBLISH t q1 #2 "2"`)
		quick.expect(`PUBLISH t q1 #1 "1"`, `PUBLISH t q1 #2 "3"`)
		for i := range uint16(4) {
			quick.ack(wire.PUBACK, i+1)
			quick.expect(fmt.Sprintf(`PUBLISH t q1 #%d "%d"`, i+3, i+4))
		}
		slow.silence(time.Second)
		_ = slow.nc.Close()
		synctest.Wait()
		quick.ack(wire.PUBACK, 5)
		quick.expect(`PUBLISH t q1 #7 dup "0"`)
		quick.ack(wire.PUBACK, 6)
		quick.expect(`PUBLISH t q1 #8 dup "2"`)
	})
}

// TestSharedWhileAllAreAway: a message waits for whoever of the members comes
// back first, and a session that is only away has none of it kept for itself
// but what it was sent with QoS 2.
func TestSharedWhileAllAreAway(t *testing.T) {
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		t.Run(v.String(), func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				for _, id := range []string{"a", "b"} {
					b.member(v, id, "$share/g/t", 2, resume).disconnect()
				}
				p := b.connect(wire.V5, "p")
				p.publish("t", "lost", 0, 0)
				p.publish("t", "one", 1, 1)
				p.expect("PUBACK #1")
				p.sendOnce("t", "two", 2)
				first := b.resumed(v, "a")
				first.expect(`PUBLISH t q1 #1 "one"`, `PUBLISH t q2 #2 "two"`)
				_ = first.nc.Close()
				synctest.Wait()
				second := b.resumed(v, "b")
				second.expect(`PUBLISH t q1 #1 dup "one"`)
				second.ack(wire.PUBACK, 1)
				second.silence(time.Second) // [MQTT-4.8.2-4]
				first = b.resumed(v, "a")
				first.expect(`PUBLISH t q2 #2 dup "two"`)
				first.ack(wire.PUBREC, 2)
				first.expect("PUBREL #2")
				first.ack(wire.PUBCOMP, 2)
				first.silence(time.Second)
			})
		})
	}
}

// TestSharedExactlyOnceEndsWithTheSession: nobody else is sent a message of QoS 2
// whose client's session ends before it has answered [MQTT-4.8.2-5].
func TestSharedExactlyOnceEndsWithTheSession(t *testing.T) {
	for name, change := range map[string]func(*connectPacket){"with its connection": func(*connectPacket) {}, "later": durable} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				first := b.member(wire.V5, "first", "$share/g/t", 2, change)
				second := b.member(wire.V5, "second", "$share/g/t", 2)
				p := b.connect(wire.V5, "p")
				p.sendOnce("t", "one", 1)
				first.expect(`PUBLISH t q2 #1 "one"`)
				_ = first.nc.Close()
				time.Sleep(2 * time.Hour)
				second.silence(time.Second)
				if st := b.broker.Stats(); st.Ready+st.Unsettled != 0 || st.Subscribers != 2 {
					t.Errorf("%d messages and %d sessions are left", st.Ready+st.Unsettled, st.Subscribers)
				}
			})
		})
	}
}

// TestSharedRefusedByAMember: a message that a client refuses goes to nobody else
// [MQTT-4.8.2-6].
func TestSharedRefusedByAMember(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		first := b.member(wire.V5, "first", "$share/g/t", 2)
		p := b.connect(wire.V5, "p")
		p.publish("t", "one", 1, 1)
		p.expect("PUBACK #1")
		p.sendOnce("t", "two", 2)
		first.expect(`PUBLISH t q1 #1 "one"`, `PUBLISH t q2 #2 "two"`)
		second := b.member(wire.V5, "second", "$share/g/t", 2)
		first.ack(wire.PUBACK, 1, wire.UnspecifiedError)
		first.ack(wire.PUBREC, 2, wire.UnspecifiedError)
		second.silence(time.Second)
		if st := b.broker.Stats(); st.Ready+st.Unsettled != 0 {
			t.Errorf("%d messages are left", st.Ready+st.Unsettled)
		}
	})
}

// TestSharedNoLocal_MQTT_3_8_3_4 [MQTT-3.8.3-4].
func TestSharedNoLocal_MQTT_3_8_3_4(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.connect(wire.V5, "p")
		p.write(subscribePacket(wire.V5, 1, "", 4, "$share/g/t"))
		p.dropped(wire.ProtocolError)
	})
}

// TestSharedNotOffered: section 3.2.2.3.13.
func TestSharedNotOffered(t *testing.T) {
	inBubble(t, func(s *setup) { s.server.NoShared = true }, func(b *bed) {
		p := b.dial(wire.V5)
		p.write(connect(wire.V5, "c"))
		p.expect("CONNACK 0x00" + offered + " 42=0")
		p.write(subscribePacket(wire.V5, 1, "", 0, "a", "$share/g/t"))
		p.dropped(wire.SharedNotSupported)
		old := b.connect(wire.V311, "o")
		if got := old.subscribe(1, 0, "a", "$share/g/t"); got != "SUBACK #1 0x00 0x80" {
			t.Error(got)
		}
	})
}

// TestSharedQueueIsNobodyElses: it is shown, governed by policies, and closed to
// whoever is not a member.
func TestSharedQueueIsNobodyElses(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		filter := "$share/g/" + strings.Repeat("x", 300)
		s := b.member(wire.V5, "s", "$share/g/a/b", 1)
		if got := s.subscribe(2, 1, filter); got != "SUBACK #2 0x01" {
			t.Error(got)
		}
		sum := sha256.Sum256([]byte("mqtt-shared-g/" + filter[len("$share/g/"):]))
		for _, queue := range []string{"mqtt-shared-g/a.b", "mqtt-shared-" + hex.EncodeToString(sum[:])} {
			if _, _, _, err := b.other().Get(t.Context(), queue, true); core.KindOf(err) != core.Locked {
				t.Errorf("another session gets from %s: %v", queue, err)
			}
		}
		if _, err := b.other().DeclareQueue(t.Context(), core.QueueSpec{Name: "mqtt-shared-h/t"}); err != nil {
			t.Fatal(err)
		}
		if got := s.subscribe(3, 1, "$share/h/t"); got != "SUBACK #3 0x87" {
			t.Errorf("a share takes another's queue: %s", got)
		}
	})
}
