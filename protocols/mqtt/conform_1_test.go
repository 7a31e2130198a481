package mqtt_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// TestConform_1_5_4_Malformed puts what is not UTF-8 wherever a client may send
// text: the packet is malformed.
func TestConform_1_5_4_Malformed(t *testing.T) {
	bad := map[string]string{
		"[MQTT-1.5.4-1] a surrogate":          "a\xed\xa0\x80",
		"[MQTT-1.5.4-1] overlong":             "a\xc0\xaf",
		"[MQTT-1.5.4-1] beyond U+10FFFF":      "a\xf4\x90\x80\x80",
		"[MQTT-1.5.4-1] cut short":            "a\xe2\x82",
		"[MQTT-1.5.4-1] a continuation byte":  "\x80",
		"[MQTT-1.5.4-2] NUL":                  "\x00",
		"[MQTT-1.5.4-2] NUL in a longer text": "abcdefgh\x00",
		"[MQTT-1.5.4-1] behind what is UTF-8": strings.Repeat("x", 70) + "\xff",
	}
	hello := func(change func(c *connectPacket, s string)) func(v wire.Version, s string) []byte {
		return func(v wire.Version, s string) []byte {
			return connect(v, "c", func(c *connectPacket) { change(c, s) })
		}
	}
	ofWill := func(property func(s string) string) func(v wire.Version, s string) []byte {
		return hello(func(c *connectPacket, s string) { will("w", "", 0, false, property(s))(c) })
	}
	ofPublish := func(property func(s string) string) func(v wire.Version, s string) []byte {
		return func(v wire.Version, s string) []byte { return publishPacket(v, 0, "t", "", 0, property(s)) }
	}
	value := func(id wire.Property) func(s string) string {
		return func(s string) string { return str(id, s) }
	}
	name := func(s string) string { return user(s, "v") }
	pair := func(s string) string { return user("n", s) }
	for _, place := range []struct {
		name     string
		versions []wire.Version
		send     func(v wire.Version, s string) []byte
	}{
		{"[MQTT-3.1.3-4] [MQTT-3.1.1 3.1.3-4] client identifier", both, hello(func(c *connectPacket, s string) { c.id = s })},
		{"[MQTT-3.1.3-11] [MQTT-3.1.1 3.1.3-10] will topic", both, hello(func(c *connectPacket, s string) { will(s, "", 0, false, "")(c) })},
		{"[MQTT-3.1.3-12] [MQTT-3.1.1 3.1.3-11] user name", both, hello(func(c *connectPacket, s string) { login(s, "")(c) })},
		{"authentication method", five, hello(func(c *connectPacket, s string) { properties(value(wire.AuthenticationMethod)(s))(c) })},
		{"[MQTT-1.5.7-1] name of a property of CONNECT", five, hello(func(c *connectPacket, s string) { properties(name(s))(c) })},
		{"[MQTT-1.5.7-1] value of a property of CONNECT", five, hello(func(c *connectPacket, s string) { properties(pair(s))(c) })},
		{"content type of a will", five, ofWill(value(wire.ContentType))},
		{"response topic of a will", five, ofWill(value(wire.ResponseTopic))},
		{"[MQTT-1.5.7-1] property of a will", five, ofWill(pair)},

		{"[MQTT-3.3.2-1] [MQTT-3.1.1 3.3.2-1] topic", both, func(v wire.Version, s string) []byte { return publishPacket(v, 0, s, "", 0) }},
		{"[MQTT-3.3.2-1] [MQTT-3.1.1 3.3.2-1] topic of a large PUBLISH", both, func(v wire.Version, s string) []byte {
			return publishPacket(v, 0, s, strings.Repeat("x", 40<<10), 0)
		}},
		{"[MQTT-3.3.2-13] response topic", five, ofPublish(value(wire.ResponseTopic))},
		{"[MQTT-3.3.2-19] content type", five, ofPublish(value(wire.ContentType))},
		{"[MQTT-1.5.7-1] name of a property of PUBLISH", five, ofPublish(name)},
		{"[MQTT-1.5.7-1] value of a property of PUBLISH", five, ofPublish(pair)},
		{"reason string of PUBACK", five, func(_ wire.Version, s string) []byte {
			return ackPacket(wire.PUBACK, 1, 0, str(wire.ReasonString, s))
		}},
		{"reason string of PUBREC", five, func(_ wire.Version, s string) []byte {
			return ackPacket(wire.PUBREC, 1, 0, str(wire.ReasonString, s))
		}},
		{"[MQTT-1.5.7-1] property of PUBREL", five, func(_ wire.Version, s string) []byte {
			return ackPacket(wire.PUBREL, 1, 0, user(s, ""))
		}},
		{"[MQTT-1.5.7-1] property of PUBCOMP", five, func(_ wire.Version, s string) []byte {
			return ackPacket(wire.PUBCOMP, 1, 0, user("", s))
		}},
		{"filter", both, func(v wire.Version, s string) []byte { return subscribePacket(v, 1, "", 0, "a", s) }},
		{"[MQTT-1.5.7-1] property of SUBSCRIBE", five, func(v wire.Version, s string) []byte {
			return subscribePacket(v, 1, user(s, ""), 0, "a")
		}},
		{"filter to be ended", both, func(v wire.Version, s string) []byte { return unsubscribePacket(v, 1, "", "a", s) }},
		{"[MQTT-1.5.7-1] property of UNSUBSCRIBE", five, func(v wire.Version, s string) []byte {
			return unsubscribePacket(v, 1, user("", s), "a")
		}},
		{"reason string of DISCONNECT", five, func(_ wire.Version, s string) []byte {
			return packet(0xE0, "\x00"+section(str(wire.ReasonString, s)))
		}},
		{"method of AUTH", five, func(_ wire.Version, s string) []byte {
			return packet(0xF0, "\x18"+section(str(wire.AuthenticationMethod, s)))
		}},
	} {
		shows(t, place.name, place.versions, nil, func(b *bed, v wire.Version) {
			for name, s := range bad {
				said := place.send(v, s)
				p := b.dial(v)
				if said[0] != 0x10 {
					p = b.connect(v, "c")
				}
				p.fares(name, said, wire.MalformedPacket)
			}
		})
	}
}

// TestConform_1_5_4_Kept: what is text passes as it is, at the beginning of a
// string and within.
func TestConform_1_5_4_Kept(t *testing.T) {
	for name, s := range map[string]string{
		"[MQTT-1.5.4-3] a byte order mark":        "\ufeff",
		"[MQTT-1.5.4-3] one before other letters": "\ufeffab",
		"[MQTT-1.5.4-3] one behind other letters": "ab\ufeff",
		"control characters":                      "\x01\x1f\x7f\u0080",
		"a code point that is no character":       "\uffff",
		"the last one there is":                   "\U0010ffff",
	} {
		shows(t, name, both, nil, func(b *bed, v wire.Version) {
			p := b.connect(v, s+"t")
			for _, filter := range []string{s + "t", s + "/+"} {
				p.subscribe(1, 0, filter)
			}
			if stripped := strings.ReplaceAll(s+"t", "\ufeff", ""); stripped != s+"t" {
				other := b.connect(v, stripped) // which is another client
				other.subscribe(1, 0, stripped) // and another topic
				defer other.lives()
			}
			for _, topic := range []string{s + "t", s + "/" + s} {
				p.publish(topic, "m", 0, 0)
				p.expect("PUBLISH " + topic + ` "m"`)
			}
			p.lives()
		})
		shows(t, name+", in properties", five, nil, func(b *bed, v wire.Version) {
			p := b.connect(v, "c")
			p.subscribe(1, 0, "t")
			p.publish("t", "m", 0, 0, str(wire.ContentType, s)+user(s, s)+str(wire.ResponseTopic, s))
			p.expect(fmt.Sprintf("PUBLISH t 3=%q %s:%s 8=%q %q", s, s, s, s, "m"))
		})
	}
}

// TestConform_1_5_5: a variable byte integer has as few bytes as there can be,
// both ways. A remaining length with more is understood all the same.
func TestConform_1_5_5(t *testing.T) {
	const padded = "\x80\x00"
	for name, packet := range map[string][]byte{
		"properties of PUBLISH":      packet(0x30, text("t")+padded),
		"properties of PUBACK":       packet(0x40, "\x00\x01\x00"+padded),
		"properties of PUBREC":       packet(0x50, "\x00\x01\x00"+padded),
		"properties of PUBREL":       packet(0x62, "\x00\x01\x00"+padded),
		"properties of PUBCOMP":      packet(0x70, "\x00\x01\x00"+padded),
		"properties of SUBSCRIBE":    packet(0x82, "\x00\x01"+padded+text("t")+"\x00"),
		"properties of UNSUBSCRIBE":  packet(0xA2, "\x00\x01"+padded+text("t")),
		"properties of DISCONNECT":   packet(0xE0, "\x00"+padded),
		"properties of AUTH":         packet(0xF0, "\x18"+padded),
		"subscription identifier":    subscribePacket(wire.V5, 1, "\x0b\x81\x00", 0, "t"),
		"properties of five bytes":   packet(0x30, text("t")+"\xff\xff\xff\xff\x01"),
		"identifier of five bytes":   subscribePacket(wire.V5, 1, "\x0b\xff\xff\xff\xff\x01", 0, "t"),
		"remaining length of five":   {0x30, 0xff, 0xff, 0xff, 0xff, 0x01},
		"properties of a large one":  append([]byte("\x30\x80\x80\x03"+text("t")+padded), make([]byte, 0xC000-5)...),
		"properties of CONNECT":      packet(0x10, text("MQTT")+"\x05\x02\x00\x00"+padded+text("c")),
		"properties of a will":       packet(0x10, text("MQTT")+"\x05\x06\x00\x00\x00"+text("c")+padded+text("w")+text("")),
		"properties of CONNECT long": packet(0x10, text("MQTT")+"\x05\x02\x00\x00\xff\xff\xff\xff\x01"+text("c")),
	} {
		shows(t, "[MQTT-1.5.5-1] "+name, five, nil, func(b *bed, v wire.Version) {
			p := b.dial(v)
			if packet[0] != 0x10 {
				p = b.connect(v, "c")
			}
			p.fares(name, packet, wire.MalformedPacket)
		})
	}
	shows(t, "a remaining length with more bytes", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.write([]byte("\xC0\x80\x80\x00"))
		p.expect("PINGRESP")
	})
	shows(t, "[MQTT-1.5.5-1] remaining lengths of deliveries", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.subscribe(1, 0, "t")
		head := len(publishPacket(v, 0, "t", "", 0)) - 2
		for _, length := range []int{head, 127, 128, 16383, 16384, 2097151, 2097152} {
			payload := strings.Repeat("x", length-head)
			m := publishPacket(v, 0, "t", payload, 0) // which is as short as it can be
			p.say(m)
			p.expectBytes(string(m))
		}
	})
	shows(t, "[MQTT-1.5.5-1] property lengths and subscription identifiers of deliveries", five, nil, func(b *bed, v wire.Version) {
		for _, id := range []string{"\x01", "\x7f", "\x80\x01", "\xff\x7f", "\x80\x80\x01", "\xff\xff\x7f", "\x80\x80\x80\x01", "\xff\xff\xff\x7f"} {
			p := b.connect(v, "c")
			if got := p.subscribeWith(1, "\x0b"+id, 0, "t"); got != "SUBACK #1 0x00" {
				b.t.Fatal(got)
			}
			for _, size := range []int{1, 126 - len(id), 127 - len(id), 16383} {
				value := strings.Repeat("x", max(0, size-5))
				p.publish("t", "", 0, 0, user("", value))
				p.expectBytes(string(publishPacket(v, 0, "t", "", 0, "\x0b"+id, user("", value))))
			}
			p.disconnect()
		}
	})
	shows(t, "lengths that arrive a byte at a time", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.subscribe(1, 0, "t")
		m := publishPacket(v, 0, "t", strings.Repeat("x", 200), 0)
		for _, c := range m {
			p.write([]byte{c})
		}
		p.expectBytes(string(m))
		p.silence(time.Second)
	})
}
