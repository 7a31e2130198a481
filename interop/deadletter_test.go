package interop

import (
	"fmt"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// What has a time to live leaves a queue when that is over, also one that nobody has asked for anything since the broker started: it counts
// no more, and where it is wanted as a dead letter it goes there.
func TestExpiredLeavesAQueueThatWasRecovered(t *testing.T) {
	t.Parallel()
	b, log := ownBroker(t)
	start(t, b, log)
	ch := channel(t, b.URL())
	must(t, ch.Confirm(false))
	for name, args := range map[string]amqp.Table{
		"mortal": nil,
		"ttl":    {"x-message-ttl": 3000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"},
		"dead":   nil,
	} {
		_, err := ch.QueueDeclare(name, true, false, false, false, args)
		must(t, err)
	}
	publishConfirmed(t, ch, "mortal", amqp.Publishing{DeliveryMode: amqp.Persistent, Expiration: "3000", Body: []byte("mortal")})
	publishConfirmed(t, ch, "ttl", amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("goes on")})
	must(t, b.Kill())
	start(t, b, log)
	ch = channel(t, b.URL())
	for name, want := range map[string]int{"mortal": 0, "ttl": 0, "dead": 1} {
		eventually(t, func() bool { return ready(t, ch, name) == want })
	}
	d, ok, err := ch.Get("dead", true)
	must(t, err)
	if deaths, _ := d.Headers["x-death"].([]any); !ok || len(deaths) != 1 || d.Headers["x-first-death-queue"] != "ttl" {
		t.Errorf("the dead letter has headers %v", d.Headers)
	}
}

// Dead letters go on in a chain of queues, in their order, whatever happens to the broker in the middle: none is lost, and none is in two
// queues. The limit of a queue holds afterwards as before.
func TestDeadLettersSurviveAKill(t *testing.T) {
	t.Parallel()
	const messages = 3000
	b, log := ownBroker(t)
	start(t, b, log)
	ch := channel(t, b.URL())
	must(t, ch.Confirm(false))
	must(t, ch.ExchangeDeclare("dlx", "fanout", true, false, false, false, nil))
	for _, q := range []struct {
		name string
		args amqp.Table
	}{
		{"first", amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "second", "x-message-ttl": 1500}},
		{"second", amqp.Table{"x-dead-letter-exchange": "dlx", "x-max-length": 10}},
		{"third", nil},
		{"full", amqp.Table{"x-max-length": 2, "x-overflow": "reject-publish"}},
	} {
		_, err := ch.QueueDeclare(q.name, true, false, false, false, q.args)
		must(t, err)
	}
	must(t, ch.QueueBind("third", "", "dlx", false, nil))
	var last *amqp.DeferredConfirmation
	for i := range messages {
		var err error
		last, err = ch.PublishWithDeferredConfirm("", "first", false, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Body: fmt.Appendf(nil, "%06d", i)})
		must(t, err)
	}
	if ok, err := last.WaitContext(t.Context()); !ok || err != nil {
		t.Fatalf("the publish was not confirmed: %v", err)
	}
	refuses := func(ch *amqp.Channel) {
		t.Helper()
		must(t, ch.Confirm(false))
		for i := range 3 {
			c, err := ch.PublishWithDeferredConfirm("", "full", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent})
			must(t, err)
			if ok, err := c.WaitContext(t.Context()); err != nil || ok && ready(t, ch, "full") < i {
				t.Errorf("publish %d: acked %v, %v", i, ok, err)
			} else if full := ready(t, ch, "full"); full > 2 {
				t.Errorf("%d messages in a queue of two", full)
			}
		}
	}
	refuses(ch)
	eventually(t, func() bool { return ready(t, ch, "third") > 0 }) // they are on their way
	must(t, b.Kill())
	start(t, b, log)
	ch = channel(t, b.URL())
	eventually(t, func() bool { return ready(t, ch, "first") == 0 && ready(t, ch, "third") == messages-10 })
	if n := ready(t, ch, "second"); n != 10 {
		t.Errorf("%d messages in a queue of ten", n)
	}
	seen := map[string]bool{}
	for _, queue := range []string{"third", "second"} {
		before := ""
		for {
			d, ok, err := ch.Get(queue, true)
			must(t, err)
			if !ok {
				break
			}
			body := string(d.Body)
			if seen[body] {
				t.Fatalf("%s: message %s is there twice", queue, body)
			}
			if body < before {
				t.Fatalf("%s: message %s comes behind %s", queue, body, before)
			}
			before, seen[body] = body, true
		}
	}
	if len(seen) != messages {
		t.Errorf("%d messages, want %d", len(seen), messages)
	}
	refuses(ch)
}

func publishConfirmed(t *testing.T, ch *amqp.Channel, queue string, p amqp.Publishing) {
	t.Helper()
	c, err := ch.PublishWithDeferredConfirm("", queue, false, false, p)
	must(t, err)
	if ok, err := c.WaitContext(t.Context()); !ok || err != nil {
		t.Fatalf("the publish was not confirmed: %v", err)
	}
}

func ready(t *testing.T, ch *amqp.Channel, queue string) int {
	t.Helper()
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	must(t, err)
	return q.Messages
}
