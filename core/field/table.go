package field

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// MaxDepth is how deep tables and arrays may nest; a table of scalars has depth
// 1. It bounds the stack that hostile input can make a parser use.
const MaxDepth = 32

// maxShort is the longest key, or short string in a property block.
const maxShort = math.MaxUint8

// What is wrong with a raw table or property block. Parse and Check functions
// return these bare, so that refusing input costs nothing; Append functions
// wrap them with the name of the field.
var (
	ErrTruncated   = errors.New("value ends before its announced length")
	ErrTrailing    = errors.New("bytes left over after the last property")
	ErrUnknownType = errors.New("unknown field type")
	ErrTooDeep     = errors.New("tables nested too deeply")
	ErrTooLong     = errors.New("string longer than its length field can say")
	ErrFlags       = errors.New("reserved property flags set")
)

// CheckTable validates the raw table at the start of b without allocating, and
// returns what follows it. On error rest is nil.
func CheckTable(b []byte) (rest []byte, err error) { return checkTable(b, 1) }

func checkTable(b []byte, depth int) (rest []byte, err error) {
	if depth > MaxDepth {
		return nil, ErrTooDeep
	}
	b, rest, err = cutLong(b)
	for err == nil && len(b) > 0 {
		if _, b, err = cutShort(b); err == nil {
			b, err = checkValue(b, depth)
		}
	}
	if err != nil {
		return nil, err
	}
	return rest, nil
}

func checkArray(b []byte, depth int) (rest []byte, err error) {
	if depth > MaxDepth {
		return nil, ErrTooDeep
	}
	b, rest, err = cutLong(b)
	for err == nil && len(b) > 0 {
		b, err = checkValue(b, depth)
	}
	if err != nil {
		return nil, err
	}
	return rest, nil
}

func checkValue(b []byte, depth int) (rest []byte, err error) {
	if len(b) == 0 {
		return nil, ErrTruncated
	}
	switch b[0] {
	case 'F':
		return checkTable(b[1:], depth+1)
	case 'A':
		return checkArray(b[1:], depth+1)
	}
	return skipValue(b)
}

// skipValue returns what follows the value at the start of b. It steps over
// tables and arrays by their announced length and does not look inside.
func skipValue(b []byte) (rest []byte, err error) {
	if len(b) == 0 {
		return nil, ErrTruncated
	}
	size := 0
	switch b[0] {
	case 'V':
	case 't', 'b', 'B':
		size = 1
	case 's', 'u':
		size = 2
	case 'I', 'i', 'f':
		size = 4
	case 'D':
		size = 5
	case 'l', 'L', 'd', 'T':
		size = 8
	case 'S', 'x', 'A', 'F':
		_, rest, err = cutLong(b[1:])
		return rest, err
	default:
		return nil, ErrUnknownType
	}
	if len(b) < 1+size {
		return nil, ErrTruncated
	}
	return b[1+size:], nil
}

// cutLong splits b behind content that a 32-bit length precedes.
func cutLong(b []byte) (content, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, ErrTruncated
	}
	n := binary.BigEndian.Uint32(b)
	// Compared unsigned: an int of 32 bits cannot hold every length.
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, ErrTruncated
	}
	return b[4 : 4+n], b[4+n:], nil
}

// cutShort splits b behind content that an 8-bit length precedes.
func cutShort(b []byte) (content, rest []byte, err error) {
	if len(b) == 0 || len(b) <= int(b[0]) {
		return nil, nil, ErrTruncated
	}
	end := 1 + int(b[0])
	return b[1:end], b[end:], nil
}

// ParseTable parses the raw table at the start of b and returns what follows
// it. The table shares no memory with b. An empty table is nil.
func ParseTable(b []byte) (t Table, rest []byte, err error) {
	if _, err := CheckTable(b); err != nil {
		return nil, nil, err
	}
	t, rest = parseTable(b)
	return t, rest, nil
}

// Lookup returns the value of the first field named key in the raw table at the
// start of b and parses no other. It is for callers that want one header of a
// message: an absent key costs no allocation.
func Lookup(b []byte, key string) (value any, ok bool, err error) {
	b, _, err = cutLong(b)
	for err == nil && len(b) > 0 {
		var k []byte
		if k, b, err = cutShort(b); err != nil {
			break
		}
		if string(k) == key {
			if _, err := checkValue(b, 1); err != nil {
				return nil, false, err
			}
			value, _ = parseValue(b)
			return value, true, nil
		}
		b, err = skipValue(b)
	}
	return nil, false, err
}

// parseTable and the functions below parse input that has passed its check, and
// so need not look for errors.
func parseTable(b []byte) (t Table, rest []byte) {
	b, rest, _ = cutLong(b)
	if len(b) == 0 {
		return nil, rest
	}
	t = make(Table, 0, count(b, true))
	for len(b) > 0 {
		var key []byte
		var value any
		key, b, _ = cutShort(b)
		value, b = parseValue(b)
		t = append(t, Field{string(key), value})
	}
	return t, rest
}

func parseArray(b []byte) (a []any, rest []byte) {
	b, rest, _ = cutLong(b)
	a = make([]any, 0, count(b, false))
	for len(b) > 0 {
		var value any
		value, b = parseValue(b)
		a = append(a, value)
	}
	return a, rest
}

// count returns how many values the content of a table (keyed) or of an array
// holds, so that its slice is allocated once and to size.
func count(b []byte, keyed bool) (n int) {
	for ; len(b) > 0; n++ {
		if keyed {
			_, b, _ = cutShort(b)
		}
		b, _ = skipValue(b)
	}
	return n
}

func parseValue(b []byte) (value any, rest []byte) {
	kind, b := b[0], b[1:]
	switch kind {
	case 't':
		return b[0] != 0, b[1:]
	case 'b':
		return int8(b[0]), b[1:]
	case 'B':
		return b[0], b[1:]
	case 's':
		return int16(binary.BigEndian.Uint16(b)), b[2:]
	case 'u':
		return binary.BigEndian.Uint16(b), b[2:]
	case 'I':
		return int32(binary.BigEndian.Uint32(b)), b[4:]
	case 'i':
		return binary.BigEndian.Uint32(b), b[4:]
	case 'l', 'L':
		return int64(binary.BigEndian.Uint64(b)), b[8:]
	case 'f':
		return math.Float32frombits(binary.BigEndian.Uint32(b)), b[4:]
	case 'd':
		return math.Float64frombits(binary.BigEndian.Uint64(b)), b[8:]
	case 'D':
		return Decimal{b[0], int32(binary.BigEndian.Uint32(b[1:]))}, b[5:]
	case 'T':
		return Timestamp(binary.BigEndian.Uint64(b)), b[8:]
	case 'S':
		content, rest, _ := cutLong(b)
		return string(content), rest
	case 'x':
		content, rest, _ := cutLong(b)
		return append([]byte{}, content...), rest
	case 'A':
		return parseArray(b)
	case 'F':
		return parseTable(b)
	}
	return nil, b // 'V'
}

// AppendTable appends t in its raw form to dst. On error it returns dst as it
// was given.
func AppendTable(dst []byte, t Table) ([]byte, error) {
	out, err := appendTable(dst, t, 1)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func appendTable(dst []byte, t Table, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, ErrTooDeep
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	for i := range t {
		var err error
		if dst, err = appendShort(dst, t[i].Key); err == nil {
			dst, err = appendValue(dst, t[i].Value, depth)
		}
		if err != nil {
			return nil, fmt.Errorf("encode field %.64q: %w", t[i].Key, err)
		}
	}
	return dst, putLength(dst, start)
}

func appendArray(dst []byte, a []any, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, ErrTooDeep
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	for i := range a {
		var err error
		if dst, err = appendValue(dst, a[i], depth); err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
	}
	return dst, putLength(dst, start)
}

// putLength writes the length of what follows the four bytes at start.
func putLength(dst []byte, start int) error {
	n := uint64(len(dst) - start - 4)
	if n > math.MaxUint32 {
		return ErrTooLong
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(n))
	return nil
}

func appendValue(dst []byte, value any, depth int) ([]byte, error) {
	be := binary.BigEndian
	switch v := value.(type) {
	case nil:
		return append(dst, 'V'), nil
	case bool:
		if v {
			return append(dst, 't', 1), nil
		}
		return append(dst, 't', 0), nil
	case int8:
		return append(dst, 'b', byte(v)), nil
	case uint8:
		return append(dst, 'B', v), nil
	case int16:
		return be.AppendUint16(append(dst, 's'), uint16(v)), nil
	case uint16:
		return be.AppendUint16(append(dst, 'u'), v), nil
	case int32:
		return be.AppendUint32(append(dst, 'I'), uint32(v)), nil
	case uint32:
		return be.AppendUint32(append(dst, 'i'), v), nil
	case int64:
		return be.AppendUint64(append(dst, 'l'), uint64(v)), nil
	case float32:
		return be.AppendUint32(append(dst, 'f'), math.Float32bits(v)), nil
	case float64:
		return be.AppendUint64(append(dst, 'd'), math.Float64bits(v)), nil
	case Decimal:
		return be.AppendUint32(append(dst, 'D', v.Scale), uint32(v.Value)), nil
	case Timestamp:
		return be.AppendUint64(append(dst, 'T'), uint64(v)), nil
	case string:
		return appendLong(append(dst, 'S'), v)
	case []byte:
		return appendLong(append(dst, 'x'), v)
	case []any:
		return appendArray(append(dst, 'A'), v, depth+1)
	case Table:
		return appendTable(append(dst, 'F'), v, depth+1)
	}
	return nil, fmt.Errorf("%w: %T", ErrUnknownType, value)
}

func appendLong[T string | []byte](dst []byte, s T) ([]byte, error) {
	if uint64(len(s)) > math.MaxUint32 {
		return nil, ErrTooLong
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...), nil
}

func appendShort(dst []byte, s string) ([]byte, error) {
	if len(s) > maxShort {
		return nil, ErrTooLong
	}
	return append(append(dst, byte(len(s))), s...), nil
}
