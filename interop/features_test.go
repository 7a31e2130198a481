package interop

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// queueOf declares a server-named exclusive queue, which ends with its connection.
func queueOf(t *testing.T, ch *amqp.Channel) string {
	t.Helper()
	q, err := ch.QueueDeclare("", false, false, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return q.Name
}

func publish(t *testing.T, ch *amqp.Channel, exchange, key, body string) {
	t.Helper()
	if err := ch.Publish(exchange, key, false, false, amqp.Publishing{Body: []byte(body)}); err != nil {
		t.Fatal(err)
	}
}

// get takes a message that must be there. Publishes on the same channel come first.
func get(t *testing.T, ch *amqp.Channel, queue string) amqp.Delivery {
	t.Helper()
	d, ok, err := ch.Get(queue, false)
	if err != nil || !ok {
		t.Fatalf("get from %s: a message: %v, %v", queue, ok, err)
	}
	return d
}

// bodies empties a queue.
func bodies(t *testing.T, ch *amqp.Channel, queue string) string {
	t.Helper()
	var all []string
	for {
		d, ok, err := ch.Get(queue, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return strings.Join(all, " ")
		}
		all = append(all, string(d.Body))
	}
}

func consume(t *testing.T, ch *amqp.Channel, queue string, autoAck bool) <-chan amqp.Delivery {
	t.Helper()
	in, err := ch.Consume(queue, "", autoAck, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// expectRefusal checks the error of a call against the protocol's code and text.
func expectRefusal(t *testing.T, err error, code int, texts ...string) {
	t.Helper()
	e, ok := errors.AsType[*amqp.Error](err)
	if !ok || e.Code != code || !e.Server {
		t.Errorf("error %v, want the broker's %d", err, code)
		return
	}
	for _, text := range texts {
		if !strings.Contains(e.Reason, text) {
			t.Errorf("%q does not say %q", e.Reason, text)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMessagesArriveWholeAndInOrder(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	q := queueOf(t, ch)
	in := consume(t, ch, q, true)
	must(t, ch.Confirm(false))
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, 100))
	for i := range 100 {
		publish(t, ch, "", q, fmt.Sprint(i))
	}
	for i := range 100 {
		if c := within(t, "confirm", confirms); !c.Ack || c.DeliveryTag != uint64(i+1) {
			t.Fatalf("confirm %+v, want an ack of %d", c, i+1)
		}
		d := within(t, "delivery", in)
		if string(d.Body) != fmt.Sprint(i) || d.Redelivered || d.RoutingKey != q || d.Exchange != "" || d.DeliveryTag != uint64(i+1) {
			t.Fatalf("delivery %d: body %q, tag %d, redelivered %v, exchange %q, key %q", i, d.Body, d.DeliveryTag, d.Redelivered, d.Exchange, d.RoutingKey)
		}
	}
}

func TestPropertiesArriveAsTheyWereSent(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	q := queueOf(t, ch)
	sent := amqp.Publishing{
		ContentType: "text/plain", ContentEncoding: "utf-8", DeliveryMode: 2, Priority: 3,
		CorrelationId: "c", ReplyTo: "r", Expiration: "60000", MessageId: "m", Type: "t", UserId: "guest", AppId: "a",
		Headers: amqp.Table{
			"string": "s", "bool": true, "int32": int32(-1), "int64": int64(1) << 40, "double": 1.5,
			"table": amqp.Table{"nested": "n"}, "array": []any{"x", int32(2)}, "void": nil, "bytes": []byte{0, 1},
		},
		Body: []byte("b"),
	}
	must(t, ch.Publish("", q, false, false, sent))
	d := get(t, ch, q)
	got := amqp.Publishing{
		ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: d.DeliveryMode, Priority: d.Priority,
		CorrelationId: d.CorrelationId, ReplyTo: d.ReplyTo, Expiration: d.Expiration, MessageId: d.MessageId, Type: d.Type,
		UserId: d.UserId, AppId: d.AppId, Headers: d.Headers, Body: d.Body,
	}
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", sent); g != w {
		t.Errorf("got\n%s\nsent\n%s", g, w)
	}
}

func TestABodyOverManyFrames(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	q := queueOf(t, ch)
	body := strings.Repeat("0123456789abcdef", 3<<20/16)
	publish(t, ch, "", q, body)
	if d := get(t, ch, q); string(d.Body) != body {
		t.Errorf("a body of %d bytes arrived with %d", len(body), len(d.Body))
	}
}

func TestAnEmptyBody(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	q := queueOf(t, ch)
	publish(t, ch, "", q, "")
	publish(t, ch, "", q, "next")
	if d := get(t, ch, q); len(d.Body) != 0 || d.MessageCount != 1 {
		t.Errorf("body %q, %d left; want none and 1", d.Body, d.MessageCount)
	}
}

func TestDeclareTellsHowMuchAQueueHolds(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	q := queueOf(t, ch)
	publish(t, ch, "", q, "a")
	publish(t, ch, "", q, "b")
	get(t, ch, q) // unacknowledged: no longer counted
	state, err := ch.QueueDeclarePassive(q, false, false, true, false, nil)
	if err != nil || state.Messages != 1 || state.Consumers != 0 {
		t.Errorf("%+v, %v; want 1 message and 0 consumers", state, err)
	}
	consume(t, ch, q, true)
	state, err = ch.QueueDeclarePassive(q, false, false, true, false, nil)
	if err != nil || state.Consumers != 1 {
		t.Errorf("%+v, %v; want 1 consumer", state, err)
	}
}

func TestAServerNamedQueueHasAReservedName(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	a, b := queueOf(t, ch), queueOf(t, ch)
	if a == b || !strings.HasPrefix(a, "amq.gen-") {
		t.Errorf("names %q and %q, want two that begin with amq.gen-", a, b)
	}
}

func TestPurgeLeavesUnacknowledgedMessages(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	q := queueOf(t, ch)
	for _, m := range []string{"a", "b", "c"} {
		publish(t, ch, "", q, m)
	}
	d := get(t, ch, q)
	if n, err := ch.QueuePurge(q, false); err != nil || n != 2 {
		t.Errorf("purged %d, %v; want 2", n, err)
	}
	must(t, d.Nack(false, true))
	if got := bodies(t, ch, q); got != "a" {
		t.Errorf("left %q, want the one that was unacknowledged", got)
	}
}

func TestDeleteTellsHowManyMessagesWent(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	q := queueOf(t, ch)
	publish(t, ch, "", q, "a")
	publish(t, ch, "", q, "b")
	if n, err := ch.QueueDelete(q, false, false, false); err != nil || n != 2 {
		t.Errorf("deleted %d, %v; want 2", n, err)
	}
	_, err := ch.QueueDeclarePassive(q, false, false, true, false, nil)
	expectRefusal(t, err, amqp.NotFound, "no queue '"+q+"' in vhost '/'")
}

func TestMandatoryWithoutARouteIsReturned(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	returns := ch.NotifyReturn(make(chan amqp.Return, 2))
	q, key := queueOf(t, ch), unique(t)
	must(t, ch.Publish("amq.direct", key, true, false, amqp.Publishing{ContentType: "x/y", Body: []byte("back")}))
	r := within(t, "return", returns)
	if r.ReplyCode != amqp.NoRoute || r.ReplyText != "NO_ROUTE" || r.Exchange != "amq.direct" || r.RoutingKey != key ||
		string(r.Body) != "back" || r.ContentType != "x/y" {
		t.Errorf("%+v", r)
	}
	must(t, ch.Publish("", q, true, false, amqp.Publishing{Body: []byte("routed")}))
	if got := bodies(t, ch, q); got != "routed" || len(returns) != 0 {
		t.Errorf("queue %q, %d returns", got, len(returns))
	}
}

func TestReturnComesBeforeItsConfirm(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	must(t, ch.Confirm(false))
	// Unbuffered: whichever comes first blocks the other until it is taken.
	order := make(chan string, 2)
	returns, confirms := ch.NotifyReturn(make(chan amqp.Return)), ch.NotifyPublish(make(chan amqp.Confirmation))
	key := unique(t)
	go func() {
		for range 2 {
			select {
			case <-returns:
				order <- "return"
			case c := <-confirms:
				order <- fmt.Sprintf("ack %v", c.Ack)
			}
		}
	}()
	must(t, ch.Publish("amq.direct", key, true, false, amqp.Publishing{}))
	if a, b := within(t, "first", order), within(t, "second", order); a != "return" || b != "ack true" {
		t.Errorf("%s, then %s", a, b)
	}
}

func TestGetOnAnEmptyQueue(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	if _, ok, err := ch.Get(queueOf(t, ch), false); ok || err != nil {
		t.Errorf("a message: %v, %v; want none", ok, err)
	}
}

// settled waits until the broker has handled what was sent on ch before.
func settled(t *testing.T, ch *amqp.Channel) {
	t.Helper()
	must(t, ch.ExchangeDeclarePassive("amq.direct", "direct", true, false, false, false, nil))
}

func TestPrefetchBoundsWhatIsUnacknowledged(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	q := queueOf(t, ch)
	for i := range 10 {
		publish(t, ch, "", q, fmt.Sprint(i))
	}
	must(t, ch.Qos(3, 0, false))
	in := consume(t, ch, q, false)
	var last amqp.Delivery
	for range 3 {
		last = within(t, "delivery", in)
	}
	expectReady := func(want int) {
		t.Helper()
		if state, err := ch.QueueDeclarePassive(q, false, false, true, false, nil); err != nil || state.Messages != want {
			t.Errorf("%d messages are ready, %v; want %d", state.Messages, err, want)
		}
	}
	expectReady(7)
	must(t, last.Ack(true))
	for i := range 3 {
		if d := within(t, "delivery", in); string(d.Body) != fmt.Sprint(3+i) {
			t.Errorf("body %q, want %d", d.Body, 3+i)
		}
	}
	expectReady(4)
}

func TestNackRequeuesToTheOriginalPosition(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	q := queueOf(t, ch)
	for _, m := range []string{"a", "b", "c", "d"} {
		publish(t, ch, "", q, m)
	}
	get(t, ch, q)
	second := get(t, ch, q)
	must(t, second.Nack(true, true)) // a and b
	for _, want := range []string{"a true", "b true", "c false", "d false"} {
		d := get(t, ch, q)
		if got := fmt.Sprint(string(d.Body), " ", d.Redelivered); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestRejectWithoutRequeueDrops(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	q := queueOf(t, ch)
	publish(t, ch, "", q, "dropped")
	publish(t, ch, "", q, "kept")
	must(t, get(t, ch, q).Reject(false))
	must(t, get(t, ch, q).Reject(true))
	if d := get(t, ch, q); string(d.Body) != "kept" || !d.Redelivered {
		t.Errorf("body %q, redelivered %v", d.Body, d.Redelivered)
	}
}

func TestClosingAChannelReturnsItsMessagesMarked(t *testing.T) {
	t.Parallel()
	conn := dial(t, sharedURL(t))
	first, second := openChannel(t, conn), openChannel(t, conn)
	q := queueOf(t, first)
	publish(t, first, "", q, "m")
	if d := get(t, first, q); d.Redelivered {
		t.Error("redelivered at first")
	}
	must(t, first.Close())
	if d := get(t, second, q); string(d.Body) != "m" || !d.Redelivered {
		t.Errorf("body %q, redelivered %v", d.Body, d.Redelivered)
	}
}

func TestTwoConsumersShare(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	q := queueOf(t, ch)
	must(t, ch.Qos(1, 0, false))
	a, b := consume(t, ch, q, false), consume(t, ch, q, false)
	for i := range 2 {
		publish(t, ch, "", q, fmt.Sprint(i))
	}
	// One each, because neither acknowledges.
	da, db := within(t, "first consumer", a), within(t, "second consumer", b)
	if string(da.Body) == string(db.Body) {
		t.Errorf("both got %q", da.Body)
	}
}

func TestCancelStopsDeliveries(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	q := queueOf(t, ch)
	in, err := ch.Consume(q, "tag", true, false, false, false, nil)
	must(t, err)
	must(t, ch.Cancel("tag", false))
	publish(t, ch, "", q, "m")
	if got := bodies(t, ch, q); got != "m" {
		t.Errorf("the queue holds %q", got)
	}
	if d, open := <-in; open {
		t.Errorf("delivery %q after cancel-ok", d.Body)
	}
}

func TestDeletingAQueueCancelsItsConsumer(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	q := queueOf(t, ch)
	cancels := ch.NotifyCancel(make(chan string, 1))
	_, err := ch.Consume(q, "tag", true, false, false, false, nil)
	must(t, err)
	_, err = ch.QueueDelete(q, false, false, false)
	must(t, err)
	if tag := within(t, "basic.cancel", cancels); tag != "tag" {
		t.Errorf("cancelled %q", tag)
	}
}

func TestAutoDeleteQueueGoesWithItsLastConsumer(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	q := unique(t)
	_, err := ch.QueueDeclare(q, false, true, false, false, nil)
	must(t, err)
	publish(t, ch, "", q, "m")
	for _, tag := range []string{"one", "two"} {
		_, err := ch.Consume(q, tag, true, false, false, false, nil)
		must(t, err)
	}
	must(t, ch.Cancel("one", false))
	_, err = ch.QueueDeclarePassive(q, false, true, false, false, nil)
	must(t, err)
	must(t, ch.Cancel("two", false))
	_, err = ch.QueueDeclarePassive(q, false, true, false, false, nil)
	expectRefusal(t, err, amqp.NotFound)
}

func TestSilentSuccesses(t *testing.T) {
	t.Parallel()
	ch := channel(t, sharedURL(t))
	if n, err := ch.QueueDelete(unique(t), false, false, false); err != nil || n != 0 {
		t.Errorf("delete a queue that is not there: %d, %v", n, err)
	}
	must(t, ch.ExchangeDelete(unique(t), false, false))
	must(t, ch.QueueUnbind(queueOf(t, ch), "no-such-key", "amq.direct", nil))
	must(t, ch.Cancel("no-such-tag", false))
}
