package interop

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A sent is what a line of a conversation has a client send.
type sent struct {
	method     *method        // nil: the line names a frame
	frame      string         // header, body, heartbeat or raw
	args       map[string]any // of the method or the frame
	properties map[string]any // nil: the method has no content
	body       string
}

// parseSent reads a method, with content as in
//
//	basic.publish exchange=e mandatory | delivery-mode=2 | "body"
//
// or a frame's name and what it has.
func parseSent(line string) (sent, error) {
	p := parser{rest: line}
	word := p.word()
	s := sent{method: methods()[word]}
	if s.method == nil {
		s.frame = word
	}
	s.args = p.assignments()
	if p.eat('|') {
		s.properties = p.assignments()
		if p.eat('|') {
			s.body = p.body()
		}
	} else if p.peek() == '"' { // of a frame that has nothing else
		s.body = p.body()
	}
	if p.rest != "" {
		p.fail("do not understand the rest")
	}
	if s.method != nil {
		p.known(s.args, s.method.args)
	}
	if s.properties != nil {
		p.known(s.properties, properties())
	}
	return s, p.fault
}

// parser reads a line; a fault sticks.
type parser struct {
	rest  string
	fault error
}

func (p *parser) fail(format string, args ...any) {
	p.fault = cmpErr(p.fault, fmt.Errorf(format+" at %q", append(args, p.rest)...))
	p.rest = ""
}

// known refuses what args do not have.
func (p *parser) known(given map[string]any, args []argument) {
	left := len(given)
	for _, a := range args {
		if _, ok := given[a.name]; ok {
			left--
		}
	}
	if left > 0 {
		p.fault = cmpErr(p.fault, fmt.Errorf("%v has names that are not in %v", given, args))
	}
}

func (p *parser) peek() byte {
	p.rest = strings.TrimLeft(p.rest, " ")
	if p.rest == "" {
		return 0
	}
	return p.rest[0]
}

func (p *parser) eat(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// bare is what needs no quotes.
var bare = regexp.MustCompile(`^[-\w.$/*#+@]+`)

func (p *parser) word() string {
	p.peek()
	w := bare.FindString(p.rest)
	if w == "" {
		p.fail("want a word")
		return ""
	}
	p.rest = p.rest[len(w):]
	return w
}

// text is a word or a quoted string.
func (p *parser) text() string {
	if p.peek() != '"' {
		return p.word()
	}
	quoted, err := strconv.QuotedPrefix(p.rest)
	if err != nil {
		p.fail("want a string that is closed")
		return ""
	}
	p.rest = p.rest[len(quoted):]
	s, err := strconv.Unquote(quoted)
	p.fault = cmpErr(p.fault, err)
	return s
}

// body is a text, and *n if it is repeated.
func (p *parser) body() string {
	s := p.text()
	if p.eat('*') {
		n, err := strconv.Atoi(p.word())
		p.fault = cmpErr(p.fault, err)
		s = strings.Repeat(s, n)
	}
	return s
}

// assignments are name=value or name, for a bit.
func (p *parser) assignments() map[string]any {
	values := map[string]any{}
	for c := p.peek(); c != 0 && c != '|' && c != '"'; c = p.peek() {
		name := p.word()
		values[name] = ""
		if p.eat('=') {
			if p.peek() == '{' {
				values[name] = p.table()
			} else {
				values[name] = p.text()
			}
		}
	}
	return values
}

// table is {key:T=value …}.
func (p *parser) table() []pair {
	pairs := []pair{}
	if !p.eat('{') {
		p.fail("want {")
	}
	for p.fault == nil && !p.eat('}') {
		key := p.text()
		if !p.eat(':') {
			p.fail("want : and a type after the key %s", key)
		}
		pairs = append(pairs, pair{key, p.field()})
	}
	return pairs
}

// field is T=value, and V alone.
func (p *parser) field() field {
	typ := p.word()
	if len(typ) != 1 {
		p.fail("want a type of one letter")
		return field{}
	}
	f := field{typ: typ[0]}
	if !p.eat('=') {
		return f
	}
	switch f.typ {
	case 'F':
		f.v = p.table()
	case 'A':
		list := []field{}
		if !p.eat('[') {
			p.fail("want [")
		}
		for p.fault == nil && !p.eat(']') {
			list = append(list, p.field())
		}
		f.v = list
	default:
		f.v = p.text()
	}
	return f
}

// renderArgs writes what was received as a line would have it sent.
func renderArgs(args []argument, values []any) string {
	var b strings.Builder
	for i, a := range args {
		if a.name != "_" {
			fmt.Fprintf(&b, " %s=%s", a.name, renderValue(values[i]))
		}
	}
	return b.String()
}

func renderValue(v any) string {
	if pairs, ok := v.([]pair); ok {
		return renderTable(pairs)
	}
	return renderText(v.(string))
}

func renderText(s string) string {
	if s != "" && bare.FindString(s) == s {
		return s
	}
	return strconv.Quote(s)
}

func renderTable(pairs []pair) string {
	words := make([]string, len(pairs))
	for i, p := range pairs {
		words[i] = renderText(p.key) + ":" + renderField(p.field)
	}
	return "{" + strings.Join(words, " ") + "}"
}

func renderField(f field) string {
	typ := string(f.typ)
	switch v := f.v.(type) {
	case nil:
		return typ
	case []pair:
		return typ + "=" + renderTable(v)
	case []field:
		words := make([]string, len(v))
		for i, e := range v {
			words[i] = renderField(e)
		}
		return typ + "=[" + strings.Join(words, " ") + "]"
	}
	return typ + "=" + renderText(f.v.(string))
}

// renderBody shortens a body that repeats one octet.
func renderBody(s string) string {
	if len(s) > 64 && strings.Count(s, s[:1]) == len(s) {
		return fmt.Sprintf("%q*%d", s[:1], len(s))
	}
	return strconv.Quote(s)
}

// renderHeader reads a content header (section 4.2.6.1) and the body's size from it.
func renderHeader(payload []byte) (text string, size uint64, err error) {
	r := reader{b: payload}
	class, weight := r.integer(2), r.integer(2)
	size = r.integer(8)
	flags := r.integer(2)
	if class != 60 || weight != 0 || flags&3 != 0 {
		return "", 0, fmt.Errorf("content header of class %d with weight %d and flags %016b", class, weight, flags)
	}
	var b strings.Builder
	for i, p := range properties() {
		if flags>>(15-i)&1 == 1 {
			fmt.Fprintf(&b, " %s=%s", p.name, renderValue(r.arg(p.typ)))
		}
	}
	return b.String(), size, r.end()
}

// header encodes a content header of so large a body.
func header(size int, values map[string]any) ([]byte, error) {
	var flags uint64
	var list []byte
	for i, p := range properties() {
		v, given := values[p.name]
		if !given {
			continue
		}
		flags |= 1 << (15 - i)
		var err error
		if list, err = appendArg(list, p.typ, v); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	b := appendInteger([]byte{0, 60, 0, 0}, 8, uint64(size))
	return append(appendInteger(b, 2, flags), list...), nil
}

// frames are what is written for s on a channel.
func (s *sent) frames(channel uint16, frameMax int) ([]byte, error) {
	switch s.frame {
	case "raw":
		return []byte(s.body), nil
	case "heartbeat":
		return rawFrame(8, channel, s.body), nil
	case "body":
		return rawFrame(3, channel, s.body), nil
	case "header":
		size, _ := s.args["body-size"].(string)
		return headerFrame(channel, size, s.properties)
	case "":
		return s.methodFrames(channel, frameMax)
	}
	return nil, fmt.Errorf("%q is neither a method nor a frame", s.frame)
}

func headerFrame(channel uint16, size string, properties map[string]any) ([]byte, error) {
	var n int
	if _, err := fmt.Sscan(size, &n); err != nil {
		return nil, errors.New("header wants a body-size")
	}
	b, err := header(n, properties)
	return rawFrame(2, channel, string(b)), err
}

func (s *sent) methodFrames(channel uint16, frameMax int) ([]byte, error) {
	m := s.method
	payload, err := appendArgs(appendInteger(appendInteger(nil, 2, uint64(m.class)), 2, uint64(m.id)), m.args, s.args)
	if err != nil || s.properties == nil {
		return rawFrame(1, channel, string(payload)), err
	}
	h, err := header(len(s.body), s.properties)
	b := append(rawFrame(1, channel, string(payload)), rawFrame(2, channel, string(h))...)
	for rest := s.body; rest != ""; {
		n := min(len(rest), frameMax-8)
		b = append(b, rawFrame(3, channel, rest[:n])...)
		rest = rest[n:]
	}
	return b, err
}
