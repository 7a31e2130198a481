package mqtt

import (
	"fmt"

	"github.com/batonmq/baton/protocols/mqtt/wire"
	"github.com/batonmq/baton/protocols/outbox"
)

// An answer to be given when something has passed travels through the engine as
// a tag:
//
//	 31    24 23    16 15             0
//	+--------+--------+----------------+
//	|  type  | reason |   identifier   |
//	+--------+--------+----------------+
func answer(t wire.PacketType, id uint16, reason wire.ReasonCode) (tag uint64) {
	return uint64(t)<<24 | uint64(reason)<<16 | uint64(id)
}

func parts(tag uint64) (t wire.PacketType, id uint16, reason wire.ReasonCode) {
	return wire.PacketType(tag >> 24), uint16(tag), wire.ReasonCode(tag >> 16)
}

// Complete implements core.Completion: what an answer waited for has passed. It
// is called in the order of the requests, which is the order in which answers
// have to be sent. The outbox writes as one what is completed meanwhile.
func (c *conn) Complete(tag uint64, err error) {
	if err != nil {
		c.interrupt(fmt.Errorf("%w: %w", errStore, err))
		return
	}
	t, id, reason := parts(tag)
	if t == wire.PUBACK {
		c.unacked.Add(-1) // before the client can know
	}
	if (t == wire.PUBACK || t == wire.PUBREC) && !reason.Failed() {
		c.counters().confirmed.Add(1)
	}
	if text := c.reasonOf(tag); text != "" {
		c.sendExplained(t, id, reason, text)
		return
	}
	c.sendAck(t, id, reason)
}

// sendAck queues a PUBACK, PUBREC, PUBREL or PUBCOMP.
func (c *conn) sendAck(t wire.PacketType, id uint16, reason wire.ReasonCode) {
	c.out.Append(func(b *outbox.Buffer) {
		if !c.told { // nothing follows a DISCONNECT [MQTT-3.14.4-1]
			b.B = wire.AppendAck(b.B, t, c.version, wire.Ack{PacketID: id, Reason: reason})
		}
	})
}

// answered acts on the client's answers: to deliveries, and PUBREL to PUBREC.
// What is sent in return has the identifier of what it answers [MQTT-2.2.1-5].
// One for an identifier that is not in use is no error: it may answer a delivery
// that went out before the session was lost on one side (section 4.3.3).
func (c *conn) answered(f wire.Frame) error {
	a, err := wire.ParseAck(f, c.version)
	if err != nil {
		return err
	}
	switch f.Type {
	case wire.PUBACK:
		if c.link.Ack(a.PacketID) { // for good, whatever its reason [MQTT-4.4.0-2] [MQTT-4.8.2-6]
			c.counters().acknowledged.Add(1)
		}
	case wire.PUBREC:
		return c.received(a)
	case wire.PUBREL:
		return c.released(a)
	default:
		c.link.Released(a.PacketID)
	}
	return nil
}

// received acts on PUBREC. PUBREL is sent when it is on record that the client
// has the message [MQTT-4.3.3-4].
func (c *conn) received(a wire.Ack) error {
	if a.Reason.Failed() { // [MQTT-4.3.3-4]: then no PUBREL
		c.link.Refused(a.PacketID)
		return nil
	}
	known, err := c.link.Received(a.PacketID, c, answer(wire.PUBREL, a.PacketID, wire.Success))
	switch {
	case err != nil:
		return err
	case known:
		c.counters().acknowledged.Add(1)
	default:
		c.sendAck(wire.PUBREL, a.PacketID, wire.PacketIDNotFound)
	}
	return nil
}

// released acts on PUBREL. PUBCOMP is sent when it is on record that the
// identifier is free [MQTT-4.3.3-11] [MQTT-4.3.3-12]. An identifier that was not in use is free,
// too: PUBCOMP says so (section 3.7.2.1), and the client may go on.
func (c *conn) released(a wire.Ack) error {
	c.pub.released(a.PacketID)
	return c.link.ReleaseReceived(a.PacketID, c,
		answer(wire.PUBCOMP, a.PacketID, wire.Success), answer(wire.PUBCOMP, a.PacketID, wire.PacketIDNotFound))
}
