package api

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
)

// The questions why something does not happen, which are Baton's own. An answer is
// what is so now. What was is remembered of what reached nobody alone.

// answer is what is found about an object.
type answer struct {
	About    string    `json:"about"`
	Findings []finding `json:"findings"` // empty: nothing stands in its way
}

// finding is one thing that is so, and what may be done about it.
type finding struct {
	Code   string `json:"code"`
	Text   string `json:"text"`
	Advice string `json:"advice,omitempty"`
}

func (a *answer) find(code, advice, format string, args ...any) {
	a.Findings = append(a.Findings, finding{code, fmt.Sprintf(format, args...), advice})
}

// why answers about what the query names: a queue, a session, a connection, an
// exchange, with a routing key what is published with it; and about all of the
// broker where it names nothing.
func why(c *call) (any, error) {
	q := c.query
	c.names["vhost"] = cmp.Or(q.Get("vhost"), "/")
	switch {
	case q.Has("connection"):
		c.names["connection"] = q.Get("connection")
		return c.whyConnection()
	case q.Has("queue"):
		c.names["queue"] = q.Get("queue")
		return c.whyQueue()
	case q.Has("session"):
		return c.whySession(q.Get("session"))
	case q.Has("exchange") && q.Has("routing_key"):
		return c.whyPublish(q.Get("exchange"), q.Get("routing_key"), q.Get("user"))
	case q.Has("exchange"):
		c.names["exchange"] = q.Get("exchange")
		return c.whyExchange()
	}
	return c.whyBroker()
}

// whySession tells why a session's messages wait.
func (c *call) whySession(client string) (any, error) {
	if err := c.looksInto(); err != nil {
		return nil, err
	}
	a := answer{About: fmt.Sprintf("session '%s' in vhost '%s'", client, c.names["vhost"]), Findings: []finding{}}
	if !c.findSession(&a, client) {
		return nil, noObject()
	}
	return a, nil
}

// findSession tells what keeps messages from a session's client. It reports
// whether there is the session.
func (c *call) findSession(a *answer, client string) (ok bool) {
	i, ok := c.primary.Broker.SubscriberInfo(c.names["vhost"], client)
	if !ok || !c.is(monitoring) && i.User != c.actor.Name {
		return false
	}
	switch {
	case !i.Linked:
		until := "and never expires"
		if i.Expiry != core.Forever {
			until = "until " + i.Away.Add(i.Expiry).UTC().Format(time.RFC3339)
		}
		a.find("client_away", "the messages are sent when it comes back", "the client is away since %s; the session is kept %s; %d messages wait",
			i.Away.UTC().Format(time.RFC3339), until, i.Waiting)
	case i.Out >= i.Window && i.Waiting > 0:
		a.find("window_full", "the client should acknowledge, or announce a larger Receive Maximum",
			"the client has %d messages that it has not answered for, as many as it may have", i.Out)
	case i.Session != nil && i.Waiting > i.Out:
		if conn := i.Session.Info(); conn.Pending > 0 {
			a.find("slow_reader", "its client does not read: look at its machine and network", "%d bytes wait to be written to the client", conn.Pending)
		}
	}
	if i.Missed > 0 {
		a.find("dropped", "its client does not read fast enough; subscribe with QoS 1 to what must not be lost", "%d messages of QoS 0 were not sent to it, because it was slow", i.Missed)
	}
	if i.Subscriptions == 0 {
		a.find("no_subscriptions", "the client should subscribe", "the session has no subscription, so nothing is sent to it")
	}
	return true
}

// whyConnection tells why a connection's messages do not go on.
func (c *call) whyConnection() (any, error) {
	s, conn, err := c.session(monitoring)
	if err != nil {
		return nil, err
	}
	a := answer{About: fmt.Sprintf("connection '%s' of user '%s'", conn.Name, conn.User), Findings: []finding{}}
	c.findAlarms(&a)
	if conn.State != "" && conn.State != "running" {
		a.find("state", "", "the connection is %s", conn.State)
	}
	if conn.Pending > 0 {
		a.find("slow_reader", "its client does not read: look at its machine and network", "%d bytes wait to be written to its client", conn.Pending)
	}
	if conn.State == stateBlocked && consumes(s) {
		a.find("blocked_consumer", "publish and consume on connections of their own", "it publishes and consumes: while it waits, its acknowledgements do, too")
	}
	for _, ch := range s.Channels() {
		limit := cmp.Or(ch.GlobalPrefetch, ch.Prefetch)
		if limit > 0 && ch.Unacked >= limit {
			a.find("no_credit", "acknowledge deliveries, or raise the prefetch limit", "channel %d has %d deliveries without an answer, and its prefetch limit is %d",
				ch.Number, ch.Unacked, limit)
		}
		if ch.Uncommitted+ch.UncommittedAcks > 0 {
			a.find("uncommitted", "commit or roll back", "channel %d has %d publishes and %d acknowledgements in a transaction", ch.Number, ch.Uncommitted, ch.UncommittedAcks)
		}
	}
	return a, nil
}

// consumes reports whether a connection has consumers on its channels.
func consumes(s *core.Session) bool {
	return slices.ContainsFunc(s.Channels(), func(ch core.ChannelInfo) bool { return ch.Consumers > 0 })
}

// findAlarms tells why publishers wait.
func (c *call) findAlarms(a *answer) {
	alarms := c.primary.Broker.Alarms()
	if alarms.Memory {
		a.find("memory_alarm", "consume, purge, or give the broker more memory (baton alarm)", "all publishers wait until memory is free")
	}
	if alarms.Disk {
		a.find("disk_alarm", "free space on the disk of the data directory (baton alarm)", "all publishers wait until disk space is free")
	}
}

// whyPublish tells where a persistent message goes (QoS 1), or why nowhere. Who asks for
// another user is an administrator.
func (c *call) whyPublish(exchange, key, user string) (any, error) {
	s, err := c.attachAs(user)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	exchange = exchangeName(exchange)
	a := answer{
		About:    fmt.Sprintf("a message to exchange '%s' in vhost '%s' with the routing key '%s'", exchange, c.names["vhost"], key),
		Findings: []finding{},
	}
	c.findAlarms(&a)
	r, err := s.Reach(&core.Message{Exchange: exchange, Key: key, Persistent: true})
	switch {
	case core.KindOf(err) == core.Refused && err != nil:
		a.find("denied", "baton permission list, baton topic-permission list", "%s", sentence(err))
	case core.KindOf(err) == core.NotFound && err != nil:
		a.find("no_exchange", "declare it", "%s", sentence(err))
	case err != nil:
		return nil, told(err)
	case r.Nobody():
		c.findUnroutable(&a, exchange, &r)
	default:
		for _, to := range []struct {
			what  string
			names []string
		}{{"kept in queues", r.Queues}, {"sent to sessions that are there", r.Subscribers}, {"sent to one client each of shared subscriptions", r.Shared}} {
			if len(to.names) > 0 {
				a.find("routed", "", "it is %s: %s", to.what, some(to.names))
			}
		}
	}
	return a, nil
}

func (c *call) findUnroutable(a *answer, exchange string, r *core.Reach) {
	if exchange == "" {
		a.find("unroutable", "declare a queue of that name; MQTT sessions' queues take no message in this way", "there is no queue of that name to publish to")
		return
	}
	bindings := 0
	for _, name := range r.Exchanges {
		if x := c.primary.Broker.Exchange(c.names["vhost"], name); x != nil {
			for range x.Outbound() {
				bindings++
			}
		}
	}
	a.find("unroutable", "bind a queue (baton bindings), or give the exchange an alternate-exchange",
		"the message passes %s, and none of %d bindings there matches it; headers were not looked at", some(r.Exchanges), bindings)
}

// some is a list of names for people, which is not endless.
func some(names []string) string {
	const most = 20
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" and %d more", len(names)-most)
		names = names[:most]
	}
	return "'" + strings.Join(names, "', '") + "'" + more
}

// attachAs is attach for another user, if one is named.
func (c *call) attachAs(user string) (*core.Session, error) {
	if user == "" || user == c.actor.Name {
		return c.enter()
	}
	if !c.is(administrator) {
		return nil, notAuthorised("only an administrator may ask for another user")
	}
	if c.primary.Account == nil {
		return nil, badRequest("users are not known here")
	}
	p, err := c.primary.Account(user, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		if errors.Is(err, auth.ErrRefused) {
			err = notFound(fmt.Sprintf("there is no user '%s' in the broker's own records", user))
		}
		return nil, err
	}
	vhost := c.names["vhost"]
	if !c.primary.Broker.HasVHost(vhost) {
		return nil, noObject()
	}
	s, err := c.primary.Broker.Attach(vhost, core.SessionOptions{Conn: c.peer().String(), User: p.Name, Tags: p.Tags, Access: p.Access(auth.Variables{})})
	return s, told(err)
}
