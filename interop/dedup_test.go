package interop

import (
	"fmt"
	"math/rand/v2"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	uniqueMessages = 1200
	uniqueKills    = 3
)

// A publisher that was not answered before its broker was killed publishes again under the same ids. Consumers that take messages as fast
// as they come see none of them twice for it: what comes again is what they did not acknowledge, and is marked.
func TestKilledBrokerShowsNoIDTwice(t *testing.T) {
	needOwn(t)
	t.Parallel()
	b, log := ownBroker(t)
	rng := rand.New(rand.NewPCG(seed(t), 0))
	confirmed, came := map[string]bool{}, map[string]int{}
	for life := range uniqueKills + 1 {
		start(t, b, log)
		ch := channel(t, b.URL())
		declareUnique(t, ch)
		in, err := ch.Consume("unique", "", false, false, false, false, nil)
		must(t, err)
		kill := len(came) + 1 + rng.IntN(uniqueMessages/(uniqueKills+2))
		if life == uniqueKills {
			kill = -1
		}
		published := make(chan []unconfirmed, 1)
		go func() { published <- publishUnique(b.URL(), confirmed) }()
		for len(came) < uniqueMessages || kill >= 0 {
			d, ok := next(t, in, kill >= 0)
			if !ok {
				break
			}
			if id := string(d.Body); came[id] > 0 && !d.Redelivered {
				t.Errorf("life %d: message %s came again and is not marked", life+1, id)
			} else {
				came[id]++
			}
			_ = d.Ack(false) // the broker may be gone
			if len(came) == kill {
				must(t, b.Kill())
			}
		}
		for _, u := range within(t, "the publisher's end", published) {
			confirmed[u.id] = u.confirm.Acked()
		}
		if kill >= 0 {
			if _, err := b.life.wait(patience); err != nil {
				t.Fatalf("%v\nthe broker's log:\n%s", err, log.text())
			}
		}
	}
	if len(came) != uniqueMessages {
		t.Errorf("%d of %d messages came", len(came), uniqueMessages)
	}
}

// next returns the next delivery; false when the connection has ended, where it may.
func next(t *testing.T, in <-chan amqp.Delivery, mayEnd bool) (amqp.Delivery, bool) {
	t.Helper()
	if !mayEnd {
		return within(t, "a message", in), true
	}
	d, ok := <-in
	return d, ok
}

func declareUnique(t *testing.T, ch *amqp.Channel) {
	t.Helper()
	must(t, ch.ExchangeDeclare("unique", "fanout", true, false, false, false, amqp.Table{"x-deduplication-size": int32(2 * uniqueMessages)}))
	_, err := ch.QueueDeclare("unique", true, false, false, false, nil)
	must(t, err)
	must(t, ch.QueueBind("unique", "", "unique", false, nil))
}

type unconfirmed struct {
	id      string
	confirm *amqp.DeferredConfirmation
}

// publishUnique publishes what is not confirmed, until all is or the broker is gone.
func publishUnique(url string, confirmed map[string]bool) (list []unconfirmed) {
	conn, err := amqp.Dial(url)
	if err != nil {
		return nil
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil || ch.Confirm(false) != nil {
		return nil
	}
	for i := range uniqueMessages {
		id := fmt.Sprint(i)
		if confirmed[id] {
			continue
		}
		c, err := ch.PublishWithDeferredConfirm("unique", "", false, false, amqp.Publishing{
			Body: []byte(id), Headers: amqp.Table{"x-deduplication-id": id}, DeliveryMode: amqp.Persistent,
		})
		if err != nil {
			break
		}
		list = append(list, unconfirmed{id, c})
	}
	for _, u := range list {
		<-u.confirm.Done() // also when the connection has ended
	}
	return list
}
