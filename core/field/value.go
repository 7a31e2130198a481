package field

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Table is an ordered list of fields. Duplicate keys are kept: MQTT 5 user
// properties may repeat and their order is significant ([MQTT-3.3.2-17]).
type Table []Field

// Field is one entry of a [Table]. Value has one of these types:
//
//	nil, bool, int8, uint8, int16, uint16, int32, uint32, int64,
//	float32, float64, Decimal, string, []byte, []any, Table, Timestamp
//
// where the elements of an []any are again of these types. No other type is
// converted, not even int: the wire type is part of the value.
type Field struct {
	Key   string
	Value any
}

// Decimal is Value / 10^Scale.
type Decimal struct {
	Scale uint8
	Value int32
}

// Timestamp is a point in time in seconds since 1970-01-01 UTC.
type Timestamp int64

// Get returns the value of the first field named key.
func (t Table) Get(key string) (value any, ok bool) {
	for i := range t {
		if t[i].Key == key {
			return t[i].Value, true
		}
	}
	return nil, false
}

// TypeName returns the name RabbitMQ gives the type of value in its error
// texts, or "" if value is of a type no field can have.
func TypeName(value any) string {
	switch value.(type) {
	case nil:
		return "void"
	case bool:
		return "bool"
	case int8:
		return "byte"
	case uint8:
		return "unsignedbyte"
	case int16:
		return "short"
	case uint16:
		return "unsignedshort"
	case int32:
		return "signedint"
	case uint32:
		return "unsignedint"
	case int64:
		return "long"
	case float32:
		return "float"
	case float64:
		return "double"
	case Decimal:
		return "decimal"
	case string:
		return "longstr"
	case []byte:
		return "binary"
	case []any:
		return "array"
	case Table:
		return "table"
	case Timestamp:
		return "timestamp"
	}
	return ""
}

// Int returns the value of any of the integer types.
func Int(value any) (n int64, ok bool) {
	switch v := value.(type) {
	case int8:
		return int64(v), true
	case uint8:
		return int64(v), true
	case int16:
		return int64(v), true
	case uint16:
		return int64(v), true
	case int32:
		return int64(v), true
	case uint32:
		return int64(v), true
	case int64:
		return v, true
	}
	return 0, false
}

// Equal reports whether a and b are the same value as far as the arguments of
// a redeclared object and the patterns of a headers binding are concerned: all
// integer types compare as one class and so do both floating-point types, every
// other type equals only its own. Tables and arrays compare element by element,
// in order. Values of types that no field can have equal nothing.
func Equal(a, b any) bool {
	if x, ok := Int(a); ok {
		y, ok := Int(b)
		return ok && x == y
	}
	if x, ok := float(a); ok {
		y, ok := float(b)
		return ok && (x == y || math.IsNaN(x) && math.IsNaN(y))
	}
	switch x := a.(type) {
	case nil:
		return b == nil
	case []byte:
		y, ok := b.([]byte)
		return ok && bytes.Equal(x, y)
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, Equal)
	case Table:
		y, ok := b.(Table)
		return ok && slices.EqualFunc(x, y, equalFields)
	case bool, Decimal, string, Timestamp:
		return a == b
	}
	return false
}

func equalFields(a, b Field) bool { return a.Key == b.Key && Equal(a.Value, b.Value) }

func float(value any) (f float64, ok bool) {
	switch v := value.(type) {
	case float32:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// Text returns value as error texts show it: strings and binaries bare, numbers
// in decimal, tables and arrays in braces and brackets.
func Text(value any) string {
	return string(appendText(nil, value, 1))
}

// appendText stops at MaxDepth so that a table that contains itself, which no
// parser makes but a program can, ends in an ellipsis and not in a crash.
func appendText(dst []byte, value any, depth int) []byte {
	if depth > MaxDepth {
		return append(dst, "..."...)
	}
	if n, ok := Int(value); ok {
		return strconv.AppendInt(dst, n, 10)
	}
	switch v := value.(type) {
	case nil:
		return append(dst, "undefined"...)
	case string:
		return append(dst, v...)
	case []byte:
		return append(dst, v...)
	case Timestamp:
		return strconv.AppendInt(dst, int64(v), 10)
	case []any:
		dst = append(dst, '[')
		for i := range v {
			dst = appendText(appendComma(dst, i), v[i], depth+1)
		}
		return append(dst, ']')
	case Table:
		dst = append(dst, '{')
		for i := range v {
			dst = append(append(appendComma(dst, i), v[i].Key...), '=')
			dst = appendText(dst, v[i].Value, depth+1)
		}
		return append(dst, '}')
	case Decimal:
		return append(dst, v.String()...)
	}
	return fmt.Append(dst, value)
}

func appendComma(dst []byte, i int) []byte {
	if i == 0 {
		return dst
	}
	return append(dst, ',')
}

// String returns d in decimal notation with the exponent written out: 1234e-2.
func (d Decimal) String() string {
	return strconv.FormatInt(int64(d.Value), 10) + "e-" + strconv.Itoa(int(d.Scale))
}
