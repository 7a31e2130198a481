package amqp091

import (
	"log/slog"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/outbox"
)

// byReference is the body size from which the outbox writes the message's own
// bytes instead of a copy: below it, copying is cheaper than a longer writev.
const byReference = 8 << 10

// consumer is a subscription of a channel.
type consumer struct {
	ch      *channel
	tag     string
	noAck   bool
	timed   bool // timeout is the consumer's own
	timeout time.Duration
	sub     *core.Consumer // owned by the reader; nil until the engine has made it
}

var _ core.Receiver = (*consumer)(nil)

// Ready implements core.Receiver.
func (k *consumer) Ready() bool { return k.ch.c.out.Ready() }

// Deliver implements core.Receiver: it numbers d, keeps it until it is settled,
// and queues basic.deliver. All under channel.mu, so that tags grow on the wire.
func (k *consumer) Deliver(d core.Delivery) {
	ch := k.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.tag++
	if k.noAck {
		ch.c.count.deliveredNoAck.Add(1)
	} else {
		d.Tag = ch.tag
		ch.unsettled.push(d)
		ch.c.count.deliveredAck.Add(1)
	}
	if d.Redelivered {
		ch.c.count.redelivered.Add(1)
	}
	m := wire.BasicDeliver{
		ConsumerTag: k.tag, DeliveryTag: ch.tag, Redelivered: d.Redelivered,
		Exchange: d.Message.Exchange, RoutingKey: d.Message.Key,
	}
	if err := ch.appendDeliver(&m, delivered(&d)); err != nil {
		ch.c.interrupt(unsendable(wire.BasicDeliverID, err))
	}
}

// appendDeliver queues basic.deliver with its message. channel.mu is held.
func (ch *channel) appendDeliver(deliver *wire.BasicDeliver, m wire.Content) (err error) {
	ch.c.out.Append(func(b *outbox.Buffer) {
		if len(m.Body) < byReference {
			b.B, err = wire.AppendDeliver(b.B, ch.id, deliver, m, ch.c.frameMax)
			return
		}
		err = ch.appendDeliverVec(b, deliver, m)
	})
	return err
}

// appendDeliverVec appends basic.deliver with the body by reference. channel.mu
// is held.
func (ch *channel) appendDeliverVec(b *outbox.Buffer, m *wire.BasicDeliver, body wire.Content) (err error) {
	at := len(b.B)
	ch.splices, b.B, err = wire.AppendDeliverVec(ch.splices[:0], b.B, ch.id, m, body, ch.c.frameMax)
	splice(b, at, ch.splices)
	clear(ch.splices)
	return err
}

// appendVec does so for other methods, which are rarer.
func (ch *channel) appendVec(b *outbox.Buffer, m wire.Method, body wire.Content) (err error) {
	at := len(b.B)
	var vec [][]byte
	vec, b.B, err = wire.AppendVec(nil, b.B, ch.id, m, body, ch.c.frameMax)
	splice(b, at, vec)
	return err
}

// splice references the bodies of slices that alternate between framing, which is
// in b.B from at on, and body.
func splice(b *outbox.Buffer, at int, slices [][]byte) {
	for i, s := range slices {
		if i%2 == 0 {
			at += len(s)
		} else {
			b.Splice(at, s)
		}
	}
}

// unsendable is the end of a connection that was given a message its client
// cannot be sent: names too long for AMQP, or a header above the client's
// frame_max. The message goes back to its queue with the rest of what is
// outstanding.
func unsendable(method wire.MethodID, err error) *wire.Error {
	return wire.Errorf(wire.FrameError, method, "message cannot be sent to this client: %v", err)
}

// Cancelled implements core.Receiver: the queue is gone. Clients that do not
// know the notification (a RabbitMQ extension) are not sent it.
func (k *consumer) Cancelled(*core.Consumer) {
	ch := k.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.consumers[k.tag] != k {
		return
	}
	delete(ch.consumers, k.tag)
	ch.c.count.consumers.Add(-1)
	switch {
	case !ch.c.client.cancelNotify:
	case ch.answering:
		ch.cancelled = append(ch.cancelled, k.tag)
	default:
		ch.notifyCancelled(k.tag)
	}
}

func (ch *channel) notifyCancelled(tag string) {
	if err := ch.send(&wire.BasicCancel{ConsumerTag: tag, NoWait: true}); err != nil {
		ch.c.log().Error("basic.cancel could not be encoded", slog.Any("err", err))
	}
}

// answerFirst runs f, which deletes a queue and answers: consumers of this channel
// that end with the queue hear of it behind that, as from RabbitMQ.
func (ch *channel) answerFirst(f func() error) error {
	ch.mu.Lock()
	ch.answering = true
	ch.mu.Unlock()
	err := f()
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for _, tag := range ch.cancelled {
		ch.notifyCancelled(tag)
	}
	ch.answering, ch.cancelled = false, nil
	return err
}

// keep numbers a delivery that basic.get fetched, and keeps it until it is
// settled. The answer is queued by send, called with channel.mu held.
func (ch *channel) keep(d *core.Delivery, noAck bool, send func(tag uint64) error) error {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.tag++
	if !noAck {
		d.Tag = ch.tag
		ch.unsettled.push(*d)
	}
	if err := send(ch.tag); err != nil {
		return unsendable(wire.BasicGetID, err)
	}
	return nil
}
