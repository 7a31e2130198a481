package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

func TestParseContentHeader_AMQP_4_2_6_1(t *testing.T) {
	// As amqp091-go sends it.
	payload := unhex(t, "003c00000000000000000005b9d00a746578742f706c61696e0000000801685300000001760204"+
		"0431303030026d310000000065920080056775657374")
	h, err := wire.ParseContentHeader(payload)
	if err != nil || h.Class != wire.ClassBasic || h.BodySize != 5 {
		t.Fatalf("ParseContentHeader = %+v, %v", h, err)
	}
	got, err := field.ParseProperties(h.Properties)
	want := field.Properties{
		Present: field.ContentType | field.Headers | field.DeliveryMode | field.Priority |
			field.Expiration | field.MessageID | field.Time | field.UserID,
		ContentType: "text/plain", Headers: field.Table{{Key: "h", Value: "v"}}, DeliveryMode: 2, Priority: 4,
		Expiration: "1000", MessageID: "m1", Timestamp: 1704067200, UserID: "guest",
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("properties are %+v, %v; want %+v", got, err, want)
	}
}

func TestParseContentHeaderRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, hex string
		code      wire.ReplyCode
	}{
		{"nothing", "", wire.FrameError},
		{"no property flags", "003c00000000000000000005", wire.FrameError},
		{"half of the flags", "003c0000000000000000000500", wire.FrameError},
		{"weight", "003c000100000000000000050000", wire.UnexpectedFrame},
	} {
		_, err := wire.ParseContentHeader(unhex(t, tt.hex))
		t.Run(tt.name, func(t *testing.T) { assertError(t, err, 0, tt.code) })
	}
	err := wire.MalformedProperties(wire.BasicPublishID, field.ErrTruncated)
	assertError(t, err, wire.BasicPublishID, wire.SyntaxError)
}

func FuzzParseContentHeader(f *testing.F) {
	f.Add(unhex(f, "003c000000000000000000050000"))
	f.Add(unhex(f, "003c000000000000000000058000026162"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		h, err := wire.ParseContentHeader(payload)
		if err != nil {
			assertError(t, err, 0, wire.FrameError, wire.UnexpectedFrame)
			return
		}
		if !bytes.Equal(h.Properties, payload[12:]) {
			t.Fatalf("properties are % x of % x", h.Properties, payload)
		}
	})
}

// plainContent is what follows a method frame, written the slow way from the
// specification: a header frame, then body frames of at most frameMax bytes.
func plainContent(channel uint16, c wire.Content, frameMax int) []byte {
	frame := func(t byte, payload ...byte) []byte {
		n := len(payload)
		b := []byte{t, byte(channel >> 8), byte(channel), byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
		return append(append(b, payload...), 0xce)
	}
	props := c.Properties
	if len(props) == 0 {
		props = []byte{0, 0}
	}
	n := len(c.Body)
	out := frame(2, append([]byte{0, 60, 0, 0, 0, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, props...)...)
	for body := c.Body; len(body) > 0; {
		k := min(len(body), frameMax-8)
		out = append(out, frame(3, body[:k]...)...)
		body = body[k:]
	}
	return out
}

// contents are around the sizes at which one more frame begins.
func contents() []wire.Content {
	const chunk = wire.MinFrameMax - wire.FrameOverhead
	body := bytes.Repeat([]byte("0123456789abcdef"), 3*chunk/16+1)
	var all []wire.Content
	for _, n := range []int{0, 1, 12, chunk - 1, chunk, chunk + 1, 2 * chunk, 2*chunk + 1, 3 * chunk} {
		all = append(all,
			wire.Content{Body: body[:n]},
			wire.Content{Properties: []byte{0x10, 0, 2}, Body: body[:n]})
	}
	return all
}

func TestAppendDeliverEqualsThePlainWay(t *testing.T) {
	methods := []*wire.BasicDeliver{
		{},
		{ConsumerTag: "ct", DeliveryTag: 1<<64 - 1, Redelivered: true, Exchange: "e", RoutingKey: "k.1"},
		{ConsumerTag: strings.Repeat("t", 255), Exchange: strings.Repeat("e", 255), RoutingKey: strings.Repeat("k", 255)},
	}
	for _, frameMax := range []uint32{0, wire.MinFrameMax, wire.MinFrameMax + 1, 131072, 1<<32 - 1} {
		for i, c := range contents() {
			for j, m := range methods {
				t.Run(fmt.Sprintf("frame_max=%d,content=%d,method=%d", frameMax, i, j), func(t *testing.T) {
					compareDeliver(t, m, c, frameMax)
				})
			}
		}
	}
}

func compareDeliver(t *testing.T, m *wire.BasicDeliver, c wire.Content, frameMax uint32) {
	t.Helper()
	want, err := wire.AppendMethod(nil, 0x0102, m)
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, plainContent(0x0102, c, max(int(min(frameMax, 1<<30)), wire.MinFrameMax))...)

	if n := wire.DeliverSize(m, c, frameMax); n != len(want) {
		t.Errorf("DeliverSize = %d, want %d", n, len(want))
	}
	got, err := wire.AppendDeliver([]byte("dst"), 0x0102, m, c, frameMax)
	if err != nil || string(got[:3]) != "dst" || !bytes.Equal(got[3:], want) {
		t.Errorf("AppendDeliver differs from the plain way, error %v", err)
	}

	vec, buf, err := wire.AppendDeliverVec([][]byte{[]byte("vec")}, []byte("buf"), 0x0102, m, c, frameMax)
	assertVec(t, "AppendDeliverVec", vec, buf, err, c, want)
	vec, buf, err = wire.AppendVec([][]byte{[]byte("vec")}, []byte("buf"), 0x0102, m, c, frameMax)
	assertVec(t, "AppendVec", vec, buf, err, c, want)
}

func assertVec(t *testing.T, f string, vec [][]byte, buf []byte, err error, c wire.Content, want []byte) {
	t.Helper()
	if err != nil || string(vec[0]) != "vec" || string(buf[:3]) != "buf" {
		t.Fatalf("%s changed what was there, error %v", f, err)
	}
	if joined := bytes.Join(vec[1:], nil); !bytes.Equal(joined, want) {
		t.Errorf("%s differs from the plain way", f)
	}
	if len(buf)-3 != len(want)-len(c.Body) {
		t.Errorf("buf grew by %d bytes, want %d: the framing without the body", len(buf)-3, len(want)-len(c.Body))
	}
	// The body must be passed on, not copied, and what the caller appends to
	// buf or to a slice of vec must not reach its neighbours.
	if len(c.Body) > 0 && &vec[2][0] != &c.Body[0] {
		t.Errorf("%s copied the body", f)
	}
	for i := range vec {
		_ = append(vec[i], '!')
	}
	_ = append(buf, '!')
	if joined := bytes.Join(vec[1:], nil); !bytes.Equal(joined, want) {
		t.Errorf("%s: slices of vec overlap", f)
	}
}

func TestAppendContentMethodsEqualThePlainWay(t *testing.T) {
	ret := &wire.BasicReturn{ReplyCode: wire.NoRoute, ReplyText: "NO_ROUTE", Exchange: "e", RoutingKey: "k"}
	getOK := &wire.BasicGetOK{DeliveryTag: 7, Redelivered: true, Exchange: "e", RoutingKey: "k", MessageCount: 3}
	publish := &wire.BasicPublish{Exchange: "e", RoutingKey: "k", Mandatory: true}
	for _, tt := range []struct {
		method wire.Method
		append func(dst []byte, c wire.Content, frameMax uint32) ([]byte, error)
	}{
		{ret, func(dst []byte, c wire.Content, frameMax uint32) ([]byte, error) {
			return wire.AppendReturn(dst, 9, ret, c, frameMax)
		}},
		{getOK, func(dst []byte, c wire.Content, frameMax uint32) ([]byte, error) {
			return wire.AppendGetOK(dst, 9, getOK, c, frameMax)
		}},
		{publish, func(dst []byte, c wire.Content, frameMax uint32) ([]byte, error) {
			return wire.AppendPublish(dst, 9, publish, c, frameMax)
		}},
	} {
		t.Run(tt.method.ID().String(), func(t *testing.T) {
			for i, c := range contents() {
				want, err := wire.AppendMethod([]byte("dst"), 9, tt.method)
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, plainContent(9, c, wire.MinFrameMax)...)
				if got, err := tt.append([]byte("dst"), c, wire.MinFrameMax); err != nil || !bytes.Equal(got, want) {
					t.Errorf("content %d differs from the plain way, error %v", i, err)
				}
			}
			large := wire.Content{Properties: make([]byte, wire.MinFrameMax-8-12+1)}
			if got, err := tt.append([]byte("dst"), large, wire.MinFrameMax); !errors.Is(err, wire.ErrHeaderTooLarge) || string(got) != "dst" {
				t.Errorf("properties that fit no frame: %q, %v; want dst and ErrHeaderTooLarge", got, err)
			}
		})
	}
}

func TestAppendDeliverRefuses(t *testing.T) {
	long := strings.Repeat("k", 256)
	fits := wire.Content{Properties: make([]byte, wire.MinFrameMax-8-12)}
	if _, err := wire.AppendDeliver(nil, 1, new(wire.BasicDeliver), fits, wire.MinFrameMax); err != nil {
		t.Errorf("properties that just fit a frame: %v", err)
	}
	for _, tt := range []struct {
		name   string
		method wire.BasicDeliver
		c      wire.Content
		want   error
	}{
		{"consumer tag", wire.BasicDeliver{ConsumerTag: long}, wire.Content{}, wire.ErrStringTooLong},
		{"exchange", wire.BasicDeliver{Exchange: long}, wire.Content{}, wire.ErrStringTooLong},
		{"routing key", wire.BasicDeliver{RoutingKey: long}, wire.Content{}, wire.ErrStringTooLong},
		{"properties", wire.BasicDeliver{}, wire.Content{Properties: make([]byte, wire.MinFrameMax-8-12+1)}, wire.ErrHeaderTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if b, err := wire.AppendDeliver([]byte("dst"), 1, &tt.method, tt.c, wire.MinFrameMax); !errors.Is(err, tt.want) || string(b) != "dst" {
				t.Errorf("AppendDeliver = %q, %v; want dst and %v", b, err, tt.want)
			}
			vec, buf, err := wire.AppendDeliverVec(nil, []byte("buf"), 1, &tt.method, tt.c, wire.MinFrameMax)
			if !errors.Is(err, tt.want) || len(vec) != 0 || string(buf) != "buf" {
				t.Errorf("AppendDeliverVec = %v, %q, %v; want buf and %v", vec, buf, err, tt.want)
			}
		})
	}
}

func TestAppendSettleEqualsThePlainWay(t *testing.T) {
	for _, multiple := range []bool{false, true} {
		for _, requeue := range []bool{false, true} {
			want, err := wire.AppendMethod([]byte("dst"), 7, &wire.BasicNack{DeliveryTag: 1 << 40, Multiple: multiple, Requeue: requeue})
			if err != nil {
				t.Fatal(err)
			}
			if got := wire.AppendNack([]byte("dst"), 7, 1<<40, multiple, requeue); !bytes.Equal(got, want) {
				t.Errorf("AppendNack(%v, %v) = % x, want % x", multiple, requeue, got, want)
			}
		}
		want, err := wire.AppendMethod([]byte("dst"), 7, &wire.BasicAck{DeliveryTag: 1 << 40, Multiple: multiple})
		if err != nil {
			t.Fatal(err)
		}
		if got := wire.AppendAck([]byte("dst"), 7, 1<<40, multiple); !bytes.Equal(got, want) {
			t.Errorf("AppendAck(%v) = % x, want % x", multiple, got, want)
		}
	}
}

func TestFastDecodersEqualThePlainWay(t *testing.T) {
	for _, m := range []wire.Method{
		&wire.BasicPublish{},
		&wire.BasicPublish{Exchange: "e", RoutingKey: "k.1", Mandatory: true},
		&wire.BasicPublish{Exchange: strings.Repeat("e", 255), RoutingKey: strings.Repeat("k", 255), Immediate: true},
		&wire.BasicAck{DeliveryTag: 1 << 40, Multiple: true},
		&wire.BasicNack{DeliveryTag: 1 << 40, Multiple: true},
		&wire.BasicNack{DeliveryTag: 1, Requeue: true},
		&wire.BasicReject{DeliveryTag: 3, Requeue: true},
	} {
		t.Run(m.ID().String(), func(t *testing.T) {
			frame, err := wire.AppendMethod(nil, 1, m)
			if err != nil {
				t.Fatal(err)
			}
			payload := frame[7 : len(frame)-1]
			for cut := 4; cut <= len(payload); cut++ {
				got, err := wire.DecodeMethod(payload[:cut])
				compareWithPlain(t, payload[:cut], got, err)
			}
			longer := append(bytes.Clone(payload), 0)
			got, err := wire.DecodeMethod(longer)
			compareWithPlain(t, longer, got, err)
		})
	}
}
