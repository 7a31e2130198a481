package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	admin "github.com/batonmq/baton/protocols/http"
)

// brokerStatus is what a person wants to know first.
type brokerStatus struct {
	admin.State

	Product   string           `json:"product_version,omitempty"`
	Version   string           `json:"rabbitmq_version,omitempty"`
	Node      string           `json:"node,omitempty"`
	Cluster   string           `json:"cluster_name,omitempty"`
	Totals    map[string]int   `json:"object_totals,omitempty"`
	Messages  map[string]any   `json:"queue_totals,omitempty"`
	Rates     map[string]any   `json:"message_stats,omitempty"`
	Alarms    *adminAlarms     `json:"alarms,omitempty"`
	Listeners []statusListener `json:"listeners,omitempty"`
}

type statusListener struct {
	Protocol string `json:"protocol"`
	Address  string `json:"ip_address"`
	Port     int    `json:"port"`
}

// statusCommand answers for a standby, too: it knows its role.
func statusCommand(f *adminFlags) *cobra.Command {
	return f.verbCommand("status", "Show what the broker is, what it has, and how it is", cobra.NoArgs, func(b *broker, _ []string) error {
		var s brokerStatus
		if err := b.ready(&s.State); err != nil {
			return err
		}
		if s.Role == admin.RolePrimary {
			if err := b.get("/api/overview", &s); err != nil {
				return err
			}
			s.Alarms = new(adminAlarms)
			if err := b.get("/alarms", s.Alarms); err != nil {
				return err
			}
		}
		if b.asJSON {
			return b.print(&s, nil)
		}
		return printOut(b.cmd, s.text())
	})
}

// ready reads what /readyz says, whether that is yes or no.
func (b *broker) ready(s *admin.State) error {
	err := b.get("/readyz", s)
	if e, ok := errors.AsType[*answerError](err); ok && e.status == http.StatusServiceUnavailable && json.Unmarshal(e.body, s) == nil && s.Role != "" {
		return nil
	}
	return err
}

func (s *brokerStatus) text() string {
	var t strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&t, "%-12s "+format+"\n", append([]any{what + ":"}, args...)...)
	}
	role := string(s.Role)
	if s.Epoch > 0 {
		role += ", epoch " + strconv.FormatUint(s.Epoch, 10)
	}
	line("role", "%s", role)
	if s.Reason != "" {
		line("not ready", "%s", s.Reason)
	}
	if st := s.Standby; st != nil {
		line("primary", "%s, epoch %d, at %s", st.Primary, st.PrimaryEpoch, cmp.Or(strings.Join(st.Addresses, ", "), "-"))
		line("eligible", "%s", cmp.Or(st.Ineligible, "yes"))
		line("behind", "%s, %.1f s", roughSize(int64(st.BehindBytes)), st.BehindSeconds)
	}
	if s.Node == "" {
		return t.String()
	}
	line("node", "%s of %s", s.Node, s.Cluster)
	line("version", "%s, to clients RabbitMQ %s", s.Product, s.Version)
	for _, l := range s.Listeners {
		line("listener", "%s on %s", l.Protocol, cmp.Or(l.Address, "all addresses")+":"+strconv.Itoa(l.Port))
	}
	line("objects", "%d connections, %d channels, %d queues, %d exchanges, %d consumers",
		s.Totals["connections"], s.Totals["channels"], s.Totals["queues"], s.Totals["exchanges"], s.Totals["consumers"])
	line("messages", "%s ready, %s unacknowledged", number(s.Messages["messages_ready"]), number(s.Messages["messages_unacknowledged"]))
	line("rates", "%s/s in, %s/s out", rateOf(s.Rates, "publish_details"), rateOf(s.Rates, "deliver_get_details"))
	line("memory", "%s used, watermark %s", roughSize(s.Alarms.Memory.Used), roughSize(s.Alarms.Memory.Watermark))
	line("disk", "%s free, watermark %s", roughSize(s.Alarms.Disk.Free), roughSize(s.Alarms.Disk.Watermark))
	line("alarms", "%s", cmp.Or(strings.Join(s.Alarms.names(), ", "), "none"))
	return t.String()
}

func number(v any) string {
	n, _ := v.(float64)
	return strconv.FormatFloat(n, 'f', -1, 64)
}

func rateOf(stats map[string]any, details string) string {
	m, _ := stats[details].(map[string]any)
	n, _ := m["rate"].(float64)
	return strconv.FormatFloat(n, 'f', 1, 64)
}
