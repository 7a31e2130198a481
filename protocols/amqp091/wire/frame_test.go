package wire_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/batonmq/baton/protocols/amqp091/wire"
)

func TestParseFrame_AMQP_4_2_3(t *testing.T) {
	body := "\x03\x01\x02\x00\x00\x00\x05hello\xce"
	for _, tt := range []struct {
		name, in string
		frame    wire.Frame
		n        int
		code     wire.ReplyCode
	}{
		{name: "nothing", in: ""},
		{name: "part of the header", in: body[:6]},
		{name: "header alone", in: body[:7]},
		{name: "all but the end", in: body[:12]},
		{name: "one frame", in: body, frame: wire.Frame{Type: wire.FrameBody, Channel: 0x0102, Payload: []byte("hello")}, n: 13},
		{name: "first of two", in: body + body, frame: wire.Frame{Type: wire.FrameBody, Channel: 0x0102, Payload: []byte("hello")}, n: 13},
		{name: "heartbeat", in: "\x08\x00\x00\x00\x00\x00\x00\xce", frame: wire.Frame{Type: wire.FrameHeartbeat, Payload: []byte{}}, n: 8},
		{name: "channel 65535", in: "\x01\xff\xff\x00\x00\x00\x00\xce", frame: wire.Frame{Type: wire.FrameMethod, Channel: 65535, Payload: []byte{}}, n: 8},
		{name: "wrong end", in: body[:12] + "\xcf", code: wire.FrameError},
		{name: "unknown type", in: "\x04\x00\x00\x00\x00\x00\x00\xce", code: wire.FrameError},
		{name: "unknown type in the first byte", in: "\x00", code: wire.FrameError},
		{name: "an HTTP request", in: "GET / HTTP/1.1\r\n", code: wire.FrameError},
		{name: "too large by one", in: "\x03\x00\x01\x00\x00\x0f\xf9", code: wire.FrameError},
		{name: "just not too large", in: "\x03\x00\x01\x00\x00\x0f\xf8"},
		{name: "largest size", in: "\x03\x00\x01\xff\xff\xff\xff", code: wire.FrameError},
		{name: "a size that overflows with its overhead", in: "\x03\x00\x01\xff\xff\xff\xf8\x00\xce", code: wire.FrameError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, n, err := wire.ParseFrame([]byte(tt.in), wire.MinFrameMax)
			if tt.code != 0 {
				assertError(t, err, 0, tt.code)
			} else if err != nil {
				t.Errorf("error %v", err)
			}
			if n != tt.n || f.Type != tt.frame.Type || f.Channel != tt.frame.Channel || !bytes.Equal(f.Payload, tt.frame.Payload) {
				t.Errorf("ParseFrame = %+v, %d; want %+v, %d", f, n, tt.frame, tt.n)
			}
		})
	}
}

func TestParseFrameWithoutLimitRefusesWhatOverflows(t *testing.T) {
	_, n, err := wire.ParseFrame([]byte("\x03\x00\x01\xff\xff\xff\xff\x00"), math.MaxUint32)
	assertError(t, err, 0, wire.FrameError)
	if n != 0 {
		t.Errorf("n = %d, want 0", n)
	}
}

func TestParseFramePayloadCannotGrowIntoTheFrameEnd(t *testing.T) {
	b := []byte("\x03\x00\x01\x00\x00\x00\x01x\xce")
	f, _, err := wire.ParseFrame(b, wire.MinFrameMax)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(f.Payload, '!')
	if b[8] != 0xce {
		t.Error("appending to the payload wrote into the buffer behind it")
	}
}

func TestFrameSize(t *testing.T) {
	if got := wire.FrameSize([]byte("\x03\x00\x01\x00\x00\x01")); got != 0 {
		t.Errorf("without all of the size: %d, want 0", got)
	}
	if got := wire.FrameSize([]byte("\x03\x00\x01\x00\x00\x01\x00")); got != 264 {
		t.Errorf("FrameSize = %d, want 264", got)
	}
}

func TestAppendHeartbeat_AMQP_4_2_7(t *testing.T) {
	b := wire.AppendHeartbeat([]byte("dst"))
	if want := "dst\x08\x00\x00\x00\x00\x00\x00\xce"; string(b) != want {
		t.Errorf("AppendHeartbeat = %q, want %q", b, want)
	}
}

func TestParsePreface_AMQP_4_2_2(t *testing.T) {
	for _, tt := range []struct {
		in      string
		preface wire.Preface
		n       int
	}{
		{"", wire.PrefaceIncomplete, 0},
		{"A", wire.PrefaceIncomplete, 0},
		{"AMQP\x00\x00\x09", wire.PrefaceIncomplete, 0},
		{"AMQP\x00\x00\x09\x01", wire.PrefaceAMQP091, 8},
		{"AMQP\x00\x00\x09\x01\x01\x00", wire.PrefaceAMQP091, 8},
		{"AMQP\x01\x01\x00\x09", wire.PrefaceAMQP091, 8},
		{"AMQP\x00\x01\x00\x00", wire.PrefaceAMQP10, 8},
		{"AMQP\x02\x01\x00\x00", wire.PrefaceAMQP10TLS, 8},
		{"AMQP\x03\x01\x00\x00", wire.PrefaceAMQP10SASL, 8},
		{"AMQP\x01\x01\x08\x00", wire.PrefaceAMQPOther, 8},
		{"AMQP/1.0", wire.PrefaceAMQPOther, 8},
		{"AMQX", wire.PrefaceUnknown, 0},
		{"\x16", wire.PrefaceIncomplete, 0},
		{"\x16\x03\x01\x02\x00\x01", wire.PrefaceTLS, 0},
		{"\x16\x02", wire.PrefaceUnknown, 0},
		{"GET", wire.PrefaceIncomplete, 0},
		{"GET / HTTP/1.1", wire.PrefaceHTTP, 0},
		{"OPTIONS * HTTP/1.1", wire.PrefaceHTTP, 0},
		{"PRI * HTTP/2.0", wire.PrefaceHTTP, 0},
		{"GETAWAY", wire.PrefaceUnknown, 0},
		{"\x10\x0c\x00\x04MQTT", wire.PrefaceUnknown, 0},
		{"\x00", wire.PrefaceUnknown, 0},
	} {
		if p, n := wire.ParsePreface([]byte(tt.in)); p != tt.preface || n != tt.n {
			t.Errorf("ParsePreface(%q) = %v, %d; want %v, %d", tt.in, p, n, tt.preface, tt.n)
		}
	}
}

func TestPrefaceIsNamedForTheLog(t *testing.T) {
	names := make(map[string]wire.Preface)
	for p := wire.PrefaceIncomplete; p <= wire.PrefaceUnknown; p++ {
		if other, ok := names[p.String()]; ok {
			t.Errorf("prefaces %d and %d are both named %q", other, p, p)
		}
		names[p.String()] = p
	}
	if names["TLS"] != wire.PrefaceTLS || names["AMQP 0-9-1"] != wire.PrefaceAMQP091 {
		t.Errorf("the log would say %v", names)
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add([]byte("\x03\x01\x02\x00\x00\x00\x05hello\xce"), uint32(wire.MinFrameMax))
	f.Add([]byte("\x03\x01\x02\xff\xff\xff\xff"), uint32(math.MaxUint32))
	f.Add([]byte(strings.Repeat("\x08\x00\x00\x00\x00\x00\x00\xce", 2)), uint32(8))
	f.Fuzz(func(t *testing.T, b []byte, frameMax uint32) {
		frame, n, err := wire.ParseFrame(b, frameMax)
		if err != nil {
			if e, ok := errors.AsType[*wire.Error](err); !ok || e.Code != wire.FrameError || n != 0 {
				t.Fatalf("n = %d, error %v", n, err)
			}
			return
		}
		if n == 0 {
			// An incomplete frame stays acceptable: no prefix may be refused
			// later for what its header already said.
			if size := wire.FrameSize(b); size != 0 && (size <= len(b) || uint64(size) > uint64(frameMax)) {
				t.Fatalf("%d bytes wait for a frame of %d", len(b), size)
			}
			return
		}
		if n != wire.FrameSize(b) || uint64(n) > uint64(frameMax) || n != len(frame.Payload)+wire.FrameOverhead {
			t.Fatalf("n = %d with %d bytes of payload and frame_max %d", n, len(frame.Payload), frameMax)
		}
		for cut := range n {
			if _, m, err := wire.ParseFrame(b[:cut], frameMax); m != 0 || err != nil {
				t.Fatalf("the first %d bytes of a good frame: n = %d, %v", cut, m, err)
			}
		}
	})
}
