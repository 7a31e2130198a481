package admin

import "github.com/prometheus/client_golang/prometheus"

// BridgeStats is a snapshot of a bridge to another MQTT broker.
type BridgeStats struct {
	Name      string
	Connected bool
	Waiting   int // messages to be carried out

	ConnectsTotal, SentTotal, ReceivedTotal, DroppedTotal uint64
}

// A bridgeMetric renders one field of each bridge.
type bridgeMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*BridgeStats) float64
}

func bridgeMetrics() []bridgeMetric {
	row := func(name, help string, kind prometheus.ValueType, value func(*BridgeStats) float64) bridgeMetric {
		return bridgeMetric{prometheus.NewDesc("baton_bridge_"+name, help, []string{"bridge"}, nil), kind, value}
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	return []bridgeMetric{
		row("connected", "1 while the bridge is connected, else 0", gauge, func(s *BridgeStats) float64 { return one(s.Connected) }),
		row("waiting_messages", "Messages to be carried to the other broker, those on their way included", gauge, func(s *BridgeStats) float64 { return float64(s.Waiting) }),
		row("connects_total", "Connections that the other broker has accepted", counter, func(s *BridgeStats) float64 { return float64(s.ConnectsTotal) }),
		row("sent_messages_total", "Messages sent to the other broker, those sent again included", counter, func(s *BridgeStats) float64 { return float64(s.SentTotal) }),
		row("received_messages_total", "Messages received from the other broker, those received again included", counter, func(s *BridgeStats) float64 { return float64(s.ReceivedTotal) }),
		row("dropped_messages_total", "Messages that either broker does not take", counter, func(s *BridgeStats) float64 { return float64(s.DroppedTotal) }),
	}
}
