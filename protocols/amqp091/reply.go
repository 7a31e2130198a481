package amqp091

import (
	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// replies is a channel's consumer of replies to what it publishes (direct
// reply-to, a RabbitMQ extension): they come without a queue, to an address that
// stands in for core.ReplyQueue in the reply_to of what the channel publishes.
type replies struct {
	ch      *channel
	tag     string
	address *core.ReplyAddress // owned by the reader
}

var _ core.ReplyReceiver = (*replies)(nil)

// consumeReplies acts on basic.consume of core.ReplyQueue.
func (ch *channel) consumeReplies(m *wire.BasicConsume) error {
	switch {
	case ch.hasConsumer(m.ConsumerTag):
		return tagTaken(m.ConsumerTag)
	case !m.NoAck:
		return wire.Errorf(wire.PreconditionFailed, m.ID(), "reply consumer cannot acknowledge")
	case ch.replies != nil:
		return wire.Errorf(wire.PreconditionFailed, m.ID(), "reply consumer already set")
	}
	k := &replies{ch: ch, tag: consumerTag(m.ConsumerTag)}
	k.address = ch.c.session.OpenReplies(k)
	ch.setReplies(k)
	return ch.reply(m.NoWait, &wire.BasicConsumeOK{ConsumerTag: k.tag})
}

func (ch *channel) setReplies(k *replies) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.replies = k
}

// endReplies ends the consumer of replies, if there is one.
func (ch *channel) endReplies() {
	if k := ch.replies; k != nil {
		k.address.Close()
		ch.setReplies(nil)
	}
}

// Reply implements core.ReplyReceiver. Whoever sends replies cannot be told to
// wait, so they are dropped where too much waits for the client already.
func (k *replies) Reply(m *core.Message) bool {
	ch := k.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.replies != k || ch.c.out.Overfull() {
		return false
	}
	deliver := wire.BasicDeliver{ConsumerTag: k.tag, DeliveryTag: ch.tag + 1, Exchange: m.Exchange, RoutingKey: m.Key}
	if ch.appendDeliver(&deliver, content(m)) != nil {
		return false // it is not the client's fault
	}
	ch.tag++
	ch.c.count.deliveredNoAck.Add(1)
	return true
}

// declareReplies answers queue.declare of core.ReplyQueue, which is always there,
// and of the addresses that stand for it. Nothing else whose name begins so can
// be declared.
func (ch *channel) declareReplies(m *wire.QueueDeclare) error {
	if m.Queue != core.ReplyQueue && !ch.c.session.IsReplyAddress(m.Queue) {
		return wire.Errorf(wire.NotFound, m.ID(), "no queue '%s' in vhost '%s'", m.Queue, ch.c.vhost)
	}
	ch.queue = m.Queue
	return ch.reply(m.NoWait, &wire.QueueDeclareOK{Queue: m.Queue, ConsumerCount: 1})
}

// errNoReplies is the fault of who asks for replies and does not consume them.
func errNoReplies() *wire.Error {
	return wire.Errorf(wire.PreconditionFailed, wire.BasicPublishID, "fast reply consumer does not exist")
}
