package bench

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	packets5 "github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// paho3 and paho5 are packets as the libraries write them.
func paho3(t *testing.T, typ byte, fill func(packets.ControlPacket)) []byte {
	t.Helper()
	p := packets.NewControlPacket(typ)
	fill(p)
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func paho5(t *testing.T, p io.WriterTo) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The libraries are the reference for what packets look like on the wire.
func TestMQTTPacketsEqualTheLibraries(t *testing.T) {
	publish := func(v mqttVersion, m mqttMessage, id uint16) []byte {
		b, at := appendPublish(nil, v, m)
		if m.qos > 0 {
			b[at], b[at+1] = byte(id>>8), byte(id)
		}
		return b
	}
	hour := uint32(3600)
	body := randomBody(300)
	for _, tt := range []struct {
		name      string
		got, want []byte
	}{
		{
			"3.1.1 CONNECT",
			appendConnect(nil, mqttLogin{version: mqtt311, clientID: "c", user: "u", password: "p", clean: true}),
			paho3(t, packets.Connect, func(p packets.ControlPacket) {
				c := p.(*packets.ConnectPacket)
				c.ProtocolName, c.ProtocolVersion, c.ClientIdentifier = "MQTT", 4, "c"
				c.CleanSession, c.UsernameFlag, c.PasswordFlag, c.Username, c.Password = true, true, true, "u", []byte("p")
			}),
		},
		{
			"5.0 CONNECT with a session that lasts",
			appendConnect(nil, mqttLogin{version: mqtt5, clientID: "c", keep: true}),
			paho5(t, &packets5.Connect{
				ProtocolName: "MQTT", ProtocolVersion: 5, ClientID: "c",
				Properties: &packets5.Properties{SessionExpiryInterval: &hour},
			}),
		},
		{
			"3.1.1 SUBSCRIBE",
			appendSubscribe(mqtt311, "a/b", 2),
			paho3(t, packets.Subscribe, func(p packets.ControlPacket) {
				s := p.(*packets.SubscribePacket)
				s.MessageID, s.Topics, s.Qoss = 1, []string{"a/b"}, []byte{2}
			}),
		},
		{
			"5.0 SUBSCRIBE",
			appendSubscribe(mqtt5, "a/b", 1),
			paho5(t, &packets5.Subscribe{
				PacketID: 1, Properties: &packets5.Properties{},
				Subscriptions: []packets5.SubOptions{{Topic: "a/b", QoS: 1}},
			}),
		},
		{
			"3.1.1 PUBLISH of QoS 0",
			publish(mqtt311, mqttMessage{topic: "a/b", body: body[:64]}, 0),
			paho3(t, packets.Publish, func(p packets.ControlPacket) {
				p.(*packets.PublishPacket).TopicName, p.(*packets.PublishPacket).Payload = "a/b", body[:64]
			}),
		},
		{
			"3.1.1 PUBLISH of QoS 2 with a length of two bytes",
			publish(mqtt311, mqttMessage{topic: "a/b", qos: 2, body: body}, 0x1234),
			paho3(t, packets.Publish, func(p packets.ControlPacket) {
				pub := p.(*packets.PublishPacket)
				pub.TopicName, pub.Payload, pub.Qos, pub.MessageID = "a/b", body, 2, 0x1234
			}),
		},
		{
			"5.0 PUBLISH of QoS 1",
			publish(mqtt5, mqttMessage{topic: "a/b", qos: 1, body: body}, 7),
			paho5(t, &packets5.Publish{Topic: "a/b", Payload: body, QoS: 1, PacketID: 7, Properties: &packets5.Properties{}}),
		},
		{
			"PUBREL",
			appendMQTTAck(nil, mqttPubrel, 0x0102),
			paho3(t, packets.Pubrel, func(p packets.ControlPacket) { p.(*packets.PubrelPacket).MessageID = 0x0102 }),
		},
		{
			"PUBACK",
			appendMQTTAck(nil, mqttPuback, 9),
			paho3(t, packets.Puback, func(p packets.ControlPacket) { p.(*packets.PubackPacket).MessageID = 9 }),
		},
	} {
		if !bytes.Equal(tt.got, tt.want) {
			t.Errorf("%s:\n%x, the library writes\n%x", tt.name, clip(tt.got), clip(tt.want))
		}
	}
}

func TestReceiveMaximumIsFoundAmongAllProperties(t *testing.T) {
	receive, seconds, alias, size, one := uint16(321), uint32(9), uint16(8), uint32(7000), byte(1)
	all := &packets5.Properties{
		SessionExpiryInterval: &seconds, AssignedClientID: "x", ServerKeepAlive: &alias, AuthMethod: "m", AuthData: []byte("d"),
		ResponseInfo: "r", ServerReference: "s", ReasonString: "t", TopicAliasMaximum: &alias, MaximumQOS: &one,
		RetainAvailable: &one, User: []packets5.User{{Key: "k", Value: "v"}}, MaximumPacketSize: &size,
		WildcardSubAvailable: &one, SubIDAvailable: &one, SharedSubAvailable: &one,
	}
	with := *all
	with.ReceiveMaximum = &receive
	for name, tt := range map[string]struct {
		props *packets5.Properties
		want  int
	}{"absent": {all, 65535}, "present": {&with, 321}, "none at all": {&packets5.Properties{}, 65535}} {
		pk, err := newMQTTReader(bytes.NewReader(paho5(t, &packets5.Connack{Properties: tt.props})), 1<<10).next()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := receiveMaximum(pk.body[2:]); err != nil || got != tt.want {
			t.Errorf("%s: %d, %v; want %d", name, got, err, tt.want)
		}
		for cut := 2; cut < len(pk.body); cut++ {
			if _, err := receiveMaximum(pk.body[2:cut]); err == nil {
				t.Errorf("%s: CONNACK cut after %d bytes was accepted", name, cut)
			}
		}
	}
}

func TestMQTTReaderCutsAnySplitAlike(t *testing.T) {
	stream, _ := appendPublish(nil, mqtt311, mqttMessage{topic: "a/b", qos: 1, body: randomBody(300)})
	stream = appendMQTTAck(stream, mqttPubrel, 7)
	stream = appendPacket(stream, mqttPingresp, nil)
	stream, _ = appendPublish(stream, mqtt5, mqttMessage{topic: "", body: randomBody(20_000)})
	for name, src := range map[string]io.Reader{
		"whole":      bytes.NewReader(stream),
		"one byte":   iotest.OneByteReader(bytes.NewReader(stream)),
		"half reads": iotest.HalfReader(bytes.NewReader(stream)),
	} {
		var again []byte
		r := newMQTTReader(src, 64) // grows with the packets
		for {
			p, err := r.next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Errorf("%s: %v", name, err)
				}
				break
			}
			again = appendPacket(again, p.head, p.body)
		}
		if !bytes.Equal(again, stream) {
			t.Errorf("%s: packets read differ from those written", name)
		}
	}
}

func TestMQTTReaderRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		stream     []byte
	}{
		{"a length of five bytes", "more than four", []byte{mqttPublish, 0x80, 0x80, 0x80, 0x80, 1}},
		{"a packet that nobody published", "far more", []byte{mqttPublish, 0xff, 0xff, 0xff, 0x7f}},
	} {
		if _, err := newMQTTReader(bytes.NewReader(tt.stream), 64).next(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one that says %q", tt.name, err, tt.want)
		}
	}
}

// An identifier names one message at a time and is never 0 [MQTT-2.2.1-3].
func TestIdentifiersGoRound(t *testing.T) {
	one, idAt := appendPublish(nil, mqtt311, mqttMessage{topic: "a", qos: 1})
	p := &mqttPublisher{block: bytes.Repeat(one, 3), one: len(one), idAt: idAt, last: 65533}
	p.number(3)
	var got []uint16
	r := newMQTTReader(bytes.NewReader(p.block), 1<<10)
	for range 3 {
		pk, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		id, err := pk.publishID()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, id)
	}
	if want := []uint16{65534, 65535, 1}; !reflect.DeepEqual(got, want) {
		t.Errorf("%d, want %d", got, want)
	}
}

func TestFlowGivesUpWhatWasDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlow(bounds{backlog: 10, copies: 3, total: 1000})
		if n := f.reserve(100); n != 10 {
			t.Fatalf("%d, want the backlog's 10", n)
		}
		got := make(chan int, 1)
		go func() { got <- f.reserve(100) }()
		synctest.Wait()
		last := f.giveUp(counts{})
		f.delivered(2) // of 30
		if last = f.giveUp(last); last.dropped != 0 {
			t.Fatalf("%d were given up while others arrived", last.dropped)
		}
		if last = f.giveUp(last); last.dropped != 28 {
			t.Errorf("%d were given up, want the other 28", last.dropped)
		}
		if n := <-got; n != 10 {
			t.Errorf("%d after that, want 10", n)
		}
	})
}

func TestMQTTURL(t *testing.T) {
	for raw, want := range map[string]struct{ over, addr, user, pass string }{
		"mqtt://host":             {over: "mqtt", addr: "host:1883"},
		"tcp://host:1":            {over: "mqtt", addr: "host:1"},
		"mqtt://u:p@[::1]:1883":   {over: "mqtt", addr: "[::1]:1883", user: "u", pass: "p"},
		"mqtts://host":            {over: "mqtts", addr: "host:8883"},
		"ws://host/path":          {over: "ws", addr: "host:15675"},
		"wss://host:1":            {over: "wss", addr: "host:1"},
		"amqp://host":             {},
		"mqtt://host:port:colons": {},
	} {
		got, err := newMQTTClient(raw, mqtt5)
		switch {
		case (err == nil) != (want.addr != ""):
			t.Errorf("%s: error %v", raw, err)
		case err == nil && (got.over.scheme != want.over || got.over.addr != want.addr || got.user != want.user || got.pass != want.pass):
			t.Errorf("%s: %+v over %+v", raw, got, got.over)
		}
	}
}
