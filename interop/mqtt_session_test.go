package interop

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	packets5 "github.com/eclipse/paho.golang/packets"
	paho5 "github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
)

// options3 are those of a client that makes one connection and no other.
func options3(broker, clientID string) *paho3.ClientOptions {
	o := paho3.NewClientOptions().AddBroker(broker).SetClientID(clientID).
		SetUsername("guest").SetPassword("guest").SetProtocolVersion(4).
		SetAutoReconnect(false).SetConnectTimeout(patience)
	if strings.HasPrefix(broker, "mqtts:") || strings.HasPrefix(broker, "wss:") {
		o.SetTLSConfig(suite.trust)
	}
	return o
}

func done3(t *testing.T, what string, token paho3.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) {
		t.Fatalf("%s: not within %v", what, patience)
	}
	if err := token.Error(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// connect3 connects paho.mqtt.golang for the length of the test.
func connect3(t *testing.T, o *paho3.ClientOptions) (c paho3.Client, present bool) {
	t.Helper()
	c = paho3.NewClient(o)
	token := c.Connect()
	done3(t, "connect", token)
	t.Cleanup(func() { c.Disconnect(0) })
	return c, token.(*paho3.ConnectToken).SessionPresent()
}

// subscribe3 returns what arrives.
func subscribe3(t *testing.T, c paho3.Client, filter string, qos byte) <-chan paho3.Message {
	t.Helper()
	in := make(chan paho3.Message, 100)
	done3(t, "subscribe", c.Subscribe(filter, qos, func(_ paho3.Client, m paho3.Message) { in <- m }))
	return in
}

// expect3 expects a payload.
func expect3(t *testing.T, in <-chan paho3.Message, payload string) paho3.Message {
	t.Helper()
	m := within(t, "message "+payload, in)
	if string(m.Payload()) != payload {
		t.Fatalf("message %q, want %q", m.Payload(), payload)
	}
	return m
}

// mqtt5Client is paho.golang's client with what it receives.
type mqtt5Client struct {
	*paho5.Client
	in      chan *paho5.Publish
	goodbye chan *paho5.Disconnect
	ack     *paho5.Connack
}

// connect5 connects paho.golang for the length of the test; edit may be nil.
func connect5(t *testing.T, broker, clientID string, edit func(*paho5.Connect)) *mqtt5Client {
	t.Helper()
	c, err := tryConnect5(t, broker, clientID, edit)
	must(t, err)
	return c
}

func tryConnect5(t *testing.T, broker, clientID string, edit func(*paho5.Connect)) (*mqtt5Client, error) {
	t.Helper()
	nc, err := dialMQTT(t.Context(), broker)
	must(t, err)
	c := &mqtt5Client{in: make(chan *paho5.Publish, 100), goodbye: make(chan *paho5.Disconnect, 1)}
	c.Client = paho5.NewClient(paho5.ClientConfig{
		Conn: packets5.NewThreadSafeConn(nc), PacketTimeout: patience,
		OnServerDisconnect: func(d *paho5.Disconnect) { c.goodbye <- d },
		OnPublishReceived: []func(paho5.PublishReceived) (bool, error){func(p paho5.PublishReceived) (bool, error) {
			c.in <- p.Packet
			return true, nil
		}},
	})
	cp := &paho5.Connect{
		ClientID: clientID, KeepAlive: 30, CleanStart: true,
		Username: "guest", UsernameFlag: true, Password: []byte("guest"), PasswordFlag: true,
	}
	if edit != nil {
		edit(cp)
	}
	c.ack, err = c.Connect(context.WithoutCancel(t.Context()), cp)
	t.Cleanup(func() {
		_ = c.Disconnect(&paho5.Disconnect{}) // it may have ended
		_ = nc.Close()
	})
	return c, err
}

func (c *mqtt5Client) subscribe(t *testing.T, s ...paho5.SubscribeOptions) {
	t.Helper()
	_, err := c.Subscribe(t.Context(), &paho5.Subscribe{Subscriptions: s})
	must(t, err)
}

func (c *mqtt5Client) publish(t *testing.T, p *paho5.Publish) {
	t.Helper()
	_, err := c.Publish(t.Context(), p)
	must(t, err)
}

func (c *mqtt5Client) expect(t *testing.T, payload string) *paho5.Publish {
	t.Helper()
	p := within(t, "message "+payload, c.in)
	if string(p.Payload) != payload {
		t.Fatalf("message %q, want %q", p.Payload, payload)
	}
	return p
}

func eachQoS3(t *testing.T, broker string) {
	t.Helper()
	c, _ := connect3(t, options3(broker, unique(t)))
	topic := unique(t)
	for granted := range byte(3) {
		filter := fmt.Sprintf("%s/%d/+", topic, granted)
		in := subscribe3(t, c, filter, granted)
		for qos := range byte(3) {
			payload := fmt.Sprintf("%d to %d", qos, granted)
			done3(t, "publish", c.Publish(fmt.Sprintf("%s/%d/x", topic, granted), qos, false, payload))
			if m := expect3(t, in, payload); m.Qos() != min(qos, granted) || m.Retained() || m.Duplicate() {
				t.Errorf("%s: QoS %d, retained %v, dup %v", payload, m.Qos(), m.Retained(), m.Duplicate())
			}
		}
		done3(t, "unsubscribe", c.Unsubscribe(filter))
	}
}

func eachQoS5(t *testing.T, broker string) {
	t.Helper()
	c := connect5(t, broker, unique(t), nil)
	topic := unique(t)
	c.subscribe(t, paho5.SubscribeOptions{Topic: topic, QoS: 2})
	for qos := range byte(3) {
		payload := fmt.Sprint("at ", qos)
		c.publish(t, &paho5.Publish{Topic: topic, QoS: qos, Payload: []byte(payload), Properties: sampleProperties()})
		p := c.expect(t, payload)
		if p.QoS != qos {
			t.Errorf("QoS %d, want %d", p.QoS, qos)
		}
		expectProperties(t, p.Properties, sampleProperties())
	}
}

// sampleProperties are all that a PUBLISH carries from end to end.
func sampleProperties() *paho5.PublishProperties {
	one, expiry := byte(1), uint32(600)
	return &paho5.PublishProperties{
		PayloadFormat: &one, MessageExpiry: &expiry, ContentType: "text/plain", ResponseTopic: "answers/v1.2/x",
		CorrelationData: []byte("correlation"),
		User:            paho5.UserProperties{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "b", Value: "3"}},
	}
}

func expectProperties(t *testing.T, got, want *paho5.PublishProperties) {
	t.Helper()
	text := func(p *paho5.PublishProperties) string {
		format, expiry := -1, -1
		if p.PayloadFormat != nil {
			format = int(*p.PayloadFormat)
		}
		if p.MessageExpiry != nil {
			expiry = int(*p.MessageExpiry)
		}
		return fmt.Sprintf("format %d, expiry %d, type %q, response %q, correlation %q, user %v",
			format, expiry, p.ContentType, p.ResponseTopic, p.CorrelationData, p.User)
	}
	if got, want := text(got), text(want); got != want {
		t.Errorf("properties\n%s, want\n%s", got, want)
	}
}

// The library's own way over WebSocket, and its own reconnection, serve as well.
func TestAutopahoOverWebSocket(t *testing.T) {
	t.Parallel()
	broker, err := url.Parse(sharedMQTT(t, "ws"))
	must(t, err)
	in := make(chan string, 10)
	cm, err := autopaho.NewConnection(context.WithoutCancel(t.Context()), autopaho.ClientConfig{
		ServerUrls: []*url.URL{broker}, KeepAlive: 30, ConnectUsername: "guest", ConnectPassword: []byte("guest"),
		ClientConfig: paho5.ClientConfig{
			ClientID: unique(t),
			OnPublishReceived: []func(paho5.PublishReceived) (bool, error){func(p paho5.PublishReceived) (bool, error) {
				in <- string(p.Packet.Payload)
				return true, nil
			}},
		},
	})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, cm.AwaitConnection(ctx))
	topic := unique(t)
	_, err = cm.Subscribe(ctx, &paho5.Subscribe{Subscriptions: []paho5.SubscribeOptions{{Topic: topic, QoS: 1}}})
	must(t, err)
	_, err = cm.Publish(ctx, &paho5.Publish{Topic: topic, QoS: 1, Payload: []byte("hello")})
	must(t, err)
	if got := within(t, "message", in); got != "hello" {
		t.Errorf("message %q", got)
	}
	must(t, cm.Disconnect(ctx))
}

func sessionStays3(t *testing.T, broker string) {
	t.Helper()
	id, topic := unique(t), unique(t)
	in := make(chan paho3.Message, 10)
	o := options3(broker, id).SetCleanSession(false).
		SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) { in <- m })
	c, present := connect3(t, o)
	if present {
		t.Error("a session was present before the first connection")
	}
	done3(t, "subscribe", c.Subscribe(topic, 1, nil))
	c.Disconnect(100)

	pub, _ := connect3(t, options3(broker, unique(t)+"p"))
	for i := range 3 {
		done3(t, "publish", pub.Publish(topic, 1, false, fmt.Sprint(i)))
	}
	c, present = connect3(t, o)
	if !present {
		t.Error("the session is gone")
	}
	for i := range 3 {
		expect3(t, in, fmt.Sprint(i))
	}
	c.Disconnect(100)
	// A clean session ends the old one and leaves none behind.
	for range 2 {
		c, present = connect3(t, options3(broker, id).SetCleanSession(true))
		if present {
			t.Error("a clean session found an old one")
		}
		c.Disconnect(100)
	}
}

func retained5(t *testing.T, broker string) {
	t.Helper()
	c := connect5(t, broker, unique(t), nil)
	topic := unique(t)
	for _, payload := range []string{"old", "kept"} {
		c.publish(t, &paho5.Publish{Topic: topic, QoS: 1, Retain: true, Payload: []byte(payload), Properties: sampleProperties()})
	}
	c.subscribe(t, paho5.SubscribeOptions{Topic: topic, QoS: 1})
	p := c.expect(t, "kept")
	if !p.Retain {
		t.Error("a retained message came without RETAIN")
	}
	expectProperties(t, p.Properties, sampleProperties())
	// RETAIN is cleared on what goes to subscriptions that exist, unless asked for.
	c.publish(t, &paho5.Publish{Topic: topic, QoS: 1, Retain: true, Payload: []byte("live")})
	if c.expect(t, "live").Retain {
		t.Error("RETAIN on a live message")
	}
	c.subscribe(t, paho5.SubscribeOptions{Topic: topic, QoS: 1, RetainAsPublished: true, RetainHandling: 2})
	c.publish(t, &paho5.Publish{Topic: topic, QoS: 1, Retain: true, Payload: []byte("as published")})
	if !c.expect(t, "as published").Retain && externalMQTT == "" { // Mosquitto 2.0.11 keeps the first options
		t.Error("no RETAIN though it was asked for")
	}
	// An empty payload removes it.
	c.publish(t, &paho5.Publish{Topic: topic, QoS: 1, Retain: true})
	c.expect(t, "")
	c3, _ := connect3(t, options3(broker, unique(t)+"3"))
	in := subscribe3(t, c3, topic, 1)
	done3(t, "publish", c3.Publish(topic, 1, false, "nothing was retained"))
	expect3(t, in, "nothing was retained")
}

func will(t *testing.T, broker string) {
	t.Helper()
	c := connect5(t, broker, unique(t), nil)
	topic := unique(t)
	c.subscribe(t, paho5.SubscribeOptions{Topic: topic + "/+", QoS: 1})
	// A client that says goodbye has no will.
	polite, _ := connect3(t, options3(broker, unique(t)+"a").SetWill(topic+"/polite", "never", 1, false))
	polite.Disconnect(100)
	expectWill := func(name string) {
		t.Helper()
		p := c.expect(t, name)
		if p.Properties.ContentType != "text/plain" || p.Properties.ResponseTopic != "r" || p.Properties.User.Get("k") != "v" {
			t.Errorf("%s: the will's properties are %+v", name, p.Properties)
		}
	}
	for _, reason := range []string{"cut", "asked for"} {
		p := peer(t, broker, 5)
		_, err := p.Write(withWill(unique(t)+reason, topic+"/will", reason).bytes())
		must(t, err)
		ack, err := p.expect(mqttCONNACK)
		must(t, err)
		if ack[1] != 0 {
			t.Fatalf("CONNACK %x", ack)
		}
		if reason == "asked for" {
			must(t, p.send(mqttDISCONNECT, 4)) // with will message
		}
		must(t, p.Close())
		expectWill(reason)
	}
	lost, _ := connect3(t, options3(broker, unique(t)+"3").SetWill(topic+"/will", "3.1.1", 1, false).
		SetCustomOpenConnectionFn(func(*url.URL, paho3.ClientOptions) (net.Conn, error) {
			nc, err := dialMQTT(t.Context(), broker)
			if err == nil {
				time.AfterFunc(200*time.Millisecond, func() { _ = nc.Close() })
			}
			return nc, err
		}))
	c.expect(t, "3.1.1")
	lost.Disconnect(0)
}

// withWill is a CONNECT of MQTT 5 with a will that has all kinds of properties:
// paho.golang leaves those out that CONNECT itself cannot have.
func withWill(clientID, topic, payload string) mqttPacket {
	props := slices.Concat([]byte{0x03}, mqttString("text/plain"), []byte{0x08}, mqttString("r"),
		[]byte{0x26}, mqttString("k"), mqttString("v"))
	const flags = 0xc0 | 1<<3 | 1<<2 | 1<<1 // guest, a will of QoS 1, clean start
	return mqttPacket{mqttCONNECT, slices.Concat(mqttString("MQTT"), []byte{5, flags, 0, 60, 0}, mqttString(clientID),
		[]byte{byte(len(props))}, props, mqttString(topic), mqttString(payload), mqttString("guest"), mqttString("guest"))}
}

func takeover(t *testing.T, broker string) {
	t.Helper()
	id := unique(t)
	first := connect5(t, broker, id, nil)
	connect5(t, broker, id, nil)
	if externalMQTT == "" { // Mosquitto 2.0.11 says nothing
		if d := within(t, "goodbye", first.goodbye); d.ReasonCode != 0x8e {
			t.Errorf("reason %#x, want 0x8e", d.ReasonCode)
		}
	}
	lost := make(chan error, 1)
	id += "3"
	connect3(t, options3(broker, id).SetConnectionLostHandler(func(_ paho3.Client, err error) { lost <- err }))
	connect3(t, options3(broker, id))
	if err := within(t, "the end of the first connection", lost); err == nil {
		t.Error("the first connection ended without an error")
	}
}

// keepAlive5: a client that says nothing for one and a half times its keep alive is gone.
func keepAlive5(t *testing.T, broker string) {
	t.Helper()
	p := peer(t, broker, 5)
	cp := connectPacket(5, unique(t), true, 0)
	const keepAlive = 2 + 4 + 2 // after the protocol's name, the level and the flags
	cp.body[keepAlive], cp.body[keepAlive+1] = 0, 1
	_, err := p.Write(cp.bytes())
	must(t, err)
	_, err = p.expect(mqttCONNACK)
	must(t, err)
	start := time.Now()
	must(t, p.send(mqttPINGREQ))
	_, err = p.expect(mqttPINGRESP)
	must(t, err)
	got, err := p.rest()
	must(t, err)
	if externalMQTT != "" {
		return // Mosquitto 2.0.11 looks every five seconds and says nothing
	}
	if took := time.Since(start); took < 1400*time.Millisecond || took > 4*time.Second {
		t.Errorf("the connection ended after %v, want 1.5 s", took)
	}
	if len(got) != 1 || got[0].head != mqttDISCONNECT || got[0].body[0] != 0x8d {
		t.Errorf("goodbye %v, want DISCONNECT 0x8d", got)
	}
}

func credentials(t *testing.T, broker string) {
	t.Helper()
	needOwnMQTT(t)
	for name, o := range map[string]*paho3.ClientOptions{
		"none":  options3(broker, unique(t)).SetUsername("").SetPassword(""),
		"wrong": options3(broker, unique(t)).SetPassword("wrong"),
	} {
		token := paho3.NewClient(o).Connect()
		if !token.WaitTimeout(patience) {
			t.Fatalf("%s: no answer", name)
		}
		if code := token.(*paho3.ConnectToken).ReturnCode(); code != 4 && code != 5 {
			t.Errorf("%s: code %d, %v; want 4 or 5", name, code, token.Error())
		}
	}
	c, err := tryConnect5(t, broker, unique(t), func(cp *paho5.Connect) { cp.Password = []byte("wrong") })
	if err == nil || c.ack == nil || c.ack.ReasonCode != 0x86 {
		t.Errorf("CONNACK %+v, %v; want reason 0x86", c.ack, err)
	}
}

func TestAnonymousIsLetInWhereItIsAllowed(t *testing.T) {
	t.Parallel()
	needOwnMQTT(t)
	b, log := ownBroker(t)
	b.Args = append(b.Args, "--mqtt-anonymous")
	start(t, b, log)
	for _, broker := range []string{b.MQTTURL(), b.WSURL()} {
		c, _ := connect3(t, options3(broker, unique(t)).SetUsername("").SetPassword(""))
		in := subscribe3(t, c, "a", 1)
		done3(t, "publish", c.Publish("a", 1, false, "hello"))
		expect3(t, in, "hello")
		token := paho3.NewClient(options3(broker, "x").SetPassword("wrong")).Connect()
		if !token.WaitTimeout(patience) || token.Error() == nil {
			t.Error("wrong credentials were let in")
		}
	}
}

// SIGTERM says goodbye to MQTT clients, and a session is there afterwards.
func TestTerminateTellsMQTTClients(t *testing.T) {
	t.Parallel()
	needOwnMQTT(t)
	b, log := ownBroker(t)
	start(t, b, log)
	expiry := uint32(3600)
	stay := func(cp *paho5.Connect) {
		cp.CleanStart, cp.Properties = false, &paho5.ConnectProperties{SessionExpiryInterval: &expiry}
	}
	c := connect5(t, b.MQTTURL(), "stays", stay)
	c.subscribe(t, paho5.SubscribeOptions{Topic: "a/#", QoS: 2})
	if code, err := b.Terminate(); err != nil || code != exitOK {
		t.Fatalf("exit code %d, %v\nits log:\n%s", code, err, log.text())
	}
	if d := within(t, "goodbye", c.goodbye); d.ReasonCode != 0x8b {
		t.Errorf("reason %#x, want 0x8b", d.ReasonCode)
	}
	start(t, b, log)
	c = connect5(t, b.WSURL(), "stays", stay)
	if !c.ack.SessionPresent {
		t.Fatal("the session is gone")
	}
	c.publish(t, &paho5.Publish{Topic: "a/b", QoS: 2, Payload: []byte("again")})
	c.expect(t, "again")
}
