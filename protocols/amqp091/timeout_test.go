package amqp091_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// timedOut waits for the end of channel 1 for a timeout.
func (p *peer) timedOut(timeout time.Duration) {
	p.t.Helper()
	p.channelClosed(1, 406, fmt.Sprintf("PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: %d ms. "+
		"This timeout value can be configured, see consumers doc guide to learn more", timeout.Milliseconds()), 0)
}

func timeoutArg(ms any) field.Table { return field.Table{{Key: "x-consumer-timeout", Value: ms}} }

// TestConsumerTimeout: what is not settled in time closes its channel and goes back.
func TestConsumerTimeout(t *testing.T) {
	const limit, look = time.Minute, 15 * time.Second
	for _, r := range []row{
		{"a delivery that is kept", func(p *peer) {
			queueQ(p, 2)
			p.consume()
			p.deliverN(1, 2, false)
			p.silence(limit - time.Second)
			p.send(1, &wire.BasicAck{DeliveryTag: 2})
			p.timedOut(limit)
			p.ready(1)
		}},
		{"also one that was got", func(p *peer) {
			queueQ(p, 1)
			p.call(1, &wire.BasicGet{Queue: "q"}, &wire.BasicGetOK{DeliveryTag: 1, RoutingKey: "q"})
			p.message(1)
			p.timedOut(limit)
			p.ready(1)
		}},
		{"one that is settled in time, again and again", func(p *peer) {
			queueQ(p, 1)
			p.consume()
			for tag := uint64(1); tag < 20; tag++ {
				p.deliverN(tag, 1, tag > 1)
				p.silence(limit - look)
				p.send(1, &wire.BasicReject{DeliveryTag: tag, Requeue: true})
			}
		}},
		{"who settles one at a time, slowly", func(p *peer) {
			queueQ(p, 3)
			p.consume()
			p.deliverN(1, 3, false)
			p.silence(limit / 2)
			p.send(1, &wire.BasicAck{DeliveryTag: 1})
			p.silence(limit/2 - time.Second)
			p.send(1, &wire.BasicAck{DeliveryTag: 2})
			p.timedOut(limit) // the third has waited as long
			p.ready(1)
		}},
		{"a consumer's own timeout comes first", func(p *peer) {
			queueQ(p, 1)
			p.call(1, &wire.BasicConsume{Queue: "q", ConsumerTag: "t", Arguments: timeoutArg(int32(300_000))}, &wire.BasicConsumeOK{ConsumerTag: "t"})
			p.deliverN(1, 1, false)
			p.silence(5 * limit)
			p.timedOut(5 * limit)
		}},
		{"a consumer without one", func(p *peer) {
			queueQ(p, 1)
			p.call(1, &wire.BasicConsume{Queue: "q", ConsumerTag: "t", Arguments: timeoutArg(int64(0))}, &wire.BasicConsumeOK{ConsumerTag: "t"})
			p.deliverN(1, 1, false)
			p.silence(24 * time.Hour)
			p.send(1, &wire.BasicAck{DeliveryTag: 1})
		}},
		{"a queue's", func(p *peer) {
			p.declare(wire.QueueDeclare{Queue: "q", Arguments: timeoutArg(int32(120_000))})
			p.publishN(1)
			p.consume()
			p.deliverN(1, 1, false)
			p.silence(2 * limit)
			p.timedOut(2 * limit)
		}},
		{"what cannot be one is 406", func(p *peer) {
			queueQ(p, 0)
			for _, v := range []any{"soon", int32(-1), int64(1) << 60} {
				p.send(1, &wire.BasicConsume{Queue: "q", Arguments: timeoutArg(v)})
				p.channelClosed(1, 406, "PRECONDITION_FAILED - invalid arg 'x-consumer-timeout' for consumer: '"+field.Text(v)+"' is not a number of milliseconds", wire.BasicConsumeID)
			}
		}},
	} {
		t.Run(r.name, func(t *testing.T) {
			inBubble(t, func(s *setup) { s.server.ConsumerTimeout = limit }, func(b *bed) {
				p := b.connect()
				r.script(p)
				_ = p.nc.Close()
			})
		})
	}
}
