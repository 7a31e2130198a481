package interop

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	paho5 "github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
)

// mqttFeatures is what a client of each version finds, however it has connected.
var mqttFeatures = []struct {
	version, name string
	show          func(t *testing.T, broker string)
}{
	{"3.1.1", "each QoS", eachQoS3},
	{"3.1.1", "session", sessionStays3},
	{"3.1.1", "retained", retained3},
	{"3.1.1", "shared subscription", shared3},
	{"3.1.1", "large payload", large3},
	{"5.0", "each QoS and property", eachQoS5},
	{"5.0", "session", sessionStays5},
	{"5.0", "retained", retained5},
	{"5.0", "shared subscription", shared5},
	{"5.0", "subscription options", options5},
	{"5.0", "large payload", large5},
	{"5.0", "keep alive", keepAlive5},
	{"both", "will", will},
	{"both", "takeover", takeover},
	{"both", "credentials", credentials},
}

// TestMQTTFeatures: what MQTT offers is the same over each transport. Its rows show
// [MQTT-3.1.2-22], [MQTT-3.1.4-3], [MQTT-3.3.1-6], [MQTT-3.3.1-12] and [MQTT-3.3.1-13].
func TestMQTTFeatures(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"tcp", "tls", "ws", "wss"} {
		for _, f := range mqttFeatures {
			t.Run(transport+"/"+f.version+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				f.show(t, sharedMQTT(t, transport))
			})
		}
	}
}

func retained3(t *testing.T, broker string) {
	t.Helper()
	topic := unique(t)
	c, _ := connect3(t, options3(broker, topic))
	for _, name := range []string{"a", "b"} {
		done3(t, "publish", c.Publish(topic+"/"+name, 1, true, name))
	}
	in := subscribe3(t, c, topic+"/+", 2) // a filter with a wildcard finds them too
	for _, name := range []string{"a", "b"} {
		if m := expect3(t, in, name); m.Topic() != topic+"/"+name || m.Qos() != 1 || !m.Retained() {
			t.Errorf("%s came on %s with QoS %d, retained %v", name, m.Topic(), m.Qos(), m.Retained())
		}
	}
	for _, name := range []string{"a", "b"} {
		done3(t, "publish", c.Publish(topic+"/"+name, 1, true, "")) // removes it
		if expect3(t, in, "").Retained() {
			t.Errorf("%s: RETAIN on a live message", name)
		}
	}
	done3(t, "unsubscribe", c.Unsubscribe(topic+"/+"))
	in = subscribe3(t, c, topic+"/+", 1)
	done3(t, "publish", c.Publish(topic+"/a", 1, false, "nothing was retained"))
	expect3(t, in, "nothing was retained")
}

// sharedMessages is how many of them a group of two gets.
const sharedMessages = 20

// shared3: each message goes to one of those that share a subscription, and to who has
// one of its own.
func shared3(t *testing.T, broker string) {
	t.Helper()
	topic := unique(t)
	group := make(chan string, 2*sharedMessages)
	for i := range 2 {
		c, _ := connect3(t, options3(broker, fmt.Sprint(topic, i)))
		done3(t, "subscribe", c.Subscribe("$share/group/"+topic, 1, func(_ paho3.Client, m paho3.Message) { group <- string(m.Payload()) }))
	}
	c, _ := connect3(t, options3(broker, topic+"alone"))
	alone := subscribe3(t, c, topic, 1)
	for i := range sharedMessages {
		done3(t, "publish", c.Publish(topic, 1, false, fmt.Sprint(i)))
		expect3(t, alone, fmt.Sprint(i))
	}
	expectEachOnce(t, group)
}

func shared5(t *testing.T, broker string) {
	t.Helper()
	topic := unique(t)
	a, b, alone := connect5(t, broker, topic+"a", nil), connect5(t, broker, topic+"b", nil), connect5(t, broker, topic, nil)
	for _, c := range []*mqtt5Client{a, b} {
		c.subscribe(t, paho5.SubscribeOptions{Topic: "$share/group/" + topic, QoS: 2})
	}
	alone.subscribe(t, paho5.SubscribeOptions{Topic: topic, QoS: 2})
	for i := range sharedMessages {
		alone.publish(t, &paho5.Publish{Topic: topic, QoS: 2, Payload: fmt.Append(nil, i)})
		alone.expect(t, fmt.Sprint(i))
	}
	expectEachOnce(t, eitherOf(t, a, b))
}

// eitherOf is what two clients get.
func eitherOf(t *testing.T, a, b *mqtt5Client) <-chan string {
	t.Helper()
	both := make(chan string, 2*sharedMessages)
	for _, c := range []*mqtt5Client{a, b} {
		go func() { // ends with the test
			for {
				select {
				case p := <-c.in:
					both <- string(p.Payload)
				case <-t.Context().Done():
					return
				}
			}
		}()
	}
	return both
}

// expectEachOnce expects the shared messages in whatever order members have them.
func expectEachOnce(t *testing.T, group <-chan string) {
	t.Helper()
	var got, want []string
	for i := range sharedMessages {
		want = append(want, fmt.Sprint(i))
		got = append(got, within(t, "a shared message", group))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("those who share got %q, want each once", got)
	}
}

// largePayload is many frames of WebSocket, records of TLS and pieces of the broker.
func largePayload() []byte {
	payload := make([]byte, 3<<20+1)
	for i := range payload {
		payload[i] = byte(i * 31 >> 3)
	}
	return payload
}

func large3(t *testing.T, broker string) {
	t.Helper()
	topic := unique(t)
	c, _ := connect3(t, options3(broker, topic))
	in := subscribe3(t, c, topic, 2)
	for qos := range byte(3) {
		done3(t, "publish", c.Publish(topic, qos, false, largePayload()))
		if m := within(t, "a large message", in); !bytes.Equal(m.Payload(), largePayload()) {
			t.Errorf("QoS %d: %d bytes came, and other ones", qos, len(m.Payload()))
		}
	}
}

func large5(t *testing.T, broker string) {
	t.Helper()
	topic := unique(t)
	c := connect5(t, broker, topic, nil)
	c.subscribe(t, paho5.SubscribeOptions{Topic: topic, QoS: 2})
	for qos := range byte(3) {
		c.publish(t, &paho5.Publish{Topic: topic, QoS: qos, Payload: largePayload()})
		if p := within(t, "a large message", c.in); !bytes.Equal(p.Payload, largePayload()) {
			t.Errorf("QoS %d: %d bytes came, and other ones", qos, len(p.Payload))
		}
	}
}

// staying asks for a session that outlives its connection by so many seconds.
func staying(seconds uint32) func(*paho5.Connect) {
	return func(cp *paho5.Connect) {
		cp.CleanStart, cp.Properties = false, &paho5.ConnectProperties{SessionExpiryInterval: &seconds}
	}
}

// leave ends the connection and keeps the session.
func (c *mqtt5Client) leave(t *testing.T) {
	t.Helper()
	must(t, c.Disconnect(&paho5.Disconnect{}))
	<-c.Done()
}

func sessionStays5(t *testing.T, broker string) {
	t.Helper()
	topic := unique(t)
	c := connect5(t, broker, topic, staying(3600))
	if c.ack.SessionPresent {
		t.Error("a session was present before the first connection")
	}
	c.subscribe(t, paho5.SubscribeOptions{Topic: topic, QoS: 2})
	c.leave(t)
	pub := connect5(t, broker, topic+"p", nil)
	for qos := range byte(2) {
		pub.publish(t, &paho5.Publish{Topic: topic, QoS: qos + 1, Payload: fmt.Append(nil, qos+1)})
	}
	if c = connect5(t, broker, topic, staying(0)); !c.ack.SessionPresent {
		t.Error("the session is gone")
	}
	c.expect(t, "1")
	c.expect(t, "2")
	c.leave(t)
	if c = connect5(t, broker, topic, staying(0)); c.ack.SessionPresent {
		t.Error("a session that ends with its connection is there")
	}
}

// options5: No Local keeps a client's own messages from it, Retain As Published keeps
// RETAIN, and a message names its subscriptions.
func options5(t *testing.T, broker string) {
	t.Helper()
	topic := unique(t)
	c, other := connect5(t, broker, topic, nil), connect5(t, broker, topic+"o", nil)
	subscribeWithOptions(t, c, topic)
	expectOptions(t, c, other, topic)
}

func subscribeWithOptions(t *testing.T, c *mqtt5Client, topic string) {
	t.Helper()
	id := 7
	_, err := c.Subscribe(t.Context(), &paho5.Subscribe{
		Properties:    &paho5.SubscribeProperties{SubscriptionIdentifier: &id},
		Subscriptions: []paho5.SubscribeOptions{{Topic: topic, QoS: 1, NoLocal: true, RetainAsPublished: true}},
	})
	must(t, err)
}

func expectOptions(t *testing.T, c, other *mqtt5Client, topic string) {
	t.Helper()
	c.publish(t, &paho5.Publish{Topic: topic, QoS: 1, Payload: []byte("own")})
	other.publish(t, &paho5.Publish{Topic: topic, QoS: 1, Retain: true, Payload: []byte("other's")})
	p := c.expect(t, "other's")
	if !p.Retain {
		t.Error("RETAIN is not as published")
	}
	if id := p.Properties.SubscriptionIdentifier; id == nil || *id != 7 {
		t.Errorf("subscription identifier %v, want 7", id)
	}
	other.publish(t, &paho5.Publish{Topic: topic, QoS: 1, Retain: true}) // leaves nothing retained
}
