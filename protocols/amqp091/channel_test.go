package amqp091_test

import (
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// A row is a conversation on a connection with channel 1 open.
type row struct {
	name   string
	script func(p *peer)
}

func converse(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			inBubble(t, func(s *setup) { s.server = amqp091.Options{MaxMessageSize: 1 << 20} }, func(b *bed) {
				p := b.connect()
				r.script(p)
				_ = p.nc.Close()
			})
		})
	}
}

// raw is a whole frame with any payload.
func raw(frameType byte, channel uint16, payload string) []byte {
	n := len(payload)
	b := []byte{frameType, byte(channel >> 8), byte(channel), byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	return append(append(b, payload...), 0xCE)
}

func TestConnection_1_4(t *testing.T) {
	converse(t, []row{
		{"close is answered and ends the connection", func(p *peer) {
			p.call(0, &wire.ConnectionClose{ReplyCode: 200, ReplyText: "bye"}, &wire.ConnectionCloseOK{})
			p.gone()
		}},
		{"after a hard error only close-ok counts", func(p *peer) {
			p.send(1, &wire.ChannelFlow{})
			p.send(1, &wire.QueueDeclare{Queue: "q"}, &wire.BasicGet{Queue: "q"})
			p.connectionClosed(540, "NOT_IMPLEMENTED - active=false", wire.ChannelFlowID)
		}},
		{"both close at once", func(p *peer) {
			p.send(1, &wire.ConfirmSelectOK{})
			p.send(0, &wire.ConnectionClose{ReplyCode: 200})
			const text = "COMMAND_INVALID - unimplemented method"
			p.expect(0, &wire.ConnectionClose{ReplyCode: 503, ReplyText: text, ClassID: 85, MethodID: 11}, &wire.ConnectionCloseOK{})
			p.send(0, &wire.ConnectionCloseOK{})
			p.gone()
		}},
		{"content on channel 0 is 505", func(p *peer) {
			p.write(raw(3, 0, "x"))
			p.connectionClosed(505, "UNEXPECTED_FRAME - expected method frame, got non method frame instead", 0)
		}},
		{"an unknown method is 540", func(p *peer) {
			p.write(raw(1, 1, "\x00\x63\x00\x63"))
			p.connectionClosed(540, "NOT_IMPLEMENTED - unknown method 99.99", wire.MethodID(99<<16|99))
		}},
		{"arguments that end early are 501", func(p *peer) {
			p.write(raw(1, 1, "\x00\x32\x00\x0a\x00"))
			p.connectionClosed(501, "FRAME_ERROR - cannot decode queue.declare: arguments end too early", wire.QueueDeclareID)
		}},
		{"a frame without its end is 501", func(p *peer) {
			b := raw(1, 1, "\x00\x32\x00\x0a\x00")
			b[len(b)-1] = 0
			p.write(b)
			p.connectionLost("FRAME_ERROR - frame ends in octet 0x00 instead of 0xce")
		}},
		{"a frame above frame_max is 501 before it has arrived", func(p *peer) {
			p.write(raw(3, 1, "")[:3])
			p.write([]byte{0, 2, 0, 0})
			p.connectionLost("FRAME_ERROR - frame of 131080 bytes exceeds frame_max of 131072")
		}},
		{"an unknown frame type is 501", func(p *peer) {
			p.write([]byte{7, 0, 0, 0, 0, 0, 0, 0xCE})
			p.connectionLost("FRAME_ERROR - unknown frame type 7")
		}},
	})
}

func TestChannel_1_5(t *testing.T) {
	converse(t, []row{
		{"a number can be opened again after close", func(p *peer) {
			p.call(1, &wire.ChannelClose{ReplyCode: 200}, &wire.ChannelCloseOK{})
			p.openChannel(1)
		}},
		{"a second open is 504", func(p *peer) {
			p.send(1, &wire.ChannelOpen{})
			p.connectionClosed(504, "CHANNEL_ERROR - second 'channel.open' seen", wire.ChannelOpenID)
		}},
		{"a method on a channel that is not open is 504", func(p *peer) {
			p.send(2, &wire.BasicQos{PrefetchCount: 1})
			p.connectionClosed(504, "CHANNEL_ERROR - expected 'channel.open'", wire.BasicQosID)
		}},
		{"content on a channel that is not open is 504", func(p *peer) {
			p.write(raw(3, 2, "x"))
			p.connectionClosed(504, "CHANNEL_ERROR - expected 'channel.open'", 0)
		}},
		{"channel_max is the highest number", func(p *peer) {
			p.openChannel(2047)
			p.send(65535, &wire.ChannelOpen{})
			p.connectionClosed(530, "NOT_ALLOWED - channel number 65535 is higher than the negotiated channel_max (2047)", wire.ChannelOpenID)
		}},
		{"a soft error drops everything until close-ok", func(p *peer) {
			p.send(1, &wire.BasicAck{DeliveryTag: 1}, &wire.QueueDeclare{Queue: "dropped"})
			p.publish(1, wire.BasicPublish{RoutingKey: "dropped"}, field.Properties{}, "dropped")
			p.channelClosed(1, 406, "PRECONDITION_FAILED - unknown delivery tag 1", wire.BasicAckID)
			p.send(1, &wire.QueueDeclare{Queue: "dropped", Passive: true})
			p.channelClosed(1, 404, "NOT_FOUND - no queue 'dropped' in vhost '/'", wire.QueueDeclareID)
		}},
		{"both close a channel at once", func(p *peer) {
			p.send(1, &wire.BasicAck{DeliveryTag: 1}, &wire.ChannelClose{ReplyCode: 200})
			p.expect(1,
				&wire.ChannelClose{
					ReplyCode: 406, ReplyText: "PRECONDITION_FAILED - unknown delivery tag 1", ClassID: 60, MethodID: 80,
				},
				&wire.ChannelCloseOK{})
			p.send(1, &wire.ChannelCloseOK{})
			p.openChannel(1)
		}},
		{"a channel's error leaves the others alone", func(p *peer) {
			p.openChannel(2)
			p.send(1, &wire.BasicAck{DeliveryTag: 1})
			p.next(1)
			p.call(2, &wire.BasicQos{}, &wire.BasicQosOK{})
		}},
		{"flow: active=true is granted", func(p *peer) {
			p.call(1, &wire.ChannelFlow{Active: true}, &wire.ChannelFlowOK{Active: true})
		}},
		{"flow: active=false is 540", func(p *peer) {
			p.send(1, &wire.ChannelFlow{})
			p.connectionClosed(540, "NOT_IMPLEMENTED - active=false", wire.ChannelFlowID)
		}},
		{"access.request is granted", func(p *peer) {
			p.call(1, &wire.AccessRequest{Realm: "/data", Active: true}, &wire.AccessRequestOK{Ticket: 1})
		}},
		{"a reply text is cut to 255 bytes", func(p *peer) {
			p.send(1, &wire.QueueDeclare{Queue: strings.Repeat("q", 255), Passive: true})
			m, ok := p.next(1).(*wire.ChannelClose)
			if !ok || len(m.ReplyText) != 255 || !strings.HasPrefix(m.ReplyText, "NOT_FOUND - no queue 'qqq") {
				p.t.Errorf("got %+v", m)
			}
		}},
	})
}

func TestExchange_1_6(t *testing.T) {
	declare := func(m wire.ExchangeDeclare) func(p *peer) {
		return func(p *peer) { p.call(1, &m, &wire.ExchangeDeclareOK{}) }
	}
	converse(t, []row{
		{"declare, declare again, delete, delete again", func(p *peer) {
			for range 2 {
				declare(wire.ExchangeDeclare{Exchange: "x", Type: "topic", Durable: true})(p)
			}
			for range 2 {
				p.call(1, &wire.ExchangeDelete{Exchange: "x"}, &wire.ExchangeDeleteOK{})
			}
		}},
		{"nowait is not answered", func(p *peer) {
			p.send(1, &wire.ExchangeDeclare{Exchange: "x", Type: "fanout", NoWait: true})
			p.send(1, &wire.ExchangeDeclare{Exchange: "y", Type: "fanout", NoWait: true})
			p.send(1, &wire.ExchangeBind{Source: "x", Destination: "y", NoWait: true})
			p.send(1, &wire.ExchangeUnbind{Source: "x", Destination: "y", NoWait: true})
			p.send(1, &wire.ExchangeDelete{Exchange: "y", NoWait: true})
			declare(wire.ExchangeDeclare{Exchange: "x", Passive: true})(p)
		}},
		{"an inequivalent redeclaration is 406", func(p *peer) {
			declare(wire.ExchangeDeclare{Exchange: "x", Type: "topic"})(p)
			p.send(1, &wire.ExchangeDeclare{Exchange: "x", Type: "topic", Durable: true})
			p.channelClosed(1, 406, "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'x' in vhost '/': "+
				"received 'true' but current is 'false'", wire.ExchangeDeclareID)
		}},
		{"passive: a missing exchange is 404", func(p *peer) {
			p.send(1, &wire.ExchangeDeclare{Exchange: "x", Passive: true})
			p.channelClosed(1, 404, "NOT_FOUND - no exchange 'x' in vhost '/'", wire.ExchangeDeclareID)
		}},
		{"reserved names are 403", func(p *peer) {
			p.send(1, &wire.ExchangeDeclare{Exchange: "amq.mine", Type: "topic"})
			p.channelClosed(1, 403, "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'", wire.ExchangeDeclareID)
		}},
		{"bind and unbind route between exchanges", func(p *peer) {
			declare(wire.ExchangeDeclare{Exchange: "from", Type: "fanout"})(p)
			declare(wire.ExchangeDeclare{Exchange: "to", Type: "direct"})(p)
			p.declare(wire.QueueDeclare{Queue: "q"})
			p.call(1, &wire.QueueBind{Queue: "q", Exchange: "to", RoutingKey: "k"}, &wire.QueueBindOK{})
			p.call(1, &wire.ExchangeBind{Source: "from", Destination: "to"}, &wire.ExchangeBindOK{})
			p.publish(1, wire.BasicPublish{Exchange: "from", RoutingKey: "k"}, field.Properties{}, "through")
			p.call(1, &wire.ExchangeUnbind{Source: "from", Destination: "to"}, &wire.ExchangeUnbindOK{})
			p.publish(1, wire.BasicPublish{Exchange: "from", RoutingKey: "k"}, field.Properties{}, "lost")
			p.call(1, &wire.QueueDeclare{Queue: "q", Passive: true}, &wire.QueueDeclareOK{Queue: "q", MessageCount: 1})
		}},
	})
}

func TestQueue_1_7(t *testing.T) {
	converse(t, []row{
		{"line breaks in names count nowhere", func(p *peer) {
			const q, x = "q\r\n", "\nx\r"
			p.call(1, &wire.QueueDeclare{Queue: q}, &wire.QueueDeclareOK{Queue: "q"})
			p.call(1, &wire.ExchangeDeclare{Exchange: x, Type: "fanout"}, &wire.ExchangeDeclareOK{})
			p.call(1, &wire.ExchangeDeclare{Exchange: "x", Passive: true}, &wire.ExchangeDeclareOK{})
			p.call(1, &wire.QueueBind{Queue: q, Exchange: x}, &wire.QueueBindOK{})
			p.publish(1, wire.BasicPublish{Exchange: "x"}, field.Properties{}, "m")
			p.call(1, &wire.BasicGet{Queue: q}, &wire.BasicGetOK{DeliveryTag: 1, Exchange: "x"})
			p.message(1)
			p.call(1, &wire.QueueUnbind{Queue: q, Exchange: x}, &wire.QueueUnbindOK{})
			p.call(1, &wire.BasicConsume{Queue: q, ConsumerTag: "t"}, &wire.BasicConsumeOK{ConsumerTag: "t"})
			p.call(1, &wire.QueuePurge{Queue: q}, &wire.QueuePurgeOK{})
			p.call(1, &wire.QueueDelete{Queue: q}, &wire.QueueDeleteOK{})
			p.expect(1, &wire.BasicCancel{ConsumerTag: "t", NoWait: true})
			p.call(1, &wire.ExchangeDelete{Exchange: x}, &wire.ExchangeDeleteOK{})
			p.send(1, &wire.ExchangeDeclare{Exchange: "x", Passive: true})
			p.channelClosed(1, 404, "NOT_FOUND - no exchange 'x' in vhost '/'", wire.ExchangeDeclareID)
		}},
		{"declare tells messages and consumers", func(p *peer) {
			p.declare(wire.QueueDeclare{Queue: "q"})
			p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{}, "m")
			p.call(1, &wire.BasicQos{PrefetchCount: 1}, &wire.BasicQosOK{})
			p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{}, "n")
			p.call(1, &wire.BasicConsume{Queue: "q", ConsumerTag: "t"}, &wire.BasicConsumeOK{ConsumerTag: "t"})
			p.deliver(1, wire.BasicDeliver{ConsumerTag: "t", DeliveryTag: 1, RoutingKey: "q"})
			p.call(1, &wire.QueueDeclare{Queue: "q"}, &wire.QueueDeclareOK{Queue: "q", MessageCount: 1, ConsumerCount: 1})
		}},
		{"an empty name is made up, and from then on means that queue", func(p *peer) {
			p.send(1, &wire.QueueDeclare{Exclusive: true})
			ok, _ := p.next(1).(*wire.QueueDeclareOK)
			if !strings.HasPrefix(ok.Queue, "amq.gen-") || len(ok.Queue) != len("amq.gen-")+22 {
				p.t.Errorf("name is %q", ok.Queue)
			}
			p.call(1, &wire.QueueBind{Exchange: "amq.direct"}, &wire.QueueBindOK{})
			p.publish(1, wire.BasicPublish{Exchange: "amq.direct", RoutingKey: ok.Queue}, field.Properties{}, "m")
			p.call(1, &wire.QueueUnbind{Exchange: "amq.direct"}, &wire.QueueUnbindOK{})
			p.publish(1, wire.BasicPublish{Exchange: "amq.direct", RoutingKey: ok.Queue}, field.Properties{}, "n")
			p.call(1, &wire.QueuePurge{}, &wire.QueuePurgeOK{MessageCount: 1})
			p.call(1, &wire.BasicGet{}, &wire.BasicGetEmpty{})
			p.call(1, &wire.BasicConsume{ConsumerTag: "t"}, &wire.BasicConsumeOK{ConsumerTag: "t"})
			p.call(1, &wire.BasicCancel{ConsumerTag: "t"}, &wire.BasicCancelOK{ConsumerTag: "t"})
			p.call(1, &wire.QueueDelete{}, &wire.QueueDeleteOK{})
		}},
		{"an empty name before any declare is 404", func(p *peer) {
			for _, m := range []wire.Method{
				&wire.QueueBind{Exchange: "amq.direct"}, &wire.QueueUnbind{Exchange: "amq.direct"}, &wire.QueuePurge{},
				&wire.QueueDelete{}, &wire.BasicGet{}, &wire.BasicConsume{},
			} {
				p.send(1, m)
				p.channelClosed(1, 404, "NOT_FOUND - no previously declared queue", m.ID())
			}
		}},
		{"nowait is not answered", func(p *peer) {
			p.send(1,
				&wire.QueueDeclare{Queue: "q", NoWait: true},
				&wire.QueueBind{Queue: "q", Exchange: "amq.fanout", NoWait: true},
				&wire.QueuePurge{Queue: "q", NoWait: true},
				&wire.QueueDelete{Queue: "q", NoWait: true})
			p.call(1, &wire.BasicQos{}, &wire.BasicQosOK{})
		}},
		{"an inequivalent redeclaration is 406", func(p *peer) {
			p.declare(wire.QueueDeclare{Queue: "q", Durable: true})
			p.send(1, &wire.QueueDeclare{Queue: "q"})
			p.channelClosed(1, 406, "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': "+
				"received 'false' but current is 'true'", wire.QueueDeclareID)
		}},
		{"delete returns the number of messages, and none for a missing queue", func(p *peer) {
			p.declare(wire.QueueDeclare{Queue: "q"})
			p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{}, "m")
			p.call(1, &wire.QueueDelete{Queue: "q"}, &wire.QueueDeleteOK{MessageCount: 1})
			p.call(1, &wire.QueueDelete{Queue: "q"}, &wire.QueueDeleteOK{})
		}},
		{"delete if-unused and if-empty are 406", func(p *peer) {
			p.declare(wire.QueueDeclare{Queue: "q"})
			p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{}, "m")
			p.send(1, &wire.QueueDelete{Queue: "q", IfEmpty: true})
			p.channelClosed(1, 406, "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty", wire.QueueDeleteID)
			p.openChannel(2)
			p.call(2, &wire.BasicConsume{Queue: "q", ConsumerTag: "t", NoAck: true}, &wire.BasicConsumeOK{ConsumerTag: "t"})
			p.deliver(2, wire.BasicDeliver{ConsumerTag: "t", DeliveryTag: 1, RoutingKey: "q"})
			p.send(1, &wire.QueueDelete{Queue: "q", IfUnused: true})
			p.channelClosed(1, 406, "PRECONDITION_FAILED - queue 'q' in vhost '/' in use", wire.QueueDeleteID)
		}},
	})
}

// TestExclusiveQueue_1_7_2_1: it is locked for others and ends with its
// connection, which shows before close-ok.
func TestExclusiveQueue_1_7_2_1(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p, other := b.connect(), b.connect()
		p.declare(wire.QueueDeclare{Queue: "mine", Exclusive: true})
		other.send(1, &wire.QueueDeclare{Queue: "mine", Passive: true})
		other.channelClosed(1, 405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'. "+
			"It could be originally declared on another connection or the exclusive property value does not match that of the original de"+
			"claration.", wire.QueueDeclareID)
		p.call(0, &wire.ConnectionClose{ReplyCode: 200}, &wire.ConnectionCloseOK{})
		other.send(1, &wire.QueueDeclare{Queue: "mine", Passive: true})
		other.channelClosed(1, 404, "NOT_FOUND - no queue 'mine' in vhost '/'", wire.QueueDeclareID)
	})
}

// TestDurableDeclareWaitsForTheStore: …-ok is a promise.
func TestDurableDeclareWaitsForTheStore(t *testing.T) {
	inBubble(t, func(s *setup) { s.store.Manual = true }, func(b *bed) {
		p := b.dial()
		p.handshake(nil, 131072, 10)
		p.openChannel(1)
		p.send(1, &wire.QueueDeclare{Queue: "q", Durable: true})
		// No declare-ok; and waiting for the broker is no missed heartbeat.
		p.silence(time.Minute)
		b.store.Flush()
		p.expect(1, &wire.QueueDeclareOK{Queue: "q"})
	})
}
