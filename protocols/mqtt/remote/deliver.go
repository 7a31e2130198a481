package remote

import (
	"log/slog"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/wire"
	"github.com/batonmq/baton/protocols/outbox"
)

// byReference is the body size from which the outbox writes the message's own bytes.
const byReference = 8 << 10

// Ready implements core.SubscriberReceiver.
func (c *conn) Ready() bool { return c.out.Ready() }

// Push implements core.SubscriberReceiver: a PUBLISH of QoS 0.
func (c *conn) Push(m *core.Message, match *core.Match) {
	if !c.deliver(m, 0, match, 0, false) {
		c.b.count.dropped.Add(1)
	}
}

// Send implements core.SubscriberReceiver: a PUBLISH of QoS 1 or 2, or of less if the far
// broker takes no more.
func (c *conn) Send(m *core.Message, id uint16, match *core.Match, again bool) {
	qos := min(uint8(match.Level), c.far.maxQoS)
	sent := c.deliver(m, id, match, qos, again)
	if !sent {
		c.b.count.dropped.Add(1)
		if !c.refused.Swap(true) {
			c.b.log.Warn("a message cannot be carried to the far broker and is dropped, and those that follow alike",
				slog.String("topic", clipped(bridge.Topic(m.Key))), slog.Int("bytes", len(m.Body)))
		}
	}
	if sent && qos > 0 {
		return
	}
	// There will be no answer, and the engine's locks are held: somebody else says so.
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.leaving {
		c.discards.Go(func() { c.finish(id) })
	}
}

// Release implements core.SubscriberReceiver.
func (c *conn) Release(id uint16) { c.sendAck(wire.PUBREL, id, wire.Success) }

// TakenOver implements core.SubscriberReceiver. No client has the bridge's name, so that it
// is another connection of its own.
func (c *conn) TakenOver() { c.interrupt(core.ErrTakenOver) }

// deliver queues a PUBLISH. It reports false for what the far broker would not take, and
// what no rule has a place for.
func (c *conn) deliver(m *core.Message, id uint16, match *core.Match, qos uint8, again bool) bool {
	topic, ok := outward(c.b.opt.Topics, bridge.Topic(m.Key))
	if !ok {
		return false
	}
	d := wire.Delivery{
		Topic: []byte(topic), QoS: qos, Dup: again, Retain: match.Retain && !c.far.noRetain, PacketID: id, Payload: m.Body,
	}
	if c.version == wire.V5 {
		if m.Expires != 0 { // section 3.3.2.3.3
			d.HasExpiry, d.Expiry = true, bridge.Expiry(c.session.Left(m))
		}
		section, _, err := bridge.AppendProperties(nil, m.Props)
		if err != nil {
			return false
		}
		d.Properties = section
	}
	if uint64(d.Size(c.version)) > uint64(c.far.maxPacketSize) { // section 3.2.2.3.6
		return false
	}
	c.append(&d)
	c.b.count.sent[qos].Add(1)
	return true
}

// append queues d, whose size was looked at.
func (c *conn) append(d *wire.Delivery) {
	c.out.Append(func(b *outbox.Buffer) {
		if len(d.Payload) < byReference {
			b.B, _ = d.Append(b.B, c.version)
			return
		}
		b.B, _ = d.AppendHead(b.B, c.version)
		b.Reference(d.Payload)
	})
}

// notify tells both brokers whether the bridge is connected.
func (c *conn) notify(state string) {
	topic := c.b.opt.Notify
	if topic == "" {
		return
	}
	if !c.far.noRetain {
		c.append(&wire.Delivery{Topic: []byte(topic), Retain: true, Payload: []byte(state)})
	}
	_, err := c.session.Publish(&core.Message{
		Exchange: core.TopicExchange, Key: bridge.Key(topic), Props: bridge.Block(1, true, &wire.PublishProperties{}),
		Body: []byte(state), Persistent: true, Retain: true,
	}, nil, 0)
	if err != nil {
		c.b.log.Warn("the bridge's state could not be published", slog.String("topic", topic), slog.Any("err", err))
	}
}
