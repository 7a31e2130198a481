package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// A toolVerb is what one of RabbitMQ's tools is asked to do.
type toolVerb struct {
	use, short string
	args       cobra.PositionalArgs
	run        func(*toolCall, []string) error
}

// verbs are those of the tool. RabbitMQ's diagnostics look, and its control tool
// changes things, too.
func (t *rabbitTool) verbs() []toolVerb {
	list := func(what string, columns ...string) toolVerb {
		return toolVerb{"list_" + what + " [COLUMN...]", "List " + what, cobra.ArbitraryArgs, func(c *toolCall, args []string) error {
			if len(args) > 0 {
				columns = args
			}
			return c.list(what, apiPath("api", what), columns)
		}}
	}
	verbs := []toolVerb{
		{"ping", "Say whether the broker's process answers", cobra.NoArgs, pingTool},
		{"status", "Show what the broker is and how it is", cobra.NoArgs, statusTool},
		{"await_startup", "Wait until the broker serves", cobra.NoArgs, awaitStartup},
		{"cluster_status", "Show the broker as a cluster of one", cobra.NoArgs, clusterStatus},
	}
	verbs = append(verbs, listVerbs()...)
	switch t.name {
	case "rabbitmq-upgrade":
		return upgradeVerbs()
	case "rabbitmq-plugins":
		return pluginVerbs()
	case "rabbitmq-diagnostics":
		return append(verbs, diagnosticVerbs()...)
	}
	verbs = append(verbs, t.changeVerbs()...)
	return append(verbs,
		toolVerb{"wait [PIDFILE]", "Wait until the broker serves", cobra.MaximumNArgs(1), awaitStartup},
		toolVerb{"node_health_check", "Say whether the broker serves clients", cobra.NoArgs, healthCheck("is-in-service", "The broker serves clients.\n")},
		toolVerb{
			"set_vm_memory_high_watermark FRACTION | absolute SIZE", "Set the memory watermark until the broker ends",
			cobra.RangeArgs(1, 2), setMemoryWatermark,
		},
		list("connections", "user", "peer_host", "peer_port", "state"),
		list("vhosts", "name"),
		list("users", "name", "tags"),
	)
}

func pingTool(c *toolCall, _ []string) error {
	if err := c.get("/livez", nil); err != nil {
		return err
	}
	return c.show("Ping succeeded", "Ping succeeded\n")
}

// awaitStartup asks until the answer is yes or the time is up. A broker that is not
// there yet has no socket.
func awaitStartup(c *toolCall, _ []string) error {
	ctx, cancel := context.WithTimeoutCause(c.cmd.Context(), defaultToolTimeout, fmt.Errorf("no broker serves after %v", defaultToolTimeout))
	defer cancel()
	again := time.NewTicker(healthPoll)
	defer again.Stop()
	for {
		err := c.get("/readyz", nil)
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// healthPoll is how often a broker that starts is asked whether it serves.
const healthPoll = 200 * time.Millisecond

// toolOverview is what the status is made of.
type toolOverview struct {
	Product   string         `json:"product_version"`
	Version   string         `json:"rabbitmq_version"`
	Node      string         `json:"node"`
	Cluster   string         `json:"cluster_name"`
	Totals    map[string]int `json:"object_totals"`
	Listeners []struct {
		Protocol string `json:"protocol"`
		Address  string `json:"ip_address"`
		Port     int    `json:"port"`
	} `json:"listeners"`
}

func statusTool(c *toolCall, _ []string) error {
	var o toolOverview
	var a adminAlarms
	err := c.ask(func(b *broker) error {
		if err := b.get("/api/overview", &o); err != nil {
			return err
		}
		return b.get("/alarms", &a)
	})
	if err != nil {
		return err
	}
	if c.format == "json" {
		return c.show(map[string]any{
			"product_name": "Baton", "product_version": o.Product, "rabbitmq_version": o.Version, "node": o.Node,
			"alarms": a.names(), "vm_memory_high_watermark_limit": a.Memory.Watermark, "memory_used": a.Memory.Used,
			"disk_free": a.Disk.Free, "disk_free_limit": a.Disk.Watermark, "totals": o.Totals, "listeners": o.Listeners,
		}, "")
	}
	var s strings.Builder
	fmt.Fprintf(&s, "Runtime\n\nBaton version: %s\nAppears to clients as RabbitMQ version: %s\nNode name: %s\n", o.Product, o.Version, o.Node)
	fmt.Fprintf(&s, "\nAlarms\n\n%s\n", cmp.Or(strings.Join(a.names(), "\n"), "(none)"))
	fmt.Fprintf(&s, "\nMemory\n\nTotal memory used: %s\nMemory high watermark: %s\n", roughSize(a.Memory.Used), roughSize(a.Memory.Watermark))
	fmt.Fprintf(&s, "\nFree Disk Space\n\nLow free disk space watermark: %s\nFree disk space: %s\n", roughSize(a.Disk.Watermark), roughSize(a.Disk.Free))
	fmt.Fprintf(&s, "\nTotals\n\nConnection count: %d\nQueue count: %d\n", o.Totals["connections"], o.Totals["queues"])
	s.WriteString("\nListeners\n\n")
	for _, l := range o.Listeners {
		fmt.Fprintf(&s, "Interface: %s, port: %d, protocol: %s\n", l.Address, l.Port, l.Protocol)
	}
	return c.show(nil, s.String())
}

// names are those of the alarms that are set.
func (a *adminAlarms) names() []string {
	names := []string{}
	if a.Memory.Alarm {
		names = append(names, "memory")
	}
	if a.Disk.Alarm {
		names = append(names, "disk")
	}
	return names
}

// setMemoryWatermark takes a fraction of what the process may use, or a size.
// RabbitMQ lets publishers wait at 0; here the least watermark does.
func setMemoryWatermark(c *toolCall, args []string) error {
	var fraction float64
	var bytes int64
	switch {
	case len(args) == 2 && args[0] == "absolute":
		n, ok := rabbitSize(args[1])
		if !ok {
			return &exitError{exitToolUsage, fmt.Errorf("%q is no size like 512MiB, 2GB or 1073741824", args[1])}
		}
		bytes = n
	case len(args) == 2:
		return &exitError{exitToolUsage, fmt.Errorf("give a fraction, or absolute and a size, and not %q", strings.Join(args, " "))}
	default:
		f, err := strconv.ParseFloat(args[0], 64)
		if err != nil || !(f >= 0 && f <= 1) { // not a number is in no range
			return &exitError{exitToolUsage, fmt.Errorf("%q is no fraction between 0.0 and 1.0", args[0])}
		}
		fraction = f
	}
	if err := c.tell("Setting memory threshold to %s ...", args[len(args)-1]); err != nil {
		return err
	}
	return c.ask(func(b *broker) error {
		if len(args) == 1 {
			var a adminAlarms
			if err := b.get("/alarms", &a); err != nil {
				return err
			}
			if a.Memory.Limit == 0 {
				return errors.New("how much memory the broker may take is not known there: set memory.limit, or give a size with absolute")
			}
			bytes = int64(fraction * float64(a.Memory.Limit))
		}
		return b.put("/alarms", map[string]any{"memory": map[string]any{"watermark": max(1, bytes)}})
	})
}

// rabbitUnits are RabbitMQ's suffixes of sizes: powers of two, but for the plain
// ones with a B.
var rabbitUnits = []struct {
	suffix string
	bytes  int64
}{
	{"kiB", 1 << 10},
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"k", 1 << 10},
	{"M", 1 << 20},
	{"G", 1 << 30},
	{"", 1},
}

func rabbitSize(s string) (int64, bool) {
	for _, u := range rabbitUnits {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		return n * u.bytes, err == nil && n >= 0 && n <= math.MaxInt64/u.bytes
	}
	return 0, false
}

// list prints columns of what the API lists, which has RabbitMQ's names of them.
func (c *toolCall) list(what, path string, columns []string) error {
	var rows []map[string]json.RawMessage
	if err := c.get(path, &rows); err != nil {
		return err
	}
	if err := c.tell("Listing %s ...", what); err != nil {
		return err
	}
	if c.format == "json" {
		return c.show(reduced(rows, columns), "")
	}
	var s strings.Builder
	if !c.silent {
		s.WriteString(strings.Join(columns, "\t") + "\n")
	}
	for _, row := range rows {
		cells := make([]string, len(columns))
		for i, name := range columns {
			cells[i] = cellText(toolCell(row, name))
		}
		s.WriteString(strings.Join(cells, "\t") + "\n")
	}
	return c.show(nil, s.String())
}

// reduced are rows with these columns alone.
func reduced(rows []map[string]json.RawMessage, columns []string) []map[string]json.RawMessage {
	out := make([]map[string]json.RawMessage, len(rows))
	for i, row := range rows {
		out[i] = make(map[string]json.RawMessage, len(columns))
		for _, name := range columns {
			if v := toolCell(row, name); v != nil {
				out[i][name] = v
			}
		}
	}
	return out
}

// cellText is a value as a table shows it: a text without its quotes, unless a
// terminal would obey what is in it.
func cellText(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) != nil {
		return string(v)
	}
	if quoted := strconv.Quote(s); quoted != `"`+s+`"` {
		return quoted
	}
	return s
}
