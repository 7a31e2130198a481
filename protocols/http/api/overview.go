package api

import (
	"cmp"
	"net"
	"runtime"
	"strconv"
)

// overview is what RabbitMQ tells of all of it. Erlang is what there is none of.
type overview struct {
	ManagementVersion string           `json:"management_version"`
	RatesMode         string           `json:"rates_mode"`
	Retention         map[string][]int `json:"sample_retention_policies"` // seconds
	ExchangeTypes     []exchangeType   `json:"exchange_types"`
	ProductName       string           `json:"product_name"`
	ProductVersion    string           `json:"product_version"`
	RabbitMQVersion   string           `json:"rabbitmq_version"`
	ClusterName       string           `json:"cluster_name"`
	ErlangVersion     string           `json:"erlang_version"`
	ErlangFullVersion string           `json:"erlang_full_version"`
	GoVersion         string           `json:"go_version"`
	SupportStatus     string           `json:"release_series_support_status"`
	DisableStats      bool             `json:"disable_stats"`
	QueueTotalsOnly   bool             `json:"enable_queue_totals"`
	MessageStats      map[string]any   `json:"message_stats"`
	ChurnRates        map[string]any   `json:"churn_rates"`
	QueueTotals       map[string]any   `json:"queue_totals"`
	ObjectTotals      map[string]int   `json:"object_totals"`
	EventQueue        int              `json:"statistics_db_event_queue"`
	Node              string           `json:"node,omitempty"`      // for monitoring
	Listeners         []listener       `json:"listeners,omitempty"` // for monitoring
	Contexts          []webContext     `json:"contexts,omitempty"`  // for monitoring
}

// retention is of what sampler.go keeps.
var retention = map[string][]int{"global": {600, 3600, 28800, 86400}, "basic": {600, 3600}, "detailed": {600, 3600}}

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

	SocketOptions struct{} `json:"socket_opts"` // none that could be set
}

// webContext is an address of the API, in words of RabbitMQ's web server.
type webContext struct {
	Node        string   `json:"node"`
	Description string   `json:"description"`
	Path        string   `json:"path"`
	Address     string   `json:"ip"`
	Port        string   `json:"port"`
	TLSOptions  []string `json:"ssl_opts"`
}

// A figure is a number of the overview.
type figure struct {
	group, name string
	value       func(*Totals) int64
}

const (
	messageTotals = "message_stats"
	churnTotals   = "churn_rates"
	lengthTotals  = "queue_totals"
)

var figures = []figure{
	{lengthTotals, "messages", func(t *Totals) int64 { return t.Ready + t.Unacked }},
	{lengthTotals, "messages_ready", func(t *Totals) int64 { return t.Ready }},
	{lengthTotals, "messages_unacknowledged", func(t *Totals) int64 { return t.Unacked }},

	{messageTotals, "publish", func(t *Totals) int64 { return int64(t.PublishedTotal) }},
	{messageTotals, "confirm", func(t *Totals) int64 { return int64(t.ConfirmedTotal) }},
	{messageTotals, "drop_unroutable", func(t *Totals) int64 { return int64(t.DroppedTotal) }},
	{messageTotals, "return_unroutable", func(t *Totals) int64 { return int64(t.ReturnedTotal) }},
	{messageTotals, "deliver", func(t *Totals) int64 { return int64(t.DeliveredManualTotal) }},
	{messageTotals, "deliver_no_ack", func(t *Totals) int64 { return int64(t.DeliveredAutoTotal) }},
	{messageTotals, "get", func(t *Totals) int64 { return int64(t.GotManualTotal) }},
	{messageTotals, "get_no_ack", func(t *Totals) int64 { return int64(t.GotAutoTotal) }},
	{messageTotals, "get_empty", func(t *Totals) int64 { return int64(t.GotNothingTotal) }},
	{messageTotals, "deliver_get", func(t *Totals) int64 { return int64(t.DeliveredTotal) }},
	{messageTotals, "redeliver", func(t *Totals) int64 { return int64(t.RedeliveredTotal) }},
	{messageTotals, "ack", func(t *Totals) int64 { return int64(t.AcknowledgedTotal) }},

	{churnTotals, "connection_created", func(t *Totals) int64 { return int64(t.ConnectionsOpenedTotal) }},
	{churnTotals, "connection_closed", func(t *Totals) int64 { return int64(t.ConnectionsClosedTotal) }},
	{churnTotals, "channel_created", func(t *Totals) int64 { return int64(t.ChannelsOpenedTotal) }},
	{churnTotals, "channel_closed", func(t *Totals) int64 { return int64(t.ChannelsClosedTotal) }},
	{churnTotals, "queue_declared", func(t *Totals) int64 { return int64(t.QueuesDeclaredTotal) }},
	{churnTotals, "queue_created", func(t *Totals) int64 { return int64(t.QueuesCreatedTotal) }},
	{churnTotals, "queue_deleted", func(t *Totals) int64 { return int64(t.QueuesDeletedTotal) }},
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
	o := c.api.overview(cmp.Or(c.primary.Compatible, c.api.opt.Version))
	if !c.is(monitoring) {
		o.ObjectTotals = c.ownTotals()
		return o, nil
	}
	o.Node = c.api.opt.Node
	o.listen(c.listeners())
	o.ClusterName = c.clusterName()
	if c.api.opt.Totals == nil {
		return o, nil
	}
	t := c.api.opt.Totals()
	o.ObjectTotals = map[string]int{
		"connections": t.Connections, "channels": t.Channels, "consumers": t.Consumers, "exchanges": t.Exchanges, "queues": t.Queues,
	}
	groups := map[string]map[string]any{messageTotals: o.MessageStats, churnTotals: o.ChurnRates, lengthTotals: o.QueueTotals}
	for i, f := range figures {
		window := c.windows.messages
		if f.group == lengthTotals {
			window = c.windows.lengths
		}
		putRated(groups[f.group], f.name, f.value(&t), c.primary.Sampler.figure(i, window))
	}
	return o, nil
}

// overview is what does not depend on who asks, or when.
func (a *API) overview(compatible string) *overview {
	return &overview{
		ManagementVersion: compatible, RatesMode: ratesMode, Retention: retention, ExchangeTypes: exchangeTypes,
		ProductName: "Baton", ProductVersion: a.opt.Version, RabbitMQVersion: compatible, ClusterName: a.opt.Cluster,
		GoVersion: runtime.Version(), SupportStatus: "supported",
		MessageStats: map[string]any{}, ChurnRates: map[string]any{}, QueueTotals: map[string]any{}, ObjectTotals: map[string]int{},
	}
}

// ratesMode is RabbitMQ's word for what is sampled: all but how exchanges,
// channels and queues share in the rates of each other.
const ratesMode = "basic"

// listen adds the open addresses.
func (o *overview) listen(open []Listener) {
	for _, l := range open {
		at := listenerOf(o.Node, l)
		o.Listeners = append(o.Listeners, at)
		if l.Protocol == "http" || l.Protocol == "https" {
			o.Contexts = append(o.Contexts, webContext{
				Node: o.Node, Description: "Baton Management", Path: "/", Address: at.Address, Port: strconv.Itoa(at.Port), TLSOptions: []string{},
			})
		}
	}
}

// ownTotals counts what is the actor's.
func (c *call) ownTotals() map[string]int {
	own := map[string]int{"connections": 0, "channels": 0}
	for _, s := range c.primary.Broker.Sessions() {
		if i := s.Info(); i.User == c.actor.Name {
			own["connections"]++
			own["channels"] += i.Channels
		}
	}
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
