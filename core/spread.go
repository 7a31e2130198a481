package core

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/batonmq/baton/core/field"
)

// Exchanges that spread their messages hand each to one destination: x-random to any of them, x-consistent-hash to that which the message's
// hash says. A destination is a queue or an exchange; several bindings to it are one destination.

// The kinds of exchanges that spread.
const (
	kindRandom = "x-random"
	kindHash   = "x-consistent-hash"
)

// destination is where a spreading exchange can hand a message.
type destination struct {
	seed     uint64 // from its name
	weight   float64
	bindings []*binding
}

// destinations is immutable but for adding.
type destinations []destination

func (ds destinations) index(seed uint64) int {
	return slices.IndexFunc(ds, func(d destination) bool { return d.seed == seed })
}

func (ds destinations) with(b *binding) destinations {
	next := slices.Clone(ds)
	if i := next.index(b.seed()); i >= 0 {
		next[i].bindings = slices.Clone(next[i].bindings)
	}
	return next.adding(b)
}

// adding is with in place.
func (ds destinations) adding(b *binding) destinations {
	i := ds.index(b.seed())
	if i < 0 {
		i = len(ds)
		ds = append(ds, destination{seed: b.seed()})
	}
	d := &ds[i]
	d.bindings = append(d.bindings, b)
	d.weight += b.declared.weight
	return ds
}

func (ds destinations) without(b *binding) destinations {
	next := slices.Clone(ds)
	i := next.index(b.seed())
	if i < 0 {
		return next
	}
	d := &next[i]
	if d.bindings = removed(d.bindings, b); len(d.bindings) == 0 {
		return slices.Delete(next, i, i+1)
	}
	d.weight = 0
	for _, left := range d.bindings {
		d.weight += left.declared.weight
	}
	return next
}

// seed stands for the binding's destination, whatever process asks.
func (b *binding) seed() uint64 {
	if b.queue != nil {
		return hash("q", b.queue.spec.Name)
	}
	return hash("x", b.exchange.spec.Name)
}

// hash is FNV-1a of 64 bits, mixed so that every bit depends on every byte. What it returns is on record nowhere, but a message must go where
// its like went before a restart: it may never change.
func hash(kind, s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for _, part := range [...]string{kind, s} {
		for i := range len(part) {
			h = (h ^ uint64(part[i])) * 0x100000001b3
		}
	}
	return mix(h)
}

// mix is the finalizer of SplitMix64.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// randomRouter follows a binding of any destination, each as likely as the others.
type randomRouter struct{ all destinations }

func (r randomRouter) match(_ *Message, to []*binding, _ *pace) []*binding {
	if len(r.all) == 0 {
		return to
	}
	return append(to, r.all[rand.IntN(len(r.all))].bindings[0])
}

func (r randomRouter) with(b *binding) router    { return randomRouter{all: r.all.with(b)} }
func (r randomRouter) without(b *binding) router { return randomRouter{all: r.all.without(b)} }
func (r randomRouter) adding(b *binding) router  { return randomRouter{all: r.all.adding(b)} }

// hashRouter follows a binding of the destination that a message's hash chooses, by weighted rendezvous: each destination draws a number from
// the message's hash and its own, exponentially distributed at the rate of its weight, and the lowest has it. So each gets a share of the
// hashes in proportion to its weight; one more destination takes its share from all others and nothing else moves, and so it is when one
// goes. The choice depends on names and weights alone, not on the order in which they came. It costs a few nanoseconds for each destination.
//
// Weights are binding keys, and those of a destination's bindings add up.
type hashRouter struct {
	all  destinations
	even bool // all weights are equal: the draws need no logarithm to be compared
	of   hashed
}

func (r hashRouter) next(all destinations) router {
	r.all = all
	r.even = !slices.ContainsFunc(all, func(d destination) bool { return d.weight != all[0].weight })
	return r
}

func (r hashRouter) with(b *binding) router    { return r.next(r.all.with(b)) }
func (r hashRouter) without(b *binding) router { return r.next(r.all.without(b)) }
func (r hashRouter) adding(b *binding) router  { return r.next(r.all.adding(b)) }

func (r hashRouter) match(m *Message, to []*binding, _ *pace) []*binding {
	if len(r.all) == 0 {
		return to
	}
	return append(to, r.all[r.choose(r.of.hash(m))].bindings[0])
}

func (r hashRouter) choose(h uint64) (chosen int) {
	if r.even {
		highest := uint64(0)
		for i := range r.all {
			if draw := mix(h ^ r.all[i].seed); draw > highest {
				chosen, highest = i, draw
			}
		}
		return chosen
	}
	lowest := math.Inf(1)
	for i := range r.all {
		const unit = 1.0 / (1 << 53)
		uniform, weight := (float64(mix(h^r.all[i].seed)>>11)+0.5)*unit, r.all[i].weight
		if 1-uniform >= lowest*weight {
			continue // 1-u ≤ -ln u, and a logarithm costs ten times as much as all else here
		}
		if draw := -math.Log(uniform) / weight; draw < lowest {
			chosen, lowest = i, draw
		}
	}
	return chosen
}

// hashed is what of a message an exchange hashes: a header, a property, or the routing key.
type hashed struct {
	header   string
	property field.Flags // 0: none
}

// The arguments of an exchange that hashes, and the properties that it can.
const (
	argHashHeader   = "hash-header"
	argHashProperty = "hash-property"
)

// parseHashed reads the arguments, or says in the words of RabbitMQ's plugin what is wrong with them.
func parseHashed(args field.Table) (h hashed, problem string) {
	header, hasHeader := args.Get(argHashHeader)
	property, hasProperty := args.Get(argHashProperty)
	if hasHeader && hasProperty {
		return h, "hash-header and hash-property are mutually exclusive"
	}
	if hasHeader {
		if h.header, hasHeader = header.(string); !hasHeader || h.header == "" {
			return h, "Unsupported header: " + field.Text(header)
		}
	}
	if hasProperty {
		switch property {
		case "message_id":
			h.property = field.MessageID
		case "correlation_id":
			h.property = field.CorrelationID
		case "timestamp":
			h.property = field.Time
		default:
			return h, "Unsupported property: " + field.Text(property)
		}
	}
	return h, ""
}

// hash is the message's. All that lack what is hashed have the same.
func (h hashed) hash(m *Message) uint64 {
	switch {
	case h.property != 0:
		content, _ := field.FindProperty(m.Props, h.property)
		return hash("", string(content))
	case h.header != "":
		if table, ok := field.FindProperty(m.Props, field.Headers); ok {
			if value, _, ok := field.RawTable(table).Find(h.header); ok {
				return hash("", field.Text(value.Value()))
			}
		}
		return hash("", "")
	}
	return hash("", m.Key)
}

// parseWeight reads the key of a binding to an exchange that hashes, or says in the words of RabbitMQ's plugin what is wrong with it.
func parseWeight(key string) (weight float64, problem string) {
	n, err := strconv.ParseInt(key, 10, 32)
	switch {
	case err != nil:
		return 0, "The binding key must be an integer: " + erlangBinary(key)
	case n < 1:
		return 0, "The binding key must be greater than 0"
	}
	return float64(n), ""
}

// erlangBinary prints a string as RabbitMQ prints names that it does not understand.
func erlangBinary(s string) string {
	out := []byte("<<")
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			out = out[:2]
			for j := range len(s) {
				out = append(strconv.AppendUint(out, uint64(s[j]), 10), ',')
			}
			return string(out[:len(out)-1]) + ">>"
		}
	}
	if s != "" {
		out = strconv.AppendQuote(out, s)
	}
	return string(append(out, ">>"...))
}
