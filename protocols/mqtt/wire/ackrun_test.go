package wire_test

import (
	"slices"
	"testing"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// pubacks takes what AppendPubackRun does with the plain parsers.
func pubacks(b []byte, most int) (ids []uint16) {
	for len(ids) < most {
		f, n, err := wire.ParseFrame(b, wire.MaxRemaining)
		if err != nil || n != wire.ShortAck || f.Type != wire.PUBACK {
			break
		}
		a, err := wire.ParseAck(f, wire.V311)
		if err != nil {
			break
		}
		ids, b = append(ids, a.PacketID), b[n:]
	}
	return ids
}

func TestPubackRunIsWhatTheParsersSay(t *testing.T) {
	puback := func(ids ...uint16) (b []byte) {
		for _, id := range ids {
			b = wire.AppendAck(b, wire.PUBACK, wire.V311, wire.Ack{PacketID: id})
		}
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		want []uint16
	}{
		{"nothing", nil, nil},
		{"one", puback(7), []uint16{7}},
		{"as many as there is room for", puback(1, 2, 3, 4), []uint16{1, 2, 3, 4}},
		{"more than there is room for", puback(1, 2, 3, 65_535, 5), []uint16{1, 2, 3, 65_535}},
		{"a part of one behind", puback(1, 2)[:7], []uint16{1}},
		{"something else behind", append(puback(1, 2), wire.AppendPingresp(nil)...), []uint16{1, 2}},
		{"something else before", append(wire.AppendPingresp(nil), puback(1)...), nil},
		{"another answer", wire.AppendAck(nil, wire.PUBREC, wire.V311, wire.Ack{PacketID: 1}), nil},
		{"a reason", append(puback(1), wire.AppendAck(nil, wire.PUBACK, wire.V5, wire.Ack{PacketID: 2, Reason: wire.QuotaExceeded})...), []uint16{1}},
		{"flags", []byte{0x41, 2, 0, 1}, nil},
		{"no identifier", append(puback(1), 0x40, 2, 0, 0), []uint16{1}}, // [MQTT-2.2.1-3]
		{"a length of two bytes", []byte{0x40, 0x82, 0, 0, 1}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := wire.AppendPubackRun(make([]uint16, 0, 4), c.b)
			if !slices.Equal(got, c.want) || !slices.Equal(got, pubacks(c.b, 4)) {
				t.Errorf("%v, want %v; the parsers say %v", got, c.want, pubacks(c.b, 4))
			}
		})
	}
}
