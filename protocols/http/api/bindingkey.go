package api

import (
	"crypto/md5" //nolint:gosec // it is RabbitMQ's name for a binding and protects nothing
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
)

// propertiesKey is the name by which RabbitMQ's API tells the bindings between two
// objects apart: the routing key as it stands in a form, "~" if it is empty, and
// behind another "~" a hash of the arguments, if there are any.
func propertiesKey(b *core.BindingSpec) string {
	key := quoteKey(b.Key)
	if key == "" {
		key = "~"
	}
	if len(b.Args) == 0 {
		return key
	}
	sum := md5.Sum(appendTerm(nil, sortedArgs(b.Args))) //nolint:gosec // see above
	return key + "~" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// quoteKey escapes a key as RabbitMQ does: all but letters, digits and three signs.
func quoteKey(key string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(key) {
		switch ch := key[i]; {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9', ch == '.', ch == '-', ch == '_':
			b.WriteByte(ch)
		case ch == ' ':
			b.WriteByte('+')
		default:
			b.Write([]byte{'%', hex[ch>>4], hex[ch&15]})
		}
	}
	return b.String()
}

// sortedArgs are a binding's arguments in the order in which RabbitMQ keeps them.
func sortedArgs(args field.Table) field.Table {
	sorted := slices.Clone(args)
	slices.SortStableFunc(sorted, func(a, b field.Field) int { return strings.Compare(a.Key, b.Key) })
	return sorted
}

// The tags of Erlang's external term format (erl_ext_dist), as Erlang/OTP 25
// writes it, on which RabbitMQ 3.10 runs.
const (
	termVersion  = 131
	termSmallInt = 97
	termInt      = 98
	termAtom     = 100
	termTuple    = 104
	termNil      = 106
	termList     = 108
	termBinary   = 109
	termSmallBig = 110
	termFloat    = 70
)

// appendTerm appends what erlang:term_to_binary makes of a table as RabbitMQ has
// it: a list of {Key, Type, Value}.
func appendTerm(b []byte, args field.Table) []byte {
	return termTable(append(b, termVersion), args)
}

func termTable(b []byte, t field.Table) []byte {
	if len(t) == 0 {
		return append(b, termNil)
	}
	b = binary.BigEndian.AppendUint32(append(b, termList), uint32(len(t)))
	for _, f := range t {
		b = append(b, termTuple, 3)
		b = termText(b, f.Key)
		b = termTyped(b, f.Value)
	}
	return append(b, termNil)
}

func termText(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(append(b, termBinary), uint32(len(s)))
	return append(b, s...)
}

func termWord(b []byte, word string) []byte {
	b = binary.BigEndian.AppendUint16(append(b, termAtom), uint16(len(word)))
	return append(b, word...)
}

// termTyped appends the word for a value's type and the value.
func termTyped(b []byte, v any) []byte {
	b = termWord(b, field.TypeName(v))
	switch v := v.(type) {
	case string:
		return termText(b, v)
	case []byte:
		return termText(b, string(v))
	case bool:
		if v {
			return termWord(b, "true")
		}
		return termWord(b, "false")
	case field.Table:
		return termTable(b, v)
	case []any:
		return termArray(b, v)
	case float32:
		return termDouble(b, float64(v))
	case float64:
		return termDouble(b, v)
	case field.Timestamp:
		return termInteger(b, false, uint64(v))
	case field.Decimal:
		b = append(b, termTuple, 2)
		return termSigned(termSigned(b, int64(v.Scale)), int64(v.Value))
	case nil:
		return termWord(b, "undefined")
	}
	n, _ := field.Int(v)
	return termSigned(b, n)
}

func termArray(b []byte, values []any) []byte {
	if len(values) == 0 {
		return append(b, termNil)
	}
	b = binary.BigEndian.AppendUint32(append(b, termList), uint32(len(values)))
	for _, v := range values {
		b = termTyped(append(b, termTuple, 2), v)
	}
	return append(b, termNil)
}

func termDouble(b []byte, f float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, termFloat), math.Float64bits(f))
}

func termSigned(b []byte, n int64) []byte {
	if n < 0 {
		return termInteger(b, true, -uint64(n))
	}
	return termInteger(b, false, uint64(n))
}

// termInteger appends an integer in the shortest form there is for it.
func termInteger(b []byte, negative bool, size uint64) []byte {
	switch {
	case !negative && size <= math.MaxUint8:
		return append(b, termSmallInt, byte(size))
	case !negative && size <= math.MaxInt32:
		return binary.BigEndian.AppendUint32(append(b, termInt), uint32(size))
	case negative && size <= 1<<31:
		return binary.BigEndian.AppendUint32(append(b, termInt), -uint32(size))
	}
	var digits []byte
	for ; size > 0; size >>= 8 {
		digits = append(digits, byte(size))
	}
	sign := byte(0)
	if negative {
		sign = 1
	}
	return append(append(b, termSmallBig, byte(len(digits)), sign), digits...)
}
