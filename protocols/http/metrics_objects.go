package admin

import (
	"iter"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/http/api"
)

// What is told of each object goes out as it is read: once through the queues for
// each metric, so that the samples of a metric are together, as the format wants
// it, and a scrape of 50 000 queues takes no memory that one of 50 does not take. A
// queue's lock is held while its numbers are copied. Connections and their
// channels are described at greater cost, hence once: a scrape keeps their names
// and numbers.

// An objectMetric renders one field of every object of a kind.
type objectMetric[O any] struct {
	name, help string // the name without its prefix
	kind       prometheus.ValueType
	value      func(*O) float64
}

// writeObjects writes metrics of all objects. labels appends an object's.
func writeObjects[O any](t *textWriter, prefix string, objects iter.Seq[*O], labels func([]byte, *O) []byte, metrics []objectMetric[O]) {
	var scratch []byte
	for _, m := range metrics {
		name := prefix + m.name
		t.header(name, m.help, m.kind)
		for o := range objects {
			if t.err != nil {
				return
			}
			scratch = labels(scratch[:0], o)
			t.sample(name, scratch, m.value(o))
		}
	}
}

// A detail is one scrape of objects.
type detail struct {
	*textWriter
	prefix string
	broker *core.Broker // nil: this node does not serve
	stats  *Stats
	vhosts []string            // those whose objects are told, for what has a vhost
	logins func() api.Attempts // of the management API; nil: there is none

	conns []connRow // see connections
	chans []chanRow
}

// connRow and chanRow are what metrics tell of a connection and a channel. As
// there are no Erlang processes to name, the label is the name that the management
// API has for them.
type connRow struct {
	name                                     string
	bytesIn, bytesOut, packetsIn, packetsOut uint64
	channels                                 int
}

type chanRow struct {
	name string
	core.ChannelInfo
}

// connections reads the connections, and their channels, once in a scrape.
func (d *detail) connections() []connRow {
	if d.conns != nil || d.broker == nil {
		return d.conns
	}
	sessions := d.broker.Sessions()
	d.conns = make([]connRow, 0, len(sessions))
	for _, s := range sessions {
		i := s.Info()
		d.conns = append(d.conns, connRow{i.Name, i.BytesIn, i.BytesOut, i.PacketsIn, i.PacketsOut, i.Channels})
		for _, ch := range s.Channels() {
			d.chans = append(d.chans, chanRow{i.Name + " (" + strconv.Itoa(int(ch.Number)) + ")", ch})
		}
	}
	return d.conns
}

// queues yields the queues that are there, each into the same place.
func (d *detail) queues() iter.Seq[*core.QueueInfo] {
	return func(yield func(*core.QueueInfo) bool) {
		if d.broker == nil {
			return
		}
		var info core.QueueInfo
		for _, v := range d.vhosts {
			for q := range d.broker.Queues(v) {
				var there bool
				if info, there = q.Info(); there && !yield(&info) {
					return
				}
			}
		}
	}
}

func (d *detail) writeQueues(metrics []objectMetric[core.QueueInfo]) {
	writeObjects(d.textWriter, d.prefix, d.queues(), func(b []byte, q *core.QueueInfo) []byte {
		return label(label(b, "vhost", q.VHost), "queue", q.Name)
	}, metrics)
}

func queueCoarse() []objectMetric[core.QueueInfo] {
	return []objectMetric[core.QueueInfo]{
		{"queue_messages_ready", "Messages ready to be delivered to consumers", prometheus.GaugeValue, func(q *core.QueueInfo) float64 { return float64(q.Ready) }},
		{"queue_messages_unacked", "Messages delivered to consumers but not yet acknowledged", prometheus.GaugeValue, func(q *core.QueueInfo) float64 { return float64(q.Unsettled) }},
		{"queue_messages", "Sum of ready and unacknowledged messages", prometheus.GaugeValue, func(q *core.QueueInfo) float64 { return float64(q.Ready + q.Unsettled) }},
	}
}

func queueConsumerCount() []objectMetric[core.QueueInfo] {
	return []objectMetric[core.QueueInfo]{
		{"queue_consumers", "Consumers of a queue", prometheus.GaugeValue, func(q *core.QueueInfo) float64 { return float64(q.Consumers) }},
	}
}

func queueMetrics() []objectMetric[core.QueueInfo] {
	return append(queueConsumerCount(), []objectMetric[core.QueueInfo]{
		{"queue_consumer_capacity", "How much of the last minute, about, a consumer could take what was ready, from 0 to 1", prometheus.GaugeValue, func(q *core.QueueInfo) float64 { return q.Capacity }},
		{"queue_consumer_utilisation", "The same", prometheus.GaugeValue, func(q *core.QueueInfo) float64 { return q.Capacity }},
		{"queue_messages_ready_bytes", "Bytes of the bodies of ready messages", prometheus.GaugeValue, func(q *core.QueueInfo) float64 { return float64(q.ReadyBytes) }},
		{"queue_messages_ready_ram", "Ready messages that are in memory", prometheus.GaugeValue, func(q *core.QueueInfo) float64 { return float64(q.InMemory) }},
		{"queue_messages_paged_out", "Ready messages that are on disk alone", prometheus.GaugeValue, func(q *core.QueueInfo) float64 { return float64(q.Ready - q.InMemory) }},
		{"queue_messages_paged_out_bytes", "Bytes of the bodies of those", prometheus.GaugeValue, func(q *core.QueueInfo) float64 { return float64(q.ReadyBytes - q.InMemoryBytes) }},
		{"queue_head_message_timestamp", "The timestamp that its publisher gave the next message, if it gave one", prometheus.GaugeValue, func(q *core.QueueInfo) float64 {
			if q.HeadTime == 0 {
				return math.NaN()
			}
			return float64(q.HeadTime)
		}},
	}...)
}

func queueDelivery() []objectMetric[core.QueueInfo] {
	const counter = prometheus.CounterValue
	return []objectMetric[core.QueueInfo]{
		{"queue_get_ack_total", "Messages fetched with manual acknowledgement", counter, func(q *core.QueueInfo) float64 { return float64(q.Got) }},
		{"queue_get_total", "Messages fetched with automatic acknowledgement", counter, func(q *core.QueueInfo) float64 { return float64(q.GotAuto) }},
		{"queue_messages_delivered_ack_total", "Messages delivered to consumers with manual acknowledgement", counter, func(q *core.QueueInfo) float64 { return float64(q.DeliveredManual()) }},
		{"queue_messages_delivered_total", "Messages delivered to consumers with automatic acknowledgement", counter, func(q *core.QueueInfo) float64 { return float64(q.DeliveredAuto) }},
		{"queue_messages_redelivered_total", "Messages delivered again", counter, func(q *core.QueueInfo) float64 { return float64(q.Redone) }},
		{"queue_messages_acked_total", "Messages acknowledged by consumers", counter, func(q *core.QueueInfo) float64 { return float64(q.Acknowledged()) }},
		{"queue_get_empty_total", "Fetches that found the queue empty", counter, func(q *core.QueueInfo) float64 { return float64(q.GotNothing) }},
	}
}

// ownQueueMetrics are told with Baton's prefix: RabbitMQ has none of them, or with
// other labels.
func ownQueueMetrics() []objectMetric[core.QueueInfo] {
	const counter = prometheus.CounterValue
	return []objectMetric[core.QueueInfo]{
		{"queue_published_messages_total", "Messages that came into a queue", counter, func(q *core.QueueInfo) float64 { return float64(q.Published) }},
		{"queue_settled_messages_total", "Messages that a queue is done with: acknowledged, dropped, purged or expired", counter, func(q *core.QueueInfo) float64 { return float64(q.Settled) }},
		{"queue_expired_messages_total", "Of those, they whose time was over", counter, func(q *core.QueueInfo) float64 { return float64(q.Expired) }},
		{"queue_overflowed_messages_total", "Messages that went, or were refused, because the queue was full", counter, func(q *core.QueueInfo) float64 { return float64(q.Overflowed) }},
		{"queue_stalled", "1 while a queue has messages and consumers none of which may have one more, else 0", prometheus.GaugeValue, func(q *core.QueueInfo) float64 { return one(q.Stalled) }},
		{"queue_stalled_seconds", "For how long that has been, and no consumer has taken a message", prometheus.GaugeValue, func(q *core.QueueInfo) float64 {
			if !q.Stalled {
				return 0
			}
			return time.Since(q.StalledSince).Seconds()
		}},
	}
}

func (d *detail) writeConnections(metrics []objectMetric[connRow]) {
	writeObjects(d.textWriter, d.prefix, pointers(d.connections()), func(b []byte, c *connRow) []byte {
		return label(b, "connection", c.name)
	}, metrics)
}

func connectionCoarse() []objectMetric[connRow] {
	return []objectMetric[connRow]{
		{"connection_incoming_bytes_total", "Bytes received on a connection", prometheus.CounterValue, func(c *connRow) float64 { return float64(c.bytesIn) }},
		{"connection_outgoing_bytes_total", "Bytes sent on a connection", prometheus.CounterValue, func(c *connRow) float64 { return float64(c.bytesOut) }},
	}
}

func connectionMetrics() []objectMetric[connRow] {
	return []objectMetric[connRow]{
		{"connection_incoming_packets_total", "Packets received on a connection", prometheus.CounterValue, func(c *connRow) float64 { return float64(c.packetsIn) }},
		{"connection_outgoing_packets_total", "Packets sent on a connection", prometheus.CounterValue, func(c *connRow) float64 { return float64(c.packetsOut) }},
		{"connection_channels", "Channels of a connection", prometheus.GaugeValue, func(c *connRow) float64 { return float64(c.channels) }},
	}
}

func (d *detail) writeChannels() {
	d.connections()
	writeObjects(d.textWriter, d.prefix, pointers(d.chans), func(b []byte, c *chanRow) []byte {
		return label(b, "channel", c.name)
	}, channelMetrics())
}

func channelMetrics() []objectMetric[chanRow] {
	const gauge = prometheus.GaugeValue
	return []objectMetric[chanRow]{
		{"channel_consumers", "Consumers of a channel", gauge, func(c *chanRow) float64 { return float64(c.Consumers) }},
		{"channel_messages_unacked", "Messages delivered and not acknowledged", gauge, func(c *chanRow) float64 { return float64(c.Unacked) }},
		{"channel_messages_unconfirmed", "Messages published and not confirmed", gauge, func(c *chanRow) float64 { return float64(c.Unconfirmed) }},
		{"channel_messages_uncommitted", "Messages of a transaction that is open", gauge, func(c *chanRow) float64 { return float64(c.Uncommitted) }},
		{"channel_acks_uncommitted", "Acknowledgements of a transaction that is open", gauge, func(c *chanRow) float64 { return float64(c.UncommittedAcks) }},
		{"consumer_prefetch", "Limit of unacknowledged messages of each new consumer", gauge, func(c *chanRow) float64 { return float64(c.Prefetch) }},
		{"channel_prefetch", "Limit of unacknowledged messages of all consumers of a channel", gauge, func(c *chanRow) float64 { return float64(c.GlobalPrefetch) }},
	}
}

// exchangeRow is an exchange, and how many bindings it has.
type exchangeRow struct {
	vhost, name, kind string
	bindings          int
}

// exchanges yields all but the default ones, which nobody has made.
func (d *detail) exchanges(counted bool) iter.Seq[*exchangeRow] {
	return func(yield func(*exchangeRow) bool) {
		if d.broker == nil {
			return
		}
		for _, v := range d.vhosts {
			for x := range d.broker.Exchanges(v) {
				info := x.Info()
				if info.Name == "" || info.Internal {
					continue
				}
				row := exchangeRow{vhost: v, name: info.Name, kind: info.Kind}
				if counted {
					for range x.Outbound() {
						row.bindings++
					}
				}
				if !yield(&row) {
					return
				}
			}
		}
	}
}

func (d *detail) writeExchanges(counted bool, m objectMetric[exchangeRow]) {
	writeObjects(d.textWriter, clusterPrefix, d.exchanges(counted), func(b []byte, x *exchangeRow) []byte {
		return label(label(label(b, "vhost", x.vhost), "exchange", x.name), "type", x.kind)
	}, []objectMetric[exchangeRow]{m})
}

// unroutedRow is what was published to an exchange and reached nobody.
type unroutedRow struct {
	vhost, name string
	messages    uint64
}

// unrouted yields the exchanges, the default ones too, from where something has
// reached nobody.
func (d *detail) unrouted() iter.Seq[*unroutedRow] {
	return func(yield func(*unroutedRow) bool) {
		if d.broker == nil {
			return
		}
		for _, v := range d.vhosts {
			for x := range d.broker.Exchanges(v) {
				if u := x.Unrouted(); u.Messages > 0 && !yield(&unroutedRow{v, x.Name(), u.Messages}) {
					return
				}
			}
		}
	}
}

func (d *detail) writeUnrouted() {
	writeObjects(d.textWriter, ownPrefix, d.unrouted(), func(b []byte, u *unroutedRow) []byte {
		return label(label(b, "vhost", u.vhost), "exchange", u.name)
	}, []objectMetric[unroutedRow]{{
		"exchange_unroutable_messages_total", "Messages that were published to an exchange and reached nobody; of exchanges where there were any", prometheus.CounterValue,
		func(u *unroutedRow) float64 { return float64(u.messages) },
	}})
}

func (d *detail) writeVHosts() {
	writeObjects(d.textWriter, clusterPrefix, pointers(d.vhosts), func(b []byte, v *string) []byte {
		return label(b, "vhost", *v)
	}, []objectMetric[string]{{"vhost_status", "1 for a vhost that is served", prometheus.GaugeValue, func(*string) float64 { return 1 }}})
}

// writeTotals writes sums over the broker with the scrape's prefix.
func (d *detail) writeTotals(names ...string) {
	if d.broker == nil {
		return
	}
	for _, m := range brokerMetrics() {
		name, ok := withoutPrefix(m.name)
		if ok && slices.Contains(names, name) {
			d.header(d.prefix+name, m.help, m.kind)
			d.sample(d.prefix+name, nil, m.value(d.stats))
		}
	}
}

// writeProtocols is writeTotals for sums over the clients of each protocol.
func (d *detail) writeProtocols(names ...string) {
	if d.broker == nil {
		return
	}
	writeNamed := func(m protocolMetric) {
		d.header(d.prefix+m.name, m.help, m.kind)
		for _, p := range m.of(d.stats, d.logins) {
			d.sample(d.prefix+m.name, label(nil, "protocol", p.Name), m.value(p))
		}
	}
	for _, m := range protocolMetrics() {
		if slices.Contains(names, m.name) {
			writeNamed(m)
		}
	}
}

// pointers yields the places of a slice.
func pointers[E any](s []E) iter.Seq[*E] {
	return func(yield func(*E) bool) {
		for i := range s {
			if !yield(&s[i]) {
				return
			}
		}
	}
}
