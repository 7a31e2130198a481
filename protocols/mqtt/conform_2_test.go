package mqtt_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// TestConform_2_1_3 sends every packet type with every combination of flags that
// is not one of table 2-2: [MQTT-2.1.3-1]. The server's own flags are checked
// wherever a peer reads a packet.
func TestConform_2_1_3(t *testing.T) {
	bodies := func(v wire.Version) map[wire.PacketType][]byte {
		return map[wire.PacketType][]byte{
			wire.CONNECT: connect(v, "c"), wire.CONNACK: packet(0x20, "\x00\x00"), wire.PUBLISH: publishPacket(v, 2, "t", "", 1),
			wire.PUBACK: packet(0x40, "\x00\x01"), wire.PUBREC: packet(0x50, "\x00\x01"), wire.PUBREL: packet(0x62, "\x00\x01"),
			wire.PUBCOMP: packet(0x70, "\x00\x01"), wire.SUBSCRIBE: subscribePacket(v, 1, "", 0, "t"), wire.SUBACK: packet(0x90, "\x00\x01\x00"),
			wire.UNSUBSCRIBE: unsubscribePacket(v, 1, "", "t"), wire.UNSUBACK: packet(0xB0, "\x00\x01\x00"), wire.PINGREQ: packet(0xC0, ""),
			wire.PINGRESP: packet(0xD0, ""), wire.DISCONNECT: packet(0xE0, ""), wire.AUTH: packet(0xF0, "\x18"+section(str(wire.AuthenticationMethod, "m"))),
		}
	}
	shows(t, "[MQTT-2.1.3-1] [MQTT-3.1.1 2.2.2-1] [MQTT-3.1.1 2.2.2-2] reserved flags", both, nil, func(b *bed, v wire.Version) {
		for kind, packet := range bodies(v) {
			for flags := range byte(16) {
				want := wire.MalformedPacket
				switch {
				case kind == wire.PUBLISH && flags&6 == 6: // [MQTT-3.3.1-4]
				case kind == wire.PUBLISH && flags&14 == 8: // [MQTT-3.3.1-2]
					want = wire.ProtocolError
				case kind == wire.PUBLISH || packet[0]&15 == flags:
					continue
				}
				packet := slices.Clone(packet)
				packet[0] = byte(kind)<<4 | flags
				b.connect(v, "c").fares(fmt.Sprint(kind, " with flags ", flags), packet, want)
			}
		}
	})
	shows(t, "[MQTT-2.1.3-1] [MQTT-3.1.1 2.2.2-1] [MQTT-3.1.1 2.2.2-2] reserved flags of the first packet", both, nil, func(b *bed, v wire.Version) {
		for flags := byte(1); flags < 16; flags++ {
			hello := connect(v, "c")
			hello[0] |= flags
			p := b.dial(v)
			p.say(hello)
			p.gone()
		}
	})
	shows(t, "packet types that are none, or none of a client's", both, nil, func(b *bed, v wire.Version) {
		b.connect(v, "c").fares("type 0", packet(0, ""), wire.MalformedPacket)
		for _, kind := range []wire.PacketType{wire.CONNACK, wire.SUBACK, wire.UNSUBACK, wire.PINGRESP} {
			b.connect(v, "c").fares(kind.String(), bodies(v)[kind], wire.ProtocolError)
		}
	})
}

// TestConform_2_1_4: what the remaining length promises is neither more nor less
// than what belongs to the packet.
func TestConform_2_1_4(t *testing.T) {
	for name, send := range map[string]func(wire.Version) []byte{
		"PUBLISH shorter than its topic":    raw("\x30\x03\x00\x05a"),
		"PUBLISH shorter than its id":       raw("\x32\x04\x00\x01a\x00"),
		"PUBACK shorter than its id":        raw("\x40\x01\x00"),
		"PUBREC shorter than its id":        raw("\x50\x01\x00"),
		"PUBREL shorter than its id":        raw("\x62\x01\x00"),
		"PUBCOMP shorter than its id":       raw("\x70\x01\x00"),
		"SUBSCRIBE shorter than its id":     raw("\x82\x01\x00"),
		"SUBSCRIBE shorter than its filter": func(v wire.Version) []byte { return cut(subscribePacket(v, 1, "", 0, "a/b"), 2) },
		"SUBSCRIBE without options":         func(v wire.Version) []byte { return cut(subscribePacket(v, 1, "", 0, "a/b"), 1) },
		"UNSUBSCRIBE shorter than its id":   raw("\xA2\x01\x00"),
		"UNSUBSCRIBE shorter than its filter": func(v wire.Version) []byte {
			return cut(unsubscribePacket(v, 1, "", "a/b"), 1)
		},
		"PINGREQ with a body": raw("\xC0\x01\x00"),
	} {
		row := said{name: name, versions: both, send: send, end: wire.MalformedPacket}
		row.test(t)
	}
	for name, send := range map[string]func(wire.Version) []byte{
		"PUBACK":     raw("\x40\x05\x00\x01\x00\x00\x00"),
		"PUBREC":     raw("\x50\x05\x00\x01\x00\x00\x00"),
		"PUBREL":     raw("\x62\x05\x00\x01\x00\x00\x00"),
		"PUBCOMP":    raw("\x70\x05\x00\x01\x00\x00\x00"),
		"DISCONNECT": raw("\xE0\x03\x00\x00\x00"),
	} {
		row := said{name: "bytes behind the properties of " + name, versions: both, send: send, end: wire.MalformedPacket}
		row.test(t)
	}
	shows(t, "packets that end before they begin", both, nil, func(b *bed, v wire.Version) {
		for kind := byte(1); kind < 16; kind++ {
			want := wire.MalformedPacket
			switch wire.PacketType(kind) { //nolint:exhaustive // the others need a body
			case wire.PINGREQ, wire.DISCONNECT:
				continue // have none
			case wire.CONNECT, wire.CONNACK, wire.SUBACK, wire.UNSUBACK, wire.PINGRESP, wire.AUTH:
				want = wire.ProtocolError // whatever is in them
			}
			first := kind << 4
			if kind == byte(wire.PUBREL) || kind == byte(wire.SUBSCRIBE) || kind == byte(wire.UNSUBSCRIBE) {
				first |= 2
			}
			b.connect(v, "c").fares(wire.PacketType(kind).String(), []byte{first, 0}, want)
		}
	})
}

// cut takes n bytes off a short packet's end.
func cut(packet []byte, n int) []byte {
	packet[1] -= byte(n)
	return packet[:len(packet)-n]
}

// TestConform_2_2_1 has the statements of packet identifiers.
func TestConform_2_2_1(t *testing.T) {
	for _, row := range []said{
		{name: "[MQTT-2.2.1-3] [MQTT-3.1.1 2.3.1-1] PUBLISH of QoS 1 with 0", versions: both, send: func(v wire.Version) []byte { return publishPacket(v, 2, "t", "", 0) }, end: wire.ProtocolError},
		{name: "[MQTT-2.2.1-3] [MQTT-3.1.1 2.3.1-1] PUBLISH of QoS 2 with 0", versions: both, send: func(v wire.Version) []byte { return publishPacket(v, 4, "t", "", 0) }, end: wire.ProtocolError},
		{name: "[MQTT-2.2.1-3] [MQTT-3.1.1 2.3.1-1] SUBSCRIBE with 0", versions: both, send: func(v wire.Version) []byte { return subscribePacket(v, 0, "", 0, "t") }, end: wire.ProtocolError},
		{name: "[MQTT-2.2.1-3] [MQTT-3.1.1 2.3.1-1] UNSUBSCRIBE with 0", versions: both, send: func(v wire.Version) []byte { return unsubscribePacket(v, 0, "", "t") }, end: wire.ProtocolError},
		{name: "PUBACK of 0", versions: both, send: raw("\x40\x02\x00\x00"), end: wire.ProtocolError},
		{name: "PUBREC of 0", versions: both, send: raw("\x50\x02\x00\x00"), end: wire.ProtocolError},
		{name: "PUBREL of 0", versions: both, send: raw("\x62\x02\x00\x00"), end: wire.ProtocolError},
		{name: "PUBCOMP of 0", versions: both, send: raw("\x70\x02\x00\x00"), end: wire.ProtocolError},
		{
			name: "[MQTT-2.2.1-2] [MQTT-3.1.1 2.3.1-5] what follows the topic of QoS 0 is no identifier", versions: []wire.Version{wire.V311},
			send: func(v wire.Version) []byte {
				return append(subscribePacket(v, 1, "", 0, "t"), packet(0x30, text("t")+"\x00\x00")...)
			}, hears: []string{"SUBACK #1 0x00", `PUBLISH t "\x00\x00"`},
		},
	} {
		row.test(t)
	}
	shows(t, "[MQTT-2.2.1-2] [MQTT-3.1.1 2.3.1-5] a delivery of QoS 0 has none", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.subscribe(1, 0, "t")
		p.publish("t", "m", 0, 0)
		p.expectBytes(string(publishPacket(v, 0, "t", "m", 0)))
	})
	shows(t, "[MQTT-2.2.1-5] [MQTT-2.2.1-6] [MQTT-3.1.1 2.3.1-6] [MQTT-3.1.1 2.3.1-7] answers have that of what they answer", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		for _, id := range []uint16{1, 0x1234, 0xFF00, 0xFFFF} {
			p.write(subscribePacket(v, id, "", 2, "t"))
			p.expect(fmt.Sprintf("SUBACK #%d 0x02", id))
			p.write(unsubscribePacket(v, id, "", "t"))
			p.expect(map[wire.Version]string{wire.V311: fmt.Sprintf("UNSUBACK #%d", id), wire.V5: fmt.Sprintf("UNSUBACK #%d 0x00", id)}[v])
		}
		s := b.connect(v, "s")
		s.subscribe(1, 2, "t")
		for i, id := range []uint16{1, 0x1234, 0xFF00, 0xFFFF} {
			p.publish("t", "m", 1, id)
			p.expect(fmt.Sprintf("PUBACK #%d", id))
			p.publish("t", "m", 2, id)
			p.expect(fmt.Sprintf("PUBREC #%d", id))
			p.ack(wire.PUBREL, id)
			p.expect(fmt.Sprintf("PUBCOMP #%d", id))
			// What the server says of its own deliveries has their identifiers.
			s.expect(fmt.Sprintf(`PUBLISH t q1 #%d "m"`, 2*i+1), fmt.Sprintf(`PUBLISH t q2 #%d "m"`, 2*i+2))
			s.ack(wire.PUBACK, uint16(2*i+1))
			s.ack(wire.PUBREC, uint16(2*i+2))
			s.expect(fmt.Sprintf("PUBREL #%d", 2*i+2))
			s.ack(wire.PUBCOMP, uint16(2*i+2))
		}
	})
	shows(t, "both sides may use the same at once", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.subscribe(1, 2, "t")
		p.publish("t", "m", 2, 1)
		p.expectBoth("PUBREC #1", `PUBLISH t q2 #1 "m"`)
		p.ack(wire.PUBREC, 1)
		p.expect("PUBREL #1")
		p.ack(wire.PUBREL, 1)
		p.expect("PUBCOMP #1")
		p.ack(wire.PUBCOMP, 1)
		p.lives()
	})
	shows(t, "[MQTT-2.2.1-4] a delivery has one that is unused and not 0", five, nil, identifiersGoRound)
}

// identifiersGoRound lets the server use up all identifiers there are, while one
// of QoS 1 and one that waits for PUBCOMP are in use.
func identifiersGoRound(b *bed, v wire.Version) {
	const batch = 4096
	s := b.connect(v, "s", properties(short(wire.ReceiveMaximum, batch+2)))
	s.subscribe(1, 2, "t")
	p := b.connect(v, "p")
	p.publish("t", "m", 1, 1)
	p.publish("t", "m", 2, 2)
	s.expect(`PUBLISH t q1 #1 "m"`, `PUBLISH t q2 #2 "m"`)
	s.ack(wire.PUBREC, 2)
	s.expect("PUBREL #2")
	other := b.other()
	last := uint16(2)
	for range 1<<16/batch + 1 {
		for range batch {
			m := &core.Message{Exchange: core.TopicExchange, Key: "t", Persistent: true}
			if n, err := other.Publish(m, nil, 0); n != 1 || err != nil {
				b.t.Fatal(n, err)
			}
		}
		var acks []byte
		for range batch {
			f, err := s.frame()
			if err != nil {
				b.t.Fatal(err)
			}
			id := binary.BigEndian.Uint16(f.Body[3:])
			if last++; last == 0 {
				last = 3 // the first that is free
			}
			if id != last {
				b.t.Fatalf("identifier %d in place of %d", id, last)
			}
			acks = wire.AppendAck(acks, wire.PUBACK, v, wire.Ack{PacketID: id})
		}
		s.write(acks)
	}
}

// TestConform_2_2_2_NoProperties: [MQTT-2.2.2-1], both ways. The acknowledgements
// and DISCONNECT may leave the length out.
func TestConform_2_2_2_NoProperties(t *testing.T) {
	for _, row := range []said{
		{name: "[MQTT-2.2.2-1] PUBLISH", versions: five, send: raw("\x30\x03\x00\x01t"), end: wire.MalformedPacket},
		{name: "[MQTT-2.2.2-1] PUBLISH of QoS 1", versions: five, send: raw("\x32\x05\x00\x01t\x00\x01"), end: wire.MalformedPacket},
		{name: "[MQTT-2.2.2-1] SUBSCRIBE", versions: five, send: raw("\x82\x02\x00\x01"), end: wire.MalformedPacket},
		{name: "[MQTT-2.2.2-1] UNSUBSCRIBE", versions: five, send: raw("\xA2\x02\x00\x01"), end: wire.MalformedPacket},
		{name: "AUTH with nothing but a reason", versions: five, send: raw("\xF0\x01\x18"), end: wire.MalformedPacket},
		{name: "section 3.4.2.2.1: PUBACK", versions: five, send: raw("\x40\x03\x00\x01\x00")},
		{name: "section 3.6.2.2.1: PUBREL", versions: five, send: raw("\x62\x03\x00\x01\x00"), hears: []string{"PUBCOMP #1 0x92"}},
	} {
		row.test(t)
	}
	shows(t, "[MQTT-2.2.2-1] CONNECT", five, nil, func(b *bed, v wire.Version) {
		b.dial(v).fares("CONNECT", packet(0x10, text("MQTT")+"\x05\x02\x00\x00"), wire.MalformedPacket)
		b.dial(v).fares("will", packet(0x10, text("MQTT")+"\x05\x06\x00\x00\x00"+text("c")), wire.MalformedPacket)
	})
	shows(t, "[MQTT-2.2.2-1] what the server sends", five, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.write(subscribePacket(v, 1, "", 0, "t"))
		p.expectBytes("\x90\x04\x00\x01\x00\x00")
		p.publish("t", "m", 0, 0)
		p.expectBytes("\x30\x05\x00\x01t\x00m")
		p.write(unsubscribePacket(v, 1, "", "t"))
		p.expectBytes("\xB0\x04\x00\x01\x00\x00")
	})
}

// carriers are what table 2-4 says may have properties, of what a client sends:
// each with the section that it is given.
func carriers(properties string) map[string][]byte {
	ofAuth := properties
	if method := str(wire.AuthenticationMethod, auth.SCRAMSHA256); !strings.HasPrefix(properties, method) {
		ofAuth = method + properties // which has to be there
	}
	return map[string][]byte{
		"CONNECT":     connect(wire.V5, "c", func(c *connectPacket) { c.properties = properties }),
		"Will":        connect(wire.V5, "c", will("w", "", 0, false, properties)),
		"PUBLISH":     publishPacket(wire.V5, 0, "t", "", 0, properties),
		"PUBACK":      ackPacket(wire.PUBACK, 1, 0, properties),
		"PUBREC":      ackPacket(wire.PUBREC, 1, 0, properties),
		"PUBREL":      ackPacket(wire.PUBREL, 1, 0, properties),
		"PUBCOMP":     ackPacket(wire.PUBCOMP, 2, wire.PacketIDNotFound, properties),
		"SUBSCRIBE":   subscribePacket(wire.V5, 1, properties, 0, "t"),
		"UNSUBSCRIBE": unsubscribePacket(wire.V5, 1, properties, "t"),
		"DISCONNECT":  packet(0xE0, "\x00"+section(properties)),
		"AUTH":        packet(0xF0, "\x18"+section(ofAuth)),
	}
}

// TestConform_2_2_2_Table_2_4 sends every property with everything that has
// properties: what may not have it is malformed (section 2.2.2.2), twice is a
// protocol error for all but user properties, and so is what only a server may
// say, here in brackets.
func TestConform_2_2_2_Table_2_4(t *testing.T) {
	number := strings.Repeat("\x00", 3) + "\x01"
	for _, tt := range []struct {
		id    wire.Property
		value string
		in    string
	}{
		{wire.PayloadFormat, "\x01", "PUBLISH Will"},
		{wire.MessageExpiry, number, "PUBLISH Will"},
		{wire.ContentType, text("x"), "PUBLISH Will"},
		{wire.ResponseTopic, text("x"), "PUBLISH Will"},
		{wire.CorrelationData, text("x"), "PUBLISH Will"},
		{wire.SubscriptionIdentifier, "\x01", "(PUBLISH) SUBSCRIBE"}, // [MQTT-3.3.4-6]
		{wire.SessionExpiry, number, "CONNECT DISCONNECT"},
		{wire.AssignedClientID, text("x"), ""},
		{wire.ServerKeepAlive, "\x00\x01", ""},
		{wire.AuthenticationMethod, text(auth.SCRAMSHA256), "CONNECT AUTH"},
		{wire.AuthenticationData, text("n,,n=device,r=x"), "CONNECT AUTH"},
		{wire.RequestProblemInfo, "\x01", "CONNECT"},
		{wire.WillDelay, number, "Will"},
		{wire.RequestResponseInfo, "\x01", "CONNECT"},
		{wire.ResponseInfo, text("x"), ""},
		{wire.ServerReference, text("x"), "(DISCONNECT)"},
		{wire.ReasonString, text("x"), "PUBACK PUBREC PUBREL PUBCOMP DISCONNECT AUTH"},
		{wire.ReceiveMaximum, "\x00\x01", "CONNECT"},
		{wire.TopicAliasMaximum, "\x00\x01", "CONNECT"},
		{wire.TopicAlias, "\x00\x01", "PUBLISH"},
		{wire.MaximumQoS, "\x01", ""},
		{wire.RetainAvailable, "\x01", ""},
		{wire.User, text("a") + text("b"), "CONNECT Will PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE UNSUBSCRIBE DISCONNECT AUTH"},
		{wire.MaximumPacketSize, "\x00\x00\x10\x00", "CONNECT"},
		{wire.WildcardAvailable, "\x01", ""},
		{wire.SubscriptionIDs, "\x01", ""},
		{wire.SharedAvailable, "\x01", ""},
		{0, "", ""},
		{4, "\x01", ""},
		{43, "\x01", ""},
		{0x80, "\x01\x01", ""}, // 128: the identifier is a variable byte integer
	} {
		shows(t, fmt.Sprint("property ", tt.id), five, func(s *setup) { s.scram = true }, func(b *bed, _ wire.Version) {
			owners := strings.Fields(tt.in)
			property := string([]byte{byte(tt.id)}) + tt.value
			needs := "" // what the property is nothing without
			if tt.id == wire.AuthenticationData {
				needs = str(wire.AuthenticationMethod, auth.SCRAMSHA256)
			}
			for name, packet := range carriers(needs + property) {
				own := slices.Contains(owners, name)
				want := wire.MalformedPacket
				if slices.Contains(owners, "("+name+")") {
					want = wire.ProtocolError
				}
				if own {
					b.carries(name, packet)
				} else if needs == "" {
					b.opened(name).fares(name, packet, want)
				}
			}
			for name, packet := range carriers(needs + property + property) {
				switch own := slices.Contains(owners, name); {
				case own && tt.id == wire.User:
					b.carries(name, packet)
				case own:
					b.opened(name).fares(name+" with two", packet, wire.ProtocolError)
				}
			}
		})
	}
}

// opened returns a peer that may send the carrier of that name.
func (b *bed) opened(name string) *peer {
	p := b.dial(wire.V5)
	switch name {
	case "CONNECT", "Will":
	case "AUTH":
		p.write(connect(wire.V5, "c", properties(str(wire.AuthenticationMethod, auth.SCRAMSHA256))))
		p.challenge()
	default:
		p = b.connect(wire.V5, "c", durable)
	}
	return p
}

// carries fails unless the packet is taken for a good one.
func (b *bed) carries(name string, packet []byte) {
	b.t.Helper()
	p := b.opened(name)
	switch name {
	case "CONNECT", "Will", "AUTH": // which may be refused for something else
		p.say(packet)
		if got := p.next(); strings.HasPrefix(got, "CONNACK 0x81") || strings.HasPrefix(got, "CONNACK 0x82") {
			b.t.Errorf("%s: %s", name, got)
		}
	case "DISCONNECT":
		p.say(packet)
		p.gone() // without a word
	default:
		p.fares(name, packet, wire.Success)
	}
}
