package api

import (
	"slices"
	"strings"

	"github.com/batonmq/baton/core"
)

// exchange is what RabbitMQ tells of one. What passes through exchanges is not
// counted, but for what reaches nobody.
type exchange struct {
	Name       string         `json:"name"`
	VHost      string         `json:"vhost"`
	Type       string         `json:"type"`
	Durable    bool           `json:"durable"`
	AutoDelete bool           `json:"auto_delete"`
	Internal   bool           `json:"internal"`
	Arguments  map[string]any `json:"arguments"`
	Policy     *string        `json:"policy"`
	Performer  string         `json:"user_who_performed_action"`
	Delayed    int            `json:"messages_delayed,omitempty"` // that it keeps back
	Unroutable *unroutable    `json:"unroutable,omitempty"`       // Baton's own
}

// unroutable is what was published to an exchange and reached nobody.
type unroutable struct {
	Messages   uint64 `json:"messages"`
	Key        string `json:"last_routing_key"`
	User       string `json:"last_user,omitempty"`
	Connection string `json:"last_connection,omitempty"`
	At         int64  `json:"last_at"` // milliseconds
}

// anExchange is an exchange in a list.
type anExchange struct{ *core.Exchange }

var _ item = anExchange{}

func (x anExchange) name() string { return x.Name() }

// row implements item.
func (x anExchange) row(c *call) any { return c.exchangeOf(x.Exchange) }

func (c *call) exchangeOf(x *core.Exchange) exchange {
	i := x.Info()
	one := exchange{
		Name: i.Name, VHost: i.VHost, Type: i.Kind, Durable: i.Durable, AutoDelete: i.AutoDelete, Internal: i.Internal,
		Arguments: object(i.Args), Policy: orNull(i.Policy.Policy), Performer: internalUser, Delayed: i.Delayed,
	}
	if u := c.unrouted(x); u.Messages > 0 {
		one.Unroutable = &unroutable{u.Messages, u.Key, u.User, u.Conn, u.At.UnixMilli()}
	}
	return one
}

// unrouted tells what reached nobody. Without the monitoring tag one is not told
// what others do.
func (c *call) unrouted(x *core.Exchange) core.Unrouted {
	u := x.Unrouted()
	if !c.is(monitoring) && u.User != c.actor.Name {
		u.User, u.Conn = "", ""
	}
	return u
}

// internalUser is RabbitMQ's word for nobody in particular: who has made an object
// is not noted.
const internalUser = "rmq-internal"

func listExchanges(c *call) (any, error) {
	vhosts, err := c.vhosts()
	if err != nil {
		return nil, err
	}
	l := list{}
	for i := range vhosts {
		l = append(l, c.exchanges(vhosts[i].Name)...)
	}
	return l, nil
}

func listExchangesOfVHost(c *call) (any, error) {
	if err := c.looksInto(); err != nil {
		return nil, err
	}
	return c.exchanges(c.names["vhost"]), nil
}

// exchanges lists a vhost's in the order of their names.
func (c *call) exchanges(vhost string) list {
	all := slices.SortedFunc(c.primary.Broker.Exchanges(vhost), func(a, b *core.Exchange) int { return strings.Compare(a.Name(), b.Name()) })
	l := make(list, len(all))
	for i, x := range all {
		l[i] = anExchange{x}
	}
	return l
}

// defaultExchange stands in paths for the exchange without a name.
const defaultExchange = "amq.default"

// exchangeName is what a name in a path means.
func exchangeName(name string) string {
	if name == defaultExchange {
		return ""
	}
	return name
}

// theExchange is the exchange of the path.
func (c *call) theExchange() (*core.Exchange, error) {
	if err := c.looksInto(); err != nil {
		return nil, err
	}
	x := c.exchange("exchange")
	if x == nil {
		return nil, noObject()
	}
	return x, nil
}

// exchange is the exchange that an element of the path names; nil: there is none.
func (c *call) exchange(element string) *core.Exchange {
	return c.primary.Broker.Exchange(c.names["vhost"], exchangeName(c.names[element]))
}

// exchangeWithTraffic is what there is to see of one exchange alone.
type exchangeWithTraffic struct {
	exchange

	Incoming []any `json:"incoming"` // per channel: not counted
	Outgoing []any `json:"outgoing"` // per queue: not counted
}

func getExchange(c *call) (any, error) {
	x, err := c.theExchange()
	if err != nil {
		return nil, err
	}
	return exchangeWithTraffic{c.exchangeOf(x), []any{}, []any{}}, nil
}
