package amqp091

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"unique"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/listen"
)

// connectionName is the client property by which people tell connections of one
// program apart.
const connectionName = "connection_name"

// client is what connection.start-ok says of the client.
type client struct {
	name string // its connection_name

	// others are the other properties, encoded. Those of all connections that one
	// client library makes are alike, and kept once.
	others unique.Handle[string]

	cancelNotify bool // it understands basic.cancel from the server
	authClose    bool // it wants connection.close when its login is refused
	blocked      bool // it understands connection.blocked
}

func newClient(t field.Table) (cl client, err error) {
	cl.name = lookup[string](t, connectionName)
	others := make(field.Table, 0, len(t))
	for _, f := range t {
		if f.Key != connectionName || cl.name == "" {
			others = append(others, f)
		}
	}
	b, err := field.AppendTable(nil, others)
	if err != nil {
		return cl, fmt.Errorf("keep the client's properties: %w", err)
	}
	cl.others = unique.Make(string(b))
	capabilities := lookup[field.Table](t, "capabilities")
	cl.cancelNotify = lookup[bool](capabilities, "consumer_cancel_notify")
	cl.authClose = lookup[bool](capabilities, "authentication_failure_close")
	cl.blocked = lookup[bool](capabilities, "connection.blocked")
	return cl, nil
}

// properties are those that the client has sent.
func (cl *client) properties() field.Table {
	t, _, _ := field.ParseTable([]byte(cl.others.Value())) // it was encoded here
	if cl.name != "" {
		t = append(t, field.Field{Key: connectionName, Value: cl.name})
	}
	return t
}

// lookup returns the value of key if it is a T.
func lookup[T any](t field.Table, key string) T {
	v, _ := t.Get(key)
	value, _ := v.(T)
	return value
}

// logOpen is the line of a connection that can be used.
func (c *conn) logOpen() {
	properties := c.client.properties()
	attrs := []slog.Attr{
		slog.String("user", c.user), slog.String("vhost", c.vhost), slog.String("mechanism", c.mechanism),
		slog.String("product", lookup[string](properties, "product")),
		slog.String("version", lookup[string](properties, "version")), slog.String("name", c.client.name),
	}
	if state, secure := listen.TLSState(c.nc); secure {
		attrs = append(attrs, slog.String("tls", listen.TLSVersion(state.Version)))
	}
	c.log().LogAttrs(context.Background(), slog.LevelInfo, "connection opened", attrs...)
}

// end asks the connection to end, from any goroutine.
func (c *conn) end(reason error) { c.interrupt(forced(reason)) }

// info describes the connection, from any goroutine, as RabbitMQ does. It reads
// what the handshake has fixed, and counters.
func (c *conn) info(nameOnly bool) core.ConnectionInfo {
	remote, local := c.nc.RemoteAddr(), c.nc.LocalAddr()
	name := remote.String() + " -> " + local.String()
	if nameOnly {
		return core.ConnectionInfo{Name: name}
	}
	n := &c.count
	i := core.ConnectionInfo{
		Name: name, Protocol: "AMQP 0-9-1",
		User: c.user, VHost: c.vhost, AuthMechanism: c.mechanism, State: c.state(),
		Channels:   int(n.channelsOpened.Load() - n.channelsClosed.Load()),
		ChannelMax: int(c.channelMax), FrameMax: int(c.frameMax), Timeout: c.heart.interval,
		ClientName: c.client.name, ClientProperties: c.client.properties(), ConnectedAt: c.entry.Opened,
		BytesIn: n.bytesRead.Load(), PacketsIn: n.reads.Load(), BytesOut: c.out.Written(), PacketsOut: c.out.Writes(),
		Pending: c.out.Size(),
	}
	i.PeerHost, i.PeerPort = listen.HostPort(remote)
	i.Host, i.Port = listen.HostPort(local)
	if state, secure := listen.TLSState(c.nc); secure {
		i.TLS, i.TLSVersion, i.Cipher = true, listen.TLSVersion(state.Version), tls.CipherSuiteName(state.CipherSuite)
		if len(state.PeerCertificates) > 0 {
			leaf := state.PeerCertificates[0]
			i.PeerCertSubject, i.PeerCertIssuer = leaf.Subject.String(), leaf.Issuer.String()
		}
	}
	return i
}

// traffic is what of info changes all the time.
func (c *conn) traffic() core.Traffic {
	return core.Traffic{BytesIn: c.count.bytesRead.Load(), BytesOut: c.out.Written()}
}

// state is RabbitMQ's word: a connection is blocking while an alarm is set, and
// blocked once it has published meanwhile.
func (c *conn) state() string {
	switch {
	case c.blocked.Load():
		return "blocked"
	case c.srv.opt.Broker.Alarms() != core.Alarms{}: // one load, no lock of the engine
		return "blocking"
	}
	return "running"
}

// tellBlocked is called on the reader, which waits because of alarms: a client
// that understands it hears so once, and once when it goes on. What it is told of
// is why it waits at first, as in RabbitMQ.
func (c *conn) tellBlocked(alarms core.Alarms) {
	waits := alarms != core.Alarms{}
	if c.blocked.Swap(waits) == waits || !c.client.blocked {
		return
	}
	var m wire.Method = &wire.ConnectionUnblocked{}
	if waits {
		m = &wire.ConnectionBlocked{Reason: lowOn(alarms)}
	}
	_ = c.send(0, m) // it can be encoded
}

// lowOn says it in RabbitMQ's words, which clients show to people.
func lowOn(alarms core.Alarms) string {
	switch {
	case alarms.Memory && alarms.Disk:
		return "low on memory & disk"
	case alarms.Disk:
		return "low on disk"
	}
	return "low on memory"
}
