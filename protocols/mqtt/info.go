package mqtt

import (
	"crypto/tls"
	"strings"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// info describes the connection in RabbitMQ's words. It is called by any
// goroutine from attach on; nothing of it is kept for those that are not asked.
func (c *conn) info(nameOnly bool) core.ConnectionInfo {
	name := c.nc.RemoteAddr().String() + " -> " + c.nc.LocalAddr().String()
	if nameOnly {
		return core.ConnectionInfo{Name: name}
	}
	i := core.ConnectionInfo{
		Name:     name,
		Protocol: c.protocol(), User: c.user, VHost: c.vhost, State: "running",
		ClientID:         c.clientID,
		ClientProperties: field.Table{{Key: "client_id", Value: c.clientID}},
		Timeout:          c.alive.interval,
		ConnectedAt:      c.entry.Opened,
		BytesIn:          c.bytesIn.Load(),
		BytesOut:         c.out.Written(),
		Pending:          c.out.Size(),
	}
	if c.blocked.Load() {
		i.State = "blocked"
	}
	if n := c.count.Load(); n != nil { // the packets that are counted: those with messages
		for qos := range n.received {
			i.PacketsIn += n.received[qos].Load()
			i.PacketsOut += n.delivered[qos].Load()
		}
	}
	i.PeerHost, i.PeerPort = listen.HostPort(c.nc.RemoteAddr())
	i.Host, i.Port = listen.HostPort(c.nc.LocalAddr())
	state, ok := listen.TLSState(c.nc)
	if !ok {
		return i
	}
	i.TLS, i.TLSVersion, i.Cipher = true, listen.TLSVersion(state.Version), tls.CipherSuiteName(state.CipherSuite)
	if len(state.PeerCertificates) > 0 {
		leaf := state.PeerCertificates[0]
		i.PeerCertSubject, i.PeerCertIssuer = leaf.Subject.String(), leaf.Issuer.String()
	}
	return i
}

// traffic is what of info changes all the time.
func (c *conn) traffic() core.Traffic {
	return core.Traffic{BytesIn: c.bytesIn.Load(), BytesOut: c.out.Written()}
}

// protocol names what the client speaks, as "MQTT 3-1-1".
func (c *conn) protocol() string {
	name := "MQTT "
	if _, ok := c.nc.(*webSocket); ok {
		name = "Web MQTT "
	}
	if c.version == wire.V31 {
		return name + "3-1-0"
	}
	return name + strings.ReplaceAll(c.version.String(), ".", "-")
}

// noteBlocked is told that the reader waits in the engine, for alarms to end.
// That is all there is to it: the protocol has no word for it, and the client is
// not read meanwhile.
func (c *conn) noteBlocked(a core.Alarms) { c.blocked.Store(a != core.Alarms{}) }
