package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
)

// rawConsumer counts deliveries and acknowledges them, all acknowledgements of one
// read in one write.
type rawConsumer struct {
	*rawConn
	spec    consumeSpec
	tag     uint64 // of the delivery under way
	whole   uint64 // tag of the last delivery that is complete
	left    int    // bytes of its body still to come
	unacked int
	count   int    // messages complete since the last flush
	acks    []byte // encoded since the last flush

	behind behind
}

func (c rawClient) consumer(ctx context.Context, s consumeSpec) (amqpConsumer, error) {
	buffer := readBuffer
	if s.many {
		buffer = smallReadBuffer
	}
	rc, err := c.dial(ctx, buffer)
	if err != nil {
		return nil, err
	}
	if s.many {
		rc.pause = manyPause
	}
	qos := binary.BigEndian.AppendUint32(nil, 0)
	qos = binary.BigEndian.AppendUint16(qos, uint16(s.prefetch))
	if _, err := rc.call(rawChannel, basicQos, append(qos, 0), basicQosOk); err != nil {
		return nil, errors.Join(fmt.Errorf("set prefetch %d: %w", s.prefetch, err), rc.Close())
	}
	for i, queue := range s.queues {
		if err := rc.consume(queue, strconv.Itoa(i), s.ackEvery == 0); err != nil {
			return nil, errors.Join(fmt.Errorf("consume %s: %w", queue, err), rc.Close())
		}
	}
	return &rawConsumer{rawConn: rc, spec: s}, nil
}

func (c *rawConn) consume(queue, tag string, noAck bool) error {
	args := appendShortstr([]byte{0, 0}, queue)
	args = appendShortstr(args, tag)
	var bits byte
	if noAck {
		bits = 1 << 1 // no-local is bit 0
	}
	args = binary.BigEndian.AppendUint32(append(args, bits), 0)
	_, err := c.call(rawChannel, basicConsume, args, basicConsumeOk)
	return err
}

func (c *rawConsumer) deliveries(report func(int)) error {
	return c.eachFrame(c.handle, func() error {
		if c.spec.behind > 0 {
			if err := c.follow(0, c.whole); err != nil {
				return err
			}
		}
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
	c.whole = c.tag
	if c.spec.ackEvery == 0 || c.spec.behind > 0 {
		return
	}
	if c.unacked++; c.unacked == c.spec.ackEvery {
		c.acks = appendAck(c.acks, rawChannel, c.tag, c.spec.ackEvery > 1)
		c.unacked = 0
	}
}

// behind is what a consumer needs that stays behind its producer's confirms.
type behind struct {
	mu        sync.Mutex
	confirmed uint64 // messages of the producer
	delivered uint64 // tag of the last delivery that was read
	acked     uint64 // tag of the last acknowledgement
	acks      []byte
}

// confirmed lets acknowledgements go that were held back. An error is that of the
// connection, which its reader meets too.
func (c *rawConsumer) confirmed(n int) { _ = c.follow(n, 0) }

// follow takes note of n more confirms and of a delivery, and acknowledges what may be.
// Queue, producer and consumer are one of a kind, so that the delivery with tag n is
// the message that was published as the nth.
func (c *rawConsumer) follow(n int, tag uint64) error {
	b := &c.behind
	b.mu.Lock()
	defer b.mu.Unlock()
	b.confirmed += uint64(n)
	b.delivered = max(b.delivered, tag)
	every := uint64(c.spec.ackEvery)
	for b.acked+every <= b.delivered && b.acked+every+uint64(c.spec.behind) <= b.confirmed {
		b.acked += every
		b.acks = appendAck(b.acks, rawChannel, b.acked, every > 1)
	}
	if len(b.acks) == 0 {
		return nil
	}
	_, err := c.Write(b.acks)
	b.acks = b.acks[:0]
	return err
}
