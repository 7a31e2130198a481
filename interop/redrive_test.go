package interop

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Dead letters go back to where they died while the broker is killed again and
// again: each of them is in one of the two queues afterwards, once.
func TestKilledRedriveNeitherLosesNorDoubles(t *testing.T) {
	needOwn(t)
	t.Parallel()
	const messages = 20_000
	b, log := ownBroker(t)
	withSocket(t, b)
	rng := rand.New(rand.NewPCG(seed(t), 0))
	start(t, b, log)
	ch := channel(t, b.URL())
	for _, queue := range []string{"dlq", "orders"} {
		if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	publishDead(t, ch, messages)
	for kill := range 3 {
		moves := make(chan string, 1)
		go func() {
			code, out, errs := command(t, b, "queue", "redrive", "dlq", "--admin-socket", socketOf(b))
			moves <- fmt.Sprint(code, out, errs)
		}()
		before, requests := strings.Count(log.text(), redriven), 1+rng.IntN(4)
		eventually(t, func() bool { return strings.Count(log.text(), redriven) >= before+requests }) // the next one is under way
		if err := b.Kill(); err != nil {
			t.Fatal(err)
		}
		t.Logf("kill %d: %s", kill+1, within(t, "the end of the command", moves))
		start(t, b, log)
	}
	if code, out, errs := command(t, b, "queue", "redrive", "dlq", "--admin-socket", socketOf(b)); code != exitOK {
		t.Fatal(code, out, errs)
	}
	seen := map[string]int{}
	ch = channel(t, b.URL())
	expectEmpty(t, b.URL(), "dlq")
	for range messages + 1 {
		m, ok, err := ch.Get("orders", true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if m.Exchange != "shop" || m.RoutingKey != "new" {
			t.Fatalf("it is from %q with key %q", m.Exchange, m.RoutingKey)
		}
		seen[string(m.Body)]++
	}
	lost, doubled := 0, 0
	for i := range messages {
		switch n := seen[fmt.Sprint(i)]; {
		case n == 0:
			lost++
		case n > 1:
			doubled++
		}
	}
	if lost > 0 || doubled > 0 {
		t.Errorf("of %d messages %d are lost and %d doubled", messages, lost, doubled)
	}
}

// redriven is in the broker's log for each request that a redrive makes.
const redriven = `action="redrive messages"`

// publishDead publishes persistent messages that look as if they had died in "orders",
// and waits for the confirms.
func publishDead(t *testing.T, ch *amqp.Channel, messages int) {
	t.Helper()
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	headers := amqp.Table{
		"x-first-death-queue": "orders", "x-first-death-reason": "rejected", "x-first-death-exchange": "shop",
		"x-death": []any{amqp.Table{
			"count": int64(1), "reason": "rejected", "queue": "orders", "exchange": "shop", "routing-keys": []any{"new"},
		}},
	}
	var last *amqp.DeferredConfirmation
	for i := range messages {
		c, err := ch.PublishWithDeferredConfirm("", "dlq", false, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent, Headers: headers, Body: fmt.Append(nil, i),
		})
		if err != nil {
			t.Fatal(err)
		}
		last = c
	}
	if !last.Wait() {
		t.Fatal("the last message was not confirmed")
	}
}
