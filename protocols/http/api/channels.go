package api

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/batonmq/baton/core"
)

// channel is what RabbitMQ tells of one, as far as it is known here.
type channel struct {
	Name          string `json:"name"`
	Number        int    `json:"number"`
	Node          string `json:"node"`
	User          string `json:"user"`
	Performer     string `json:"user_who_performed_action"`
	VHost         string `json:"vhost"`
	State         string `json:"state"`
	Connection    owner  `json:"connection_details"`
	Prefetch      int    `json:"prefetch_count"`
	Global        int    `json:"global_prefetch_count"`
	Consumers     int    `json:"consumer_count"`
	Confirm       bool   `json:"confirm"`
	Transactional bool   `json:"transactional"`
	Unacked       int    `json:"messages_unacknowledged"`
	Unconfirmed   int    `json:"messages_unconfirmed"`
	Uncommitted   int    `json:"messages_uncommitted"`
	UncommitAcks  int    `json:"acks_uncommitted"`
}

func (c *call) channelOf(conn *core.ConnectionInfo, i *core.ChannelInfo) channel {
	ch := channel{
		Name: channelName(conn.Name, i.Number), Number: int(i.Number), Node: c.api.opt.Node,
		User: conn.User, Performer: conn.User, VHost: conn.VHost, State: "running",
		Connection: owner{conn.Name, conn.PeerHost, conn.PeerPort},
		Prefetch:   i.Prefetch, Global: i.GlobalPrefetch, Consumers: i.Consumers,
		Confirm: i.Confirm, Transactional: i.Transactional, Unacked: i.Unacked, Unconfirmed: i.Unconfirmed,
		Uncommitted: i.Uncommitted, UncommitAcks: i.UncommittedAcks,
	}
	if i.Closing {
		ch.State = "closing"
	}
	return ch
}

// channels lists those of the connections that which lets pass, and that the actor
// may see: without the monitoring tag, its own.
func (c *call) channels(which func(*core.ConnectionInfo) bool) list {
	all, l := c.is(monitoring), list{}
	for _, s := range c.primary.Broker.Sessions() {
		infos := s.Channels()
		if len(infos) == 0 {
			continue
		}
		conn := s.Info()
		if !which(&conn) || !all && conn.User != c.actor.Name {
			continue
		}
		for i := range infos {
			l = append(l, c.channelOf(&conn, &infos[i]))
		}
	}
	return l
}

func listChannels(c *call) (any, error) {
	return c.channels(func(*core.ConnectionInfo) bool { return true }), nil
}

func listChannelsOfVHost(c *call) (any, error) {
	if err := c.looksInto(); err != nil {
		return nil, err
	}
	return c.channels(func(i *core.ConnectionInfo) bool { return i.VHost == c.names["vhost"] }), nil
}

func listChannelsOfConnection(c *call) (any, error) {
	_, conn, err := c.session(monitoring)
	if err != nil {
		return nil, err
	}
	return c.channels(func(i *core.ConnectionInfo) bool { return i.Name == conn.Name }), nil
}

// channelWithConsumers is what there is to see of one channel alone.
type channelWithConsumers struct {
	channel

	ConsumerDetails []consumer `json:"consumer_details"`
	Publishes       []any      `json:"publishes"`  // per exchange: not counted
	Deliveries      []any      `json:"deliveries"` // per queue: not counted
}

// getChannel finds a channel by the name of its connection and its number.
func getChannel(c *call) (any, error) {
	var number uint64
	if name := c.names["channel"]; strings.HasSuffix(name, ")") {
		if at := strings.LastIndex(name, " ("); at >= 0 {
			c.names["connection"] = name[:at]
			number, _ = strconv.ParseUint(name[at+2:len(name)-1], 10, 16) // no channel has the number 0
		}
	}
	s, conn, err := c.session(monitoring)
	if err != nil {
		return nil, err
	}
	for _, i := range s.Channels() {
		if uint64(i.Number) == number {
			return channelWithConsumers{c.channelOf(conn, &i), c.consumersOn(s, conn, i.Number), []any{}, []any{}}, nil
		}
	}
	return nil, noObject()
}

// consumersOn lists the consumers of one channel.
func (c *call) consumersOn(s *core.Session, conn *core.ConnectionInfo, number uint16) []consumer {
	l := []consumer{}
	for q := range c.primary.Broker.Queues(conn.VHost) {
		for _, k := range q.Consumers() {
			if k.Session == s && k.Channel == number {
				l = append(l, c.consumerOf(q, &k, conn))
			}
		}
	}
	slices.SortFunc(l, func(a, b consumer) int { return cmp.Compare(a.Tag, b.Tag) })
	return l
}
