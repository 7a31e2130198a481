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
// connection that subscribed to anything, at the publisher's QoS, and answers. Of
// messages it keeps those to be retained, for whoever subscribes to anything below '/#', and remembers which sessions it would have to keep.
type fakeMQTT struct {
	url     string
	refuse  byte // the code in every CONNACK
	grantAt byte // above which QoS subscriptions are refused
	cutAt   int  // the PUBLISH at which the connection is cut, from 1
	reason  byte // in MQTT 5's answers to PUBLISH
	// onPublish, when set, is called with the number of each PUBLISH.
	onPublish func(n int)
	// every is n to deliver every nth PUBLISH of QoS 0 only; 0 delivers all.
	every int

	mu          sync.Mutex
	subscribers map[*fakeMQTTConn]bool
	sessions    map[string]bool // that outlive their connections
	retained    map[string][]byte
	published   int
	answered    int // PUBACKs and PUBCOMPs from subscribers
	released    int // PUBRELs from publishers
}

type fakeMQTTConn struct {
	b       *fakeMQTT
	nc      net.Conn
	version mqttVersion

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
		subscribers: make(map[*fakeMQTTConn]bool), sessions: make(map[string]bool), retained: make(map[string][]byte),
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
		c.b.mu.Lock()
		c.b.subscribers[c] = true
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
		if !bytes.Contains(p.body, []byte("/#")) {
			c.write(c.publish("$SYS/broker/version", 0, []byte("Fake")))
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
	c.b.mu.Lock()
	if keep {
		c.b.sessions[id] = true
	} else {
		delete(c.b.sessions, id)
	}
	c.b.mu.Unlock()
	c.write(appendPacket(nil, mqttConnack, ack))
	return c.b.refuse == 0
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
	to := make([]*fakeMQTTConn, 0, len(b.subscribers))
	for s := range b.subscribers {
		to = append(to, s)
	}
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
	for _, s := range to {
		s.mu.Lock()
		packet := s.publish(name, qos, body)
		s.mu.Unlock()
		s.write(packet)
	}
	return true
}
