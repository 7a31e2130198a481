package mqtt_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// filterPacket is a SUBSCRIBE with options for each filter.
func filterPacket(v wire.Version, id uint16, filters ...filterOption) []byte {
	var body strings.Builder
	body.WriteString(string([]byte{byte(id >> 8), byte(id)}))
	if v == wire.V5 {
		body.WriteString(section(""))
	}
	for _, f := range filters {
		body.WriteString(text(f.filter) + string([]byte{f.option}))
	}
	return packet(0x82, body.String())
}

type filterOption struct {
	filter string
	option byte
}

// flagged is a packet with other flags than it should have.
func flagged(flags byte, packet func(wire.Version) []byte) func(wire.Version) []byte {
	return func(v wire.Version) []byte {
		p := packet(v)
		p[0] = p[0]&0xF0 | flags
		return p
	}
}

func subscribeOf(options byte, filters ...string) func(wire.Version) []byte {
	return func(v wire.Version) []byte { return subscribePacket(v, 1, "", options, filters...) }
}

func unsubscribeOf(filters ...string) func(wire.Version) []byte {
	return func(v wire.Version) []byte { return unsubscribePacket(v, 1, "", filters...) }
}

// older is what MQTT 3.1.1 hears where that is less than what MQTT 5 hears.
func older(v wire.Version, old, now string) string {
	if v == wire.V5 {
		return now
	}
	return old
}

// TestConform_3_8_Malformed has what is wrong with SUBSCRIBE, and with
// UNSUBSCRIBE where that is the same (section 3.10).
func TestConform_3_8_Malformed(t *testing.T) {
	rows := []said{
		{name: "[MQTT-3.8.3-1] [MQTT-3.1.1 3.8.3-1] filter that is not UTF-8", versions: both, send: subscribeOf(0, "a/\xff"), end: wire.MalformedPacket},
		{name: "[MQTT-3.8.3-1] [MQTT-3.1.1 3.8.3-1] surrogate in a filter", versions: both, send: subscribeOf(0, "\xed\xa0\x80"), end: wire.MalformedPacket},
		{name: "[MQTT-4.7.3-2] [MQTT-3.1.1 4.7.3-2] NUL in a filter", versions: both, send: subscribeOf(0, "a\x00b"), end: wire.MalformedPacket},
		{name: "the second filter", versions: both, send: subscribeOf(0, "a", "\xff"), end: wire.MalformedPacket},
		{name: "[MQTT-3.8.3-2] [MQTT-3.1.1 3.8.3-3] no filter", versions: both, send: subscribeOf(0), end: wire.ProtocolError},
		{name: "[MQTT-3.8.3-4] no local on a shared subscription", versions: five, send: subscribeOf(4, "$share/g/a"), end: wire.ProtocolError},
		{name: "QoS 3", versions: five, send: subscribeOf(3, "a"), end: wire.ProtocolError},
		{name: "retain handling 3", versions: five, send: subscribeOf(0x30, "a"), end: wire.ProtocolError},
		{name: "[MQTT-3.8.3-5] reserved bit 6", versions: five, send: subscribeOf(0x40, "a"), end: wire.MalformedPacket},
		{name: "[MQTT-3.8.3-5] reserved bit 7", versions: five, send: subscribeOf(0x80, "a"), end: wire.MalformedPacket},
		{name: "[MQTT-3.1.1 3.8.3-4] QoS 3", versions: four, send: subscribeOf(3, "a"), end: wire.ProtocolError},
		{name: "[MQTT-3.10.3-1] [MQTT-3.1.1 3.10.3-1] filter that is not UTF-8", versions: both, send: unsubscribeOf("a/\xff"), end: wire.MalformedPacket},
		{name: "[MQTT-3.10.3-2] [MQTT-3.1.1 3.10.3-2] no filter", versions: both, send: unsubscribeOf(), end: wire.ProtocolError},
	}
	for bit := 2; bit < 8; bit++ {
		rows = append(rows, said{
			name: fmt.Sprint("[MQTT-3.1.1 3.8.3-4] reserved bit ", bit), versions: four,
			send: subscribeOf(1<<bit, "a"), end: wire.MalformedPacket,
		})
	}
	for flags := range byte(16) {
		if flags != 2 {
			rows = append(
				rows,
				said{
					name: fmt.Sprint("[MQTT-3.8.1-1] [MQTT-3.1.1 3.8.1-1] flags ", flags), versions: both,
					send: flagged(flags, subscribeOf(0, "a")), end: wire.MalformedPacket,
				},
				said{
					name: fmt.Sprint("[MQTT-3.10.1-1] [MQTT-3.1.1 3.10.1-1] flags ", flags), versions: both,
					send: flagged(flags, unsubscribeOf("a")), end: wire.MalformedPacket,
				},
			)
		}
	}
	for _, row := range rows {
		row.test(t)
	}
}

// TestConform_3_8_Suback: what SUBSCRIBE is answered with (section 3.9, too).
func TestConform_3_8_Suback(t *testing.T) {
	shows(t, "[MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.1.1 3.8.4-1] [MQTT-3.1.1 3.8.4-2] one, with its identifier", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		for _, id := range []uint16{1, 7, 7, 0x1234, 0xFFFF} {
			p.write(subscribePacket(v, id, "", 0, "a"))
			p.expect(fmt.Sprintf("SUBACK #%d 0x00", id))
		}
		p.lives()
	})
	const many = "[MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.9.3-2]" +
		" [MQTT-3.1.1 3.8.4-4] [MQTT-3.1.1 3.8.4-5] [MQTT-3.1.1 3.9.3-1] [MQTT-3.1.1 3.9.3-2]"
	shows(t, many+" a reason for each filter, in order", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.write(filterPacket(v, 1, filterOption{"a", 2}, filterOption{"b/#/c", 1}, filterOption{"c", 0}, filterOption{"d+", 0}, filterOption{"e", 1}))
		p.expect(older(v, "SUBACK #1 0x02 0x80 0x00 0x80 0x01", "SUBACK #1 0x02 0x8f 0x00 0x8f 0x01"))
		p.lives()
	})
	shows(t, "[MQTT-3.8.4-5] [MQTT-3.1.1 3.8.4-4] as if each had come alone: the last of the same counts", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.write(filterPacket(v, 1, filterOption{"a", 0}, filterOption{"b", 0}, filterOption{"a", 1}))
		p.expect("SUBACK #1 0x00 0x00 0x01")
		q := b.connect(v, "q")
		q.publish("a", "m", 2, 1)
		q.publish("b", "m", 2, 2)
		p.expect(`PUBLISH a q1 #1 "m"`, `PUBLISH b "m"`)
		p.lives()
	})
	shows(t, "[MQTT-3.8.4-8] [MQTT-3.1.1 3.8.4-6] the lesser QoS", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "p")
		for granted := range byte(3) {
			s := b.connect(v, "s")
			s.subscribe(1, granted, "t")
			id := 0
			for published := range byte(3) {
				p.publish("t", "m", published, uint16(published)+1)
				want := `PUBLISH t "m"`
				if qos := min(granted, published); qos > 0 {
					id++
					want = fmt.Sprintf(`PUBLISH t q%d #%d "m"`, qos, id)
				}
				s.expect(want)
			}
			p.expect("PUBACK #2", "PUBREC #3")
			p.ack(wire.PUBREL, 3)
			p.expect("PUBCOMP #3")
			s.disconnect()
		}
	})
}

// TestConform_3_8_Again: a filter that there is already.
func TestConform_3_8_Again(t *testing.T) {
	shows(t, "[MQTT-3.8.4-3] [MQTT-3.1.1 3.8.4-3] replaces its subscription", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		for _, qos := range []byte{2, 0, 1} {
			p.subscribe(1, qos, "t/+")
		}
		q := b.connect(v, "q")
		q.publish("t/a", "m", 2, 1)
		p.expect(`PUBLISH t/a q1 #1 "m"`)
		p.ack(wire.PUBACK, 1)
		p.unsubscribe(4, "t/+") // all there is of it
		q.expect("PUBREC #1")
		q.publish("t/a", "m", 2, 2)
		q.expect(older(v, "PUBREC #2", "PUBREC #2 0x10"))
		p.lives()
	})
	shows(t, "[MQTT-3.8.4-3] with its identifier and options", five, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.subscribeWith(1, "\x0b\x07", 0, "t")
		p.publish("t", "m", 0, 0)
		p.expect(`PUBLISH t id=7 "m"`)
		p.subscribeWith(1, "\x0b\x08", 4, "t") // no local
		p.publish("t", "m", 0, 0)
		b.connect(v, "q").publish("t", "another's", 0, 0)
		p.expect(`PUBLISH t id=8 "another's"`)
		p.subscribe(1, 0, "t")
		p.publish("t", "m", 0, 0)
		p.expect(`PUBLISH t "m"`)
	})
	shows(t, "[MQTT-3.8.4-4] [MQTT-3.1.1 3.8.4-3] retained messages come again, and nothing is lost", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "p")
		p.publishFlags(3, "t", "kept", 1)
		p.expect("PUBACK #1")
		s := b.connect(v, "s", durable)
		s.subscribe(1, 1, "t")
		s.expect(`PUBLISH t q1 #1 retain "kept"`)
		p.publish("t", "under way", 1, 2)
		p.expect("PUBACK #2")
		synctest.Wait() // the delivery is under way when SUBSCRIBE comes
		go s.write(subscribePacket(v, 2, "", 1, "t"))
		s.expect(`PUBLISH t q1 #2 "under way"`, "SUBACK #2 0x01", `PUBLISH t q1 #3 retain "kept"`)
		p.publish("t", "after", 1, 3)
		s.expect(`PUBLISH t q1 #4 "after"`)
		for id := range uint16(4) {
			s.ack(wire.PUBACK, id+1)
		}
		s.lives()
	})
	shows(t, "[MQTT-3.8.4-4] not with another retain handling", five, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "p")
		p.publishFlags(1, "t", "kept", 0)
		p.lives()
		s := b.connect(v, "s")
		s.subscribe(1, 0, "t")
		s.expect(`PUBLISH t retain "kept"`)
		s.subscribe(2, 0x10, "t")
		s.subscribe(3, 0x20, "t")
		s.lives()
	})
}

// TestConform_3_8_NoLocal: [MQTT-3.8.3-3], whatever the QoS, and on the client's
// next connection.
func TestConform_3_8_NoLocal(t *testing.T) {
	shows(t, "[MQTT-3.8.3-3]", five, nil, func(b *bed, v wire.Version) {
		other := b.connect(v, "other")
		for granted := range byte(3) {
			id := fmt.Sprint("s", granted)
			s := b.connect(v, id, resume)
			s.subscribe(1, granted|4, id)
			for published := range byte(3) {
				s.publish(id, "own", published, uint16(published)+1)
			}
			s.expect("PUBACK #2 0x10", "PUBREC #3 0x10")
			s.ack(wire.PUBREL, 3)
			s.expect("PUBCOMP #3")
			other.publish(id, "another's", 0, 0)
			s.expect(`PUBLISH ` + id + ` "another's"`)
			s.lives()
			s.disconnect()
			b.resumed(v, id).lives()
		}
	})
}

// TestConform_3_10 has the statements of UNSUBSCRIBE and UNSUBACK.
func TestConform_3_10(t *testing.T) {
	shows(t, "[MQTT-3.10.4-1] [MQTT-3.1.1 3.10.4-1] filters are compared as they are written", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.subscribe(1, 1, "a/+", "a/b", "A/b")
		p.write(unsubscribePacket(v, 2, "", "a/#", "a/B", "#", "a/b/", "+/b", "a/\u0062\u0301"))
		p.expect(older(v, "UNSUBACK #2", "UNSUBACK #2"+strings.Repeat(" 0x11", 6)))
		p.write(unsubscribePacket(v, 3, "", "a/b"))
		p.expect(older(v, "UNSUBACK #3", "UNSUBACK #3 0x00"))
		q := b.connect(v, "q")
		q.publish("a/b", "m", 1, 1)
		q.publish("A/b", "m", 1, 2)
		p.expect(`PUBLISH a/b q1 #1 "m"`, `PUBLISH A/b q1 #2 "m"`)
	})
	shows(t, "[MQTT-3.10.4-2] [MQTT-3.1.1 3.10.4-2] nothing more comes, even to a session that is away", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s", resume)
		s.subscribe(1, 2, "t", "u")
		s.unsubscribe(2, "t")
		p := b.connect(v, "p")
		p.publish("t", "m", 1, 1)
		p.expect(older(v, "PUBACK #1", "PUBACK #1 0x10"))
		s.lives()
		s.disconnect()
		p.publish("t", "m", 1, 2)
		p.publish("u", "m", 1, 3)
		p.expect(older(v, "PUBACK #2", "PUBACK #2 0x10"), "PUBACK #3")
		s = b.resumed(v, "s")
		s.expect(`PUBLISH u q1 #1 "m"`)
		s.lives()
	})
	shows(t, "[MQTT-3.10.4-3] [MQTT-3.1.1 3.10.4-3] what is under way is brought to its end", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s", resume)
		s.subscribe(1, 2, "t")
		p := b.connect(v, "p")
		p.publish("t", "one", 1, 1)
		p.publish("t", "two", 2, 2)
		p.publish("t", "three", 2, 3)
		s.expect(`PUBLISH t q1 #1 "one"`, `PUBLISH t q2 #2 "two"`, `PUBLISH t q2 #3 "three"`)
		s.unsubscribe(2, "t")
		s.ack(wire.PUBREC, 2)
		s.expect("PUBREL #2")
		_ = s.nc.Close()
		synctest.Wait()
		s = b.resumed(v, "s")
		s.expect("PUBREL #2", `PUBLISH t q1 #1 dup "one"`, `PUBLISH t q2 #3 dup "three"`)
		s.ack(wire.PUBCOMP, 2)
		s.ack(wire.PUBACK, 1)
		s.ack(wire.PUBREC, 3)
		s.expect("PUBREL #3")
		s.ack(wire.PUBCOMP, 3)
		s.lives()
	})
	shows(t, "[MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.1.1 3.10.4-4] [MQTT-3.1.1 3.10.4-5] an UNSUBACK with its identifier, in any case", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		for _, id := range []uint16{1, 7, 7, 0xFFFF} {
			p.write(unsubscribePacket(v, id, "", "never"))
			p.expect(older(v, fmt.Sprintf("UNSUBACK #%d", id), fmt.Sprintf("UNSUBACK #%d 0x11", id)))
		}
		p.lives()
	})
	shows(t, "[MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2] [MQTT-3.1.1 3.10.4-6] many filters as if each had come alone", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.subscribe(1, 0, "a", "b", "c")
		p.write(unsubscribePacket(v, 2, "", "a", "a", "d+", "c"))
		p.expect(older(v, "UNSUBACK #2", "UNSUBACK #2 0x00 0x11 0x8f 0x00"))
		q := b.connect(v, "q")
		for _, topic := range []string{"a", "b", "c"} {
			q.publish(topic, "m", 0, 0)
		}
		q.lives()
		p.expect(`PUBLISH b "m"`)
		p.lives()
	})
	shows(t, "[MQTT-3.11.2-1] [MQTT-3.11.2-2] UNSUBACK says no more than its reasons", five, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c", properties(long(wire.MaximumPacketSize, 60)))
		p.subscribe(1, 0, "a")
		p.write(unsubscribePacket(v, 2, "", "a", "b", "c+"))
		p.expectBytes("\xB0\x06\x00\x02\x00\x00\x11\x8f")
	})
}

// TestConform_3_12: [MQTT-3.12.4-1] [MQTT-3.1.1 3.12.4-1], for every one, and
// before what comes behind it is answered.
func TestConform_3_12(t *testing.T) {
	shows(t, "[MQTT-3.12.4-1] [MQTT-3.1.1 3.12.4-1] PINGREQ is answered", slices.Concat([]wire.Version{wire.V31}, both), nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c", keepAlive(10))
		for range 3 {
			p.lives()
			time.Sleep(9 * time.Second)
		}
		go p.write(slices.Concat([]byte{0xC0, 0, 0xC0, 0}, unsubscribePacket(v, 1, "", "a"), []byte{0xC0, 0}))
		p.expect("PINGRESP", "PINGRESP")
		p.next()
		p.expect("PINGRESP")
	})
}
