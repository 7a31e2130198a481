package api

import (
	"cmp"
	"math"
	"net"
	"runtime"
	"slices"
	"strconv"

	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/http/history"
)

// A Peer is another broker of the same directory.
type Peer struct {
	Name      string
	Alive     bool
	Role      string // "primary", "standby", or "left" if it has ended in order
	Addresses []string

	Eligible    bool   // it would take over
	Reason      string // why it would not
	CaughtUp    bool
	BehindBytes uint64
}

// A nodeFigure is a number of a node that changes.
type nodeFigure struct {
	name  string
	value func(*NodeFacts) int64
}

// nodeFigures are those that have RabbitMQ's meaning here. What of the disk is
// read is not counted; a write of the journal is one with its flush.
var nodeFigures = []nodeFigure{
	{"mem_used", func(f *NodeFacts) int64 { return f.MemoryUsed }},
	{"fd_used", func(f *NodeFacts) int64 { return int64(f.FilesUsed) }},
	{"sockets_used", func(f *NodeFacts) int64 { return int64(f.SocketsUsed) }},
	{"proc_used", func(f *NodeFacts) int64 { return int64(f.Goroutines) }},
	{"disk_free", func(f *NodeFacts) int64 { return f.DiskFree }},
	{"gc_num", func(f *NodeFacts) int64 { return int64(f.Collections) }},
	{"gc_bytes_reclaimed", func(f *NodeFacts) int64 { return int64(f.CollectedBytes) }},
	{"context_switches", func(f *NodeFacts) int64 { return f.ContextSwitches }},
	{"io_write_count", func(f *NodeFacts) int64 { return int64(f.Groups) }},
	{"io_write_bytes", func(f *NodeFacts) int64 { return int64(f.GroupBytes) }},
	{"io_sync_count", func(f *NodeFacts) int64 { return int64(f.Groups) }},
}

// unbounded is the total of what has no limit but memory: who divides by it gets
// nearly nothing.
const unbounded = math.MaxInt32

// listNodes tells of this node and of the others on its directory.
func listNodes(c *call) (any, error) {
	l := list{c.ownNode()}
	for _, p := range c.api.peers() {
		l = append(l, nodeOfPeer(&p))
	}
	return l, nil
}

func getNode(c *call) (any, error) {
	if c.names["node"] == c.api.opt.Node {
		return c.ownNode(), nil
	}
	all := c.api.peers()
	i := slices.IndexFunc(all, func(p Peer) bool { return p.Name == c.names["node"] })
	if i < 0 {
		return nil, noObject()
	}
	return nodeOfPeer(&all[i]), nil
}

func (a *API) peers() []Peer {
	if a.opt.Peers == nil {
		return nil
	}
	return a.opt.Peers()
}

// nodeOfPeer is what is known of another node: RabbitMQ tells as little of one
// that does not run.
func nodeOfPeer(p *Peer) map[string]any {
	m := map[string]any{
		"name": p.Name, "type": "disc", "running": p.Alive, "role": p.Role, "partitions": []string{},
		"addresses": slices.Clip(append([]string{}, p.Addresses...)),
	}
	if p.Role != "primary" {
		m["eligible"], m["caught_up"], m["behind_bytes"] = p.Eligible, p.CaughtUp, p.BehindBytes
	}
	if p.Reason != "" {
		m["reason"] = p.Reason
	}
	return m
}

// ownNode is this one. A node that does not serve keeps to what its metrics tell.
func (c *call) ownNode() map[string]any {
	opt := &c.api.opt
	f := opt.Facts()
	m := map[string]any{
		"name": opt.Node, "type": "disc", "running": true, "role": "standby", "partitions": []string{},
		"fd_total": f.FilesLimit, "sockets_total": f.SocketsLimit, "proc_total": unbounded,
		"mem_limit": f.MemoryWatermark, "mem_alarm": false, "disk_free_limit": f.DiskWatermark, "disk_free_alarm": false,
		"uptime": f.Uptime.Milliseconds(), "run_queue": f.Runnable, "processors": f.Processors, "being_drained": false,
		"rates_mode": ratesMode, "exchange_types": exchangeTypes,
		"cluster_links": []string{}, "mem_calculation_strategy": "rss",
	}
	var sampler *Sampler
	if c.primary != nil {
		sampler = c.primary.Sampler
		m["role"] = "primary"
		c.ownPrimary(m)
	} else if role := opt.Absent().Role; role != "" {
		m["role"] = role
	}
	for i, figure := range nodeFigures {
		n := figure.value(&f)
		if n < 0 {
			continue // not known
		}
		putRated(m, figure.name, n, sampler.nodeFigure(i, c.windows.node))
	}
	if f.Groups > 0 {
		m["io_sync_avg_time"] = f.GroupSeconds * 1000 / float64(f.Groups)
	}
	return m
}

// ownPrimary adds what those who have logged in learn.
func (c *call) ownPrimary(m map[string]any) {
	opt, alarms := &c.api.opt, c.primary.Broker.Alarms()
	m["mem_alarm"], m["disk_free_alarm"] = alarms.Memory, alarms.Disk
	m["being_drained"] = c.primary.Broker.InMaintenance()
	m["os_pid"] = strconv.Itoa(opt.About.PID)
	m["db_dir"] = opt.About.DataDir
	m["config_files"], m["log_files"] = append([]string{}, opt.About.ConfigFiles...), append([]string{}, opt.About.LogFiles...)
	m["auth_mechanisms"] = c.mechanisms()
	m["enabled_plugins"] = c.plugins()
	m["applications"] = c.applications()
	o := overview{Node: opt.Node}
	o.listen(c.listeners())
	m["contexts"] = append([]webContext{}, o.Contexts...)
	if opt.Totals == nil {
		return
	}
	t := opt.Totals()
	for i, f := range figures {
		if f.group == churnTotals {
			putRated(m, f.name, f.value(&t), c.primary.Sampler.figure(i, history.Window{}))
		}
	}
}

type mechanism struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Enabled     bool   `json:"enabled"`
}

var mechanismNames = map[string]string{
	"PLAIN":     "SASL PLAIN authentication mechanism",
	"AMQPLAIN":  "QPid AMQPLAIN mechanism",
	"EXTERNAL":  "SASL EXTERNAL authentication mechanism: the client's certificate",
	"ANONYMOUS": "SASL ANONYMOUS authentication mechanism",
}

// mechanisms are those that clients of AMQP may use.
func (c *call) mechanisms() []mechanism {
	all := []mechanism{}
	local := auth.Credentials{RemoteAddr: &net.TCPAddr{IP: net.IPv6loopback}, TLS: true}
	for _, name := range auth.Offers(c.primary.Auth, local) {
		all = append(all, mechanism{name, cmp.Or(mechanismNames[name], name), true})
	}
	return all
}

// plugins are the names under which clients look for what Baton can do.
func (c *call) plugins() []string {
	names := []string{"rabbitmq_consistent_hash_exchange", "rabbitmq_delayed_message_exchange", "rabbitmq_management", "rabbitmq_random_exchange"}
	for _, l := range c.listeners() {
		switch l.Protocol {
		case "mqtt", "mqtt/ssl":
			names = append(names, "rabbitmq_mqtt")
		case "http/web-mqtt", "https/web-mqtt":
			names = append(names, "rabbitmq_web_mqtt")
		case "http/prometheus":
			names = append(names, "rabbitmq_prometheus")
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

type application struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Version     string `json:"version"`
}

// applications are what runs here. "rabbit" is where clients look for the version.
func (c *call) applications() []application {
	compatible := cmp.Or(c.primary.Compatible, c.api.opt.Version)
	all := []application{
		{"baton", "Baton", c.api.opt.Version},
		{"go", "The Go runtime", runtime.Version()},
		{"rabbit", "What RabbitMQ's clients are told", compatible},
	}
	for _, name := range c.plugins() {
		all = append(all, application{name, "Part of Baton", compatible})
	}
	return all
}

// getNodeMemory tells what the memory consists of, in bytes.
func getNodeMemory(c *call) (any, error) {
	f, err := c.ownFacts()
	if err != nil {
		return nil, err
	}
	m := c.memoryParts(&f.Memory)
	parts := make(map[string]any, len(m)+2)
	for name, bytes := range m {
		parts[name] = bytes
	}
	parts["strategy"] = "rss"
	parts["total"] = map[string]int64{"erlang": f.MemoryUsed, "rss": f.Memory.Resident, "allocated": f.Memory.Mapped}
	return map[string]any{"memory": parts}, nil
}

// getRelativeMemory is the same in percent of all of it.
func getRelativeMemory(c *call) (any, error) {
	f, err := c.ownFacts()
	if err != nil {
		return nil, err
	}
	parts := c.memoryParts(&f.Memory)
	var sum int64
	for _, bytes := range parts {
		sum += bytes
	}
	for name, bytes := range parts {
		parts[name] = (bytes*100 + sum - 1) / max(1, sum) // what there is, is 1 at least
	}
	parts["total"] = 100
	return map[string]any{"memory": parts}, nil
}

// memoryParts are the process' under RabbitMQ's names. What Go's heap holds beside
// messages is not known one by one: it is in other_proc.
func (c *call) memoryParts(p *MemoryParts) map[string]int64 {
	var messages int64
	if c.primary != nil {
		s := c.primary.Broker.Stats()
		messages = min(p.Objects, s.HeldBytes+s.RetainedBytes)
	}
	return map[string]int64{
		"binary": messages, "other_proc": p.Objects - messages + p.Stacks, "other_system": p.Runtime, "code": p.Program,
		"allocated_unused": p.Free, "reserved_unallocated": max(0, p.Resident-p.Mapped-p.Program),
	}
}

// ownFacts are of the node that the path names, if that is this one.
func (c *call) ownFacts() (f NodeFacts, err error) {
	if c.names["node"] != c.api.opt.Node {
		return f, noObject()
	}
	return c.api.opt.Facts(), nil
}
