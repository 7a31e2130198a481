package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// libraryClient drives the broker through amqp091-go: what an application in Go
// would see. On few cores it costs more than a fast broker does.
type libraryClient struct {
	url string
}

// libraryConn is a connection with one channel.
type libraryConn struct {
	conn *amqp.Connection
	ch   *amqp.Channel
	// ended waits until either has ended and returns why; every caller gets the
	// broker's reason, whoever asks first. A clean end is an error too, because the
	// load was still on.
	ended func() error
}

func (c libraryClient) dial() (libraryConn, error) {
	conn, err := amqp.Dial(c.url)
	if err != nil {
		return libraryConn{}, fmt.Errorf("open a connection: %w", err)
	}
	ch, err := conn.Channel()
	if err != nil {
		return libraryConn{}, errors.Join(fmt.Errorf("open a channel: %w", err), conn.Close())
	}
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	return libraryConn{conn: conn, ch: ch, ended: sync.OnceValue(func() error {
		if err := <-closed; err != nil {
			return err
		}
		return amqp.ErrClosed
	})}, nil
}

// identify asks a broker for its name, which is in its server-properties. Brokers present
// themselves under another's product name, because clients key their behaviour on
// it; whose copyright it is tells them apart.
func identify(url string) (identity, error) {
	lc, err := libraryClient{url: url}.dial()
	if err != nil {
		return identity{}, err
	}
	text := func(key string) string {
		s, _ := lc.conn.Properties[key].(string)
		return s
	}
	id := identity{
		product:   strings.TrimSpace(cmp.Or(text("product"), "unknown") + " " + text("version")),
		copyright: text("copyright"),
	}
	return id, lc.Close()
}

// Close bounds the closing handshake: a broker with full buffers answers late.
func (c libraryConn) Close() error {
	if c.conn.IsClosed() {
		return nil
	}
	return c.conn.CloseDeadline(time.Now().Add(time.Second))
}

// cause replaces the library's «not open», or the error of the socket that it had
// just closed, by why it is so.
func (c libraryConn) cause(err error) error {
	if errors.Is(err, amqp.ErrClosed) || errors.Is(err, net.ErrClosed) {
		return c.ended()
	}
	return err
}

type libraryProducer struct {
	libraryConn
	exchange string
	keys     []string // used in turn
	next     int
	msg      amqp.Publishing
	acks     chan amqp.Confirmation
}

// key is the routing key of the next message.
func (p *libraryProducer) key() string {
	k := p.keys[p.next]
	p.next = (p.next + 1) % len(p.keys)
	return k
}

func (c libraryClient) producer(_ context.Context, m message, mode confirmMode) (producer, error) {
	lc, err := c.dial()
	if err != nil {
		return nil, err
	}
	p := &libraryProducer{libraryConn: lc, exchange: m.exchange, keys: m.keys, msg: m.publishing()}
	if mode == confirmNone {
		return p, nil
	}
	if err := lc.ch.Confirm(false); err != nil {
		return nil, errors.Join(fmt.Errorf("select confirms: %w", err), lc.Close())
	}
	if mode == confirmStream {
		// Registered before the first publish, else its confirm could be missed.
		p.acks = lc.ch.NotifyPublish(make(chan amqp.Confirmation, 1024))
	}
	return p, nil
}

// publishing is the message as amqp091-go takes it.
func (m message) publishing() amqp.Publishing {
	p := amqp.Publishing{Body: m.body}
	if m.persistent {
		p.DeliveryMode = amqp.Persistent
	}
	return p
}

func (p *libraryProducer) publish(n int) error {
	for range n {
		if err := p.ch.Publish(p.exchange, p.key(), false, false, p.msg); err != nil {
			return p.cause(err)
		}
	}
	return nil
}

func (p *libraryProducer) confirms(report func(int)) error {
	if p.acks == nil {
		return p.ended()
	}
	for c := range p.acks {
		if !c.Ack {
			return errors.New("broker refused a message (basic.nack)")
		}
		report(1)
	}
	return p.ended()
}

func (p *libraryProducer) roundTrip() error {
	d, err := p.ch.PublishWithDeferredConfirm(p.exchange, p.key(), false, false, p.msg)
	if err != nil {
		return p.cause(err)
	}
	switch acked := d.Wait(); {
	case acked:
		return nil
	case p.ch.IsClosed(): // a closing channel resolves what it still awaits
		return p.ended()
	default:
		return errors.New("broker refused a message (basic.nack)")
	}
}

type libraryConsumer struct {
	libraryConn
	in   <-chan amqp.Delivery
	spec consumeSpec
}

func (c libraryClient) consumer(_ context.Context, s consumeSpec) (amqpConsumer, error) {
	if s.behind > 0 || len(s.queues) != 1 {
		return nil, fmt.Errorf("client %s cannot consume %d queues, or stay behind confirms: use --client %s", clientAMQP091, len(s.queues), clientRaw)
	}
	lc, err := c.dial()
	if err != nil {
		return nil, err
	}
	if err := lc.ch.Qos(s.prefetch, 0, false); err != nil {
		return nil, errors.Join(fmt.Errorf("set prefetch %d: %w", s.prefetch, err), lc.Close())
	}
	in, err := lc.ch.Consume(s.queues[0], "bench", s.ackEvery == 0, false, false, false, nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("consume %s: %w", s.queues[0], err), lc.Close())
	}
	return &libraryConsumer{libraryConn: lc, in: in, spec: s}, nil
}

// confirmed has nothing to do: see consumer.
func (*libraryConsumer) confirmed(int) {}

func (c *libraryConsumer) deliveries(report func(int)) error {
	unacked := 0
	for d := range c.in {
		if len(d.Body) != c.spec.bodySize {
			return fmt.Errorf("delivery of %d bytes, published were %d", len(d.Body), c.spec.bodySize)
		}
		report(1)
		if c.spec.ackEvery == 0 {
			continue
		}
		if unacked++; unacked == c.spec.ackEvery {
			unacked = 0
			if err := d.Ack(c.spec.ackEvery > 1); err != nil {
				return c.cause(err)
			}
		}
	}
	return c.ended()
}
