package core

import (
	"fmt"
	"slices"

	"github.com/batonmq/baton/core/field"
)

// router is the routing table of one exchange: an immutable value that publishers read without locks. Binding and unbinding make the
// next one.
type router interface {
	// match appends the bindings that m follows. One binding is appended at most once.
	match(m *Message, to []*binding, p *pace) []*binding
	with(b *binding) router
	without(b *binding) router
	// adding is with for a table that no publisher has seen yet: it may change what both tables share.
	adding(b *binding) router
}

// binding is one edge from an exchange to a queue or to another exchange.
type binding struct {
	key          string
	source       *Exchange
	queue        *Queue        // nil when the destination is an exchange
	exchange     *Exchange     // nil when the destination is a queue
	declared     *declared     // nil of a subscription: there may be very many of them
	subscription *subscription // nil of what is declared
}

// declared is what a binding has that a client has made as one. It is identified by all of its spec.
type declared struct {
	spec    BindingSpec
	headers headersMatch
	weight  float64 // of a binding to an exchange that hashes
	durable bool
}

// newRouter returns the empty table of an exchange whose spec has been checked. More kinds are more cases here, and in checkKind.
func newRouter(spec *ExchangeSpec) router {
	switch spec.routing() {
	case kindFanout:
		return fanoutRouter{}
	case kindTopic:
		return topicRouter{}
	case kindHeaders:
		return headersRouter{}
	case kindRandom:
		return randomRouter{}
	case kindHash:
		of, _ := parseHashed(spec.Args)
		return hashRouter{of: of}
	}
	return directRouter{}
}

// The kinds of exchanges that AMQP 0-9-1 knows.
const (
	kindDirect  = "direct"
	kindFanout  = "fanout"
	kindTopic   = "topic"
	kindHeaders = "headers"
)

func isKind(kind string) bool {
	switch kind {
	case kindDirect, kindFanout, kindTopic, kindHeaders, kindRandom, kindHash, kindDelayed:
		return true
	}
	return false
}

// checkKind refuses a kind that is not known.
func checkKind(op, object, kind string) error {
	if isKind(kind) {
		return nil
	}
	return &Error{Kind: Invalid, Op: op, Name: object, Text: fmt.Sprintf("unknown exchange type '%s'", kind)}
}

// checkKindArgs refuses arguments that the kind has no use for.
func (spec *ExchangeSpec) checkKindArgs(op, object string) error {
	for arg, read := range map[string]func(any) string{
		argDedupWindow: func(v any) string { return readMillis(new(int64), v) },
		argDedupSize:   func(v any) string { _, problem := readNumber(v); return problem },
	} {
		if v, ok := spec.Args.Get(arg); ok {
			if problem := read(v); problem != "" {
				return &Error{Kind: Invalid, Op: op, Name: object, Text: fmt.Sprintf("invalid arg '%s' for %s: %s", arg, object, problem)}
			}
		}
	}
	problem := ""
	kind := spec.routing()
	if spec.Kind == kindDelayed {
		if kind == "" || kind == kindDelayed {
			problem = "Invalid argument, 'x-delayed-type' must be an existing exchange type"
		} else if err := checkKind(op, object, kind); err != nil {
			return err
		}
	}
	if kind == kindHash {
		_, problem = parseHashed(spec.Args)
	}
	if problem == "" {
		return nil
	}
	return &Error{Kind: Invalid, Op: op, Name: object, Text: problem}
}

// parse reads what the source's kind makes of the binding, or says what is wrong with that.
func (d *declared) parse(kind string) (problem string) {
	switch kind {
	case kindHeaders:
		var ok bool
		if d.headers, ok = parseHeadersMatch(d.spec.Args); !ok {
			mode, _ := d.spec.Args.Get("x-match")
			return invalidMatch(mode)
		}
	case kindHash:
		d.weight, problem = parseWeight(d.spec.Key)
	}
	return problem
}

// directRouter follows the bindings whose key equals the routing key (AMQP 0-9-1, 3.1.3.1).
type directRouter struct{ keys pmap[[]*binding] }

func (r directRouter) match(m *Message, to []*binding, _ *pace) []*binding {
	found, _ := r.keys.get(m.Key)
	to = append(to, found...)
	if m.Keys != nil {
		for _, key := range m.Keys {
			found, _ = r.keys.get(key)
			to = append(to, found...)
		}
		to = uniqueBindings(to)
	}
	return to
}

func (r directRouter) with(b *binding) router {
	old, _ := r.keys.get(b.key)
	return directRouter{keys: r.keys.with(b.key, appended(old, b))}
}

func (r directRouter) adding(b *binding) router {
	at := r.keys.at(b.key)
	*at = append(*at, b)
	return r
}

func (r directRouter) without(b *binding) router {
	old, _ := r.keys.get(b.key)
	if left := removed(old, b); len(left) > 0 {
		return directRouter{keys: r.keys.with(b.key, left)}
	}
	return directRouter{keys: r.keys.without(b.key)}
}

// fanoutRouter follows every binding (AMQP 0-9-1, 3.1.3.2).
type fanoutRouter struct{ all []*binding }

func (r fanoutRouter) match(_ *Message, to []*binding, _ *pace) []*binding {
	return append(to, r.all...)
}

func (r fanoutRouter) with(b *binding) router {
	return fanoutRouter{all: appended(r.all, b)}
}

func (r fanoutRouter) adding(b *binding) router {
	return fanoutRouter{all: append(r.all, b)}
}

func (r fanoutRouter) without(b *binding) router {
	return fanoutRouter{all: removed(r.all, b)}
}

// uniqueBindings drops repeated bindings, in place: those that several keys of a message lead to.
func uniqueBindings(list []*binding) []*binding {
	seen := make(map[*binding]struct{}, len(list))
	return slices.DeleteFunc(list, func(b *binding) bool {
		_, again := seen[b]
		seen[b] = struct{}{}
		return again
	})
}

// appended and removed return new slices: the old one may be in a reader's hands.
func appended(list []*binding, b *binding) []*binding { return append(slices.Clip(list), b) }

func removed(list []*binding, b *binding) []*binding {
	return slices.DeleteFunc(slices.Clone(list), func(o *binding) bool { return o == b })
}

// headersRouter follows the bindings whose arguments match the message's headers (AMQP 0-9-1, 3.1.3.4). Every binding is looked at:
// the cost grows with their number, as in every broker.
type headersRouter struct{ all []*binding }

func (r headersRouter) with(b *binding) router {
	return headersRouter{all: appended(r.all, b)}
}

func (r headersRouter) adding(b *binding) router {
	return headersRouter{all: append(r.all, b)}
}

func (r headersRouter) without(b *binding) router {
	return headersRouter{all: removed(r.all, b)}
}

func (r headersRouter) match(m *Message, to []*binding, _ *pace) []*binding {
	if len(r.all) == 0 {
		return to
	}
	var headers field.Table
	if sum, err := field.CheckProperties(m.Props); err == nil && len(sum.Headers) > 0 {
		headers, _, _ = field.ParseTable(sum.Headers) // CheckProperties has checked the table too
	}
	for _, b := range r.all {
		if b.declared.headers.matches(headers) {
			to = append(to, b)
		}
	}
	return to
}

// headersMatch is a headers binding's arguments, parsed once when it is made.
type headersMatch struct {
	any     bool // x-match any or any-with-x: one match is enough
	entries []field.Field
}

// invalidMatch is what RabbitMQ says of an x-match that it does not know.
func invalidMatch(mode any) string {
	if text, ok := mode.(string); ok {
		return fmt.Sprintf(`Invalid x-match field value <<"%s">>; expected all, any, all-with-x, or any-with-x`, text)
	}
	return fmt.Sprintf("Invalid x-match field type %s (value %v); expected longstr", field.TypeName(mode), mode)
}

// parseHeadersMatch reads x-match (all, any, all-with-x, any-with-x; all when absent) and keeps the arguments to compare: those that
// begin with x- only in the with-x modes.
func parseHeadersMatch(args field.Table) (headersMatch, bool) {
	mode, withX := "all", false
	if v, ok := args.Get("x-match"); ok {
		if mode, ok = v.(string); !ok {
			return headersMatch{}, false
		}
	}
	switch mode {
	case "all", "any":
	case "all-with-x", "any-with-x":
		withX = true
	default:
		return headersMatch{}, false
	}
	h := headersMatch{any: mode == "any" || mode == "any-with-x"}
	for _, f := range args {
		if f.Key == "x-match" || !withX && len(f.Key) >= 2 && f.Key[:2] == "x-" {
			continue
		}
		h.entries = append(h.entries, f)
	}
	return h, true
}

func (h *headersMatch) matches(headers field.Table) bool {
	for _, e := range h.entries {
		v, ok := headers.Get(e.Key)
		// A void argument asks only that the header is there.
		if ok = ok && (e.Value == nil || field.Equal(e.Value, v)); ok == h.any {
			return ok
		}
	}
	return !h.any
}
