package amqp091

import (
	"context"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/outbox"
)

// publishState says which frame a publication waits for.
type publishState uint8

const (
	awaitMethod publishState = iota // nothing is under way
	awaitHeader
	awaitBody
)

// publication is a message that is arriving on a channel: basic.publish, a
// content header, as many body frames as the body needs (section 4.2.6).
type publication struct {
	state     publishState
	mandatory bool

	// Names are usually those of the message before, so they are kept and
	// shared between messages instead of being made anew.
	exchange string
	key      string

	properties []byte // scratch until the first body frame tells how much to allocate
	persistent bool
	retain     bool
	once       bool
	keys       []string // further routing keys
	priority   uint8
	expires    bool
	lifetime   time.Duration // of one that expires
	size       int           // of the body, as announced
	arrived    int64         // of properties and body, in conn.arriving

	// block is the properties and behind them what has arrived of the body: the
	// message's one allocation beside itself. It grows with what has arrived,
	// so that an announcement alone costs nothing.
	block []byte
}

// keepProperties is how long a property block's scratch may stay.
const keepProperties = 4 << 10

// basicPublish begins a publication.
func (ch *channel) basicPublish(args []byte) error {
	m, err := wire.ParsePublish(args)
	if err != nil {
		return err
	}
	if m.Immediate {
		return wire.Errorf(wire.NotImplemented, wire.BasicPublishID, "immediate=true")
	}
	ch.publication.begin(&m)
	ch.publication.state = awaitHeader
	return nil
}

// begin takes over what basic.publish says.
func (p *publication) begin(m *wire.Publish) {
	if string(m.Exchange) != p.exchange {
		p.exchange = string(m.Exchange)
	}
	if string(m.RoutingKey) != p.key {
		p.key = string(m.RoutingKey)
	}
	p.mandatory = m.Mandatory
}

// outOfOrder is the error for a frame that the publication does not wait for
// (section 4.2.6).
func (p *publication) outOfOrder(got wire.FrameType) error {
	switch {
	case p.state == awaitMethod:
		return wire.Errorf(wire.UnexpectedFrame, 0, "expected method frame, got non method frame instead")
	case p.state == awaitHeader:
		return wire.Errorf(wire.UnexpectedFrame, wire.BasicPublishID,
			"expected content header for class %d, got non content header frame instead", wire.ClassBasic)
	case got == wire.FrameBody:
		return wire.Errorf(wire.UnexpectedFrame, wire.BasicPublishID,
			"content body is longer than the %d bytes announced", p.size)
	}
	return wire.Errorf(wire.UnexpectedFrame, wire.BasicPublishID,
		"expected content body, got non content body frame instead")
}

// contentHeader acts on a content header frame.
func (ch *channel) contentHeader(ctx context.Context, payload []byte) error {
	p := &ch.publication
	if p.state != awaitHeader {
		return p.outOfOrder(wire.FrameHeader)
	}
	h, err := wire.ParseContentHeader(payload)
	if err != nil {
		return err
	}
	if h.Class != wire.ClassBasic {
		return wire.Errorf(wire.UnexpectedFrame, wire.BasicPublishID,
			"expected content header for class %d, got one for class %d instead", wire.ClassBasic, h.Class)
	}
	s, err := ch.checkHeader(h.BodySize, h.Properties)
	if err != nil {
		return err
	}
	if err := ch.readProperties(h.Properties, &s); err != nil {
		return err
	}
	p.size = int(h.BodySize) // at most MaxInt32: options.validate
	if p.size == 0 {
		p.block = append([]byte(nil), p.properties...)
		return ch.publish(ctx)
	}
	p.state = awaitBody
	return ch.arrive(len(p.properties))
}

// checkHeader checks what a content header says, and notes what the broker goes by,
// but for what takes a look into the headers.
func (ch *channel) checkHeader(bodySize uint64, properties []byte) (s field.Summary, err error) {
	if limit := ch.c.srv.opt.MaxMessageSize; bodySize > uint64(limit) {
		return s, wire.Errorf(wire.PreconditionFailed, wire.BasicPublishID,
			"message size %d is larger than configured max size %d", bodySize, limit)
	}
	if s, err = field.CheckProperties(properties); err != nil {
		return s, wire.MalformedProperties(wire.BasicPublishID, err)
	}
	p := &ch.publication
	p.persistent, p.priority, p.expires = s.Persistent, s.Priority, s.Expiration != nil
	p.retain, p.once, p.keys = false, false, nil
	p.lifetime, err = ch.checkProperties(&s)
	return s, err
}

// readProperties makes the publication's properties of a block.
func (ch *channel) readProperties(block []byte, s *field.Summary) (err error) {
	p := &ch.publication
	if p.properties, err = ch.takeProperties(p.properties[:0], block, s); err != nil {
		return err
	}
	if len(s.Headers) > 0 {
		return p.readHeaders(s)
	}
	return nil
}

// takeProperties appends a property block to dst, with the channel's own address
// in place of the general one of direct reply-to.
func (ch *channel) takeProperties(dst, block []byte, s *field.Summary) ([]byte, error) {
	if string(s.ReplyTo) != core.ReplyQueue {
		return append(dst, block...), nil
	}
	if ch.replies == nil {
		return dst, errNoReplies()
	}
	return s.AppendWithReplyTo(dst, block, ch.replies.address.Key())
}

// checkProperties checks those that the broker itself goes by. lifetime is that
// of a message with an expiration.
func (ch *channel) checkProperties(s *field.Summary) (lifetime time.Duration, err error) {
	if s.UserID != nil && string(s.UserID) != ch.c.user && !ch.c.impersonator {
		return 0, wire.Errorf(wire.PreconditionFailed, wire.BasicPublishID,
			"user_id property set to '%s' but authenticated user was '%s'", s.UserID, ch.c.user)
	}
	if s.Expiration != nil {
		var problem string
		if lifetime, problem = field.ParseExpiration(string(s.Expiration)); problem != "" {
			return 0, wire.Errorf(wire.PreconditionFailed, wire.BasicPublishID,
				"invalid expiration '%s': %s", s.Expiration, problem)
		}
	}
	return lifetime, nil
}

// contentBody acts on a body frame.
func (ch *channel) contentBody(ctx context.Context, payload []byte) error {
	p := &ch.publication
	if p.state != awaitBody || len(payload) > p.missing() {
		return p.outOfOrder(wire.FrameBody)
	}
	need := max(len(p.block), len(p.properties)) + len(payload)
	room := p.room(need)
	// What has arrived counts, and no less than half of what is kept ready for it.
	if err := ch.arrive(max(need, room/2)); err != nil {
		return err
	}
	p.reserve(room)
	p.block = append(p.block, payload...)
	if p.missing() > 0 {
		return nil
	}
	return ch.publish(ctx)
}

// arrive counts the publication as n bytes that have arrived.
func (ch *channel) arrive(n int) error {
	c, p := ch.c, &ch.publication
	c.arriving += int64(n) - p.arrived
	p.arrived = int64(n)
	c.session.Arriving(c.arriving + c.pending)
	if most := c.srv.maxArriving; c.arriving > most {
		return wire.Errorf(wire.ResourceError, wire.BasicPublishID,
			"messages under way on this connection exceed %d bytes: send one after the other, or on more connections", most)
	}
	return nil
}

// missing is how much of the body has not arrived.
func (p *publication) missing() int {
	if p.block == nil {
		return p.size
	}
	return p.size - (len(p.block) - len(p.properties))
}

// room is how much a block is to hold that has to hold need bytes now: twice that
// if it has to grow, and all of the message as soon as a quarter of it has come,
// since each growth is a copy.
func (p *publication) room(need int) int {
	all := len(p.properties) + p.size
	switch {
	case need <= cap(p.block):
		return cap(p.block)
	case need >= all/4:
		return all
	}
	return 2 * need
}

// reserve makes room for that much.
func (p *publication) reserve(room int) {
	if room <= cap(p.block) {
		return
	}
	block := make([]byte, len(p.properties), room)
	if p.block == nil {
		copy(block, p.properties)
	} else {
		block = append(block[:0], p.block...)
	}
	p.block = block
}

// dropPublication forgets a publication that is under way.
func (ch *channel) dropPublication() {
	ch.endPublication()
	ch.publication.properties = nil
}

// endPublication makes room for the next publication.
func (ch *channel) endPublication() {
	p := &ch.publication
	ch.c.arriving -= p.arrived
	ch.c.session.Arriving(ch.c.arriving + ch.c.pending)
	p.state, p.block, p.arrived = awaitMethod, nil, 0
}

// publish hands the message over that is complete now.
func (ch *channel) publish(ctx context.Context) error {
	p := &ch.publication
	n := len(p.properties)
	m := new(core.Message)
	p.complete(m, p.block[:n:n], p.block[n:])
	ch.endPublication()
	if n > keepProperties {
		p.properties = nil
	}
	return ch.handOver(ctx, m, nil)
}

// complete makes m the publication's message, of its properties and body.
func (p *publication) complete(m *core.Message, properties, body []byte) {
	m.Exchange, m.Key, m.Keys, m.Props, m.Body = p.exchange, p.key, p.keys, properties, body
	m.Persistent, m.Once, m.Retain, m.Priority = p.persistent, p.once, p.retain, p.priority
}

// handOver gives a complete message to the engine: for good, or lent where span is not
// nil.
func (ch *channel) handOver(ctx context.Context, m *core.Message, span []byte) error {
	p, session := &ch.publication, ch.c.session
	if err := session.Admit(ctx, m.Size()); err != nil {
		return err
	}
	count := &ch.c.count
	count.received.Add(1)
	if !ch.counted {
		ch.countPublisher(true)
	}
	if ch.tx != nil {
		return ch.postpone(pending{message: m, mandatory: p.mandatory, expires: p.expires, lifetime: p.lifetime})
	}
	if p.expires {
		m.Expires = session.ExpiresAfter(p.lifetime)
	}
	var done core.Completion
	tag := uint64(0)
	if ch.confirms.on {
		done, tag = ch, ch.confirms.issued.Add(1)
	}
	routed, err := session.PublishLent(m, span, done, tag)
	switch {
	case err != nil && core.KindOf(err) == core.Overflow: // the others have it
		if done != nil {
			ch.refusePublish(tag)
		}
		return nil
	case err != nil || routed > 0:
		return err
	}
	// Before the confirm: the return is how the client learns that the ack to
	// come means nothing.
	err = ch.unrouted(m, p.mandatory)
	if done != nil {
		session.Confirm(done, tag)
	}
	return err
}

// unrouted is the end of a message that has reached nobody.
func (ch *channel) unrouted(m *core.Message, mandatory bool) error {
	if !mandatory {
		ch.c.count.dropped.Add(1)
		return nil
	}
	ch.c.count.returned.Add(1)
	return ch.returnMessage(m)
}

// returnMessage sends an unroutable message back (class reference,
// basic.return).
func (ch *channel) returnMessage(m *core.Message) (err error) {
	ret := wire.BasicReturn{
		ReplyCode: wire.NoRoute, ReplyText: wire.NoRoute.String(), Exchange: m.Exchange, RoutingKey: m.Key,
	}
	ch.c.out.Append(func(b *outbox.Buffer) {
		if len(m.Body) < byReference {
			b.B, err = wire.AppendReturn(b.B, ch.id, &ret, content(m), ch.c.frameMax)
		} else {
			err = ch.appendVec(b, &ret, content(m))
		}
	})
	return err
}

// delivered is a delivery as the codec takes it.
func delivered(d *core.Delivery) wire.Content {
	return wire.Content{Properties: d.Properties(), Body: d.Message.Body}
}

// content is a message as the codec takes it.
func content(m *core.Message) wire.Content {
	return wire.Content{Properties: m.Props, Body: m.Body}
}
