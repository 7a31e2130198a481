package amqp091_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// TestChannelInfos: what lists of channels say, as RabbitMQ does.
func TestChannelInfos(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.connect()
		want := func(what string, want ...core.ChannelInfo) {
			t.Helper()
			synctest.Wait()
			if got := b.broker.Sessions()[0].Channels(); !slices.Equal(got, want) {
				t.Errorf("%s: %+v, want %+v", what, got, want)
			}
		}
		want("an open channel", core.ChannelInfo{Number: 1})
		p.declare(wire.QueueDeclare{Queue: "q"})
		p.call(1, &wire.BasicQos{PrefetchCount: 3}, &wire.BasicQosOK{})
		p.call(1, &wire.BasicQos{PrefetchCount: 9, Global: true}, &wire.BasicQosOK{})
		p.publishN(2)
		p.call(1, &wire.TxSelect{}, &wire.TxSelectOK{})
		p.openChannel(2)
		p.call(2, &wire.ConfirmSelect{}, &wire.ConfirmSelectOK{})
		p.consume()
		p.deliverN(1, 2, false)
		two := core.ChannelInfo{Number: 2, Confirm: true}
		one := core.ChannelInfo{Number: 1, Transactional: true, Prefetch: 3, GlobalPrefetch: 9, Consumers: 1, Unacked: 2}
		want("a consumer, and a publisher that is confirmed", one, two)

		p.send(1, &wire.BasicAck{DeliveryTag: 1})
		p.publishN(3)
		one.Uncommitted, one.UncommittedAcks = 3, 1
		want("a transaction", one, two)
		p.send(1, &wire.TxRollback{})
		p.expect(1, &wire.TxRollbackOK{})
		one.Uncommitted, one.UncommittedAcks = 0, 0
		want("none any more", one, two)
		p.call(2, &wire.ChannelClose{ReplyCode: 200}, &wire.ChannelCloseOK{})
		want("one channel", one)
	})
}

// TestChannelInfos_Unconfirmed: publishes count until the client has been told, and so they do for the server.
func TestChannelInfos_Unconfirmed(t *testing.T) {
	confirming(t, func(b *bed, p *peer) {
		p.publishDurable(1, 3)
		synctest.Wait()
		unconfirmed := func() int { return b.broker.Sessions()[0].Channels()[0].Unconfirmed }
		if n, received := unconfirmed(), b.server.Stats().ReceivedConfirm; n != 3 || received != 3 {
			t.Errorf("%d are not confirmed, %d were received, want 3", n, received)
		}
		b.store.FlushOne()
		p.expect(1, &wire.BasicAck{DeliveryTag: 1})
		if n := unconfirmed(); n != 2 {
			t.Errorf("%d are not confirmed, want 2", n)
		}
		p.call(1, &wire.ChannelClose{ReplyCode: 200}, &wire.ChannelCloseOK{})
		if received := b.server.Stats().ReceivedConfirm; received != 3 {
			t.Errorf("%d were received when the channel is closed, want 3", received)
		}
	})
}

// TestChannelInfos_WhileTheyChange: whoever lists channels does so on a goroutine of its own.
func TestChannelInfos_WhileTheyChange(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.connect()
		session := b.broker.Sessions()[0]
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				default:
					_ = session.Channels()
				}
			}
		}()
		p.declare(wire.QueueDeclare{Queue: "q"})
		p.call(1, &wire.ConfirmSelect{}, &wire.ConfirmSelectOK{})
		p.call(1, &wire.BasicQos{PrefetchCount: 3}, &wire.BasicQosOK{})
		p.call(1, &wire.BasicConsume{Queue: "q", ConsumerTag: "t", NoAck: true}, &wire.BasicConsumeOK{ConsumerTag: "t"})
		for range 10 {
			p.openChannel(2)
			p.call(2, &wire.TxSelect{}, &wire.TxSelectOK{})
			p.publish(2, wire.BasicPublish{RoutingKey: "nowhere"}, field.Properties{}, "x")
			p.call(2, &wire.ChannelClose{ReplyCode: 200}, &wire.ChannelCloseOK{})
		}
		close(stop)
		<-done
	})
}
