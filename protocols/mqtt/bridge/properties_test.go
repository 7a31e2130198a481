package bridge_test

import (
	"bytes"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// section makes a property section of parts.
type section []byte

func (s section) number(id wire.Property, v uint32) section { return wire.AppendNumber(s, id, v) }
func (s section) text(id wire.Property, v string) section   { return wire.AppendText(s, id, v) }
func (s section) user(name, value string) section           { return wire.AppendUser(s, name, value) }

func parse(tb testing.TB, s []byte) wire.PublishProperties {
	tb.Helper()
	p, err := wire.ParseProperties(s)
	if err != nil {
		tb.Fatalf("section %q: %v", s, err)
	}
	return p
}

// TestFromMQTT shows what an AMQP client sees, and that MQTT clients get back
// what was sent.
func TestFromMQTT(t *testing.T) {
	for _, tt := range []struct {
		name   string
		qos    uint8
		retain bool
		in     section
		want   field.Properties
	}{
		{name: "QoS 0", want: field.Properties{DeliveryMode: 1}},
		{name: "QoS 1", qos: 1, want: field.Properties{DeliveryMode: 2}},
		{name: "QoS 2", qos: 2, want: field.Properties{DeliveryMode: 2, Headers: field.Table{{Key: "x-mqtt-publish-qos", Value: uint8(2)}}}},
		{name: "RETAIN", retain: true, want: field.Properties{DeliveryMode: 1, Headers: field.Table{{Key: "x-mqtt-retain", Value: true}}}},
		{name: "content type", in: section{}.text(wire.ContentType, "text/plain"), want: field.Properties{DeliveryMode: 1, ContentType: "text/plain"}},
		{
			name: "empty content type", in: section{}.text(wire.ContentType, ""),
			want: field.Properties{DeliveryMode: 1, Present: field.ContentType},
		},
		{
			name: "content type that is not ASCII", in: section{}.text(wire.ContentType, "text/größe"),
			want: field.Properties{DeliveryMode: 1, Headers: field.Table{
				{Key: "x-mqtt-properties", Value: []byte(section{}.text(wire.ContentType, "text/größe"))},
			}},
		},
		{name: "correlation data", in: section{}.text(wire.CorrelationData, "4711"), want: field.Properties{DeliveryMode: 1, CorrelationID: "4711"}},
		{
			name: "correlation data that is not UTF-8", in: section{}.text(wire.CorrelationData, "\xff\x00"),
			want: field.Properties{DeliveryMode: 1, Headers: field.Table{{Key: "x-correlation-id", Value: "\xff\x00"}}},
		},
		{
			name: "correlation data of 256 bytes", in: section{}.text(wire.CorrelationData, strings.Repeat("c", 256)),
			want: field.Properties{DeliveryMode: 1, Headers: field.Table{{Key: "x-correlation-id", Value: strings.Repeat("c", 256)}}},
		},
		{
			name: "response topic", in: section{}.text(wire.ResponseTopic, "reply/v1.2"),
			want: field.Properties{DeliveryMode: 1, Headers: field.Table{{Key: "x-reply-to-topic", Value: "reply.v1/2"}}},
		},
		{name: "expiry", in: section{}.number(wire.MessageExpiry, 60), want: field.Properties{DeliveryMode: 1, Expiration: "60000"}},
		{name: "expiry 0", in: section{}.number(wire.MessageExpiry, 0), want: field.Properties{DeliveryMode: 1, Expiration: "0"}},
		{
			name: "longest expiry", in: section{}.number(wire.MessageExpiry, math.MaxUint32),
			want: field.Properties{DeliveryMode: 1, Expiration: "4294967295000"},
		},
		{
			name: "payload format", in: section{}.number(wire.PayloadFormat, 1),
			want: field.Properties{DeliveryMode: 1, Headers: field.Table{{Key: "x-mqtt-payload-format", Value: uint8(1)}}},
		},
		{
			name: "[MQTT-3.3.2-18] user properties in order", in: section{}.user("b", "1").user("a", "2").user("b", "3").user("", ""),
			want: field.Properties{DeliveryMode: 1, Headers: field.Table{
				{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "b", Value: "3"}, {Key: "", Value: ""},
			}},
		},
		{
			name: "user property with a name of ours", in: section{}.user("x-reply-to-topic", "forged").user("a", "1"),
			want: field.Properties{DeliveryMode: 1, Headers: field.Table{
				{Key: "a", Value: "1"},
				{Key: "x-mqtt-properties", Value: []byte(section{}.user("x-reply-to-topic", "forged").user("a", "1"))},
			}},
		},
		{
			name: "topic alias and will delay stay behind", in: section{}.number(wire.TopicAlias, 7).number(wire.WillDelay, 7),
			want: field.Properties{DeliveryMode: 1},
		},
		{
			name: "all at once", qos: 2, retain: true,
			in: section{}.user("k", "v").text(wire.CorrelationData, "c").number(wire.MessageExpiry, 1).
				text(wire.ContentType, "t").number(wire.PayloadFormat, 0).text(wire.ResponseTopic, "*"),
			want: field.Properties{DeliveryMode: 2, ContentType: "t", CorrelationID: "c", Expiration: "1000", Headers: field.Table{
				{Key: "x-mqtt-publish-qos", Value: uint8(2)},
				{Key: "x-mqtt-retain", Value: true},
				{Key: "x-mqtt-payload-format", Value: uint8(0)},
				{Key: "x-reply-to-topic", Value: "+"},
				{Key: "k", Value: "v"},
			}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := parse(t, tt.in)
			block := bridge.Block(tt.qos, tt.retain, &p)
			got, err := field.ParseProperties(block)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want.Present&^got.Present != 0 {
				t.Errorf("present are %#x, want %#x", got.Present, tt.want.Present)
			}
			got.Present, tt.want.Present = 0, 0
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v\nwant %+v", got, tt.want)
			}
			roundTrip(t, tt.qos, tt.retain, &p, block)
		})
	}
}

// roundTrip fails unless block gives back the message it was made of.
func roundTrip(t *testing.T, qos uint8, retain bool, p *wire.PublishProperties, block []byte) {
	t.Helper()
	if _, err := field.CheckProperties(block); err != nil {
		t.Fatalf("block %q: %v", block, err)
	}
	back, m, err := bridge.AppendProperties([]byte("-"), block)
	if err != nil || back[0] != '-' {
		t.Fatalf("%q, %v", back, err)
	}
	want := bridge.Message{QoS: qos, Retain: retain}
	if m != want {
		t.Fatalf("message %+v, want %+v", m, want)
	}
	if again, err := bridge.Read(block); err != nil || again != m {
		t.Fatalf("Read says %+v, %v", again, err)
	}
	q := parse(t, back[1:])
	for _, id := range []wire.Property{wire.PayloadFormat, wire.ContentType, wire.ResponseTopic, wire.CorrelationData, wire.User} {
		if q.Has(id) != p.Has(id) {
			t.Fatalf("property %d: %t, want %t", id, q.Has(id), p.Has(id))
		}
	}
	if q.PayloadFormat != p.PayloadFormat || !bytes.Equal(q.ContentType, p.ContentType) || !bytes.Equal(q.ResponseTopic, p.ResponseTopic) ||
		!bytes.Equal(q.CorrelationData, p.CorrelationData) || !slices.Equal(users(&q), users(p)) {
		t.Fatalf("%+v\nwant %+v", q, p)
	}
	if q.Has(wire.MessageExpiry) || q.Has(wire.TopicAlias) || q.Has(wire.WillDelay) {
		t.Fatalf("%+v has what each hop writes itself", q)
	}
}

func users(p *wire.PublishProperties) (list []wire.UserProperty) {
	for name, value := range wire.UserProperties(p.Section) {
		list = append(list, wire.UserProperty{Name: string(name), Value: string(value)})
	}
	return list
}

// TestFromAMQP shows what an MQTT client sees of AMQP's properties.
func TestFromAMQP(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   field.Properties
		m    bridge.Message
		want section
	}{
		{name: "nothing"},
		{name: "transient", in: field.Properties{DeliveryMode: 1}},
		{name: "persistent", in: field.Properties{DeliveryMode: 2}, m: bridge.Message{QoS: 1}},
		{name: "persistent with priority", in: field.Properties{DeliveryMode: 2, Priority: 5}, m: bridge.Message{QoS: 1}},
		{
			name: "what MQTT does not have",
			in: field.Properties{
				ContentEncoding: "gzip", Priority: 1, MessageID: "m", Timestamp: 1, Type: "t", UserID: "u", AppID: "a", ClusterID: "c",
			},
		},
		{
			name: "texts", in: field.Properties{ContentType: "text/plain", CorrelationID: "\xff", Expiration: "1500"},
			want: section{}.text(wire.ContentType, "text/plain").text(wire.CorrelationData, "\xff"),
		},
		{name: "content type that is not UTF-8", in: field.Properties{ContentType: "\xff"}},
		{
			name: "header x-correlation-id", in: field.Properties{Headers: field.Table{{Key: "x-correlation-id", Value: []byte{1, 2}}}},
			want: section{}.text(wire.CorrelationData, "\x01\x02"),
		},
		{
			name: "correlation_id precedes the header",
			in:   field.Properties{CorrelationID: "id", Headers: field.Table{{Key: "x-correlation-id", Value: "other"}}},
			want: section{}.text(wire.CorrelationData, "id"),
		},
		{
			name: "header x-reply-to-topic", in: field.Properties{ReplyTo: "queue", Headers: field.Table{{Key: "x-reply-to-topic", Value: "a.b/c"}}},
			want: section{}.text(wire.ResponseTopic, "a/b.c"),
		},
		{name: "reply_to of a queue", in: field.Properties{ReplyTo: "queue"}},
		{
			name: "reply_to of amq.topic", in: field.Properties{ReplyTo: "/exchanges/amq.topic/a%2F.b"},
			want: section{}.text(wire.ResponseTopic, "a./b"),
		},
		{name: "reply_to that is no address", in: field.Properties{ReplyTo: "/exchanges/amq.topic/a%2"}},
		{name: "RETAIN", in: field.Properties{Headers: field.Table{{Key: "x-mqtt-retain", Value: true}}}, m: bridge.Message{Retain: true}},
		{name: "RETAIN false", in: field.Properties{Headers: field.Table{{Key: "x-mqtt-retain", Value: false}}}},
		{
			name: "QoS 2 needs a persistent message", in: field.Properties{Headers: field.Table{{Key: "x-mqtt-publish-qos", Value: int32(2)}}},
		},
		{
			name: "QoS 2", in: field.Properties{DeliveryMode: 2, Headers: field.Table{{Key: "x-mqtt-publish-qos", Value: int32(2)}}},
			m: bridge.Message{QoS: 2},
		},
		{
			name: "headers of all types",
			in: field.Properties{Headers: field.Table{
				{Key: "text", Value: "ö"},
				{Key: "int8", Value: int8(-1)},
				{Key: "uint8", Value: uint8(255)},
				{Key: "int16", Value: int16(-2)},
				{Key: "uint16", Value: uint16(65535)},
				{Key: "int32", Value: int32(-3)},
				{Key: "uint32", Value: uint32(4)},
				{Key: "int64", Value: int64(-5)},
				{Key: "float", Value: float32(0.5)},
				{Key: "double", Value: 1e100},
				{Key: "decimal", Value: field.Decimal{Scale: 2, Value: 314}},
				{Key: "bool", Value: true},
				{Key: "time", Value: field.Timestamp(9)},
				{Key: "void", Value: nil},
				{Key: "binary", Value: []byte("b")},
				{Key: "array", Value: []any{"a"}},
				{Key: "table", Value: field.Table{}},
				{Key: "bad", Value: "\xff"},
				{Key: "nul", Value: "\x00"},
				{Key: "\xff", Value: "bad"},
				{Key: "long", Value: strings.Repeat("l", 65536)},
			}},
			want: section{}.user("text", "ö").user("int8", "-1").user("uint8", "255").user("int16", "-2").user("uint16", "65535").
				user("int32", "-3").user("uint32", "4").user("int64", "-5").user("float", "0.5").user("double", "1e+100").
				user("decimal", "314e-2").user("bool", "true").user("time", "9"),
		},
		{
			name: "x-mqtt-properties that are none count for nothing",
			in:   field.Properties{Headers: field.Table{{Key: "x-mqtt-properties", Value: []byte{0xff}}, {Key: "a", Value: "1"}}},
			want: section{}.user("a", "1"),
		},
		{
			name: "x-mqtt-properties with what each hop writes",
			in: field.Properties{Headers: field.Table{
				{Key: "x-mqtt-properties", Value: []byte(section{}.number(wire.TopicAlias, 1).user("a", "1").number(wire.MessageExpiry, 1))},
			}},
			want: section{}.user("a", "1"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			block, err := field.AppendProperties(nil, &tt.in)
			if err != nil {
				t.Fatal(err)
			}
			got, m, err := bridge.AppendProperties(nil, block)
			if err != nil || m != tt.m || !bytes.Equal(got, tt.want) {
				t.Errorf("%q, %+v, %v\nwant %q, %+v", got, m, err, tt.want, tt.m)
			}
		})
	}
}

func TestBlockThatIsNone(t *testing.T) {
	dst := []byte("-")
	for _, block := range []string{"\x80", "\x80\x00", "\x20\x00\x00\x00\x00\xff", "\x00\x01"} {
		if got, m, err := bridge.AppendProperties(dst, []byte(block)); err == nil || !bytes.Equal(got, dst) || m != (bridge.Message{}) {
			t.Errorf("%q: %q, %+v, %v", block, got, m, err)
		}
		if _, err := bridge.Read([]byte(block)); err == nil {
			t.Errorf("Read(%q) accepts it", block)
		}
	}
}

func TestBlocksWithoutPropertiesAreShared(t *testing.T) {
	var p wire.PublishProperties
	for qos := range uint8(3) {
		for _, retain := range []bool{false, true} {
			a, b := bridge.Block(qos, retain, &p), bridge.Block(qos, retain, &p)
			if &a[0] != &b[0] || cap(a) != len(a) {
				t.Errorf("QoS %d: block of capacity %d is not shared or can be appended to", qos, cap(a))
			}
		}
	}
}

// everything is a section that each property occurs in.
var everything = section{}.number(wire.PayloadFormat, 1).number(wire.MessageExpiry, 60).text(wire.ContentType, "text/plain").
	text(wire.ResponseTopic, "reply/to").text(wire.CorrelationData, "4711").user("unit", "celsius").user("room", "kitchen")

// TestExpiry has what is left of a message's time as MQTT says it, and that it
// comes back as it went.
func TestExpiry(t *testing.T) {
	for left, want := range map[time.Duration]uint32{
		-time.Second: 0, 0: 0, time.Millisecond: 1, 999 * time.Millisecond: 1, time.Second: 1, 1001 * time.Millisecond: 2,
		bridge.Lifetime(60): 60, bridge.Lifetime(math.MaxUint32): math.MaxUint32, math.MaxInt64 - time.Second: math.MaxUint32,
	} {
		if got := bridge.Expiry(left); got != want {
			t.Errorf("%v left: %d, want %d", left, got, want)
		}
	}
}

func FuzzPropertiesThereAndBack(f *testing.F) {
	f.Add(uint8(1), false, []byte(everything))
	f.Add(uint8(2), true, []byte(section{}.user("x-mqtt-retain", "x").text(wire.CorrelationData, "\xff")))
	f.Add(uint8(0), true, []byte(section{}.text(wire.ResponseTopic, `\x23/*/a.b`).text(wire.ContentType, "ö")))
	f.Add(uint8(0), false, []byte(section{}.user(strings.Repeat("n", 300), "v")))
	f.Fuzz(func(t *testing.T, qos uint8, retain bool, in []byte) {
		p, err := wire.ParseProperties(in)
		if err != nil {
			return
		}
		roundTrip(t, qos%3, retain, &p, bridge.Block(qos%3, retain, &p))
	})
}

// FuzzBlock makes PUBLISH properties of any block.
func FuzzBlock(f *testing.F) {
	p := parse(f, everything)
	f.Add(bridge.Block(2, true, &p))
	for _, in := range []field.Properties{
		{ReplyTo: "/exchanges/amq.topic/a%2Fb", Expiration: "1", Headers: field.Table{{Key: "x", Value: field.Decimal{}}, {Key: "y", Value: 1.5}}},
		{Headers: field.Table{{Key: "x-mqtt-properties", Value: []byte(everything)}, {Key: "x-reply-to-topic", Value: ""}}},
	} {
		block, err := field.AppendProperties(nil, &in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(block)
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		section, m, err := bridge.AppendProperties(nil, block)
		_, bad := field.CheckProperties(block)
		if len(block) == 0 {
			bad = nil
		}
		if (err == nil) != (bad == nil) {
			t.Fatalf("%v; CheckProperties says %v", err, bad)
		}
		if err != nil {
			return
		}
		p := parse(t, section)
		if p.Has(wire.MessageExpiry) || p.Has(wire.TopicAlias) || m.QoS > 2 {
			t.Fatalf("%+v, %+v", p, m)
		}
	})
}

func TestPropertyAllocations(t *testing.T) {
	var none wire.PublishProperties
	all := parse(t, everything)
	block := bridge.Block(1, false, &all)
	plain := bridge.Block(1, false, &none)
	buf := make([]byte, 0, 1024)
	for _, tt := range []struct {
		name string
		most float64
		f    func()
	}{
		{"Block without properties", 0, func() { bridge.Block(2, true, &none) }},
		{"Block", 1, func() { bridge.Block(1, false, &all) }},
		{"AppendBlock", 0, func() { bridge.AppendBlock(buf, 1, false, &all) }},
		{"Read without properties", 0, func() { _, _ = bridge.Read(plain) }},
		{"Read", 0, func() { _, _ = bridge.Read(block) }},
		{"AppendProperties without properties", 0, func() { _, _, _ = bridge.AppendProperties(buf, plain) }},
		{"AppendProperties", 0, func() { _, _, _ = bridge.AppendProperties(buf, block) }},
	} {
		if got := testing.AllocsPerRun(100, tt.f); got > tt.most {
			t.Errorf("%s: %v allocations, want at most %v", tt.name, got, tt.most)
		}
	}
}

func BenchmarkProperties(b *testing.B) {
	var none wire.PublishProperties
	all := parse(b, everything)
	buf := make([]byte, 0, 1024)
	for _, bb := range []struct {
		name string
		p    *wire.PublishProperties
	}{{"none", &none}, {"all", &all}} {
		block := bridge.Block(1, false, bb.p)
		b.Run(bb.name+"/Block", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bridge.Block(1, false, bb.p)
			}
		})
		b.Run(bb.name+"/AppendProperties", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := bridge.AppendProperties(buf, block); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
