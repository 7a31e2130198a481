package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// fakeBroker is a broker small enough to trust: it routes through the default
// exchange to the one consumer of a queue, confirms and counts acknowledgements. It
// keeps no messages: what is published to a queue without a consumer is confirmed
// and gone.
type fakeBroker struct {
	url      string
	refuseAt int  // the publish that is answered with connection.close, from 1
	nackAt   int  // the publish that is answered with basic.nack, from 1
	loginOff bool // refuse every login
	// onPublish, when set, is called with the number of each complete publish.
	onPublish func(n int)

	mu        sync.Mutex
	queues    map[string]*fakeConn // a declared queue's consumer, nil without one
	declared  int
	published int
	acked     int    // acknowledgement frames
	wire      []byte // frames of content-carrying publishes, as they were read
}

// fakeConn is one accepted connection. Its reader and, for deliveries, the readers
// of other connections write to it.
type fakeConn struct {
	b       *fakeBroker
	in      *frameReader
	confirm bool
	seq     uint64

	queue string // of the publish under way
	left  int
	body  []byte

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
		queues: make(map[string]*fakeConn),
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
	c.in = newFrameReader(c.nc)
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
		channelCloseOk methodID = 20<<16 | 41
		queueDeclare   methodID = 50<<16 | 10
		queueDelete    methodID = 50<<16 | 40
	)
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
		b.queues[shortstr(args[2:])] = nil
		c.method(ch, queueDeclare+1, append(appendShortstr(nil, shortstr(args[2:])), make([]byte, 8)...))
	case queueDelete:
		delete(b.queues, shortstr(args[2:]))
		c.method(ch, queueDelete+1, make([]byte, 4))
	case basicConsume:
		queue := shortstr(args[2:])
		args = args[2+1+len(queue):]
		tag := shortstr(args)
		c.noAck = args[1+len(tag)]&2 != 0
		b.queues[queue] = c
		c.method(ch, basicConsumeOk, appendShortstr(nil, tag))
	case basicPublish:
		exchange := shortstr(args[2:])
		c.queue = shortstr(args[2+1+len(exchange):])
	case basicAck:
		b.acked++
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

// route delivers and confirms the publish that just became complete.
func (c *fakeConn) route() bool {
	c.b.mu.Lock()
	c.b.published++
	n, to := c.b.published, c.b.queues[c.queue]
	c.b.mu.Unlock()
	if c.b.onPublish != nil {
		c.b.onPublish(n)
	}
	if n == c.b.refuseAt {
		c.close(320, "CONNECTION_FORCED - test")
		return false
	}
	if to != nil {
		to.deliver(c.queue, c.body)
	}
	if c.confirm {
		c.seq++
		id := basicAck
		if n == c.b.nackAt {
			id = basicNack
		}
		c.method(1, id, append(binary.BigEndian.AppendUint64(nil, c.seq), 0))
	}
	return true
}

func (c *fakeConn) deliver(queue string, body []byte) {
	c.mu.Lock()
	c.tag++
	tag := c.tag
	c.mu.Unlock()
	args := binary.BigEndian.AppendUint64(appendShortstr(nil, "bench"), tag)
	args = appendShortstr(append(args, 0), "")
	out := appendMethod(nil, 1, basicDeliver, appendShortstr(args, queue))
	header := append([]byte{0, classBasic, 0, 0}, binary.BigEndian.AppendUint64(nil, uint64(len(body)))...)
	out = appendFrame(out, frameHeader, 1, append(header, 0, 0))
	c.write(appendFrame(out, frameBody, 1, body))
}
