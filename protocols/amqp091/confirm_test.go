package amqp091_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// confirming runs a conversation on a confirm channel with the durable queue q,
// on a store that passes records only when it is told to.
func confirming(t *testing.T, f func(b *bed, p *peer)) {
	t.Helper()
	inBubble(t, func(s *setup) { s.store.Manual = true }, func(b *bed) {
		p := b.connect()
		p.send(1, &wire.QueueDeclare{Queue: "q", Durable: true})
		synctest.Wait()
		b.store.Flush()
		p.expect(1, &wire.QueueDeclareOK{Queue: "q"})
		p.call(1, &wire.ConfirmSelect{}, &wire.ConfirmSelectOK{})
		f(b, p)
	})
}

func (p *peer) publishDurable(channel uint16, n int) {
	p.t.Helper()
	for range n {
		p.publish(channel, wire.BasicPublish{RoutingKey: "q"}, field.Properties{DeliveryMode: 2}, "m")
	}
}

func TestConfirms(t *testing.T) {
	t.Run("an ack waits until the message has passed", func(t *testing.T) {
		confirming(t, func(b *bed, p *peer) {
			p.publishDurable(1, 1)
			p.silence(time.Minute)
			b.store.Flush()
			p.expect(1, &wire.BasicAck{DeliveryTag: 1})
		})
	})
	t.Run("what passed together is acked together", func(t *testing.T) {
		confirming(t, func(b *bed, p *peer) {
			p.publishDurable(1, 5)
			synctest.Wait()
			b.store.FlushOne()
			p.expect(1, &wire.BasicAck{DeliveryTag: 1})
			synctest.Wait()
			// The writer hangs in the write of the first of these, as the peer
			// does not read.
			b.store.FlushOne()
			synctest.Wait()
			b.store.Flush()
			p.expect(1, &wire.BasicAck{DeliveryTag: 2}, &wire.BasicAck{DeliveryTag: 5, Multiple: true})
			p.silence(time.Second)
		})
	})
	t.Run("channels count for themselves", func(t *testing.T) {
		confirming(t, func(b *bed, p *peer) {
			p.openChannel(2)
			p.call(2, &wire.ConfirmSelect{}, &wire.ConfirmSelectOK{})
			p.publishDurable(1, 1)
			p.publishDurable(2, 1)
			synctest.Wait()
			b.store.Flush()
			p.expect(1, &wire.BasicAck{DeliveryTag: 1})
			p.expect(2, &wire.BasicAck{DeliveryTag: 1})
		})
	})
	t.Run("publishes before confirm.select do not count, and nowait is not answered", func(t *testing.T) {
		confirming(t, func(b *bed, p *peer) {
			p.openChannel(2)
			p.publishDurable(2, 3)
			p.send(2, &wire.ConfirmSelect{NoWait: true})
			p.publishDurable(2, 1)
			synctest.Wait()
			b.store.Flush()
			p.expect(2, &wire.BasicAck{DeliveryTag: 1})
		})
	})
	t.Run("unroutable is acked in its turn", func(t *testing.T) {
		confirming(t, func(b *bed, p *peer) {
			p.publishDurable(1, 1)
			p.publish(1, wire.BasicPublish{RoutingKey: "nowhere"}, field.Properties{}, "m")
			p.silence(time.Second)
			b.store.Flush()
			if ack, _ := p.next(1).(*wire.BasicAck); ack.DeliveryTag == 1 {
				p.expect(1, &wire.BasicAck{DeliveryTag: 2})
			} else if *ack != (wire.BasicAck{DeliveryTag: 2, Multiple: true}) {
				p.t.Errorf("got %+v", ack)
			}
		})
	})
	t.Run("what a full queue refuses is nacked in its turn, and no ack passes over it", func(t *testing.T) {
		confirming(t, func(b *bed, p *peer) {
			p.call(1, &wire.QueueDeclare{Queue: "full", Arguments: field.Table{
				{Key: "x-max-length", Value: int32(1)}, {Key: "x-overflow", Value: "reject-publish"},
			}}, &wire.QueueDeclareOK{Queue: "full"})
			p.publishDurable(1, 1)
			p.publish(1, wire.BasicPublish{RoutingKey: "full"}, field.Properties{}, "m")
			p.publish(1, wire.BasicPublish{RoutingKey: "full", Mandatory: true}, field.Properties{}, "m")
			p.publish(1, wire.BasicPublish{RoutingKey: "full"}, field.Properties{}, "m")
			p.publishDurable(1, 2)
			p.silence(time.Minute)
			b.store.FlushOne()
			p.expect(1, &wire.BasicAck{DeliveryTag: 1})
			synctest.Wait()
			b.store.FlushOne()
			synctest.Wait()
			b.store.Flush()
			p.expect(1, &wire.BasicAck{DeliveryTag: 2}, &wire.BasicNack{DeliveryTag: 3}, &wire.BasicNack{DeliveryTag: 4},
				&wire.BasicAck{DeliveryTag: 6, Multiple: true})
			p.openChannel(2)
			p.publish(2, wire.BasicPublish{RoutingKey: "full"}, field.Properties{}, "m")
			p.call(2, &wire.QueueDeclare{Queue: "full", Passive: true}, &wire.QueueDeclareOK{Queue: "full", MessageCount: 1})
		})
	})
	t.Run("a return precedes its ack", func(t *testing.T) {
		confirming(t, func(b *bed, p *peer) {
			p.publish(1, wire.BasicPublish{RoutingKey: "nowhere", Mandatory: true}, field.Properties{}, "m")
			p.expect(1, &wire.BasicReturn{ReplyCode: 312, ReplyText: "NO_ROUTE", RoutingKey: "nowhere"})
			p.message(1)
			b.store.Flush()
			p.expect(1, &wire.BasicAck{DeliveryTag: 1})
		})
	})
	t.Run("a reopened channel gets no confirms of its predecessor", func(t *testing.T) {
		confirming(t, func(b *bed, p *peer) {
			p.publishDurable(1, 2)
			p.call(1, &wire.ChannelClose{ReplyCode: 200}, &wire.ChannelCloseOK{})
			p.openChannel(1)
			p.call(1, &wire.ConfirmSelect{}, &wire.ConfirmSelectOK{})
			b.store.Flush()
			p.silence(time.Minute)
			p.publishDurable(1, 1)
			synctest.Wait()
			b.store.Flush()
			p.expect(1, &wire.BasicAck{DeliveryTag: 1})
		})
	})
	t.Run("after a store failure nothing is confirmed and the connection is cut", func(t *testing.T) {
		confirming(t, func(b *bed, p *peer) {
			p.publishDurable(1, 1)
			synctest.Wait()
			b.store.Fail(errors.New("disk on fire"))
			b.store.Flush()
			p.gone()
		})
	})
	t.Run("nor is a declaration answered", func(t *testing.T) {
		confirming(t, func(b *bed, p *peer) {
			p.send(1, &wire.QueueDeclare{Queue: "r", Durable: true})
			synctest.Wait()
			b.store.Fail(errors.New("disk on fire"))
			b.store.Flush()
			p.gone()
		})
	})
}

func TestStats(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		t := b.t
		p, quitter := b.connect(), b.connect()
		queueQ(p, 3)
		p.call(1, &wire.ConfirmSelect{}, &wire.ConfirmSelectOK{})
		p.publish(1, wire.BasicPublish{RoutingKey: "nowhere"}, field.Properties{}, "m")
		p.expect(1, &wire.BasicAck{DeliveryTag: 1})
		p.publish(1, wire.BasicPublish{RoutingKey: "nowhere", Mandatory: true}, field.Properties{}, "m")
		p.next(1)
		p.message(1)
		p.expect(1, &wire.BasicAck{DeliveryTag: 2})
		p.call(1, &wire.BasicGet{Queue: "q"}, &wire.BasicGetOK{DeliveryTag: 1, RoutingKey: "q", MessageCount: 2})
		p.message(1)
		p.send(1, &wire.BasicReject{DeliveryTag: 1, Requeue: true})
		p.consume()
		for range 3 {
			p.next(1)
			p.message(1)
		}
		p.send(1, &wire.BasicAck{DeliveryTag: 3, Multiple: true})
		p.call(1, &wire.BasicGet{Queue: "q", NoAck: true}, &wire.BasicGetEmpty{})
		quitter.openChannel(2)
		quitter.publish(2, wire.BasicPublish{RoutingKey: "nowhere"}, field.Properties{}, "m") // publishes no more
		quitter.call(0, &wire.ConnectionClose{ReplyCode: 200}, &wire.ConnectionCloseOK{})
		quitter.gone()
		synctest.Wait()

		got := b.server.Stats()
		if got.BytesRead == 0 || got.BytesWritten == 0 {
			t.Errorf("bytes read %d and written %d", got.BytesRead, got.BytesWritten)
		}
		got.BytesRead, got.BytesWritten = 0, 0
		want := amqp091.Stats{
			Connections: 1, Channels: 1, Consumers: 1, Publishers: 1, LoginsAccepted: 2,
			ConnectionsOpened: 2, ConnectionsClosed: 1, ChannelsOpened: 3, ChannelsClosed: 2,
			Received: 6, ReceivedConfirm: 2, Confirmed: 2, Returned: 1, UnroutableDropped: 2,
			DeliveredAck: 3, GotAck: 1, GetEmpty: 1, Redelivered: 1, Acknowledged: 2,
		}
		if got != want {
			t.Errorf("stats\n got %+v\nwant %+v", got, want)
		}
	})
}
