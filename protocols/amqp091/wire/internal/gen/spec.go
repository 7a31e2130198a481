package main

import (
	"fmt"
	"strconv"
	"strings"
)

type class struct {
	id      uint16
	name    string
	methods []method
}

type method struct {
	id      uint16
	name    string
	content bool
	fields  []field
}

type field struct {
	name string
	typ  string
}

func (f field) reserved() bool { return f.name == "_" }

// goTypes are the types a field may have, and what they are in Go.
var goTypes = map[string]string{
	"bit": "bool", "octet": "uint8", "short": "uint16", "long": "uint32", "longlong": "uint64",
	"shortstr": "string", "text": "string", "longstr": "string", "table": "field.Table",
	"code": "ReplyCode",
}

// parseSpec reads the table; spec.txt explains its form.
func parseSpec(text string) ([]class, error) {
	var classes []class
	n := 0
	for line := range strings.Lines(text) {
		n++
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) < 2 {
			return nil, fmt.Errorf("spec line %d: id and name expected", n)
		}
		id, err := strconv.ParseUint(words[0], 10, 16)
		if err != nil {
			return nil, fmt.Errorf("spec line %d: %w", n, err)
		}
		if !strings.HasPrefix(line, " ") {
			classes = append(classes, class{id: uint16(id), name: words[1]})
			continue
		}
		m, err := parseMethod(uint16(id), words[1:])
		if err != nil {
			return nil, fmt.Errorf("spec line %d: %w", n, err)
		}
		if len(classes) == 0 {
			return nil, fmt.Errorf("spec line %d: method %s belongs to no class", n, m.name)
		}
		c := &classes[len(classes)-1]
		c.methods = append(c.methods, m)
	}
	return classes, nil
}

func parseMethod(id uint16, words []string) (method, error) {
	m := method{id: id, name: words[0]}
	for _, word := range words[1:] {
		if word == "+content" {
			m.content = true
			continue
		}
		name, typ, ok := strings.Cut(word, ":")
		if !ok || goTypes[typ] == "" {
			return method{}, fmt.Errorf("method %s: field %q has no known type", m.name, word)
		}
		m.fields = append(m.fields, field{name, typ})
	}
	return m, nil
}

// goName returns a name of the specification as a Go identifier: start-ok
// becomes StartOK.
func goName(name string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(name, "-") {
		switch part {
		case "ok", "id":
			b.WriteString(strings.ToUpper(part))
		default:
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}
