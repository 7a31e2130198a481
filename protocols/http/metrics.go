package admin

import (
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/batonmq/baton/protocols/http/api"
)

// Stats is a snapshot of the broker's counters. Fields that end in Total only
// grow while the process lives; the others are what is there now.
type Stats struct {
	Connections, Channels, Consumers int
	VHosts, Exchanges, Queues        int

	SlowQueues int // of which consumers have taken nothing of late, though something is ready

	Ready, Unacked   int64 // messages
	ReadyBytes       int64 // of the bodies of those that are ready
	Resting, Delayed int64 // messages that came back and are not ready yet, and those that exchanges keep back

	Subscribers, Subscriptions, Retained int
	RetainedBytes                        int64 // of retained messages in memory

	ConnectionsOpenedTotal, ConnectionsClosedTotal uint64
	ConnectionsRefusedTotal                        uint64 // by the connection limit
	ConnectionsWaiting                             int    // that came faster than their address may connect
	ConnectionsDelayedTotal                        uint64 // those that have begun to
	ChannelsOpenedTotal, ChannelsClosedTotal       uint64
	BytesReadTotal, BytesWrittenTotal              uint64

	QueuesDeclaredTotal                    uint64 // those that were there already included
	QueuesCreatedTotal, QueuesDeletedTotal uint64

	RoutedTotal     uint64 // once per queue
	SettledTotal    uint64 // once per queue: acknowledged, dropped, purged or expired
	ExpiredTotal    uint64 // of SettledTotal
	DuplicatesTotal uint64 // passed over for their ids
	DroppedTotal    uint64 // that nobody keeps, for subscribers that were away or slow
	MissedTotal     uint64 // of DroppedTotal, for those that were there
	OverflowedTotal uint64

	Traffic               // the sum over Protocols
	Protocols []*Protocol // that clients can use here

	EventsLostTotal uint64 // that nobody was told

	Maintenance       bool // connections are kept out
	PublishersBlocked bool // publishers wait until memory or disk space is free
	MemoryAlarm       bool // if they do, it is for want of memory: of the budget, or above the watermark
	DiskLow           bool // if they do, it is for want of disk space

	MemoryBytes, MemoryLimitBytes       int64 // message bodies and entries held in memory, and their budget
	ProcessBytes, ProcessWatermarkBytes int64 // memory the process uses, and above which publishers wait (0: none)
	ProcessLimitBytes                   int64 // memory there is for it; 0: not known
	DiskFreeBytes, DiskLimitBytes       int64 // of the data directory, and where publishers begin to wait

	Store   StoreStats
	Bridges []BridgeStats
}

// Protocol is what clients of one protocol do and did.
type Protocol struct {
	Name                  string // as RabbitMQ labels it
	Publishers, Consumers int    // now; a publisher is a channel, or an MQTT connection, that has published
	Traffic
}

// Traffic counts what goes through connections.
type Traffic struct {
	LoginsAcceptedTotal, LoginsRefusedTotal uint64

	ReceivedTotal, ReceivedConfirmTotal, ConfirmedTotal    uint64 // of publishers
	UnroutableDroppedTotal, UnroutableReturnedTotal        uint64
	DeliveredTotal, RedeliveredTotal                       uint64
	DeliveredConsumeAutoTotal, DeliveredConsumeManualTotal uint64
	DeliveredGetAutoTotal, DeliveredGetManualTotal         uint64
	GetEmptyTotal, AcknowledgedTotal                       uint64
}

func (t *Traffic) add(o *Traffic) {
	t.LoginsAcceptedTotal += o.LoginsAcceptedTotal
	t.LoginsRefusedTotal += o.LoginsRefusedTotal
	t.ReceivedTotal += o.ReceivedTotal
	t.ReceivedConfirmTotal += o.ReceivedConfirmTotal
	t.ConfirmedTotal += o.ConfirmedTotal
	t.UnroutableDroppedTotal += o.UnroutableDroppedTotal
	t.UnroutableReturnedTotal += o.UnroutableReturnedTotal
	t.DeliveredTotal += o.DeliveredTotal
	t.RedeliveredTotal += o.RedeliveredTotal
	t.DeliveredConsumeAutoTotal += o.DeliveredConsumeAutoTotal
	t.DeliveredConsumeManualTotal += o.DeliveredConsumeManualTotal
	t.DeliveredGetAutoTotal += o.DeliveredGetAutoTotal
	t.DeliveredGetManualTotal += o.DeliveredGetManualTotal
	t.GetEmptyTotal += o.GetEmptyTotal
	t.AcknowledgedTotal += o.AcknowledgedTotal
}

// Add adds a protocol, also to the sums.
func (s *Stats) Add(p *Protocol) {
	s.Protocols = append(s.Protocols, p)
	s.add(&p.Traffic)
}

// one is how Prometheus spells a truth.
func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// A metric renders one field of a snapshot.
type metric struct {
	name, help string
	kind       prometheus.ValueType
	value      func(*Stats) float64
}

// brokerMetrics are rendered where a broker runs. The names are RabbitMQ's as
// far as the meaning is the same.
func brokerMetrics() []metric {
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	return []metric{
		{"rabbitmq_connections", "Connections currently open", gauge, func(s *Stats) float64 { return float64(s.Connections) }},
		{"rabbitmq_channels", "Channels currently open", gauge, func(s *Stats) float64 { return float64(s.Channels) }},
		{"rabbitmq_queues", "Queues available", gauge, func(s *Stats) float64 { return float64(s.Queues) }},
		{"rabbitmq_consumers", "Consumers currently connected", gauge, func(s *Stats) float64 { return float64(s.Consumers) }},
		{"rabbitmq_queue_messages", "Sum of ready and unacknowledged messages", gauge, func(s *Stats) float64 { return float64(s.Ready + s.Unacked) }},
		{"rabbitmq_queue_messages_ready", "Messages ready to be delivered to consumers", gauge, func(s *Stats) float64 { return float64(s.Ready) }},
		{"rabbitmq_queue_messages_unacked", "Messages delivered to consumers but not yet acknowledged", gauge, func(s *Stats) float64 { return float64(s.Unacked) }},
		{"rabbitmq_connections_opened_total", "Connections opened", counter, func(s *Stats) float64 { return float64(s.ConnectionsOpenedTotal) }},
		{"rabbitmq_connections_closed_total", "Connections closed", counter, func(s *Stats) float64 { return float64(s.ConnectionsClosedTotal) }},
		{"rabbitmq_channels_opened_total", "Channels opened", counter, func(s *Stats) float64 { return float64(s.ChannelsOpenedTotal) }},
		{"rabbitmq_channels_closed_total", "Channels closed", counter, func(s *Stats) float64 { return float64(s.ChannelsClosedTotal) }},
		{"rabbitmq_queues_declared_total", "Queues declared, those that were there already included", counter, func(s *Stats) float64 { return float64(s.QueuesDeclaredTotal) }},
		{"rabbitmq_queues_created_total", "Queues created", counter, func(s *Stats) float64 { return float64(s.QueuesCreatedTotal) }},
		{"rabbitmq_queues_deleted_total", "Queues deleted", counter, func(s *Stats) float64 { return float64(s.QueuesDeletedTotal) }},
		{"rabbitmq_global_messages_routed_total", "Messages routed to queues, once for each queue", counter, func(s *Stats) float64 { return float64(s.RoutedTotal) }},
		{"rabbitmq_disk_space_available_bytes", "Free space of the data directory's file system", gauge, func(s *Stats) float64 { return float64(s.DiskFreeBytes) }},
		{"rabbitmq_disk_space_available_limit_bytes", "Free space below which publishers wait", gauge, func(s *Stats) float64 { return float64(s.DiskLimitBytes) }},
		{"rabbitmq_alarms_memory_used_watermark", "1 while publishers wait for memory, else 0", gauge, func(s *Stats) float64 { return one(s.MemoryAlarm) }},
		{"rabbitmq_alarms_free_disk_space_watermark", "1 while publishers wait for disk space, else 0", gauge, func(s *Stats) float64 { return one(s.DiskLow) }},
		{"rabbitmq_queue_messages_ready_bytes", "Bytes of the bodies of ready messages", gauge, func(s *Stats) float64 { return float64(s.ReadyBytes) }},
		{"baton_events_lost_total", "Events that came faster than they could be published, or while publishers had to wait", counter, func(s *Stats) float64 { return float64(s.EventsLostTotal) }},
		{"baton_maintenance", "1 while the broker is in maintenance and takes no connections, else 0", gauge, func(s *Stats) float64 { return one(s.Maintenance) }},
		{"baton_publishers_blocked", "1 while publishers wait for memory or disk space, else 0", gauge, func(s *Stats) float64 { return one(s.PublishersBlocked) }},
		{"baton_vhosts", "Virtual hosts", gauge, func(s *Stats) float64 { return float64(s.VHosts) }},
		{"baton_exchanges", "Exchanges, predeclared ones included", gauge, func(s *Stats) float64 { return float64(s.Exchanges) }},
		{"baton_messages_settled_total", "Messages that queues are done with: acknowledged, dropped, purged or expired", counter, func(s *Stats) float64 { return float64(s.SettledTotal) }},
		{"baton_messages_expired_total", "Messages that queues dropped because their time was over, once for each queue", counter, func(s *Stats) float64 { return float64(s.ExpiredTotal) }},
		{"baton_messages_overflowed_total", "Messages that full queues dropped or refused, once for each queue", counter, func(s *Stats) float64 { return float64(s.OverflowedTotal) }},
		{"baton_queue_messages_resting", "Messages that came back from consumers and are not ready again yet, because of x-delayed-retry-type", gauge, func(s *Stats) float64 { return float64(s.Resting) }},
		{"baton_messages_delayed", "Messages that exchanges of the type x-delayed-message keep back", gauge, func(s *Stats) float64 { return float64(s.Delayed) }},
		{"baton_messages_duplicate_total", "Messages that an exchange or a queue passed over, as it has had one of that id, once for each of them", counter, func(s *Stats) float64 { return float64(s.DuplicatesTotal) }},
		{"baton_messages_dropped_total", "Messages of QoS 0 that did not go to a subscriber because it was away or slow", counter, func(s *Stats) float64 { return float64(s.DroppedTotal) }},
		{"baton_messages_dropped_slow_total", "Of those, messages for subscribers that were there and did not read fast enough", counter, func(s *Stats) float64 { return float64(s.MissedTotal) }},
		{"baton_queues_stalled", "Queues that have messages and consumers, none of which has taken one for half a minute", gauge, func(s *Stats) float64 { return float64(s.SlowQueues) }},
		{"baton_subscribers", "MQTT sessions, those of clients that are away included", gauge, func(s *Stats) float64 { return float64(s.Subscribers) }},
		{"baton_subscriptions", "Subscriptions of MQTT sessions", gauge, func(s *Stats) float64 { return float64(s.Subscriptions) }},
		{"baton_messages_retained", "Retained messages", gauge, func(s *Stats) float64 { return float64(s.Retained) }},
		{"baton_messages_retained_memory_bytes", "Bytes of retained messages in memory", gauge, func(s *Stats) float64 { return float64(s.RetainedBytes) }},
		{"baton_received_bytes_total", "Bytes read from clients", counter, func(s *Stats) float64 { return float64(s.BytesReadTotal) }},
		{"baton_sent_bytes_total", "Bytes written to clients", counter, func(s *Stats) float64 { return float64(s.BytesWrittenTotal) }},
		{"baton_connections_refused_total", "Connections refused by the connection limit", counter, func(s *Stats) float64 { return float64(s.ConnectionsRefusedTotal) }},
		{"baton_connections_waiting", "Connections that came faster than their address may connect and wait for their turn", gauge, func(s *Stats) float64 { return float64(s.ConnectionsWaiting) }},
		{"baton_connections_delayed_total", "Connections that waited for their turn", counter, func(s *Stats) float64 { return float64(s.ConnectionsDelayedTotal) }},
		{"baton_process_memory_bytes", "Memory in use that cannot be given back: what the watermark is about", gauge, func(s *Stats) float64 { return float64(s.ProcessBytes) }},
		{"rabbitmq_resident_memory_limit_bytes", "Memory in use above which publishers wait, 0 for none", gauge, func(s *Stats) float64 { return float64(s.ProcessWatermarkBytes) }},
		{"baton_process_memory_limit_bytes", "Memory there is for the process, 0 where it is not known", gauge, func(s *Stats) float64 { return float64(s.ProcessLimitBytes) }},
		{"baton_message_memory_bytes", "Memory held by messages", gauge, func(s *Stats) float64 { return float64(s.MemoryBytes) }},
		{"baton_message_memory_limit_bytes", "Memory messages may hold before publishers wait", gauge, func(s *Stats) float64 { return float64(s.MemoryLimitBytes) }},
	}
}

// collector renders a snapshot of the broker where one runs.
type collector struct {
	stats     func() (Stats, bool)
	metrics   []metric
	descs     []*prometheus.Desc // of metrics and then spreads, in their order
	spreads   []spread
	bridges   []bridgeMetric
	protocols []protocolMetric

	byProtocol []*prometheus.Desc // of protocols

	logins func() api.Attempts // of the management API; nil: there is none
}

var _ prometheus.Collector = (*collector)(nil)

// newCollector leaves those sums out that skip names.
func newCollector(opt *Options, skip func(name string) bool) *collector {
	c := &collector{
		stats: opt.Stats, metrics: slices.Concat(brokerMetrics(), storeMetrics()), spreads: storeHistograms(),
		logins: opt.logins,
	}
	c.metrics = slices.DeleteFunc(c.metrics, func(m metric) bool { return skip(m.name) })
	c.bridges, c.protocols = bridgeMetrics(), protocolMetrics()
	for i := range c.protocols {
		c.byProtocol = append(c.byProtocol, c.protocols[i].desc())
	}
	for _, m := range c.metrics {
		c.descs = append(c.descs, prometheus.NewDesc(m.name, m.help, nil, nil))
	}
	for _, h := range c.spreads {
		c.descs = append(c.descs, prometheus.NewDesc(h.name, h.help, nil, nil))
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
	for _, m := range c.bridges {
		ch <- m.desc
	}
	for _, d := range c.byProtocol {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	stats, ok := c.stats()
	if !ok {
		return
	}
	for i, m := range c.metrics {
		ch <- prometheus.MustNewConstMetric(c.descs[i], m.kind, m.value(&stats))
	}
	for i, h := range c.spreads {
		v := h.value(&stats)
		ch <- prometheus.MustNewConstHistogram(c.descs[len(c.metrics)+i], v.Count, v.Sum, v.Buckets)
	}
	for i, m := range c.protocols {
		for _, p := range m.of(&stats, c.logins) {
			ch <- prometheus.MustNewConstMetric(c.byProtocol[i], m.kind, m.value(p), p.Name)
		}
	}
	for i := range stats.Bridges {
		for _, m := range c.bridges {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&stats.Bridges[i]), stats.Bridges[i].Name)
		}
	}
}

// newRegistry is this process's own: nothing registers itself by being imported.
// It has no sum that skip names.
func newRegistry(opt *Options, endpoint string, skip func(name string) bool) *prometheus.Registry {
	reg, began := prometheus.NewRegistry(), time.Now()
	reg.MustRegister( // fails only on a name given twice, which the tests would show
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		// Once more under the names RabbitMQ gives the same values.
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{Namespace: "rabbitmq"}),
		identity(opt, endpoint), build(opt),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "rabbitmq_erlang_uptime_seconds", Help: "How long this process has been running",
		}, func() float64 { return time.Since(began).Seconds() }),
		newCollector(opt, skip),
		newFailoverCollector(opt),
	)
	if opt.TLS != nil {
		reg.MustRegister(newTLSCollector(opt.TLS))
	}
	return reg
}

// identity says which node a scrape is of, and which path: what RabbitMQ's dashboards join everything with.
func identity(opt *Options, endpoint string) prometheus.Collector {
	return info("rabbitmq_identity_info", "The node and the path that these values are of", prometheus.Labels{
		"rabbitmq_node": opt.Node, "rabbitmq_cluster": opt.Cluster, "rabbitmq_endpoint": endpoint,
	})
}

// build says which version answers.
func build(opt *Options) prometheus.Collector {
	return info("rabbitmq_build_info", "The version of the broker, and the one of RabbitMQ that clients are told", prometheus.Labels{
		"product_name": "Baton", "product_version": opt.Version, "rabbitmq_version": opt.Compatible, "go_version": runtime.Version(),
	})
}

// info is a metric that is always 1 and says what it says in its labels.
func info(name, help string, labels prometheus.Labels) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels},
		func() float64 { return 1 })
}
