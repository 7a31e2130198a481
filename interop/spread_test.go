package interop

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

const spreadMessages = 600

// publishSpread publishes messages 0 to n-1 under as many keys, and with as many ids in a header.
func publishSpread(t *testing.T, ch *amqp.Channel, exchange string) {
	t.Helper()
	for i := range spreadMessages {
		m := amqp.Publishing{Body: fmt.Append(nil, i), Headers: amqp.Table{"id": fmt.Sprint("id-", i)}}
		must(t, ch.Publish(exchange, fmt.Sprint("key-", i), true, false, m))
	}
}

// drained takes all messages out of queues, and returns the index of the queue that had each; every message is in one of them.
func drained(t *testing.T, ch *amqp.Channel, queues ...string) (where map[string]int, counts []int) {
	t.Helper()
	where, counts = map[string]int{}, make([]int, len(queues))
	for i, q := range queues {
		for body := range strings.FieldsSeq(bodies(t, ch, q)) {
			if other, twice := where[body]; twice {
				t.Errorf("message %s is in queue %d and in queue %d", body, other, i)
			}
			where[body] = i
			counts[i]++
		}
	}
	if len(where) != spreadMessages {
		t.Fatalf("%d of %d messages are in the queues: %v", len(where), spreadMessages, counts)
	}
	return where, counts
}

// wantNear checks a count against what is expected of it, with five times the standard deviation of a fair draw and more.
func wantNear(t *testing.T, what string, got, want int) {
	t.Helper()
	if got < want-60 || got > want+60 {
		t.Errorf("%s: %d messages, want about %d", what, got, want)
	}
}

// wantReturned checks that a mandatory message comes back, as nothing is bound.
func wantReturned(t *testing.T, ch *amqp.Channel, exchange string) {
	t.Helper()
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	must(t, ch.Publish(exchange, "key", true, false, amqp.Publishing{}))
	if r := within(t, "a return", returns); r.ReplyCode != amqp.NoRoute || r.Exchange != exchange {
		t.Errorf("%+v", r)
	}
}

// A consistent hash gives each queue its share by weight, and each key always the same queue. A queue that comes takes its share from the
// others, which keep what is left; when it goes all is as before.
func TestConsistentHashExchange(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		args amqp.Table
	}{
		{"by routing key", nil},
		{"by header", amqp.Table{"hash-header": "id"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ch := channel(t, sharedURL(t))
			x := unique(t)
			must(t, ch.ExchangeDeclare(x, "x-consistent-hash", false, false, false, false, tt.args))
			defer func() { must(t, ch.ExchangeDelete(x, false, false)) }()
			a, b, c := queueOf(t, ch), queueOf(t, ch), queueOf(t, ch)
			must(t, ch.QueueBind(a, "1", x, false, nil))
			must(t, ch.QueueBind(b, "3", x, false, nil))
			publishSpread(t, ch, x)
			before, counts := drained(t, ch, a, b)
			wantNear(t, "weight 1 of 4", counts[0], spreadMessages/4)

			publishSpread(t, ch, x)
			if again, _ := drained(t, ch, a, b); fmt.Sprint(again) != fmt.Sprint(before) {
				t.Error("the same keys go to other queues")
			}

			must(t, ch.QueueBind(c, "4", x, false, nil))
			publishSpread(t, ch, x)
			between, counts := drained(t, ch, a, b, c)
			wantNear(t, "weight 4 of 8", counts[2], spreadMessages/2)
			for body, q := range between {
				if q != 2 && q != before[body] {
					t.Errorf("message %s went from queue %d to queue %d when a third one came", body, before[body], q)
				}
			}

			must(t, ch.QueueUnbind(c, "4", x, nil))
			publishSpread(t, ch, x)
			if after, _ := drained(t, ch, a, b); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Error("when the third queue has gone the keys are spread otherwise than before it came")
			}
			must(t, ch.QueueUnbind(a, "1", x, nil))
			must(t, ch.QueueUnbind(b, "3", x, nil))
			wantReturned(t, ch, x)
		})
	}
}

// A key that is no weight is refused, as by RabbitMQ's plugin.
func TestConsistentHashExchange_WantsAWeight(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	x := unique(t)
	must(t, ch.ExchangeDeclare(x, "x-consistent-hash", false, true, false, false, nil))
	err := ch.QueueBind(queueOf(t, ch), "heavy", x, false, nil)
	if e, ok := errors.AsType[*amqp.Error](err); !ok || e.Code != amqp.PreconditionFailed {
		t.Errorf("bound with the key heavy: %v", err)
	}
}

// A random exchange gives each message to one of its queues, as often to each, whatever the keys.
func TestRandomExchange(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	x := unique(t)
	must(t, ch.ExchangeDeclare(x, "x-random", false, false, false, false, nil))
	defer func() { must(t, ch.ExchangeDelete(x, false, false)) }()
	queues := []string{queueOf(t, ch), queueOf(t, ch), queueOf(t, ch)}
	for i, q := range queues {
		must(t, ch.QueueBind(q, fmt.Sprint("ignored-", i), x, false, nil))
	}
	must(t, ch.QueueBind(queues[0], "twice", x, false, nil)) // which is one destination all the same
	publishSpread(t, ch, x)
	first, counts := drained(t, ch, queues...)
	for i, n := range counts {
		wantNear(t, fmt.Sprint("queue ", i, " of 3"), n, spreadMessages/3)
	}
	publishSpread(t, ch, x)
	if second, _ := drained(t, ch, queues...); fmt.Sprint(second) == fmt.Sprint(first) {
		t.Error("the same keys went the same ways")
	}

	must(t, ch.QueueUnbind(queues[1], "ignored-1", x, nil))
	publishSpread(t, ch, x)
	_, counts = drained(t, ch, queues[0], queues[2])
	wantNear(t, "one of two", counts[0], spreadMessages/2)

	must(t, ch.QueueUnbind(queues[0], "ignored-0", x, nil))
	must(t, ch.QueueUnbind(queues[0], "twice", x, nil))
	must(t, ch.QueueUnbind(queues[2], "ignored-2", x, nil))
	wantReturned(t, ch, x)
}
