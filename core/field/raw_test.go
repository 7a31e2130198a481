package field_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/batonmq/baton/core/field"
)

func TestRawTableFindsWhatParseTableParses(t *testing.T) {
	table := field.Table{
		{Key: "string", Value: "s"},
		{Key: "empty", Value: ""},
		{Key: "bytes", Value: []byte{1, 2}},
		{Key: "true", Value: true},
		{Key: "u8", Value: uint8(8)},
		{Key: "u16", Value: uint16(16)},
		{Key: "u32", Value: uint32(32)},
		{Key: "i64", Value: int64(-64)},
		{Key: "table", Value: field.Table{{Key: "in", Value: "it"}}},
		{Key: "none", Value: field.Table(nil)},
		{Key: "string", Value: "second"},
	}
	b, err := field.AppendTable(nil, table)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := field.CutRaw(append(b, "behind"...))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range table[:len(table)-1] {
		v, _, ok := raw.Find(f.Key)
		if !ok {
			t.Fatalf("%q is not found", f.Key)
		}
		got := reflect.New(reflect.TypeOf(f.Value))
		if !v.As(got.Interface()) || !reflect.DeepEqual(got.Elem().Interface(), f.Value) {
			t.Errorf("%q is %v, want %v", f.Key, got.Elem(), f.Value)
		}
		for _, other := range []any{new(string), new([]byte), new(field.Table), new(bool), new(uint8), new(uint16), new(uint32), new(int64)} {
			if reflect.TypeOf(other) != got.Type() && v.As(other) {
				t.Errorf("%q is taken for a %T", f.Key, other)
			}
		}
		if !reflect.DeepEqual(v.Value(), f.Value) {
			t.Errorf("%q has the value %v, want %v", f.Key, v.Value(), f.Value)
		}
		if s, isString := f.Value.(string); v.Is("s") != (isString && s == "s") {
			t.Errorf("%q is the string s: %t", f.Key, v.Is("s"))
		}
	}
	if _, rest, ok := raw.Find("string"); !ok {
		t.Error("no string")
	} else if v, rest, ok := rest.Find("string"); !ok || !v.Is("second") || len(rest) != 0 {
		t.Errorf("the second string is %q", v)
	}
	if _, _, ok := raw.Find("absent"); ok {
		t.Error("what is absent is found")
	}
}

func TestRawTableYieldsItsFieldsInOrder(t *testing.T) {
	var table field.Table
	var raws [][]byte
	for _, row := range values {
		table = append(table, field.Field{Key: row.name, Value: row.value})
		raws = append(raws, unhex(t, row.hex))
	}
	b, err := field.AppendTable(nil, table)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := field.CutRaw(b)
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for key, v := range raw.All() {
		want := raws[i]
		content := want[1:]
		switch table[i].Value.(type) {
		case string, []byte, []any, field.Table: // a length comes first
			content = want[5:]
		}
		if string(key) != table[i].Key || !bytes.Equal(v, want) || v.Kind() != want[0] || !bytes.Equal(v.Content(), content) {
			t.Errorf("%s: %s = % x, of kind %c and content % x", table[i].Key, key, v, v.Kind(), v.Content())
		}
		i++
	}
	if i != len(table) {
		t.Errorf("%d fields of %d", i, len(table))
	}
	for range raw.All() {
		i++
		break
	}
	if i != len(table)+1 {
		t.Errorf("a loop that was left met %d fields", i-len(table))
	}
}

func TestRawTableRefusesWhatParseTableRefuses(t *testing.T) {
	b, err := field.AppendTable(nil, field.Table{{Key: "k", Value: "value"}, {Key: "n", Value: int64(1)}})
	if err != nil {
		t.Fatal(err)
	}
	for n := range b {
		_, _, want := field.ParseTable(b[:n])
		if _, err := field.CutRaw(b[:n]); err != want || err == nil { //nolint:errorlint // it is the same, bare
			t.Errorf("of %d bytes: %v, want %v", n, err, want)
		}
	}
}

func TestRawTableReadsWithoutGarbage(t *testing.T) {
	b, err := field.AppendTable(nil, field.Table{{Key: "a", Value: true}, {Key: "b", Value: int64(1)}, {Key: "c", Value: "c"}})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		raw, _ := field.CutRaw(b)
		var flag bool
		var number int64
		v, rest, _ := raw.Find("a")
		v.As(&flag)
		v, rest, _ = rest.Find("b")
		v.As(&number)
		v, _, _ = rest.Find("c")
		fields := 0
		for key, v := range raw.All() {
			fields += len(key) * min(1, len(v.Content()))
		}
		if !flag || number != 1 || !v.Is("c") || fields != 3 {
			panic("misread")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
