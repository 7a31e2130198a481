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

// everyMethod returns one of each method, its fields filled with values that
// differ from field to field.
func everyMethod() []wire.Method {
	var methods []wire.Method
	for class := range 128 {
		for method := range 128 {
			m := wire.NewMethod(wire.MethodID(class<<16 | method))
			if m == nil {
				continue
			}
			v := reflect.ValueOf(m).Elem()
			for i := range v.NumField() {
				fill(v.Field(i), i+1)
			}
			methods = append(methods, m)
		}
	}
	return methods
}

func fill(v reflect.Value, n int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("value %d", n))
	case reflect.Bool:
		v.SetBool(n%2 == 0)
	case reflect.Slice:
		v.Set(reflect.ValueOf(field.Table{{Key: "n", Value: int64(n)}}))
	default:
		v.SetUint(uint64(n))
	}
}

func TestEveryMethodIsThere(t *testing.T) {
	// The specification has 53 methods in the classes that are here, to which
	// RabbitMQ adds confirm (2), exchange.bind and unbind (4), basic.nack,
	// connection.blocked, unblocked and update-secret (4), access (2).
	perClass := make(map[uint16]int)
	for _, m := range everyMethod() {
		perClass[m.ID().Class()]++
	}
	want := map[uint16]int{
		wire.ClassConnection: 14, wire.ClassChannel: 6, wire.ClassAccess: 2, wire.ClassExchange: 8,
		wire.ClassQueue: 10, wire.ClassBasic: 18, wire.ClassConfirm: 2, wire.ClassTx: 6,
	}
	if !reflect.DeepEqual(perClass, want) {
		t.Errorf("methods per class: %v, want %v", perClass, want)
	}
}

func TestEveryMethodRoundTrips(t *testing.T) {
	for _, m := range everyMethod() {
		t.Run(m.ID().String(), func(t *testing.T) {
			frame, err := wire.AppendMethod(nil, 1, m)
			if err != nil {
				t.Fatal(err)
			}
			f, n, err := wire.ParseFrame(frame, wire.MinFrameMax)
			if err != nil || n != len(frame) || f.Type != wire.FrameMethod || f.Channel != 1 {
				t.Fatalf("ParseFrame = %+v, %d, %v", f, n, err)
			}
			got, err := wire.DecodeMethod(f.Payload)
			if err != nil || !reflect.DeepEqual(got, m) {
				t.Errorf("DecodeMethod = %#v, %v; want %#v", got, err, m)
			}

			// What is shorter or longer than the method is refused by its name.
			for cut := 4; cut < len(f.Payload); cut++ {
				assertError(t, decodeErr(f.Payload[:cut]), m.ID(), wire.FrameError, wire.SyntaxError)
			}
			longer := append(bytes.Clone(f.Payload), 0)
			assertError(t, decodeErr(longer), m.ID(), wire.FrameError)
		})
	}
}

func decodeErr(payload []byte) error {
	_, err := wire.DecodeMethod(payload)
	return err
}

// assertError fails unless err is a wire error of one of the codes.
func assertError(t *testing.T, err error, method wire.MethodID, codes ...wire.ReplyCode) {
	t.Helper()
	e, ok := errors.AsType[*wire.Error](err)
	if !ok {
		t.Errorf("error is %v, want a *wire.Error", err)
		return
	}
	for _, code := range codes {
		if e.Code == code && e.Method == method {
			return
		}
	}
	t.Errorf("error is %d of %s, want %v of %s", e.Code, e.Method, codes, method)
}

func TestDecodeMethodRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, hex string
		method    wire.MethodID
		code      wire.ReplyCode
	}{
		{"no method id", "003c00", 0, wire.FrameError},
		{"unknown method", "003c0063", 60<<16 | 99, wire.CommandInvalid},
		{"unknown class", "00ff000a", 255<<16 | 10, wire.CommandInvalid},
		{"short string beyond the frame", "003c0015ff6374", wire.BasicConsumeOKID, wire.FrameError},
		{"long string beyond the frame", "000a0014ffffffff6d6f7265", wire.ConnectionSecureID, wire.FrameError},
		{"table beyond the frame", "0028001e000001640173016b00ffffffff", wire.ExchangeBindID, wire.SyntaxError},
		{"unknown field type", "0028001e000001640173016b0000000003016b5a", wire.ExchangeBindID, wire.SyntaxError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assertError(t, decodeErr(unhex(t, tt.hex)), tt.method, tt.code)
		})
	}
}

func TestAppendMethodShortStrings(t *testing.T) {
	long := strings.Repeat("n", 256)
	if _, err := wire.AppendMethod(nil, 1, &wire.BasicConsumeOK{ConsumerTag: long[:255]}); err != nil {
		t.Errorf("a name of 255 bytes: %v", err)
	}
	b, err := wire.AppendMethod([]byte("dst"), 1, &wire.BasicConsumeOK{ConsumerTag: long})
	if !errors.Is(err, wire.ErrStringTooLong) || string(b) != "dst" {
		t.Errorf("a name of 256 bytes: %q, %v; want dst and ErrStringTooLong", b, err)
	}
	b, err = wire.AppendMethod([]byte("dst"), 1, &wire.QueueDeclare{Arguments: field.Table{{Key: "n", Value: 1}}})
	if !errors.Is(err, field.ErrUnknownType) || string(b) != "dst" {
		t.Errorf("an argument that is no field: %q, %v; want dst and ErrUnknownType", b, err)
	}
}

func TestReplyTextIsCutToAShortString(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"fits", strings.Repeat("t", 255), strings.Repeat("t", 255)},
		{"too long", strings.Repeat("t", 256), strings.Repeat("t", 255)},
		{"not within a character", strings.Repeat("t", 253) + "€", strings.Repeat("t", 253)},
		{"a character ends at the limit", strings.Repeat("t", 252) + "€uro", strings.Repeat("t", 252) + "€"},
		{"not UTF-8", strings.Repeat("\xbf", 300), strings.Repeat("\xbf", 251)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			frame, err := wire.AppendMethod(nil, 0, &wire.ConnectionClose{ReplyText: tt.text})
			if err != nil {
				t.Fatal(err)
			}
			f, _, err := wire.ParseFrame(frame, wire.MinFrameMax)
			if err != nil {
				t.Fatal(err)
			}
			m, err := wire.DecodeMethod(f.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.(*wire.ConnectionClose).ReplyText; got != tt.want {
				t.Errorf("reply text of %d bytes, want %d", len(got), len(tt.want))
			}
		})
	}
}

func TestError(t *testing.T) {
	err := wire.Errorf(wire.NotFound, wire.QueueDeclareID, "no queue '%s' in vhost '/'", "q")
	if got, want := err.ReplyText(), "NOT_FOUND - no queue 'q' in vhost '/'"; got != want {
		t.Errorf("ReplyText = %q, want %q", got, want)
	}
	if got, want := err.Error(), "queue.declare: NOT_FOUND - no queue 'q' in vhost '/'"; got != want {
		t.Errorf("Error = %q, want %q", got, want)
	}
	if got, want := wire.Errorf(wire.FrameError, 0, "x").Error(), "FRAME_ERROR - x"; got != want {
		t.Errorf("Error without a method = %q, want %q", got, want)
	}
	if got := wire.Errorf(wire.NotFound, 0, "%s", strings.Repeat("q", 300)).ReplyText(); len(got) != 255 {
		t.Errorf("ReplyText has %d bytes, want 255", len(got))
	}
}

func TestReplyCodes_AMQP_1_2(t *testing.T) {
	for _, tt := range []struct {
		code wire.ReplyCode
		name string
		hard bool
	}{
		{311, "CONTENT_TOO_LARGE", false},
		{312, "NO_ROUTE", false},
		{313, "NO_CONSUMERS", false},
		{320, "CONNECTION_FORCED", true},
		{402, "INVALID_PATH", true},
		{403, "ACCESS_REFUSED", false},
		{404, "NOT_FOUND", false},
		{405, "RESOURCE_LOCKED", false},
		{406, "PRECONDITION_FAILED", false},
		{501, "FRAME_ERROR", true},
		{502, "SYNTAX_ERROR", true},
		{503, "COMMAND_INVALID", true},
		{504, "CHANNEL_ERROR", true},
		{505, "UNEXPECTED_FRAME", true},
		{506, "RESOURCE_ERROR", true},
		{530, "NOT_ALLOWED", true},
		{540, "NOT_IMPLEMENTED", true},
		{541, "INTERNAL_ERROR", true},
		{599, "REPLY_599", true},
	} {
		if got := tt.code.String(); got != tt.name || tt.code.Hard() != tt.hard {
			t.Errorf("%d: %s, hard %v; want %s, %v", tt.code, got, tt.code.Hard(), tt.name, tt.hard)
		}
	}
}

func FuzzDecodeMethod(f *testing.F) {
	for _, tt := range golden {
		f.Add(unhex(f, tt.hex))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		m, err := wire.DecodeMethod(payload)
		compareWithPlain(t, payload, m, err)
		if err != nil {
			if _, ok := errors.AsType[*wire.Error](err); !ok {
				t.Fatalf("error is %v, want a *wire.Error", err)
			}
			return
		}
		once, err := wire.AppendMethod(nil, 1, m)
		if err != nil {
			t.Fatalf("AppendMethod of what DecodeMethod returned: %v", err)
		}
		again, err := wire.DecodeMethod(once[7 : len(once)-1])
		if err != nil {
			t.Fatalf("%#v became % x, which is refused: %v", m, once, err)
		}
		if twice, err := wire.AppendMethod(nil, 1, again); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("% x became % x, %v", once, twice, err)
		}
	})
}

// fault returns the error of a decoder as what it must be, nil for none.
func fault(t *testing.T, err error) *wire.Error {
	t.Helper()
	if err == nil {
		return nil
	}
	f, ok := errors.AsType[*wire.Error](err)
	if !ok {
		t.Fatalf("%v is a %T, want a *wire.Error", err, err)
	}
	return f
}

// compareWithPlain fails if the hand-written decoder of a method says anything
// else than DecodeMethod, which returned m and err.
func compareWithPlain(t *testing.T, payload []byte, m wire.Method, err error) {
	t.Helper()
	id, args, idErr := wire.ParseMethod(payload)
	if idErr != nil {
		return
	}
	var fast wire.Method
	var fastErr error
	switch id {
	case wire.BasicPublishID:
		p, e := wire.ParsePublish(args)
		fastErr = e
		fast = &wire.BasicPublish{
			Exchange: string(p.Exchange), RoutingKey: string(p.RoutingKey),
			Mandatory: p.Mandatory, Immediate: p.Immediate,
		}
	case wire.BasicAckID:
		a, e := wire.ParseAck(args)
		fast, fastErr = &a, e
	case wire.BasicNackID:
		a, e := wire.ParseNack(args)
		fast, fastErr = &a, e
	case wire.BasicRejectID:
		a, e := wire.ParseReject(args)
		fast, fastErr = &a, e
	default:
		return
	}
	if !reflect.DeepEqual(fault(t, err), fault(t, fastErr)) {
		t.Fatalf("%s: DecodeMethod: %v; fast decoder: %v", id, err, fastErr)
	}
	if err == nil && !reflect.DeepEqual(m, fast) {
		t.Fatalf("%s: DecodeMethod = %#v; fast decoder = %#v", id, m, fast)
	}
}
