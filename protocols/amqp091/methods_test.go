package amqp091_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// A refusal is a method that is refused, on channel 1 of a connection where queue
// q exists and has consumer t, and exchange x exists and is bound to q. The texts
// are those of RabbitMQ 3.10.
type refusal struct {
	method wire.Method
	code   wire.ReplyCode
	text   string
}

var refusals = []refusal{
	{&wire.ChannelOpen{}, 504, "second 'channel.open' seen"},
	{&wire.ChannelFlow{}, 540, "active=false"},

	{&wire.ExchangeDeclare{Exchange: "nope", Passive: true}, 404, "no exchange 'nope' in vhost '/'"},
	{&wire.ExchangeDeclare{Exchange: "", Type: "direct"}, 403, "operation not permitted on the default exchange"},
	{&wire.ExchangeDeclare{Exchange: "", Passive: true}, 403, "operation not permitted on the default exchange"},
	{&wire.ExchangeDeclare{Exchange: "amq.new", Type: "direct"}, 403, "exchange name 'amq.new' contains reserved prefix 'amq.*'"},
	{&wire.ExchangeDeclare{Exchange: "new", Type: "nope"}, 406, "unknown exchange type 'nope'"}, // 503 before RabbitMQ 4
	{&wire.ExchangeDeclare{Exchange: "x", Type: "fanout"}, 406, "inequivalent arg 'type' for exchange 'x' in vhost '/': received 'fanout' but current is 'direct'"},
	{&wire.ExchangeDeclare{Exchange: "x", Type: "direct", Durable: true}, 406, "inequivalent arg 'durable' for exchange 'x' in vhost '/': received 'true' but current is 'false'"},
	{&wire.ExchangeDeclare{Exchange: "x", Type: "direct", AutoDelete: true}, 406, "inequivalent arg 'auto_delete' for exchange 'x' in vhost '/': received 'true' but current is 'false'"},
	{&wire.ExchangeDeclare{Exchange: "x", Type: "direct", Internal: true}, 406, "inequivalent arg 'internal' for exchange 'x' in vhost '/': received 'true' but current is 'false'"},
	{&wire.ExchangeDelete{Exchange: ""}, 403, "operation not permitted on the default exchange"},
	{&wire.ExchangeDelete{Exchange: "amq.direct"}, 403, "deletion of system exchange 'amq.direct' in vhost '/' not allowed"},
	{&wire.ExchangeDelete{Exchange: "amq.nope"}, 403, "deletion of system exchange 'amq.nope' in vhost '/' not allowed"},
	{&wire.ExchangeDelete{Exchange: "x", IfUnused: true}, 406, "exchange 'x' in vhost '/' in use"},
	{&wire.ExchangeBind{Source: "nope", Destination: "x"}, 404, "no exchange 'nope' in vhost '/'"},
	{&wire.ExchangeBind{Source: "x", Destination: "nope"}, 404, "no exchange 'nope' in vhost '/'"},
	{&wire.ExchangeBind{Source: "", Destination: "x"}, 403, "operation not permitted on the default exchange"},
	{&wire.ExchangeBind{Source: "x", Destination: ""}, 403, "operation not permitted on the default exchange"},
	{&wire.ExchangeUnbind{}, 403, "operation not permitted on the default exchange"},

	{&wire.QueueDeclare{Queue: "nope", Passive: true}, 404, "no queue 'nope' in vhost '/'"},
	{&wire.QueueDeclare{Queue: "amq.new"}, 403, "queue name 'amq.new' contains reserved prefix 'amq.*'"},
	{&wire.QueueDeclare{Queue: "amq.new", Passive: true}, 404, "no queue 'amq.new' in vhost '/'"},
	{&wire.QueueDeclare{Queue: "q", Durable: true}, 406, "inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but current is 'false'"},
	{&wire.QueueDeclare{Queue: "q", AutoDelete: true}, 406, "inequivalent arg 'auto_delete' for queue 'q' in vhost '/': received 'true' but current is 'false'"},
	{&wire.QueueBind{Queue: "nope", Exchange: "x"}, 404, "no queue 'nope' in vhost '/'"},
	{&wire.QueueBind{Queue: "q", Exchange: "nope"}, 404, "no exchange 'nope' in vhost '/'"},
	{&wire.QueueBind{Queue: "nope", Exchange: "not either"}, 404, "no exchange 'not either' in vhost '/'"},
	{&wire.QueueBind{Queue: "q", RoutingKey: "q"}, 403, "operation not permitted on the default exchange"},
	{&wire.QueueUnbind{Queue: "q", RoutingKey: "q"}, 403, "operation not permitted on the default exchange"},
	{&wire.QueuePurge{Queue: "nope"}, 404, "no queue 'nope' in vhost '/'"},
	{&wire.QueueDelete{Queue: "q", IfUnused: true}, 406, "queue 'q' in vhost '/' in use"},

	{&wire.BasicQos{PrefetchSize: 1}, 540, "prefetch_size!=0 (1)"},
	{&wire.BasicConsume{Queue: "nope"}, 404, "no queue 'nope' in vhost '/'"},
	{&wire.BasicConsume{Queue: "q", ConsumerTag: "t"}, 530, "attempt to reuse consumer tag 't'"},
	{&wire.BasicConsume{Queue: "nope", ConsumerTag: "t"}, 530, "attempt to reuse consumer tag 't'"},
	{&wire.BasicConsume{Queue: "q", Exclusive: true}, 403, "queue 'q' in vhost '/' in exclusive use"},
	{&wire.BasicGet{Queue: "nope"}, 404, "no queue 'nope' in vhost '/'"},
	{&wire.BasicAck{DeliveryTag: 1}, 406, "unknown delivery tag 1"},
	{&wire.BasicAck{DeliveryTag: 1, Multiple: true}, 406, "unknown delivery tag 1"},
	{&wire.BasicAck{}, 406, "unknown delivery tag 0"},
	{&wire.BasicNack{DeliveryTag: 1}, 406, "unknown delivery tag 1"},
	{&wire.BasicNack{}, 406, "unknown delivery tag 0"},
	{&wire.BasicReject{DeliveryTag: 1}, 406, "unknown delivery tag 1"},
	{&wire.BasicReject{}, 406, "unknown delivery tag 0"},
	{&wire.BasicRecover{}, 540, "requeue=false"},
	{&wire.BasicRecoverAsync{}, 540, "requeue=false"},
	{&wire.BasicPublish{Immediate: true}, 540, "immediate=true"},

	{&wire.TxCommit{}, 406, "channel is not transactional"},
	{&wire.TxRollback{}, 406, "channel is not transactional"},

	// What a server says to a client.
	{&wire.ChannelOpenOK{}, 503, "unimplemented method"},
	{&wire.ChannelFlowOK{}, 503, "unimplemented method"},
	{&wire.ChannelCloseOK{}, 503, "unimplemented method"},
	{&wire.AccessRequestOK{}, 503, "unimplemented method"},
	{&wire.ExchangeDeclareOK{}, 503, "unimplemented method"},
	{&wire.QueueDeclareOK{}, 503, "unimplemented method"},
	{&wire.BasicQosOK{}, 503, "unimplemented method"},
	{&wire.BasicConsumeOK{}, 503, "unimplemented method"},
	{&wire.BasicCancelOK{}, 503, "unimplemented method"},
	{&wire.BasicGetEmpty{}, 503, "unimplemented method"},
	{&wire.BasicDeliver{}, 503, "unimplemented method"},
	{&wire.BasicReturn{}, 503, "unimplemented method"},
	{&wire.BasicRecoverOK{}, 503, "unimplemented method"},
	{&wire.ConfirmSelectOK{}, 503, "unimplemented method"},
	{&wire.TxSelectOK{}, 503, "unimplemented method"},
	{&wire.ConnectionClose{}, 503, "unimplemented method"},
}

// furnish makes what refusals and silent successes are about.
func (p *peer) furnish() {
	p.t.Helper()
	queueQ(p, 0)
	p.consume()
	p.call(1, &wire.ExchangeDeclare{Exchange: "x", Type: "direct"}, &wire.ExchangeDeclareOK{})
	p.call(1, &wire.QueueBind{Queue: "q", Exchange: "x"}, &wire.QueueBindOK{})
}

// TestRefusals: what is refused, how, and whether the channel or the connection
// ends with it.
func TestRefusals(t *testing.T) {
	for _, r := range refusals {
		t.Run(fmt.Sprintf("%v %+v", r.method.ID(), r.method), func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				p := b.connect()
				p.furnish()
				p.send(1, r.method)
				text := r.code.String() + " - " + r.text
				if r.code.Hard() {
					p.connectionClosed(r.code, text, r.method.ID())
				} else {
					p.channelClosed(1, r.code, text, r.method.ID())
				}
				_ = p.nc.Close()
			})
		})
	}
}

// TestRefusalsOnChannel0: the connection is open, and nothing but its end and new
// credentials may be said there.
func TestRefusalsOnChannel0(t *testing.T) {
	for _, m := range []wire.Method{
		&wire.ConnectionStartOK{}, &wire.ConnectionSecureOK{}, &wire.ConnectionTuneOK{}, &wire.ConnectionOpen{}, &wire.ConnectionCloseOK{},
		&wire.ConnectionBlocked{}, &wire.ChannelOpen{}, &wire.BasicQos{},
	} {
		t.Run(m.ID().String(), func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				p := b.connect()
				p.send(0, m)
				p.connectionClosed(504, "CHANNEL_ERROR - unexpected method in connection state running", m.ID())
			})
		})
	}
}

// TestSilentSuccesses: what is as asked for already.
func TestSilentSuccesses(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.connect()
		p.furnish()
		for _, call := range []struct{ method, answer wire.Method }{
			{&wire.ExchangeDeclare{Exchange: "x", Type: "direct", Arguments: field.Table{{Key: "unknown", Value: int32(1)}}}, &wire.ExchangeDeclareOK{}},
			{&wire.ExchangeDelete{Exchange: "nope"}, &wire.ExchangeDeleteOK{}},
			{&wire.ExchangeUnbind{Source: "nope", Destination: "x"}, &wire.ExchangeUnbindOK{}},
			{&wire.ExchangeUnbind{Source: "x", Destination: "nope"}, &wire.ExchangeUnbindOK{}},
			{&wire.ExchangeUnbind{Source: "x", Destination: "amq.direct"}, &wire.ExchangeUnbindOK{}},
			{&wire.QueueDelete{Queue: "nope"}, &wire.QueueDeleteOK{}},
			{&wire.QueueBind{Queue: "q", Exchange: "x"}, &wire.QueueBindOK{}},
			{&wire.QueueUnbind{Queue: "q", Exchange: "x", RoutingKey: "nope"}, &wire.QueueUnbindOK{}},
			{&wire.QueueUnbind{Queue: "q", Exchange: "nope"}, &wire.QueueUnbindOK{}},
			{&wire.QueueUnbind{Queue: "nope", Exchange: "x"}, &wire.QueueUnbindOK{}},
			{&wire.BasicCancel{ConsumerTag: "nope"}, &wire.BasicCancelOK{ConsumerTag: "nope"}},
			{&wire.BasicGet{Queue: "q"}, &wire.BasicGetEmpty{}},
			{&wire.BasicRecover{Requeue: true}, &wire.BasicRecoverOK{}},
			{&wire.ConfirmSelect{}, &wire.ConfirmSelectOK{}},
			{&wire.ConfirmSelect{}, &wire.ConfirmSelectOK{}},
			{&wire.ChannelFlow{Active: true}, &wire.ChannelFlowOK{Active: true}},
			{&wire.AccessRequest{Realm: "/data"}, &wire.AccessRequestOK{Ticket: 1}},
		} {
			p.call(1, call.method, call.answer)
		}
		p.send(1, &wire.BasicAck{Multiple: true}, &wire.BasicNack{Multiple: true}, &wire.BasicRecoverAsync{Requeue: true})
		p.call(1, &wire.BasicQos{}, &wire.BasicQosOK{})
		_ = p.nc.Close()
	})
}

// TestUnbind_LockedQueue: a binding of another connection's queue cannot be removed;
// one that there is not needs no removing.
func TestUnbind_LockedQueue(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p, other := b.connect(), b.connect()
		p.declare(wire.QueueDeclare{Queue: "mine", Exclusive: true})
		p.call(1, &wire.QueueBind{Queue: "mine", Exchange: "amq.direct", RoutingKey: "k"}, &wire.QueueBindOK{})
		other.call(1, &wire.QueueUnbind{Queue: "mine", Exchange: "amq.direct", RoutingKey: "other"}, &wire.QueueUnbindOK{})
		other.send(1, &wire.QueueUnbind{Queue: "mine", Exchange: "amq.direct", RoutingKey: "k"})
		other.channelClosed(1, 405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'. "+
			"It could be originally declared on another connection or the exclusive property value does not match that of the original de"+
			"claration.", wire.QueueUnbindID)
		_ = p.nc.Close()
		_ = other.nc.Close()
	})
}

// TestChannelErrorsDoNotFillTheLog: a client that does nothing but err is warned of
// a few times.
func TestChannelErrorsDoNotFillTheLog(t *testing.T) {
	log := &logged{}
	inBubble(t, func(s *setup) { s.server.Log = slog.New(slog.NewTextHandler(log, nil)) }, func(b *bed) {
		p := b.connect()
		for range 100 {
			p.send(1, &wire.BasicAck{DeliveryTag: 1})
			p.channelClosed(1, 406, "PRECONDITION_FAILED - unknown delivery tag 1", wire.BasicAckID)
		}
		_ = p.nc.Close()
	})
	if n := strings.Count(log.String(), "unknown delivery tag 1"); n != 5 {
		t.Errorf("%d of 100 errors are in the log, want 5", n)
	}
	if !strings.Contains(log.String(), "further channel errors of this connection") {
		t.Error("the log does not say that it is silent from then on")
	}
}
