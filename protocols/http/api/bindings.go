package api

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/batonmq/baton/core"
)

// binding is what RabbitMQ tells of one.
type binding struct {
	Source          string         `json:"source"`
	VHost           string         `json:"vhost"`
	Destination     string         `json:"destination"`
	DestinationType string         `json:"destination_type"`
	RoutingKey      string         `json:"routing_key"`
	Arguments       map[string]any `json:"arguments"`
	PropertiesKey   string         `json:"properties_key"`
}

// aBinding is a binding in a list. It has no name.
type aBinding struct {
	vhost string
	core.BindingSpec
}

var _ item = (*aBinding)(nil)

func (b *aBinding) name() string { return "" }

// row implements item.
func (b *aBinding) row(*call) any { return bindingOf(b.vhost, &b.BindingSpec) }

// The types of destination.
const (
	toQueue    = "queue"
	toExchange = "exchange"
)

func destinationType(b *core.BindingSpec) string {
	if b.DestExchange {
		return toExchange
	}
	return toQueue
}

func bindingOf(vhost string, b *core.BindingSpec) binding {
	return binding{
		Source: b.Source, VHost: vhost, Destination: b.Dest, DestinationType: destinationType(b), RoutingKey: b.Key,
		Arguments: object(b.Args), PropertiesKey: propertiesKey(b),
	}
}

// bindings lists what all yields in RabbitMQ's order.
func bindings(vhost string, all iter.Seq[core.BindingSpec]) list {
	var found []*aBinding
	for spec := range all {
		found = append(found, &aBinding{vhost, spec})
	}
	slices.SortFunc(found, func(a, b *aBinding) int {
		n := cmp.Or(strings.Compare(a.Source, b.Source), strings.Compare(destinationType(&a.BindingSpec), destinationType(&b.BindingSpec)),
			strings.Compare(a.Dest, b.Dest), strings.Compare(a.Key, b.Key))
		if n == 0 {
			n = strings.Compare(propertiesKey(&a.BindingSpec), propertiesKey(&b.BindingSpec))
		}
		return n
	})
	l := make(list, len(found))
	for i, b := range found {
		l[i] = b
	}
	return l
}

func listBindings(c *call) (any, error) {
	vhosts, err := c.vhosts()
	if err != nil {
		return nil, err
	}
	l := list{}
	for i := range vhosts {
		l = append(l, bindings(vhosts[i].Name, c.primary.Broker.Bindings(vhosts[i].Name))...)
	}
	return l, nil
}

func listBindingsOfVHost(c *call) (any, error) {
	if err := c.looksInto(); err != nil {
		return nil, err
	}
	vhost := c.names["vhost"]
	return bindings(vhost, c.primary.Broker.Bindings(vhost)), nil
}

// The lists of what does not exist are empty, as in RabbitMQ.

func listBindingsOfQueue(c *call) (any, error) {
	if err := c.looksInto(); err != nil {
		return nil, err
	}
	q := c.primary.Broker.Queue(c.names["vhost"], c.names["queue"])
	if q == nil {
		return list{}, nil
	}
	return bindings(q.VHost(), q.Bindings()), nil
}

func listBindingsFrom(c *call) (any, error) { return c.bindingsOf((*core.Exchange).Outbound) }

func listBindingsTo(c *call) (any, error) { return c.bindingsOf((*core.Exchange).Inbound) }

func (c *call) bindingsOf(end func(*core.Exchange) iter.Seq[core.BindingSpec]) (any, error) {
	if err := c.looksInto(); err != nil {
		return nil, err
	}
	x := c.exchange("exchange")
	if x == nil {
		return list{}, nil
	}
	return bindings(x.VHost(), end(x)), nil
}

func listBindingsBetween(c *call) (any, error) {
	if err := c.looksInto(); err != nil {
		return nil, err
	}
	return bindings(c.names["vhost"], c.between()), nil
}

// between yields the bindings between the two objects of the path, none if one of
// them does not exist. It looks at those of the destination, which has fewer as a
// rule.
func (c *call) between() iter.Seq[core.BindingSpec] {
	all := func(func(core.BindingSpec) bool) {}
	x := c.exchange("exchange")
	if x == nil {
		return all
	}
	if name, ok := c.names["queue"]; ok {
		if q := c.primary.Broker.Queue(c.names["vhost"], name); q != nil {
			return from(x, q.Bindings())
		}
		return all
	}
	if to := c.exchange("destination"); to != nil {
		return from(x, to.Inbound())
	}
	return all
}

// from yields those bindings that have this source.
func from(x *core.Exchange, all iter.Seq[core.BindingSpec]) iter.Seq[core.BindingSpec] {
	return func(yield func(core.BindingSpec) bool) {
		for spec := range all {
			if spec.Source == x.Name() && !yield(spec) {
				return
			}
		}
	}
}

// theBinding is the binding of the path.
func (c *call) theBinding() (*core.BindingSpec, error) {
	if err := c.looksInto(); err != nil {
		return nil, err
	}
	props := c.names["props"]
	for spec := range c.between() {
		if propertiesKey(&spec) == props || spec.Key == props && len(spec.Args) == 0 {
			return &spec, nil
		}
	}
	return nil, noObject()
}

func getBinding(c *call) (any, error) {
	spec, err := c.theBinding()
	if err != nil {
		return nil, err
	}
	return bindingOf(c.names["vhost"], spec), nil
}
