package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// addVectors seeds a fuzz test with all packets of mochi's table.
func addVectors(f *testing.F) {
	f.Helper()
	for _, cases := range packets.TPacketData {
		for _, c := range cases {
			if len(c.RawBytes) > 0 && len(c.RawBytes) < 4096 {
				for _, v := range []wire.Version{wire.V31, wire.V311, wire.V5} {
					f.Add(c.RawBytes, uint8(v))
				}
			}
		}
	}
}

// FuzzParse feeds hostile bytes to everything that reads. Nothing may panic,
// refusals are typed, what is taken lies within the input, memory is in
// proportion to it, and what is accepted mochi decodes alike.
func FuzzParse(f *testing.F) {
	addVectors(f)
	f.Add([]byte("\x10\x1c\x00\x04MQTT\x84$00\x00\x03000\x00\x0500000\x00\x040000"), uint8(wire.V5)) // another broker, by wire.BridgeBit
	f.Fuzz(func(t *testing.T, in []byte, version uint8) {
		v := wire.Version(version%3 + 3)
		frame, n, err := wire.ParseFrame(in, 1<<20)
		wantTyped(t, err)
		if size := wire.FrameSize(in); err == nil && n == 0 && size != 0 && size <= len(in) {
			t.Fatalf("%d bytes suffice but are not taken", size)
		}
		if err != nil || n == 0 {
			return
		}
		if n > len(in) || n > 1<<20 || len(frame.Body) > n {
			t.Fatalf("took %d of %d bytes", n, len(in))
		}
		allocated := memory(func() { _, _, err = parseAny(frame, v) })
		if most := uint64(16<<10 + 32*len(in)); allocated > most {
			t.Fatalf("%d bytes allocated for a packet of %d", allocated, len(in))
		}
		wantTyped(t, err)
		got, known, err := parseAny(frame, v)
		if err == nil && known {
			if c, ok := got.(wire.Connect); ok {
				v = c.Version
				if c.Bridge { // mochi does not know the bit: version 3.1.1 is all it sees
					frame.Body = slices.Clone(frame.Body)
					frame.Body[2+binary.BigEndian.Uint16(frame.Body)] &^= wire.BridgeBit
				}
			}
			compare(t, frame, v, got)
		}
	})
}

func wantTyped(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if e, ok := errors.AsType[*wire.Error](err); !ok || !e.Code.Failed() || e.Text == "" {
		t.Fatalf("refused with %#v", err)
	}
}

// memory returns how many bytes f allocates.
func memory(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// FuzzPublishAndAcks compares the hand-written readers with mochi's both ways:
// what mochi accepts is accepted or refused for a reason mochi does not know.
// What is accepted is written again by both, and read again.
func FuzzPublishAndAcks(f *testing.F) {
	for _, kind := range []byte{packets.Publish, packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp} {
		for _, c := range packets.TPacketData[kind] {
			if len(c.RawBytes) > 2 && len(c.RawBytes) < 128 {
				f.Add(c.RawBytes[0], c.RawBytes[2:], true)
				f.Add(c.RawBytes[0], c.RawBytes[2:], false)
			}
		}
	}
	f.Fuzz(func(t *testing.T, first byte, body []byte, five bool) {
		v := wire.V311
		if five {
			v = wire.V5
		}
		kind := wire.PacketType(first >> 4)
		if kind < wire.PUBLISH || kind > wire.PUBCOMP {
			return
		}
		packet := appendLength([]byte{first}, len(body))
		packet = append(packet, body...)
		_, mochi := mochiRead(packet, v)
		frame, n, err := wire.ParseFrame(packet, math.MaxUint32)
		if err == nil && n != len(packet) {
			t.Fatalf("took %d of %d bytes", n, len(packet))
		}
		var got any
		if err == nil {
			got, _, err = parseAny(frame, v)
		}
		if err != nil {
			if mochi == nil && !stricter(err) {
				t.Fatalf("refused: %v; mochi accepts %q", err, packet)
			}
			return
		}
		compare(t, frame, v, got)
		switch got := got.(type) {
		case wire.Publish:
			writeAgain(t, &got, v)
		case wire.Ack:
			out := wire.AppendAck(nil, kind, v, got)
			frame, n, err := wire.ParseFrame(out, math.MaxUint32)
			if err != nil || n != len(out) || n != wire.AckSize(v, got) {
				t.Fatalf("%q: %d, %v", out, n, err)
			}
			again, err := wire.ParseAck(frame, v)
			if err != nil || again.PacketID != got.PacketID || again.Reason != got.Reason || !bytes.Equal(again.Properties, got.Properties) {
				t.Fatalf("written and read: %+v, %v, want %+v", again, err, got)
			}
		}
	})
}

// FuzzControl compares the readers of the other packets with mochi's in the
// direction that FuzzParse does not: what mochi accepts is accepted, or refused for
// a reason mochi does not know.
func FuzzControl(f *testing.F) {
	for _, kind := range []byte{packets.Connect, packets.Subscribe, packets.Unsubscribe, packets.Disconnect, packets.Auth} {
		for _, c := range packets.TPacketData[kind] {
			if len(c.RawBytes) > 2 && len(c.RawBytes) < 128 {
				f.Add(c.RawBytes[0], c.RawBytes[2:], true)
				f.Add(c.RawBytes[0], c.RawBytes[2:], false)
			}
		}
	}
	f.Fuzz(func(t *testing.T, first byte, body []byte, five bool) {
		v := wire.V311
		if five {
			v = wire.V5
		}
		switch wire.PacketType(first >> 4) {
		case wire.CONNECT, wire.SUBSCRIBE, wire.UNSUBSCRIBE, wire.DISCONNECT, wire.AUTH:
		default:
			return
		}
		packet := appendLength([]byte{first}, len(body))
		packet = append(packet, body...)
		if !mochiAccepts(packet, v) {
			return
		}
		frame, _, err := wire.ParseFrame(packet, math.MaxUint32)
		if err == nil {
			_, _, err = parseAny(frame, v)
		}
		if err != nil && !stricter(err) {
			t.Fatalf("refused: %v; mochi accepts %q", err, packet)
		}
	})
}

// mochiAccepts reports whether mochi takes a packet, which it may also panic at.
func mochiAccepts(packet []byte, v wire.Version) (ok bool) {
	defer func() { ok = recover() == nil && ok }()
	_, err := mochiRead(packet, v)
	return err == nil
}

func appendLength(dst []byte, n int) []byte {
	for ; n >= 128; n /= 128 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}

// writeAgain delivers a publish as it came, with a subscription identifier, and
// has mochi read it.
func writeAgain(t *testing.T, p *wire.Publish, v wire.Version) {
	t.Helper()
	d := wire.Delivery{
		Topic: p.Topic, QoS: p.QoS, Dup: p.Dup, Retain: p.Retain, PacketID: p.PacketID, Payload: p.Payload,
		Properties: p.Properties.AppendForward(nil),
		HasExpiry:  p.Properties.Has(wire.MessageExpiry), Expiry: p.Properties.Expiry, TopicAlias: p.Properties.TopicAlias,
	}
	out, err := d.Append(nil, v)
	if err != nil || len(out) != d.Size(v) {
		t.Fatalf("%d bytes, %v, Size said %d", len(out), err, d.Size(v))
	}
	frame, n, err := wire.ParseFrame(out, math.MaxUint32)
	if err != nil || n != len(out) {
		t.Fatalf("%q: %d, %v", out, n, err)
	}
	again, err := wire.ParsePublish(frame, v)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := mochiRead(out, v)
	if err != nil || !samePublish(p, &pk) || !samePublish(&again, &pk) {
		t.Fatalf("%+v\nwritten and read: %+v\nby mochi: %+v, %v", p, again, pk, err)
	}
	if v != wire.V5 {
		return
	}
	d.SubscriptionIDs = []uint32{1, 0, math.MaxUint16}
	if out, err = d.Append(nil, v); err != nil || len(out) != d.Size(v) {
		t.Fatal(err)
	}
	pk = packets.Packet{ProtocolVersion: byte(v), FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: d.QoS}}
	frame, _, err = wire.ParseFrame(out, math.MaxUint32)
	if err != nil {
		t.Fatal(err)
	}
	if err := pk.PublishDecode(frame.Body); err != nil || len(pk.Properties.SubscriptionIdentifier) != 2 ||
		pk.Properties.SubscriptionIdentifier[1] != math.MaxUint16 {
		t.Fatalf("mochi reads %+v, %v", pk.Properties, err)
	}
}

// FuzzText holds the checks of topics to their definition.
func FuzzText(f *testing.F) {
	for _, s := range []string{"a/b", "abcdefgh", "abcdefg+", "abcdefg\x00", "abcdefghij#", "\xff", "äöü/ßabcdefg"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) == 0 || len(s) > math.MaxUint16 {
			return
		}
		_, err := parsePublish(0x30, string([]byte{byte(len(s) >> 8), byte(len(s))})+s, wire.V311)
		if (err == nil) != wire.ValidTopic(s) {
			t.Fatalf("topic %q: %v, ValidTopic says %t", s, err, wire.ValidTopic(s))
		}
		if wire.ValidTopic(s) && s[0] != '$' && !wire.ValidFilter(s) {
			t.Fatalf("topic %q is no filter", s)
		}
	})
}
