package field_test

import (
	"math"
	"strings"
	"testing"

	"github.com/batonmq/baton/core/field"
)

func TestTypeName(t *testing.T) {
	for _, tt := range values {
		// A row is named after its type, with an adjective where there are two.
		name := tt.name[strings.LastIndexByte(tt.name, ' ')+1:]
		if name == "true" || name == "false" {
			name = "bool"
		}
		if got := field.TypeName(tt.value); got != name {
			t.Errorf("TypeName(%#v) = %q, want %q", tt.value, got, name)
		}
	}
	if got := field.TypeName(1); got != "" {
		t.Errorf("TypeName of a Go int = %q, want none", got)
	}
}

func TestEqual(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b any
		want bool
	}{
		{"integers of one type", int32(5), int32(5), true},
		{"different integers", int32(5), int32(6), false},
		{"byte and long", int8(-5), int64(-5), true},
		{"unsignedbyte and signedint", uint8(200), int32(200), true},
		{"short and unsignedint", int16(7), uint32(7), true},
		{"same bits, different sign", int16(-1), uint16(65535), false},
		{"float and double", float32(0.5), float64(0.5), true},
		{"integer and double", int32(1), float64(1), false},
		{"double and integer", float64(1), int32(1), false},
		{"NaN", math.NaN(), math.NaN(), true},
		{"integer and its text", int32(10), "10", false},
		{"integer and timestamp", int64(10), field.Timestamp(10), false},
		{"timestamps", field.Timestamp(10), field.Timestamp(10), true},
		{"decimals", field.Decimal{1, 10}, field.Decimal{1, 10}, true},
		{"decimals of different scale", field.Decimal{1, 10}, field.Decimal{2, 100}, false},
		{"strings", "a", "a", true},
		{"longstr and binary", "a", []byte("a"), false},
		{"binaries", []byte("a"), []byte("a"), true},
		{"different binaries", []byte("a"), []byte("b"), false},
		{"bools", true, false, false},
		{"bool and integer", true, int8(1), false},
		{"voids", nil, nil, true},
		{"void and false", nil, false, false},
		{"void and nil table", nil, field.Table(nil), false},
		{"empty tables", field.Table(nil), field.Table{}, true},
		{"arrays of different integer types", []any{int8(1)}, []any{int64(1)}, true},
		{"arrays of different order", []any{"a", "b"}, []any{"b", "a"}, false},
		{"array and longer array", []any{"a"}, []any{"a", "a"}, false},
		{"tables of different integer types", field.Table{{"k", int8(1)}}, field.Table{{"k", uint32(1)}}, true},
		{"tables with other keys", field.Table{{"k", "v"}}, field.Table{{"l", "v"}}, false},
		{"tables with other values", field.Table{{"k", "v"}}, field.Table{{"k", "w"}}, false},
		{"types that no field has", 1, 1, false},
	} {
		if got := field.Equal(tt.a, tt.b); got != tt.want {
			t.Errorf("%s: Equal(%#v, %#v) = %v", tt.name, tt.a, tt.b, got)
		}
		if got := field.Equal(tt.b, tt.a); got != tt.want {
			t.Errorf("%s: Equal(%#v, %#v) = %v", tt.name, tt.b, tt.a, got)
		}
	}
}

func TestText(t *testing.T) {
	loop := []any{nil}
	loop[0] = loop
	for _, tt := range []struct {
		value any
		want  string
	}{
		{int8(-3), "-3"},
		{uint32(math.MaxUint32), "4294967295"},
		{"lazy", "lazy"},
		{[]byte("raw"), "raw"},
		{true, "true"},
		{float64(1.5), "1.5"},
		{field.Decimal{2, -1234}, "-1234e-2"},
		{field.Timestamp(1704067200), "1704067200"},
		{nil, "undefined"},
		{[]any{"a", int32(1)}, "[a,1]"},
		{field.Table{{"k", "v"}, {"n", nil}}, "{k=v,n=undefined}"},
		{loop[:1:1], strings.Repeat("[", field.MaxDepth) + "..." + strings.Repeat("]", field.MaxDepth)},
	} {
		if got := field.Text(tt.value); got != tt.want {
			t.Errorf("Text(%#v) = %q, want %q", tt.value, got, tt.want)
		}
	}
}
