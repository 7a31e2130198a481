package admin

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/batonmq/baton/protocols/http/api"
)

// A protocolMetric renders one field of what the clients of each protocol do.
type protocolMetric struct {
	name, help string // the name without RabbitMQ's prefix
	kind       prometheus.ValueType
	value      func(*Protocol) float64
}

// isOfLogins reports whether it is told of the management API, too, whose clients
// log in and do nothing else that is counted.
func (m *protocolMetric) isOfLogins() bool { return strings.HasPrefix(m.name, "auth_attempts") }

// of are those of which the metric is told.
func (m *protocolMetric) of(s *Stats, logins func() api.Attempts) []*Protocol {
	if !m.isOfLogins() || logins == nil {
		return s.Protocols
	}
	a := logins()
	return append(slices.Clip(s.Protocols), &Protocol{Name: a.Protocol, Traffic: Traffic{LoginsAcceptedTotal: a.Accepted, LoginsRefusedTotal: a.Refused}})
}

func (m *protocolMetric) desc() *prometheus.Desc {
	return prometheus.NewDesc(rabbitPrefix+m.name, m.help, []string{"protocol"}, nil)
}

// protocolMetrics have RabbitMQ's label protocol. Its label queue_type they have
// not: queues of every type are the same here, and are counted together.
func protocolMetrics() []protocolMetric {
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	return []protocolMetric{
		{"global_publishers", "Channels, and MQTT connections, that are open and have published", gauge, func(p *Protocol) float64 { return float64(p.Publishers) }},
		{"global_consumers", "Consumers currently connected", gauge, func(p *Protocol) float64 { return float64(p.Consumers) }},
		{"global_messages_received_total", "Messages received from publishers", counter, func(p *Protocol) float64 { return float64(p.ReceivedTotal) }},
		{"global_messages_received_confirm_total", "Messages received from publishers using confirms", counter, func(p *Protocol) float64 { return float64(p.ReceivedConfirmTotal) }},
		{"global_messages_confirmed_total", "Messages confirmed to publishers", counter, func(p *Protocol) float64 { return float64(p.ConfirmedTotal) }},
		{"global_messages_unroutable_dropped_total", "Messages dropped because no queue matched", counter, func(p *Protocol) float64 { return float64(p.UnroutableDroppedTotal) }},
		{"global_messages_unroutable_returned_total", "Mandatory messages returned because no queue matched", counter, func(p *Protocol) float64 { return float64(p.UnroutableReturnedTotal) }},
		{"global_messages_delivered_total", "Messages delivered to consumers", counter, func(p *Protocol) float64 { return float64(p.DeliveredTotal) }},
		{"global_messages_delivered_consume_auto_ack_total", "Messages delivered to consumers with automatic acknowledgement", counter, func(p *Protocol) float64 { return float64(p.DeliveredConsumeAutoTotal) }},
		{"global_messages_delivered_consume_manual_ack_total", "Messages delivered to consumers with manual acknowledgement", counter, func(p *Protocol) float64 { return float64(p.DeliveredConsumeManualTotal) }},
		{"global_messages_delivered_get_auto_ack_total", "Messages fetched with automatic acknowledgement", counter, func(p *Protocol) float64 { return float64(p.DeliveredGetAutoTotal) }},
		{"global_messages_delivered_get_manual_ack_total", "Messages fetched with manual acknowledgement", counter, func(p *Protocol) float64 { return float64(p.DeliveredGetManualTotal) }},
		{"global_messages_get_empty_total", "Fetches of an empty queue", counter, func(p *Protocol) float64 { return float64(p.GetEmptyTotal) }},
		{"global_messages_redelivered_total", "Messages delivered again", counter, func(p *Protocol) float64 { return float64(p.RedeliveredTotal) }},
		{"global_messages_acknowledged_total", "Messages acknowledged by consumers", counter, func(p *Protocol) float64 { return float64(p.AcknowledgedTotal) }},
		{"auth_attempts_total", "Logins accepted or refused", counter, func(p *Protocol) float64 { return float64(p.LoginsAcceptedTotal + p.LoginsRefusedTotal) }},
		{"auth_attempts_succeeded_total", "Logins accepted", counter, func(p *Protocol) float64 { return float64(p.LoginsAcceptedTotal) }},
		{"auth_attempts_failed_total", "Logins refused", counter, func(p *Protocol) float64 { return float64(p.LoginsRefusedTotal) }},
	}
}
