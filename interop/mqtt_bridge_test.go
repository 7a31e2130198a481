package interop

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"maps"
	mrand "math/rand/v2"
	"strings"
	"testing"

	paho5 "github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
)

const topicExchange = "amq.topic"

// crossing is a client on each side of amq.topic, below a prefix of its own.
type crossing struct {
	prefix string
	ch     *amqp.Channel
	fromQ  <-chan amqp.Delivery // what was published below the prefix, as AMQP sees it
	broker string               // for MQTT
}

func newCrossing(t *testing.T) *crossing {
	t.Helper()
	needOwnMQTT(t)
	c := &crossing{prefix: rand.Text(), ch: channel(t, sharedURL(t)), broker: sharedMQTT(t, "tcp")}
	q := queueOf(t, c.ch)
	must(t, c.ch.QueueBind(q, c.prefix+".#", topicExchange, false, nil))
	c.fromQ = consume(t, c.ch, q, true)
	return c
}

func (c *crossing) publish(t *testing.T, key string, p amqp.Publishing) {
	t.Helper()
	must(t, c.ch.PublishWithContext(t.Context(), topicExchange, c.prefix+"."+key, false, false, p))
}

func crossingBodies() map[string][]byte {
	mib := make([]byte, 1<<20)
	_, _ = mrand.NewChaCha8([32]byte{7}).Read(mib) // never fails
	return map[string][]byte{"0 B": {}, "1 B": {0}, "1 MiB": mib}
}

// topicKeys are topics and the routing keys that they are.
var topicKeys = []struct{ topic, key string }{
	{"a/b", "a.b"},
	{"v1.2/x", "v1/2.x"},
	{"1.2.3.4/5.6", "1/2/3/4.5/6"},
	{"/a//", ".a.."},
	{"//", ".."},
	{"", ""},
	{"a/*", "a.+"},
	{"a/b*", "a.b*"},
	{`a/\x23`, "a.#"},
	{`a/\x2a`, "a.*"},
	{`a/\x612b62`, "a.a+b"},
	{"größe/温度", "größe.温度"},
	{"a b/$c", "a b.$c"},
}

func TestBodiesCrossBothWays(t *testing.T) {
	t.Parallel()
	c := newCrossing(t)
	in := make(chan paho3.Message, 10)
	m3, _ := connect3(t, options3(c.broker, unique(t)+"3"))
	done3(t, "subscribe", m3.Subscribe(c.prefix+"/#", 2, func(_ paho3.Client, m paho3.Message) { in <- m }))
	m5 := connect5(t, c.broker, unique(t)+"5", nil)
	m5.subscribe(t, paho5.SubscribeOptions{Topic: c.prefix + "/#", QoS: 2})
	for name, body := range crossingBodies() {
		expect := func(from string) {
			t.Helper()
			if d := within(t, name+" from "+from, c.fromQ); !bytes.Equal(d.Body, body) {
				t.Errorf("%s from %s: AMQP got %d bytes that differ", name, from, len(d.Body))
			}
			if m := within(t, name+" from "+from, in); !bytes.Equal(m.Payload(), body) {
				t.Errorf("%s from %s: MQTT 3.1.1 got %d bytes that differ", name, from, len(m.Payload()))
			}
			if p := within(t, name+" from "+from, m5.in); !bytes.Equal(p.Payload, body) {
				t.Errorf("%s from %s: MQTT 5 got %d bytes that differ", name, from, len(p.Payload))
			}
		}
		done3(t, "publish", m3.Publish(c.prefix+"/x", 1, false, body))
		expect("MQTT 3.1.1")
		m5.publish(t, &paho5.Publish{Topic: c.prefix + "/x", QoS: 2, Payload: body})
		expect("MQTT 5")
		c.publish(t, "x", amqp.Publishing{Body: body})
		expect("AMQP")
	}
}

func TestTopicsCrossBothWays(t *testing.T) {
	t.Parallel()
	c := newCrossing(t)
	m := connect5(t, c.broker, unique(t), nil)
	m.subscribe(t, paho5.SubscribeOptions{Topic: c.prefix + "/#", QoS: 1})
	for _, tt := range topicKeys {
		topic, key := c.prefix+"/"+tt.topic, c.prefix+"."+tt.key
		m.publish(t, &paho5.Publish{Topic: topic, QoS: 1, Payload: []byte("m")})
		if d := within(t, "delivery of "+tt.topic, c.fromQ); d.RoutingKey != key {
			t.Errorf("topic %q is key %q, want %q", topic, d.RoutingKey, key)
		}
		if p := m.expect(t, "m"); p.Topic != topic {
			t.Errorf("topic %q came back as %q", topic, p.Topic)
		}
		c.publish(t, tt.key, amqp.Publishing{Body: []byte("q")})
		if p := m.expect(t, "q"); p.Topic != topic {
			t.Errorf("key %q is topic %q, want %q", key, p.Topic, topic)
		}
		if d := within(t, "delivery of "+tt.key, c.fromQ); d.RoutingKey != key {
			t.Errorf("key %q came back as %q", key, d.RoutingKey)
		}
	}
}

// Filters match levels as binding patterns match words.
func TestFiltersMatchWhatAMQPPublishes(t *testing.T) {
	t.Parallel()
	c := newCrossing(t)
	for _, tt := range []struct {
		filter string
		want   string // of the keys a, a.b, a.b.c, a..c, published in that order
	}{
		{"/#", "a a.b a.b.c a..c "},
		{"/+", "a "},
		{"/a/#", "a a.b a.b.c a..c "},
		{"/a/+", "a.b "},
		{"/a/+/c", "a.b.c a..c "},
		{"/+/b/#", "a.b a.b.c "},
	} {
		m, _ := connect3(t, options3(c.broker, unique(t)+tt.filter))
		in := subscribe3(t, m, c.prefix+tt.filter, 1)
		end := subscribe3(t, m, c.prefix+"end", 1)
		for _, key := range []string{"a", "a.b", "a.b.c", "a..c"} {
			c.publish(t, key, amqp.Publishing{Body: []byte(key), DeliveryMode: amqp.Persistent})
		}
		must(t, c.ch.PublishWithContext(t.Context(), topicExchange, c.prefix+"end", false, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent}))
		within(t, "the end", end)
		var got strings.Builder
		for len(in) > 0 {
			got.WriteString(string((<-in).Payload()) + " ")
		}
		if got.String() != tt.want {
			t.Errorf("filter %s: %q, want %q", tt.filter, got.String(), tt.want)
		}
		m.Disconnect(0)
	}
}

func TestMQTTPropertiesReachAMQP(t *testing.T) {
	t.Parallel()
	c := newCrossing(t)
	m := connect5(t, c.broker, unique(t), nil)
	for qos, want := range []struct {
		mode    uint8
		headers amqp.Table
	}{
		{amqp.Transient, amqp.Table{}},
		{amqp.Persistent, amqp.Table{}},
		{amqp.Persistent, amqp.Table{"x-mqtt-publish-qos": 2}},
	} {
		props := sampleProperties()
		props.User = paho5.UserProperties{{Key: "unit", Value: "°C"}, {Key: "n", Value: "1"}}
		m.publish(t, &paho5.Publish{Topic: c.prefix + "/p", QoS: byte(qos), Properties: props})
		d := within(t, "delivery", c.fromQ)
		if d.DeliveryMode != want.mode || d.ContentType != "text/plain" || d.CorrelationId != "correlation" || d.Expiration != "600000" {
			t.Errorf("QoS %d: mode %d, type %q, correlation %q, expiration %q", qos, d.DeliveryMode, d.ContentType, d.CorrelationId, d.Expiration)
		}
		maps.Copy(want.headers, amqp.Table{
			"unit": "°C", "n": "1", "x-reply-to-topic": "answers.v1/2.x", "x-mqtt-payload-format": 1,
		})
		if got := fmt.Sprint(d.Headers); got != fmt.Sprint(want.headers) {
			t.Errorf("QoS %d: headers %s, want %v", qos, got, want.headers)
		}
	}
	props := sampleProperties()
	props.CorrelationData = []byte{0xff, 0}
	m.publish(t, &paho5.Publish{Topic: c.prefix + "/p", QoS: 1, Properties: props})
	d := within(t, "delivery", c.fromQ)
	if got := fmt.Sprintf("%x", d.Headers["x-correlation-id"]); d.CorrelationId != "" || got != "ff00" {
		t.Errorf("binary correlation data: correlation_id %q, header %s", d.CorrelationId, got)
	}
}

func TestAMQPPropertiesReachMQTT(t *testing.T) {
	t.Parallel()
	c := newCrossing(t)
	m := connect5(t, c.broker, unique(t), nil)
	m.subscribe(t, paho5.SubscribeOptions{Topic: c.prefix + "/#", QoS: 2})
	for mode, qos := range map[uint8]byte{amqp.Transient: 0, amqp.Persistent: 1} {
		c.publish(t, "p", amqp.Publishing{
			DeliveryMode: mode, ContentType: "text/plain", CorrelationId: "c", Expiration: "5000",
			ReplyTo: "/exchanges/amq.topic/answers.v1%2F2.x",
			Headers: amqp.Table{"text": "°C", "number": int32(-7), "yes": true},
			Body:    []byte("body"),
		})
		p := m.expect(t, "body")
		if p.QoS != qos {
			t.Errorf("delivery mode %d is QoS %d, want %d", mode, p.QoS, qos)
		}
		pr := p.Properties
		if pr.ContentType != "text/plain" || string(pr.CorrelationData) != "c" || pr.ResponseTopic != "answers/v1.2/x" ||
			pr.MessageExpiry == nil || *pr.MessageExpiry != 5 {
			t.Errorf("properties %+v", pr)
		}
		if pr.User.Get("text") != "°C" || pr.User.Get("number") != "-7" || pr.User.Get("yes") != "true" || len(pr.User) != 3 {
			t.Errorf("user properties %v", pr.User)
		}
	}
}

// What AMQP takes from MQTT and publishes again reaches MQTT as it was.
func TestPropertiesComeBackThroughAMQP(t *testing.T) {
	t.Parallel()
	c := newCrossing(t)
	m := connect5(t, c.broker, unique(t), nil)
	sent := sampleProperties()
	sent.User = paho5.UserProperties{{Key: "k", Value: "v"}}
	m.publish(t, &paho5.Publish{Topic: c.prefix + "/there", QoS: 2, Payload: []byte("x"), Properties: sent})
	d := within(t, "delivery", c.fromQ)
	m.subscribe(t, paho5.SubscribeOptions{Topic: c.prefix + "/back", QoS: 2})
	c.publish(t, "back", amqp.Publishing{
		Headers: d.Headers, ContentType: d.ContentType, DeliveryMode: d.DeliveryMode, CorrelationId: d.CorrelationId,
		Expiration: d.Expiration, Body: d.Body,
	})
	p := m.expect(t, "x")
	if p.QoS != 2 {
		t.Errorf("QoS %d, want 2", p.QoS)
	}
	expectProperties(t, p.Properties, sent)
}

func TestAMQPSetsAndRemovesRetainedMessages(t *testing.T) {
	t.Parallel()
	c := newCrossing(t)
	must(t, c.ch.Confirm(false))
	confirms := c.ch.NotifyPublish(make(chan amqp.Confirmation, 1))
	retain := func(body string) {
		c.publish(t, "kept", amqp.Publishing{
			Headers: amqp.Table{"x-mqtt-retain": true}, DeliveryMode: amqp.Persistent, ContentType: "text/plain", Body: []byte(body),
		})
		if confirm := within(t, "confirm", confirms); !confirm.Ack {
			t.Fatal("the publish was refused")
		}
	}
	retain("kept")
	m := connect5(t, c.broker, unique(t), nil)
	filter := paho5.SubscribeOptions{Topic: c.prefix + "/kept", QoS: 1}
	m.subscribe(t, filter)
	if p := m.expect(t, "kept"); !p.Retain || p.Properties.ContentType != "text/plain" || len(p.Properties.User) != 0 {
		t.Errorf("retain %v, properties %+v", p.Retain, p.Properties)
	}
	retain("")
	m.expect(t, "")
	m.subscribe(t, filter)
	c.publish(t, "kept", amqp.Publishing{Body: []byte("nothing was retained")})
	m.expect(t, "nothing was retained")
}
