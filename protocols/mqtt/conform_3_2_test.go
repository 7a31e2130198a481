package mqtt_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// connackReasons are the codes of table 3-1.
var connackReasons = []byte{
	0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
}

// TestConform_3_2_2_Flags has the first two bytes of CONNACK.
func TestConform_3_2_2_Flags(t *testing.T) {
	shows(t, "[MQTT-3.2.2-1] [MQTT-3.2.2-2] [MQTT-3.2.2-3] [MQTT-3.1.1 3.2.2-1] [MQTT-3.1.1 3.2.2-2] [MQTT-3.1.1 3.2.2-3] accepted", both, nil, func(b *bed, v wire.Version) {
		for _, tt := range []struct {
			change func(*connectPacket)
			want   string
		}{
			{resume, "\x00\x00"}, {resume, "\x01\x00"}, {durable, "\x00\x00"}, {resume, map[wire.Version]string{wire.V311: "\x00\x00", wire.V5: "\x01\x00"}[v]},
		} {
			p := b.dial(v)
			p.write(connect(v, "c", tt.change))
			f, err := p.frame()
			if err != nil || string(f.Body[:2]) != tt.want {
				b.t.Errorf("CONNACK % x, %v, want % x", f.Body, err, tt.want)
			}
			p.disconnect()
		}
	})
	shows(t, "[MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-3.1.1 3.2.2-4] [MQTT-3.1.1 3.2.2-5] refused, with a session that is there", both, nil, func(b *bed, v wire.Version) {
		b.connect(v, "c", resume).disconnect()
		p := b.dial(v)
		p.write(connect(v, "c", resume, login("guest", "?")))
		f, err := p.frame()
		if want := map[wire.Version]string{wire.V311: "\x00\x04", wire.V5: "\x00\x86"}[v]; err != nil || string(f.Body[:2]) != want {
			b.t.Errorf("CONNACK % x, %v", f.Body, err)
		}
		p.gone()
		if _, present := b.again(v, "c"); !present {
			b.t.Error("the session is gone")
		}
	})
	shows(t, "[MQTT-3.2.0-1] [MQTT-3.1.1 3.2.0-1] what waits comes behind CONNACK", both, nil, func(b *bed, v wire.Version) {
		b.connect(v, "c", resume).subscribe(1, 2, "t")
		p := b.connect(v, "p")
		for id := range uint16(100) {
			p.publish("t", "m", 1, id+1)
			p.next()
		}
		c := b.dial(v)
		c.write(connect(v, "c", resume))
		if got := c.next(); !strings.HasPrefix(got, "CONNACK 0x00 present") {
			b.t.Error(got)
		}
		for range 100 {
			if got := c.next(); !strings.HasPrefix(got, "PUBLISH") { // [MQTT-3.2.0-2]
				b.t.Error(got)
			}
		}
		c.lives()
	})
}

// TestConform_3_2_2_Reasons: [MQTT-3.2.2-8], for everything that there is to
// refuse a CONNECT for, and [MQTT-3.2.2-7].
func TestConform_3_2_2_Reasons(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*setup)
		hello  []func(*connectPacket)
		before func(b *bed)
		want   byte
	}{
		{name: "malformed", hello: []func(*connectPacket){withFlags(1)}, want: 0x81},
		{name: "a protocol error", hello: []func(*connectPacket){properties(short(wire.ReceiveMaximum, 0))}, want: 0x82},
		{name: "its identifier", change: func(s *setup) { s.server.MaxClientID = 23 }, hello: []func(*connectPacket){identified(strings.Repeat("c", 24))}, want: 0x85},
		{name: "credentials", hello: []func(*connectPacket){login("guest", "?")}, want: 0x86},
		{name: "a long user name", hello: []func(*connectPacket){login(strings.Repeat("u", 1025), "")}, want: 0x86},
		{name: "a long password", hello: []func(*connectPacket){login("guest", strings.Repeat("p", 33<<10))}, want: 0x86},
		{name: "no vhost", change: func(s *setup) { s.server.VHost = "nowhere" }, want: 0x87},
		{name: "who cannot be asked", change: func(s *setup) { s.server.Auth = unavailable{} }, hello: []func(*connectPacket){login("guest", "guest")}, want: 0x88},
		{name: "its method", hello: []func(*connectPacket){properties(str(wire.AuthenticationMethod, "m"))}, want: 0x8C},
		{name: "the will's topic", hello: []func(*connectPacket){will("#", "", 0, false, "")}, want: 0x90},
		{name: "a full disk", before: func(b *bed) { b.store.SetSpace(core.Space{Level: core.SpaceFull}) }, hello: []func(*connectPacket){durable}, want: 0x97},
		{
			name: "the will's payload", change: func(s *setup) { s.server.CheckPayloadFormat = true },
			hello: []func(*connectPacket){will("w", "\xff", 0, false, octet(wire.PayloadFormat, 1))}, want: 0x99,
		},
		{name: "[MQTT-3.2.2-13] a retained will", change: modest, hello: []func(*connectPacket){will("w", "", 0, true, "")}, want: 0x9A},
		{name: "[MQTT-3.2.2-12] the will's QoS", change: modest, hello: []func(*connectPacket){will("w", "", 1, false, "")}, want: 0x9B},
		{name: "another server", change: func(s *setup) { s.server.Redirect = "next:1883" }, want: 0x9C},
		{name: "a server that has moved", change: func(s *setup) { s.server.Redirect, s.server.Moved = "next:1883", true }, want: 0x9D},
	} {
		shows(t, "[MQTT-3.2.2-7] [MQTT-3.2.2-8] refused for "+tt.name, five, tt.change, func(b *bed, v wire.Version) {
			if tt.before != nil {
				tt.before(b)
			}
			p := b.dial(v)
			p.say(connect(v, "c", tt.hello...))
			f, err := p.frame()
			if err != nil || f.Type != wire.CONNACK || f.Body[0] != 0 || f.Body[1] != tt.want || !slices.Contains(connackReasons, f.Body[1]) {
				b.t.Errorf("%s, %v, want reason %#02x", describe(f, v), err, tt.want)
			}
			p.gone()
		})
	}
}

// TestConform_3_2_2_Offers: what CONNACK has promised holds, and what it has
// excluded ends the connection.
func TestConform_3_2_2_Offers(t *testing.T) {
	shows(t, "[MQTT-3.2.2-10] requests for any QoS are granted what there is", both, modest, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		for qos := range byte(3) {
			if got := p.subscribe(1, qos, "t"); got != "SUBACK #1 0x00" {
				b.t.Error(got)
			}
		}
		p.publish("t", "m", 0, 0)
		p.expect(`PUBLISH t "m"`)
	})
	shows(t, "[MQTT-3.2.2-9] the highest QoS is told where it is not 2", five, func(s *setup) { s.server.MaximumQoS = 1 }, func(b *bed, v wire.Version) {
		p := b.dial(v)
		p.write(connect(v, "c"))
		if got := p.next(); !strings.Contains(got, " 36=1") {
			b.t.Error(got)
		}
		p.publish("t", "m", 1, 1)
		p.expect("PUBACK #1 0x10")
		p.publish("t", "m", 2, 2) // [MQTT-3.2.2-11]
		p.dropped(wire.QoSNotSupported)
	})
	shows(t, "[MQTT-3.2.2-14] retained in spite of it", five, modest, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.publishFlags(1, "t", "m", 0)
		p.dropped(wire.RetainNotSupported)
	})
	shows(t, "[MQTT-3.2.2-15] packets up to the maximum and beyond", both, func(s *setup) { s.server.MaxPacketSize = 64 << 10 }, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.subscribe(1, 0, "t")
		head := len(publishPacket(v, 0, "t", strings.Repeat("x", 1<<15), 0)) - 1<<15
		largest := publishPacket(v, 0, "t", strings.Repeat("x", 64<<10-head), 0)
		p.say(largest)
		p.expectBytes(string(largest))
		p.say(publishPacket(v, 0, "t", strings.Repeat("x", 64<<10-head+1), 0))
		p.dropped(wire.PacketTooLarge)
	})
	for _, most := range []int{1, 16, math.MaxUint16} {
		change := func(s *setup) { s.server.TopicAliasMaximum = most }
		shows(t, fmt.Sprintf("[MQTT-3.3.2-12] [MQTT-3.2.2-17] topic aliases up to %d", most), five, change, func(b *bed, v wire.Version) {
			p := b.connect(v, "c")
			p.subscribe(1, 0, "#")
			for _, alias := range []int{1, (most + 1) / 2, most} {
				topic := fmt.Sprint("t/", alias)
				p.publish(topic, "named", 0, 0, short(wire.TopicAlias, uint16(alias)))
				p.publish("", "alone", 0, 0, short(wire.TopicAlias, uint16(alias)))
				p.expect("PUBLISH "+topic+` "named"`, "PUBLISH "+topic+` "alone"`)
			}
			if most < math.MaxUint16 {
				p.publish("t", "m", 0, 0, short(wire.TopicAlias, uint16(most+1))) // [MQTT-3.3.2-9]
				p.dropped(wire.TopicAliasInvalid)
			}
		})
	}
	shows(t, "[MQTT-3.2.2-18] an alias where none is taken", five, func(s *setup) { s.server.TopicAliasMaximum = -1 }, func(b *bed, v wire.Version) {
		p := b.dial(v)
		p.write(connect(v, "c"))
		if got := p.next(); strings.Contains(got, " 34=") {
			b.t.Errorf("a maximum is told: %s", got)
		}
		p.publish("t", "m", 0, 0, short(wire.TopicAlias, 1))
		p.dropped(wire.TopicAliasInvalid)
	})
}

// TestConform_3_1_2_MaximumPacketSize lets clients that accept packets of some
// size go through everything that a server answers and sends: [MQTT-3.1.2-24].
// What explains a refusal goes first: [MQTT-3.2.2-19] [MQTT-3.2.2-20]
// [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2]
// [MQTT-3.6.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3]. What is too large all the same is
// as if it had been sent: [MQTT-3.1.2-25].
func TestConform_3_1_2_MaximumPacketSize(t *testing.T) {
	inBubble(t, trustEverybody, func(b *bed) {
		b.grant(grant{".*", "^mqtt-|^amq", ".*", "^may", ".*"})
		other := b.other()
		for limit := uint32(5); limit < 120; limit++ {
			p := b.dial(wire.V5)
			p.say(connect(wire.V5, "c", login("u", ""), properties(long(wire.MaximumPacketSize, limit)+short(wire.ReceiveMaximum, 1)), durable))
			var said []byte
			for _, m := range [][]byte{
				subscribePacket(wire.V5, 1, "\x0b\x07", 2, "#"), publishPacket(wire.V5, 2, "no", "m", 2), publishPacket(wire.V5, 4, "no", "m", 3),
				publishPacket(wire.V5, 2, "may", "m", 4), publishPacket(wire.V5, 4, "may", "m", 5), packet(0x62, "\x00\x05"), packet(0x62, "\x00\x09"),
				packet(0x50, "\x00\x0b"),
				{0xC0, 0},
			} {
				said = append(said, m...)
			}
			p.say(said)
			for size := range 12 {
				m := &core.Message{Exchange: core.TopicExchange, Key: "t", Body: make([]byte, 10*size), Persistent: true}
				if _, err := other.Publish(m, nil, 0); err != nil {
					b.t.Fatal(err)
				}
			}
			synctest.Wait()
			p.say(packet(0xF0, "")) // which ends the connection
			for {
				f, err := p.frame()
				if err != nil {
					break
				}
				if size := len(packet(0, string(f.Body))); size > int(limit) {
					b.t.Errorf("limit %d: %s of %d bytes", limit, f.Type, size)
				}
				if f.Type == wire.PUBLISH {
					a, _ := wire.ParsePublish(f, wire.V5)
					p.say(wire.AppendAck(nil, wire.PUBACK, wire.V5, wire.Ack{PacketID: a.PacketID}))
				}
			}
		}
	})
	shows(t, "[MQTT-3.2.2-19] [MQTT-3.2.2-20] a refusal, bare", five, nil, func(b *bed, v wire.Version) {
		for limit, want := range map[uint32]string{4: "", 5: "\x20\x03\x00\x86\x00", 20: "\x20\x03\x00\x86\x00"} {
			p := b.dial(v)
			p.say(connect(v, "c", login("guest", "?"), properties(long(wire.MaximumPacketSize, limit))))
			p.expectBytes(want)
			p.gone()
		}
	})
	shows(t, "[MQTT-3.1.2-25] what is behind it is not held up", five, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s", properties(long(wire.MaximumPacketSize, 40)+short(wire.ReceiveMaximum, 1)))
		s.subscribe(1, 2, "t")
		p := b.connect(v, "p")
		for qos := byte(1); qos < 3; qos++ {
			p.publish("t", strings.Repeat("x", 60), qos, 1)
			p.next()
		}
		p.publish("t", "small", 0, 0)
		s.expect(`PUBLISH t "small"`)
		p.publish("t", "small, too", 1, 2)
		if got := s.next(); !strings.HasSuffix(got, `"small, too"`) {
			b.t.Error(got)
		}
	})
}
