package mqtt

import (
	"context"
	"errors"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

const (
	// largePublication is the size from which a PUBLISH is read past the read
	// buffer, into the message's own memory.
	largePublication = 32 << 10

	// piece is how much of a large publication is read at a time, so that it is
	// noted that the client still sends.
	piece = 64 << 10
)

// publish acts on a PUBLISH that is in the read buffer.
func (c *conn) publish(ctx context.Context, p *wire.Publish) error {
	m, err := c.message(p, len(p.Payload))
	if err != nil {
		return err
	}
	m.Body = append(m.Body, p.Payload...)
	return c.route(ctx, m, p)
}

// message makes the engine's message of a publication whose payload is still to
// come: Body is empty, with room for size bytes. Properties and body share one
// piece of memory, where there are both.
func (c *conn) message(p *wire.Publish, size int) (*core.Message, error) {
	if err := c.srv.offersMessage(p.QoS, p.Retain); err != nil {
		return nil, err
	}
	to, err := c.whereTo(p)
	if err != nil {
		return nil, err
	}
	if err := c.mountResponse(&p.Properties); err != nil {
		return nil, err
	}
	m := &core.Message{
		Exchange: core.TopicExchange, Key: to.key, Delay: to.milliseconds(),
		Persistent: p.QoS > 0, Once: p.QoS == 2, Retain: p.Retain,
	}
	switch {
	case len(p.Properties.Section) > 0:
		block := make([]byte, 0, 2*len(p.Properties.Section)+64+size)
		block = bridge.AppendBlock(block, p.QoS, p.Retain, &p.Properties)
		n := len(block)
		m.Props, m.Body = block[:n:n], block[n:]
	default:
		m.Props = bridge.Block(p.QoS, p.Retain, &p.Properties)
		if size > 0 {
			m.Body = make([]byte, 0, size)
		}
	}
	return m, nil
}

// publisher is what the reader knows of a client that publishes; most do not.
type publisher struct {
	topic   string              // of the last publication
	to      destination         // that of the last publication
	aliases []destination       // by alias less one
	once    map[uint16]struct{} // identifiers of QoS 2 that came on this connection and were not released
}

func (c *conn) publisher() *publisher {
	if c.pub == nil {
		c.pub = new(publisher)
	}
	return c.pub
}

// released notes that an identifier of QoS 2 is free.
func (p *publisher) released(id uint16) {
	if p != nil {
		delete(p.once, id)
	}
}

// rest lets go of what was kept for the next publication.
func (p *publisher) rest() {
	if p != nil {
		p.topic, p.to = "", destination{}
	}
}

// whereTo resolves the topic of a publication. Topics mostly come as the one
// before, so that the last is kept with its destination.
func (c *conn) whereTo(p *wire.Publish) (*destination, error) {
	if alias := int(p.Properties.TopicAlias); alias > 0 {
		return c.aliased(alias, p.Topic)
	}
	pub := c.publisher()
	if string(p.Topic) != pub.topic {
		topic := string(p.Topic)
		to, err := c.destination(topic)
		if err != nil {
			return nil, err
		}
		pub.topic, pub.to = topic, to
	}
	return &pub.to, nil
}

// aliased sets or uses a topic alias (section 3.3.2.3.4).
func (c *conn) aliased(alias int, topic []byte) (*destination, error) {
	if alias > c.srv.opt.TopicAliasMaximum { // [MQTT-3.3.2-9] [MQTT-3.3.2-12]
		return nil, wire.Errorf(wire.TopicAliasInvalid, "topic alias %d, the maximum is %d", alias, c.srv.opt.TopicAliasMaximum)
	}
	pub := c.publisher()
	if alias > len(pub.aliases) {
		if len(topic) == 0 {
			return nil, unknownAlias(alias)
		}
		pub.aliases = append(pub.aliases, make([]destination, alias-len(pub.aliases))...)
	}
	at := &pub.aliases[alias-1]
	if len(topic) > 0 {
		to, err := c.destination(string(topic))
		if err != nil {
			return nil, err
		}
		if *at = to; to.key == "" { // as no topic's is but that of \x
			return nil, wire.Errorf(wire.TopicNameInvalid, "topic %q cannot have an alias", topic)
		}
	}
	if at.key == "" {
		return nil, unknownAlias(alias)
	}
	return at, nil
}

func unknownAlias(alias int) error {
	return wire.Errorf(wire.ProtocolError, "topic alias %d stands for no topic", alias)
}

// route hands a complete publication to the engine, and answers it as its QoS
// demands [MQTT-3.3.4-1].
func (c *conn) route(ctx context.Context, m *core.Message, p *wire.Publish) error {
	if err := c.session.Admit(ctx, m.Size()); err != nil {
		return err
	}
	if c.alive.busy.Load() {
		c.alive.excuse(c.srv.start)
	}
	if p.Properties.Has(wire.MessageExpiry) {
		m.Expires = c.session.ExpiresAfter(bridge.Lifetime(p.Properties.Expiry))
	}
	c.counters().received[p.QoS].Add(1)
	malformed := c.srv.checkFormat(p.Properties.PayloadFormat, m.Body)
	if malformed == nil {
		malformed = c.reserved(m.Key)
	}
	switch p.QoS {
	case 0:
		if isReserved(malformed) {
			return c.refused(malformed, 0)
		}
		if malformed != nil {
			return malformed
		}
		routed, err := c.session.Publish(m, nil, 0)
		if routed == 0 {
			c.counters().unroutable.Add(1)
		}
		return c.refused(err, 0)
	case 1:
		return c.routeAtLeastOnce(m, p.PacketID, malformed)
	}
	return c.routeOnce(m, p.PacketID, malformed)
}

// routeAtLeastOnce publishes a message of QoS 1. PUBACK is sent when all that
// it caused is on record [MQTT-4.3.2-4]; its identifier is not noted, so that it
// may name another one then [MQTT-4.3.2-5]. One that is malformed is refused.
func (c *conn) routeAtLeastOnce(m *core.Message, id uint16, malformed error) error {
	if int(c.unacked.Add(1))+len(c.pub.once) > c.receiveMaximum() {
		return c.tooMany()
	}
	puback := answer(wire.PUBACK, id, wire.Success)
	if malformed != nil {
		return c.refused(malformed, puback)
	}
	routed, err := c.session.Publish(m, c, puback)
	switch {
	case err != nil:
		return c.refused(err, puback)
	case routed == 0:
		c.counters().unroutable.Add(1)
		c.session.Confirm(c, answer(wire.PUBACK, id, wire.NoMatchingSubscribers))
	}
	return nil
}

// routeOnce publishes a message of QoS 2, unless it came before. PUBREC is sent
// when it is on record that the identifier is taken [MQTT-4.3.3-8]
// [MQTT-4.3.3-10]. One that is refused takes no identifier [MQTT-4.3.3-9].
func (c *conn) routeOnce(m *core.Message, id uint16, malformed error) error {
	pubrec := answer(wire.PUBREC, id, wire.Success)
	if malformed != nil {
		return c.refused(malformed, pubrec)
	}
	if c.pub.once == nil {
		c.pub.once = make(map[uint16]struct{})
	}
	c.pub.once[id] = struct{}{}
	if int(c.unacked.Load())+len(c.pub.once) > c.receiveMaximum() {
		return c.tooMany()
	}
	err := c.link.PublishOnce(m, id, c, pubrec, answer(wire.PUBREC, id, wire.NoMatchingSubscribers))
	if err != nil {
		delete(c.pub.once, id)
	}
	return c.refused(err, pubrec)
}

// receiveMaximum is how many publications may be unanswered. Clients before
// MQTT 5 were told of no limit; what they send is bounded by the engine, which
// lets them wait.
func (c *conn) receiveMaximum() int {
	if c.version == wire.V5 {
		return int(c.srv.opt.ReceiveMaximum)
	}
	return 2 << 16
}

func (c *conn) tooMany() error { // [MQTT-3.3.4-7]
	return wire.Errorf(wire.ReceiveMaximumExceeded, "more than %d messages are not answered", c.srv.opt.ReceiveMaximum)
}

// refused deals with a message that the engine did not take. A client of MQTT 5
// is told by the answer to it, where there is one (pending is what it would have
// been, 0 for none); others cannot be told and lose the connection
// [MQTT-3.1.1 3.3.5-2], unless it was a queue's policy that refused: then QoS 1
// and 2 go without an answer, as in RabbitMQ.
func (c *conn) refused(err error, pending uint64) error {
	if err == nil {
		return nil
	}
	if isReserved(err) { // it harms nobody: bridges of Mosquitto publish there that they have come
		return c.unauthorized(err, pending, true)
	}
	t, id, _ := parts(pending)
	if e, ok := errors.AsType[*wire.Error](err); ok {
		c.session.Confirm(c, c.explained(t, id, e.Code, e))
		return nil
	}
	switch kind := core.KindOf(err); {
	case kind == core.Internal:
		return err
	case kind == core.Refused:
		return c.unauthorized(err, pending, c.srv.opt.KeepUnauthorized)
	case pending != 0 && c.version == wire.V5:
		c.session.Confirm(c, c.explained(t, id, reasonCode(kind), err)) // behind the answers that are due before it
		return nil
	case kind != core.Overflow:
		return err
	}
	if t == wire.PUBACK {
		c.unacked.Add(-1)
	}
	return nil
}

// unauthorized deals with a message that its publisher may not publish. The
// answer of MQTT 5 tells it, where there is one; who cannot be told loses the
// connection, or where the settings want so, the message alone: then it is
// answered as if it had been published [MQTT-3.1.1 3.3.5-2].
func (c *conn) unauthorized(err error, pending uint64, keep bool) error {
	c.counters().unauthorized.Add(1)
	switch t, id, _ := parts(pending); {
	case c.version == wire.V5 && pending != 0:
		pending = c.explained(t, id, wire.NotAuthorized, err)
	case !keep:
		return err
	}
	if !c.warned { // a client that goes on and on is told of once
		c.warned = true
		c.log().Warn("publication refused", errAttr(err))
	}
	if pending != 0 {
		c.session.Confirm(c, pending) // behind the answers that are due before it
	}
	return nil
}

// isLarge reports whether b begins with a PUBLISH to be read past the buffer.
func (c *conn) isLarge(b []byte) bool {
	return len(b) > 0 && wire.PacketType(b[0]>>4) == wire.PUBLISH && wire.FrameSize(b) > largePublication
}

// publishLarge acts on a PUBLISH of which not everything is in the buffer. Its
// payload goes from the socket to where it stays; memory for it is taken as it
// arrives.
func (c *conn) publishLarge(ctx context.Context) error {
	for {
		b := c.in.Buffered()
		h, n, err := wire.ParseHeader(b, c.sendMax)
		if err != nil {
			return err
		}
		p, size, err := wire.ParsePublishHead(h, b[n:], c.version)
		if err != nil {
			return err
		}
		if size == 0 {
			if err := c.fill(b); err != nil {
				return err
			}
			continue
		}
		length := h.Length - size
		m, err := c.message(&p, min(length, piece)) // p ends with the buffer: what it says is taken now
		if err != nil {
			return err
		}
		c.in.Discard(n + size)
		if err := c.payload(m, length); err != nil {
			return err
		}
		return c.route(ctx, m, &p)
	}
}

// payload reads a payload of length bytes into m.
func (c *conn) payload(m *core.Message, length int) error {
	defer c.arriving(0)
	for len(m.Body) < length {
		from := len(m.Body)
		to := min(length, from+piece)
		if to > cap(m.Body) {
			body := make([]byte, from, min(length, 2*to))
			copy(body, m.Body)
			m.Body = body
		}
		m.Body = m.Body[:to]
		unread := len(c.in.Buffered())
		c.alive.waits.Store(waitsForRest)
		err := c.in.ReadFull(m.Body[from:to])
		c.alive.waits.Store(waitsForBroker)
		if err != nil {
			return err
		}
		c.heard(max(0, to-from+len(c.in.Buffered())-unread))
		c.arriving(to)
	}
	return nil
}
