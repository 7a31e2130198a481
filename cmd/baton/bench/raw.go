package bench

import (
	"bytes"
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
	pause    time.Duration // before a read after one that brought little; 0: none
}

func newRawClient(url string) (rawClient, error) {
	uri, err := amqp.ParseURI(url)
	if err != nil {
		return rawClient{}, fmt.Errorf("parse the URL for AMQP: %w", err)
	}
	if uri.Scheme != "amqp" {
		return rawClient{}, fmt.Errorf("the raw client does not speak %s: use --client %s", uri.Scheme, clientAMQP091)
	}
	return rawClient{uri: uri}, nil
}

func (c rawClient) dial(ctx context.Context, buffer int) (*rawConn, error) {
	addr := net.JoinHostPort(c.uri.Host, strconv.Itoa(c.uri.Port))
	nc, err := (&net.Dialer{Timeout: handshakeLimit}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	rc := &rawConn{Conn: nc, in: newFrameReader(nc, buffer), frameMax: min(maxFrame, buffer/2)}
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
				if c.pause > 0 && c.in.w < coalesceBelow {
					time.Sleep(c.pause) //nolint:forbidigo // see mqttConn.fillMore
				}
				err = c.in.fill()
			}
		}
		if err != nil {
			return err
		}
	}
}

// rawProducer publishes slices of a block of encoded messages, all of one length:
// one for each routing key, or with a single one as many copies as a write takes.
type rawProducer struct {
	*rawConn
	block []byte
	one   int // bytes of one encoded message
	keys  int
	at    int // in the block, the message that is next
	acked uint64
	sent  uint64
}

func (c rawClient) producer(ctx context.Context, m message, mode confirmMode) (producer, error) {
	rc, err := c.dial(ctx, readBuffer)
	if err != nil {
		return nil, err
	}
	if mode != confirmNone {
		if _, err := rc.call(rawChannel, confirmSelect, []byte{0}, confirmSelectOk); err != nil {
			return nil, errors.Join(fmt.Errorf("select confirms: %w", err), rc.Close())
		}
	}
	p := &rawProducer{rawConn: rc, keys: len(m.keys)}
	for i, key := range m.keys {
		p.block = appendMessage(p.block, rawChannel, m, key, rc.frameMax)
		if p.one = len(p.block) / (i + 1); p.one*(i+1) != len(p.block) {
			return nil, errors.Join(fmt.Errorf("routing key %q is longer or shorter than those before it", key), rc.Close())
		}
	}
	if p.keys == 1 {
		p.block = bytes.Repeat(p.block, perWrite(p.one))
	}
	return p, nil
}

// perWrite is how many messages of an encoded length one write takes.
func perWrite(one int) int { return max(1, blockBytes/one) }

func (p *rawProducer) publish(n int) error {
	for n > 0 {
		k := min(n, len(p.block)/p.one-p.at, perWrite(p.one))
		if _, err := p.Write(p.block[p.at*p.one : (p.at+k)*p.one]); err != nil {
			return err
		}
		if p.keys > 1 {
			p.at = (p.at + k) % p.keys
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
