package admin

import (
	"strings"
	"testing"
)

// TestMetrics_Names: what dashboards and exporters for RabbitMQ ask for is there, with the labels that they group by.
func TestMetrics_Names(t *testing.T) {
	s := start(t, Options{Node: "a", Cluster: "pair", Version: "1.2.3", Compatible: "3.13.7", Stats: func() (Stats, bool) {
		var s Stats
		s.Add(&Protocol{Name: "amqp091", Publishers: 2, Consumers: 3, Traffic: Traffic{ReceivedTotal: 5, LoginsAcceptedTotal: 7, LoginsRefusedTotal: 4}})
		s.Add(&Protocol{Name: "mqtt", Traffic: Traffic{ReceivedTotal: 6}})
		if s.ReceivedTotal != 11 {
			t.Errorf("all protocols together: %d messages received", s.ReceivedTotal)
		}
		return s, true
	}})
	_, body := get(t, s.MetricsAddrs()[0], "/metrics")
	types := map[string]string{}
	for line := range strings.Lines(body) {
		if f := strings.Fields(line); len(f) == 4 && f[0] == "#" && f[1] == "TYPE" {
			types[f[2]] = f[3]
		}
	}
	for _, name := range rabbitNames() {
		want := "gauge"
		if strings.HasSuffix(name, "_total") {
			want = "counter"
		}
		if types[name] != want {
			t.Errorf("%s is a %q, want a %s", name, types[name], want)
		}
	}
	wantLines(t, body,
		`rabbitmq_identity_info{rabbitmq_cluster="pair",rabbitmq_endpoint="aggregated",rabbitmq_node="a"} 1`,
		`rabbitmq_global_messages_received_total{protocol="amqp091"} 5`, `rabbitmq_global_messages_received_total{protocol="mqtt"} 6`,
		`rabbitmq_global_publishers{protocol="amqp091"} 2`, `rabbitmq_global_consumers{protocol="amqp091"} 3`,
		`rabbitmq_auth_attempts_total{protocol="amqp091"} 11`, `rabbitmq_auth_attempts_failed_total{protocol="amqp091"} 4`,
	)
	if !strings.Contains(body, `product_version="1.2.3",rabbitmq_version="3.13.7"`) {
		t.Error("rabbitmq_build_info does not tell the versions")
	}
}

// rabbitNames are those of RabbitMQ that dashboards, exporters and alert rules use.
func rabbitNames() []string {
	return strings.Fields(`
		rabbitmq_identity_info rabbitmq_build_info rabbitmq_erlang_uptime_seconds
		rabbitmq_queue_messages rabbitmq_queue_messages_ready rabbitmq_queue_messages_unacked
		rabbitmq_connections rabbitmq_channels rabbitmq_queues rabbitmq_consumers rabbitmq_global_publishers rabbitmq_global_consumers
		rabbitmq_connections_opened_total rabbitmq_connections_closed_total rabbitmq_channels_opened_total rabbitmq_channels_closed_total
		rabbitmq_queues_declared_total rabbitmq_queues_created_total rabbitmq_queues_deleted_total
		rabbitmq_global_messages_received_total rabbitmq_global_messages_received_confirm_total rabbitmq_global_messages_confirmed_total
		rabbitmq_global_messages_routed_total rabbitmq_global_messages_unroutable_dropped_total rabbitmq_global_messages_unroutable_returned_total
		rabbitmq_global_messages_delivered_total rabbitmq_global_messages_delivered_consume_auto_ack_total
		rabbitmq_global_messages_delivered_consume_manual_ack_total rabbitmq_global_messages_delivered_get_auto_ack_total
		rabbitmq_global_messages_delivered_get_manual_ack_total rabbitmq_global_messages_get_empty_total
		rabbitmq_global_messages_redelivered_total rabbitmq_global_messages_acknowledged_total
		rabbitmq_process_resident_memory_bytes rabbitmq_resident_memory_limit_bytes
		rabbitmq_disk_space_available_bytes rabbitmq_disk_space_available_limit_bytes
		rabbitmq_process_open_fds rabbitmq_process_max_fds
		rabbitmq_alarms_memory_used_watermark rabbitmq_alarms_free_disk_space_watermark
		rabbitmq_auth_attempts_total rabbitmq_auth_attempts_succeeded_total rabbitmq_auth_attempts_failed_total
	`)
}
