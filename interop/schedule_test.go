package interop

import (
	"context"
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const scheduled = 400

// A broker that is killed while delayed messages wait, and again while they come due, routes each when it is due: not before, and once,
// but for those that it had delivered and not yet been answered for. What exchanges remember of ids it remembers.
func TestKilledBrokerKeepsDelaysAndIDs(t *testing.T) {
	needOwn(t)
	t.Parallel()
	b, log := ownBroker(t)
	start(t, b, log)
	ch := channel(t, b.URL())
	declareScheduling(t, ch)
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	due := map[string]time.Time{}
	var confirms []*amqp.DeferredConfirmation
	for i := range scheduled {
		delay := time.Duration(1500+10*(i*37%scheduled)) * time.Millisecond
		body := fmt.Sprint(i)
		due[body] = time.Now().Add(delay)
		confirms = append(confirms,
			publishScheduled(t, ch, "delays", body, amqp.Table{"x-delay": int32(delay / time.Millisecond)}),
			publishScheduled(t, ch, "ids", body, amqp.Table{"x-deduplication-id": body}))
	}
	waitConfirmed(t, confirms)
	powerCut(t, b, log)

	came := map[string]int{}
	for life, until := range []int{scheduled / 4, scheduled} {
		start(t, b, log)
		ch = channel(t, b.URL())
		deliveries, err := ch.Consume("scheduled", "", false, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		for len(came) < until {
			d := within(t, "a delayed message", deliveries)
			body := string(d.Body)
			if early := time.Until(due[body]); early > 0 {
				t.Errorf("message %s came %v early", body, early)
			}
			if came[body]++; came[body] > 1 && !d.Redelivered {
				t.Errorf("message %s came again", body)
			}
			if delay, ok := d.Headers["x-delay"].(int32); !ok || delay >= 0 {
				t.Errorf("message %s has x-delay %v", body, d.Headers["x-delay"])
			}
			if err := d.Ack(false); err != nil {
				t.Fatal(err)
			}
		}
		if life == 0 {
			powerCut(t, b, log)
		}
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	confirms = nil
	for i := range scheduled {
		confirms = append(confirms, publishScheduled(t, ch, "ids", fmt.Sprint(i), amqp.Table{"x-deduplication-id": fmt.Sprint(i)}))
	}
	waitConfirmed(t, confirms)
	q, err := ch.QueueDeclarePassive("once", true, false, false, false, nil)
	if err != nil || q.Messages != scheduled {
		t.Errorf("%d messages of %d ids were routed: %v", q.Messages, scheduled, err)
	}
}

// declareScheduling makes the exchanges that delay and that remember ids, each with a queue.
func declareScheduling(t *testing.T, ch *amqp.Channel) {
	t.Helper()
	for _, x := range []struct {
		name, kind, queue string
		args              amqp.Table
	}{
		{"delays", "x-delayed-message", "scheduled", amqp.Table{"x-delayed-type": "fanout"}},
		{"ids", "fanout", "once", amqp.Table{"x-deduplication-size": int32(2 * scheduled)}},
	} {
		if err := ch.ExchangeDeclare(x.name, x.kind, true, false, false, false, x.args); err != nil {
			t.Fatal(err)
		}
		if _, err := ch.QueueDeclare(x.queue, true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		if err := ch.QueueBind(x.queue, "", x.name, false, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// publishScheduled publishes a persistent message.
func publishScheduled(t *testing.T, ch *amqp.Channel, exchange, body string, headers amqp.Table) *amqp.DeferredConfirmation {
	t.Helper()
	m := amqp.Publishing{Body: []byte(body), Headers: headers, DeliveryMode: amqp.Persistent}
	confirm, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), exchange, "", true, false, m)
	if err != nil {
		t.Fatal(err)
	}
	return confirm
}

func waitConfirmed(t *testing.T, confirms []*amqp.DeferredConfirmation) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i, c := range confirms {
		if ok, err := c.WaitContext(ctx); err != nil || !ok {
			t.Fatalf("message %d was not confirmed: %v", i, err)
		}
	}
}

// powerCut ends the broker as a power cut would, but for the disk.
func powerCut(t *testing.T, b *Broker, log *logFile) {
	t.Helper()
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.life.wait(patience); err != nil {
		t.Fatalf("%v\nthe broker's log:\n%s", err, log.text())
	}
}
