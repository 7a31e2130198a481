package api

import (
	"slices"
	"time"

	"github.com/batonmq/baton/core"
)

// session is an MQTT session, Baton's own: RabbitMQ shows its queue alone. Times
// are in milliseconds, as those of connections.
type session struct {
	ClientID      string  `json:"client_id"`
	VHost         string  `json:"vhost"`
	User          string  `json:"user"`
	Connected     bool    `json:"connected"`
	Connection    *string `json:"connection"` // its name; null: the client is away
	Queue         string  `json:"queue"`
	Durable       bool    `json:"durable"`
	Expiry        *int64  `json:"expiry"` // in seconds; null: never
	AwaySince     *int64  `json:"away_since"`
	ExpiresAt     *int64  `json:"expires_at"` // null: not, or the client is there
	Subscriptions int     `json:"subscriptions"`
	Messages      int     `json:"messages"`
	Unacked       int     `json:"messages_unacknowledged"`
	Window        int     `json:"receive_maximum"`  // 0: the client is away
	Dropped       uint64  `json:"messages_dropped"` // of QoS 0, because the client was there and slow
}

func sessionOf(vhost, name string, i *core.SubscriberInfo) session {
	s := session{
		ClientID: name, VHost: vhost, User: i.User, Connected: i.Linked, Queue: i.Queue, Durable: i.Durable,
		Subscriptions: i.Subscriptions, Messages: i.Waiting, Unacked: i.Out, Window: i.Window, Dropped: i.Missed,
	}
	if i.Session != nil {
		s.Connection = new(i.Session.Name())
	}
	if i.Expiry != core.Forever {
		s.Expiry = new(int64(i.Expiry / time.Second))
	}
	if !i.Linked && !i.Away.IsZero() {
		s.AwaySince = new(i.Away.UnixMilli())
		if s.Expiry != nil {
			s.ExpiresAt = new(i.Away.Add(i.Expiry).UnixMilli())
		}
	}
	return s
}

// aSession is a session in a list.
type aSession struct{ vhost, client string }

var _ item = aSession{}

func (s aSession) name() string { return s.client }

// row implements item. Without the monitoring tag one sees one's own.
func (s aSession) row(c *call) any {
	i, ok := c.primary.Broker.SubscriberInfo(s.vhost, s.client)
	if !ok || !c.is(monitoring) && i.User != c.actor.Name {
		return nil
	}
	return sessionOf(s.vhost, s.client, &i)
}

func (c *call) sessions(vhost string) list {
	l := list{}
	for _, name := range slices.Sorted(c.primary.Broker.Subscribers(vhost)) {
		l = append(l, aSession{vhost, name})
	}
	return l
}

func listSessions(c *call) (any, error) {
	vhosts, err := c.vhosts()
	if err != nil {
		return nil, err
	}
	l := list{}
	for i := range vhosts {
		l = append(l, c.sessions(vhosts[i].Name)...)
	}
	return l, nil
}

func listSessionsOfVHost(c *call) (any, error) {
	if err := c.looksInto(); err != nil {
		return nil, err
	}
	return c.sessions(c.names["vhost"]), nil
}

func getSession(c *call) (any, error) {
	if err := c.looksInto(); err != nil {
		return nil, err
	}
	s := aSession{c.names["vhost"], c.names["client"]}.row(c)
	if s == nil {
		return nil, noObject()
	}
	return s, nil
}
