package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// rawChannel is the one channel of a raw connection.
	rawChannel = 1
	// maxFrame is the largest frame a raw connection agrees to.
	maxFrame = 131072
	// handshakeLimit bounds everything before the load: a broker that does not
	// answer must not hang the generator.
	handshakeLimit = 10 * time.Second
	// blockBytes is how much of a producer's pre-encoded block one write takes at
	// most: large enough that the system call no longer counts.
	blockBytes = 128 << 10
)

// serverError is a channel.close or connection.close received from the broker.
type serverError struct {
	Code int
	Text string
}

func (e *serverError) Error() string { return fmt.Sprintf("broker closed with %d: %s", e.Code, e.Text) }

// rawClient speaks just enough AMQP 0-9-1 to produce and consume.
type rawClient struct {
	uri amqp.URI
}

// rawConn is a connection after its handshake, with rawChannel open.
type rawConn struct {
	net.Conn
	in       *frameReader
	frameMax int
}

func (c rawClient) dial(ctx context.Context) (*rawConn, error) {
	addr := net.JoinHostPort(c.uri.Host, strconv.Itoa(c.uri.Port))
	nc, err := (&net.Dialer{Timeout: handshakeLimit}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	rc := &rawConn{Conn: nc, in: newFrameReader(nc)}
	if err := rc.handshake(c.uri); err != nil {
		return nil, errors.Join(fmt.Errorf("open a connection to %s: %w", addr, err), nc.Close())
	}
	return rc, nil
}

// handshake runs section 2.2.4 from the protocol header to channel.open-ok. It
// pipelines what needs no answer.
func (c *rawConn) handshake(uri amqp.URI) error {
	if err := c.SetDeadline(time.Now().Add(handshakeLimit)); err != nil {
		return err
	}
	if _, err := c.Write([]byte(protocolHeader)); err != nil {
		return err
	}
	if _, err := c.expect(connectionStart); err != nil {
		return err
	}
	startOk := binary.BigEndian.AppendUint32(nil, 0) // client-properties: an empty table
	startOk = appendShortstr(startOk, "PLAIN")
	startOk = appendLongstr(startOk, "\x00"+uri.Username+"\x00"+uri.Password)
	startOk = appendShortstr(startOk, "en_US")
	tune, err := c.call(0, connectionStartOk, startOk, connectionTune)
	if err != nil {
		return err
	}
	if len(tune) < 8 {
		return errors.New("connection.tune is cut short")
	}
	channelMax := binary.BigEndian.Uint16(tune)
	c.frameMax = maxFrame
	if server := int(binary.BigEndian.Uint32(tune[2:])); server > 0 {
		c.frameMax = min(c.frameMax, server)
	}
	tuneOk := binary.BigEndian.AppendUint16(nil, channelMax)
	tuneOk = binary.BigEndian.AppendUint32(tuneOk, uint32(c.frameMax))
	tuneOk = binary.BigEndian.AppendUint16(tuneOk, 0) // no heartbeats: runs are short
	if _, err := c.Write(appendMethod(nil, 0, connectionTuneOk, tuneOk)); err != nil {
		return err
	}
	open := appendShortstr(nil, uri.Vhost)
	open = append(appendShortstr(open, ""), 0)
	if _, err := c.call(0, connectionOpen, open, connectionOpenOk); err != nil {
		return err
	}
	if _, err := c.call(rawChannel, channelOpen, appendShortstr(nil, ""), channelOpenOk); err != nil {
		return err
	}
	return c.SetDeadline(time.Time{})
}

// call writes a method and waits for its answer's arguments.
func (c *rawConn) call(channel uint16, id methodID, args []byte, answer methodID) ([]byte, error) {
	if _, err := c.Write(appendMethod(nil, channel, id, args)); err != nil {
		return nil, err
	}
	return c.expect(answer)
}

// expect reads until the method id arrives; of other frames it lets only
// heartbeats pass.
func (c *rawConn) expect(id methodID) ([]byte, error) {
	for {
		fr, err := c.in.next()
		if err != nil {
			return nil, err
		}
		if fr.typ != frameMethod {
			continue
		}
		got, args, err := fr.method()
		if err != nil {
			return nil, err
		}
		if got != id {
			return nil, unexpected(got, args)
		}
		return args, nil
	}
}

// unexpected turns a method that no state of ours waits for into an error, in the
// broker's words when it closes.
func unexpected(id methodID, args []byte) error {
	if id == connectionClose || id == channelClose {
		if len(args) < 3 || len(args) < 3+int(args[2]) {
			return errors.New("broker closed with a malformed close method")
		}
		return &serverError{Code: int(binary.BigEndian.Uint16(args)), Text: string(args[3 : 3+int(args[2])])}
	}
	if id == basicCancel {
		return errors.New("broker cancelled the consumer")
	}
	return fmt.Errorf("unexpected method %d.%d from the broker", id>>16, id&0xffff)
}

// eachFrame calls handle for every frame and flush after the last frame of each
// read, until the connection ends.
func (c *rawConn) eachFrame(handle func(frame) error, flush func() error) error {
	for {
		fr, ok, err := c.in.take()
		switch {
		case err != nil:
			return err
		case ok:
			err = handle(fr)
		default:
			if err = flush(); err == nil {
				err = c.in.fill()
			}
		}
		if err != nil {
			return err
		}
	}
}

// rawProducer publishes slices of a block that holds as many encoded copies of the
// message as one write takes.
type rawProducer struct {
	*rawConn
	block []byte
	one   int // bytes of one encoded message
	acked uint64
	sent  uint64
}

func (c rawClient) producer(ctx context.Context, m message, mode confirmMode) (producer, error) {
	rc, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	if mode != confirmNone {
		if _, err := rc.call(rawChannel, confirmSelect, []byte{0}, confirmSelectOk); err != nil {
			return nil, errors.Join(fmt.Errorf("select confirms: %w", err), rc.Close())
		}
	}
	one := appendMessage(nil, rawChannel, m, rc.frameMax)
	p := &rawProducer{rawConn: rc, one: len(one)}
	for range max(1, blockBytes/len(one)) {
		p.block = append(p.block, one...)
	}
	return p, nil
}

func (p *rawProducer) publish(n int) error {
	for n > 0 {
		k := min(n, len(p.block)/p.one)
		if _, err := p.Write(p.block[:k*p.one]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

func (p *rawProducer) confirms(report func(int)) error {
	pending := 0
	return p.eachFrame(
		func(fr frame) error {
			n, err := p.confirm(fr)
			pending += n
			return err
		},
		func() error {
			if pending > 0 {
				report(pending)
				pending = 0
			}
			return nil
		})
}

// confirm returns how many messages a frame confirms. It counts a single ack as
// one and a multiple as everything up to its tag that was not counted before, which
// is exact as long as a broker never mixes the two out of order; a broker that does
// is counted right again at its next multiple.
func (p *rawProducer) confirm(fr frame) (int, error) {
	if fr.typ != frameMethod {
		return 0, nil
	}
	id, args, err := fr.method()
	switch {
	case err != nil:
		return 0, err
	case id == basicNack:
		return 0, errors.New("broker refused a message (basic.nack)")
	case id != basicAck:
		return 0, unexpected(id, args)
	case len(args) < 9:
		return 0, errors.New("basic.ack is cut short")
	}
	tag, multiple := binary.BigEndian.Uint64(args), args[8]&1 != 0
	if !multiple {
		p.acked++
		return 1, nil
	}
	if tag <= p.acked {
		return 0, nil
	}
	n := tag - p.acked
	p.acked = tag
	return int(n), nil
}

func (p *rawProducer) roundTrip() error {
	if _, err := p.Write(p.block[:p.one]); err != nil {
		return err
	}
	p.sent++
	for p.acked < p.sent {
		fr, err := p.in.next()
		if err != nil {
			return err
		}
		if _, err := p.confirm(fr); err != nil {
			return err
		}
	}
	return nil
}

// rawConsumer counts deliveries and acknowledges them, all acknowledgements of one
// read in one write.
type rawConsumer struct {
	*rawConn
	spec    consumeSpec
	tag     uint64 // of the delivery under way
	left    int    // bytes of its body still to come
	unacked int
	count   int    // messages complete since the last flush
	acks    []byte // encoded since the last flush
}

func (c rawClient) consumer(ctx context.Context, s consumeSpec) (consumer, error) {
	rc, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	qos := binary.BigEndian.AppendUint32(nil, 0)
	qos = binary.BigEndian.AppendUint16(qos, uint16(s.prefetch))
	if _, err := rc.call(rawChannel, basicQos, append(qos, 0), basicQosOk); err != nil {
		return nil, errors.Join(fmt.Errorf("set prefetch %d: %w", s.prefetch, err), rc.Close())
	}
	args := appendShortstr([]byte{0, 0}, s.queue)
	args = appendShortstr(args, "bench")
	var bits byte
	if s.ackEvery == 0 {
		bits = 1 << 1 // no-ack; no-local is bit 0
	}
	args = binary.BigEndian.AppendUint32(append(args, bits), 0)
	if _, err := rc.call(rawChannel, basicConsume, args, basicConsumeOk); err != nil {
		return nil, errors.Join(fmt.Errorf("consume %s: %w", s.queue, err), rc.Close())
	}
	return &rawConsumer{rawConn: rc, spec: s}, nil
}

func (c *rawConsumer) deliveries(report func(int)) error {
	return c.eachFrame(c.handle, func() error {
		if len(c.acks) > 0 {
			if _, err := c.Write(c.acks); err != nil {
				return err
			}
			c.acks = c.acks[:0]
		}
		if c.count > 0 {
			report(c.count)
			c.count = 0
		}
		return nil
	})
}

func (c *rawConsumer) handle(fr frame) error {
	switch fr.typ {
	case frameBody:
		if c.left -= len(fr.payload); c.left < 0 {
			return errors.New("a body is longer than its header announced")
		}
		if c.left == 0 {
			c.complete()
		}
		return nil
	case frameHeader:
		if len(fr.payload) < 12 {
			return errors.New("content header is cut short")
		}
		c.left = int(binary.BigEndian.Uint64(fr.payload[4:]))
		if c.left != c.spec.bodySize {
			return fmt.Errorf("delivery of %d bytes, published were %d", c.left, c.spec.bodySize)
		}
		return nil
	case frameMethod:
		return c.deliver(fr)
	}
	return nil
}

// deliver takes the delivery tag out of basic.deliver: it follows the consumer tag.
func (c *rawConsumer) deliver(fr frame) error {
	id, args, err := fr.method()
	if err != nil {
		return err
	}
	if id != basicDeliver {
		return unexpected(id, args)
	}
	if len(args) < 1 || len(args) < 1+int(args[0])+8 {
		return errors.New("basic.deliver is cut short")
	}
	c.tag = binary.BigEndian.Uint64(args[1+int(args[0]):])
	return nil
}

func (c *rawConsumer) complete() {
	c.count++
	if c.spec.ackEvery == 0 {
		return
	}
	if c.unacked++; c.unacked == c.spec.ackEvery {
		c.acks = appendAck(c.acks, rawChannel, c.tag, c.spec.ackEvery > 1)
		c.unacked = 0
	}
}
