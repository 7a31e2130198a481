package admin

import "github.com/prometheus/client_golang/prometheus"

// A protocolMetric renders one field of what the clients of each protocol do.
type protocolMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*Protocol) float64
}

// protocolMetrics have RabbitMQ's label protocol. Its label queue_type they have
// not: queues of every type are the same here, and are counted together.
func protocolMetrics() []protocolMetric {
	row := func(name, help string, kind prometheus.ValueType, value func(*Protocol) float64) protocolMetric {
		return protocolMetric{prometheus.NewDesc("rabbitmq_"+name, help, []string{"protocol"}, nil), kind, value}
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	return []protocolMetric{
		row("global_publishers", "Channels, and MQTT connections, that are open and have published", gauge, func(p *Protocol) float64 { return float64(p.Publishers) }),
		row("global_consumers", "Consumers currently connected", gauge, func(p *Protocol) float64 { return float64(p.Consumers) }),
		row("global_messages_received_total", "Messages received from publishers", counter, func(p *Protocol) float64 { return float64(p.ReceivedTotal) }),
		row("global_messages_received_confirm_total", "Messages received from publishers using confirms", counter, func(p *Protocol) float64 { return float64(p.ReceivedConfirmTotal) }),
		row("global_messages_confirmed_total", "Messages confirmed to publishers", counter, func(p *Protocol) float64 { return float64(p.ConfirmedTotal) }),
		row("global_messages_unroutable_dropped_total", "Messages dropped because no queue matched", counter, func(p *Protocol) float64 { return float64(p.UnroutableDroppedTotal) }),
		row("global_messages_unroutable_returned_total", "Mandatory messages returned because no queue matched", counter, func(p *Protocol) float64 { return float64(p.UnroutableReturnedTotal) }),
		row("global_messages_delivered_total", "Messages delivered to consumers", counter, func(p *Protocol) float64 { return float64(p.DeliveredTotal) }),
		row("global_messages_delivered_consume_auto_ack_total", "Messages delivered to consumers with automatic acknowledgement", counter, func(p *Protocol) float64 { return float64(p.DeliveredConsumeAutoTotal) }),
		row("global_messages_delivered_consume_manual_ack_total", "Messages delivered to consumers with manual acknowledgement", counter, func(p *Protocol) float64 { return float64(p.DeliveredConsumeManualTotal) }),
		row("global_messages_delivered_get_auto_ack_total", "Messages fetched with automatic acknowledgement", counter, func(p *Protocol) float64 { return float64(p.DeliveredGetAutoTotal) }),
		row("global_messages_delivered_get_manual_ack_total", "Messages fetched with manual acknowledgement", counter, func(p *Protocol) float64 { return float64(p.DeliveredGetManualTotal) }),
		row("global_messages_get_empty_total", "Fetches of an empty queue", counter, func(p *Protocol) float64 { return float64(p.GetEmptyTotal) }),
		row("global_messages_redelivered_total", "Messages delivered again", counter, func(p *Protocol) float64 { return float64(p.RedeliveredTotal) }),
		row("global_messages_acknowledged_total", "Messages acknowledged by consumers", counter, func(p *Protocol) float64 { return float64(p.AcknowledgedTotal) }),
		row("auth_attempts_total", "Logins accepted or refused", counter, func(p *Protocol) float64 { return float64(p.LoginsAcceptedTotal + p.LoginsRefusedTotal) }),
		row("auth_attempts_succeeded_total", "Logins accepted", counter, func(p *Protocol) float64 { return float64(p.LoginsAcceptedTotal) }),
		row("auth_attempts_failed_total", "Logins refused", counter, func(p *Protocol) float64 { return float64(p.LoginsRefusedTotal) }),
	}
}
