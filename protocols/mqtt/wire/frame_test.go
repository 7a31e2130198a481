package wire_test

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// wantCode fails unless err is a wire.Error with that code. 0 is no error.
func wantCode(t *testing.T, err error, want wire.ReasonCode) {
	t.Helper()
	if want == wire.Success {
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		return
	}
	if e, ok := errors.AsType[*wire.Error](err); !ok || e.Code != want {
		t.Fatalf("error is %v, want %v (%#02x)", err, want, uint8(want))
	}
}

func TestParseFrame(t *testing.T) {
	const limit = 1000
	for _, tt := range []struct {
		name string
		in   string
		n    int // bytes taken
		size int // FrameSize where n is 0
		code wire.ReasonCode
	}{
		{name: "nothing"},
		{name: "first byte only", in: "\x30"},
		{name: "length incomplete", in: "\x30\x80"},
		{name: "body incomplete", in: "\x30\x05\x00", size: 7},
		{name: "long length, body incomplete", in: "\x30\x80\x07\x00", size: 3 + 896},
		{name: "PINGREQ", in: "\xc0\x00", n: 2},
		{name: "PINGREQ and the next", in: "\xc0\x00\xc0", n: 2},
		{name: "padded length", in: "\xc0\x80\x80\x00", n: 4},
		{name: "PINGREQ with a body", in: "\xc0\x01\x00", code: wire.MalformedPacket},
		{name: "at the limit", in: "\x30\xe5\x07", size: limit},
		{name: "above the limit, refused without its body", in: "\x30\xe6\x07", code: wire.PacketTooLarge},
		{name: "largest length", in: "\x30\xff\xff\xff\x7f", code: wire.PacketTooLarge},
		{name: "section 1.5.5: length of five bytes", in: "\x30\xff\xff\xff\xff", code: wire.MalformedPacket},
		{name: "type 0", in: "\x00", code: wire.MalformedPacket},
		{name: "[MQTT-3.3.1-4] [MQTT-3.1.1 3.3.1-4] QoS 3", in: "\x36", code: wire.MalformedPacket},
		{name: "[MQTT-3.3.1-2] [MQTT-3.1.1 3.3.1-2] DUP with QoS 0", in: "\x38", code: wire.ProtocolError},
		{name: "[MQTT-2.1.3-1] [MQTT-3.1.1 2.2.2-1] [MQTT-3.1.1 2.2.2-2] CONNECT flags", in: "\x11", code: wire.MalformedPacket},
		{name: "[MQTT-2.1.3-1] [MQTT-3.1.1 2.2.2-1] [MQTT-3.1.1 2.2.2-2] PUBACK flags", in: "\x42", code: wire.MalformedPacket},
		{name: "[MQTT-3.6.1-1] [MQTT-3.1.1 3.6.1-1] PUBREL flags", in: "\x60", code: wire.MalformedPacket},
		{name: "[MQTT-3.8.1-1] [MQTT-3.1.1 3.8.1-1] SUBSCRIBE flags", in: "\x80", code: wire.MalformedPacket},
		{name: "[MQTT-3.10.1-1] [MQTT-3.1.1 3.10.1-1] UNSUBSCRIBE flags", in: "\xa3", code: wire.MalformedPacket},
		{name: "[MQTT-3.14.1-1] [MQTT-3.1.1 3.14.1-1] DISCONNECT flags", in: "\xe1", code: wire.MalformedPacket},
		{name: "[MQTT-3.15.1-1] AUTH flags", in: "\xf8", code: wire.MalformedPacket},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, n, err := wire.ParseFrame([]byte(tt.in), limit)
			wantCode(t, err, tt.code)
			if n != tt.n {
				t.Errorf("took %d bytes, want %d", n, tt.n)
			}
			if n > 0 && (byte(f.Type)<<4|f.Flags != tt.in[0] || len(f.Body) != 0) {
				t.Errorf("frame %+v", f)
			}
			if err == nil && n == 0 {
				if size := wire.FrameSize([]byte(tt.in)); size != tt.size {
					t.Errorf("FrameSize is %d, want %d", size, tt.size)
				}
			}
		})
	}
}

func TestFrameSizeLetsAReaderGrowOnce(t *testing.T) {
	d := wire.Delivery{Topic: []byte("a"), Payload: make([]byte, 70_000)}
	packet, err := d.Append(nil, wire.V311)
	if err != nil {
		t.Fatal(err)
	}
	for n := range packet {
		size := wire.FrameSize(packet[:n])
		if n < 4 && size != 0 || n >= 4 && size != len(packet) {
			t.Fatalf("FrameSize of %d bytes is %d", n, size)
		}
		if _, took, err := wire.ParseFrame(packet[:n], math.MaxUint32); took != 0 || err != nil {
			t.Fatalf("ParseFrame of %d bytes took %d, %v", n, took, err)
		}
	}
	f, n, err := wire.ParseFrame(packet, math.MaxUint32)
	if err != nil || n != len(packet) || !bytes.Equal(f.Body, packet[4:]) {
		t.Fatalf("took %d of %d bytes, %v", n, len(packet), err)
	}
}

func TestReturnCode_MQTT_3_1_1_Table_3_1(t *testing.T) {
	for code, want := range map[wire.ReasonCode]uint8{
		wire.Success: 0, wire.UnsupportedVersion: 1, wire.ClientIDNotValid: 2, wire.ServerUnavailable: 3,
		wire.QuotaExceeded: 3, wire.BadUserNameOrPassword: 4, wire.NotAuthorized: 5, wire.Banned: 5,
	} {
		if got := code.ReturnCode(); got != want {
			t.Errorf("%v: return code %d, want %d", code, got, want)
		}
	}
}

func TestFilters(t *testing.T) {
	for _, tt := range []struct {
		filter string
		valid  bool
	}{
		{"a", true},
		{"/", true},
		{"a//b", true},
		{"+", true},
		{"#", true},
		{"+/a/+/#", true},
		{"$SYS/#", true},
		{"$share/g/a/+", true},
		{"$share", true},
		{"ä/b", true},
		{"", false},
		{"a/#/b", false},
		{"a#", false},
		{"#a", false},
		{"a+/b", false},
		{"a/+b", false},
		{"a\x00", false},
		{"\xff", false},
		{"$share/", false},
		{"$share/g", false},
		{"$share/g/", false},
		{"$share//a", false},
		{"$share/g+/a", false},
		{"$share/g/a#", false},
	} {
		if got := wire.ValidFilter(tt.filter); got != tt.valid {
			t.Errorf("ValidFilter(%q) = %t", tt.filter, got)
		}
	}
	if share, filter, ok := wire.SplitShared("$share/g/a/b"); share != "g" || filter != "a/b" || !ok {
		t.Errorf("SplitShared = %q, %q, %t", share, filter, ok)
	}
}

func TestValidTopic(t *testing.T) {
	for topic, want := range map[string]bool{
		"a/b": true, "/": true, "$SYS": true, "*.ö": true,
		"": false, "a/+": false, "#": false, "a\x00": false, "\xc3": false, string(make([]byte, 70_000)): false,
	} {
		if got := wire.ValidTopic(topic); got != want {
			t.Errorf("ValidTopic(%.20q) = %t", topic, got)
		}
	}
}
