package interop

import (
	"strconv"
	"testing"

	paho5 "github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"
)

// expiring is what is published with 1 s and with 60 s to live, in this order, and without an end.
var expiring = []struct {
	body    string
	seconds uint32
}{{"short", 1}, {"long", 60}, {"endless", 0}}

// TestTimeGoesOnAcrossAKill publishes messages that expire by both protocols, kills the broker, and asks the next one for them when the
// time of the short ones is over.
func TestTimeGoesOnAcrossAKill(t *testing.T) {
	t.Parallel()
	b, log := ownBroker(t)
	start(t, b, log)
	publishExpiring(t, b)
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	start(t, b, log)
	ch := channel(t, b.URL())
	awaitASecond(t, ch)

	for _, want := range expiring[1:] {
		d, ok, err := ch.Get("expiring", true)
		if err != nil || !ok || string(d.Body) != want.body || d.Expiration != expiration(want.seconds) {
			t.Fatalf("got %q, %t, %v with expiration %q; want %q with %q", d.Body, ok, err, d.Expiration, want.body, expiration(want.seconds))
		}
	}
	if d, ok, err := ch.Get("expiring", true); ok || err != nil {
		t.Errorf("got %q, %v from a queue that should be empty", d.Body, err)
	}

	s := connect5(t, b.MQTTURL(), "session", withSession)
	s.expectTimed(t)
	s.subscribe(t, paho5.SubscribeOptions{Topic: "retained/#", QoS: 1})
	s.expectTimed(t)
}

// publishExpiring puts the messages into a queue, into the session of a client that has gone, and among the retained ones.
func publishExpiring(t *testing.T, b *Broker) {
	t.Helper()
	ch := channel(t, b.URL())
	must(t, ch.Confirm(false))
	_, err := ch.QueueDeclare("expiring", true, false, false, false, nil)
	must(t, err)
	s := connect5(t, b.MQTTURL(), "session", withSession)
	s.subscribe(t, paho5.SubscribeOptions{Topic: "waiting", QoS: 1})
	must(t, s.Disconnect(&paho5.Disconnect{}))
	p := connect5(t, b.MQTTURL(), "publisher", nil)
	for _, m := range expiring {
		c, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "", "expiring", false, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent, Body: []byte(m.body), Expiration: expiration(m.seconds),
		})
		must(t, err)
		if ok, err := c.WaitContext(t.Context()); !ok || err != nil {
			t.Fatalf("%s is not confirmed: %v", m.body, err)
		}
		for topic, retain := range map[string]bool{"waiting": false, "retained/" + m.body: true} {
			props := &paho5.PublishProperties{}
			if m.seconds > 0 {
				props.MessageExpiry = &m.seconds
			}
			p.publish(t, &paho5.Publish{Topic: topic, QoS: 1, Retain: retain, Payload: []byte(m.body), Properties: props})
		}
	}
}

// awaitASecond returns when a message has expired that was published to live as long as the short ones, and after them.
func awaitASecond(t *testing.T, ch *amqp.Channel) {
	t.Helper()
	clock := queueOf(t, ch)
	must(t, ch.PublishWithContext(t.Context(), "", clock, false, false, amqp.Publishing{Expiration: expiration(1)}))
	if q, err := ch.QueueDeclarePassive(clock, false, false, true, false, nil); err != nil || q.Messages != 1 {
		t.Fatalf("%d messages wait, %v", q.Messages, err)
	}
	eventually(t, func() bool {
		q, err := ch.QueueDeclarePassive(clock, false, false, true, false, nil)
		return err == nil && q.Messages == 0
	})
}

// expectTimed receives the long message with what is left of its time, and the endless one.
func (c *mqtt5Client) expectTimed(t *testing.T) {
	t.Helper()
	long := c.expect(t, "long").Properties.MessageExpiry
	if long == nil || *long < 1 || *long > 59 {
		t.Errorf("the long message comes with the expiry %v, want less than 60 s", long)
	}
	if endless := c.expect(t, "endless").Properties.MessageExpiry; endless != nil {
		t.Errorf("the endless message comes with the expiry %d", *endless)
	}
}

// expiration is AMQP's word for a time to live; "" is none.
func expiration(seconds uint32) string {
	if seconds == 0 {
		return ""
	}
	return strconv.Itoa(int(seconds) * 1000)
}

// withSession asks for the session there was, and for it to outlive its connection by an hour.
func withSession(cp *paho5.Connect) {
	hour := uint32(3600)
	cp.CleanStart, cp.Properties = false, &paho5.ConnectProperties{SessionExpiryInterval: &hour}
}
