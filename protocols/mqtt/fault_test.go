package mqtt_test

import (
	"strings"
	"testing"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// TestFaultsEndTheConnection sends, on an open connection, what the protocol
// does not allow. MQTT 5 is told why; older versions see the connection end.
func TestFaultsEndTheConnection(t *testing.T) {
	raw := func(s string) []byte { return []byte(s) }
	const all = 0
	for _, tt := range []struct {
		name string
		v    wire.Version // all where both have it
		send []byte
		want wire.ReasonCode
	}{
		{"[MQTT-3.1.0-2] [MQTT-3.1.1 3.1.0-2] second CONNECT", all, connect(wire.V5, "c"), wire.ProtocolError},
		{"packet type 0", all, raw("\x00\x00"), wire.MalformedPacket},
		{"CONNACK", all, raw("\x20\x02\x00\x00"), wire.ProtocolError},
		{"SUBACK", all, raw("\x90\x03\x00\x01\x00"), wire.ProtocolError},
		{"PINGRESP", all, raw("\xD0\x00"), wire.ProtocolError},
		{"PINGREQ with a body", all, raw("\xC0\x01x"), wire.MalformedPacket},
		{"[MQTT-2.1.3-1] [MQTT-3.1.1 2.2.2-1] [MQTT-3.1.1 2.2.2-2] reserved flags", all, raw("\xC1\x00"), wire.MalformedPacket},
		{"length of five bytes", all, raw("\x30\xff\xff\xff\xff\x01"), wire.MalformedPacket},
		{"[MQTT-3.2.2-15] packet too large", all, raw("\x30\x80\x80\x80\x0f"), wire.PacketTooLarge},
		{"PUBLISH too large, large enough for the way beside the buffer", all, raw("\x30\xff\xff\xff\x7f\x00\x01a"), wire.PacketTooLarge},

		{"[MQTT-3.3.1-4] [MQTT-3.1.1 3.3.1-4] QoS 3", all, raw("\x36\x06\x00\x01a\x00\x01\x00"), wire.MalformedPacket},
		{"[MQTT-3.3.1-2] [MQTT-3.1.1 3.3.1-2] DUP with QoS 0", all, raw("\x38\x04\x00\x01a\x00"), wire.ProtocolError},
		{"[MQTT-3.3.2-2] wildcard in a topic", wire.V5, publishPacket(wire.V5, 0, "a/#", "", 0), wire.TopicNameInvalid},
		{"[MQTT-3.3.2-2] [MQTT-3.1.1 3.3.2-2] wildcard in a topic of 3.1.1", wire.V311, publishPacket(wire.V311, 0, "a/+", "", 0), 0},
		{"topic of too many levels", wire.V5, publishPacket(wire.V5, 0, levels(257), "", 0), wire.TopicNameInvalid},
		{"topic of too many levels in 3.1.1", wire.V311, publishPacket(wire.V311, 0, levels(257), "", 0), 0},
		{
			"topic of too many levels with an alias", wire.V5,
			publishPacket(wire.V5, 0, levels(257), "", 0, short(wire.TopicAlias, 1)), wire.TopicNameInvalid,
		},
		{"[MQTT-2.2.1-3] packet identifier 0", wire.V5, publishPacket(wire.V5, 2, "a", "", 0), wire.ProtocolError},
		{"[MQTT-2.2.1-3] of a SUBSCRIBE", wire.V5, subscribePacket(wire.V5, 0, "", 0, "a"), wire.ProtocolError},
		{"[MQTT-1.5.4-1] topic not UTF-8", wire.V5, publishPacket(wire.V5, 0, "\xff", "", 0), wire.MalformedPacket},
		{"[MQTT-1.5.4-2] [MQTT-3.1.1 1.5.3-2] NUL", wire.V311, publishPacket(wire.V311, 0, "a\x00", "", 0), 0},
		{"no topic", wire.V5, publishPacket(wire.V5, 0, "", "", 0), wire.ProtocolError},
		{"no topic in 3.1.1", wire.V311, publishPacket(wire.V311, 0, "", "", 0), 0},
		{"[MQTT-3.3.2-8] topic alias 0", wire.V5, publishPacket(wire.V5, 0, "a", "", 0, short(wire.TopicAlias, 0)), wire.TopicAliasInvalid},
		{"[MQTT-3.3.2-9] topic alias above the maximum", wire.V5, publishPacket(wire.V5, 0, "a", "", 0, short(wire.TopicAlias, 17)), wire.TopicAliasInvalid},
		{"topic alias without a meaning", wire.V5, publishPacket(wire.V5, 0, "", "", 0, short(wire.TopicAlias, 2)), wire.ProtocolError},
		{"[MQTT-3.3.4-6] subscription identifier", wire.V5, publishPacket(wire.V5, 0, "a", "", 0, "\x0b\x01"), wire.ProtocolError},
		{"payload format 2", wire.V5, publishPacket(wire.V5, 0, "a", "", 0, octet(wire.PayloadFormat, 2)), wire.ProtocolError},
		{"large PUBLISH with a bad head", wire.V5, publishPacket(wire.V5, 0, "#", strings.Repeat("x", 100_000), 0), wire.TopicNameInvalid},
		{"large PUBLISH without a topic", wire.V5, publishPacket(wire.V5, 0, "", strings.Repeat("x", 100_000), 0), wire.ProtocolError},

		{"[MQTT-3.8.1-1] [MQTT-3.1.1 3.8.1-1] flags of SUBSCRIBE", all, raw("\x80\x00"), wire.MalformedPacket},
		{"[MQTT-3.8.3-2] SUBSCRIBE without a filter", wire.V5, subscribePacket(wire.V5, 1, "", 0), wire.ProtocolError},
		{"SUBSCRIBE that ends behind its filter", wire.V5, raw("\x82\x06\x00\x01\x00\x00\x01a"), wire.MalformedPacket},
		{"[MQTT-3.8.3-5] reserved options", wire.V5, subscribePacket(wire.V5, 1, "", 0xC0, "a"), wire.MalformedPacket},
		{"options of 3.1.1", wire.V311, subscribePacket(wire.V311, 1, "", 4, "a"), 0},
		{"QoS 3", wire.V5, subscribePacket(wire.V5, 1, "", 3, "a"), wire.ProtocolError},
		{"retain handling 3", wire.V5, subscribePacket(wire.V5, 1, "", 0x30, "a"), wire.ProtocolError},
		{"[MQTT-3.8.3-4] no local on a shared subscription", wire.V5, subscribePacket(wire.V5, 1, "", 4, "$share/g/a"), wire.ProtocolError},
		{"subscription identifier 0", wire.V5, subscribePacket(wire.V5, 1, "\x0b\x00", 0, "a"), wire.ProtocolError},
		{"[MQTT-3.10.3-2] UNSUBSCRIBE without a filter", wire.V5, raw("\xA2\x03\x00\x01\x00"), wire.ProtocolError},

		{"[MQTT-3.6.1-1] [MQTT-3.1.1 3.6.1-1] flags of PUBREL", all, raw("\x60\x02\x00\x01"), wire.MalformedPacket},
		{"PUBACK cut short", all, raw("\x40\x01\x00"), wire.MalformedPacket},
		{"[MQTT-3.4.2-1] reason of another packet", wire.V5, raw("\x40\x03\x00\x01\x04"), wire.ProtocolError},
		{"DISCONNECT with a reason that is the server's", wire.V5, raw("\xE0\x01\x8B"), wire.ProtocolError},
		{"DISCONNECT of 3.1.1 with a body", wire.V311, raw("\xE0\x01\x00"), 0},
		{"[MQTT-4.12.0-7] AUTH without a method", wire.V5, raw("\xF0\x02\x18\x00"), wire.ProtocolError},
		{"AUTH with a method", wire.V5, packet(0xF0, "\x18"+section(str(wire.AuthenticationMethod, "x"))), wire.ProtocolError},
		{"AUTH of 3.1.1", wire.V311, raw("\xF0\x00"), 0},
	} {
		versions := []wire.Version{tt.v}
		if tt.v == all {
			versions = []wire.Version{wire.V31, wire.V311, wire.V5}
		}
		for _, v := range versions {
			t.Run(tt.name+"/"+v.String(), func(t *testing.T) {
				inBubble(t, nil, func(b *bed) {
					p := b.connect(v, "c")
					go func() { _, _ = p.nc.Write(tt.send) }() // the server may hang up before it has read all
					p.dropped(tt.want)
				})
			})
		}
	}
}

// TestAnswerTooLargeForTheClient: there is no way to go on.
func TestAnswerTooLargeForTheClient(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.connect(wire.V5, "c", properties(long(wire.MaximumPacketSize, 60)))
		p.write(subscribePacket(wire.V5, 1, "", 0, strings.Split(strings.Repeat("a,", 60)+"a", ",")...))
		p.dropped(wire.PacketTooLarge)
	})
}
