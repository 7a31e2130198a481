package amqp091_test

import (
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
	limits := amqp091.Options{MaxMessageSize: 1 << 20, Outbox: outbox.Options{High: 100_000, StallTimeout: time.Hour}}
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
		if n := len(accepted); n < 10 || n > 20 { // 4 × 100,000 + 1 MiB is between 14 and 15 answers
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
