package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// Answers are looked into by the names that their values have in JSON, without
// encoding them: a query that sorts or reduces a list does so with each row.

// at returns what is at a path of an answer, nil where there is nothing, or null.
func at(answer any, path []string) any {
	v := reflect.ValueOf(answer)
	for {
		for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
			v = v.Elem()
		}
		switch {
		case !v.IsValid():
			return nil
		case len(path) == 0:
			return v.Interface()
		case v.Type().Implements(marshaler): // it knows its names itself
			return atEncoded(v.Interface(), path)
		}
		v = under(v, path[0])
		path = path[1:]
	}
}

// under returns what an object has under a name. The zero Value is nothing.
func under(v reflect.Value, name string) reflect.Value {
	switch {
	case v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String:
		return v.MapIndex(reflect.ValueOf(name).Convert(v.Type().Key()))
	case v.Kind() != reflect.Struct:
		return reflect.Value{}
	}
	f, ok := fieldsOf(v.Type())[name]
	if !ok {
		return reflect.Value{}
	}
	v, err := v.FieldByIndexErr(f.index)
	if err != nil || f.omitEmpty && isEmpty(v) { // in a part that there is none of
		return reflect.Value{}
	}
	return v
}

// isEmpty reports whether JSON leaves out a value that may be left out.
func isEmpty(v reflect.Value) bool {
	switch v.Kind() { //nolint:exhaustive // the others are empty where they are zero
	case reflect.Map, reflect.Slice, reflect.Array, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

//nolint:gochecknoglobals // a type, and what is found out about types
var (
	marshaler  = reflect.TypeFor[json.Marshaler]()
	structures sync.Map // reflect.Type → map[string]jsonField
)

// jsonField is a field of a struct, which may be embedded in it.
type jsonField struct {
	index     []int
	omitEmpty bool
}

// fieldsOf are a struct's fields by their names in JSON. Of several of a name the
// least deeply embedded counts.
func fieldsOf(t reflect.Type) map[string]jsonField {
	if fields, ok := structures.Load(t); ok {
		return fields.(map[string]jsonField) //nolint:forcetypeassert // nothing else is stored
	}
	fields := map[string]jsonField{}
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" || !f.IsExported() {
			continue
		}
		if other, ok := fields[name]; !ok || len(f.Index) < len(other.index) {
			fields[name] = jsonField{f.Index, strings.Contains(options, "omitempty")}
		}
	}
	structures.Store(t, fields)
	return fields
}

// atEncoded looks into what JSON makes of a value.
func atEncoded(v any, path []string) any {
	m, err := generic(v)
	if err != nil {
		return nil
	}
	return at(m, path)
}

// generic is an answer as a JSON object.
func generic(v any) (m map[string]any, err error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode an answer: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("look into an answer: %w", err)
	}
	return m, nil
}

// pick reduces an answer to some of its values.
func pick(answer any, paths [][]string) map[string]any {
	picked := map[string]any{}
	for _, path := range paths {
		if v := at(answer, path); v != nil {
			insert(picked, path, v)
		}
	}
	return picked
}

// insert puts a value at a path, unless all of a part of the path is there already.
func insert(into map[string]any, path []string, v any) {
	for _, key := range path[:len(path)-1] {
		if into[key] == nil {
			into[key] = map[string]any{}
		}
		next, ok := into[key].(map[string]any)
		if !ok {
			return
		}
		into = next
	}
	into[path[len(path)-1]] = v
}
