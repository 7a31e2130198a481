package admin

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/batonmq/baton/core"
)

// Prefixes of RabbitMQ's names.
const (
	rabbitPrefix   = "rabbitmq_"
	detailedPrefix = "rabbitmq_detailed_" // keeps apart what is scraped in detail and in sum
	clusterPrefix  = "rabbitmq_cluster_"  // of what is the same on all nodes
	ownPrefix      = "baton_"
)

func withoutPrefix(name string) (rest string, ok bool) { return strings.CutPrefix(name, rabbitPrefix) }

const (
	// maxScrapes bounds the scrapes in flight: each holds a snapshot and its text.
	maxScrapes = 4

	// maxDetails bounds those of objects, which may take a while each.
	maxDetails = 2
)

// newScrapes answers what begins with /metrics.
func newScrapes(opt *Options) http.Handler {
	mux, objects := http.NewServeMux(), newDetails(opt)
	mux.Handle("GET /metrics", promhttp.HandlerFor(newRegistry(opt, "aggregated", func(string) bool { return false }), promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(opt.Log.Handler(), slog.LevelError),
		MaxRequestsInFlight: maxScrapes,
	}))
	mux.HandleFunc("GET /metrics/per-object", objects.perObject)
	mux.HandleFunc("GET /metrics/detailed", objects.detailed)
	return mux
}

// A family is what /metrics/detailed?family= names.
type family struct {
	name      string
	perObject bool // it is a part of /metrics/per-object
	write     func(*detail)
}

// families are those of RabbitMQ that have a meaning here, in its order, and our
// own.
func families() []family {
	return []family{
		{"connection_churn_metrics", false, func(d *detail) {
			d.writeTotals("connections_opened_total", "connections_closed_total", "channels_opened_total", "channels_closed_total",
				"queues_declared_total", "queues_created_total", "queues_deleted_total")
		}},
		{"node_coarse_metrics", false, func(d *detail) { d.writeTotals("disk_space_available_bytes") }},
		{"node_metrics", false, func(d *detail) { d.writeTotals("resident_memory_limit_bytes", "disk_space_available_limit_bytes") }},
		{"auth_attempt_metrics", false, func(d *detail) {
			d.writeProtocols("auth_attempts_total", "auth_attempts_succeeded_total", "auth_attempts_failed_total")
		}},
		{"queue_coarse_metrics", true, func(d *detail) { d.writeQueues(queueCoarse()) }},
		{queueConsumerFamily, false, func(d *detail) { d.writeQueues(queueConsumerCount()) }},
		{queueFamily, true, func(d *detail) { d.writeQueues(queueMetrics()) }},
		{"queue_delivery_metrics", true, func(d *detail) { d.writeQueues(queueDelivery()) }},
		{"baton_queue_metrics", true, func(d *detail) {
			own := *d
			own.prefix = ownPrefix
			own.writeQueues(ownQueueMetrics())
		}},
		{"baton_exchange_metrics", true, (*detail).writeUnrouted},
		{"channel_metrics", true, (*detail).writeChannels},
		{"connection_coarse_metrics", true, func(d *detail) { d.writeConnections(connectionCoarse()) }},
		{"connection_metrics", true, func(d *detail) { d.writeConnections(connectionMetrics()) }},
		{"vhost_status", false, (*detail).writeVHosts},
		{"exchange_names", false, func(d *detail) {
			d.writeExchanges(false, objectMetric[exchangeRow]{"exchange_name", "1 for an exchange that is there", prometheus.GaugeValue, func(*exchangeRow) float64 { return 1 }})
		}},
		{"exchange_bindings", false, func(d *detail) {
			d.writeExchanges(true, objectMetric[exchangeRow]{"exchange_bindings", "Bindings of an exchange, subscriptions included", prometheus.GaugeValue, func(x *exchangeRow) float64 { return float64(x.bindings) }})
		}},
	}
}

// A family that is a part of another one is left out where both are asked for.
const (
	queueConsumerFamily = "queue_consumer_count"
	queueFamily         = "queue_metrics"
)

// details answers /metrics/per-object and /metrics/detailed.
type details struct {
	opt   *Options
	sums  http.Handler // of what per-object tells in sum
	whose http.Handler // of the node's identity
	turn  chan struct{}
}

func newDetails(opt *Options) *details {
	handler := func(reg *prometheus.Registry) http.Handler {
		return promhttp.HandlerFor(reg, promhttp.HandlerOpts{DisableCompression: true})
	}
	whose := prometheus.NewRegistry()
	whose.MustRegister(identity(opt, "detailed"), build(opt))
	return &details{
		opt: opt, sums: handler(newRegistry(opt, "per-object", toldPerQueue)), whose: handler(whose),
		turn: make(chan struct{}, maxDetails),
	}
}

// toldPerQueue names sums that /metrics/per-object tells of each queue instead.
func toldPerQueue(name string) bool {
	name, ok := withoutPrefix(name)
	return ok && slices.ContainsFunc(append(queueCoarse(), queueMetrics()...), func(m objectMetric[core.QueueInfo]) bool { return m.name == name })
}

// perObject tells of every object what /metrics tells in sum.
func (s *details) perObject(w http.ResponseWriter, r *http.Request) {
	s.answer(w, r, s.sums, rabbitPrefix, func(f *family) bool { return f.perObject })
}

// detailed tells of the families, and the vhosts, that the query names.
func (s *details) detailed(w http.ResponseWriter, r *http.Request) {
	asked := r.URL.Query()["family"]
	s.answer(w, r, s.whose, detailedPrefix, func(f *family) bool {
		return slices.Contains(asked, f.name) && (f.name != queueConsumerFamily || !slices.Contains(asked, queueFamily))
	})
}

// answer writes what sums tells, and then the families that are wanted.
func (s *details) answer(w http.ResponseWriter, r *http.Request, sums http.Handler, prefix string, wanted func(*family) bool) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	default:
		http.Error(w, "too many scrapes of objects at a time", http.StatusServiceUnavailable)
		return
	}
	d := &detail{prefix: prefix, logins: s.opt.logins}
	if p := s.opt.Primary(); p != nil {
		if stats, ok := s.opt.Stats(); ok {
			d.broker, d.stats, d.vhosts = p.Broker, &stats, chosen(p.Broker, r.URL.Query()["vhost"])
		}
	}
	plain := r.Clone(r.Context())
	plain.Header = http.Header{} // in the text format, and not compressed twice
	answerText(w, r, func(t *textWriter) {
		d.textWriter = t
		sums.ServeHTTP(bodyWriter{t}, plain)
		for _, f := range families() {
			if wanted(&f) && t.err == nil {
				f.write(d)
			}
		}
	})
}

// chosen are the vhosts among those named that exist; all of them where none is named.
func chosen(b *core.Broker, named []string) []string {
	var names []string
	for _, v := range b.Access().VHosts() {
		if len(named) == 0 || slices.Contains(named, v.Name) {
			names = append(names, v.Name)
		}
	}
	return names
}
