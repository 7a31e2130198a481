package interop

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	paho5 "github.com/eclipse/paho.golang/paho"
)

// killedFeatures is what the broker has answered for before it is killed, and what its next life is asked for. Message expiry is
// TestTimeGoesOnAcrossAKill's, and QoS 2 under load TestKilledBrokerKeepsMQTTSessions'.
var killedFeatures = []struct {
	name  string
	begin func(t *testing.T, broker string) (goOn func(t *testing.T, broker string))
}{
	{"session", killedSession},
	{"retained", killedRetained},
	{"QoS 2 from a client", killedExactIn},
	{"QoS 2 to a client", killedExactOut},
	{"subscription options", killedOptions},
	{"shared subscription", killedShared},
	// Those that have a time come last, so that it is not over before the kill.
	{"session expiry", killedSessionExpiry},
	{"will delay", killedWillDelay},
	{"delayed publish", killedDelayed},
}

// TestKilledBrokerKeepsMQTTFeatures: all features are in the middle of something when the broker is killed, and go on in its next life.
// Clients come by TCP before, and by WebSocket afterwards.
func TestKilledBrokerKeepsMQTTFeatures(t *testing.T) {
	needOwnMQTT(t)
	t.Parallel()
	b, log := ownBroker(t)
	start(t, b, log)
	goOn := make([]func(*testing.T, string), len(killedFeatures))
	for i, f := range killedFeatures {
		goOn[i] = f.begin(t, b.MQTTURL())
	}
	powerCut(t, b, log)
	start(t, b, log)
	for i, f := range killedFeatures {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			goOn[i](t, b.WSURL())
		})
	}
}

// watch makes a session that gets what is published to a topic from now on, and returns how its client comes back for that.
func watch(t *testing.T, broker, topic string) (back func(t *testing.T, broker string) *mqtt5Client) {
	t.Helper()
	w := connect5(t, broker, topic+".watch", withSession)
	w.subscribe(t, paho5.SubscribeOptions{Topic: topic, QoS: 2})
	w.leave(t)
	return func(t *testing.T, broker string) *mqtt5Client {
		t.Helper()
		w := connect5(t, broker, topic+".watch", withSession)
		if !w.ack.SessionPresent {
			t.Fatal("the session is gone")
		}
		return w
	}
}

// expectNoMore expects a message that is published now to be the next one.
func (c *mqtt5Client) expectNoMore(t *testing.T, topic string) {
	t.Helper()
	c.publish(t, &paho5.Publish{Topic: topic, QoS: 1, Payload: []byte("no more")})
	c.expect(t, "no more")
}

func killedSession(t *testing.T, broker string) func(*testing.T, string) {
	t.Helper()
	topic := unique(t)
	back := watch(t, broker, topic)
	pub := connect5(t, broker, topic, nil)
	for qos := range byte(2) {
		pub.publish(t, &paho5.Publish{Topic: topic, QoS: qos + 1, Payload: fmt.Append(nil, qos+1), Properties: sampleProperties()})
	}
	return func(t *testing.T, broker string) {
		t.Helper()
		w := back(t, broker)
		for qos := range byte(2) {
			p := w.expect(t, fmt.Sprint(qos+1))
			if p.QoS != qos+1 {
				t.Errorf("QoS %d, want %d", p.QoS, qos+1)
			}
			p.Properties.MessageExpiry = sampleProperties().MessageExpiry // some of it has passed
			expectProperties(t, p.Properties, sampleProperties())
		}
		w.expectNoMore(t, topic)
	}
}

// goWithWill ends the connection of a session with a will, and returns when that was.
func goWithWill(t *testing.T, broker, topic string, sessionExpiry, willDelay uint32) time.Time {
	t.Helper()
	c := connect5(t, broker, topic, func(cp *paho5.Connect) {
		staying(sessionExpiry)(cp)
		cp.WillMessage = &paho5.WillMessage{Topic: topic, QoS: 1, Payload: []byte("will")}
		cp.WillProperties = &paho5.WillProperties{WillDelayInterval: &willDelay}
	})
	at := time.Now()
	must(t, c.Disconnect(&paho5.Disconnect{ReasonCode: 4})) // with will message
	<-c.Done()
	return at
}

// expectWill expects the will, but not before its time.
func (c *mqtt5Client) expectWill(t *testing.T, from time.Time, after time.Duration) {
	t.Helper()
	c.expect(t, "will")
	if waited := time.Since(from); waited < after {
		t.Errorf("the will came after %v, want %v", waited, after)
	}
}

// killedSessionExpiry: a session's time goes on, and its end is seen by its will, which would have waited for longer.
func killedSessionExpiry(t *testing.T, broker string) func(*testing.T, string) {
	t.Helper()
	topic := unique(t)
	back := watch(t, broker, topic)
	gone := goWithWill(t, broker, topic, 3, 3600)
	return func(t *testing.T, broker string) {
		t.Helper()
		w := back(t, broker)
		w.expectWill(t, gone, 3*time.Second)
		if connect5(t, broker, topic, withSession).ack.SessionPresent {
			t.Error("a session whose time is over is there")
		}
		w.expectNoMore(t, topic)
	}
}

func killedWillDelay(t *testing.T, broker string) func(*testing.T, string) {
	t.Helper()
	topic := unique(t)
	back := watch(t, broker, topic)
	gone := goWithWill(t, broker, topic, 3600, 3)
	return func(t *testing.T, broker string) {
		t.Helper()
		w := back(t, broker)
		w.expectWill(t, gone, 3*time.Second)
		if !connect5(t, broker, topic, withSession).ack.SessionPresent {
			t.Error("the session has ended with its will")
		}
		w.expectNoMore(t, topic)
	}
}

func killedRetained(t *testing.T, broker string) func(*testing.T, string) {
	t.Helper()
	topic := unique(t)
	props := sampleProperties()
	props.MessageExpiry = nil
	pub := connect5(t, broker, topic, nil)
	for _, p := range []struct{ name, payload string }{{"kept", "old"}, {"kept", "new"}, {"removed", "old"}, {"removed", ""}} {
		pub.publish(t, &paho5.Publish{Topic: topic + "/" + p.name, QoS: 1, Retain: true, Payload: []byte(p.payload), Properties: props})
	}
	return func(t *testing.T, broker string) {
		t.Helper()
		c := connect5(t, broker, topic, nil)
		c.subscribe(t, paho5.SubscribeOptions{Topic: topic + "/+", QoS: 1})
		p := c.expect(t, "new")
		if !p.Retain || p.Topic != topic+"/kept" {
			t.Errorf("it came on %s, retained %v", p.Topic, p.Retain)
		}
		expectProperties(t, p.Properties, props)
		c.expectNoMore(t, topic+"/kept")
	}
}

// killedExactIn: what was answered with PUBREC is not published again.
func killedExactIn(t *testing.T, broker string) func(*testing.T, string) {
	t.Helper()
	const id = 7
	topic := unique(t)
	back := watch(t, broker, topic)
	transmit := func(t *testing.T, p *mqttPeer, dup byte) {
		t.Helper()
		must(t, p.send(mqttPUBLISH|2<<1|dup, p.publishBody(topic, id, []byte("once"))...))
		answer, err := p.expect(mqttPUBREC)
		must(t, err)
		if binary.BigEndian.Uint16(answer) != id || len(answer) > 2 && answer[2] != 0 {
			t.Fatalf("PUBREC %x", answer)
		}
	}
	p := peer(t, broker, 5)
	_, err := p.connect(topic, false)
	must(t, err)
	transmit(t, p, 0)
	return func(t *testing.T, broker string) {
		t.Helper()
		p := comeBack(t, broker, topic)
		transmit(t, p, 1<<3)
		must(t, p.send(mqttPUBREL, 0, id))
		answer, err := p.expect(mqttPUBCOMP)
		must(t, err)
		if binary.BigEndian.Uint16(answer) != id || len(answer) > 2 && answer[2] != 0 {
			t.Errorf("PUBCOMP %x", answer)
		}
		w := back(t, broker)
		w.expect(t, "once")
		w.expectNoMore(t, topic)
	}
}

// comeBack connects a peer of MQTT 5 that has a session.
func comeBack(t *testing.T, broker, id string) *mqttPeer {
	t.Helper()
	p := peer(t, broker, 5)
	present, err := p.connect(id, false)
	must(t, err)
	if !present {
		t.Fatal("the session is gone")
	}
	return p
}

// killedExactOut: what was answered with PUBREC is not sent again, but released again; what was not is, with its identifier.
func killedExactOut(t *testing.T, broker string) func(*testing.T, string) {
	t.Helper()
	topic := unique(t)
	p := peer(t, broker, 5)
	_, err := p.connect(topic, false)
	must(t, err)
	must(t, p.subscribe(topic, 2))
	pub := connect5(t, broker, topic+".pub", nil)
	var got [2]mqttDelivery
	for i := range got {
		pub.publish(t, &paho5.Publish{Topic: topic, QoS: 2, Payload: fmt.Append(nil, i)})
		body, err := p.expect(mqttPUBLISH | 2<<1)
		must(t, err)
		got[i], err = p.delivery(mqttPacket{mqttPUBLISH | 2<<1, body})
		must(t, err)
	}
	must(t, p.send(mqttPUBREC, got[0].id[:]...))
	_, err = p.expect(mqttPUBREL)
	must(t, err)
	return func(t *testing.T, broker string) {
		t.Helper()
		p := comeBack(t, broker, topic)
		var released, again bool
		for !released || !again {
			pk, err := p.next()
			must(t, err)
			switch pk.head {
			case mqttPUBREL:
				released = true
				if [2]byte(pk.body) != got[0].id {
					t.Errorf("PUBREL %x, want %x", pk.body, got[0].id)
				}
			case mqttPUBLISH | 2<<1 | 1<<3:
				again = true
				if d, err := p.delivery(pk); err != nil || d.id != got[1].id || string(d.payload) != "1" {
					t.Errorf("%+v came again, %v; want the second message", d, err)
				}
			default:
				t.Fatalf("packet %v", pk)
			}
		}
	}
}

func killedDelayed(t *testing.T, broker string) func(*testing.T, string) {
	t.Helper()
	topic := unique(t)
	back := watch(t, broker, topic)
	pub := connect5(t, broker, topic, nil)
	at := time.Now()
	pub.publish(t, &paho5.Publish{Topic: "$delayed/3/" + topic, QoS: 1, Payload: []byte("later")})
	return func(t *testing.T, broker string) {
		t.Helper()
		w := back(t, broker)
		w.expect(t, "later")
		if waited := time.Since(at); waited < 3*time.Second {
			t.Errorf("it came after %v, want 3 s", waited)
		}
		w.expectNoMore(t, topic)
	}
}

func killedOptions(t *testing.T, broker string) func(*testing.T, string) {
	t.Helper()
	topic := unique(t)
	c := connect5(t, broker, topic, withSession)
	subscribeWithOptions(t, c, topic)
	return func(t *testing.T, broker string) {
		t.Helper()
		c := connect5(t, broker, topic, withSession)
		if !c.ack.SessionPresent {
			t.Fatal("the session is gone")
		}
		expectOptions(t, c, connect5(t, broker, topic+".other", nil), topic)
	}
}

// killedShared: what waits for those who share a subscription goes to one of them.
func killedShared(t *testing.T, broker string) func(*testing.T, string) {
	t.Helper()
	topic := unique(t)
	for _, member := range []string{"a", "b"} {
		c := connect5(t, broker, topic+member, withSession)
		c.subscribe(t, paho5.SubscribeOptions{Topic: "$share/group/" + topic, QoS: 1})
		c.leave(t)
	}
	pub := connect5(t, broker, topic, nil)
	for i := range sharedMessages {
		pub.publish(t, &paho5.Publish{Topic: topic, QoS: 1, Payload: fmt.Append(nil, i)})
	}
	return func(t *testing.T, broker string) {
		t.Helper()
		a, b := connect5(t, broker, topic+"a", withSession), connect5(t, broker, topic+"b", withSession)
		if !a.ack.SessionPresent || !b.ack.SessionPresent {
			t.Fatal("a session is gone")
		}
		expectEachOnce(t, eitherOf(t, a, b))
	}
}
