package field

import (
	"encoding/binary"
	"iter"
)

// RawTable is the fields of a raw table that has been checked. Unlike a [Table]
// it costs nothing to have: what is found in it is parsed then.
type RawTable []byte

// Raw is the raw value of a field that has been checked.
type Raw []byte

// CutRaw checks the raw table at the start of b. What it returns is part of b.
func CutRaw(b []byte) (RawTable, error) {
	if _, err := CheckTable(b); err != nil {
		return nil, err
	}
	content, _, _ := cutLong(b)
	return content, nil
}

// Find returns the value of the first field named key, and the fields behind it.
// Where there is none rest is empty.
func (t RawTable) Find(key string) (value Raw, rest RawTable, ok bool) {
	for rest = t; len(rest) > 0; {
		var k []byte
		if k, value, rest = rest.cut(); string(k) == key {
			return value, rest, true
		}
	}
	return nil, nil, false
}

// All yields the fields in order. Keys and values are part of the table.
func (t RawTable) All() iter.Seq2[[]byte, Raw] {
	return func(yield func(key []byte, value Raw) bool) {
		for rest := t; len(rest) > 0; {
			var key []byte
			var value Raw
			if key, value, rest = rest.cut(); !yield(key, value) {
				return
			}
		}
	}
}

// cut takes the first field off a table that has one.
func (t RawTable) cut() (key []byte, value Raw, rest RawTable) {
	key, b, _ := cutShort(t)
	rest, _ = skipValue(b)
	return key, b[:len(b)-len(rest)], rest
}

// Kind is the letter of the value's type; see the package comment.
func (v Raw) Kind() byte { return v[0] }

// Content is the value without its type and without its length, where it has one.
func (v Raw) Content() []byte {
	switch v[0] {
	case 'S', 'x', 'A', 'F':
		return v[5:]
	}
	return v[1:]
}

// Value parses the value. It shares no memory with v.
func (v Raw) Value() any {
	value, _ := parseValue(v)
	return value
}

// Is reports whether the value is the string s.
func (v Raw) Is(s string) bool { return v[0] == 'S' && string(v[5:]) == s }

// As parses the value into what to points to, which shares no memory with it,
// and reports whether it is a value of that type. Strings, bytes, tables,
// booleans and integers without a sign or of 64 bits can be asked for.
func (v Raw) As(to any) bool {
	kind, content := v[0], v[1:]
	switch to := to.(type) {
	case *string:
		if kind == 'S' {
			*to = string(content[4:])
			return true
		}
	case *[]byte:
		if kind == 'x' {
			*to = append([]byte{}, content[4:]...)
			return true
		}
	case *Table:
		if kind == 'F' {
			*to, _ = parseTable(content)
			return true
		}
	case *bool:
		if kind == 't' {
			*to = content[0] != 0
			return true
		}
	case *uint8:
		if kind == 'B' {
			*to = content[0]
			return true
		}
	case *uint16:
		if kind == 'u' {
			*to = binary.BigEndian.Uint16(content)
			return true
		}
	case *uint32:
		if kind == 'i' {
			*to = binary.BigEndian.Uint32(content)
			return true
		}
	case *int64:
		if kind == 'l' || kind == 'L' {
			*to = int64(binary.BigEndian.Uint64(content))
			return true
		}
	}
	return false
}
