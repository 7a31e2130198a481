package wire_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// specimen is a packet that a client may send, with every field and property it
// can have: everything that has a length.
type specimen struct {
	kind  wire.PacketType
	v     wire.Version
	flags uint8
	body  string
}

func (s *specimen) String() string { return fmt.Sprintf("%s of %s", s.kind, s.v) }

func specimens() []specimen {
	const (
		pair    = "\x26\x00\x01k\x00\x01v"
		because = "\x1f\x00\x01r" + pair
	)
	connect := "\x00\x04MQTT\x05\xf6\x00\x3c" +
		section("\x11\x00\x00\x00\x78\x21\x00\x0a\x27\x00\x00\x10\x00\x22\x00\x05\x19\x01\x17\x00"+pair+"\x15\x00\x01m\x16\x00\x01d") +
		"\x00\x02id" + section("\x18\x00\x00\x00\x1e\x01\x01\x03\x00\x01c\x08\x00\x01r\x09\x00\x01d"+pair) +
		"\x00\x03w/t\x00\x04gone\x00\x04user\x00\x04pass"
	all := []specimen{
		{wire.CONNECT, wire.V5, 0, connect},
		{wire.CONNECT, wire.V311, 0, "\x00\x04MQTT\x04\xf6\x00\x3c\x00\x02id\x00\x03w/t\x00\x04gone\x00\x04user\x00\x04pass"},
		{wire.CONNECT, wire.V31, 0, "\x00\x06MQIsdp\x03\xf6\x00\x3c\x00\x02id\x00\x03w/t\x00\x04gone\x00\x04user\x00\x04pass"},
		{wire.PUBLISH, wire.V5, 2, "\x00\x03a/b\x12\x34" + section(every) + "payload"},
		{wire.SUBSCRIBE, wire.V5, 2, "\x00\x07" + section("\x0b\xc8\x01"+pair) + "\x00\x03a/b\x01\x00\x01#\x02"},
		{wire.UNSUBSCRIBE, wire.V5, 2, "\x00\x07" + section(pair) + "\x00\x03a/b\x00\x01#"},
		{wire.DISCONNECT, wire.V5, 0, "\x04" + section("\x11\x00\x00\x00\x01"+because)},
		{wire.AUTH, wire.V5, 0, "\x18" + section("\x15\x00\x01m\x16\x00\x01d"+because)},
	}
	for _, kind := range []wire.PacketType{wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP} {
		flags := uint8(0)
		if kind == wire.PUBREL {
			flags = 2
		}
		all = append(all, specimen{kind, wire.V5, flags, "\x00\x07\x00" + section(because)})
	}
	for _, v := range []wire.Version{wire.V31, wire.V311} {
		all = append(all,
			specimen{wire.PUBLISH, v, 2, "\x00\x03a/b\x12\x34payload"},
			specimen{wire.SUBSCRIBE, v, 2, "\x00\x07\x00\x03a/b\x01\x00\x01#\x02"},
			specimen{wire.UNSUBSCRIBE, v, 2, "\x00\x07\x00\x03a/b\x00\x01#"},
			specimen{wire.PUBREL, v, 2, "\x00\x07"}, specimen{wire.DISCONNECT, v, 0, ""}, specimen{wire.PINGREQ, v, 0, ""})
	}
	return all
}

// TestAnnouncedLengthTakesNoMemory: a remaining length promises up to 256 MiB,
// and a little has arrived.
func TestAnnouncedLengthTakesNoMemory(t *testing.T) {
	for _, s := range specimens() {
		if s.kind == wire.PINGREQ {
			continue // has no body, whatever is announced
		}
		for _, announced := range []string{"\xff\xff\xff\x7f", "\x80\x80\x80\x08", "\xff\xff\x03"} {
			in := append([]byte{byte(s.kind)<<4 | s.flags}, announced+s.body...)
			if n := testing.AllocsPerRun(1, func() {
				if _, n, err := wire.ParseFrame(in, math.MaxUint32); n != 0 || err != nil {
					t.Fatalf("%s: took %d, %v", &s, n, err)
				}
				wire.FrameSize(in)
				if h, n, err := wire.ParseHeader(in, math.MaxUint32); s.kind == wire.PUBLISH {
					if _, _, err = wire.ParsePublishHead(h, in[n:], s.v); err != nil {
						t.Fatal(err)
					}
				} else if err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%s with a length of % x: %v allocations", &s, announced, n)
			}
			if n := memory(func() {
				_, _, err := wire.ParseFrame(in, 16<<10)
				wantCode(t, err, wire.PacketTooLarge)
			}); n > 1<<10 {
				t.Errorf("%s with a length of % x: %d bytes for its refusal", &s, announced, n)
			}
		}
	}
}

// TestLyingLengths puts numbers that promise much, or nothing, wherever a length
// could be in a packet, and cuts it off there: nothing panics, refusals are
// typed, and no more is allocated than for a good packet of that size.
func TestLyingLengths(t *testing.T) {
	const most = 8 << 10
	for _, s := range specimens() {
		if _, known, err := parseAny(wire.Frame{Type: s.kind, Flags: s.flags, Body: []byte(s.body)}, s.v); !known || err != nil {
			t.Fatalf("%s, as it should be: %v", &s, err)
		}
		for at := range len(s.body) {
			for _, lie := range []string{"\xff\xff", "\x00\x00", "\x01\x00", "\xff\xff\xff\x7f", "\xff\xff\xff\xff\xff", "\x80\x80\x80\x00", "\x7f", ""} {
				body := []byte(s.body[:at] + lie)
				if rest := at + len(lie); lie != "" && rest < len(s.body) {
					body = append(body, s.body[rest:]...)
				}
				f := wire.Frame{Type: s.kind, Flags: s.flags, Body: body}
				var err error
				if n := memory(func() { _, _, err = parseAny(f, s.v) }); n > most {
					t.Errorf("%s with % x at %d: %d bytes allocated", &s, lie, at, n)
				}
				wantTyped(t, err)
			}
		}
	}
}

// TestManySmallItems: what a packet is full of, filters and user properties,
// takes more room in memory than on the wire, but not much more, garbage included.
func TestManySmallItems(t *testing.T) {
	const factor = 16
	user := strings.Repeat("\x26\x00\x00\x00\x00", wire.MaxItems)
	users := string(appendLength(nil, len(user))) + user
	for _, s := range []specimen{
		{wire.SUBSCRIBE, wire.V5, 2, "\x00\x07\x00" + strings.Repeat("\x00\x01a\x00", wire.MaxItems)},
		{wire.SUBSCRIBE, wire.V311, 2, "\x00\x07" + strings.Repeat("\x00\x01a\x00", wire.MaxItems)},
		{wire.SUBSCRIBE, wire.V5, 2, "\x00\x07\x00" + strings.Repeat("\x00\x00\x00", wire.MaxItems)},
		{wire.SUBSCRIBE, wire.V5, 2, "\x00\x07\x00" + strings.Repeat("\x00\x02aa\x00", wire.MaxItems)},
		{wire.UNSUBSCRIBE, wire.V5, 2, "\x00\x07\x00" + strings.Repeat("\x00\x01a", wire.MaxItems)},
		{wire.UNSUBSCRIBE, wire.V5, 2, "\x00\x07\x00" + strings.Repeat("\x00\x00", wire.MaxItems)},
		{wire.CONNECT, wire.V5, 0, "\x00\x04MQTT\x05\x02\x00\x3c" + users + "\x00\x02id"},
		{wire.PUBLISH, wire.V5, 0, "\x00\x01a" + users},
		{wire.PUBACK, wire.V5, 0, "\x00\x07\x00" + users},
		{wire.SUBSCRIBE, wire.V5, 2, "\x00\x07" + users + "\x00\x01a\x00"},
		{wire.UNSUBSCRIBE, wire.V5, 2, "\x00\x07" + users + "\x00\x01a"},
		{wire.DISCONNECT, wire.V5, 0, "\x00" + users},
	} {
		f := wire.Frame{Type: s.kind, Flags: s.flags, Body: []byte(s.body)}
		var err error
		n := memory(func() { _, _, err = parseAny(f, s.v) })
		if err != nil {
			t.Errorf("%s: %v", &s, err)
		}
		if n > factor*uint64(len(s.body)) {
			t.Errorf("%s: %d bytes allocated for %d", &s, n, len(s.body))
		}
		t.Logf("%s: %d bytes for %d", &s, n, len(s.body))
	}
}
