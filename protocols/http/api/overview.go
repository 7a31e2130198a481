package api

import (
	"cmp"
	"net"

	"github.com/batonmq/baton/core"
)

type overview struct {
	ManagementVersion string            `json:"management_version"`
	RatesMode         string            `json:"rates_mode"`
	ExchangeTypes     []exchangeType    `json:"exchange_types"`
	ProductName       string            `json:"product_name"`
	ProductVersion    string            `json:"product_version"`
	RabbitMQVersion   string            `json:"rabbitmq_version"`
	ClusterName       string            `json:"cluster_name"`
	DisableStats      bool              `json:"disable_stats"`
	QueueTotalsOnly   bool              `json:"enable_queue_totals"`
	MessageStats      map[string]uint64 `json:"message_stats"`
	ChurnRates        map[string]uint64 `json:"churn_rates"`
	QueueTotals       map[string]int64  `json:"queue_totals"`
	ObjectTotals      map[string]int    `json:"object_totals"`
	EventQueue        int               `json:"statistics_db_event_queue"`
	Node              string            `json:"node,omitempty"`      // for monitoring
	Listeners         []listener        `json:"listeners,omitempty"` // for monitoring
}

type exchangeType struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Enabled     bool   `json:"enabled"`
}

type listener struct {
	Node     string `json:"node"`
	Protocol string `json:"protocol"`
	Address  string `json:"ip_address"`
	Port     int    `json:"port"`
	TLS      bool   `json:"tls"`
}

// exchangeTypes are those that can be declared.
var exchangeTypes = []exchangeType{
	{"direct", "AMQP direct exchange, as per the AMQP specification", true},
	{"fanout", "AMQP fanout exchange, as per the AMQP specification", true},
	{"headers", "AMQP headers exchange, as per the AMQP specification", true},
	{"topic", "AMQP topic exchange, as per the AMQP specification", true},
	{"x-consistent-hash", "Consistent Hashing Exchange", true},
	{"x-delayed-message", "Delayed Message Exchange.", true},
	{"x-random", "AMQP random exchange. Like a direct exchange, but randomly chooses who to route to.", true},
}

func getOverview(c *call) (any, error) {
	opt := &c.api.opt
	compatible := cmp.Or(c.primary.Compatible, opt.Version)
	o := overview{
		ManagementVersion: compatible, RatesMode: "none", ExchangeTypes: exchangeTypes,
		ProductName: "Baton", ProductVersion: opt.Version, RabbitMQVersion: compatible, ClusterName: opt.Cluster,
		MessageStats: map[string]uint64{}, ChurnRates: map[string]uint64{}, QueueTotals: map[string]int64{},
	}
	if !c.is(monitoring) {
		o.ObjectTotals = c.ownTotals()
		return o, nil
	}
	o.Node = opt.Node
	for _, l := range c.primary.Listeners {
		o.Listeners = append(o.Listeners, listenerOf(opt.Node, l))
	}
	if opt.Totals == nil {
		return o, nil
	}
	t := opt.Totals()
	o.ObjectTotals = map[string]int{
		"connections": t.Connections, "channels": t.Channels, "consumers": t.Consumers, "exchanges": t.Exchanges, "queues": t.Queues,
	}
	o.QueueTotals = map[string]int64{"messages": t.Ready + t.Unacked, "messages_ready": t.Ready, "messages_unacknowledged": t.Unacked}
	o.MessageStats = map[string]uint64{
		"publish": t.PublishedTotal, "confirm": t.ConfirmedTotal, "drop_unroutable": t.DroppedTotal, "return_unroutable": t.ReturnedTotal,
		"deliver": t.DeliveredManualTotal, "deliver_no_ack": t.DeliveredAutoTotal, "get": t.GotManualTotal, "get_no_ack": t.GotAutoTotal,
		"get_empty": t.GotNothingTotal, "deliver_get": t.DeliveredTotal, "redeliver": t.RedeliveredTotal, "ack": t.AcknowledgedTotal,
	}
	o.ChurnRates = map[string]uint64{
		"connection_created": t.ConnectionsOpenedTotal, "connection_closed": t.ConnectionsClosedTotal,
		"channel_created": t.ChannelsOpenedTotal, "channel_closed": t.ChannelsClosedTotal,
	}
	return o, nil
}

// ownTotals counts what is the actor's.
func (c *call) ownTotals() map[string]int {
	own := map[string]int{"connections": 0, "channels": 0}
	c.connections(func(i *core.ConnectionInfo) bool {
		if i.User == c.actor.Name {
			own["connections"]++
			own["channels"] += i.Channels
		}
		return false
	})
	return own
}

func listenerOf(node string, l Listener) listener {
	out := listener{Node: node, Protocol: l.Protocol, TLS: l.TLS}
	if a, ok := l.Addr.(*net.TCPAddr); ok {
		out.Address, out.Port = a.IP.String(), a.Port
	} else if l.Addr != nil {
		out.Address = l.Addr.String()
	}
	return out
}
