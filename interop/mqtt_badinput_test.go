package interop

import (
	"fmt"
	"testing"

	paho5 "github.com/eclipse/paho.golang/paho"
)

// Reason codes of MQTT 5 (section 2.4); a code of end is an end without a word.
const (
	end               = 0
	malformed         = 0x81
	protocolError     = 0x82
	topicInvalid      = 0x90
	tooLarge          = 0x95
	aliasInvalid      = 0x94
	badAuthentication = 0x8c
)

// badMQTT is what a client sends after its CONNECT was accepted, or instead of it.
type badMQTT struct {
	name     string
	instead  bool // of CONNECT
	packets  []byte
	reason   byte // of MQTT 5's DISCONNECT, or CONNACK
	or       byte // another that the specification also fits
	only5    bool
	thenHalf bool // the client ends the connection amid a packet
}

func badMQTTInput() []badMQTT {
	packet := func(head byte, body string) []byte { return mqttPacket{head, []byte(body)}.bytes() }
	return []badMQTT{
		{name: "random bytes", instead: true, packets: []byte("\xde\xad\xbe\xef random bytes")},
		{name: "an HTTP request", instead: true, packets: []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")},
		{name: "AMQP", instead: true, packets: []byte(rawHeader)},
		{name: "PUBLISH before CONNECT", instead: true, packets: packet(0x30, "\x00\x01ax")},
		{name: "another protocol's name", instead: true, packets: packet(0x10, "\x00\x04MQTX\x05\x02\x00\x00\x00\x00\x01c"), or: 0x84},
		{name: "CONNECT with the reserved flag", instead: true, packets: packet(0x10, "\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x01c"), or: malformed},
		{name: "CONNECT cut short", instead: true, packets: packet(0x10, "\x00\x04MQTT\x05\x02\x00"), or: malformed},
		{name: "CONNECT that announces 256 MB", instead: true, packets: []byte("\x10\xff\xff\xff\x7f\x00\x04MQTT\x05"), or: tooLarge},
		{name: "CONNECT twice", packets: connectPacket(5, "twice", true, 0).bytes(), reason: protocolError},
		{name: "a remaining length of five bytes", packets: []byte("\x30\xff\xff\xff\xff\x01"), reason: malformed},
		{name: "a packet that announces 256 MB", packets: []byte("\x30\xff\xff\xff\x7f\x00\x01a"), reason: tooLarge},
		{name: "packet type 0", packets: packet(0x00, ""), reason: malformed},
		{name: "CONNACK from a client", packets: packet(0x20, "\x00\x00\x00"), reason: protocolError, or: malformed},
		{name: "PUBLISH of QoS 3", packets: packet(0x36, "\x00\x01a\x00\x01\x00x"), reason: malformed},
		{name: "PUBLISH of QoS 0 with DUP", packets: packet(0x38, "\x00\x01a\x00x"), reason: malformed, or: protocolError},
		{name: "PUBLISH with identifier 0", packets: packet(0x32, "\x00\x01a\x00\x00\x00x"), reason: protocolError, or: malformed},
		{name: "PUBLISH to a filter", packets: packet(0x30, "\x00\x03a/#\x00x"), reason: topicInvalid},
		{name: "PUBLISH to no topic", packets: packet(0x30, "\x00\x00\x00x"), reason: protocolError, or: topicInvalid},
		{name: "PUBLISH to a topic with NUL", packets: packet(0x30, "\x00\x02a\x00\x00x"), reason: malformed, or: topicInvalid},
		{name: "PUBLISH to a topic that is not UTF-8", packets: packet(0x30, "\x00\x02a\xff\x00x"), reason: malformed, or: topicInvalid},
		{name: "PUBLISH cut short", packets: packet(0x30, "\x00\x05a"), reason: malformed},
		{name: "PUBLISH with an alias of 0", packets: packet(0x30, "\x00\x01a\x03\x23\x00\x00x"), reason: aliasInvalid, or: protocolError, only5: true},
		{name: "PUBLISH with an unknown alias", packets: packet(0x30, "\x00\x00\x03\x23\x00\x09x"), reason: protocolError, or: aliasInvalid, only5: true},
		{name: "PUBLISH with a property twice", packets: packet(0x30, "\x00\x01a\x04\x01\x01\x01\x01x"), reason: protocolError, or: malformed, only5: true},
		{name: "PUBLISH with an unknown property", packets: packet(0x30, "\x00\x01a\x02\x7e\x01x"), reason: malformed, or: protocolError, only5: true},
		{name: "PUBREL with wrong flags", packets: packet(0x60, "\x00\x01"), reason: malformed},
		{name: "PUBACK cut short", packets: packet(0x40, "\x00"), reason: malformed},
		{name: "SUBSCRIBE with wrong flags", packets: packet(0x80, "\x00\x01\x00\x00\x01a\x00"), reason: malformed},
		{name: "SUBSCRIBE to nothing", packets: packet(0x82, "\x00\x01\x00"), reason: protocolError, or: malformed},
		{name: "SUBSCRIBE without options", packets: packet(0x82, "\x00\x01\x00\x00\x01a"), reason: malformed},
		{name: "SUBSCRIBE with QoS 3", packets: packet(0x82, "\x00\x01\x00\x00\x01a\x03"), reason: protocolError, or: malformed},
		{name: "UNSUBSCRIBE from nothing", packets: packet(0xa2, "\x00\x01\x00"), reason: protocolError, or: malformed},
		{name: "PINGREQ with a body", packets: packet(0xc0, "x"), reason: malformed},
		{name: "DISCONNECT with a longer session than none", packets: packet(0xe0, "\x00\x05\x11\x00\x00\x00\x09"), reason: protocolError, only5: true},
		{name: "AUTH without a method", packets: packet(0xf0, "\x18\x00"), reason: protocolError, or: badAuthentication, only5: true},
		{name: "half a packet, then the end", packets: []byte("\x30\x20\x00\x01a"), thenHalf: true},
	}
}

// in3 are the packets whose bytes differ between versions, without properties.
func in3(in badMQTT) (badMQTT, bool) {
	packet := func(head byte, body string) []byte { return mqttPacket{head, []byte(body)}.bytes() }
	switch in.name {
	case "CONNECT twice":
		in.packets = connectPacket(4, "twice", true, 0).bytes()
	case "PUBLISH of QoS 3":
		in.packets = packet(0x36, "\x00\x01a\x00\x01x")
	case "SUBSCRIBE to nothing":
		in.packets = packet(0x82, "\x00\x01")
	case "SUBSCRIBE without options":
		in.packets = packet(0x82, "\x00\x01\x00\x01a")
	case "SUBSCRIBE with QoS 3":
		in.packets = packet(0x82, "\x00\x01\x00\x01a\x03")
	case "SUBSCRIBE with wrong flags":
		in.packets = packet(0x80, "\x00\x01\x00\x01a\x00")
	case "UNSUBSCRIBE from nothing":
		in.packets = packet(0xa2, "\x00\x01")
	}
	return in, !in.only5
}

// The connection that sends bad input ends, on 5.0 with the reason that the
// specification asks for; a client beside it notices nothing.
func TestBadMQTTInput(t *testing.T) {
	t.Parallel()
	broker := sharedMQTT(t, "tcp")
	stop := mqttWitness(t, broker)
	t.Cleanup(func() { // once all cases have ended
		if rounds := stop(); rounds == 0 {
			t.Error("the witness did not complete a single round")
		}
	})
	for _, in := range badMQTTInput() {
		for _, version := range []byte{4, 5} {
			bad, applies := in, true
			if version == 4 {
				bad, applies = in3(in)
			}
			if !applies {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", in.name, version), func(t *testing.T) {
				t.Parallel()
				bad.send(t, broker, version)
			})
		}
	}
}

// patient names the cases in which Mosquitto 2.0.11 keeps the connection: it reads on
// for what was announced, and forgives what does no harm.
func (b badMQTT) patient() bool {
	switch b.name {
	case "CONNECT that announces 256 MB", "a packet that announces 256 MB", "PUBLISH of QoS 0 with DUP", "PINGREQ with a body":
		return true
	}
	return false
}

func (b badMQTT) send(t *testing.T, broker string, version byte) {
	t.Helper()
	if externalMQTT != "" && b.patient() {
		t.Skip("another make may wait for more, or forgive")
	}
	p := peer(t, broker, version)
	if !b.instead {
		_, err := p.connect(unique(t), true)
		must(t, err)
	}
	_, _ = p.Write(b.packets) // it may close before it has read all
	if b.thenHalf {
		must(t, p.Close())
		return
	}
	got, err := p.rest()
	must(t, err)
	switch {
	case externalMQTT != "": // other makes differ in the codes
	case version == 4 || b.instead && b.or == end:
		for _, pk := range got {
			if pk.head != mqttCONNACK || pk.body[1] == 0 {
				t.Errorf("the broker said %v, want no more than a refusal", pk)
			}
		}
	case b.instead:
		if len(got) > 1 || len(got) == 1 && (got[0].head != mqttCONNACK || got[0].body[1] == 0) {
			t.Errorf("the broker said %v, want a refusal at most", got)
		}
	case len(got) != 1 || got[0].head != mqttDISCONNECT || len(got[0].body) == 0:
		t.Errorf("the broker said %v, want DISCONNECT %#x", got, b.reason)
	case got[0].body[0] != b.reason && (b.or == end || got[0].body[0] != b.or):
		t.Errorf("reason %#x, want %#x or %#x", got[0].body[0], b.reason, b.or)
	}
}

// mqttWitness publishes and waits for the delivery, again and again, until stop is
// called, which returns how often. Its connection must not end.
func mqttWitness(t *testing.T, broker string) (stop func() int) {
	t.Helper()
	c := connect5(t, broker, unique(t), nil)
	topic := unique(t)
	c.subscribe(t, paho5.SubscribeOptions{Topic: topic, QoS: 1})
	quit, result := make(chan struct{}), make(chan int, 1)
	ctx := t.Context()
	go func() {
		rounds := 0
		defer func() { result <- rounds }()
		for {
			select {
			case <-quit:
				return
			default:
			}
			if _, err := c.Publish(ctx, &paho5.Publish{Topic: topic, QoS: 1, Payload: []byte("alive")}); err != nil {
				if ctx.Err() == nil {
					t.Errorf("a client beside bad input cannot publish: %v", err)
				}
				return
			}
			select {
			case <-c.in:
			case <-c.Done():
				t.Error("the connection of a client beside bad input ended")
				return
			}
			rounds++
		}
	}()
	return func() int {
		close(quit)
		return within(t, "the witness", result)
	}
}
