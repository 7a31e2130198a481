package mqtt_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// TestConform_4_7_Names: what a topic name may be, and a filter.
func TestConform_4_7_Names(t *testing.T) {
	publishOf := func(topic string) func(wire.Version) []byte {
		return func(v wire.Version) []byte { return publishPacket(v, 0, topic, "", 0) }
	}
	longest := strings.Repeat("x", 65535)
	for _, row := range []said{
		{name: "[MQTT-4.7.0-1] [MQTT-3.1.1 4.7.1-1] # in a name", versions: both, send: publishOf("a/#"), end: wire.TopicNameInvalid},
		{name: "[MQTT-4.7.0-1] [MQTT-3.1.1 4.7.1-1] + in a name", versions: both, send: publishOf("a/+/b"), end: wire.TopicNameInvalid},
		{name: "[MQTT-4.7.0-1] [MQTT-3.1.1 4.7.1-1] + within a level of a name", versions: both, send: publishOf("a+b"), end: wire.TopicNameInvalid},
		{name: "[MQTT-4.7.3-1] [MQTT-3.1.1 4.7.3-1] empty name", versions: both, send: publishOf(""), end: wire.ProtocolError},
		{name: "[MQTT-4.7.3-2] [MQTT-3.1.1 4.7.3-2] NUL in a name", versions: both, send: publishOf("a\x00"), end: wire.MalformedPacket},
		{name: "[MQTT-4.7.3-2] [MQTT-3.1.1 4.7.3-2] NUL in a filter", versions: both, send: subscribeOf(0, "a\x00"), end: wire.MalformedPacket},
		{name: "[MQTT-4.7.3-3] [MQTT-3.1.1 4.7.3-3] the longest name", versions: both, send: publishOf(longest)},
		{name: "[MQTT-4.7.3-3] [MQTT-3.1.1 4.7.3-3] the longest filter", versions: both, send: subscribeOf(0, longest), hears: []string{"SUBACK #1 0x00"}},
		{name: "[MQTT-4.7.3-1] [MQTT-3.1.1 4.7.3-1] the shortest", versions: both, send: subscribeOf(0, "/", "a", " "), hears: []string{"SUBACK #1 0x00 0x00 0x00"}},
	} {
		row.test(t)
	}
	shows(t, "[MQTT-4.7.3-1] [MQTT-3.1.1 4.7.3-1] empty filter", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.write(subscribePacket(v, 1, "", 0, ""))
		p.expect("SUBACK #1 " + older(v, "0x80", "0x8f"))
		p.lives()
	})
	for statement, filters := range map[string]map[string]bool{
		"[MQTT-4.7.1-1] [MQTT-3.1.1 4.7.1-2]": {
			"#": true, "a/#": true, "/#": true, "+/#": true, "a/b/#": true,
			"a#": false, "a/b#": false, "#/a": false, "a/#/b": false, "##": false, "a/#b": false, "#/": false,
		},
		"[MQTT-4.7.1-2] [MQTT-3.1.1 4.7.1-3]": {
			"+": true, "a/+": true, "+/a": true, "a/+/b": true, "+/+": true, "/+": true, "+/": true,
			"a+": false, "+a": false, "a/b+": false, "a/+b/c": false, "++": false,
		},
		"[MQTT-4.8.2-1]": {"$share//t": false, "$share/": false, "$share": true, "$shared/g/t": true},
		"[MQTT-4.8.2-2]": {"$share/g": false, "$share/g/": false, "$share/g+/t": false, "$share/#/t": false, "$share/g#/t": false},
	} {
		shows(t, statement+" filters", both, nil, func(b *bed, v wire.Version) {
			p := b.connect(v, "c")
			for filter, good := range filters {
				p.write(subscribePacket(v, 1, "", 0, filter))
				if got, want := p.next(), older(v, "SUBACK #1 0x80", "SUBACK #1 0x8f"); (got == "SUBACK #1 0x00") != good || !good && got != want {
					b.t.Errorf("%s is answered with %s", filter, got)
				}
			}
			p.lives()
		})
	}
}

// TestConform_4_7_Matching has filters and topics that they match or not.
func TestConform_4_7_Matching(t *testing.T) {
	shows(t, "[MQTT-4.7.2-1] [MQTT-3.1.1 4.7.2-1] a wildcard in front does not match $", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "p")
		p.publishFlags(1, "$x/y", "kept", 0)
		p.lives()
		for _, filter := range []string{"#", "+/y", "+/+", "+/#"} {
			s := b.connect(v, "s")
			s.subscribe(1, 0, filter)
			p.publish("$x/y", "m", 0, 0)
			p.lives()
			s.lives()
		}
		for _, filter := range []string{"$x/#", "$x/+", "$x/y"} {
			s := b.connect(v, "s")
			s.subscribe(1, 0, filter)
			s.expect(`PUBLISH $x/y retain "kept"`)
			p.publish("$x/y", "m", 0, 0)
			s.expect(`PUBLISH $x/y "m"`)
		}
	})
	shows(t, "[MQTT-4.7.3-4] [MQTT-3.1.1 4.7.3-4] nothing is normalized", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "p")
		topics := []string{
			"a/b", "a//b", "/a/b", "a/b/", "A/b", "a/b ", " a/b", "a/./b", "a/../b", "\u00e9", "e\u0301", "\ufeffa/b", "a%2Fb", "a\\/b", "*/b",
		}
		for i, filter := range topics {
			s := b.connect(v, "s")
			s.subscribe(1, 0, filter)
			for j, topic := range topics {
				p.publish(topic, fmt.Sprint(j), 0, 0)
			}
			p.lives()
			s.expect(fmt.Sprintf(`PUBLISH %s "%d"`, topics[i], i)) // as it was written
			s.lives()
		}
	})
}

// TestConform_4_9: flow control.
func TestConform_4_9(t *testing.T) {
	most := func(n uint16) func(*connectPacket) { return properties(short(wire.ReceiveMaximum, n)) }
	shows(t, "[MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-4.9.0-3] [MQTT-3.3.4-9] [MQTT-3.3.4-10] no more than the receive maximum, and everything else goes on", five, nil, func(b *bed, v wire.Version) {
		for _, n := range []uint16{1, 2, 5} {
			p, s := b.connect(v, "p"), b.connect(v, "s", most(n))
			s.subscribe(1, 2, "t")
			for id := range n + 3 {
				p.publish("t", "m", byte(id%2)+1, id+1)
				p.next()
			}
			for id := range n {
				s.expect(fmt.Sprintf(`PUBLISH t q%d #%d "m"`, id%2+1, id+1))
			}
			s.silence(time.Minute)
			s.lives()
			s.write(subscribePacket(v, 2, "", 0, "u"))
			s.expect("SUBACK #2 0x00")
			s.publish("u", "own", 0, 0)
			s.expect(`PUBLISH u "own"`) // QoS 0 takes no quota
			s.publish("x", "m", 1, 9)
			s.expect("PUBACK #9 0x10")
			s.publish("x", "m", 2, 9)
			s.expect("PUBREC #9 0x10")
			s.ack(wire.PUBREL, 9)
			s.expect("PUBCOMP #9")
			s.write(unsubscribePacket(v, 3, "", "u"))
			s.expect("UNSUBACK #3 0x00")
			s.ack(wire.PUBACK, 1)
			s.expect(fmt.Sprintf(`PUBLISH t q%d #%d "m"`, n%2+1, n+1))
			s.disconnect()
		}
	})
	shows(t, "[MQTT-4.9.0-2] PUBREC gives nothing back, PUBCOMP does", five, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s", most(1))
		s.subscribe(1, 2, "t")
		p := b.connect(v, "p")
		p.publish("t", "one", 2, 1)
		p.publish("t", "two", 2, 2)
		s.expect(`PUBLISH t q2 #1 "one"`)
		s.ack(wire.PUBREC, 1)
		s.expect("PUBREL #1")
		s.silence(time.Minute)
		s.ack(wire.PUBCOMP, 1)
		s.expect(`PUBLISH t q2 #2 "two"`)
	})
	shows(t, "[MQTT-4.9.0-2] a client cannot earn more than its maximum", five, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s", most(1))
		s.subscribe(1, 2, "t")
		for id := range uint16(5) {
			s.ack(wire.PUBACK, id+1)
			s.ack(wire.PUBCOMP, id+1)
		}
		p := b.connect(v, "p")
		p.publish("t", "one", 1, 1)
		p.publish("t", "two", 1, 2)
		s.expect(`PUBLISH t q1 #1 "one"`)
		s.silence(time.Minute)
	})
}

// TestConform_4_12: what a client without an authentication method is not sent.
// TestEnhancedAuthentication has the rest.
func TestConform_4_12(t *testing.T) {
	shows(t, "[MQTT-4.12.0-6] neither AUTH nor a method for who has named none", five, func(s *setup) { s.scram = true }, func(b *bed, v wire.Version) {
		p := b.dial(v)
		p.write(connect(v, "c", login("guest", "guest")))
		p.expect("CONNACK 0x00" + offered)
		p.silence(time.Minute)
	})
	shows(t, "[MQTT-4.12.0-1] [MQTT-4.12.0-4] [MQTT-3.1.4-2] [MQTT-3.1.4-6] who is refused is cut off, and not listened to", five, func(s *setup) { s.scram = true }, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.subscribe(1, 0, "#")
		for _, method := range []string{"PLAIN", "", auth.SCRAMSHA256} {
			p := b.dial(v)
			hello := connect(v, "c", byMethod(method, "?"))
			p.say(append(hello, publishPacket(v, 0, "t", "m", 0)...))
			p.expect("CONNACK " + map[bool]string{true: "0x87", false: "0x8c"}[method == auth.SCRAMSHA256])
			p.gone()
		}
		s.lives()
	})
}

// TestConform_4_13: errors.
func TestConform_4_13(t *testing.T) {
	for _, row := range []said{
		{name: "[MQTT-4.13.1-1] [MQTT-3.1.1 4.8.0-1] malformed packet", versions: both, send: raw("\x00\x00"), end: wire.MalformedPacket},
		{name: "[MQTT-4.13.1-1] [MQTT-3.1.1 4.8.0-1] protocol error", versions: both, send: raw("\x20\x02\x00\x00"), end: wire.ProtocolError},
		{name: "[MQTT-4.13.1-1] [MQTT-3.1.1 4.8.0-1] packet too large", versions: both, send: raw("\x30\xff\xff\xff\x7f"), end: wire.PacketTooLarge},
		{name: "[MQTT-4.13.1-1] [MQTT-3.1.1 4.8.0-1] packet of a server", versions: both, send: raw("\xD0\x00"), end: wire.ProtocolError},
	} {
		row.test(t)
	}
	shows(t, "[MQTT-4.13.2-1] nobody else is concerned", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.subscribe(1, 0, "t")
		p := b.connect(v, "p")
		p.say([]byte{0, 0})
		p.dropped(wire.MalformedPacket)
		b.connect(v, "q").publish("t", "m", 0, 0)
		s.expect(`PUBLISH t "m"`)
		s.lives()
	})
}
