package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"net"
	"sync"
	"testing"
)

// fakeMQTT is a broker small enough to trust: it gives what is published to every
// connection that subscribed to just this topic, at the publisher's QoS, and answers. It keeps messages
// to be retained, for whoever subscribes to anything below '/#', and those for sessions that last and are offline.
type fakeMQTT struct {
	url     string
	refuse  byte // the code in every CONNACK
	grantAt byte // above which QoS subscriptions are refused
	cutAt   int  // the PUBLISH at which the connection is cut, from 1
	reason  byte // in MQTT 5's answers to PUBLISH
	// onPublish, when set, is called with the number of each PUBLISH.
	onPublish func(n int)
	// keepAtMost is how many messages a session that is offline keeps; 0: all.
	keepAtMost int
	// toAMQP, when set, is given the body of each message.
	toAMQP func(body []byte)
	// every is n to deliver every nth PUBLISH of QoS 0 only; 0 delivers all.
	every int

	mu          sync.Mutex
	subscribers map[*fakeMQTTConn]string // and the topic of each
	sessions    map[string]*fakeSession  // that outlive their connections
	retained    map[string][]byte
	published   int
	answered    int // PUBACKs and PUBCOMPs from subscribers
	released    int // PUBRELs from publishers
}

// fakeSession is a session that outlives its connections; its broker's mu guards it.
type fakeSession struct {
	online  bool
	topic   string // that it subscribed to; "": none
	waiting []fakeMessage
}

type fakeMessage struct {
	topic string
	qos   byte
	body  []byte
}

type fakeMQTTConn struct {
	b       *fakeMQTT
	nc      net.Conn
	version mqttVersion
	session *fakeSession // nil if it does not last

	mu     sync.Mutex
	lastID uint16
}

func startFakeMQTT(tb testing.TB) *fakeMQTT {
	tb.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	b := &fakeMQTT{
		url: "mqtt://" + ln.Addr().String(), grantAt: 2,
		subscribers: make(map[*fakeMQTTConn]string), sessions: make(map[string]*fakeSession), retained: make(map[string][]byte),
	}
	var wg sync.WaitGroup
	tb.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { (&fakeMQTTConn{b: b, nc: nc}).serve() })
		}
	})
	return b
}

func (b *fakeMQTT) leftovers() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.sessions)
}

// keep keeps a message for its topic; an empty one clears it.
func (b *fakeMQTT) keep(topic string, body []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(body) == 0 {
		delete(b.retained, topic)
		return
	}
	b.retained[topic] = bytes.Clone(body)
}

func (b *fakeMQTT) kept() map[string][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.retained)
}

func (c *fakeMQTTConn) serve() {
	defer func() {
		c.b.mu.Lock()
		delete(c.b.subscribers, c)
		if c.session != nil {
			c.session.online = false
		}
		c.b.mu.Unlock()
		_ = c.nc.Close()
	}()
	in := newMQTTReader(c.nc, 4<<10)
	for {
		p, err := in.next()
		if err != nil || !c.handle(p) {
			return
		}
	}
}

func (c *fakeMQTTConn) write(packet []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.nc.Write(packet) // a client that is gone is noticed by the reader
}

// handle answers one packet; false ends the connection.
func (c *fakeMQTTConn) handle(p mqttPacket) bool {
	switch p.head & mqttTypeMask {
	case mqttConnect:
		return c.connect(p.body)
	case mqttSubscribe & mqttTypeMask:
		at := 2 // behind the packet's identifier
		if c.version == mqtt5 {
			at++ // no properties
		}
		c.b.mu.Lock()
		c.b.subscribers[c] = topicOf(p.body[at:])
		if c.session != nil {
			c.session.topic = c.b.subscribers[c]
		}
		c.b.mu.Unlock()
		qos := p.body[len(p.body)-1]
		if qos > c.b.grantAt {
			qos = 0x80
		}
		ack := append([]byte{}, p.body[:2]...)
		if c.version == mqtt5 {
			ack = append(ack, 0)
		}
		c.write(appendPacket(nil, mqttSuback, append(ack, qos)))
		if topicOf(p.body[at:]) == "$SYS/broker/version" {
			c.write(c.publish("$SYS/broker/version", 0, []byte("Fake")))
		}
		if !bytes.HasSuffix(p.body[:len(p.body)-1], []byte("/#")) {
			break
		}
		for topic, body := range c.b.kept() {
			c.write(c.publish(topic, 0, body))
		}
	case mqttPublish:
		return c.route(p)
	case mqttPubrel & mqttTypeMask:
		c.count(&c.b.released)
		c.write(appendMQTTAck(nil, mqttPubcomp, binary.BigEndian.Uint16(p.body)))
	case mqttPubrec:
		c.write(appendMQTTAck(nil, mqttPubrel, binary.BigEndian.Uint16(p.body)))
	case mqttPuback, mqttPubcomp:
		c.count(&c.b.answered)
	case mqttPingreq:
		c.write(appendPacket(nil, mqttPingresp, nil))
	default: // also DISCONNECT
		return false
	}
	return true
}

func (c *fakeMQTTConn) count(n *int) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	*n++
}

// connect reads what follows the protocol's name: the level, the flags, the keep
// alive, properties and the client identifier.
func (c *fakeMQTTConn) connect(body []byte) bool {
	const name = 2 + 4
	c.version = mqttVersion(body[name])
	clean := body[name+1]&2 != 0
	rest := body[name+4:]
	ack, keep := []byte{0, c.b.refuse}, !clean
	if c.version == mqtt5 {
		keep = rest[0] > 0
		rest = rest[1+rest[0]:]
		ack = append(ack, 3, propertyReceiveMaximum, 0, 50)
	}
	id := string(rest[2 : 2+binary.BigEndian.Uint16(rest)])
	c.write(appendPacket(nil, mqttConnack, ack))
	c.resume(id, keep)
	return c.b.refuse == 0
}

// resume finds the connection's session, and gives it what waits there.
func (c *fakeMQTTConn) resume(id string, keep bool) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if !keep {
		delete(c.b.sessions, id)
		return
	}
	if c.session = c.b.sessions[id]; c.session == nil {
		c.session = new(fakeSession)
		c.b.sessions[id] = c.session
	}
	c.session.online = true
	for _, m := range c.session.waiting {
		c.send(m)
	}
	c.session.waiting = nil
	if c.session.topic != "" {
		c.b.subscribers[c] = c.session.topic
	}
}

func (c *fakeMQTTConn) send(m fakeMessage) {
	c.mu.Lock()
	packet := c.publish(m.topic, m.qos, m.body)
	c.mu.Unlock()
	c.write(packet)
}

func (c *fakeMQTTConn) publish(topic string, qos byte, body []byte) []byte {
	b, at := appendPublish(nil, c.version, mqttMessage{topic: topic, qos: qos, body: body})
	if qos > 0 {
		c.lastID++
		binary.BigEndian.PutUint16(b[at:], c.lastID)
	}
	return b
}

func (c *fakeMQTTConn) route(p mqttPacket) bool {
	b := c.b
	b.mu.Lock()
	b.published++
	n := b.published
	b.mu.Unlock()
	if b.onPublish != nil {
		b.onPublish(n)
	}
	if n == b.cutAt {
		return false
	}
	qos := p.head >> 1 & 3
	topic, body := int(binary.BigEndian.Uint16(p.body)), p.body
	name := string(body[2 : 2+topic])
	body = body[2+topic:]
	if qos > 0 {
		answer := byte(mqttPuback)
		if qos == 2 {
			answer = mqttPubrec
		}
		ack := append([]byte{}, body[:2]...)
		if c.version == mqtt5 {
			ack = append(ack, b.reason)
		}
		defer c.write(appendPacket(nil, answer, ack))
		body = body[2:]
	}
	if c.version == mqtt5 {
		body = body[1:]
	}
	if p.head&1 != 0 {
		b.keep(name, body)
	}
	if qos == 0 && b.every > 0 && n%b.every != 0 {
		return true
	}
	b.deliver(fakeMessage{topic: name, qos: qos, body: bytes.Clone(body)})
	return true
}

// deliver gives a message to whoever is there, and keeps it for sessions that are not.
func (b *fakeMQTT) deliver(m fakeMessage) {
	if b.toAMQP != nil {
		b.toAMQP(m.body)
	}
	b.mu.Lock()
	to := maps.Clone(b.subscribers)
	for _, s := range b.sessions {
		if s.topic == m.topic && !s.online && (b.keepAtMost == 0 || len(s.waiting) < b.keepAtMost) {
			s.waiting = append(s.waiting, m)
		}
	}
	b.mu.Unlock()
	for s, topic := range to {
		if topic == m.topic {
			s.send(m)
		}
	}
}

// topicOf reads the string that b begins with.
func topicOf(b []byte) string { return string(b[2 : 2+binary.BigEndian.Uint16(b)]) }
