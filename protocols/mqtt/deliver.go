package mqtt

import (
	"log/slog"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/wire"
	"github.com/batonmq/baton/protocols/outbox"
)

// byReference is the body size from which the outbox writes the message's own
// bytes instead of a copy: below it, copying is cheaper than a longer writev.
const byReference = 8 << 10

// topicScratch is the room for a topic on the stack of who delivers; a longer
// one costs an allocation.
const topicScratch = 128

// Ready implements core.SubscriberReceiver.
func (c *conn) Ready() bool { return c.out.Ready() }

// Push implements core.SubscriberReceiver: a PUBLISH of QoS 0.
func (c *conn) Push(m *core.Message, match *core.Match) {
	if !c.deliver(m, 0, match, 0, false) {
		c.counters().tooLarge.Add(1)
	}
}

// Send implements core.SubscriberReceiver: a PUBLISH of QoS 1 or 2.
func (c *conn) Send(m *core.Message, id uint16, match *core.Match, again bool) {
	if c.deliver(m, id, match, uint8(match.Level), again) {
		return
	}
	// [MQTT-3.1.2-25]: as if the client had it. The engine's locks are held, so
	// somebody else has to say so.
	c.counters().tooLarge.Add(1)
	once := match.Level == core.ExactlyOnce
	c.discard(func() {
		if once {
			c.link.Refused(id)
		} else {
			c.link.Ack(id)
		}
	})
}

// discard runs f, which gives a delivery up, on a goroutine that release waits
// for; once the connection is leaving the delivery is left to the next one.
func (c *conn) discard(f func()) {
	c.lifeMu.Lock()
	defer c.lifeMu.Unlock()
	if !c.leaving {
		c.discards.Go(f)
	}
}

// Release implements core.SubscriberReceiver.
func (c *conn) Release(id uint16) { c.sendAck(wire.PUBREL, id, wire.Success) }

// TakenOver implements core.SubscriberReceiver [MQTT-3.1.4-3].
func (c *conn) TakenOver() {
	c.noteFight()
	c.interrupt(takenOver())
}

// deliver queues a PUBLISH, unless the client accepts none as large, or has no topic
// for it below its mount point. It has DUP
// if it may have been sent before, whatever it came with [MQTT-3.3.1-3]
// [MQTT-4.3.2-2] [MQTT-4.3.3-2].
func (c *conn) deliver(m *core.Message, id uint16, match *core.Match, qos uint8, again bool) (ok bool) {
	var scratch [topicScratch]byte
	topic := bridge.AppendTopic(scratch[:0], m.Key)
	if c.mount != nil {
		if topic, ok = c.mount.visible(topic); !ok {
			return false
		}
	}
	d := wire.Delivery{
		Topic: topic, QoS: qos, Dup: again, Retain: match.Retain, PacketID: id,
		Payload: m.Body,
	}
	if c.version == wire.V5 {
		var ids [4]uint32
		if match.ID != 0 { // [MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.4-5]
			d.SubscriptionIDs = append(append(ids[:0], match.ID), match.More...)
		}
		if m.Expires != 0 { // [MQTT-3.3.2-6]
			d.HasExpiry, d.Expiry = true, bridge.Expiry(c.session.Left(m))
		}
		if len(m.Props) > plainBlock {
			scratch := c.properties(&d, m)
			defer c.srv.sections.release(scratch)
		}
	}
	if c.acceptMax <= maxPacketSize && uint64(d.Size(c.version)) > uint64(c.acceptMax) { // [MQTT-3.1.2-24]
		return false
	}
	if !c.queue(&d, m.Body) {
		return false
	}
	c.counters().delivered[qos].Add(1)
	if again {
		c.counters().redelivered.Add(1)
	}
	return true
}

// queue appends d, which has this body, to the outbox. It reports false for what AMQP can have and
// MQTT cannot: a topic, a body or properties that are too long.
func (c *conn) queue(d *wire.Delivery, body []byte) bool {
	var err error
	c.out.Append(func(b *outbox.Buffer) {
		introduced := c.sent != nil && c.sent.apply(d, c.acceptMax)
		if len(body) < byReference {
			b.B, err = d.Append(b.B, c.version)
		} else if b.B, err = d.AppendHead(b.B, c.version); err == nil {
			b.Reference(body) // not d.Payload: with that the compiler moves all of d to the heap
		}
		if introduced && err == nil {
			c.sent.introduce(d.Topic)
		}
	})
	return err == nil
}

// properties gives d the properties of m. What it returns is to be released
// when d has been written.
func (c *conn) properties(d *wire.Delivery, m *core.Message) (scratch *[]byte) {
	if s := c.srv.sections.shared(m); s != nil {
		d.Properties = c.mount.visibleResponse(s.section)
		return nil
	}
	scratch = c.srv.sections.scratch()
	section, _, err := bridge.AppendProperties((*scratch)[:0], m.Props)
	if err != nil { // the block was checked when it came in
		c.log().Error("message with unreadable properties", slog.String("key", m.Key), slog.Any("err", err))
		return scratch
	}
	*scratch = section
	d.Properties = c.mount.visibleResponse(section)
	return scratch
}
