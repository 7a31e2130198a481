package api

import (
	"fmt"

	"github.com/batonmq/baton/core"
)

// consumer is what RabbitMQ tells of one.
type consumer struct {
	Tag       string          `json:"consumer_tag"`
	Ack       bool            `json:"ack_required"`
	Exclusive bool            `json:"exclusive"`
	Active    bool            `json:"active"`
	Activity  string          `json:"activity_status"`
	Prefetch  int             `json:"prefetch_count"`
	Arguments map[string]any  `json:"arguments"`
	Queue     inVHost         `json:"queue"`
	Channel   consumerChannel `json:"channel_details"`

	// Baton's own
	Unacked   int    `json:"messages_unacknowledged"` // of an MQTT session: all that it has
	WaitsFor  string `json:"waits_for,omitempty"`     // why it can be given no more: credit, channel_credit, memory, socket, primary or session
	WaitsFrom int64  `json:"waits_since,omitempty"`   // milliseconds
}

// inVHost names an object in its vhost.
type inVHost struct {
	Name  string `json:"name"`
	VHost string `json:"vhost"`
}

// consumerChannel is where a consumer's deliveries go. Protocols that have no
// channels have the number 0.
type consumerChannel struct {
	Name       string `json:"name"`
	Number     int    `json:"number"`
	Node       string `json:"node"`
	User       string `json:"user"`
	Connection string `json:"connection_name"`
	PeerHost   string `json:"peer_host"`
	PeerPort   int    `json:"peer_port"`
}

// seenConnections remembers during one call what sessions have said of their
// connections: one may have many consumers.
type seenConnections map[*core.Session]*core.ConnectionInfo

func (seen seenConnections) of(s *core.Session) *core.ConnectionInfo {
	info := seen[s]
	if info == nil {
		i := s.Info()
		info = &i
		seen[s] = info
	}
	return info
}

func (c *call) consumerOf(q *core.Queue, k *core.ConsumerInfo, conn *core.ConnectionInfo) consumer {
	one := consumer{
		Tag: k.Tag, Ack: !k.NoAck, Exclusive: k.Exclusive, Active: k.Active, Activity: "up",
		Prefetch: k.Prefetch, Arguments: object(k.Args), Queue: inVHost{q.Name(), q.VHost()}, Unacked: k.Unacked,
		Channel: consumerChannel{
			Name: conn.Name, Number: int(k.Channel), Node: c.api.opt.Node, User: conn.User, Connection: conn.Name,
			PeerHost: conn.PeerHost, PeerPort: conn.PeerPort,
		},
	}
	if k.Channel != 0 {
		one.Channel.Name = channelName(conn.Name, k.Channel)
	}
	if k.Lack != core.LacksNothing {
		one.WaitsFor, one.WaitsFrom = k.Lack.String(), k.Since.UnixMilli()
	}
	switch {
	case k.Single && k.Active:
		one.Activity = "single_active"
	case k.Single:
		one.Activity = "waiting"
	}
	return one
}

func channelName(connection string, number uint16) string {
	return fmt.Sprintf("%s (%d)", connection, number)
}

// consumersOf lists those of vhosts that the actor may see: without the monitoring
// tag, its own.
func (c *call) consumersOf(vhosts ...string) list {
	all, l, seen := c.is(monitoring), list{}, seenConnections{}
	for _, vhost := range vhosts {
		for _, q := range c.sortedQueues(vhost) {
			for _, k := range q.Consumers() {
				if conn := seen.of(k.Session); all || conn.User == c.actor.Name {
					l = append(l, c.consumerOf(q, &k, conn))
				}
			}
		}
	}
	return l
}

func listConsumers(c *call) (any, error) {
	vhosts, err := c.vhosts()
	if err != nil {
		return nil, err
	}
	names := make([]string, len(vhosts))
	for i := range vhosts {
		names[i] = vhosts[i].Name
	}
	return c.consumersOf(names...), nil
}

func listConsumersOfVHost(c *call) (any, error) {
	if err := c.looksInto(); err != nil {
		return nil, err
	}
	return c.consumersOf(c.names["vhost"]), nil
}
