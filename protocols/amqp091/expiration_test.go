package amqp091_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// publishExpiring publishes body to the queue q.
func (p *peer) publishExpiring(body, expiration string) {
	p.t.Helper()
	props := field.Properties{Expiration: expiration, DeliveryMode: 2}
	p.publish(1, wire.BasicPublish{RoutingKey: "q"}, props, body)
}

// wait lets time pass, once all that was sent has been acted on.
func (p *peer) wait(d time.Duration) {
	synctest.Wait()
	time.Sleep(d)
	synctest.Wait()
}

// TestExpiration: a message expires at the head of its queue, as in RabbitMQ.
func TestExpiration(t *testing.T) {
	converse(t, []row{
		{"it is delivered before its time is over, with the property as it was", func(p *peer) {
			queueQ(p, 0)
			p.publishExpiring("m", "1000")
			p.wait(999 * time.Millisecond)
			p.call(1, &wire.BasicGet{Queue: "q"}, &wire.BasicGetOK{DeliveryTag: 1, RoutingKey: "q"})
			if props, body := p.message(1); props.Expiration != "1000" || body != "m" {
				p.t.Errorf("got %q with expiration %q", body, props.Expiration)
			}
		}},
		{"it is gone when its time is over", func(p *peer) {
			queueQ(p, 0)
			p.publishExpiring("m", "1000")
			p.wait(time.Second)
			p.call(1, &wire.BasicGet{Queue: "q"}, &wire.BasicGetEmpty{})
		}},
		{"it counts neither for a declaration nor for a purge", func(p *peer) {
			queueQ(p, 0)
			p.publishExpiring("m", "1000")
			p.publishN(2)
			p.call(1, &wire.QueueDeclare{Queue: "q", Passive: true}, &wire.QueueDeclareOK{Queue: "q", MessageCount: 3})
			p.wait(time.Second)
			p.call(1, &wire.QueueDeclare{Queue: "q", Passive: true}, &wire.QueueDeclareOK{Queue: "q", MessageCount: 2})
			p.call(1, &wire.QueuePurge{Queue: "q"}, &wire.QueuePurgeOK{MessageCount: 2})
		}},
		{"it waits behind one whose time is not over", func(p *peer) {
			queueQ(p, 0)
			p.publishExpiring("first", "5000")
			p.publishExpiring("second", "1000")
			p.wait(2 * time.Second)
			p.call(1, &wire.QueueDeclare{Queue: "q", Passive: true}, &wire.QueueDeclareOK{Queue: "q", MessageCount: 2})
			p.call(1, &wire.BasicGet{Queue: "q", NoAck: true}, &wire.BasicGetOK{DeliveryTag: 1, RoutingKey: "q", MessageCount: 1})
			p.message(1)
			p.call(1, &wire.BasicGet{Queue: "q"}, &wire.BasicGetEmpty{})
		}},
		{"put back, it expires", func(p *peer) {
			queueQ(p, 0)
			p.publishExpiring("m", "1000")
			p.call(1, &wire.BasicGet{Queue: "q"}, &wire.BasicGetOK{DeliveryTag: 1, RoutingKey: "q"})
			p.message(1)
			p.wait(2 * time.Second) // it is the client's for as long as that has it
			p.send(1, &wire.BasicNack{DeliveryTag: 1, Requeue: true})
			p.call(1, &wire.QueueDeclare{Queue: "q", Passive: true}, &wire.QueueDeclareOK{Queue: "q"})
		}},
		{"0 is now or never", func(p *peer) {
			queueQ(p, 0)
			p.publishExpiring("never", "0")
			p.call(1, &wire.BasicGet{Queue: "q"}, &wire.BasicGetEmpty{})
			p.consume()
			p.publishExpiring("now", "0")
			p.wantBodies(p.deliverN(1, 1, false), "now")
		}},
		{"of a message before, it is forgotten", func(p *peer) {
			queueQ(p, 0)
			p.publishExpiring("m", "1000")
			p.publishN(1)
			p.wait(time.Hour)
			p.call(1, &wire.QueueDeclare{Queue: "q", Passive: true}, &wire.QueueDeclareOK{Queue: "q", MessageCount: 1})
		}},
	})
}
