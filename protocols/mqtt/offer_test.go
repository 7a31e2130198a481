package mqtt_test

import (
	"testing"

	"github.com/batonmq/baton/protocols/mqtt"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// modest offers as little as there can be.
func modest(s *setup) {
	s.server.MaximumQoS = -1
	s.server.NoRetain, s.server.NoWildcards, s.server.NoSubscriptionIDs, s.server.NoShared = true, true, true, true
}

// TestWhatIsNotOfferedIsAnnounced: [MQTT-3.2.2-9] and what else CONNACK says.
func TestWhatIsNotOfferedIsAnnounced(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*mqtt.Options)
		want   string
	}{
		{"QoS 1 at most", func(o *mqtt.Options) { o.MaximumQoS = 1 }, " 33=1000 34=16 36=1 39=16777216"},
		{"QoS 2 is none to be named", func(o *mqtt.Options) { o.MaximumQoS = 2 }, offered},
		{"the least", func(o *mqtt.Options) {
			o.MaximumQoS, o.NoRetain, o.NoWildcards, o.NoSubscriptionIDs, o.NoShared = -1, true, true, true, true
		}, " 33=1000 34=16 36=0 37=0 39=16777216 40=0 41=0 42=0"},
		{
			"numbers", func(o *mqtt.Options) { o.ReceiveMaximum, o.TopicAliasMaximum, o.MaxPacketSize = 7, -1, 1<<20 },
			" 33=7 39=1048576",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(s *setup) { tt.change(&s.server) }, func(b *bed) {
				p := b.dial(wire.V5)
				p.write(connect(wire.V5, "c"))
				p.expect("CONNACK 0x00" + tt.want)
				b.connect(wire.V311, "d")
			})
		})
	}
}

// TestWhatIsNotOfferedIsRefused has a packet each, and what it is answered with.
func TestWhatIsNotOfferedIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		send func(wire.Version) []byte
		v5   wire.ReasonCode // of DISCONNECT
		old  string          // what 3.1.1 hears; empty: nothing but the end
	}{
		{"QoS 1", func(v wire.Version) []byte { return publishPacket(v, 2, "a", "x", 1) }, wire.QoSNotSupported, ""},
		{"QoS 2", func(v wire.Version) []byte { return publishPacket(v, 4, "a", "x", 1) }, wire.QoSNotSupported, ""},
		{"QoS 1 of a payload that is read apart", func(v wire.Version) []byte {
			return publishPacket(v, 2, "a", string(make([]byte, 40<<10)), 1)
		}, wire.QoSNotSupported, ""},
		{"retain", func(v wire.Version) []byte { return publishPacket(v, 1, "a", "x", 0) }, wire.RetainNotSupported, ""},
		{
			"wildcard", func(v wire.Version) []byte { return subscribePacket(v, 1, "", 0, "a", "b/#") },
			wire.WildcardNotSupported, "SUBACK #1 0x00 0x80",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, modest, func(b *bed) {
				for _, v := range []wire.Version{wire.V5, wire.V311} {
					p := b.connect(v, "c")
					go func() { _, _ = p.nc.Write(tt.send(v)) }() // which the server may not read to its end
					if v == wire.V311 && tt.old != "" {
						p.expect(tt.old)
					} else {
						p.dropped(tt.v5)
					}
				}
			})
		})
	}
}

func TestSubscriptionIdentifierNotOffered(t *testing.T) {
	inBubble(t, modest, func(b *bed) {
		p := b.connect(wire.V5, "c")
		p.write(subscribePacket(p.version, 1, "\x0b\x07", 0, "a"))
		p.dropped(wire.SubscriptionIDNotSupported)
	})
}

// TestSubscriptionIsGrantedTheMaximum: [MQTT-3.2.2-10]; and nothing that is
// retained comes where that is not available.
func TestSubscriptionIsGrantedTheMaximum(t *testing.T) {
	inBubble(t, func(s *setup) { s.server.MaximumQoS = 1 }, func(b *bed) {
		for _, v := range []wire.Version{wire.V5, wire.V311} {
			p := b.connect(v, "c")
			if got := p.subscribe(1, 2, "a"); got != "SUBACK #1 0x01" {
				t.Error(got)
			}
			p.publish("a", "x", 1, 7)
			p.expectBoth("PUBLISH a q1 #1 \"x\"", "PUBACK #7")
			p.ack(wire.PUBACK, 1)
			p.disconnect()
		}
	})
}

// TestWillBeyondTheOffer: [MQTT-3.2.2-12] [MQTT-3.2.2-13].
func TestWillBeyondTheOffer(t *testing.T) {
	inBubble(t, modest, func(b *bed) {
		for _, tt := range []struct {
			v      wire.Version
			qos    byte
			retain bool
			want   string
		}{
			{wire.V5, 1, false, "CONNACK 0x9b"},
			{wire.V5, 0, true, "CONNACK 0x9a"},
			{wire.V311, 2, false, "CONNACK 0x03"},
		} {
			p := b.dial(tt.v)
			p.write(connect(tt.v, "c", will("w", "x", tt.qos, tt.retain, "")))
			p.expect(tt.want)
			p.gone()
		}
		b.connect(wire.V5, "c", will("w", "x", 0, false, ""))
	})
}

// TestRedirect: section 4.11, after the login and not for who has none.
func TestRedirect(t *testing.T) {
	for _, tt := range []struct {
		moved bool
		want  string
	}{
		{false, `CONNACK 0x9c 28="next:1883"`},
		{true, `CONNACK 0x9d 28="next:1883"`},
	} {
		inBubble(t, func(s *setup) {
			s.server.Redirect, s.server.Moved, s.named = "next:1883", tt.moved, true
		}, func(b *bed) {
			for _, c := range []struct {
				v        wire.Version
				password string
				want     string
			}{
				{wire.V5, "guest", tt.want},
				{wire.V311, "guest", "CONNACK 0x03"},
				{wire.V5, "?", "CONNACK 0x86"},
			} {
				p := b.dial(c.v)
				p.write(connect(c.v, "c", login("guest", c.password)))
				p.expect(c.want)
				p.gone()
			}
		})
	}
}

func TestOffersThatContradictThemselves(t *testing.T) {
	b := newBed(t, nil)
	for _, o := range []mqtt.Options{{MaximumQoS: 3}, {Moved: true}, {Redirect: "\xff"}} {
		o.Broker, o.Auth = b.broker, unavailable{}
		if _, err := mqtt.New(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}
