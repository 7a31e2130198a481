package mqtt_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// TestConform_3_4_Reasons sends every acknowledgement with every reason code:
// only those of tables 3-4 to 3-7 are taken.
func TestConform_3_4_Reasons(t *testing.T) {
	publish := []byte{0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
	release := []byte{0x00, 0x92}
	for name, tt := range map[string]struct {
		kind    wire.PacketType
		reasons []byte
	}{
		"[MQTT-3.4.2-1] PUBACK": {wire.PUBACK, publish}, "[MQTT-3.5.2-1] PUBREC": {wire.PUBREC, publish},
		"[MQTT-3.6.2-1] PUBREL": {wire.PUBREL, release}, "[MQTT-3.7.2-1] PUBCOMP": {wire.PUBCOMP, release},
	} {
		shows(t, name, five, nil, func(b *bed, v wire.Version) {
			for reason := range 256 {
				want := wire.ProtocolError
				if slices.Contains(tt.reasons, byte(reason)) {
					want = wire.Success
				}
				b.connect(v, "c").fares(fmt.Sprintf("reason %#02x", reason), ackPacket(tt.kind, 7, wire.ReasonCode(reason), ""), want)
			}
		})
	}
}

// TestConform_3_4_Forms: the acknowledgements with all there may be left out, and
// with everything; what they say is the same.
func TestConform_3_4_Forms(t *testing.T) {
	everything := section(str(wire.ReasonString, "because") + user("a", "b") + user("a", "b"))
	for name, rest := range map[string]string{
		"identifier alone": "", "with a reason": "\x00", "with no properties": "\x00\x00", "with properties": "\x00" + everything,
	} {
		versions := both
		if rest != "" {
			versions = five
		}
		shows(t, name, versions, nil, func(b *bed, v wire.Version) {
			s, p := b.connect(v, "s", resume), b.connect(v, "p")
			s.subscribe(1, 2, "t")
			p.publish("t", "m", 1, 1)
			p.publish("t", "m", 2, 2)
			p.expect("PUBACK #1", "PUBREC #2")
			s.expect(`PUBLISH t q1 #1 "m"`, `PUBLISH t q2 #2 "m"`)
			s.write(packet(0x40, "\x00\x01"+rest))
			s.write(packet(0x50, "\x00\x02"+rest))
			s.expect("PUBREL #2")
			s.write(packet(0x70, "\x00\x02"+rest))
			p.write(packet(0x62, "\x00\x02"+rest))
			p.expect("PUBCOMP #2")
			s.lives()
			_ = s.nc.Close()
			synctest.Wait()
			b.resumed(v, "s").lives() // nothing comes again
		})
	}
}

// TestConform_3_4_Answers has the acknowledgements that the server sends.
func TestConform_3_4_Answers(t *testing.T) {
	shows(t, "[MQTT-3.4.2-1] [MQTT-3.5.2-1] taken, for nobody, and refused", both, trustEverybody, func(b *bed, v wire.Version) {
		b.grant(grant{".*", ".*", ".*", "^may", ".*"})
		s, p := b.connect(v, "s", login("u", "")), b.connect(v, "p", login("u", ""))
		s.subscribe(1, 2, "may")
		p.publish("may", "m", 1, 1)
		p.expectBytes("\x40\x02\x00\x01")
		p.publish("may", "m", 2, 2)
		p.expectBytes("\x50\x02\x00\x02")
		p.publish("may/nobody", "m", 1, 3)
		p.publish("may/nobody", "m", 2, 4)
		if v != wire.V5 {
			p.expectBytes("\x40\x02\x00\x03\x50\x02\x00\x04")
			return
		}
		p.expectBytes("\x40\x03\x00\x03\x10\x50\x03\x00\x04\x10")
		p.publish("no", "m", 1, 5)
		p.publish("no", "m", 2, 6)
		p.expect("PUBACK #5 0x87", "PUBREC #6 0x87")
		p.ack(wire.PUBREL, 6) // the identifier is free
		p.expect("PUBCOMP #6 0x92")
	})
	shows(t, "[MQTT-3.6.2-1] [MQTT-3.7.2-1] release and its completion", both, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "p")
		p.subscribe(1, 2, "t")
		p.publish("t", "m", 2, 1)
		p.expectBoth("PUBREC #1", `PUBLISH t q2 #1 "m"`)
		p.ack(wire.PUBREC, 1)
		p.expectBytes("\x62\x02\x00\x01")
		p.ack(wire.PUBREL, 1)
		p.expectBytes("\x70\x02\x00\x01")
		p.ack(wire.PUBCOMP, 1)
		p.ack(wire.PUBREC, 9) // of nothing
		p.ack(wire.PUBREL, 9)
		if v == wire.V5 {
			p.expectBytes("\x62\x03\x00\x09\x92\x70\x03\x00\x09\x92")
		} else {
			p.expectBytes("\x62\x02\x00\x09\x70\x02\x00\x09")
		}
	})
	for flags := range byte(16) {
		if flags == 2 {
			continue
		}
		row := said{
			name: fmt.Sprintf("[MQTT-3.6.1-1] [MQTT-3.1.1 3.6.1-1] PUBREL with flags %04b", flags), versions: both,
			send: raw(string([]byte{0x60 | flags, 2, 0, 1})), end: wire.MalformedPacket,
		}
		row.test(t)
	}
}
