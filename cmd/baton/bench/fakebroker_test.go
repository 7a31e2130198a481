package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
)

// fakeBroker is a broker small enough to trust: it routes through the default
// exchange to a queue, and through any other to each queue that is bound to it, by
// whatever pattern. A queue has one consumer, or keeps its messages; those that
// consume wins get all at once, whatever their prefetch. It confirms and counts
// acknowledgements.
type fakeBroker struct {
	url      string
	refuseAt int  // the publish that is answered with connection.close, from 1
	nackAt   int  // the publish that is answered with basic.nack, from 1
	loginOff bool // refuse every login
	// onPublish, when set, is called with the number of each complete publish.
	onPublish func(n int)

	mu        sync.Mutex
	queues    map[string]*fakeQueue
	exchanges map[string]map[string]bool // the queues bound to each
	declared  int
	bound     int // bindings
	published int
	acked     int    // acknowledgement frames
	confirmed int    // confirms
	early     int    // acknowledgements of more messages than are confirmed
	wire      []byte // frames of content-carrying publishes, as they were read
}

// fakeQueue is a queue; its broker's mu guards it.
type fakeQueue struct {
	consumer *fakeConn
	ready    [][]byte // while there is no consumer
}

// fakeConn is one accepted connection. Its reader and, for deliveries, the readers
// of other connections write to it.
type fakeConn struct {
	b       *fakeBroker
	in      *frameReader
	confirm bool
	seq     uint64

	exchange string // of the publish under way
	key      string
	left     int
	body     []byte

	mu    sync.Mutex
	nc    net.Conn
	tag   uint64
	noAck bool
}

func startFake(tb testing.TB) *fakeBroker {
	tb.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	b := &fakeBroker{
		url:    fmt.Sprintf("amqp://guest:guest@%s/", ln.Addr()),
		queues: make(map[string]*fakeQueue), exchanges: make(map[string]map[string]bool),
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
			wg.Go(func() { (&fakeConn{b: b, nc: nc}).serve() })
		}
	})
	return b
}

func (c *fakeConn) serve() {
	defer c.nc.Close()
	header := make([]byte, len(protocolHeader))
	if _, err := io.ReadFull(c.nc, header); err != nil || string(header) != protocolHeader {
		return
	}
	c.in = newFrameReader(c.nc, readBuffer)
	product := append(appendShortstr(nil, "product"), 'S')
	product = appendLongstr(product, "Fake")
	props := append(binary.BigEndian.AppendUint32(nil, uint32(len(product))), product...)
	start := append([]byte{0, 9}, props...)
	c.method(0, connectionStart, appendLongstr(appendLongstr(start, "PLAIN"), "en_US"))
	for {
		fr, err := c.in.next()
		if err != nil {
			return
		}
		c.record(fr)
		switch fr.typ {
		case frameMethod:
			id, args, _ := fr.method()
			if !c.handle(id, fr.channel, args) {
				return
			}
		case frameHeader:
			c.left, c.body = int(binary.BigEndian.Uint64(fr.payload[4:])), nil
		case frameBody:
			c.body = append(c.body, fr.payload...)
			if c.left -= len(fr.payload); c.left == 0 && !c.route() {
				return
			}
		}
	}
}

func (c *fakeConn) record(fr frame) {
	id, _, err := fr.method()
	publish := fr.typ == frameHeader || fr.typ == frameBody || err == nil && id == basicPublish
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if publish && len(c.b.wire) < 1<<20 {
		c.b.wire = appendFrame(c.b.wire, fr.typ, fr.channel, fr.payload)
	}
}

func (c *fakeConn) write(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.nc.Write(b) // a client that is gone is noticed by the reader
}

func (c *fakeConn) method(channel uint16, id methodID, args []byte) {
	c.write(appendMethod(nil, channel, id, args))
}

// shortstr reads a short string at the start of b.
func shortstr(b []byte) string { return string(b[1 : 1+int(b[0])]) }

// handle answers one method; false ends the connection.
func (c *fakeConn) handle(id methodID, ch uint16, args []byte) bool {
	const (
		channelCloseOk  methodID = 20<<16 | 41
		exchangeDeclare methodID = 40<<16 | 10
		exchangeDelete  methodID = 40<<16 | 20
		queueDeclare    methodID = 50<<16 | 10
		queueDelete     methodID = 50<<16 | 40
	)
	// noWait is bit n of the octet after the strings that begin at args[2:].
	noWait := func(strings, bit int) bool {
		at := 2
		for range strings {
			at += 1 + int(args[at])
		}
		return args[at]>>bit&1 != 0
	}
	b := c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	switch id {
	case connectionStartOk:
		if b.loginOff {
			b.mu.Unlock()
			c.close(403, "ACCESS_REFUSED - no")
			b.mu.Lock()
			return false
		}
		c.method(0, connectionTune, []byte{7, 255, 0, 2, 0, 0, 0, 0})
	case connectionTuneOk: // has no answer
	case connectionOpen:
		c.method(0, connectionOpenOk, []byte{0})
	case channelOpen:
		c.method(ch, channelOpenOk, []byte{0, 0, 0, 0})
	case basicQos:
		c.method(ch, basicQosOk, nil)
	case confirmSelect:
		c.confirm = true
		c.method(ch, confirmSelectOk, nil)
	case queueDeclare:
		b.declared++
		b.queues[shortstr(args[2:])] = new(fakeQueue)
		if !noWait(1, 4) {
			c.method(ch, queueDeclare+1, append(appendShortstr(nil, shortstr(args[2:])), make([]byte, 8)...))
		}
	case queueDelete:
		delete(b.queues, shortstr(args[2:]))
		if !noWait(1, 2) {
			c.method(ch, queueDelete+1, make([]byte, 4))
		}
	case exchangeDeclare:
		b.exchanges[shortstr(args[2:])] = make(map[string]bool)
		c.method(ch, exchangeDeclare+1, nil)
	case exchangeDelete:
		delete(b.exchanges, shortstr(args[2:]))
		c.method(ch, exchangeDelete+1, nil)
	case queueBind:
		queue := shortstr(args[2:])
		b.bound++
		exchange := shortstr(args[2+1+len(queue):])
		if b.exchanges[exchange] == nil {
			b.exchanges[exchange] = make(map[string]bool)
		}
		b.exchanges[exchange][queue] = true
		if !noWait(3, 0) {
			c.method(ch, queueBindOk, nil)
		}
	case basicConsume:
		queue := shortstr(args[2:])
		args = args[2+1+len(queue):]
		tag := shortstr(args)
		c.noAck = args[1+len(tag)]&2 != 0
		q := b.queues[queue]
		q.consumer = c
		c.method(ch, basicConsumeOk, appendShortstr(nil, tag))
		for _, body := range q.ready {
			c.deliver(queue, body)
		}
		q.ready = nil
	case basicPublish:
		c.exchange = shortstr(args[2:])
		c.key = shortstr(args[2+1+len(c.exchange):])
	case basicAck:
		b.acked++
		if binary.BigEndian.Uint64(args) > uint64(b.confirmed) {
			b.early++
		}
	case channelClose:
		c.method(ch, channelCloseOk, nil)
	case connectionClose:
		c.method(0, connectionClose+1, nil)
		return false
	default: // what a client of the bench does not send
		return false
	}
	return true
}

// close sends connection.close and discards what comes until the client hangs up:
// cutting the socket first would reset it and lose the reason on its way.
func (c *fakeConn) close(code uint16, text string) {
	args := appendShortstr(binary.BigEndian.AppendUint16(nil, code), text)
	c.method(0, connectionClose, append(args, 0, 0, 0, 0))
	_, _ = io.Copy(io.Discard, c.nc)
}

// route delivers, or keeps, and confirms the publish that just became complete.
func (c *fakeConn) route() bool {
	b := c.b
	b.mu.Lock()
	b.published++
	n := b.published
	b.mu.Unlock()
	if b.onPublish != nil {
		b.onPublish(n)
	}
	if n == b.refuseAt {
		c.close(320, "CONNECTION_FORCED - test")
		return false
	}
	if c.exchange == "" {
		b.enqueue(c.key, c.body)
	}
	b.mu.Lock()
	bound := slices.Collect(maps.Keys(b.exchanges[c.exchange]))
	b.mu.Unlock()
	for _, q := range bound {
		b.enqueue(q, c.body)
	}
	if c.confirm {
		c.seq++
		id := basicAck
		if n == b.nackAt {
			id = basicNack
		}
		b.mu.Lock()
		b.confirmed++
		b.mu.Unlock()
		c.method(1, id, append(binary.BigEndian.AppendUint64(nil, c.seq), 0))
	}
	return true
}

// enqueue gives a message to a queue's consumer, or to the queue.
func (b *fakeBroker) enqueue(queue string, body []byte) {
	b.mu.Lock()
	q := b.queues[queue]
	if q != nil && q.consumer == nil {
		q.ready = append(q.ready, body)
		q = nil
	}
	b.mu.Unlock()
	if q != nil {
		q.consumer.deliver(queue, body)
	}
}

func (c *fakeConn) deliver(queue string, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tag++
	args := binary.BigEndian.AppendUint64(appendShortstr(nil, "bench"), c.tag)
	args = appendShortstr(append(args, 0), "")
	out := appendMethod(nil, 1, basicDeliver, appendShortstr(args, queue))
	header := append([]byte{0, classBasic, 0, 0}, binary.BigEndian.AppendUint64(nil, uint64(len(body)))...)
	out = appendFrame(out, frameHeader, 1, append(header, 0, 0))
	_, _ = c.nc.Write(appendFrame(out, frameBody, 1, body)) // a client that is gone is noticed by the reader
}
