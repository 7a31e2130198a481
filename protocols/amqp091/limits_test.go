package amqp091_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091"
	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/outbox"
)

// TestAClientThatAsksAndDoesNotListenIsNotListenedTo: the answers to what it
// sends wait up to a bound, then its frames wait; once it reads, it gets all.
func TestAClientThatAsksAndDoesNotListenIsNotListenedTo(t *testing.T) {
	const size, asked = 100_000, 100
	limits := amqp091.Options{Outbox: outbox.Options{High: 100_000, StallTimeout: time.Hour}}
	inBubble(t, func(s *setup) { s.server = limits }, func(b *bed) {
		t := b.t
		p := b.connect()
		p.declare(wire.QueueDeclare{Queue: "q"})
		p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{}, strings.Repeat("x", size))
		ask, err := wire.AppendMethod(nil, 1, &wire.BasicGet{Queue: "q"})
		if err != nil {
			t.Fatal(err)
		}
		if ask, err = wire.AppendMethod(ask, 1, &wire.BasicNack{Multiple: true, Requeue: true}); err != nil {
			t.Fatal(err)
		}
		accepted := make(chan int, asked)
		go func() {
			for i := range asked {
				if _, err := p.nc.Write(ask); err != nil {
					return
				}
				accepted <- i
			}
		}()
		synctest.Wait()
		if n := len(accepted); n < 4 || n > 7 { // 4 × 100,000 and one above the high mark is between 4 and 5 answers
			t.Errorf("%d questions were taken from a client that does not listen", n)
		}
		for i := range asked {
			p.expect(1, &wire.BasicGetOK{DeliveryTag: uint64(i + 1), RoutingKey: "q", Redelivered: i > 0})
			if _, body := p.message(1); len(body) != size {
				t.Fatalf("answer %d has %d bytes", i, len(body))
			}
		}
	})
}

// begin announces a message of size bytes.
func (p *peer) begin(channel uint16, size int) {
	p.t.Helper()
	p.send(channel, &wire.BasicPublish{RoutingKey: "q"})
	header := append(binary.BigEndian.AppendUint64([]byte{0, byte(wire.ClassBasic), 0, 0}, uint64(size)), 0, 0)
	p.write(raw(byte(wire.FrameHeader), channel, string(header)))
}

// body sends n bytes of what was announced.
func (p *peer) body(channel uint16, n int) {
	p.t.Helper()
	for ; n > 0; n -= 100_000 {
		p.write(raw(byte(wire.FrameBody), channel, strings.Repeat("x", min(n, 100_000))))
	}
}

// TestMessagesUnderWayAreBounded: what has arrived of messages that are not
// complete is bounded for all channels of a connection together; what they
// announce, and what is done with, does not count.
func TestMessagesUnderWayAreBounded(t *testing.T) {
	const size, limit = 1_000_000, 4 * (1_000_000 + 131_072)
	const text = "RESOURCE_ERROR - messages under way on this connection exceed 4524288 bytes: send one after the other, or on more connections"
	for _, row := range []struct {
		name   string
		script func(p *peer)
	}{
		{"more is 506", func(p *peer) {
			for ch := uint16(1); ch <= 60; ch++ {
				p.begin(ch, size)
			}
			for ch := uint16(1); ch <= 45; ch++ {
				p.body(ch, 100_000)
			}
			p.call(61, &wire.ChannelOpen{}, &wire.ChannelOpenOK{}) // so far, so good
			p.body(46, 100_000)
			p.connectionClosed(506, text, wire.BasicPublishID)
		}},
		{"properties count", func(p *peer) {
			large := field.Properties{Headers: field.Table{{Key: "k", Value: strings.Repeat("x", 100_000)}}}
			block := content(p.t, large, "").Properties
			header := append(binary.BigEndian.AppendUint64([]byte{0, byte(wire.ClassBasic), 0, 0}, size), block...)
			for ch := uint16(1); ch <= limit/100_000+1; ch++ {
				p.send(ch, &wire.BasicPublish{RoutingKey: "q"})
				p.write(raw(byte(wire.FrameHeader), ch, string(header)))
			}
			p.connectionClosed(506, text, wire.BasicPublishID)
		}},
		{"four of the largest size fit", func(p *peer) {
			for ch := uint16(1); ch <= 4; ch++ {
				p.begin(ch, size)
				p.body(ch, size-1)
			}
			for ch := uint16(1); ch <= 4; ch++ {
				p.body(ch, 1)
			}
			p.call(1, &wire.QueueDeclare{Queue: "q", Passive: true}, &wire.QueueDeclareOK{Queue: "q", MessageCount: 4})
		}},
		{"one after the other", func(p *peer) {
			for ch := uint16(1); ch <= 10; ch++ {
				p.begin(ch, size)
				p.body(ch, size)
			}
			p.call(10, &wire.QueueDeclare{Queue: "q", Passive: true}, &wire.QueueDeclareOK{Queue: "q", MessageCount: 10})
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(s *setup) { s.server.MaxMessageSize = size }, func(b *bed) {
				p := b.connect()
				p.declare(wire.QueueDeclare{Queue: "q"})
				for ch := uint16(2); ch <= 60; ch++ {
					p.openChannel(ch)
				}
				_ = p.nc.SetReadDeadline(time.Now().Add(time.Minute)) // an answer that never comes is a failure
				row.script(p)
				_ = p.nc.Close()
			})
		})
	}
}

// TestAMessageThatCannotBeSentEndsTheConnection, and stays in its queue for
// clients that can take it.
func TestAMessageThatCannotBeSentEndsTheConnection(t *testing.T) {
	const text = "FRAME_ERROR - message cannot be sent to this client: "
	for _, row := range []struct {
		name  string
		ask   wire.Method
		blame wire.MethodID
		why   string
	}{
		{"deliver", &wire.BasicConsume{Queue: "q", ConsumerTag: "t", NoWait: true}, wire.BasicDeliverID, "content header exceeds frame_max"},
		{"get", &wire.BasicGet{Queue: "q"}, wire.BasicGetID, "encode basic.get-ok: content header exceeds frame_max"},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				p, narrow := b.connect(), b.dial()
				narrow.handshake(nil, 4096, 0)
				narrow.openChannel(1)
				p.declare(wire.QueueDeclare{Queue: "q"})
				p.publish(1, wire.BasicPublish{RoutingKey: "q"},
					field.Properties{Headers: field.Table{{Key: "k", Value: strings.Repeat("x", 5000)}}}, "m")
				p.call(1, &wire.BasicQos{}, &wire.BasicQosOK{}) // the message is there
				narrow.send(1, row.ask)
				narrow.connectionClosed(501, text+row.why, row.blame)
				p.call(1, &wire.BasicGet{Queue: "q"}, &wire.BasicGetOK{DeliveryTag: 1, Redelivered: true, RoutingKey: "q"})
				p.message(1)
			})
		})
	}
}
