package core

import (
	"fmt"
	"sync/atomic"

	"github.com/batonmq/baton/core/field"
)

// ExchangeSpec asks for an exchange.
type ExchangeSpec struct {
	Name       string
	Kind       string // direct, fanout, topic, headers, x-random, x-consistent-hash or x-delayed-message
	Durable    bool   // outlives the process
	AutoDelete bool   // deleted when its last binding goes
	Internal   bool   // not published to by clients
	Passive    bool   // only ask whether it exists
	NoWait     bool   // return before it is durable
	Args       field.Table
}

// BindingSpec names one edge: all its fields but NoWait make its identity.
type BindingSpec struct {
	Source       string
	Dest         string
	DestExchange bool // Dest is an exchange
	Key          string
	Args         field.Table
	NoWait       bool
}

// Exchange routes messages to queues and exchanges.
type Exchange struct {
	vhost    *VHost
	spec     ExchangeSpec
	settings atomic.Pointer[exchangeSettings] // nil: none. It changes under vhost.mu
	governed atomic.Pointer[governed]         // the policies that apply; likewise

	table atomic.Pointer[router]
	gone  atomic.Bool // it was deleted

	unrouted atomic.Pointer[unrouted] // what reached nobody; nil: all did

	delays   *delays // of one that may keep messages back; else nil
	byHeader bool    // it keeps those back whose headers ask for it

	// guarded by vhost.mu
	outbound map[string]*binding // by identity
	inbound  map[string]*binding
	bound    bool // had a binding once: auto-delete applies
}

const argAlternate = "alternate-exchange"

// exchangeSettings is what an exchange's arguments, and the policies that apply to it, amount to. They do not change once an exchange has
// them: a new policy gives it new ones.
type exchangeSettings struct {
	alternate string // where messages go that match no binding; "" for nowhere

	dedupWindow int64 // milliseconds for which an id of a message is remembered; 0: however old it is
	dedupSize   int64 // how many are; 0: dedupSize, if there is a window
}

// parseExchangeArgs returns what an exchange's arguments amount to, nil for a plain exchange.
func parseExchangeArgs(args field.Table) *exchangeSettings {
	var st exchangeSettings
	st.alternate, _ = stringArg(args, argAlternate)
	if v, ok := args.Get(argDedupWindow); ok {
		_ = readMillis(&st.dedupWindow, v) // what it may not be it is not: checkDedupArgs
	}
	if v, ok := args.Get(argDedupSize); ok {
		if n, problem := readNumber(v); problem == "" {
			st.dedupSize = n
		}
	}
	if st == (exchangeSettings{}) {
		return nil
	}
	return &st
}

// checkExchangeArg refuses an argument that names an exchange and is not text.
func checkExchangeArg(op, object string, args field.Table, arg string) error {
	v, ok := args.Get(arg)
	if _, text := v.(string); !ok || text {
		return nil
	}
	return &Error{
		Kind: Invalid, Op: op, Name: object,
		Text: fmt.Sprintf("invalid type '%s' for arg '%s' in %s", field.TypeName(v), arg, object),
	}
}

// newExchange makes an exchange without bindings. Its kind is known to exist.
func newExchange(v *VHost, spec ExchangeSpec) *Exchange {
	x := &Exchange{vhost: v, spec: spec, outbound: map[string]*binding{}, inbound: map[string]*binding{}}
	x.settings.Store(parseExchangeArgs(spec.Args))
	v.dedups.note(x.dedupLimits())
	table := newRouter(&spec)
	x.table.Store(&table)
	x.byHeader = spec.Kind == kindDelayed
	if x.byHeader || spec.Name == TopicExchange {
		x.delays = newDelays(x)
	}
	return x
}

// attach and detach put an edge into the routing table. vhost.mu is held.
func (x *Exchange) attach(id string, b *binding) {
	x.list(id, b)
	next := (*x.table.Load()).with(b)
	x.table.Store(&next)
}

// list notes an edge at both of its ends.
func (x *Exchange) list(id string, b *binding) {
	x.bound = true
	x.outbound[id] = b
	if b.queue != nil {
		b.queue.inbound[id] = b
	} else {
		b.exchange.inbound[id] = b
	}
}

func (x *Exchange) detach(id string, b *binding) {
	delete(x.outbound, id)
	if b.queue != nil {
		delete(b.queue.inbound, id)
	} else {
		delete(b.exchange.inbound, id)
	}
	next := (*x.table.Load()).without(b)
	x.table.Store(&next)
}

// equivalent compares a redeclaration with what exists, in RabbitMQ's order: type, durable, auto_delete, internal, then the one
// argument that exchanges check.
func (x *Exchange) equivalent(spec ExchangeSpec) error {
	d := difference{op: "declare", object: x.vhost.exchangeName(x.spec.Name)}
	d.compare("type", spec.Kind, x.spec.Kind)
	d.compare("durable", spec.Durable, x.spec.Durable)
	d.compare("auto_delete", spec.AutoDelete, x.spec.AutoDelete)
	d.compare("internal", spec.Internal, x.spec.Internal)
	d.compareArg(argAlternate, spec.Args, x.spec.Args)
	d.compareArg(argDedupWindow, spec.Args, x.spec.Args)
	d.compareArg(argDedupSize, spec.Args, x.spec.Args)
	return d.err()
}
