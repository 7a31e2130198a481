package amqp091_test

import (
	"strings"
	"testing"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

const replyTo = "amq.rabbitmq.reply-to"

// consumeReplies begins to consume replies on channel 1.
func (p *peer) consumeReplies() {
	p.t.Helper()
	p.call(1, &wire.BasicConsume{Queue: replyTo, ConsumerTag: "r", NoAck: true}, &wire.BasicConsumeOK{ConsumerTag: "r"})
}

// ask publishes a request to queue q, takes it out of there and returns the address for replies that it has.
func (p *peer) ask() (address string) {
	p.t.Helper()
	p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{
		CorrelationID: "7", ReplyTo: replyTo, MessageID: "m", Headers: field.Table{{Key: "k", Value: "v"}},
	}, "question")
	p.call(1, &wire.BasicGet{Queue: "q", NoAck: true}, &wire.BasicGetOK{DeliveryTag: p.tag(), RoutingKey: "q"})
	props, body := p.message(1)
	if props.CorrelationID != "7" || props.MessageID != "m" || len(props.Headers) != 1 || body != "question" {
		p.t.Errorf("the request is %+v %q", props, body)
	}
	return props.ReplyTo
}

func TestDirectReplyTo(t *testing.T) {
	converse(t, []row{
		{"replies come without a queue, to an address that nobody can guess", func(p *peer) {
			queueQ(p, 0)
			p.consumeReplies()
			address := p.ask()
			if again := p.ask(); again != address || !strings.HasPrefix(address, replyTo+".") || len(address) < len(replyTo)+20 {
				p.t.Errorf("addresses %q and %q", address, again)
			}
			p.openChannel(2)
			for tag := uint64(3); tag < 5; tag++ {
				p.publish(2, wire.BasicPublish{RoutingKey: address, Mandatory: true}, field.Properties{CorrelationID: "7"}, "answer")
				p.expect(1, &wire.BasicDeliver{ConsumerTag: "r", DeliveryTag: tag, RoutingKey: address})
				if props, body := p.message(1); props.CorrelationID != "7" || body != "answer" {
					p.t.Errorf("the reply is %+v %q", props, body)
				}
			}
		}},
		{"each channel has its own", func(p *peer) {
			queueQ(p, 0)
			p.consumeReplies()
			first := p.ask()
			p.openChannel(2)
			p.call(2, &wire.BasicConsume{Queue: replyTo, ConsumerTag: "r", NoAck: true}, &wire.BasicConsumeOK{ConsumerTag: "r"})
			p.publish(2, wire.BasicPublish{RoutingKey: "q"}, field.Properties{ReplyTo: replyTo}, "m")
			p.call(1, &wire.BasicGet{Queue: "q", NoAck: true}, &wire.BasicGetOK{DeliveryTag: 2, RoutingKey: "q"})
			props, _ := p.message(1)
			if props.ReplyTo == first {
				p.t.Error("two channels have one address")
			}
			p.publish(1, wire.BasicPublish{RoutingKey: props.ReplyTo}, field.Properties{}, "answer")
			p.deliver(2, wire.BasicDeliver{ConsumerTag: "r", DeliveryTag: 1, RoutingKey: props.ReplyTo})
		}},
		{"a reply is confirmed", func(p *peer) {
			queueQ(p, 0)
			p.consumeReplies()
			address := p.ask()
			p.openChannel(2)
			p.call(2, &wire.ConfirmSelect{}, &wire.ConfirmSelectOK{})
			p.publish(2, wire.BasicPublish{RoutingKey: address}, field.Properties{}, "answer")
			p.deliver(1, wire.BasicDeliver{ConsumerTag: "r", DeliveryTag: 2, RoutingKey: address})
			p.expect(2, &wire.BasicAck{DeliveryTag: 1})
		}},
		{"who has gone gets none: mandatory ones come back", func(p *peer) {
			queueQ(p, 0)
			p.consumeReplies()
			address := p.ask()
			p.call(1, &wire.BasicCancel{ConsumerTag: "r"}, &wire.BasicCancelOK{ConsumerTag: "r"})
			p.publish(1, wire.BasicPublish{RoutingKey: address, Mandatory: true}, field.Properties{}, "answer")
			p.expect(1, &wire.BasicReturn{ReplyCode: 312, ReplyText: "NO_ROUTE", RoutingKey: address})
			p.message(1)
			p.consumeReplies()
			if again := p.ask(); again == address {
				p.t.Error("an address is used twice")
			}
		}},
		{"with its channel an address goes", func(p *peer) {
			queueQ(p, 0)
			p.consumeReplies()
			address := p.ask()
			p.call(1, &wire.ChannelClose{ReplyCode: 200}, &wire.ChannelCloseOK{})
			p.openChannel(1)
			p.publish(1, wire.BasicPublish{RoutingKey: address, Mandatory: true}, field.Properties{}, "answer")
			p.expect(1, &wire.BasicReturn{ReplyCode: 312, ReplyText: "NO_ROUTE", RoutingKey: address})
			p.message(1)
		}},
		{"declaring tells that it is there", func(p *peer) {
			queueQ(p, 0)
			p.call(1, &wire.QueueDeclare{Queue: replyTo, Passive: true}, &wire.QueueDeclareOK{Queue: replyTo, ConsumerCount: 1})
			p.consumeReplies()
			address := p.ask()
			p.call(1, &wire.QueueDeclare{Queue: address, Passive: true}, &wire.QueueDeclareOK{Queue: address, ConsumerCount: 1})
			p.send(1, &wire.QueueDeclare{Queue: address + "x", Passive: true})
			p.channelClosed(1, 404, "NOT_FOUND - no queue '"+address+"x' in vhost '/'", wire.QueueDeclareID)
			p.send(1, &wire.QueueDeclare{Queue: replyTo + "x"})
			p.channelClosed(1, 404, "NOT_FOUND - no queue '"+replyTo+"x' in vhost '/'", wire.QueueDeclareID)
		}},
		{"acknowledgements are 406", func(p *peer) {
			p.send(1, &wire.BasicConsume{Queue: replyTo})
			p.channelClosed(1, 406, "PRECONDITION_FAILED - reply consumer cannot acknowledge", wire.BasicConsumeID)
		}},
		{"a second consumer is 406", func(p *peer) {
			p.consumeReplies()
			p.send(1, &wire.BasicConsume{Queue: replyTo, NoAck: true})
			p.channelClosed(1, 406, "PRECONDITION_FAILED - reply consumer already set", wire.BasicConsumeID)
		}},
		{"a tag that is taken is 530", func(p *peer) {
			queueQ(p, 0)
			p.consume()
			p.send(1, &wire.BasicConsume{Queue: replyTo, ConsumerTag: "t", NoAck: true})
			p.connectionClosed(530, "NOT_ALLOWED - attempt to reuse consumer tag 't'", wire.BasicConsumeID)
		}},
		{"to ask without a consumer is 406", func(p *peer) {
			p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{ReplyTo: replyTo}, "m")
			p.channelClosed(1, 406, "PRECONDITION_FAILED - fast reply consumer does not exist", wire.BasicPublishID)
		}},
	})
}

// TestDirectReplyTo_NotReading: who does not read its replies gets no more than
// what may wait for one connection; then they have reached nobody.
func TestDirectReplyTo_NotReading(t *testing.T) {
	inBubble(t, func(s *setup) { s.server.Outbox.High, s.server.MaxMessageSize = 1<<10, 1<<10 }, func(b *bed) {
		asks, answers := b.connect(), b.connect()
		asks.declare(wire.QueueDeclare{Queue: "q"})
		asks.consumeReplies()
		address := asks.ask()
		answers.call(1, &wire.ConfirmSelect{}, &wire.ConfirmSelectOK{})
		taken := 0
		for returned := false; !returned; {
			answers.publish(1, wire.BasicPublish{RoutingKey: address, Mandatory: true}, field.Properties{}, strings.Repeat("x", 1000))
			switch m := answers.next(1).(type) {
			case *wire.BasicAck:
				taken++
			case *wire.BasicReturn:
				answers.message(1)
				returned = true
			default:
				t.Fatalf("got %+v", m)
			}
		}
		if taken < 4 || taken > 8 {
			t.Errorf("%d replies of 1000 bytes were taken, with 5 KiB that may wait", taken)
		}
		for i := range taken {
			asks.deliver(1, wire.BasicDeliver{ConsumerTag: "r", DeliveryTag: uint64(i + 2), RoutingKey: address})
		}
		asks.call(1, &wire.BasicQos{}, &wire.BasicQosOK{})
		_ = asks.nc.Close()
		_ = answers.nc.Close()
	})
}
