package wire_test

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// every has all properties that a client may give a PUBLISH, in no particular
// order.
const every = "\x26\x00\x01a\x00\x011" + // user property
	"\x02\x00\x00\x00\x3c" + // message expiry
	"\x01\x01" + // payload format
	"\x03\x00\x0atext/plain" + // content type
	"\x26\x00\x01b\x00\x012" +
	"\x08\x00\x03r/t" + // response topic
	"\x23\x00\x05" + // topic alias
	"\x09\x00\x02\xff\x00" + // correlation data
	"\x26\x00\x01a\x00\x013"

func section(s string) string { return string(rune(len(s))) + s }

func parsePublish(first byte, body string, v wire.Version) (wire.Publish, error) {
	return wire.ParsePublish(wire.Frame{Type: wire.PUBLISH, Flags: first & 0xF, Body: []byte(body)}, v)
}

func TestParsePublish(t *testing.T) {
	p, err := parsePublish(0x3D, "\x00\x03a/b\x12\x34"+section(every)+"payload", wire.V5)
	if err != nil {
		t.Fatal(err)
	}
	if string(p.Topic) != "a/b" || p.PacketID != 0x1234 || p.QoS != 2 || !p.Dup || !p.Retain || string(p.Payload) != "payload" {
		t.Errorf("%+v", p)
	}
	props := &p.Properties
	if string(props.Section) != every || string(props.ContentType) != "text/plain" || string(props.ResponseTopic) != "r/t" ||
		string(props.CorrelationData) != "\xff\x00" || props.Expiry != 60 || props.TopicAlias != 5 || props.PayloadFormat != 1 {
		t.Errorf("%+v", props)
	}
	for _, id := range []wire.Property{
		wire.PayloadFormat, wire.MessageExpiry, wire.ContentType, wire.ResponseTopic,
		wire.CorrelationData, wire.TopicAlias, wire.User,
	} {
		if !props.Has(id) {
			t.Errorf("property %d is not there", id)
		}
	}
	if props.Has(wire.WillDelay) {
		t.Error("a will delay is there")
	}
}

func TestUserPropertiesKeepOrderAndDuplicates_MQTT_3_3_2_17(t *testing.T) { // [MQTT-3.3.2-17] [MQTT-3.3.2-18]
	p, err := parsePublish(0x30, "\x00\x01a"+section(every), wire.V5)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for name, value := range wire.UserProperties(p.Properties.Section) {
		got = append(got, string(name)+"="+string(value))
	}
	if want := []string{"a=1", "b=2", "a=3"}; !slices.Equal(got, want) {
		t.Errorf("user properties %v, want %v", got, want)
	}
	forward := string(p.Properties.AppendForward([]byte("+")))
	want := "+" + strings.NewReplacer("\x02\x00\x00\x00\x3c", "", "\x23\x00\x05", "").Replace(every)
	if forward != want {
		t.Errorf("forwarded %q, want %q", forward, want)
	}
}

func TestPublishIsChecked(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first byte
		body  string
		v     wire.Version
		code  wire.ReasonCode
	}{
		{name: "least", first: 0x30, body: "\x00\x01a", v: wire.V311},
		{name: "least of MQTT 5", first: 0x30, body: "\x00\x01a\x00", v: wire.V5},
		{name: "unicode", first: 0x30, body: "\x00\x05\xc3\xa4/\xc3\xb6", v: wire.V31},
		{name: "[MQTT-1.5.4-3] [MQTT-3.1.1 1.5.3-3] byte order mark", first: 0x30, body: "\x00\x05\xef\xbb\xbf/a", v: wire.V311},
		{name: "control character", first: 0x30, body: "\x00\x01\x01", v: wire.V311},
		{name: "topic alias alone", first: 0x30, body: "\x00\x00\x03\x23\x00\x01", v: wire.V5},

		{name: "no topic length", first: 0x30, body: "\x00", v: wire.V311, code: wire.MalformedPacket},
		{name: "topic cut short", first: 0x30, body: "\x00\x02a", v: wire.V311, code: wire.MalformedPacket},
		{name: "no packet identifier", first: 0x32, body: "\x00\x01a\x00", v: wire.V311, code: wire.MalformedPacket},
		{name: "[MQTT-2.2.1-3] [MQTT-3.1.1 2.3.1-1] packet identifier 0", first: 0x32, body: "\x00\x01a\x00\x00", v: wire.V311, code: wire.ProtocolError},
		{name: "[MQTT-1.5.4-1] [MQTT-3.1.1 1.5.3-1] surrogate", first: 0x30, body: "\x00\x03\xed\xa0\x80", v: wire.V311, code: wire.MalformedPacket},
		{name: "[MQTT-1.5.4-1] [MQTT-3.1.1 1.5.3-1] overlong", first: 0x30, body: "\x00\x02\xc0\xaf", v: wire.V311, code: wire.MalformedPacket},
		{name: "[MQTT-1.5.4-2] [MQTT-3.1.1 1.5.3-2] NUL", first: 0x30, body: "\x00\x01\x00", v: wire.V311, code: wire.MalformedPacket},
		{name: "[MQTT-1.5.4-2] [MQTT-3.1.1 1.5.3-2] NUL in a long topic", first: 0x30, body: "\x00\x0aabcdefg\x00ij", v: wire.V311, code: wire.MalformedPacket},
		{name: "[MQTT-3.3.2-2] [MQTT-3.1.1 3.3.2-2] +", first: 0x30, body: "\x00\x03a/+", v: wire.V311, code: wire.TopicNameInvalid},
		{name: "[MQTT-3.3.2-2] [MQTT-3.1.1 3.3.2-2] # in a long topic", first: 0x30, body: "\x00\x0aabc#efghij", v: wire.V311, code: wire.TopicNameInvalid},
		{name: "[MQTT-4.7.3-1] [MQTT-3.1.1 4.7.3-1] empty topic", first: 0x30, body: "\x00\x00", v: wire.V311, code: wire.ProtocolError},
		{name: "section 3.3.2.1: neither topic nor alias", first: 0x30, body: "\x00\x00\x00", v: wire.V5, code: wire.ProtocolError},

		{name: "no property length", first: 0x30, body: "\x00\x01a", v: wire.V5, code: wire.MalformedPacket},
		{name: "property length incomplete", first: 0x30, body: "\x00\x01a\x80", v: wire.V5, code: wire.MalformedPacket},
		{name: "[MQTT-1.5.5-1] property length padded", first: 0x30, body: "\x00\x01a\x80\x00", v: wire.V5, code: wire.MalformedPacket},
		{name: "section 1.5.5: property length of five bytes", first: 0x30, body: "\x00\x01a\xff\xff\xff\xff\x00", v: wire.V5, code: wire.MalformedPacket},
		{name: "properties beyond the packet", first: 0x30, body: "\x00\x01a\x02\x01", v: wire.V5, code: wire.MalformedPacket},
		{name: "property beyond its section", first: 0x30, body: "\x00\x01a\x03\x02\x00\x00\x00\x01", v: wire.V5, code: wire.MalformedPacket},
		{name: "section 2.2.2.2: unknown property", first: 0x30, body: "\x00\x01a\x02\x7f\x00", v: wire.V5, code: wire.MalformedPacket},
		{name: "section 2.2.2.2: property 0", first: 0x30, body: "\x00\x01a\x02\x00\x00", v: wire.V5, code: wire.MalformedPacket},
		{name: "section 2.2.2.2: property of CONNECT", first: 0x30, body: "\x00\x01a\x03\x21\x00\x01", v: wire.V5, code: wire.MalformedPacket},
		{name: "section 2.2.2.2: property of a will", first: 0x30, body: "\x00\x01a\x05\x18\x00\x00\x00\x01", v: wire.V5, code: wire.MalformedPacket},
		{name: "section 3.3.2.3.2: payload format twice", first: 0x30, body: "\x00\x01a\x04\x01\x01\x01\x01", v: wire.V5, code: wire.ProtocolError},
		{name: "section 3.3.2.3.2: payload format 2", first: 0x30, body: "\x00\x01a\x02\x01\x02", v: wire.V5, code: wire.ProtocolError},
		{name: "section 3.3.2.3.3: expiry twice", first: 0x30, body: "\x00\x01a\x0a\x02\x00\x00\x00\x01\x02\x00\x00\x00\x01", v: wire.V5, code: wire.ProtocolError},
		{name: "[MQTT-3.3.2-8] topic alias 0", first: 0x30, body: "\x00\x01a\x03\x23\x00\x00", v: wire.V5, code: wire.TopicAliasInvalid},
		{name: "section 3.3.2.3.4: topic alias twice", first: 0x30, body: "\x00\x01a\x06\x23\x00\x01\x23\x00\x01", v: wire.V5, code: wire.ProtocolError},
		{name: "[MQTT-3.3.2-13] response topic not UTF-8", first: 0x30, body: "\x00\x01a\x04\x08\x00\x01\xff", v: wire.V5, code: wire.MalformedPacket},
		{name: "[MQTT-3.3.2-14] response topic with a wildcard", first: 0x30, body: "\x00\x01a\x04\x08\x00\x01#", v: wire.V5, code: wire.ProtocolError},
		{name: "[MQTT-4.7.3-1] empty response topic", first: 0x30, body: "\x00\x01a\x03\x08\x00\x00", v: wire.V5, code: wire.ProtocolError},
		{name: "[MQTT-3.3.4-6] subscription identifier", first: 0x30, body: "\x00\x01a\x02\x0b\x01", v: wire.V5, code: wire.ProtocolError},
		{name: "[MQTT-3.3.2-19] content type not UTF-8", first: 0x30, body: "\x00\x01a\x04\x03\x00\x01\xff", v: wire.V5, code: wire.MalformedPacket},
		{name: "section 1.5.7: user property without a value", first: 0x30, body: "\x00\x01a\x04\x26\x00\x01k", v: wire.V5, code: wire.MalformedPacket},
		{name: "[MQTT-1.5.7-1] NUL in a user property", first: 0x30, body: "\x00\x01a\x07\x26\x00\x01k\x00\x01\x00", v: wire.V5, code: wire.MalformedPacket},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parsePublish(tt.first, tt.body, tt.v)
			wantCode(t, err, tt.code)
		})
	}
}

// TestParsePublishHead parses every prefix: too little is asked for more, and
// what is enough gives what the whole packet gives.
func TestParsePublishHead(t *testing.T) {
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		body := "\x00\x03a/b\x12\x34"
		if v == wire.V5 {
			body += section(every)
		}
		head := len(body)
		body += strings.Repeat("p", 1000)
		h := wire.Header{Type: wire.PUBLISH, Flags: 2, Length: len(body)}
		for n := range len(body) + 1 {
			p, took, err := wire.ParsePublishHead(h, []byte(body + "next")[:n], v)
			wantCode(t, err, wire.Success)
			switch {
			case n < head && took != 0:
				t.Fatalf("%v: %d bytes of a head of %d suffice", v, n, head)
			case n >= head && (took != head || string(p.Topic) != "a/b" || p.PacketID != 0x1234 || p.Payload != nil):
				t.Fatalf("%v: took %d of %d bytes, %+v", v, took, n, p)
			}
		}
		h.Length = head - 1
		_, _, err := wire.ParsePublishHead(h, []byte(body), v)
		wantCode(t, err, wire.MalformedPacket)
	}
}

func TestDelivery(t *testing.T) {
	for _, tt := range []struct {
		name string
		d    wire.Delivery
		v    wire.Version
		want string
	}{
		{"QoS 0", wire.Delivery{Topic: []byte("a/b"), Payload: []byte("x")}, wire.V311, "\x30\x06\x00\x03a/bx"},
		{
			"[MQTT-2.2.1-2] [MQTT-3.3.1-2] no packet identifier and no DUP with QoS 0",
			wire.Delivery{Topic: []byte("a"), Dup: true, PacketID: 7},
			wire.V311, "\x30\x03\x00\x01a",
		},
		{"all flags", wire.Delivery{Topic: []byte("a"), QoS: 2, Dup: true, Retain: true, PacketID: 7}, wire.V31, "\x3d\x05\x00\x01a\x00\x07"},
		{"MQTT 5", wire.Delivery{Topic: []byte("a"), QoS: 1, PacketID: 7}, wire.V5, "\x32\x06\x00\x01a\x00\x07\x00"},
		{
			"properties",
			wire.Delivery{
				Topic: []byte("a"), Properties: []byte("\x01\x01"), HasExpiry: true, Expiry: 9, TopicAlias: 3,
				SubscriptionIDs: []uint32{1, 0, 200}, Payload: []byte("x"),
			},
			wire.V5,
			"\x30\x14\x00\x01a\x0f\x02\x00\x00\x00\x09\x23\x00\x03\x0b\x01\x0b\xc8\x01\x01\x01x",
		},
		{
			"properties are nothing to MQTT 3.1.1",
			wire.Delivery{Topic: []byte("a"), Properties: []byte("\x01\x01"), HasExpiry: true, TopicAlias: 3, SubscriptionIDs: []uint32{1}},
			wire.V311, "\x30\x03\x00\x01a",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.d.Append([]byte("-"), tt.v)
			if err != nil || string(got) != "-"+tt.want {
				t.Errorf("Append = %q, %v, want %q", got, err, tt.want)
			}
			if size := tt.d.Size(tt.v); size != len(tt.want) {
				t.Errorf("Size is %d, want %d", size, len(tt.want))
			}
			head, err := tt.d.AppendHead(nil, tt.v)
			if err != nil || string(head)+string(tt.d.Payload) != tt.want {
				t.Errorf("AppendHead = %q, %v", head, err)
			}
		})
	}
}

func TestDeliveryThatCannotBe(t *testing.T) {
	dst := []byte("-")
	d := wire.Delivery{Topic: make([]byte, math.MaxUint16+1)}
	if got, err := d.Append(dst, wire.V5); !errors.Is(err, wire.ErrTopicTooLong) || !bytes.Equal(got, dst) || d.Size(wire.V5) != math.MaxInt {
		t.Errorf("topic too long: %v, size %d", err, d.Size(wire.V5))
	}
	d = wire.Delivery{Topic: []byte("a"), Payload: make([]byte, wire.MaxRemaining-2)}
	if got, err := d.AppendHead(dst, wire.V311); !errors.Is(err, wire.ErrTooLarge) || !bytes.Equal(got, dst) || d.Size(wire.V311) != math.MaxInt {
		t.Errorf("payload too large: %v, size %d", err, d.Size(wire.V311))
	}
	d.Payload = d.Payload[1:]
	if _, err := d.AppendHead(nil, wire.V311); err != nil || d.Size(wire.V311) != wire.MaxRemaining+wire.MaxHeader {
		t.Errorf("largest payload: %v, size %d", err, d.Size(wire.V311))
	}
}

func TestAck(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first byte
		body  string
		v     wire.Version
		want  wire.Ack
		code  wire.ReasonCode
	}{
		{name: "PUBACK", first: 0x40, body: "\x12\x34", v: wire.V311, want: wire.Ack{PacketID: 0x1234}},
		{name: "PUBREL", first: 0x62, body: "\x00\x01", v: wire.V5, want: wire.Ack{PacketID: 1}},
		{name: "MQTT 3.1: PUBREL with DUP", first: 0x6A, body: "\x00\x01", v: wire.V31, want: wire.Ack{PacketID: 1}},
		{name: "reason", first: 0x50, body: "\x00\x01\x97", v: wire.V5, want: wire.Ack{PacketID: 1, Reason: wire.QuotaExceeded}},
		{name: "reason and no properties", first: 0x50, body: "\x00\x01\x10\x00", v: wire.V5, want: wire.Ack{PacketID: 1, Reason: wire.NoMatchingSubscribers}},
		{
			name: "properties", first: 0x70, body: "\x00\x01\x92\x0b\x1f\x00\x01r\x26\x00\x01k\x00\x01v", v: wire.V5,
			want: wire.Ack{PacketID: 1, Reason: wire.PacketIDNotFound, Properties: []byte("\x1f\x00\x01r\x26\x00\x01k\x00\x01v")},
		},

		{name: "[MQTT-3.6.1-1] [MQTT-3.1.1 3.6.1-1] PUBREL with DUP", first: 0x6A, body: "\x00\x01", v: wire.V311, code: wire.MalformedPacket},
		{name: "no packet identifier", first: 0x40, body: "\x00", v: wire.V311, code: wire.MalformedPacket},
		{name: "[MQTT-2.2.1-3] [MQTT-3.1.1 2.3.1-1] packet identifier 0", first: 0x40, body: "\x00\x00", v: wire.V311, code: wire.ProtocolError},
		{name: "reason before MQTT 5", first: 0x40, body: "\x00\x01\x00", v: wire.V311, code: wire.MalformedPacket},
		{name: "[MQTT-3.4.2-1] reason of PUBACK", first: 0x40, body: "\x00\x01\x92", v: wire.V5, code: wire.ProtocolError},
		{name: "[MQTT-3.5.2-1] reason of PUBREC", first: 0x50, body: "\x00\x01\x01", v: wire.V5, code: wire.ProtocolError},
		{name: "[MQTT-3.6.2-1] reason of PUBREL", first: 0x62, body: "\x00\x01\x97", v: wire.V5, code: wire.ProtocolError},
		{name: "[MQTT-3.7.2-1] reason of PUBCOMP", first: 0x70, body: "\x00\x01\x10", v: wire.V5, code: wire.ProtocolError},
		{name: "properties beyond the packet", first: 0x40, body: "\x00\x01\x00\x01", v: wire.V5, code: wire.MalformedPacket},
		{name: "bytes behind the properties", first: 0x40, body: "\x00\x01\x00\x00\x00", v: wire.V5, code: wire.MalformedPacket},
		{name: "section 3.4.2.2.2: reason string twice", first: 0x40, body: "\x00\x01\x00\x08\x1f\x00\x01r\x1f\x00\x01r", v: wire.V5, code: wire.ProtocolError},
		{name: "section 2.2.2.2: property of PUBLISH", first: 0x40, body: "\x00\x01\x00\x02\x01\x01", v: wire.V5, code: wire.MalformedPacket},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := wire.Frame{Type: wire.PacketType(tt.first >> 4), Flags: tt.first & 0xF, Body: []byte(tt.body)}
			a, err := wire.ParseAck(f, tt.v)
			wantCode(t, err, tt.code)
			if a.PacketID != tt.want.PacketID || a.Reason != tt.want.Reason || !bytes.Equal(a.Properties, tt.want.Properties) {
				t.Fatalf("%+v, want %+v", a, tt.want)
			}
			if err != nil {
				return
			}
			packet := wire.AppendAck(nil, f.Type, tt.v, a)
			if size := wire.AckSize(tt.v, a); size != len(packet) {
				t.Errorf("AckSize is %d, the packet has %d bytes", size, len(packet))
			}
			back, _, err := wire.ParseFrame(packet, math.MaxUint32)
			if err != nil {
				t.Fatal(err)
			}
			again, err := wire.ParseAck(back, tt.v)
			if err != nil || again.PacketID != a.PacketID || again.Reason != a.Reason || !bytes.Equal(again.Properties, a.Properties) {
				t.Errorf("appended and parsed: %+v, %v", again, err)
			}
		})
	}
}

func TestAckReasonIsForMQTT5Only(t *testing.T) {
	a := wire.Ack{PacketID: 1, Reason: wire.QuotaExceeded, Properties: wire.AppendText(nil, wire.ReasonString, "full")}
	if got := string(wire.AppendAck(nil, wire.PUBACK, wire.V311, a)); got != "\x40\x02\x00\x01" {
		t.Errorf("%q", got)
	}
	if got := string(wire.AppendAck(nil, wire.PUBREL, wire.V5, wire.Ack{PacketID: 1})); got != "\x62\x02\x00\x01" {
		t.Errorf("%q", got)
	}
}
