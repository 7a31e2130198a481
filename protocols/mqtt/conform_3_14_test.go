package mqtt_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// listed are the reason codes that a server may send in each packet: tables 3-1,
// 3-4, 3-5, 3-6, 3-7, 3-8, 3-9, 3-10 and 3-11. describe holds all that a peer
// reads against them.
var listed = map[wire.PacketType]string{
	wire.CONNACK:    "\x00\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8A\x8C\x90\x95\x97\x99\x9A\x9B\x9C\x9D\x9F",
	wire.PUBACK:     "\x00\x10\x80\x83\x87\x90\x91\x97\x99",
	wire.PUBREC:     "\x00\x10\x80\x83\x87\x90\x91\x97\x99",
	wire.PUBREL:     "\x00\x92",
	wire.PUBCOMP:    "\x00\x92",
	wire.SUBACK:     "\x00\x01\x02\x80\x83\x87\x8F\x91\x97\x9E\xA1\xA2",
	wire.UNSUBACK:   "\x00\x11\x80\x83\x87\x8F\x91",
	wire.DISCONNECT: "\x00\x80\x81\x82\x83\x87\x89\x8B\x8D\x8E\x8F\x90\x93\x94\x95\x96\x97\x98\x99\x9A\x9B\x9C\x9D\x9E\x9F\xA0\xA1\xA2",
	wire.AUTH:       "\x00\x18",
}

// ofClients are the reason codes with which a client may disconnect (table 3-10).
const ofClients = "\x00\x04\x80\x81\x82\x83\x90\x93\x94\x95\x96\x97\x98\x99"

// TestConform_3_14_Reasons: what a client may say and what it may not.
func TestConform_3_14_Reasons(t *testing.T) {
	shows(t, "[MQTT-3.14.2-1] a client's reasons", five, nil, func(b *bed, v wire.Version) {
		for reason := range 256 {
			p := b.connect(v, "c")
			p.say(packet(0xE0, string([]byte{byte(reason)})))
			if strings.IndexByte(ofClients, byte(reason)) < 0 {
				p.dropped(wire.ProtocolError)
			} else {
				p.gone()
			}
		}
	})
	for flags := byte(1); flags < 16; flags++ {
		row := said{
			name:     fmt.Sprint("[MQTT-3.14.1-1] [MQTT-3.1.1 3.14.1-1] flags ", flags),
			versions: both, send: flagged(flags, raw("\xE0\x00")), end: wire.MalformedPacket,
		}
		row.test(t)
		row = said{
			name: fmt.Sprint("[MQTT-3.15.1-1] flags of AUTH ", flags), versions: five, end: wire.MalformedPacket,
			send: flagged(flags, func(wire.Version) []byte { return authPacket(wire.ReAuthenticate, auth.SCRAMSHA256, "x") }),
		}
		row.test(t)
	}
	shows(t, "[MQTT-3.15.2-1] a client's reasons of AUTH", five, scramBed, func(b *bed, v wire.Version) {
		for reason := range 256 {
			if r := wire.ReasonCode(reason); r == wire.ContinueAuthentication || r == wire.ReAuthenticate {
				continue
			}
			p := b.dial(v)
			p.write(connect(v, "c", properties(str(wire.AuthenticationMethod, auth.SCRAMSHA256))))
			p.expect(fmt.Sprintf("AUTH 0x18 21=%q", auth.SCRAMSHA256)) // [MQTT-3.15.2-2] [MQTT-3.15.2-3]: and nothing else
			p.say(authPacket(wire.ReasonCode(reason), auth.SCRAMSHA256, "x"))
			p.expect("CONNACK 0x82")
			p.gone()
		}
	})
}

// TestConform_3_14_Server: how the server disconnects.
func TestConform_3_14_Server(t *testing.T) {
	shows(t, "[MQTT-3.14.0-1] not before CONNACK, nor after one that refuses", five, func(s *setup) {
		scramBed(s)
		s.server.MaxClientID = 100
	}, func(b *bed, v wire.Version) {
		for name, send := range map[string][]byte{
			"CONNACK 0x84": connect(v, "c", func(c *connectPacket) { c.level = 6 }),
			"CONNACK 0x81": connect(v, "c", func(c *connectPacket) { c.flags |= 1 }),
			"CONNACK 0x86": connect(v, "c", login("guest", "?")),
			"CONNACK 0x8c": connect(v, "c", byMethod("PLAIN", "x")),
			"CONNACK 0x85": connect(v, strings.Repeat("c", 101), login("guest", "guest")),
		} {
			p := b.dial(v)
			if name == "CONNACK 0x84" {
				p.version, name = wire.V311, "CONNACK 0x01" // a level that is not known hears what all understand
			}
			p.say(send)
			p.expect(name)
			p.gone()
		}
		p := b.dial(v)
		p.write(connect(v, "c", properties(str(wire.AuthenticationMethod, auth.SCRAMSHA256))))
		p.challenge()
		b.stop(nil) // the broker is stopping
		p.expect("CONNACK 0x88")
		p.gone()
	})
	shows(t, "[MQTT-3.14.2-1] [MQTT-3.14.2-2] one of its reasons, and no session expiry interval", five, nil, func(b *bed, v wire.Version) {
		for want, send := range map[wire.ReasonCode][]byte{
			wire.MalformedPacket:   packet(0xC1, ""),
			wire.ProtocolError:     packet(0xD0, ""),
			wire.TopicNameInvalid:  publishPacket(v, 0, "#", "", 0),
			wire.TopicAliasInvalid: publishPacket(v, 0, "t", "", 0, short(wire.TopicAlias, 17)),
			wire.PacketTooLarge:    []byte("\x30\xff\xff\xff\x7f"),
		} {
			p := b.connect(v, "c", durable)
			p.say(send)
			p.dropped(want)
		}
		p := b.connect(v, "c", durable)
		b.resumed(v, "c")
		p.dropped(wire.SessionTakenOver)
	})
	shows(t, "[MQTT-3.14.2-3] [MQTT-3.14.2-4] no more than the client accepts", five, nil, func(b *bed, v wire.Version) {
		for limit, want := range map[uint32]int{0: 50, 30: 4} {
			var changes []func(*connectPacket)
			if limit > 0 {
				changes = append(changes, properties(long(wire.MaximumPacketSize, limit)))
			}
			p := b.connect(v, "c", changes...)
			b.connect(v, "c")
			f, err := p.frame()
			if size := 2 + len(f.Body); err != nil || f.Type != wire.DISCONNECT || size > want && limit > 0 || size < want && limit == 0 {
				b.t.Errorf("limit %d: %s of %d bytes, %v", limit, f.Type, size, err)
			}
			p.gone()
		}
	})
	shows(t, "[MQTT-3.14.4-1] [MQTT-3.14.4-2] it is the last packet, and the connection ends", five, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.subscribe(1, 1, "t")
		p := b.connect(v, "p")
		s.say(slices.Concat([]byte{0xC1, 0}, publishPacket(v, 2, "x", "", 9), []byte{0xC0, 0}))
		for id := range uint16(10) {
			p.publish("t", "m", 1, id+1)
			p.next()
		}
		var last wire.Frame
		for f, err := s.frame(); err == nil; f, err = s.frame() {
			last = f
		}
		if last.Type != wire.DISCONNECT {
			b.t.Errorf("the last packet is %s", describe(last, v))
		}
	})
	shows(t, "[MQTT-3.14.4-1] not even what was due before it", five, manual, func(b *bed, v wire.Version) {
		p := b.dial(v)
		p.write(connect(v, "p"))
		b.flushed(p, "CONNACK 0x00"+offered)
		p.say(append(publishPacket(v, 2, "t", "m", 1), 0xC1, 0))
		b.store.Flush() // PUBACK was due then
		synctest.Wait()
		p.dropped(wire.MalformedPacket)
	})
	shows(t, "[MQTT-4.13.2-1] [MQTT-3.14.4-2] the connection of a client that does not read ends, too", five, func(s *setup) {
		s.server.DrainTimeout = 10 * time.Second
	}, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.say([]byte{0xC1, 0})
		time.Sleep(time.Minute)
		p.gone()
	})
}

// TestConform_3_14_Client: how a client disconnects.
func TestConform_3_14_Client(t *testing.T) {
	shows(t, "[MQTT-3.14.4-1] [MQTT-3.1.1 3.14.4-2] what comes behind it is not handled", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.subscribe(1, 0, "t")
		p := b.connect(v, "p")
		p.say(slices.Concat(publishPacket(v, 0, "t", "before", 0), []byte{0xE0, 0}, publishPacket(v, 0, "t", "after", 0), []byte{0xC0, 0}))
		p.gone()
		s.expect(`PUBLISH t "before"`)
		s.lives()
	})
	shows(t, "[MQTT-3.14.4-3] [MQTT-3.1.1 3.14.4-3] [MQTT-3.1.1 3.1.2-10] its will is discarded", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.subscribe(1, 0, "w")
		for range 2 { // and does not come by a connection without one
			b.connect(v, "p", durable, will("w", "gone", 0, false, "")).disconnect()
			_ = b.connect(v, "p").nc.Close()
			synctest.Wait()
		}
		s.silence(time.Hour + time.Minute)
	})
}

// TestConform_3_15_TooLarge: [MQTT-3.15.2-2] [MQTT-3.15.2-3] hold for AUTH as for
// all: it has neither a reason string nor user properties.
func TestConform_3_15_TooLarge(t *testing.T) {
	shows(t, "an AUTH that the client does not take is not sent", five, scramBed, func(b *bed, v wire.Version) {
		p := b.dial(v)
		p.write(connect(v, "c", properties(str(wire.AuthenticationMethod, auth.SCRAMSHA256)+long(wire.MaximumPacketSize, 10))))
		p.gone() // when its time is over
	})
}
