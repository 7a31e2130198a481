package interop

import (
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// bind declares an exchange that ends with its last binding and binds a new queue.
func bind(t *testing.T, ch *amqp.Channel, exchange, kind, key string, args amqp.Table) string {
	t.Helper()
	must(t, ch.ExchangeDeclare(exchange, kind, false, true, false, false, nil))
	q := queueOf(t, ch)
	must(t, ch.QueueBind(q, key, exchange, false, args))
	return q
}

func TestDirectExchange(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	x := unique(t)
	a, b := bind(t, ch, x, "direct", "a", nil), bind(t, ch, x, "direct", "b", nil)
	must(t, ch.QueueBind(b, "a", x, false, nil))
	publish(t, ch, x, "a", "both")
	publish(t, ch, x, "b", "one")
	publish(t, ch, x, "c", "none")
	if got := bodies(t, ch, a) + "|" + bodies(t, ch, b); got != "both|both one" {
		t.Errorf("%q", got)
	}
}

func TestFanoutExchange(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	x := unique(t)
	a, b := bind(t, ch, x, "fanout", "ignored", nil), bind(t, ch, x, "fanout", "", nil)
	publish(t, ch, x, "any", "m")
	if got := bodies(t, ch, a) + "|" + bodies(t, ch, b); got != "m|m" {
		t.Errorf("%q", got)
	}
}

func TestTopicExchange(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	x := unique(t)
	for _, tt := range []struct{ pattern, want string }{
		{"#", "a a.b a.b.c b..c "},
		{"*", "a "},
		{"a.*", "a.b"},
		{"a.#", "a a.b a.b.c"},
		{"#.c", "a.b.c b..c"},
		{"*.*.c", "a.b.c b..c"},
		{"a.#.c", "a.b.c"},
		{"*.#", "a a.b a.b.c b..c "},
		{"a.b", "a.b"},
		{"b.*.c", "b..c"},
		{"", ""},
	} {
		q := bind(t, ch, x, "topic", tt.pattern, nil)
		for _, key := range []string{"a", "a.b", "a.b.c", "b..c"} {
			publish(t, ch, x, key, key)
		}
		if got := bodies(t, ch, q); got != strings.TrimSpace(tt.want) {
			t.Errorf("pattern %q matched %q, want %q", tt.pattern, got, tt.want)
		}
	}
}

func TestHeadersExchange(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	x := unique(t)
	for _, tt := range []struct {
		args amqp.Table
		want string
	}{
		{amqp.Table{"x-match": "all", "k": "1", "l": "2"}, "both"},
		{amqp.Table{"x-match": "any", "k": "1", "l": "2"}, "both k"},
		{amqp.Table{"k": "1"}, "both k"},
		{amqp.Table{"x-match": "all", "k": nil}, "both k other"},
		{amqp.Table{"x-match": "all"}, "both k other none"},
	} {
		q := bind(t, ch, x, "headers", "ignored", tt.args)
		for _, m := range []struct {
			body    string
			headers amqp.Table
		}{
			{"both", amqp.Table{"k": "1", "l": "2"}},
			{"k", amqp.Table{"k": "1"}},
			{"other", amqp.Table{"k": "x"}},
			{"none", nil},
		} {
			must(t, ch.Publish(x, "", false, false, amqp.Publishing{Headers: m.headers, Body: []byte(m.body)}))
		}
		if got := bodies(t, ch, q); got != tt.want {
			t.Errorf("%v matched %q, want %q", tt.args, got, tt.want)
		}
	}
}

func TestPredeclaredExchanges(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	for x, kind := range map[string]string{
		"amq.direct": "direct", "amq.fanout": "fanout", "amq.topic": "topic", "amq.headers": "headers", "amq.match": "headers",
	} {
		if err := ch.ExchangeDeclarePassive(x, kind, true, false, false, false, nil); err != nil {
			t.Fatalf("%s: %v", x, err)
		}
	}
	q, key := queueOf(t, ch), unique(t)
	must(t, ch.QueueBind(q, key, "amq.topic", false, nil))
	publish(t, ch, "amq.topic", key, "m")
	if got := bodies(t, ch, q); got != "m" {
		t.Errorf("through amq.topic: %q", got)
	}
}

func TestABindingBoundTwiceDeliversOnce(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	x := unique(t)
	q := bind(t, ch, x, "topic", "a.b", nil)
	must(t, ch.QueueBind(q, "a.b", x, false, nil))
	must(t, ch.QueueBind(q, "a.*", x, false, nil))
	publish(t, ch, x, "a.b", "once")
	if got := bodies(t, ch, q); got != "once" {
		t.Errorf("%q", got)
	}
}

func TestUnbind(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	q, key := queueOf(t, ch), unique(t)
	must(t, ch.QueueBind(q, key, "amq.direct", false, nil))
	publish(t, ch, "amq.direct", key, "before")
	must(t, ch.QueueUnbind(q, key, "amq.direct", nil))
	publish(t, ch, "amq.direct", key, "after")
	if got := bodies(t, ch, q); got != "before" {
		t.Errorf("%q", got)
	}
}
