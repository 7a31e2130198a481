package field_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/batonmq/baton/core/field"
)

const allProperties = field.ContentType | field.ContentEncoding | field.Headers | field.DeliveryMode |
	field.Priority | field.CorrelationID | field.ReplyTo | field.Expiration | field.MessageID |
	field.Time | field.Type | field.UserID | field.AppID | field.ClusterID

var full = field.Properties{
	Present: allProperties, ContentType: "text/plain", ContentEncoding: "gzip",
	Headers: field.Table{{"a", int32(1)}}, DeliveryMode: 2, Priority: 9,
	CorrelationID: "c", ReplyTo: "r", Expiration: "60000", MessageID: "m", Timestamp: 1704067200,
	Type: "t", UserID: "guest", AppID: "a", ClusterID: "x",
}

// blocks pairs properties with their bytes.
var blocks = []struct {
	name string
	hex  string
	p    field.Properties
}{
	{"none", "0000", field.Properties{}},
	{"content_type", "8000 01 61", field.Properties{Present: field.ContentType, ContentType: "a"}},
	{"content_encoding", "4000 01 61", field.Properties{Present: field.ContentEncoding, ContentEncoding: "a"}},
	{"headers", "2000 00000004 01 6b 42 07", field.Properties{Present: field.Headers, Headers: field.Table{{"k", uint8(7)}}}},
	{"empty headers", "2000 00000000", field.Properties{Present: field.Headers}},
	{"delivery_mode", "1000 02", field.Properties{Present: field.DeliveryMode, DeliveryMode: 2}},
	{"priority", "0800 05", field.Properties{Present: field.Priority, Priority: 5}},
	{"priority of zero", "0800 00", field.Properties{Present: field.Priority}},
	{"correlation_id", "0400 01 61", field.Properties{Present: field.CorrelationID, CorrelationID: "a"}},
	{"reply_to", "0200 01 61", field.Properties{Present: field.ReplyTo, ReplyTo: "a"}},
	{"expiration", "0100 02 3130", field.Properties{Present: field.Expiration, Expiration: "10"}},
	{"message_id", "0080 01 61", field.Properties{Present: field.MessageID, MessageID: "a"}},
	{"timestamp", "0040 0000000065920080", field.Properties{Present: field.Time, Timestamp: 1704067200}},
	{"type", "0020 01 61", field.Properties{Present: field.Type, Type: "a"}},
	{"user_id", "0010 01 61", field.Properties{Present: field.UserID, UserID: "a"}},
	{"app_id", "0008 01 61", field.Properties{Present: field.AppID, AppID: "a"}},
	{"cluster_id", "0004 01 61", field.Properties{Present: field.ClusterID, ClusterID: "a"}},
	{"empty strings", "8080 00 00", field.Properties{Present: field.ContentType | field.MessageID}},
	{
		"all", "fffc 0a 746578742f706c61696e 04 677a6970 00000007 01 61 49 00000001 02 09 01 63 01 72" +
			"05 3630303030 01 6d 0000000065920080 01 74 05 6775657374 01 61 01 78", full,
	},
}

func TestProperties_AMQP_4_2_6_1(t *testing.T) {
	for _, tt := range blocks {
		t.Run(tt.name, func(t *testing.T) {
			raw := unhex(t, tt.hex)
			got, err := field.ParseProperties(raw)
			if err != nil || !reflect.DeepEqual(got, tt.p) {
				t.Errorf("ParseProperties = %+v, %v; want %+v", got, err, tt.p)
			}
			if b, err := field.AppendProperties([]byte("dst"), &tt.p); err != nil || !bytes.Equal(b, append([]byte("dst"), raw...)) {
				t.Errorf("AppendProperties = % x, %v; want % x", b, err, raw)
			}
			s, err := field.CheckProperties(raw)
			if err != nil {
				t.Fatalf("CheckProperties: %v", err)
			}
			assertSummary(t, s, &tt.p)
			assertReplyTo(t, s, raw, tt.p)
			for cut := range raw {
				if _, err := field.CheckProperties(raw[:cut]); !errors.Is(err, field.ErrTruncated) {
					t.Errorf("CheckProperties of the first %d bytes: %v, want ErrTruncated", cut, err)
				}
			}
			if _, err := field.CheckProperties(append(raw, 0)); !errors.Is(err, field.ErrTrailing) {
				t.Errorf("CheckProperties with a byte left over: %v, want ErrTrailing", err)
			}
		})
	}
}

// assertSummary compares s with the properties it summarises.
func assertSummary(t *testing.T, s field.Summary, p *field.Properties) {
	t.Helper()
	var headers field.Table
	if s.Headers != nil {
		var rest []byte
		var err error
		if headers, rest, err = field.ParseTable(s.Headers); err != nil || len(rest) != 0 {
			t.Errorf("summary's headers leave % x, %v", rest, err)
		}
	}
	got := field.Properties{
		Present: s.Present, Priority: s.Priority, Headers: headers, DeliveryMode: p.DeliveryMode,
		ReplyTo: string(s.ReplyTo), Expiration: string(s.Expiration), UserID: string(s.UserID),
	}
	want := field.Properties{
		Present: p.Present, Priority: p.Priority, Headers: p.Headers, DeliveryMode: p.DeliveryMode,
		ReplyTo: p.ReplyTo, Expiration: p.Expiration, UserID: p.UserID,
	}
	// NaN differs from itself in the eyes of reflect, so headers go separately.
	if !field.Equal(got.Headers, want.Headers) {
		t.Errorf("summary's headers are %v, want %v", got.Headers, want.Headers)
	}
	got.Headers, want.Headers = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("summary says %+v, want %+v", got, want)
	}
	if s.Persistent != (p.DeliveryMode == field.Persistent) {
		t.Errorf("Persistent = %v with delivery_mode %d", s.Persistent, p.DeliveryMode)
	}
	if s.HasPriority() != p.Has(field.Priority) || s.Has(field.Headers) != p.Has(field.Headers) {
		t.Errorf("presence differs: %016b and %016b", s.Present, p.Present)
	}
	for f, absent := range map[field.Flags]bool{
		field.Headers: s.Headers == nil, field.ReplyTo: s.ReplyTo == nil,
		field.Expiration: s.Expiration == nil, field.UserID: s.UserID == nil,
	} {
		if absent == s.Has(f) {
			t.Errorf("flag %016b: nil is %v, present is %v", f, absent, s.Has(f))
		}
	}
}

// assertReplyTo shows that reply_to is all that AppendWithReplyTo changes.
func assertReplyTo(t *testing.T, s field.Summary, block []byte, p field.Properties) {
	t.Helper()
	if !s.Has(field.ReplyTo) {
		return
	}
	for _, p.ReplyTo = range []string{"", "another.address"} {
		b, err := s.AppendWithReplyTo([]byte("dst"), block, p.ReplyTo)
		if err != nil || string(b[:3]) != "dst" {
			t.Fatalf("AppendWithReplyTo = % x, %v", b, err)
		}
		// As bytes, because what is not a number equals nothing.
		want, err := field.AppendProperties(nil, &p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := field.ParseProperties(b[3:])
		if err != nil {
			t.Fatal(err)
		}
		if again, err := field.AppendProperties(nil, &got); err != nil || !bytes.Equal(again, want) {
			t.Errorf("AppendWithReplyTo made % x, %v; want % x", again, err, want)
		}
	}
	if b, err := s.AppendWithReplyTo([]byte("dst"), block, strings.Repeat("x", 256)); !errors.Is(err, field.ErrTooLong) || string(b) != "dst" {
		t.Errorf("AppendWithReplyTo of what is too long = % x, %v", b, err)
	}
}

func TestPropertiesNeedNoFlagUnlessZero(t *testing.T) {
	p := full
	p.Present = 0
	if !p.Has(allProperties) || new(field.Properties).Has(field.ContentType) {
		t.Error("Has looks at Present alone")
	}
	got, err := field.AppendProperties(nil, &p)
	if err != nil {
		t.Fatal(err)
	}
	want, err := field.AppendProperties(nil, &full)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("without flags the block is % x, want % x", got, want)
	}
}

func TestPropertiesRefused(t *testing.T) {
	for _, tt := range []struct {
		name, hex string
		want      error
	}{
		{"a second flag word", "0001 0000", field.ErrFlags},
		{"the flag that has no property", "0002", field.ErrFlags},
		{"a header of unknown type", "2000 00000003 01 6b 5a", field.ErrUnknownType},
	} {
		if _, err := field.CheckProperties(unhex(t, tt.hex)); !errors.Is(err, tt.want) {
			t.Errorf("%s: CheckProperties: %v, want %v", tt.name, err, tt.want)
		}
		if _, err := field.ParseProperties(unhex(t, tt.hex)); !errors.Is(err, tt.want) {
			t.Errorf("%s: ParseProperties: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestAppendPropertiesRefuses(t *testing.T) {
	for _, tt := range []struct {
		p    field.Properties
		want error
		text string
	}{
		{field.Properties{UserID: strings.Repeat("u", 256)}, field.ErrTooLong, "encode property user_id: "},
		{field.Properties{Headers: field.Table{{"n", 1}}}, field.ErrUnknownType, `encode property headers: encode field "n": `},
	} {
		b, err := field.AppendProperties([]byte("dst"), &tt.p)
		if !errors.Is(err, tt.want) || !strings.HasPrefix(err.Error(), tt.text) {
			t.Errorf("error is %v, want %v with %q", err, tt.want, tt.text)
		}
		if string(b) != "dst" {
			t.Errorf("dst became %q", b)
		}
	}
	// The longest string that fits does.
	longest := field.Properties{UserID: strings.Repeat("u", 255)}
	if _, err := field.AppendProperties(nil, &longest); err != nil {
		t.Errorf("user_id of 255 bytes: %v", err)
	}
}

func FuzzProperties(f *testing.F) {
	for _, tt := range blocks {
		f.Add(unhex(f, tt.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := field.ParseProperties(b)
		s, checkErr := field.CheckProperties(b)
		if !errors.Is(err, checkErr) {
			t.Fatalf("ParseProperties: %v; CheckProperties: %v", err, checkErr)
		}
		if err != nil {
			return
		}
		assertSummary(t, s, &p)
		assertReplyTo(t, s, b, p)
		once, err := field.AppendProperties(nil, &p)
		if err != nil || len(once) != len(b) {
			t.Fatalf("% x became % x, %v", b, once, err)
		}
		again, err := field.ParseProperties(once)
		if err != nil {
			t.Fatalf("ParseProperties of what AppendProperties made: %v", err)
		}
		if twice, err := field.AppendProperties(nil, &again); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("% x became % x, %v", once, twice, err)
		}
	})
}

func TestFindPropertyFindsEach(t *testing.T) {
	all := field.Properties{
		ContentType: "ct", ContentEncoding: "ce", Headers: field.Table{{Key: "k", Value: "v"}}, DeliveryMode: 2, Priority: 7,
		CorrelationID: "corr", ReplyTo: "r", Expiration: "1", MessageID: "m", Timestamp: 258, Type: "t", UserID: "u", AppID: "a", ClusterID: "c",
	}
	want := map[field.Flags]string{
		field.ContentType: "ct", field.ContentEncoding: "ce", field.Headers: "\x01kS\x00\x00\x00\x01v", field.DeliveryMode: "\x02",
		field.Priority: "\x07", field.CorrelationID: "corr", field.ReplyTo: "r", field.Expiration: "1", field.MessageID: "m",
		field.Time: "\x00\x00\x00\x00\x00\x00\x01\x02", field.Type: "t", field.UserID: "u", field.AppID: "a", field.ClusterID: "c",
	}
	b, err := field.AppendProperties(nil, &all)
	if err != nil {
		t.Fatal(err)
	}
	for f, content := range want {
		if got, ok := field.FindProperty(b, f); !ok || string(got) != content {
			t.Errorf("property %016b is %q, %t, want %q", f, got, ok, content)
		}
		for _, b := range [][]byte{nil, {0}, {0, 0}, b[:2], b[:len(b)/2]} {
			got, ok := field.FindProperty(b, f)
			if ok && string(got) != content {
				t.Errorf("property %016b of a block that ends early is %q", f, got)
			}
		}
	}
	alone, err := field.AppendProperties(nil, &field.Properties{AppID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := field.FindProperty(alone, field.AppID); !ok || string(got) != "a" {
		t.Errorf("the only property is %q", got)
	}
	if _, ok := field.FindProperty(alone, field.MessageID); ok {
		t.Error("a property was found that is absent")
	}
}
