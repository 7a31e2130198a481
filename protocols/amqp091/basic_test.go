package amqp091_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// publishN publishes bodies "1" to "n" to queue q, on channel 1.
func (p *peer) publishN(n int) {
	p.t.Helper()
	for i := range n {
		p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{}, fmt.Sprint(i+1))
	}
}

// deliverN waits for n deliveries to consumer t and returns their bodies.
func (p *peer) deliverN(firstTag uint64, n int, redelivered bool) string {
	p.t.Helper()
	var bodies []string
	for i := range n {
		bodies = append(bodies, p.deliver(1, wire.BasicDeliver{
			ConsumerTag: "t", DeliveryTag: firstTag + uint64(i), RoutingKey: "q", Redelivered: redelivered,
		}))
	}
	return strings.Join(bodies, " ")
}

func (p *peer) consume() {
	p.t.Helper()
	p.call(1, &wire.BasicConsume{Queue: "q", ConsumerTag: "t"}, &wire.BasicConsumeOK{ConsumerTag: "t"})
}

func (p *peer) wantBodies(got, want string) {
	p.t.Helper()
	if got != want {
		p.t.Errorf("bodies %q, want %q", got, want)
	}
}

// queueQ is the start of most conversations: queue q with n messages.
func queueQ(p *peer, n int) {
	p.t.Helper()
	p.declare(wire.QueueDeclare{Queue: "q"})
	p.publishN(n)
}

func TestPublish_1_8_3_7(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 20<<10) // three frames
	converse(t, []row{
		{"properties and body arrive as they were sent", func(p *peer) {
			queueQ(p, 0)
			props := field.Properties{
				Present:     field.ContentType | field.Headers | field.DeliveryMode | field.Expiration | field.UserID | field.AppID,
				ContentType: "text/plain", Headers: field.Table{{Key: "k", Value: int64(7)}}, DeliveryMode: 2,
				Expiration: "60000", UserID: "guest", AppID: "test",
			}
			for _, body := range []string{"body", "", long} {
				p.publish(1, wire.BasicPublish{RoutingKey: "q"}, props, body)
				p.call(1, &wire.BasicGet{Queue: "q", NoAck: true}, &wire.BasicGetOK{DeliveryTag: p.tag(), RoutingKey: "q"})
				gotProps, gotBody := p.message(1)
				if !reflect.DeepEqual(gotProps, props) || gotBody != body {
					p.t.Errorf("got %+v and %d bytes, want %+v and %d bytes", gotProps, len(gotBody), props, len(body))
				}
			}
		}},
		{"a body in many small frames", func(p *peer) {
			queueQ(p, 0)
			p.send(1, &wire.BasicPublish{RoutingKey: "q"})
			p.write(raw(2, 1, "\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00"))
			for _, part := range []string{"a", "", "bc", "d"} {
				p.write(raw(3, 1, part))
			}
			p.call(1, &wire.BasicGet{Queue: "q"}, &wire.BasicGetOK{DeliveryTag: 1, RoutingKey: "q"})
			_, body := p.message(1)
			p.wantBodies(body, "abcd")
		}},
		{"a large body frame in pieces", func(p *peer) {
			queueQ(p, 0)
			p.send(1, &wire.BasicPublish{RoutingKey: "q"})
			p.write(raw(2, 1, "\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x01\x11\x70\x00\x00")) // 70,000 bytes
			frames := append(raw(3, 1, long[:60_000]), raw(3, 1, long[60_000:70_000])...)
			frames = append(frames, raw(1, 1, "\x00\x3c\x00\x46\x00\x00\x01q\x00")...) // basic.get
			from := 0
			for _, to := range []int{5, 7, 3000, 40_000, 60_006, 60_007, 60_020, len(frames)} {
				p.write(frames[from:to])
				from = to
			}
			p.expect(1, &wire.BasicGetOK{DeliveryTag: 1, RoutingKey: "q"})
			if _, body := p.message(1); body != long[:70_000] {
				p.t.Error("the body is not what was sent")
			}
		}},
		{"a large body frame without its end is 501", func(p *peer) {
			p.send(1, &wire.BasicPublish{RoutingKey: "q"})
			p.write(raw(2, 1, "\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x01\x11\x70\x00\x00"))
			b := raw(3, 1, long[:70_000])
			p.write(b[:100])
			b[len(b)-1] = 1
			p.write(b[100:])
			p.connectionLost("FRAME_ERROR - frame ends in octet 0x01 instead of 0xce")
		}},
		{"channels' contents may interleave", func(p *peer) {
			queueQ(p, 0)
			p.openChannel(2)
			for ch := range uint16(2) {
				p.send(ch+1, &wire.BasicPublish{RoutingKey: "q"})
			}
			for ch := range uint16(2) {
				p.write(raw(2, ch+1, "\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00"))
			}
			for _, part := range []string{"1a", "2b", "2c", "1d"} {
				p.write(raw(3, uint16(part[0]-'0'), part[1:]))
			}
			p.consume()
			p.wantBodies(p.deliverN(1, 2, false), "bc ad")
		}},
		{"immediate is 540", func(p *peer) {
			p.send(1, &wire.BasicPublish{RoutingKey: "q", Immediate: true})
			p.connectionClosed(540, "NOT_IMPLEMENTED - immediate=true", wire.BasicPublishID)
		}},
		{"a missing exchange is 404", func(p *peer) {
			p.publish(1, wire.BasicPublish{Exchange: "x"}, field.Properties{}, "m")
			p.channelClosed(1, 404, "NOT_FOUND - no exchange 'x' in vhost '/'", wire.BasicPublishID)
		}},
		{"an internal exchange is 403", func(p *peer) {
			p.publish(1, wire.BasicPublish{Exchange: "amq.rabbitmq.trace"}, field.Properties{}, "m")
			p.channelClosed(1, 403, "ACCESS_REFUSED - cannot publish to internal exchange 'amq.rabbitmq.trace' in vhost '/'", wire.BasicPublishID)
		}},
		{"mandatory and unroutable comes back", func(p *peer) {
			p.publish(1, wire.BasicPublish{RoutingKey: "nowhere", Mandatory: true}, field.Properties{AppID: "test"}, "m")
			p.expect(1, &wire.BasicReturn{ReplyCode: 312, ReplyText: "NO_ROUTE", RoutingKey: "nowhere"})
			props, body := p.message(1)
			if props.AppID != "test" || body != "m" {
				p.t.Errorf("returned %+v %q", props, body)
			}
		}},
		{"a body above the limit is 406 from its header on", func(p *peer) {
			p.send(1, &wire.BasicPublish{RoutingKey: "q"})
			p.write(raw(2, 1, "\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x10\x00\x01\x00\x00"))
			p.write(raw(3, 1, "some of it is under way already"))
			p.channelClosed(1, 406, "PRECONDITION_FAILED - message size 1048577 is larger than configured max size 1048576", wire.BasicPublishID)
		}},
		{"another's user_id is 406", func(p *peer) {
			p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{UserID: "a"}, "m")
			p.channelClosed(1, 406, "PRECONDITION_FAILED - user_id property set to 'a' but authenticated user was 'guest'", wire.BasicPublishID)
		}},
		{"CC and BCC are further routing keys, and only CC is shown", func(p *peer) {
			for _, queue := range []string{"q", "cc", "bcc"} {
				p.declare(wire.QueueDeclare{Queue: queue})
			}
			headers := field.Table{
				{Key: "BCC", Value: []any{"bcc", "q"}},
				{Key: "CC", Value: []any{"cc", int32(5), "nowhere"}},
				{Key: "k", Value: "v"},
			}
			p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{Headers: headers, AppID: "test"}, "m")
			for _, queue := range []string{"q", "cc", "bcc"} {
				p.call(1, &wire.BasicGet{Queue: queue, NoAck: true}, &wire.BasicGetOK{DeliveryTag: p.tag(), RoutingKey: "q"})
				props, body := p.message(1)
				if !reflect.DeepEqual(props.Headers, headers[1:]) || props.AppID != "test" || body != "m" {
					p.t.Errorf("queue %s got %+v %q", queue, props, body)
				}
				p.call(1, &wire.BasicGet{Queue: queue, NoAck: true}, &wire.BasicGetEmpty{})
			}
		}},
		{"BCC alone leaves no headers", func(p *peer) {
			queueQ(p, 0)
			p.publish(1, wire.BasicPublish{RoutingKey: "nowhere"}, field.Properties{Headers: field.Table{{Key: "BCC", Value: []any{"q"}}}}, "m")
			p.call(1, &wire.BasicGet{Queue: "q", NoAck: true}, &wire.BasicGetOK{DeliveryTag: 1, RoutingKey: "nowhere"})
			if props, body := p.message(1); len(props.Headers) != 0 || body != "m" {
				p.t.Errorf("got %+v %q", props, body)
			}
		}},
		{"the keys of one message are not those of the next", func(p *peer) {
			queueQ(p, 0)
			p.publish(1, wire.BasicPublish{RoutingKey: "a"}, field.Properties{Headers: field.Table{{Key: "CC", Value: []any{"q"}}}}, "1")
			p.publish(1, wire.BasicPublish{RoutingKey: "a"}, field.Properties{Headers: field.Table{{Key: "k", Value: "v"}}}, "2")
			p.call(1, &wire.BasicGet{Queue: "q", NoAck: true}, &wire.BasicGetOK{DeliveryTag: 1, RoutingKey: "a"})
			p.message(1)
			p.call(1, &wire.BasicGet{Queue: "q", NoAck: true}, &wire.BasicGetEmpty{})
		}},
		{"CC and BCC are arrays", func(p *peer) {
			for name, value := range map[string]any{"CC": "q", "BCC": field.Table{}} {
				p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{Headers: field.Table{{Key: name, Value: value}}}, "m")
				p.channelClosed(1, 406, "PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,\""+name+"\","+field.TypeName(value)+"}",
					wire.BasicPublishID)
			}
		}},
		{"an expiration is a number of milliseconds", func(p *peer) {
			for expiration, problem := range map[string]string{
				"":                     "no_integer",
				"x":                    "no_integer",
				"-":                    "no_integer",
				"10s":                  `{leftover_string,"s"}`,
				"-1":                   "{value_negative,-1}",
				"315360000001":         "{value_too_large,315360000001}",
				"99999999999999999999": "{value_too_large,99999999999999999999}",
			} {
				p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{Present: field.Expiration, Expiration: expiration}, "m")
				p.channelClosed(1, 406, "PRECONDITION_FAILED - invalid expiration '"+expiration+"': "+problem, wire.BasicPublishID)
			}
			p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{Expiration: "315360000000"}, "m")
			p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{Expiration: "0"}, "m")
			p.call(1, &wire.BasicQos{}, &wire.BasicQosOK{})
		}},
	})
}

// tag numbers what a conversation gets, one per call.
func (p *peer) tag() uint64 { p.tags++; return p.tags }

// TestContentOutOfOrder_4_2_6: any frame of a content that is not the one that
// has to come is a connection error.
func TestContentOutOfOrder_4_2_6(t *testing.T) {
	const header = "\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00" // two bytes of body
	publish := func(p *peer) { p.send(1, &wire.BasicPublish{RoutingKey: "q"}) }
	converse(t, []row{
		{"a header without its method", func(p *peer) {
			p.write(raw(2, 1, header))
			p.connectionClosed(505, "UNEXPECTED_FRAME - expected method frame, got non method frame instead", 0)
		}},
		{"a body without its method", func(p *peer) {
			p.write(raw(3, 1, "x"))
			p.connectionClosed(505, "UNEXPECTED_FRAME - expected method frame, got non method frame instead", 0)
		}},
		{"a method instead of the header", func(p *peer) {
			publish(p)
			publish(p)
			p.connectionClosed(505, "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead", wire.BasicPublishID)
		}},
		{"a body instead of the header", func(p *peer) {
			publish(p)
			p.write(raw(3, 1, "x"))
			p.connectionClosed(505, "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead", wire.BasicPublishID)
		}},
		{"a method instead of the body", func(p *peer) {
			publish(p)
			p.write(raw(2, 1, header))
			publish(p)
			p.connectionClosed(505, "UNEXPECTED_FRAME - expected content body, got non content body frame instead", wire.BasicPublishID)
		}},
		{"a header instead of the body", func(p *peer) {
			publish(p)
			p.write(raw(2, 1, header))
			p.write(raw(2, 1, header))
			p.connectionClosed(505, "UNEXPECTED_FRAME - expected content body, got non content body frame instead", wire.BasicPublishID)
		}},
		{"a body longer than announced", func(p *peer) {
			publish(p)
			p.write(raw(2, 1, header))
			p.write(raw(3, 1, "abc"))
			p.connectionClosed(505, "UNEXPECTED_FRAME - content body is longer than the 2 bytes announced", wire.BasicPublishID)
		}},
		{"a body where none was announced", func(p *peer) {
			publish(p)
			p.write(raw(2, 1, "\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
			p.write(raw(3, 1, "x"))
			p.connectionClosed(505, "UNEXPECTED_FRAME - expected method frame, got non method frame instead", wire.BasicPublishID)
		}},
		{"a header of another class", func(p *peer) {
			publish(p)
			p.write(raw(2, 1, "\x00\x32"+header[2:]))
			p.connectionClosed(505, "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead", wire.BasicPublishID)
		}},
	})
}

func TestConsume_1_8_3_3(t *testing.T) {
	converse(t, []row{
		{"consume-ok precedes the first delivery", func(p *peer) {
			queueQ(p, 3)
			p.consume()
			p.wantBodies(p.deliverN(1, 3, false), "1 2 3")
		}},
		{"an empty tag is made up", func(p *peer) {
			queueQ(p, 0)
			p.send(1, &wire.BasicConsume{Queue: "q"})
			ok, _ := p.next(1).(*wire.BasicConsumeOK)
			if !strings.HasPrefix(ok.ConsumerTag, "amq.ctag-") || len(ok.ConsumerTag) != len("amq.ctag-")+22 {
				p.t.Errorf("tag is %q", ok.ConsumerTag)
			}
		}},
		{"nowait is not answered", func(p *peer) {
			queueQ(p, 1)
			p.send(1, &wire.BasicConsume{Queue: "q", ConsumerTag: "t", NoWait: true})
			p.wantBodies(p.deliverN(1, 1, false), "1")
			p.send(1, &wire.BasicCancel{ConsumerTag: "t", NoWait: true})
			p.call(1, &wire.BasicQos{}, &wire.BasicQosOK{})
		}},
		{"a tag in use is 530", func(p *peer) {
			queueQ(p, 0)
			p.consume()
			p.send(1, &wire.BasicConsume{Queue: "q", ConsumerTag: "t"})
			p.connectionClosed(530, "NOT_ALLOWED - attempt to reuse consumer tag 't'", wire.BasicConsumeID)
		}},
		{"a tag is free again after cancel, and after an error", func(p *peer) {
			queueQ(p, 0)
			p.consume()
			p.call(1, &wire.BasicCancel{ConsumerTag: "t"}, &wire.BasicCancelOK{ConsumerTag: "t"})
			p.send(1, &wire.BasicConsume{Queue: "missing", ConsumerTag: "t"})
			p.channelClosed(1, 404, "NOT_FOUND - no queue 'missing' in vhost '/'", wire.BasicConsumeID)
			p.consume()
		}},
		{"an exclusive consumer keeps others out with 403", func(p *peer) {
			queueQ(p, 0)
			p.call(1, &wire.BasicConsume{Queue: "q", ConsumerTag: "t", Exclusive: true}, &wire.BasicConsumeOK{ConsumerTag: "t"})
			p.openChannel(2)
			p.send(2, &wire.BasicConsume{Queue: "q", ConsumerTag: "t"})
			p.channelClosed(2, 403, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use", wire.BasicConsumeID)
		}},
		{"cancel of an unknown tag succeeds", func(p *peer) {
			p.call(1, &wire.BasicCancel{ConsumerTag: "t"}, &wire.BasicCancelOK{ConsumerTag: "t"})
		}},
		{"cancel leaves outstanding deliveries outstanding", func(p *peer) {
			queueQ(p, 1)
			p.consume()
			p.deliverN(1, 1, false)
			p.call(1, &wire.BasicCancel{ConsumerTag: "t"}, &wire.BasicCancelOK{ConsumerTag: "t"})
			p.call(1, &wire.BasicGet{Queue: "q"}, &wire.BasicGetEmpty{})
			p.send(1, &wire.BasicAck{DeliveryTag: 1})
			p.call(1, &wire.BasicQos{}, &wire.BasicQosOK{})
		}},
		{"a deleted queue cancels its consumers, and frees their tags", func(p *peer) {
			queueQ(p, 0)
			p.consume()
			p.openChannel(2)
			p.send(2, &wire.QueueDelete{Queue: "q"})
			p.expect(1, &wire.BasicCancel{ConsumerTag: "t", NoWait: true})
			p.expect(2, &wire.QueueDeleteOK{})
			queueQ(p, 0)
			p.consume()
		}},
	})
}

func TestQos_1_8_3_1(t *testing.T) {
	converse(t, []row{
		{"prefetch_size is 540", func(p *peer) {
			p.send(1, &wire.BasicQos{PrefetchSize: 1})
			p.connectionClosed(540, "NOT_IMPLEMENTED - prefetch_size!=0 (1)", wire.BasicQosID)
		}},
		{"global=false is for each consumer to come", func(p *peer) {
			queueQ(p, 5)
			p.call(1, &wire.BasicQos{PrefetchCount: 2}, &wire.BasicQosOK{})
			p.consume()
			p.wantBodies(p.deliverN(1, 2, false), "1 2")
			p.call(1, &wire.BasicQos{PrefetchCount: 5}, &wire.BasicQosOK{})
			p.silence(time.Second)
			p.send(1, &wire.BasicAck{DeliveryTag: 1})
			p.wantBodies(p.deliverN(3, 1, false), "3")
			p.silence(time.Second)
		}},
		{"global=true is for the channel, from now on", func(p *peer) {
			queueQ(p, 5)
			p.call(1, &wire.BasicQos{PrefetchCount: 3, Global: true}, &wire.BasicQosOK{})
			p.consume()
			p.wantBodies(p.deliverN(1, 3, false), "1 2 3")
			p.silence(time.Second)
			p.call(1, &wire.BasicQos{PrefetchCount: 4, Global: true}, &wire.BasicQosOK{})
			p.wantBodies(p.deliverN(4, 1, false), "4")
		}},
		{"without acknowledgements nothing limits", func(p *peer) {
			queueQ(p, 5)
			p.call(1, &wire.BasicQos{PrefetchCount: 1, Global: true}, &wire.BasicQosOK{})
			p.call(1, &wire.BasicConsume{Queue: "q", ConsumerTag: "t", NoAck: true}, &wire.BasicConsumeOK{ConsumerTag: "t"})
			p.wantBodies(p.deliverN(1, 5, false), "1 2 3 4 5")
		}},
	})
}

func TestGet_1_8_3_10(t *testing.T) {
	converse(t, []row{
		{"get tells how many are left", func(p *peer) {
			queueQ(p, 2)
			p.call(1, &wire.BasicGet{Queue: "q"}, &wire.BasicGetOK{DeliveryTag: 1, RoutingKey: "q", MessageCount: 1})
			p.message(1)
			p.call(1, &wire.BasicGet{Queue: "q"}, &wire.BasicGetOK{DeliveryTag: 2, RoutingKey: "q"})
			p.message(1)
			p.call(1, &wire.BasicGet{Queue: "q"}, &wire.BasicGetEmpty{})
			p.send(1, &wire.BasicReject{DeliveryTag: 2, Requeue: true})
			p.call(1, &wire.BasicGet{Queue: "q"}, &wire.BasicGetOK{DeliveryTag: 3, Redelivered: true, RoutingKey: "q"})
			p.message(1)
		}},
		{"no_ack leaves nothing to settle", func(p *peer) {
			queueQ(p, 1)
			p.call(1, &wire.BasicGet{Queue: "q", NoAck: true}, &wire.BasicGetOK{DeliveryTag: 1, RoutingKey: "q"})
			p.message(1)
			p.send(1, &wire.BasicAck{DeliveryTag: 1})
			p.channelClosed(1, 406, "PRECONDITION_FAILED - unknown delivery tag 1", wire.BasicAckID)
		}},
		{"a missing queue is 404", func(p *peer) {
			p.send(1, &wire.BasicGet{Queue: "q"})
			p.channelClosed(1, 404, "NOT_FOUND - no queue 'q' in vhost '/'", wire.BasicGetID)
		}},
	})
}

// TestSettle_1_8_3_13: five deliveries are outstanding; what is settled how, and
// what comes again when the rest is recovered.
func TestSettle_1_8_3_13(t *testing.T) {
	for _, r := range []struct {
		name  string
		send  []wire.Method
		again string // requeued at once, with tags from 6 on
		rest  string // recovered
	}{
		{"ack one", []wire.Method{&wire.BasicAck{DeliveryTag: 3}}, "", "1 2 4 5"},
		{"ack up to", []wire.Method{&wire.BasicAck{DeliveryTag: 3, Multiple: true}}, "", "4 5"},
		{"ack all", []wire.Method{&wire.BasicAck{Multiple: true}}, "", ""},
		{"ack all, and all of nothing", []wire.Method{&wire.BasicAck{Multiple: true}, &wire.BasicAck{Multiple: true}}, "", ""},
		{"ack in any order", []wire.Method{
			&wire.BasicAck{DeliveryTag: 4}, &wire.BasicAck{DeliveryTag: 2}, &wire.BasicAck{DeliveryTag: 3, Multiple: true},
		}, "", "5"},
		{"reject drops", []wire.Method{&wire.BasicReject{DeliveryTag: 2}}, "", "1 3 4 5"},
		{"reject requeues", []wire.Method{&wire.BasicReject{DeliveryTag: 2, Requeue: true}}, "2", "1 2 3 4 5"},
		{"nack drops up to", []wire.Method{&wire.BasicNack{DeliveryTag: 2, Multiple: true}}, "", "3 4 5"},
		{"nack requeues up to, in order", []wire.Method{&wire.BasicNack{DeliveryTag: 3, Multiple: true, Requeue: true}}, "1 2 3", "1 2 3 4 5"},
		{"nack requeues all", []wire.Method{&wire.BasicNack{Multiple: true, Requeue: true}}, "1 2 3 4 5", "1 2 3 4 5"},
		{"recover requeues all", []wire.Method{&wire.BasicRecoverAsync{Requeue: true}}, "1 2 3 4 5", "1 2 3 4 5"},
	} {
		t.Run(r.name, func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				p := b.connect()
				queueQ(p, 5)
				p.consume()
				p.deliverN(1, 5, false)
				p.send(1, r.send...)
				n := len(strings.Fields(r.again))
				p.wantBodies(p.deliverN(6, n, true), r.again)
				p.call(1, &wire.BasicCancel{ConsumerTag: "t"}, &wire.BasicCancelOK{ConsumerTag: "t"})
				p.call(1, &wire.BasicRecover{Requeue: true}, &wire.BasicRecoverOK{})
				p.consume()
				p.wantBodies(p.deliverN(uint64(6+n), len(strings.Fields(r.rest)), true), r.rest)
				p.silence(time.Second)
			})
		})
	}
	converse(t, []row{
		{"unknown tags are 406", func(p *peer) {
			queueQ(p, 2)
			for _, m := range []wire.Method{
				&wire.BasicAck{DeliveryTag: 3}, &wire.BasicAck{DeliveryTag: 3, Multiple: true}, &wire.BasicNack{DeliveryTag: 3},
				&wire.BasicReject{DeliveryTag: 3},
			} {
				p.consume()
				for range 2 {
					p.next(1)
					p.message(1)
				}
				p.send(1, m)
				p.channelClosed(1, 406, "PRECONDITION_FAILED - unknown delivery tag 3", m.ID())
			}
		}},
		{"tag 0 without multiple is none", func(p *peer) {
			p.send(1, &wire.BasicAck{})
			p.channelClosed(1, 406, "PRECONDITION_FAILED - unknown delivery tag 0", wire.BasicAckID)
		}},
		{"a tag counts once", func(p *peer) {
			queueQ(p, 2)
			p.consume()
			p.deliverN(1, 2, false)
			p.send(1, &wire.BasicAck{DeliveryTag: 2}, &wire.BasicAck{DeliveryTag: 2, Multiple: true})
			p.channelClosed(1, 406, "PRECONDITION_FAILED - unknown delivery tag 2", wire.BasicAckID)
		}},
		{"recover with requeue=false is 540", func(p *peer) {
			p.send(1, &wire.BasicRecover{})
			p.connectionClosed(540, "NOT_IMPLEMENTED - requeue=false", wire.BasicRecoverID)
		}},
	})
}

// TestOutstandingGoBack: what is outstanding when its channel or connection
// ends, in whatever way, goes back to its place and is marked.
func TestOutstandingGoBack(t *testing.T) {
	for _, r := range []row{
		{"channel.close", func(p *peer) { p.call(1, &wire.ChannelClose{ReplyCode: 200}, &wire.ChannelCloseOK{}) }},
		{"a channel error", func(p *peer) { p.send(1, &wire.BasicAck{DeliveryTag: 99}); p.next(1) }},
		{"connection.close", func(p *peer) {
			p.call(0, &wire.ConnectionClose{ReplyCode: 200}, &wire.ConnectionCloseOK{})
		}},
		{"a connection error", func(p *peer) { p.send(1, &wire.ChannelFlow{}); p.next(0) }},
		{"a lost connection", func(p *peer) { _ = p.nc.Close() }},
	} {
		t.Run(r.name, func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				p, other := b.connect(), b.connect()
				queueQ(p, 4)
				p.consume()
				p.deliverN(1, 4, false)
				p.send(1, &wire.BasicAck{DeliveryTag: 2})
				r.script(p)
				synctest.Wait()
				other.consume()
				other.wantBodies(other.deliverN(1, 3, true), "1 3 4")
			})
		})
	}
}

// TestASlowClientStopsItsOwnQueueOnly: its outbox fills to the high mark and no
// further, others go on, and it gets everything once it reads again.
func TestASlowClientStopsItsOwnQueueOnly(t *testing.T) {
	const n, size = 100, 10_000 // three times the high mark
	inBubble(t, func(s *setup) { s.server.Outbox.StallTimeout = time.Hour }, func(b *bed) {
		t := b.t
		slow, fast, publisher := b.connect(), b.connect(), b.connect()
		publisher.declare(wire.QueueDeclare{Queue: "slow"})
		publisher.declare(wire.QueueDeclare{Queue: "fast"})
		for name, p := range map[string]*peer{"slow": slow, "fast": fast} {
			p.call(1, &wire.BasicConsume{Queue: name, ConsumerTag: "t", NoAck: true}, &wire.BasicConsumeOK{ConsumerTag: "t"})
		}
		for i := range n {
			for _, key := range []string{"slow", "fast"} {
				body := strings.Repeat(string(rune('a'+i%26)), size)
				publisher.publish(1, wire.BasicPublish{RoutingKey: key}, field.Properties{}, body)
			}
			fast.deliver(1, wire.BasicDeliver{ConsumerTag: "t", DeliveryTag: uint64(i + 1), RoutingKey: "fast"})
		}
		publisher.send(1, &wire.QueueDeclare{Queue: "slow", Passive: true})
		ok, _ := publisher.next(1).(*wire.QueueDeclareOK)
		if ok.MessageCount < n/2 {
			t.Errorf("%d of %d messages wait in the queue, want all but what fits in the outbox", ok.MessageCount, n)
		}
		for i := range n {
			body := slow.deliver(1, wire.BasicDeliver{ConsumerTag: "t", DeliveryTag: uint64(i + 1), RoutingKey: "slow"})
			if want := strings.Repeat(string(rune('a'+i%26)), size); body != want {
				t.Fatalf("message %d is not what was published", i)
			}
		}
	})
}

// TestPublishersWaitWhereTheBrokerMust: the connection is not read, and that is
// no missed heartbeat.
func TestPublishersWaitWhereTheBrokerMust(t *testing.T) {
	inBubble(t, func(s *setup) { s.broker = core.Options{MemoryBudget: 1000} }, func(b *bed) {
		p, other := b.dial(), b.connect()
		p.handshake(nil, 131072, 10)
		p.openChannel(1)
		p.declare(wire.QueueDeclare{Queue: "q"})
		body := strings.Repeat("x", 5000)
		p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{}, body)
		p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{}, body) // waits
		p.silence(time.Minute)
		other.call(1, &wire.QueuePurge{Queue: "q"}, &wire.QueuePurgeOK{MessageCount: 1})
		p.call(1, &wire.QueueDeclare{Queue: "q", Passive: true}, &wire.QueueDeclareOK{Queue: "q", MessageCount: 1})
	})
}
