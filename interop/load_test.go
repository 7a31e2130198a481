package interop

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// loadConn is a connection with channel 1 open, for loads that a client library
// would slow down: what it writes is encoded before, and what it reads is counted.
type loadConn struct {
	net.Conn
	in *bufio.Reader
}

func openLoad(addr string) (*loadConn, error) {
	nc, err := net.DialTimeout("tcp", addr, patience) //nolint:noctx // it has a timeout
	if err != nil {
		return nil, err
	}
	c, err := newLoad(nc, 256<<10)
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return c, nil
}

// newLoad logs in on a connection and opens its channel 1.
func newLoad(nc net.Conn, buffer int) (*loadConn, error) {
	c := &loadConn{nc, bufio.NewReaderSize(nc, buffer)}
	if _, err := c.Write([]byte(rawHeader)); err != nil {
		return nil, err
	}
	if _, err := c.expect(10, 10); err != nil {
		return nil, err
	}
	if err := c.call(0, rawStartOk, 10, 30); err != nil {
		return nil, err
	}
	if _, err := c.Write(rawFrame(1, 0, rawTuneOk)); err != nil {
		return nil, err
	}
	if err := c.call(0, rawOpen, 10, 41); err != nil {
		return nil, err
	}
	return c, c.call(1, rawChannel, 20, 11)
}

// call writes a method and waits for its answer.
func (c *loadConn) call(channel uint16, method string, class, answer uint16) error {
	if _, err := c.Write(rawFrame(1, channel, method)); err != nil {
		return err
	}
	_, err := c.expect(class, answer)
	return err
}

// frame reads one frame. Its payload is valid until the next call.
func (c *loadConn) frame() (typ byte, payload []byte, err error) {
	head, err := c.in.Peek(7)
	if err != nil {
		return 0, nil, err
	}
	typ = head[0]
	size := 7 + int(binary.BigEndian.Uint32(head[3:])) + 1
	all, err := c.in.Peek(size)
	if err != nil {
		return 0, nil, err
	}
	if _, err := c.in.Discard(size); err != nil {
		return 0, nil, err
	}
	return typ, all[7 : size-1], nil
}

// expect reads until a method comes, which must be this one, and returns its arguments.
func (c *loadConn) expect(class, method uint16) ([]byte, error) {
	for {
		typ, payload, err := c.frame()
		if err != nil {
			return nil, err
		}
		if typ != 1 {
			continue
		}
		if got := methodOf(payload); got != uint32(class)<<16|uint32(method) {
			return nil, fmt.Errorf("method %d.%d %q, want %d.%d", got>>16, got&0xffff, payload[4:], class, method)
		}
		return payload[4:], nil
	}
}

func methodOf(payload []byte) uint32 { return binary.BigEndian.Uint32(payload) }

func shortstr(s string) string { return string([]byte{byte(len(s))}) + s }

// declare makes a durable queue.
func (c *loadConn) declare(queue string) error {
	return c.call(1, "\x00\x32\x00\x0a\x00\x00"+shortstr(queue)+"\x02\x00\x00\x00\x00", 50, 11)
}

// purge empties a queue and delete removes it; both return when the broker has answered.
func (c *loadConn) purge(queue string) error {
	return c.call(1, "\x00\x32\x00\x1e\x00\x00"+shortstr(queue)+"\x00", 50, 31)
}

func (c *loadConn) delete(queue string) error {
	return c.call(1, "\x00\x32\x00\x28\x00\x00"+shortstr(queue)+"\x00", 50, 41)
}

// publisher publishes persistent messages to queues in turn and counts their confirms.
type publisher struct {
	*loadConn
	block  []byte // encoded messages
	ends   []int  // of each of them
	next   int    // the message of the block that is sent next
	sent   atomic.Int64
	acked  atomic.Int64
	signal chan struct{} // one token: acked has grown, or the connection has ended
	ended  chan struct{} // closed then; err is set
	err    error
}

const loadBlock = 128 << 10

func newPublisher(addr string, queues []string, size int) (*publisher, error) {
	c, err := openLoad(addr)
	if err != nil {
		return nil, err
	}
	if err := c.call(1, "\x00\x55\x00\x0a\x00", 85, 11); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	p := &publisher{loadConn: c, signal: make(chan struct{}, 1), ended: make(chan struct{})}
	body := strings.Repeat("x", size)
	for len(p.block) < loadBlock {
		for _, queue := range queues {
			p.block = append(p.block, rawFrame(1, 1, "\x00\x3c\x00\x28\x00\x00\x00"+shortstr(queue)+"\x00")...)
			header := "\x00\x3c\x00\x00" + string(binary.BigEndian.AppendUint64(nil, uint64(size))) + "\x10\x00\x02"
			p.block = append(append(p.block, rawFrame(2, 1, header)...), rawFrame(3, 1, body)...)
			p.ends = append(p.ends, len(p.block))
		}
	}
	go p.confirms() // ends with the connection
	return p, nil
}

func (p *publisher) confirms() {
	defer close(p.ended)
	for {
		args, err := p.expect(60, 80)
		if err != nil {
			p.err = err
			return
		}
		if tag := binary.BigEndian.Uint64(args); args[8] != 0 {
			p.acked.Store(int64(tag))
		} else {
			p.acked.Add(1)
		}
		select {
		case p.signal <- struct{}{}:
		default: // the publisher is told already
		}
	}
}

// run publishes n messages, no more than window of them unconfirmed, until more returns false; nil never does.
func (p *publisher) run(n, window int, more func() bool) error {
	for n > 0 && (more == nil || more()) {
		free := window - int(p.sent.Load()-p.acked.Load())
		if free < min(window/2, n) {
			if err := p.wait(); err != nil {
				return err
			}
			continue
		}
		k := min(free, n, len(p.ends)-p.next)
		from := 0
		if p.next > 0 {
			from = p.ends[p.next-1]
		}
		if _, err := p.Write(p.block[from:p.ends[p.next+k-1]]); err != nil {
			return err
		}
		p.sent.Add(int64(k))
		p.next = (p.next + k) % len(p.ends)
		n -= k
	}
	return nil
}

func (p *publisher) wait() error {
	select {
	case <-p.signal:
		return nil
	case <-p.ended:
		return p.err
	}
}

// confirmed waits until all that was published is.
func (p *publisher) confirmed() error {
	for p.acked.Load() < p.sent.Load() {
		if err := p.wait(); err != nil {
			return err
		}
	}
	return nil
}

// publishAll publishes n messages and waits until they are confirmed.
func publishAll(addr string, queues []string, size, n int) (time.Duration, error) {
	p, err := newPublisher(addr, queues, size)
	if err != nil {
		return 0, err
	}
	defer p.Close() // all is confirmed, or lost
	start := time.Now()
	err = p.run(n, 20_000, nil)
	if err == nil {
		err = p.confirmed()
	}
	return time.Since(start), err
}

// subscription consumes from queues on one channel and counts what comes.
type subscription struct {
	*loadConn
	keep     int // every keep-th message is not acknowledged; 0: all are
	received int
	unacked  int
	tag      uint64
	acks     []byte
}

func subscribeAll(addr string, queues []string, prefetch int) (*subscription, error) {
	c, err := openLoad(addr)
	if err != nil {
		return nil, err
	}
	qos := string(binary.BigEndian.AppendUint16([]byte("\x00\x3c\x00\x0a\x00\x00\x00\x00"), uint16(prefetch))) + "\x00"
	if err := c.call(1, qos, 60, 11); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	for i, queue := range queues {
		consume := "\x00\x3c\x00\x14\x00\x00" + shortstr(queue) + shortstr(fmt.Sprint("c", i)) + "\x00\x00\x00\x00\x00"
		if _, err := c.Write(rawFrame(1, 1, consume)); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return &subscription{loadConn: c}, nil
}

// ackEvery is how many messages one acknowledgement covers.
const ackEvery = 500

// receive reads n messages, of size bytes each in one frame, and acknowledges them unless hold is set.
func (s *subscription) receive(n int, hold bool) error {
	for n > 0 {
		typ, payload, err := s.frame()
		if err != nil {
			return err
		}
		switch typ {
		case 1:
			if methodOf(payload) == 60<<16|60 {
				s.tag = binary.BigEndian.Uint64(payload[5+payload[4]:])
			}
			continue
		case 3:
			n--
			s.received++
		default:
			continue
		}
		if hold {
			continue
		}
		if err := s.settle(n == 0); err != nil {
			return err
		}
	}
	return nil
}

// settle acknowledges the message that was just read, in time.
func (s *subscription) settle(now bool) error {
	s.unacked++
	if s.keep > 0 {
		if s.received%s.keep != 0 {
			s.acks = append(s.acks, ackFrame(s.tag, false)...)
		}
	} else if now || s.unacked >= ackEvery || s.in.Buffered() < 7 {
		s.acks = append(s.acks, ackFrame(s.tag, true)...)
	}
	if !now && s.unacked < ackEvery && s.in.Buffered() >= 7 {
		return nil
	}
	s.unacked = 0
	_, err := s.Write(s.acks)
	s.acks = s.acks[:0]
	return err
}

func ackFrame(tag uint64, multiple bool) []byte {
	b := binary.BigEndian.AppendUint64([]byte("\x00\x3c\x00\x50"), tag)
	if multiple {
		return rawFrame(1, 1, string(append(b, 1)))
	}
	return rawFrame(1, 1, string(append(b, 0)))
}
