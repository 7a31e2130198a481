package field_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/batonmq/baton/core/field"
)

// unhex decodes hexadecimal digits; blanks are for the reader.
func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		tb.Fatalf("bad hex %q: %v", s, err)
	}
	return b
}

// values pairs every field type with its bytes.
var values = []struct {
	name  string
	hex   string // type and content
	value any
}{
	{"false", "74 00", false},
	{"true", "74 01", true},
	{"byte", "62 80", int8(-128)},
	{"unsignedbyte", "42 ff", uint8(255)},
	{"short", "73 8000", int16(math.MinInt16)},
	{"unsignedshort", "75 ffff", uint16(math.MaxUint16)},
	{"signedint", "49 80000000", int32(math.MinInt32)},
	{"unsignedint", "69 ffffffff", uint32(math.MaxUint32)},
	{"long", "6c 8000000000000000", int64(math.MinInt64)},
	{"float", "66 3fc00000", float32(1.5)},
	{"double", "64 c000000000000000", float64(-2)},
	{"decimal", "44 02 fffffb2e", field.Decimal{Scale: 2, Value: -1234}},
	{"longstr", "53 00000003 616263", "abc"},
	{"empty longstr", "53 00000000", ""},
	{"binary", "78 00000002 00ff", []byte{0, 255}},
	{"empty binary", "78 00000000", []byte{}},
	{"array", "41 00000003 7401 56", []any{true, nil}},
	{"empty array", "41 00000000", []any{}},
	{"table", "46 00000004 01 61 42 07", field.Table{{"a", uint8(7)}}},
	{"empty table", "46 00000000", field.Table(nil)},
	{"timestamp", "54 0000000065920080", field.Timestamp(1704067200)},
	{"void", "56", nil},
}

func TestValue_AMQP_4_2_5_5(t *testing.T) {
	for _, tt := range values {
		t.Run(tt.name, func(t *testing.T) {
			value := unhex(t, tt.hex)
			raw := append([]byte{0, 0, 0, byte(2 + len(value)), 1, 'k'}, value...)
			want := field.Table{{"k", tt.value}}

			got, rest, err := field.ParseTable(append(raw, "rest"...))
			if err != nil || !reflect.DeepEqual(got, want) || string(rest) != "rest" {
				t.Errorf("ParseTable = %#v, %q, %v; want %#v", got, rest, err, want)
			}
			if rest, err := field.CheckTable(append(raw, "rest"...)); err != nil || string(rest) != "rest" {
				t.Errorf("CheckTable = %q, %v", rest, err)
			}
			if b, err := field.AppendTable([]byte("dst"), want); err != nil || !bytes.Equal(b, append([]byte("dst"), raw...)) {
				t.Errorf("AppendTable = % x, %v; want % x", b, err, raw)
			}
			// No value may be accepted without its last byte.
			for cut := range raw {
				if _, err := field.CheckTable(raw[:cut]); !errors.Is(err, field.ErrTruncated) {
					t.Errorf("CheckTable of the first %d bytes: %v, want ErrTruncated", cut, err)
				}
			}
		})
	}
}

func TestParseTableReadsOtherSpellings(t *testing.T) {
	for _, tt := range []struct {
		name, hex string
		value     any
	}{
		{"L is a signed long", "4c ffffffffffffffff", int64(-1)},
		{"any octet but 0 is true", "74 02", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			value := unhex(t, tt.hex)
			got, _, err := field.ParseTable(append([]byte{0, 0, 0, byte(1 + len(value)), 0}, value...))
			if err != nil || !reflect.DeepEqual(got, field.Table{{"", tt.value}}) {
				t.Errorf("ParseTable = %#v, %v; want %#v", got, err, tt.value)
			}
		})
	}
}

func TestParseTableKeepsOrderAndDuplicates(t *testing.T) {
	want := field.Table{{"b", "1"}, {"a", "2"}, {"b", "3"}}
	b, err := field.AppendTable(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := field.ParseTable(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("ParseTable = %v, %v; want %v", got, err, want)
	}
	if v, ok := got.Get("b"); !ok || v != "1" {
		t.Errorf("Get(b) = %v, %v; want the first", v, ok)
	}
	if v, ok := got.Get("c"); ok {
		t.Errorf("Get(c) = %v, want none", v)
	}
}

func TestParseTableCopies(t *testing.T) {
	b := unhex(t, "00000010 01 6b 53 00000001 61 01 6c 78 00000001 62")
	got, _, err := field.ParseTable(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if want := (field.Table{{"k", "a"}, {"l", []byte("b")}}); !reflect.DeepEqual(got, want) {
		t.Errorf("after its input was cleared the table is %#v, want %#v", got, want)
	}
}

func TestTableRefused(t *testing.T) {
	for _, tt := range []struct {
		name, hex string
		want      error
	}{
		{"no length", "000000", field.ErrTruncated},
		{"length beyond the input", "00000001", field.ErrTruncated},
		{"largest length", "ffffffff 00", field.ErrTruncated},
		{"key without value", "00000002 01 61", field.ErrTruncated},
		{"key beyond the table", "00000002 05 61 6161616156", field.ErrTruncated},
		{"value beyond the table", "00000003 01 61 49 00000000", field.ErrTruncated},
		{"string beyond the table", "00000007 01 61 53 00000001 61", field.ErrTruncated},
		{"largest string", "00000007 01 61 53 ffffffff", field.ErrTruncated},
		{"inner table beyond the outer", "00000007 01 61 46 00000003 01 62 56", field.ErrTruncated},
		{"unknown type", "00000003 01 61 5a", field.ErrUnknownType},
		{"unknown type in an array", "00000008 01 61 41 00000001 5a", field.ErrUnknownType},
		{"unknown type in a table", "0000000a 01 61 46 00000003 01 62 5a", field.ErrUnknownType},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := unhex(t, tt.hex)
			if rest, err := field.CheckTable(b); !errors.Is(err, tt.want) || rest != nil {
				t.Errorf("CheckTable = %v, %v; want %v", rest, err, tt.want)
			}
			if got, _, err := field.ParseTable(b); !errors.Is(err, tt.want) || got != nil {
				t.Errorf("ParseTable = %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

// nested returns a table of the given depth, made of tables and arrays in turn.
func nested(depth int) field.Table {
	var inner any
	for i := depth; i > 1; i-- {
		if i%2 == 0 {
			inner = []any{inner}
		} else {
			inner = field.Table{{"k", inner}}
		}
	}
	return field.Table{{"k", inner}}
}

// rawNested is nested in raw form, for depths that AppendTable refuses.
func rawNested(depth int) []byte {
	b := []byte{'V'}
	for i := depth; i > 1; i-- {
		if i%2 == 0 {
			b = append([]byte{'A', 0, 0, byte(len(b) >> 8), byte(len(b))}, b...)
		} else {
			b = append([]byte{1, 'k'}, b...)
			b = append([]byte{'F', 0, 0, byte(len(b) >> 8), byte(len(b))}, b...)
		}
	}
	b = append([]byte{1, 'k'}, b...)
	return append([]byte{0, 0, byte(len(b) >> 8), byte(len(b))}, b...)
}

func TestDepthIsBounded(t *testing.T) {
	b, err := field.AppendTable(nil, nested(field.MaxDepth))
	if err != nil || !bytes.Equal(b, rawNested(field.MaxDepth)) {
		t.Errorf("AppendTable at the limit = % x, %v", b, err)
	}
	if got, _, err := field.ParseTable(b); err != nil || !reflect.DeepEqual(got, nested(field.MaxDepth)) {
		t.Errorf("ParseTable at the limit = %v, %v", got, err)
	}
	if _, err := field.AppendTable(nil, nested(field.MaxDepth+1)); !errors.Is(err, field.ErrTooDeep) {
		t.Errorf("AppendTable above the limit: %v, want ErrTooDeep", err)
	}
	for _, depth := range []int{field.MaxDepth + 1, field.MaxDepth + 2, 1000} {
		if _, err := field.CheckTable(rawNested(depth)); !errors.Is(err, field.ErrTooDeep) {
			t.Errorf("CheckTable at depth %d: %v, want ErrTooDeep", depth, err)
		}
	}
}

func TestAppendTableRefuses(t *testing.T) {
	loop := []any{nil}
	loop[0] = loop
	for _, tt := range []struct {
		name  string
		table field.Table
		want  error
		text  string
	}{
		{"long key", field.Table{{strings.Repeat("k", 256), nil}}, field.ErrTooLong, `encode field "kkk`},
		{"a Go type without wire type", field.Table{{"ttl", 10}}, field.ErrUnknownType, `encode field "ttl": unknown field type: int`},
		{"one deep inside", field.Table{{"a", []any{nil, struct{}{}}}}, field.ErrUnknownType, `encode field "a": element 1: unknown`},
		{"an array that contains itself", field.Table{{"a", loop}}, field.ErrTooDeep, `encode field "a"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := field.AppendTable([]byte("dst"), tt.table)
			if !errors.Is(err, tt.want) || !strings.HasPrefix(err.Error(), tt.text) {
				t.Errorf("error is %v, want %v with %q", err, tt.want, tt.text)
			}
			if string(b) != "dst" {
				t.Errorf("dst became %q", b)
			}
		})
	}
}

func TestLookup(t *testing.T) {
	raw, err := field.AppendTable(nil, field.Table{
		{"BCC", []any{"q1"}},
		{"deep", field.Table{{"CC", "not this one"}}},
		{"CC", "first"},
		{"CC", "second"},
		{"none", nil},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		key   string
		value any
		ok    bool
	}{
		{"CC", "first", true},
		{"BCC", []any{"q1"}, true},
		{"none", nil, true},
		{"C", nil, false},
		{"", nil, false},
	} {
		value, ok, err := field.Lookup(raw, tt.key)
		if err != nil || ok != tt.ok || !reflect.DeepEqual(value, tt.value) {
			t.Errorf("Lookup(%q) = %v, %v, %v; want %v, %v", tt.key, value, ok, err, tt.value, tt.ok)
		}
	}
	if _, _, err := field.Lookup(raw[:len(raw)-1], "CC"); !errors.Is(err, field.ErrTruncated) {
		t.Errorf("Lookup in a truncated table: %v, want ErrTruncated", err)
	}
	if _, _, err := field.Lookup(rawNested(field.MaxDepth+1), "k"); !errors.Is(err, field.ErrTooDeep) {
		t.Errorf("Lookup of a value nested too deeply: %v, want ErrTooDeep", err)
	}
}

func FuzzTable(f *testing.F) {
	for _, tt := range values {
		value := unhex(f, tt.hex)
		f.Add(append([]byte{0, 0, 0, byte(1 + len(value)), 0}, value...))
	}
	f.Add(rawNested(field.MaxDepth + 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		table, rest, err := field.ParseTable(b)
		checkRest, checkErr := field.CheckTable(b)
		if !errors.Is(err, checkErr) || !bytes.Equal(rest, checkRest) {
			t.Fatalf("ParseTable left %x, %v; CheckTable left %x, %v", rest, err, checkRest, checkErr)
		}
		if _, _, lookupErr := field.Lookup(b, "\x00absent"); err == nil && lookupErr != nil {
			t.Fatalf("Lookup fails in a valid table: %v", lookupErr)
		}
		if err != nil {
			return
		}
		once, err := field.AppendTable(nil, table)
		if err != nil {
			t.Fatalf("AppendTable of what ParseTable returned: %v", err)
		}
		if want := len(b) - len(rest); len(once) != want {
			t.Fatalf("%d bytes became %d", want, len(once))
		}
		again, rest, err := field.ParseTable(once)
		if err != nil || len(rest) != 0 || !field.Equal(table, again) {
			t.Fatalf("%v became %v, %v", table, again, err)
		}
		twice, err := field.AppendTable(nil, again)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("% x became % x, %v", once, twice, err)
		}
	})
}
