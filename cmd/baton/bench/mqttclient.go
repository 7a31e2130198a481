package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"
)

const (
	// mqttBuffer holds what one read of a fast connection takes, mqttSmallBuffer
	// that of one among many.
	mqttBuffer      = 256 << 10
	mqttSmallBuffer = 16 << 10
	// A connection that reads less than coalesceBelow at a time pauses, one among
	// many for longer: see mqttConn.fillMore.
	coalesceBelow = 4 << 10
	onePause      = 200 * time.Microsecond
	manyPause     = 5 * time.Millisecond
)

// mqttClient speaks just enough MQTT to publish and subscribe.
type mqttClient struct {
	over      *mqttTransport
	version   mqttVersion
	user      string
	pass      string
	keepAlive uint16 // seconds; 0: none
}

func newMQTTClient(rawURL string, v mqttVersion) (mqttClient, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return mqttClient{}, fmt.Errorf("parse --url: %w", err)
	}
	c := mqttClient{version: v}
	if c.over, err = newMQTTTransport(u); err != nil {
		return mqttClient{}, err
	}
	if u.User != nil {
		c.user = u.User.Username()
		c.pass, _ = u.User.Password()
	}
	return c, nil
}

// mqttConn is a connection whose CONNECT was accepted.
type mqttConn struct {
	net.Conn
	in *mqttReader
	// receiveMaximum is how many messages above QoS 0 the broker lets be under way.
	receiveMaximum int
	pause          time.Duration
}

// dial connects as clientID.
func (c mqttClient) dial(ctx context.Context, clientID string, clean, keep bool, buffer int) (*mqttConn, error) {
	nc, err := c.over.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	mc := &mqttConn{Conn: nc, in: newMQTTReader(nc, buffer), receiveMaximum: 65535, pause: onePause}
	if buffer < mqttBuffer {
		mc.pause = manyPause
	}
	l := mqttLogin{version: c.version, clientID: clientID, user: c.user, password: c.pass, clean: clean, keep: keep, keepAlive: c.keepAlive}
	if err := mc.handshake(l); err != nil {
		return nil, errors.Join(fmt.Errorf("open a connection to %s: %w", c.over.addr, err), nc.Close())
	}
	return mc, nil
}

func (c *mqttConn) handshake(l mqttLogin) error {
	ack, err := c.call(appendConnect(nil, l), mqttConnack)
	if err != nil {
		return err
	}
	if len(ack) < 2 {
		return errors.New("CONNACK is cut short")
	}
	if ack[1] != 0 {
		return fmt.Errorf("broker refused the connection with code %#x", ack[1])
	}
	if l.version == mqtt5 {
		c.receiveMaximum, err = receiveMaximum(ack[2:])
	}
	return err
}

// receiveMaximum finds the property in those of a CONNACK.
func receiveMaximum(props []byte) (int, error) {
	n, width := binary.Uvarint(props)
	if width <= 0 || uint64(len(props)-width) < n {
		return 0, errors.New("CONNACK with malformed properties")
	}
	for props = props[width : width+int(n)]; len(props) > 0; {
		size, err := propertySize(props)
		if err != nil || size > len(props) {
			return 0, errors.Join(errors.New("CONNACK with malformed properties"), err)
		}
		if props[0] == propertyReceiveMaximum {
			return int(binary.BigEndian.Uint16(props[1:])), nil
		}
		props = props[size:]
	}
	return 65535, nil // section 3.2.2.3.3
}

// propertySize returns the bytes that the first property takes, of those that a
// CONNACK may have (section 3.2.2.3).
func propertySize(b []byte) (int, error) {
	text := func(at int) int {
		if len(b) < at+2 {
			return at + 2 // more than there is, which the caller finds
		}
		return at + 2 + int(binary.BigEndian.Uint16(b[at:]))
	}
	switch b[0] {
	case 0x24, 0x25, 0x28, 0x29, 0x2a: // maximum QoS, what is available
		return 2, nil
	case 0x13, propertyReceiveMaximum, 0x22: // server keep alive, topic alias maximum
		return 3, nil
	case propertySessionExpiry, 0x27: // maximum packet size
		return 5, nil
	case 0x12, 0x15, 0x16, 0x1a, 0x1c, 0x1f: // texts and binary data
		return text(1), nil
	case 0x26: // a user property
		return text(text(1)), nil
	}
	return 0, fmt.Errorf("property %#x", b[0])
}

// call writes a packet and waits for its answer's body; retained messages may come
// before it.
func (c *mqttConn) call(packet []byte, answer byte) ([]byte, error) {
	if err := c.SetDeadline(time.Now().Add(handshakeLimit)); err != nil {
		return nil, err
	}
	if _, err := c.Write(packet); err != nil {
		return nil, err
	}
	for {
		p, err := c.in.next()
		if err != nil {
			return nil, err
		}
		switch p.head & mqttTypeMask {
		case answer:
			return p.body, c.SetDeadline(time.Time{})
		case mqttPublish:
		default:
			return nil, p.unexpected()
		}
	}
}

// unexpected turns a packet that no state of ours waits for into an error, in the
// broker's words when it disconnects.
func (p mqttPacket) unexpected() error {
	if p.head&mqttTypeMask == mqttDisconnect {
		reason := byte(0)
		if len(p.body) > 0 {
			reason = p.body[0]
		}
		return fmt.Errorf("broker disconnected with reason %#x", reason)
	}
	return fmt.Errorf("unexpected packet of type %d from the broker", p.head>>4)
}

// eachPacket calls handle for every packet and flush after the last one of each
// read, until the connection ends.
func (c *mqttConn) eachPacket(handle func(mqttPacket) error, flush func() error) error {
	for {
		p, ok, err := c.in.take()
		switch {
		case err != nil:
			return err
		case ok:
			err = handle(p)
		default:
			if err = flush(); err == nil {
				err = c.fillMore()
			}
		}
		if err != nil {
			return err
		}
	}
}

// fillMore reads once, after a moment's pause if the read before brought little. A
// broker that writes packets one by one would otherwise meet a reader that is
// always awake already, and both sides would pay for a system call and a switch per
// packet; the windows are wide enough for the pause to cost no throughput.
func (c *mqttConn) fillMore() error {
	if c.in.w < coalesceBelow {
		time.Sleep(c.pause) //nolint:forbidigo // a pause is what is wanted; there is nothing to wait for
	}
	return c.in.fill()
}

// mqttPublisher publishes slices of a block that holds as many encoded copies of
// the message as one write takes. Above QoS 0 each copy gets its packet identifier
// before it is written; the window keeps identifiers from being used twice.
type mqttPublisher struct {
	*mqttConn
	qos   byte
	block []byte
	one   int // bytes of one encoded message
	size  int // of them its body, which is the last
	idAt  int // where in them its identifier is
	last  uint16

	count int    // messages confirmed since the last flush
	rels  []byte // PUBRELs encoded since the last flush
}

func (c mqttClient) publisher(ctx context.Context, clientID string, m mqttMessage, buffer int) (*mqttPublisher, error) {
	mc, err := c.dial(ctx, clientID, true, false, buffer)
	if err != nil {
		return nil, err
	}
	one, idAt := appendPublish(nil, c.version, m)
	p := &mqttPublisher{mqttConn: mc, qos: m.qos, one: len(one), size: len(m.body), idAt: idAt}
	copies := perWrite(len(one))
	if buffer < mqttBuffer { // one among many
		copies = min(copies, fanInTurn)
	}
	p.block = bytes.Repeat(one, copies)
	return p, nil
}

func (p *mqttPublisher) publish(n int) error {
	for n > 0 {
		k := min(n, len(p.block)/p.one)
		if p.qos > 0 {
			p.number(k)
		}
		if _, err := p.Write(p.block[:k*p.one]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// number gives the block's first k messages the next identifiers, which go from 1
// to 65,535.
func (p *mqttPublisher) number(k int) {
	for at := p.idAt; k > 0; k, at = k-1, at+p.one {
		if p.last++; p.last == 0 {
			p.last = 1
		}
		binary.BigEndian.PutUint16(p.block[at:], p.last)
	}
}

func (p *mqttPublisher) confirms(report func(int)) error {
	return p.eachPacket(p.answer, func() error {
		if len(p.rels) > 0 {
			// The publishing goroutine writes too; a Write is never cut by another.
			if _, err := p.Write(p.rels); err != nil {
				return err
			}
			p.rels = p.rels[:0]
		}
		if p.count > 0 {
			report(p.count)
			p.count = 0
		}
		return nil
	})
}

func (p *mqttPublisher) answer(pk mqttPacket) error {
	switch pk.head & mqttTypeMask {
	case mqttPuback, mqttPubcomp:
		p.count++
		_, err := pk.id()
		return err
	case mqttPubrec:
		id, err := pk.id()
		p.rels = appendMQTTAck(p.rels, mqttPubrel, id)
		return err
	}
	return pk.unexpected()
}

// mqttSubscriber counts deliveries and answers them, all answers to one read in one
// write.
type mqttSubscriber struct {
	*mqttConn
	// received, if not nil, is given the last size bytes of each message.
	received func(end []byte)
	size     int

	count   int    // since the last flush
	answers []byte // encoded since the last flush
}

// subscriber connects and subscribes; persistent asks for a session that outlives
// the connection.
func (c mqttClient) subscriber(ctx context.Context, clientID, filter string, qos byte, persistent bool, buffer int) (*mqttSubscriber, error) {
	mc, err := c.dial(ctx, clientID, !persistent, persistent, buffer)
	if err != nil {
		return nil, err
	}
	ack, err := mc.call(appendSubscribe(c.version, filter, qos), mqttSuback)
	if err == nil && (len(ack) == 0 || ack[len(ack)-1] != qos) {
		err = fmt.Errorf("broker granted %#x", ack[max(0, len(ack)-1):])
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe %s with QoS %d: %w", filter, qos, err), mc.Close())
	}
	return &mqttSubscriber{mqttConn: mc}, nil
}

// forget removes the session of clientID.
func (c mqttClient) forget(ctx context.Context, clientID string) error {
	mc, err := c.dial(ctx, clientID, true, false, mqttSmallBuffer)
	if err != nil {
		return fmt.Errorf("remove session %s: %w", clientID, err)
	}
	return mc.disconnect()
}

// disconnect says goodbye, and waits for the broker to have heard it: it then closes
// the connection.
func (c *mqttConn) disconnect() error {
	defer c.Close() // which the broker has done already
	if _, err := c.Write(appendPacket(nil, mqttDisconnect, nil)); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(handshakeLimit)); err != nil {
		return err
	}
	for {
		switch _, err := c.in.next(); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("the broker did not close the connection after DISCONNECT: %w", err)
		case err != nil:
			return nil
		}
	}
}

func (s *mqttSubscriber) deliveries(report func(int)) error {
	return s.eachPacket(s.handle, func() error {
		if len(s.answers) > 0 {
			if _, err := s.Write(s.answers); err != nil {
				return err
			}
			s.answers = s.answers[:0]
		}
		if s.count > 0 {
			report(s.count)
			s.count = 0
		}
		return nil
	})
}

func (s *mqttSubscriber) handle(p mqttPacket) error {
	switch p.head & mqttTypeMask {
	case mqttPublish:
		s.count++
		if s.received != nil {
			s.received(p.body[max(0, len(p.body)-s.size):])
		}
		qos := p.head >> 1 & 3
		if qos == 0 {
			return nil
		}
		id, err := p.publishID()
		answer := byte(mqttPuback)
		if qos == 2 {
			answer = mqttPubrec
		}
		s.answers = appendMQTTAck(s.answers, answer, id)
		return err
	case mqttPubrel & mqttTypeMask:
		id, err := p.id()
		s.answers = appendMQTTAck(s.answers, mqttPubcomp, id)
		return err
	}
	return p.unexpected()
}
