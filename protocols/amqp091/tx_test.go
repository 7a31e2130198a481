package amqp091_test

import (
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

func (p *peer) selectTx() { p.t.Helper(); p.call(1, &wire.TxSelect{}, &wire.TxSelectOK{}) }
func (p *peer) commit()   { p.t.Helper(); p.call(1, &wire.TxCommit{}, &wire.TxCommitOK{}) }
func (p *peer) rollback() { p.t.Helper(); p.call(1, &wire.TxRollback{}, &wire.TxRollbackOK{}) }

// ready wants n messages to wait in queue q.
func (p *peer) ready(n uint32) {
	p.t.Helper()
	p.openChannel(9)
	p.send(9, &wire.QueueDeclare{Queue: "q", Passive: true})
	if ok, _ := p.next(9).(*wire.QueueDeclareOK); ok == nil || ok.MessageCount != n {
		p.t.Errorf("declare answers %+v, want %d messages", ok, n)
	}
	p.call(9, &wire.ChannelClose{ReplyCode: 200}, &wire.ChannelCloseOK{})
}

func TestTx_1_9(t *testing.T) {
	converse(t, []row{
		{"nothing is published before the commit", func(p *peer) {
			queueQ(p, 0)
			p.selectTx()
			p.publishN(3)
			p.ready(0)
			p.commit()
			p.ready(3)
			p.publishN(1) // in the next one
			p.ready(3)
			p.commit()
			p.ready(4)
		}},
		{"a rollback forgets what was published", func(p *peer) {
			queueQ(p, 0)
			p.selectTx()
			p.publishN(3)
			p.rollback()
			p.commit()
			p.ready(0)
		}},
		{"with the channel a transaction goes", func(p *peer) {
			queueQ(p, 1)
			p.selectTx()
			p.consume()
			p.deliverN(1, 1, false)
			p.send(1, &wire.BasicAck{DeliveryTag: 1})
			p.publishN(3)
			p.call(1, &wire.ChannelClose{ReplyCode: 200}, &wire.ChannelCloseOK{})
			p.openChannel(1)
			p.ready(1)
			p.send(1, &wire.TxCommit{})
			p.channelClosed(1, 406, "PRECONDITION_FAILED - channel is not transactional", wire.TxCommitID)
		}},
		{"what is acknowledged counts for the prefetch limit until the commit", func(p *peer) {
			queueQ(p, 3)
			p.selectTx()
			p.call(1, &wire.BasicQos{PrefetchCount: 1}, &wire.BasicQosOK{})
			p.consume()
			p.deliverN(1, 1, false)
			p.send(1, &wire.BasicAck{DeliveryTag: 1})
			p.silence(time.Second)
			p.commitThenDelivery(2)
			p.send(1, &wire.BasicReject{DeliveryTag: 2, Requeue: true})
			p.silence(time.Second)
			p.send(1, &wire.TxCommit{})
			// The first two may change places.
			p.deliver(1, wire.BasicDeliver{ConsumerTag: "t", DeliveryTag: 3, RoutingKey: "q", Redelivered: true})
			p.expect(1, &wire.TxCommitOK{})
		}},
		{"a rollback makes deliveries outstanding again, and does not repeat them", func(p *peer) {
			queueQ(p, 4)
			p.selectTx()
			p.consume()
			p.deliverN(1, 4, false)
			p.send(1, &wire.BasicAck{DeliveryTag: 3}, &wire.BasicNack{DeliveryTag: 1, Requeue: true}, &wire.BasicReject{DeliveryTag: 4})
			p.rollback()
			p.silence(time.Second)
			p.send(1, &wire.BasicAck{DeliveryTag: 3, Multiple: true})
			p.commit()
			p.call(1, &wire.BasicCancel{ConsumerTag: "t"}, &wire.BasicCancelOK{ConsumerTag: "t"})
			p.ready(0)
			p.send(1, &wire.BasicRecover{Requeue: true})
			p.expect(1, &wire.BasicRecoverOK{})
			p.ready(1)
		}},
		{"a delivery is acknowledged once in a transaction, too", func(p *peer) {
			queueQ(p, 1)
			p.selectTx()
			p.consume()
			p.deliverN(1, 1, false)
			p.send(1, &wire.BasicAck{DeliveryTag: 1}, &wire.BasicAck{DeliveryTag: 1})
			p.channelClosed(1, 406, "PRECONDITION_FAILED - unknown delivery tag 1", wire.BasicAckID)
			p.ready(1)
		}},
		{"what reaches nobody comes back with the commit", func(p *peer) {
			p.selectTx()
			p.publish(1, wire.BasicPublish{RoutingKey: "nowhere", Mandatory: true}, field.Properties{}, "m")
			p.publish(1, wire.BasicPublish{RoutingKey: "nowhere"}, field.Properties{}, "dropped")
			p.silence(time.Second)
			p.send(1, &wire.TxCommit{})
			p.expect(1, &wire.BasicReturn{ReplyCode: 312, ReplyText: "NO_ROUTE", RoutingKey: "nowhere"})
			p.message(1)
			p.expect(1, &wire.TxCommitOK{})
		}},
		{"a missing exchange is 404 at once, and ends the transaction", func(p *peer) {
			queueQ(p, 0)
			p.selectTx()
			p.publishN(1)
			p.publish(1, wire.BasicPublish{Exchange: "x"}, field.Properties{}, "m")
			p.channelClosed(1, 404, "NOT_FOUND - no exchange 'x' in vhost '/'", wire.BasicPublishID)
			p.ready(0)
		}},
		{"an expiration counts from the commit", func(p *peer) {
			queueQ(p, 0)
			p.selectTx()
			p.publishExpiring("m", "1000")
			p.wait(time.Hour)
			p.commit()
			p.ready(1)
			p.wait(time.Second)
			p.ready(0)
		}},
		{"a retained message is published with the rest", func(p *peer) {
			queueQ(p, 0)
			p.call(1, &wire.QueueBind{Queue: "q", Exchange: "amq.topic", RoutingKey: "k"}, &wire.QueueBindOK{})
			p.selectTx()
			p.publish(1, wire.BasicPublish{Exchange: "amq.topic", RoutingKey: "k"}, field.Properties{Headers: field.Table{{Key: "x-mqtt-retain", Value: true}}}, "m")
			p.ready(0)
			p.commit()
			p.ready(1)
		}},
		{"a full queue that refuses a message fails the commit, which is done but for that", func(p *peer) {
			p.declare(wire.QueueDeclare{Queue: "q", Arguments: field.Table{{Key: "x-max-length", Value: int32(1)}, {Key: "x-overflow", Value: "reject-publish"}}})
			p.selectTx()
			p.publishN(3)
			p.send(1, &wire.TxCommit{})
			p.channelClosed(1, 406, "PRECONDITION_FAILED - partial tx completion", wire.TxCommitID)
			p.ready(1)
		}},
		{"select may be repeated", func(p *peer) {
			queueQ(p, 0)
			p.selectTx()
			p.publishN(1)
			p.selectTx()
			p.commit()
			p.ready(1)
		}},
		{"commit and rollback need a select", func(p *peer) {
			for _, m := range []wire.Method{&wire.TxCommit{}, &wire.TxRollback{}} {
				p.send(1, m)
				p.channelClosed(1, 406, "PRECONDITION_FAILED - channel is not transactional", m.ID())
			}
		}},
		{"transactions and confirms exclude each other", func(p *peer) {
			p.selectTx()
			p.send(1, &wire.ConfirmSelect{})
			p.channelClosed(1, 406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode", wire.ConfirmSelectID)
			p.call(1, &wire.ConfirmSelect{}, &wire.ConfirmSelectOK{})
			p.send(1, &wire.TxSelect{})
			p.channelClosed(1, 406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode", wire.TxSelectID)
		}},
		{"who publishes too much before a commit is told so", func(p *peer) {
			queueQ(p, 0)
			p.selectTx()
			body := strings.Repeat("x", 1<<20)
			for range 4 {
				p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{}, body)
			}
			p.channelClosed(1, 406, "PRECONDITION_FAILED - transactions of this connection exceed 4194304 bytes: commit more often", wire.BasicPublishID)
			p.selectTx() // nothing of the last one counts any more
			for range 3 {
				p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{}, body)
			}
			p.commit()
			p.ready(3)
		}},
	})
}

// commitThenDelivery commits, which lets the next delivery go; the two may come in
// either order.
func (p *peer) commitThenDelivery(tag uint64) {
	p.t.Helper()
	p.send(1, &wire.TxCommit{})
	p.deliver(1, wire.BasicDeliver{ConsumerTag: "t", DeliveryTag: tag, RoutingKey: "q"})
	p.expect(1, &wire.TxCommitOK{})
}

// TestTxCommitWaitsForTheStore: commit-ok is a promise; a connection that ends
// meanwhile takes nothing back.
func TestTxCommitWaitsForTheStore(t *testing.T) {
	inBubble(t, func(s *setup) { s.store.Manual = true }, func(b *bed) {
		p := b.connect()
		p.send(1, &wire.QueueDeclare{Queue: "q", Durable: true})
		p.silence(time.Second)
		b.store.Flush()
		p.expect(1, &wire.QueueDeclareOK{Queue: "q"})
		p.selectTx()
		p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{DeliveryMode: 2}, "m")
		p.send(1, &wire.TxCommit{})
		p.silence(time.Minute)
		b.store.Flush()
		p.expect(1, &wire.TxCommitOK{})

		p.call(1, &wire.BasicGet{Queue: "q"}, &wire.BasicGetOK{DeliveryTag: 1, RoutingKey: "q"})
		p.message(1)
		p.send(1, &wire.BasicAck{DeliveryTag: 1}, &wire.TxCommit{})
		p.silence(time.Second)
		_ = p.nc.Close()
		b.stop(nil)
		b.serving.Wait()
		b.store.Flush()
		if n := b.broker.Stats(); n.Ready != 0 || n.Unsettled != 0 {
			t.Errorf("%d messages wait, %d are outstanding: the acknowledgement was committed", n.Ready, n.Unsettled)
		}
	})
}

// TestTx_ManyQueuesAtOnce: one message in several queues, and messages for several,
// are there together.
func TestTx_ManyQueuesAtOnce(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.connect()
		for _, q := range []string{"q", "q2"} {
			p.declare(wire.QueueDeclare{Queue: q, Durable: q == "q"})
			p.call(1, &wire.QueueBind{Queue: q, Exchange: "amq.fanout"}, &wire.QueueBindOK{})
		}
		p.selectTx()
		for _, m := range []wire.BasicPublish{{Exchange: "amq.fanout"}, {RoutingKey: "q"}, {RoutingKey: "q2"}} {
			for _, mode := range []uint8{1, field.Persistent} {
				p.publish(1, m, field.Properties{DeliveryMode: mode}, "m")
			}
		}
		p.commit()
		for _, q := range []string{"q", "q2"} {
			p.call(1, &wire.QueueDeclare{Queue: q, Passive: true}, &wire.QueueDeclareOK{Queue: q, MessageCount: 4})
		}
		_ = p.nc.Close()
	})
}
