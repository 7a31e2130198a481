package mqtt_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// hangUp breaks the connection off.
func (p *peer) hangUp() {
	_ = p.nc.Close()
	synctest.Wait()
}

// manual has a store that records only when it is told to.
func manual(s *setup) { s.store.Manual = true }

// flushed has the store record, and the peer hear of it.
func (b *bed) flushed(p *peer, want string) {
	b.t.Helper()
	synctest.Wait()
	b.store.Flush()
	p.expect(want)
}

// TestConform_4_1: a session is there as long as its connection.
func TestConform_4_1(t *testing.T) {
	shows(t, "[MQTT-4.1.0-1] [MQTT-3.1.1 4.1.0-1] [MQTT-3.1.1 4.1.0-2] while the connection is open", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "p")
		ends := properties(long(wire.SessionExpiry, 1))
		if v != wire.V5 {
			ends = properties("") // with its connection
		}
		for id, change := range map[string]func(*connectPacket){"ends": ends, "outlives": resume} {
			s := b.connect(v, id, change)
			s.subscribe(1, 2, "t")
			s.publish("x", "once", 2, 7)
			s.expect(older(v, "PUBREC #7", "PUBREC #7 0x10"))
			time.Sleep(time.Hour)
			p.publish("t", "m", 1, 1)
			p.expect("PUBACK #1")
			s.expect(`PUBLISH t q1 #1 "m"`)
			s.publishFlags(0xC, "x", "once", 7)
			s.expect("PUBREC #7") // it is known
			s.ack(wire.PUBREL, 7)
			s.expect("PUBCOMP #7")
			s.disconnect()
		}
	})
	shows(t, "[MQTT-4.1.0-2] until it has been away for its expiry interval", five, nil, func(b *bed, v wire.Version) {
		expiry := properties(long(wire.SessionExpiry, 10))
		for _, tt := range []struct {
			away    time.Duration
			present bool
		}{{9 * time.Second, true}, {9 * time.Second, true}, {11 * time.Second, false}} {
			p := b.connect(v, "s", resume, func(c *connectPacket) { c.properties = "" }, expiry)
			p.hangUp()
			time.Sleep(tt.away)
			if _, present := b.again(v, "s"); present != tt.present {
				b.t.Errorf("away for %v: present %t", tt.away, present)
			}
		}
	})
}

// TestConform_4_3_1 has QoS 0.
func TestConform_4_3_1(t *testing.T) {
	shows(t, "[MQTT-4.3.1-1] [MQTT-3.1.1 4.3.1-1] it goes out without DUP, however it came", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.subscribe(1, 0, "t")
		p := b.connect(v, "p")
		p.publish("t", "0", 0, 0)
		p.publishFlags(8|2, "t", "1", 1)
		p.publishFlags(8|4, "t", "2", 2)
		for _, payload := range []string{"0", "1", "2"} {
			s.expectBytes(string(publishPacket(v, 0, "t", payload, 0)))
		}
	})
}

// TestConform_4_3_2 has QoS 1.
func TestConform_4_3_2(t *testing.T) {
	const sender = "[MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.2-3] [MQTT-3.1.1 4.3.2-1] [MQTT-3.1.1 2.3.1-4]"
	shows(t, sender+" sent with an identifier and without DUP, and unacknowledged until PUBACK", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s", resume)
		s.subscribe(1, 1, "t")
		p := b.connect(v, "p")
		p.publishFlags(8|2, "t", "one", 9)
		p.publish("t", "two", 1, 8)
		p.expect("PUBACK #9", "PUBACK #8")
		s.expect(`PUBLISH t q1 #1 "one"`, `PUBLISH t q1 #2 "two"`)
		for range 2 { // until it is answered
			s.hangUp()
			s = b.resumed(v, "s")
			s.expect(`PUBLISH t q1 #1 dup "one"`, `PUBLISH t q1 #2 dup "two"`)
		}
		s.ack(wire.PUBREC, 1) // of another QoS: it answers nothing
		s.expect(older(v, "PUBREL #1", "PUBREL #1 0x92"))
		s.ack(wire.PUBACK, 1)
		s.hangUp()
		s = b.resumed(v, "s")
		s.expect(`PUBLISH t q1 #2 dup "two"`)
		s.ack(wire.PUBACK, 2)
		s.hangUp()
		b.resumed(v, "s").lives()
	})
	shows(t, "[MQTT-4.3.2-4] [MQTT-3.1.1 4.3.2-2] PUBACK when the message is on record", both, manual, func(b *bed, v wire.Version) {
		s, p := b.dial(v), b.dial(v)
		s.write(connect(v, "s", resume))
		b.flushed(s, older(v, "CONNACK 0x00", "CONNACK 0x00"+offered))
		s.write(subscribePacket(v, 1, "", 1, "t"))
		b.flushed(s, "SUBACK #1 0x01")
		p.write(connect(v, "p"))
		b.flushed(p, older(v, "CONNACK 0x00", "CONNACK 0x00"+offered))
		p.publish("t", "m", 1, 7)
		p.silence(time.Hour)
		b.store.Flush()
		p.expect("PUBACK #7")
	})
	shows(t, "[MQTT-4.3.2-5] [MQTT-3.1.1 4.3.2-2] after it the identifier is a new message, with DUP or without", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.subscribe(1, 0, "t")
		p := b.connect(v, "p")
		for i, flags := range []byte{2, 8 | 2, 2} {
			p.publishFlags(flags, "t", fmt.Sprint(i), 7)
			p.expect("PUBACK #7")
			s.expect(fmt.Sprintf("PUBLISH t %q", fmt.Sprint(i)))
		}
	})
}

// TestConform_4_3_3_Sender has QoS 2 as the server sends it.
func TestConform_4_3_3_Sender(t *testing.T) {
	const all = "[MQTT-4.3.3-1] [MQTT-4.3.3-2] [MQTT-4.3.3-3] [MQTT-4.3.3-4] [MQTT-4.3.3-5] [MQTT-4.3.3-6] [MQTT-3.1.1 4.3.3-1]"
	shows(t, all+" step by step, each until it is answered", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s", resume)
		s.subscribe(1, 2, "t")
		p := b.connect(v, "p")
		p.publishFlags(8|4, "t", "m", 9)
		p.expect("PUBREC #9")
		s.expect(`PUBLISH t q2 #1 "m"`)
		for range 2 {
			s.hangUp()
			s = b.resumed(v, "s")
			s.expect(`PUBLISH t q2 #1 dup "m"`)
		}
		s.ack(wire.PUBACK, 1) // of another QoS: it answers nothing
		s.ack(wire.PUBREC, 1)
		s.expect("PUBREL #1")
		s.ack(wire.PUBREC, 1)
		s.expect("PUBREL #1")
		for range 2 {
			s.hangUp()
			s = b.resumed(v, "s")
			s.expect("PUBREL #1")
			s.lives() // and no PUBLISH
		}
		s.ack(wire.PUBCOMP, 1)
		s.hangUp()
		b.resumed(v, "s").lives()
	})
	shows(t, "[MQTT-4.3.3-4] a PUBREC that refuses is the end of it", five, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s", resume)
		s.subscribe(1, 2, "t")
		p := b.connect(v, "p")
		p.publish("t", "m", 2, 1)
		s.expect(`PUBLISH t q2 #1 "m"`)
		s.ack(wire.PUBREC, 1, wire.QuotaExceeded)
		s.lives()
		s.hangUp()
		b.resumed(v, "s").lives()
	})
	shows(t, "[MQTT-4.3.3-7] [MQTT-4.3.3-13] what has been sent does not expire", five, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s", resume)
		s.subscribe(1, 2, "t")
		p := b.connect(v, "p")
		p.publish("t", "one", 2, 1, long(wire.MessageExpiry, 10))
		p.publish("t", "two", 2, 2, long(wire.MessageExpiry, 10))
		s.expect(`PUBLISH t q2 #1 2=10 "one"`, `PUBLISH t q2 #2 2=10 "two"`)
		s.ack(wire.PUBREC, 1)
		s.expect("PUBREL #1")
		s.hangUp()
		time.Sleep(time.Minute)
		s = b.resumed(v, "s")
		s.expect("PUBREL #1", `PUBLISH t q2 #2 dup 2=0 "two"`)
		s.ack(wire.PUBREC, 2)
		s.expect("PUBREL #2")
	})
}

// TestConform_4_3_3_Receiver has QoS 2 as the server receives it.
func TestConform_4_3_3_Receiver(t *testing.T) {
	shows(t, "[MQTT-4.3.3-8] [MQTT-4.3.3-11] PUBREC when the message is on record, PUBCOMP when its identifier is free", both, manual, func(b *bed, v wire.Version) {
		p := b.dial(v)
		p.write(connect(v, "p", resume))
		b.flushed(p, older(v, "CONNACK 0x00", "CONNACK 0x00"+offered))
		p.publish("t", "m", 2, 7)
		p.silence(time.Hour)
		b.store.Flush()
		p.expect(older(v, "PUBREC #7", "PUBREC #7 0x10"))
		p.ack(wire.PUBREL, 7)
		p.silence(time.Hour)
		b.store.Flush()
		p.expect("PUBCOMP #7")
	})
	const once = "[MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.3.3-12] [MQTT-3.1.1 4.3.3-2]"
	shows(t, once+" it goes no further twice, until the identifier is free", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.subscribe(1, 0, "#")
		p := b.connect(v, "p", resume)
		p.publish("t", "once", 2, 7)
		p.expect("PUBREC #7")
		s.expect(`PUBLISH t "once"`)
		for _, again := range []string{"once", "something else"} {
			p.publishFlags(8|4, "t", again, 7)
			p.publishFlags(4, "u", again, 7)
			p.expect("PUBREC #7", "PUBREC #7")
		}
		p.hangUp()
		p = b.resumed(v, "p")
		p.publishFlags(8|4, "t", "once", 7)
		p.expect("PUBREC #7")
		s.lives()
		for range 2 { // the second finds nothing to release
			p.ack(wire.PUBREL, 7)
		}
		p.expect("PUBCOMP #7", older(v, "PUBCOMP #7", "PUBCOMP #7 0x92"))
		p.publishFlags(8|4, "t", "twice", 7)
		p.expect("PUBREC #7")
		s.expect(`PUBLISH t "twice"`)
	})
	shows(t, "[MQTT-4.3.3-9] after a PUBREC that refuses the identifier is a new message", five, func(s *setup) {
		s.server.CheckPayloadFormat = true
	}, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.subscribe(1, 0, "t")
		p := b.connect(v, "p")
		p.publish("t", "\xff", 2, 7, octet(wire.PayloadFormat, 1))
		p.expect("PUBREC #7 0x99")
		p.publish("t", "good", 2, 7)
		p.expect("PUBREC #7")
		s.expect(`PUBLISH t "good"`)
	})
	shows(t, "[MQTT-4.3.3-13] the exchange goes on when the message has expired", five, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s", resume)
		s.subscribe(1, 2, "t")
		s.disconnect()
		p := b.connect(v, "p", resume)
		p.publish("t", "m", 2, 7, long(wire.MessageExpiry, 10))
		p.expect("PUBREC #7")
		time.Sleep(time.Minute)
		p.publishFlags(8|4, "t", "m", 7, long(wire.MessageExpiry, 10))
		p.expect("PUBREC #7")
		p.ack(wire.PUBREL, 7)
		p.expect("PUBCOMP #7")
		b.resumed(v, "s").lives()
	})
}

// TestConform_4_4 has what is sent again.
func TestConform_4_4(t *testing.T) {
	shows(t, "[MQTT-4.4.0-1] [MQTT-3.1.1 4.4.0-1] [MQTT-3.1.1 4.6.0-1] on the next connection, in order, and at no other time", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s", resume)
		s.subscribe(1, 2, "t")
		p := b.connect(v, "p")
		var sent, again []string
		for id := range uint16(10) {
			id++
			qos := byte(id%2) + 1
			p.publish("t", "m", qos, id)
			p.next()
			sent = append(sent, fmt.Sprintf(`PUBLISH t q%d #%d "m"`, qos, id))
			again = append(again, fmt.Sprintf(`PUBLISH t q%d #%d dup "m"`, qos, id))
		}
		s.expect(sent...)
		for _, id := range []uint16{7, 3} {
			s.ack(wire.PUBREC, id)
			s.expect(fmt.Sprintf("PUBREL #%d", id))
		}
		s.ack(wire.PUBACK, 4)
		s.silence(time.Hour)
		s.hangUp()
		s = b.resumed(v, "s")
		again = slices.Delete(slices.Delete(again, 6, 7), 2, 4)
		s.expect(append([]string{"PUBREL #7", "PUBREL #3"}, again...)...)
		s.silence(time.Hour)
	})
	shows(t, "[MQTT-4.4.0-1] not to a session that begins anew", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s", resume)
		s.subscribe(1, 2, "t")
		p := b.connect(v, "p")
		p.publish("t", "m", 1, 1)
		p.expect("PUBACK #1")
		s.expect(`PUBLISH t q1 #1 "m"`)
		s.hangUp()
		b.connect(v, "s").lives()
	})
	shows(t, "[MQTT-4.4.0-2] [MQTT-4.8.2-6] not what the client has refused", five, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s", resume)
		s.subscribe(1, 2, "t")
		p := b.connect(v, "p")
		p.publish("t", "m", 1, 1)
		p.publish("t", "m", 2, 2)
		s.expect(`PUBLISH t q1 #1 "m"`, `PUBLISH t q2 #2 "m"`)
		s.ack(wire.PUBACK, 1, wire.UnspecifiedError)
		s.ack(wire.PUBREC, 2, wire.NotAuthorized)
		s.hangUp()
		b.resumed(v, "s").lives()
	})
}

// TestConform_4_5: messages and the sessions they are for.
func TestConform_4_5(t *testing.T) {
	shows(t, "[MQTT-4.5.0-1] [MQTT-3.1.1 4.5.0-1] [MQTT-3.1.1 3.1.2-5] kept for who has subscribed, there or away", both, nil, func(b *bed, v wire.Version) {
		away, other, there := b.connect(v, "away", resume), b.connect(v, "other", resume), b.connect(v, "there")
		away.subscribe(1, 2, "t/+")
		away.disconnect()
		other.subscribe(1, 2, "u")
		other.disconnect()
		there.subscribe(1, 2, "t/#")
		p := b.connect(v, "p")
		p.publish("t/1", "one", 1, 1)
		p.publish("t/2", "two", 2, 2)
		p.publish("t/0", "zero", 0, 0) // need not be kept, and is not
		p.expect("PUBACK #1", "PUBREC #2")
		p.lives()
		there.expect(`PUBLISH t/1 q1 #1 "one"`, `PUBLISH t/2 q2 #2 "two"`, `PUBLISH t/0 "zero"`)
		away = b.resumed(v, "away")
		away.expect(`PUBLISH t/1 q1 #1 "one"`, `PUBLISH t/2 q2 #2 "two"`)
		away.lives()
		b.resumed(v, "other").lives()
	})
}

// TestConform_4_6: order.
func TestConform_4_6(t *testing.T) {
	shows(t, "[MQTT-4.6.0-5] [MQTT-4.6.0-6] [MQTT-3.1.1 4.6.0-5] [MQTT-3.1.1 4.6.0-6] messages come in the order of their publisher", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s", resume)
		s.subscribe(1, 2, "t/#")
		p, q := b.connect(v, "p"), b.connect(v, "q")
		for i := range uint16(30) {
			if i == 10 {
				s.hangUp() // what follows waits
			}
			from := []*peer{p, q}[i%2]
			from.publish("t/x", fmt.Sprint(i), byte(i/3%2)+1, i+1)
			from.next()
		}
		s = b.resumed(v, "s")
		for i := range 30 {
			f, err := s.frame()
			if err != nil {
				b.t.Fatal(err)
			}
			r := reader{b: f.Body}
			r.text()
			r.short()
			r.section(v)
			if got := r.rest(); got != fmt.Sprint(i) {
				b.t.Errorf("message %s in place of %d", got, i)
			}
		}
	})
}
