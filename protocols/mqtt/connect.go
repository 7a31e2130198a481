package mqtt

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/wire"
	"github.com/batonmq/baton/protocols/outbox"
)

const (
	// queuePrefix and the client identifier name a session's queue, as in
	// RabbitMQ.
	queuePrefix = "mqtt-subscription-"

	// neverExpires is the Session Expiry Interval that is none (section 3.1.2.11.2).
	neverExpires = math.MaxUint32
)

// handshake takes a new connection from CONNECT to CONNACK.
func (c *conn) handshake(ctx context.Context) error {
	// The deadline that the listener gave the connection was lifted by wake: a
	// timer does what it did, for waits in the engine, too.
	late := time.AfterFunc(c.srv.opt.HandshakeTimeout, func() {
		if c.alive.waiting() { // the client did not do its part
			c.srv.opt.LoginFailed(c.nc.RemoteAddr())
		}
		c.interrupt(fmt.Errorf("%w: no CONNECT within %v", errHungUp, c.srv.opt.HandshakeTimeout))
	})
	defer late.Stop()
	if err := c.connect(ctx); err != nil {
		return err
	}
	c.alive.begin(c.srv.start)
	c.link.Start()
	return nil
}

// connect does what a CONNECT asks for (section 3.1.4), and answers it: once
// [MQTT-3.2.0-2], and before anything else is sent [MQTT-3.1.4-5] [MQTT-3.2.0-1].
// An error ends the connection, and what has come behind the CONNECT is not
// looked at [MQTT-3.1.4-2] [MQTT-3.1.4-6].
func (c *conn) connect(ctx context.Context) error {
	p, err := c.awaitConnect()
	if err != nil {
		return err
	}
	ack := c.accept(&p)
	principal, err := c.login(ctx, &p, ack)
	if err != nil {
		return err
	}
	if err := c.srv.stays(p.Will); err != nil {
		return err
	}
	if c.mount, err = c.mountPoint(); err != nil {
		return err
	}
	will, err := c.newWill(p.Will)
	if err != nil {
		return err
	}
	if err := c.slowDown(ctx); err != nil {
		return err
	}
	if err := c.attach(&principal); err != nil {
		return err
	}
	if err := c.takeLink(ctx, &p, will, ack); err != nil {
		return err
	}
	// What a client that does not wait for CONNACK sends behind its CONNECT is
	// in the buffer already: the limit changes for all of it.
	c.sendMax = c.srv.opt.MaxPacketSize
	c.in.SetLimit(int(c.sendMax))
	c.out.Append(func(b *outbox.Buffer) { b.B, err = wire.AppendConnack(b.B, c.version, ack, c.acceptMax) })
	if err != nil {
		return fmt.Errorf("%w: CONNACK cannot be sent: %w", errHungUp, err)
	}
	c.connected = true
	c.expireAt(principal.Expires)
	c.logOpened()
	return nil
}

// takeLink links the session to the subscriber of the client's name.
func (c *conn) takeLink(ctx context.Context, p *wire.Connect, will *core.Will, ack *wire.Connack) (err error) {
	expiry := c.srv.sessionExpiry(p.SessionExpiry)
	if c.version != wire.V5 && !p.CleanStart {
		expiry = c.srv.opt.MaxSessionExpiry
	}
	c.outlives = expiry > 0
	spec := core.SubscriberSpec{
		Name: c.clientID, Queue: queuePrefix + c.clientID, Fresh: p.CleanStart, Expiry: expiry,
		Window: int(p.ReceiveMaximum), Will: will, Receiver: c,
	}
	if c.mount != nil {
		spec.Outside = c.mount.outside
	}
	// [MQTT-3.1.3-2] [MQTT-3.1.4-4] [MQTT-3.2.2-2] [MQTT-3.2.2-3]
	c.link, ack.SessionPresent, err = c.session.Subscriber(ctx, spec)
	if err != nil {
		return noEntry(err)
	}
	if c.version == wire.V5 && expiry != expiryOf(p.SessionExpiry) {
		ack.HasSessionExpiry, ack.SessionExpiry = true, uint32(expiry/time.Second)
	}
	return nil
}

// awaitConnect reads the client's first packet [MQTT-3.1.0-1].
func (c *conn) awaitConnect() (wire.Connect, error) {
	for {
		b := c.in.Buffered()
		if len(b) > 0 && wire.PacketType(b[0]>>4) != wire.CONNECT {
			return wire.Connect{}, fmt.Errorf("%w: the first packet is not CONNECT", errHungUp)
		}
		f, n, err := wire.ParseFrame(b, c.sendMax)
		if err != nil {
			return wire.Connect{}, fmt.Errorf("%w: %w", errHungUp, err)
		}
		if n == 0 {
			if err := c.fill(b); err != nil {
				return wire.Connect{}, err
			}
			continue
		}
		c.in.Discard(n)
		p, err := wire.DecodeConnect(f)
		c.version, c.clientID, c.acceptMax = p.Version, p.ClientID, p.MaximumPacketSize
		return p, err
	}
}

// accept takes over what the client asks for and returns what it is offered.
func (c *conn) accept(p *wire.Connect) *wire.Connack {
	opt := &c.srv.opt
	ack := &wire.Connack{
		ReceiveMaximum:    opt.ReceiveMaximum,
		MaximumPacketSize: opt.MaxPacketSize,
		TopicAliasMaximum: uint16(opt.TopicAliasMaximum),
		HasMaximumQoS:     opt.MaximumQoS < maximumQoS, // [MQTT-3.2.2-9]
		MaximumQoS:        uint8(opt.MaximumQoS),
		NoRetain:          opt.NoRetain,
		NoWildcards:       opt.NoWildcards,
		NoSubscriptionIDs: opt.NoSubscriptionIDs,
		NoShared:          opt.NoShared,
	}
	c.sent = newSentAliases(p.TopicAliasMaximum)
	c.bridge = p.Bridge
	c.explains = c.version == wire.V5 && p.RequestProblemInfo
	if p.ClientID == "" { // [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]
		c.clientID = core.GeneratedName("baton-")
		ack.AssignedClientID = c.clientID
	}
	if p.RequestResponseInfo { // [MQTT-3.1.2-28]
		ack.ResponseInfo = strings.ReplaceAll(opt.ResponseInformation, "{client_id}", c.clientID)
	}
	if limit := uint16(opt.MaxKeepAlive / time.Second); limit > 0 && (p.KeepAlive == 0 || p.KeepAlive > limit) {
		ack.HasServerKeepAlive, ack.ServerKeepAlive = true, limit
	}
	c.alive.interval = time.Duration(serverKeepAlive(ack, p)) * time.Second
	return ack
}

// serverKeepAlive is the keep alive in force, in seconds [MQTT-3.2.2-22]. A
// client that cannot be told another one is taken at its word.
func serverKeepAlive(ack *wire.Connack, p *wire.Connect) uint16 {
	if p.Version == wire.V5 && ack.HasServerKeepAlive {
		return ack.ServerKeepAlive
	}
	return p.KeepAlive
}

// expiryOf is a Session Expiry Interval as a duration.
func expiryOf(seconds uint32) time.Duration {
	if seconds == neverExpires {
		return core.Forever
	}
	return time.Duration(seconds) * time.Second
}

// sessionExpiry is what a client gets that asks for an interval.
func (s *Server) sessionExpiry(seconds uint32) time.Duration {
	return min(expiryOf(seconds), s.opt.MaxSessionExpiry)
}

// newWill makes the engine's will of a client's; nil of none.
func (c *conn) newWill(w *wire.Will) (*core.Will, error) {
	if w == nil {
		return nil, nil //nolint:nilnil // no will is no error
	}
	if !wire.ValidTopic(w.Topic) {
		return nil, wire.Errorf(wire.TopicNameInvalid, "will topic %q", w.Topic)
	}
	to, err := c.destination(w.Topic)
	if err != nil {
		return nil, err
	}
	if !c.mayOwn(to.key) { // it would be dropped, as a publication is: see conn.refused
		return nil, nil //nolint:nilnil // no will is no error
	}
	props, err := wire.ParseProperties(w.Properties)
	if err != nil {
		return nil, err
	}
	if err := c.srv.checkFormat(props.PayloadFormat, w.Payload); err != nil {
		return nil, err
	}
	if err := c.mountResponse(&props); err != nil {
		return nil, err
	}
	will := &core.Will{
		Message: &core.Message{
			Exchange: core.TopicExchange, Key: to.key, Delay: to.milliseconds(),
			Props: bridge.Block(w.QoS, w.Retain, &props), Body: w.Payload,
			Persistent: w.QoS > 0, Once: w.QoS == 2, Retain: w.Retain,
		},
		Delay: time.Duration(w.Delay) * time.Second,
	}
	if props.Has(wire.MessageExpiry) { // it counts from the publication (section 3.1.3.2.4)
		lifetime := bridge.Lifetime(props.Expiry)
		will.Lifetime = &lifetime
	}
	return will, nil
}

// refuse answers a CONNECT with e. Versions before 5 have a word for few
// reasons; a client that has broken the protocol is just closed
// [MQTT-3.1.1 3.1.4-1] [MQTT-3.1.1 3.2.2-6].
func (c *conn) refuse(e *wire.Error) {
	version := c.version
	switch {
	case version == wire.V5:
	case e.Code == wire.UnsupportedVersion && version == 0:
		version = wire.V311 // [MQTT-3.1.1 3.1.2-2]: whatever it speaks, this much it may understand
	case version == 0, e.Code == wire.MalformedPacket, e.Code == wire.ProtocolError:
		return
	}
	code, reference := c.elsewhere(e.Code)
	if code == wire.ServerShuttingDown || code == wire.SessionTakenOver || code == wire.AdministrativeAction {
		code = wire.ServerUnavailable // these are DISCONNECT's (table 3-1) [MQTT-3.2.2-8]
	}
	ack := wire.Connack{Reason: code, ReasonString: e.Text, ServerReference: reference}
	c.out.Append(func(b *outbox.Buffer) {
		// A client whose limit does not even hold a bare one hears nothing.
		b.B, _ = wire.AppendConnack(b.B, version, &ack, c.acceptMax)
	})
}
