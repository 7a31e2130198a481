package jsontable

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/batonmq/baton/core/field"
)

// Object is a table as a JSON object.
func Object(t field.Table) map[string]any {
	m := make(map[string]any, len(t))
	for _, f := range t {
		m[f.Key] = Value(f.Value)
	}
	return m
}

// Value keeps numbers, truths, texts, lists and objects what they are. A float is never
// written as an integer: arguments are compared with their types.
func Value(v any) any {
	switch v := v.(type) {
	case field.Table:
		return Object(v)
	case []any:
		l := make([]any, len(v))
		for i := range v {
			l[i] = Value(v[i])
		}
		return l
	case []byte:
		return string(v)
	case field.Timestamp:
		return int64(v)
	case field.Decimal:
		return float64(v.Value) / math.Pow10(int(v.Scale))
	case float32:
		return Value(float64(v))
	case float64:
		switch {
		case math.IsNaN(v) || math.IsInf(v, 0):
			return nil // JSON has no such number
		case v == math.Trunc(v) && math.Abs(v) < 1e21: // what is larger is written with an exponent
			return json.Number(strconv.FormatFloat(v, 'f', 1, 64))
		}
	}
	return v
}

// A Table is a table that is read from a JSON object, and written as one.
type Table field.Table

// MarshalJSON implements json.Marshaler.
func (t Table) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(Object(field.Table(t))); err != nil {
		return nil, err //nolint:wrapcheck // json says what it was doing
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Table) UnmarshalJSON(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return err //nolint:wrapcheck // the JSON has been found valid
	}
	m, ok := v.(map[string]any)
	if !ok && v != nil { // some clients write null for an empty one
		return errors.New("it should be an object")
	}
	*t = Table(Of(m))
	return nil
}

// Of is a JSON object as a table, in the order of its keys. Numbers are json.Number.
func Of(m map[string]any) field.Table {
	t := make(field.Table, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		t = append(t, field.Field{Key: key, Value: Field(m[key])})
	}
	return t
}

// Field is what a field can hold of a JSON value.
func Field(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64() // out of range is an infinity, which no setting takes
		return f
	case map[string]any:
		return Of(v)
	case []any:
		l := make([]any, len(v))
		for i := range v {
			l[i] = Field(v[i])
		}
		return l
	}
	return v
}
