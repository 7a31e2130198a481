package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/wire"
	"github.com/batonmq/baton/protocols/outbox"
)

// An answer to be given when something has passed travels through the engine as a tag:
// its type, its reason, and the packet identifier.
func answer(t wire.PacketType, id uint16, reason wire.ReasonCode) (tag uint64) {
	return uint64(t)<<24 | uint64(reason)<<16 | uint64(id)
}

// Complete implements core.Completion: what an answer waited for has passed.
func (c *conn) Complete(tag uint64, err error) {
	if err != nil {
		c.interrupt(fmt.Errorf("%w: %w", errStore, err))
		return
	}
	c.sendAck(wire.PacketType(tag>>24), uint16(tag), wire.ReasonCode(tag>>16))
}

func (c *conn) sendAck(t wire.PacketType, id uint16, reason wire.ReasonCode) {
	c.out.Append(func(b *outbox.Buffer) {
		if !c.told { // nothing follows a DISCONNECT (section 3.14.4)
			b.B = wire.AppendAck(b.B, t, c.version, wire.Ack{PacketID: id, Reason: reason})
		}
	})
}

// publish takes a message of the far broker in.
func (c *conn) publish(ctx context.Context, p *wire.Publish) error {
	c.b.count.received[p.QoS].Add(1)
	topic, ok := inward(c.b.opt.Topics, string(p.Topic))
	if !ok {
		return c.drop(p, errors.New("no rule has a place for it"))
	}
	m := &core.Message{
		Exchange: core.TopicExchange, Key: bridge.Key(topic), Body: bytes.Clone(p.Payload),
		Props:      bridge.Block(p.QoS, p.Retain, &p.Properties),
		Persistent: p.QoS > 0, Once: p.QoS == 2, Retain: p.Retain,
	}
	if err := c.session.Admit(ctx, m.Size()); err != nil {
		return err
	}
	if p.Properties.Has(wire.MessageExpiry) {
		m.Expires = c.session.ExpiresAfter(bridge.Lifetime(p.Properties.Expiry))
	}
	err := c.route(m, p)
	if err == nil || core.KindOf(err) == core.Internal || errors.Is(err, core.ErrTakenOver) {
		return err
	}
	if core.KindOf(err) == core.Overflow { // there may be room later
		return fmt.Errorf("a message cannot be taken in: %w", err)
	}
	return c.drop(p, err)
}

// route publishes m. It is answered when all that it causes is on record.
func (c *conn) route(m *core.Message, p *wire.Publish) error {
	switch p.QoS {
	case 0:
		_, err := c.session.Publish(m, nil, 0)
		return err
	case 1:
		routed, err := c.session.Publish(m, c, answer(wire.PUBACK, p.PacketID, wire.Success))
		if err == nil && routed == 0 {
			c.session.Confirm(c, answer(wire.PUBACK, p.PacketID, wire.NoMatchingSubscribers))
		}
		return err
	}
	return c.link.PublishOnce(m, p.PacketID, c,
		answer(wire.PUBREC, p.PacketID, wire.Success), answer(wire.PUBREC, p.PacketID, wire.NoMatchingSubscribers))
}

// drop answers for a message that can never be published here: it would come again and
// again. The answer comes behind those that are due before it.
func (c *conn) drop(p *wire.Publish, why error) error {
	c.b.count.dropped.Add(1)
	if !c.warned {
		c.warned = true
		c.b.log.Warn("a message of the far broker is dropped, and those that follow alike", slog.String("topic", clipped(string(p.Topic))), slog.Any("err", why))
	}
	switch p.QoS {
	case 1:
		c.session.Confirm(c, answer(wire.PUBACK, p.PacketID, wire.ImplementationSpecific))
	case 2:
		c.session.Confirm(c, answer(wire.PUBREC, p.PacketID, wire.ImplementationSpecific))
	}
	return nil
}

// answered acts on the far broker's answers: to what was carried out, and PUBREL to
// PUBREC.
func (c *conn) answered(f wire.Frame) error {
	a, err := wire.ParseAck(f, c.version)
	if err != nil {
		return err
	}
	if a.Reason.Failed() && (f.Type == wire.PUBACK || f.Type == wire.PUBREC) {
		return c.turnedAway(a)
	}
	switch f.Type {
	case wire.PUBACK:
		c.finish(a.PacketID)
	case wire.PUBREC: // PUBREL follows when it is on record that the far broker has the message (section 4.3.3)
		known, err := c.link.Received(a.PacketID, c, answer(wire.PUBREL, a.PacketID, wire.Success))
		if err == nil && !known {
			c.sendAck(wire.PUBREL, a.PacketID, wire.PacketIDNotFound)
		}
		return err
	case wire.PUBREL: // PUBCOMP follows when it is on record that the identifier is free (section 4.3.3)
		return c.link.ReleaseReceived(a.PacketID, c,
			answer(wire.PUBCOMP, a.PacketID, wire.Success), answer(wire.PUBCOMP, a.PacketID, wire.PacketIDNotFound))
	default:
		c.link.Released(a.PacketID)
	}
	return nil
}

// turnedAway acts on a message that the far broker does not take. It comes again where
// that is for want of room.
func (c *conn) turnedAway(a wire.Ack) error {
	if a.Reason == wire.QuotaExceeded {
		return fmt.Errorf("the far broker has no room: %s", a.Reason)
	}
	c.b.count.dropped.Add(1)
	if !c.refused.Swap(true) {
		c.b.log.Warn("the far broker refuses a message, which is dropped, and those that follow alike", slog.String("reason", a.Reason.String()))
	}
	c.finish(a.PacketID)
	return nil
}

// finish ends a delivery for which there is nothing more to be said: one of QoS 1, or one
// of QoS 2 that was refused or that the far broker takes with less.
func (c *conn) finish(id uint16) {
	if !c.link.Ack(id) {
		c.link.Refused(id)
	}
}
