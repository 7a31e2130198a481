package wire_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

var (
	plain      = wire.Delivery{Topic: []byte("dev/4711/kitchen/temp"), Payload: []byte("23.5 degrees")}
	properties = wire.Delivery{
		Topic: []byte("dev/4711/kitchen/temp"), QoS: 1, PacketID: 7, Payload: []byte("23.5 degrees"),
		Properties: []byte("\x01\x01\x03\x00\x0atext/plain\x26\x00\x04unit\x00\x07celsius\x26\x00\x04room\x00\x07kitchen"),
		HasExpiry:  true, Expiry: 60,
	}
)

func packetOf(tb testing.TB, d *wire.Delivery, v wire.Version) []byte {
	tb.Helper()
	b, err := d.Append(nil, v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func readPublish(b []byte, v wire.Version) error {
	f, _, err := wire.ParseFrame(b, math.MaxUint32)
	if err != nil {
		return err
	}
	_, err = wire.ParsePublish(f, v)
	return err
}

func TestAllocations(t *testing.T) {
	v4, v5 := packetOf(t, &plain, wire.V311), packetOf(t, &properties, wire.V5)
	ack := wire.AppendAck(nil, wire.PUBREC, wire.V5, wire.Ack{PacketID: 1, Reason: wire.QuotaExceeded})
	ackFrame, _, err := wire.ParseFrame(ack, math.MaxUint32)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, 1024)
	for _, tt := range []struct {
		name string
		f    func() error
	}{
		{"read a PUBLISH", func() error { return readPublish(v4, wire.V311) }},
		{"read a PUBLISH with properties", func() error { return readPublish(v5, wire.V5) }},
		{"user properties", func() error {
			n := 0
			for name, value := range wire.UserProperties(properties.Properties) {
				n += len(name) + len(value)
			}
			if n != 22 {
				t.Fatal(n)
			}
			return nil
		}},
		{"forward", func() error {
			p, err := wire.ParseProperties(properties.Properties)
			p.AppendForward(buf)
			return err
		}},
		{"append a PUBLISH", func() error { _, err := plain.Append(buf, wire.V311); return err }},
		{"append a PUBLISH with properties", func() error { _, err := properties.Append(buf, wire.V5); return err }},
		{"size of a PUBLISH", func() error { properties.Size(wire.V5); return nil }},
		{"parse an acknowledgement", func() error { _, err := wire.ParseAck(ackFrame, wire.V5); return err }},
		{"append an acknowledgement", func() error {
			wire.AppendAck(buf, wire.PUBREC, wire.V5, wire.Ack{PacketID: 1, Reason: wire.QuotaExceeded})
			return nil
		}},
		{"append a PINGRESP", func() error { wire.AppendPingresp(buf); return nil }},
	} {
		var err error
		if got := testing.AllocsPerRun(100, func() { err = tt.f() }); err != nil || got != 0 {
			t.Errorf("%s: %v allocations, %v; want none", tt.name, got, err)
		}
	}
}

func BenchmarkReadPublish(b *testing.B) {
	for _, bb := range []struct {
		name string
		d    *wire.Delivery
		v    wire.Version
	}{{"3.1.1", &plain, wire.V311}, {"5.0", &plain, wire.V5}, {"5.0/properties", &properties, wire.V5}} {
		packet := packetOf(b, bb.d, bb.v)
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := readPublish(packet, bb.v); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(bb.name+"/mochi", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := mochiRead(packet, bb.v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendPublish(b *testing.B) {
	buf := make([]byte, 0, 1024)
	for _, bb := range []struct {
		name string
		d    *wire.Delivery
		v    wire.Version
	}{{"3.1.1", &plain, wire.V311}, {"5.0", &plain, wire.V5}, {"5.0/properties", &properties, wire.V5}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bb.d.Append(buf, bb.v); err != nil {
					b.Fatal(err)
				}
			}
		})
		packet := packetOf(b, bb.d, bb.v)
		b.Run(bb.name+"/mochi", func(b *testing.B) {
			pk, err := mochiRead(packet, bb.v)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := pk.PublishEncode(bytes.NewBuffer(buf)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAck(b *testing.B) {
	buf := make([]byte, 0, 64)
	packet := wire.AppendAck(nil, wire.PUBACK, wire.V5, wire.Ack{PacketID: 1})
	b.Run("Read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f, _, err := wire.ParseFrame(packet, math.MaxUint32)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := wire.ParseAck(f, wire.V5); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			wire.AppendAck(buf, wire.PUBACK, wire.V5, wire.Ack{PacketID: 1})
		}
	})
}

// mochiRead decodes a packet with mochi's codec alone.
func mochiRead(b []byte, v wire.Version) (pk packets.Packet, err error) {
	pk = packets.Packet{ProtocolVersion: byte(v), Mods: packets.Mods{AllowResponseInfo: true}}
	if err := pk.FixedHeader.Decode(b[0]); err != nil {
		return pk, err
	}
	r := bytes.NewReader(b[1:])
	if pk.FixedHeader.Remaining, _, err = packets.DecodeLength(r); err != nil {
		return pk, err
	}
	return pk, mochiDecode(&pk, b[len(b)-r.Len():])
}

// mochiDecode decodes and validates a body as mochi's server does.
func mochiDecode(pk *packets.Packet, body []byte) error {
	code := packets.CodeSuccess
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		if err = pk.ConnectDecode(body); err == nil {
			code = pk.ConnectValidate()
		}
	case packets.Connack:
		err = pk.ConnackDecode(body)
	case packets.Publish:
		if err = pk.PublishDecode(body); err == nil {
			code = pk.PublishValidate(math.MaxUint16)
		}
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Pubrec:
		err = pk.PubrecDecode(body)
	case packets.Pubrel:
		err = pk.PubrelDecode(body)
	case packets.Pubcomp:
		err = pk.PubcompDecode(body)
	case packets.Subscribe:
		if err = pk.SubscribeDecode(body); err == nil {
			code = pk.SubscribeValidate()
		}
	case packets.Suback:
		err = pk.SubackDecode(body)
	case packets.Unsubscribe:
		if err = pk.UnsubscribeDecode(body); err == nil {
			code = pk.UnsubscribeValidate()
		}
	case packets.Unsuback:
		err = pk.UnsubackDecode(body)
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	case packets.Auth:
		if err = pk.AuthDecode(body); err == nil {
			code = pk.AuthValidate()
		}
	}
	if err == nil && code != packets.CodeSuccess {
		err = code
	}
	return err
}
