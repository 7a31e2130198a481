package interop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// method is one of the specification's, by its arguments in order.
type method struct {
	class, id uint16
	name      string
	args      []argument
}

// argument is a name and a type of AMQP 0-9-1 section 4.2.1. One that is named _ is
// reserved.
type argument struct{ name, typ string }

// methodTable is class reference 1.3 onwards with RabbitMQ's extensions. It is this
// test's own, so that a mistake in the broker's would show.
const methodTable = `
10.10 connection.start version-major:octet version-minor:octet server-properties:table mechanisms:longstr locales:longstr
10.11 connection.start-ok client-properties:table mechanism:shortstr response:longstr locale:shortstr
10.20 connection.secure challenge:longstr
10.21 connection.secure-ok response:longstr
10.30 connection.tune channel-max:short frame-max:long heartbeat:short
10.31 connection.tune-ok channel-max:short frame-max:long heartbeat:short
10.40 connection.open virtual-host:shortstr _:shortstr _:bit
10.41 connection.open-ok _:shortstr
10.50 connection.close reply-code:short reply-text:shortstr class-id:short method-id:short
10.51 connection.close-ok
10.60 connection.blocked reason:shortstr
10.61 connection.unblocked
10.70 connection.update-secret new-secret:longstr reason:shortstr
10.71 connection.update-secret-ok
20.10 channel.open _:shortstr
20.11 channel.open-ok _:longstr
20.20 channel.flow active:bit
20.21 channel.flow-ok active:bit
20.40 channel.close reply-code:short reply-text:shortstr class-id:short method-id:short
20.41 channel.close-ok
30.10 access.request realm:shortstr exclusive:bit passive:bit active:bit write:bit read:bit
30.11 access.request-ok ticket:short
40.10 exchange.declare _:short exchange:shortstr type:shortstr passive:bit durable:bit auto-delete:bit internal:bit no-wait:bit arguments:table
40.11 exchange.declare-ok
40.20 exchange.delete _:short exchange:shortstr if-unused:bit no-wait:bit
40.21 exchange.delete-ok
40.30 exchange.bind _:short destination:shortstr source:shortstr routing-key:shortstr no-wait:bit arguments:table
40.31 exchange.bind-ok
40.40 exchange.unbind _:short destination:shortstr source:shortstr routing-key:shortstr no-wait:bit arguments:table
40.51 exchange.unbind-ok
50.10 queue.declare _:short queue:shortstr passive:bit durable:bit exclusive:bit auto-delete:bit no-wait:bit arguments:table
50.11 queue.declare-ok queue:shortstr message-count:long consumer-count:long
50.20 queue.bind _:short queue:shortstr exchange:shortstr routing-key:shortstr no-wait:bit arguments:table
50.21 queue.bind-ok
50.30 queue.purge _:short queue:shortstr no-wait:bit
50.31 queue.purge-ok message-count:long
50.40 queue.delete _:short queue:shortstr if-unused:bit if-empty:bit no-wait:bit
50.41 queue.delete-ok message-count:long
50.50 queue.unbind _:short queue:shortstr exchange:shortstr routing-key:shortstr arguments:table
50.51 queue.unbind-ok
60.10 basic.qos prefetch-size:long prefetch-count:short global:bit
60.11 basic.qos-ok
60.20 basic.consume _:short queue:shortstr consumer-tag:shortstr no-local:bit no-ack:bit exclusive:bit no-wait:bit arguments:table
60.21 basic.consume-ok consumer-tag:shortstr
60.30 basic.cancel consumer-tag:shortstr no-wait:bit
60.31 basic.cancel-ok consumer-tag:shortstr
60.40 basic.publish _:short exchange:shortstr routing-key:shortstr mandatory:bit immediate:bit
60.50 basic.return reply-code:short reply-text:shortstr exchange:shortstr routing-key:shortstr
60.60 basic.deliver consumer-tag:shortstr delivery-tag:longlong redelivered:bit exchange:shortstr routing-key:shortstr
60.70 basic.get _:short queue:shortstr no-ack:bit
60.71 basic.get-ok delivery-tag:longlong redelivered:bit exchange:shortstr routing-key:shortstr message-count:long
60.72 basic.get-empty cluster-id:shortstr
60.80 basic.ack delivery-tag:longlong multiple:bit
60.90 basic.reject delivery-tag:longlong requeue:bit
60.100 basic.recover-async requeue:bit
60.110 basic.recover requeue:bit
60.111 basic.recover-ok
60.120 basic.nack delivery-tag:longlong multiple:bit requeue:bit
85.10 confirm.select no-wait:bit
85.11 confirm.select-ok
90.10 tx.select
90.11 tx.select-ok
90.20 tx.commit
90.21 tx.commit-ok
90.30 tx.rollback
90.31 tx.rollback-ok
`

// propertyTable is section 1.8's basic properties, from the highest flag down.
const propertyTable = `content-type:shortstr content-encoding:shortstr headers:table delivery-mode:octet priority:octet ` +
	`correlation-id:shortstr reply-to:shortstr expiration:shortstr message-id:shortstr timestamp:longlong type:shortstr ` +
	`user-id:shortstr app-id:shortstr cluster-id:shortstr`

// contentMethods are followed by a header and body frames.
var contentMethods = []string{"basic.publish", "basic.return", "basic.deliver", "basic.get-ok"}

// methods are all of methodTable by name, and by class and id.
var methods = sync.OnceValue(func() map[string]*method {
	all := make(map[string]*method)
	for line := range strings.Lines(strings.TrimSpace(methodTable)) {
		words := strings.Fields(line)
		m := &method{name: words[1], args: arguments(words[2:])}
		if _, err := fmt.Sscanf(words[0], "%d.%d", &m.class, &m.id); err != nil {
			panic(err)
		}
		all[m.name], all[words[0]] = m, m
	}
	return all
})

func arguments(words []string) []argument {
	args := make([]argument, len(words))
	for i, w := range words {
		args[i].name, args[i].typ, _ = strings.Cut(w, ":")
	}
	return args
}

// properties are propertyTable's.
var properties = sync.OnceValue(func() []argument { return arguments(strings.Fields(propertyTable)) })

// replies names the methods that answer m, the last of a request that waits.
func (m *method) replies() []string {
	switch {
	case m.name == "basic.get":
		return []string{"basic.get-ok", "basic.get-empty"}
	case methods()[m.name+"-ok"] != nil:
		return []string{m.name + "-ok"}
	}
	return nil
}

// field is a value in a table or an array: a type of RabbitMQ's list and what it holds,
// which is a []pair for F, a []field for A, nil for V and text for all others.
type field struct {
	typ byte
	v   any
}

type pair struct {
	key string
	field
}

// appendArgs encodes values, of which those that are not given are zero. A bit is "" if
// it is set.
func appendArgs(b []byte, args []argument, values map[string]any) ([]byte, error) {
	var bits uint // of the octet that the last bit went to
	for i, a := range args {
		v, given := values[a.name]
		if a.typ == "bit" {
			if i == 0 || args[i-1].typ != "bit" {
				bits, b = 0, append(b, 0)
			}
			if given {
				b[len(b)-1] |= 1 << bits
			}
			bits++
			continue
		}
		var err error
		if b, err = appendArg(b, a.typ, v); err != nil {
			return nil, fmt.Errorf("%s: %w", a.name, err)
		}
	}
	return b, nil
}

func appendArg(b []byte, typ string, v any) ([]byte, error) {
	if typ == "table" {
		pairs, _ := v.([]pair)
		return appendTable(b, pairs)
	}
	s, _ := v.(string)
	switch typ {
	case "shortstr":
		if len(s) > math.MaxUint8 {
			return nil, errors.New("longer than a short string")
		}
		return append(append(b, byte(len(s))), s...), nil
	case "longstr":
		return appendLongstr(b, s), nil
	}
	if s == "" {
		s = "0"
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return appendInteger(b, map[string]int{"octet": 1, "short": 2, "long": 4, "longlong": 8}[typ], n), err
}

func appendLongstr(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// appendInteger appends the low size octets of n.
func appendInteger(b []byte, size int, n uint64) []byte {
	return append(b, binary.BigEndian.AppendUint64(nil, n)[8-size:]...)
}

func appendTable(b []byte, pairs []pair) ([]byte, error) {
	var inner []byte
	var err error
	for _, p := range pairs {
		inner = append(append(inner, byte(len(p.key))), p.key...)
		if inner, err = appendField(inner, p.field); err != nil {
			return nil, fmt.Errorf("%s: %w", p.key, err)
		}
	}
	return appendLongstr(b, string(inner)), nil
}

// integerTypes are the table types that are an integer of so many octets.
var integerTypes = map[byte]int{'b': 1, 'B': 1, 's': 2, 'u': 2, 'I': 4, 'i': 4, 'l': 8, 'L': 8, 'T': 8}

func appendField(b []byte, f field) ([]byte, error) {
	b = append(b, f.typ)
	switch v := f.v.(type) {
	case nil:
		return b, nil
	case []pair:
		return appendTable(b, v)
	case []field:
		var inner []byte
		var err error
		for _, e := range v {
			if inner, err = appendField(inner, e); err != nil {
				return nil, err
			}
		}
		return appendLongstr(b, string(inner)), nil
	}
	s := f.v.(string)
	switch f.typ {
	case 'S', 'x':
		return appendLongstr(b, s), nil
	case 't':
		return append(b, map[string]byte{"true": 1}[s]), nil
	case 'f':
		n, err := strconv.ParseFloat(s, 32)
		return appendInteger(b, 4, uint64(math.Float32bits(float32(n)))), err
	case 'd':
		n, err := strconv.ParseFloat(s, 64)
		return appendInteger(b, 8, math.Float64bits(n)), err
	case 'D':
		var scale uint8
		var n uint32
		_, err := fmt.Sscanf(s, "%d/%d", &n, &scale)
		return binary.BigEndian.AppendUint32(append(b, scale), n), err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || integerTypes[f.typ] == 0 {
		return nil, fmt.Errorf("%q is no value of table type %c", s, f.typ)
	}
	return appendInteger(b, integerTypes[f.typ], uint64(n)), nil
}

// reader takes apart what was received; a fault sticks.
type reader struct {
	b     []byte
	fault error
}

func (r *reader) take(n int) []byte {
	if r.fault != nil || n > len(r.b) {
		r.fault = cmpErr(r.fault, errors.New("ends too early"))
		return make([]byte, min(n, 8))
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func cmpErr(first, then error) error {
	if first != nil {
		return first
	}
	return then
}

func (r *reader) integer(size int) uint64 {
	var b [8]byte
	copy(b[8-size:], r.take(size))
	return binary.BigEndian.Uint64(b[:])
}

func (r *reader) longstr() string { return string(r.take(int(r.integer(4)))) }

// args decodes what appendArgs encodes; bits are "true" and "false".
func (r *reader) args(args []argument) []any {
	values := make([]any, len(args))
	var bits, n uint
	for i, a := range args {
		if a.typ != "bit" {
			values[i] = r.arg(a.typ)
			continue
		}
		if i == 0 || args[i-1].typ != "bit" {
			bits, n = uint(r.integer(1)), 0
		}
		values[i] = strconv.FormatBool(bits>>n&1 == 1)
		n++
	}
	return values
}

func (r *reader) arg(typ string) any {
	switch typ {
	case "shortstr":
		return string(r.take(int(r.integer(1))))
	case "longstr":
		return r.longstr()
	case "table":
		return r.table()
	}
	return strconv.FormatUint(r.integer(map[string]int{"octet": 1, "short": 2, "long": 4, "longlong": 8}[typ]), 10)
}

// table returns the pairs by key: their order carries no meaning.
func (r *reader) table() []pair {
	inner := reader{b: []byte(r.longstr()), fault: r.fault}
	pairs := []pair{}
	for inner.fault == nil && len(inner.b) > 0 {
		key := string(inner.take(int(inner.integer(1))))
		pairs = append(pairs, pair{key, inner.field()})
	}
	r.fault = inner.fault
	slices.SortStableFunc(pairs, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	return pairs
}

func (r *reader) field() field {
	f := field{typ: byte(r.integer(1))}
	switch f.typ {
	case 'V':
	case 'F':
		f.v = r.table()
	case 'A':
		inner := reader{b: []byte(r.longstr()), fault: r.fault}
		list := []field{}
		for inner.fault == nil && len(inner.b) > 0 {
			list = append(list, inner.field())
		}
		f.v, r.fault = list, inner.fault
	default:
		f.v = r.scalar(f.typ)
	}
	return f
}

func (r *reader) scalar(typ byte) string {
	switch typ {
	case 'S', 'x':
		return r.longstr()
	case 't':
		return strconv.FormatBool(r.integer(1) != 0)
	case 'f':
		return strconv.FormatFloat(float64(math.Float32frombits(uint32(r.integer(4)))), 'g', -1, 32)
	case 'd':
		return strconv.FormatFloat(math.Float64frombits(r.integer(8)), 'g', -1, 64)
	case 'D':
		scale := r.integer(1)
		return fmt.Sprintf("%d/%d", r.integer(4), scale)
	case 'b':
		return strconv.Itoa(int(int8(r.integer(1))))
	case 's':
		return strconv.Itoa(int(int16(r.integer(2))))
	case 'I':
		return strconv.Itoa(int(int32(r.integer(4))))
	case 'l', 'L': // RabbitMQ reads L as signed too
		return strconv.FormatInt(int64(r.integer(8)), 10)
	}
	if size := integerTypes[typ]; size > 0 {
		return strconv.FormatUint(r.integer(size), 10)
	}
	r.fault = cmpErr(r.fault, fmt.Errorf("unknown table type %q", typ))
	return ""
}

// end is the fault that was found, or that there is more than there should be.
func (r *reader) end() error {
	if r.fault == nil && len(r.b) > 0 {
		return fmt.Errorf("%d octets too many", len(r.b))
	}
	return r.fault
}
