package mqtt_test

import (
	"sync"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// consumer collects what a queue delivers, as another front-end would.
type consumer struct {
	mu   sync.Mutex
	got  []core.Delivery
	more chan struct{} // a token for each
}

func (*consumer) Ready() bool              { return true }
func (*consumer) Cancelled(*core.Consumer) {}

func (c *consumer) Deliver(d core.Delivery) {
	c.mu.Lock()
	c.got = append(c.got, d)
	c.mu.Unlock()
	c.more <- struct{}{}
}

// next waits for the next message.
func (c *consumer) next() *core.Message {
	<-c.more
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.got[0].Message
	c.got = c.got[1:]
	return m
}

// other opens a session as another front-end would.
func (b *bed) other() *core.Session {
	b.t.Helper()
	s, err := b.broker.Attach(core.DefaultVHost, core.SessionOptions{Conn: "other", User: "guest"})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { s.Close() })
	return s
}

// consume binds a queue of its own to amq.topic.
func (b *bed) consume(s *core.Session, key string) *consumer {
	b.t.Helper()
	ctx := b.t.Context()
	_, err := s.DeclareQueue(ctx, core.QueueSpec{Name: "other", Durable: true})
	if err == nil {
		err = s.Bind(ctx, core.BindingSpec{Source: core.TopicExchange, Dest: "other", Key: key})
	}
	c := &consumer{more: make(chan struct{}, 100)}
	if err == nil {
		_, err = s.Consume(ctx, core.ConsumerSpec{Queue: "other", NoAck: true, Receiver: c})
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func block(tb testing.TB, p field.Properties) []byte {
	tb.Helper()
	b, err := field.AppendProperties(nil, &p)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// TestFromMQTT: what an AMQP consumer sees of a publication.
func TestFromMQTT(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		c := b.consume(b.other(), "dev.#")
		p := b.connect(wire.V5, "p")
		p.publish("dev/v1.2/*/x", "payload", 1, 1, everyProperty)
		p.expect("PUBACK #1")
		m := c.next()
		if m.Exchange != "amq.topic" || m.Key != "dev.v1/2.+.x" || string(m.Body) != "payload" || !m.Persistent {
			t.Errorf("%+v", m)
		}
		props, err := field.ParseProperties(m.Props)
		if err != nil {
			t.Fatal(err)
		}
		if props.DeliveryMode != 2 || props.ContentType != "text/plain" || props.Expiration != "60000" {
			t.Errorf("%+v", props)
		}
		for name, want := range map[string]string{
			"a": "1", "b": "2", bridge.HeaderReplyTo: "r.t/x", bridge.HeaderCorrelationID: "\xff\x00",
		} {
			if got, _ := props.Headers.Get(name); got != want {
				t.Errorf("header %s is %q, want %q", name, got, want)
			}
		}
	})
}

// TestFromAMQP: what an MQTT client sees of a message that was published to
// amq.topic by another protocol.
func TestFromAMQP(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		s, old := b.connect(wire.V5, "s"), b.connect(wire.V311, "o")
		s.subscribe(1, 2, "dev/#")
		old.subscribe(1, 2, "dev/#")
		props := block(t, field.Properties{
			ContentType: "text/plain", DeliveryMode: 2, CorrelationID: "42", Expiration: "1500",
			Headers: field.Table{
				{Key: "unit", Value: "celsius"}, {Key: "n", Value: int32(-7)}, {Key: bridge.HeaderReplyTo, Value: "r.t"},
			},
		})
		other := b.other()
		n, err := other.Publish(&core.Message{
			Exchange: "amq.topic", Key: "dev.a/b.c", Props: props, Body: []byte("hot"), Persistent: true,
			Expires: other.ExpiresAfter(1500 * time.Millisecond),
		}, nil, 0)
		if n != 2 || err != nil {
			t.Fatal(n, err)
		}
		s.expect(`PUBLISH dev/a.b/c q1 #1 2=2 3="text/plain" 8="r/t" 9="42" unit:celsius n:-7 "hot"`)
		old.expect(`PUBLISH dev/a.b/c q1 #1 "hot"`)
		if _, err := other.Publish(&core.Message{Exchange: "amq.topic", Key: "dev.#", Body: []byte("odd key")}, nil, 0); err != nil {
			t.Fatal(err)
		}
		s.expect(`PUBLISH dev/\x23 "odd key"`)
	})
}

// TestRetainedFromAMQP: a message that another protocol publishes to be kept is
// a retained one.
func TestRetainedFromAMQP(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		props := block(t, field.Properties{Headers: field.Table{{Key: bridge.HeaderRetain, Value: true}}})
		if m, err := bridge.Read(props); err != nil || !m.Retain { // what the AMQP front-end asks
			t.Fatal(m, err)
		}
		other := b.other()
		publish := func(body string) {
			if _, err := other.Publish(&core.Message{Exchange: "amq.topic", Key: "a.b", Props: props, Body: []byte(body), Retain: true}, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		publish("kept")
		s := b.connect(wire.V5, "s")
		s.subscribe(1, 1, "a/+")
		s.expect(`PUBLISH a/b retain "kept"`)
		publish("")
		s.expect(`PUBLISH a/b ""`)
		s.subscribe(2, 1, "a/+")
		s.silence(time.Second)
	})
}

// TestSubscriberQueueIsItsOwn: another protocol sees the queue of a session and
// cannot take from it.
func TestSubscriberQueueIsItsOwn(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		b.connect(wire.V5, "s", durable)
		_, _, _, err := b.other().Get(t.Context(), "mqtt-subscription-s", true)
		if core.KindOf(err) != core.Locked {
			t.Errorf("get from it: %v", err)
		}
	})
}
