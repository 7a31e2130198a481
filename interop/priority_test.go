package interop

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// consumeWith consumes by hand with a prefetch of its own.
func consumeWith(t *testing.T, ch *amqp.Channel, queue, tag string, prefetch int, args amqp.Table) <-chan amqp.Delivery {
	t.Helper()
	must(t, ch.Qos(prefetch, 0, false))
	in, err := ch.Consume(queue, tag, false, false, false, false, args)
	must(t, err)
	return in
}

// confirmed publishes persistent messages that the broker then has.
func confirmed(t *testing.T, ch *amqp.Channel, queue string, messages ...amqp.Publishing) {
	t.Helper()
	must(t, ch.Confirm(false))
	for i := range messages {
		messages[i].DeliveryMode = amqp.Persistent
		c, err := ch.PublishWithDeferredConfirm("", queue, false, false, messages[i])
		must(t, err)
		if ok, err := c.WaitContext(t.Context()); err != nil || !ok {
			t.Fatalf("message %d was not confirmed: %v", i, err)
		}
	}
}

// messagesFrom makes n messages whose bodies are their numbers from first on.
func messagesFrom(first, n int) (messages []amqp.Publishing) {
	for i := range n {
		messages = append(messages, amqp.Publishing{Body: fmt.Append(nil, first+i)})
	}
	return messages
}

// take receives n deliveries and returns their bodies; those that came before are marked.
func take(t *testing.T, in <-chan amqp.Delivery, n int) (bodies string, last amqp.Delivery) {
	t.Helper()
	var all []string
	for i := range n {
		last = within(t, fmt.Sprintf("delivery %d of %d, after %v", i+1, n, all), in)
		again := ""
		if last.Redelivered {
			again = "*"
		}
		all = append(all, string(last.Body)+again)
	}
	return strings.Join(all, " "), last
}

func expectBodies(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s got %s, want %s", what, got, want)
	}
}

// recorded returns when what the channel has sent is on record.
func recorded(t *testing.T, ch *amqp.Channel) {
	t.Helper()
	q, err := ch.QueueDeclare("settled", true, false, false, false, nil)
	must(t, err)
	confirmed(t, ch, q.Name, amqp.Publishing{Body: []byte("proof")})
}

// restartKilled kills the broker in the middle of whatever it does.
func restartKilled(t *testing.T, b *Broker, log *logFile) {
	t.Helper()
	must(t, b.Kill())
	if _, err := b.life.wait(patience); err != nil {
		t.Fatal(err)
	}
	start(t, b, log)
}

func TestPrioritiesAreKeptByKilledBroker(t *testing.T) {
	t.Parallel()
	b, log := ownBroker(t)
	start(t, b, log)
	ch := channel(t, b.URL())
	const queue, most, messages = "priorities", 4, 60
	args := amqp.Table{"x-max-priority": int32(most)}
	_, err := ch.QueueDeclare(queue, true, false, false, false, args)
	must(t, err)
	published := messagesFrom(0, messages)
	for i := range published {
		published[i].Priority = uint8(i * 7 % 6) // one more than there are
	}
	confirmed(t, ch, queue, published...)
	order := make([]int, messages)
	for i := range order {
		order[i] = i
	}
	counts := func(n int) int { return min(n*7%6, most) }
	slices.SortStableFunc(order, func(i, j int) int { return counts(j) - counts(i) })
	want := func(from, to int) string { return strings.Trim(fmt.Sprint(order[from:to]), "[]") }

	in := consumeWith(t, ch, queue, "", 15, nil)
	got, _ := take(t, in, 15)
	expectBodies(t, "the first consumer", got, want(0, 15))
	must(t, ch.Ack(10, true)) // the rest is out when the broker dies
	got, _ = take(t, in, 10)
	expectBodies(t, "the first consumer, after its acknowledgements,", got, want(15, 25))
	recorded(t, ch)
	restartKilled(t, b, log)

	ch = channel(t, b.URL())
	q, err := ch.QueueDeclare(queue, true, false, false, false, args)
	must(t, err)
	if q.Messages != messages-10 {
		t.Fatalf("%d messages are left, want %d", q.Messages, messages-10)
	}
	confirmed(t, ch, queue, amqp.Publishing{Priority: 9, Body: []byte("late")}, amqp.Publishing{Body: []byte("last")})
	lower := slices.IndexFunc(order, func(n int) bool { return counts(n) < most })
	got, _ = take(t, consumeWith(t, ch, queue, "", 0, nil), messages-10+2)
	expectBodies(t, "the second consumer", strings.ReplaceAll(got, "*", ""), want(10, lower)+" late "+want(lower, messages)+" last")
}

func TestSingleActiveConsumerHandsOver(t *testing.T) {
	t.Parallel()
	b, log := ownBroker(t)
	start(t, b, log)
	const queue = "single"
	ch := channel(t, b.URL())
	_, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-single-active-consumer": true})
	must(t, err)
	_, err = channel(t, b.URL()).Consume(queue, "", false, true, false, false, nil)
	expectRefusal(t, err, 403, "in exclusive use")

	first, second := dial(t, b.URL()), channel(t, b.URL())
	a := openChannel(t, first)
	inA := consumeWith(t, a, queue, "a", 3, nil)
	inB := consumeWith(t, second, queue, "b", 3, nil)
	confirmed(t, ch, queue, messagesFrom(0, 8)...)
	got, _ := take(t, inA, 3)
	expectBodies(t, "the first consumer", got, "0 1 2")
	must(t, a.Ack(1, false))
	got, _ = take(t, inA, 1)
	expectBodies(t, "the first consumer", got, "3")

	must(t, first.Close())
	got, last := take(t, inB, 3)
	expectBodies(t, "its successor", got, "1* 2* 3*")
	must(t, second.Ack(last.DeliveryTag-2, false))
	got, _ = take(t, inB, 1)
	expectBodies(t, "its successor", got, "4")
	recorded(t, second)
	restartKilled(t, b, log)

	// Whoever comes back first is active, and gets all that was not acknowledged, in order.
	c, d := channel(t, b.URL()), channel(t, b.URL())
	inC := consumeWith(t, c, queue, "c", 0, nil)
	inD := consumeWith(t, d, queue, "d", 0, amqp.Table{"x-priority": int32(5)})
	got, last = take(t, inC, 6)
	expectBodies(t, "the first after the restart", strings.ReplaceAll(got, "*", ""), "2 3 4 5 6 7")
	must(t, last.Ack(true))
	confirmed(t, channel(t, b.URL()), queue, messagesFrom(8, 1)...)
	got, last = take(t, inC, 1)
	expectBodies(t, "the first after the restart", got, "8")
	must(t, c.Cancel("c", false))
	confirmed(t, channel(t, b.URL()), queue, messagesFrom(9, 1)...)
	got, _ = take(t, inD, 1)
	expectBodies(t, "who was waiting", got, "9")
	must(t, last.Nack(false, true)) // what was out when the consumer was cancelled
	got, _ = take(t, inD, 1)
	expectBodies(t, "who was waiting", got, "8*")
}

func TestConsumersOfHigherPriorityAreServedFirst(t *testing.T) {
	t.Parallel()
	b, log := ownBroker(t)
	start(t, b, log)
	const queue = "consumers"
	ch := channel(t, b.URL())
	_, err := ch.QueueDeclare(queue, true, false, false, false, nil)
	must(t, err)
	_, err = channel(t, b.URL()).Consume(queue, "", false, false, false, false, amqp.Table{"x-priority": "high"})
	expectRefusal(t, err, 406, `invalid arg 'x-priority' for queue 'consumers' in vhost '/': "expected integer, got longstr"`)

	low, high := channel(t, b.URL()), channel(t, b.URL())
	inLow := consumeWith(t, low, queue, "low", 5, amqp.Table{"x-priority": int8(-1)})
	inHigh := consumeWith(t, high, queue, "high", 2, amqp.Table{"x-priority": int64(10)})
	confirmed(t, ch, queue, messagesFrom(0, 4)...)
	got, _ := take(t, inHigh, 2)
	expectBodies(t, "the higher one", got, "0 1")
	got, _ = take(t, inLow, 2)
	expectBodies(t, "the lower one", got, "2 3")
	must(t, high.Ack(1, false))
	recorded(t, high)
	confirmed(t, ch, queue, messagesFrom(4, 2)...)
	got, _ = take(t, inHigh, 1)
	expectBodies(t, "the higher one", got, "4")
	got, _ = take(t, inLow, 1)
	expectBodies(t, "the lower one", got, "5")
	restartKilled(t, b, log)

	low, high = channel(t, b.URL()), channel(t, b.URL())
	inHigh = consumeWith(t, high, queue, "high", 3, amqp.Table{"x-priority": int32(1)})
	inLow = consumeWith(t, low, queue, "low", 5, nil)
	got, _ = take(t, inHigh, 3)
	expectBodies(t, "the higher one, after the restart,", strings.ReplaceAll(got, "*", ""), "1 2 3")
	got, _ = take(t, inLow, 2)
	expectBodies(t, "the lower one, after the restart,", strings.ReplaceAll(got, "*", ""), "4 5")
}
