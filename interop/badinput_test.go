package interop

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// rawConn is a connection on which a test writes bytes as it likes.
type rawConn struct {
	net.Conn
	t *testing.T
}

func dialRaw(t *testing.T) rawConn {
	t.Helper()
	nc, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", sharedAddr(t))
	must(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	// A broker of another make gives ten seconds to a silent handshake.
	must(t, nc.SetDeadline(time.Now().Add(patience+handshakeTimeout)))
	return rawConn{nc, t}
}

// send writes b. That the broker closes before it has read all is no failure.
func (c rawConn) send(b ...byte) { _, _ = c.Write(b) }

// rawFrame is section 4.2.3's frame.
func rawFrame(typ byte, channel uint16, payload string) []byte {
	b := binary.BigEndian.AppendUint16([]byte{typ}, channel)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	return append(append(b, payload...), 0xCE)
}

// Methods that open a connection for guest, a channel, and publish to the default
// exchange; the protocol header goes before them.
const (
	rawHeader  = "AMQP\x00\x00\x09\x01"
	rawStartOk = "\x00\x0a\x00\x0b" + "\x00\x00\x00\x00" + "\x05PLAIN" + "\x00\x00\x00\x0c\x00guest\x00guest" + "\x05en_US"
	rawTuneOk  = "\x00\x0a\x00\x1f" + "\x07\xff" + "\x00\x00\x10\x00" + "\x00\x00" // channel_max 2047, frame_max 4096
	rawOpen    = "\x00\x0a\x00\x28" + "\x01/\x00\x00"
	rawChannel = "\x00\x14\x00\x0a\x00"
	rawQos     = "\x00\x3c\x00\x0a" + "\x00\x00\x00\x00\x00\x01\x00"
	rawPublish = "\x00\x3c\x00\x28" + "\x00\x00\x00\x04none\x00"

	rawFrameMax = 4096
)

// open brings the connection to where a channel 1 is open and has read everything
// the broker had to say until then.
func (c rawConn) open() {
	c.t.Helper()
	c.send([]byte(rawHeader)...)
	c.expect(10, 10)
	c.send(rawFrame(1, 0, rawStartOk)...)
	c.expect(10, 30)
	c.send(rawFrame(1, 0, rawTuneOk)...)
	c.send(rawFrame(1, 0, rawOpen)...)
	c.expect(10, 41)
	c.send(rawFrame(1, 1, rawChannel)...)
	c.expect(20, 11)
}

// next reads one frame.
func (c rawConn) next() (typ byte, payload []byte, err error) {
	head := make([]byte, 7)
	if _, err := io.ReadFull(c, head); err != nil {
		return 0, nil, err
	}
	payload = make([]byte, binary.BigEndian.Uint32(head[3:])+1)
	_, err = io.ReadFull(c, payload)
	return head[0], payload[:len(payload)-1], err
}

// expect reads until the method arrives; anything else that is a method fails.
func (c rawConn) expect(class, method uint16) []byte {
	c.t.Helper()
	for {
		typ, payload, err := c.next()
		if err != nil {
			c.t.Fatalf("waiting for method %d.%d: %v", class, method, err)
		}
		if typ != 1 {
			continue
		}
		if got := [2]uint16{binary.BigEndian.Uint16(payload), binary.BigEndian.Uint16(payload[2:])}; got != [2]uint16{class, method} {
			c.t.Fatalf("method %d, want %d.%d", got, class, method)
		}
		return payload[4:]
	}
}

// expectClose expects connection.close with one of the codes, and the end after
// close-ok.
func (c rawConn) expectClose(codes ...uint16) {
	c.t.Helper()
	args := c.expect(10, 50)
	if got := binary.BigEndian.Uint16(args); !slices.Contains(codes, got) {
		c.t.Errorf("connection.close %d %q, want %d", got, args[3:3+args[2]], codes)
	}
	c.send(rawFrame(1, 0, "\x00\x0a\x00\x33")...)
	c.expectEnd()
}

// expectEnd reads to the connection's end and returns what came before it. A reset
// is an end too.
func (c rawConn) expectEnd() string {
	c.t.Helper()
	rest, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("the broker keeps the connection; it sent %q", rest)
	}
	return string(rest)
}

// TestBadInput: the connection that sends it ends, with the protocol's own error
// where it has one; a client beside it notices nothing, which the test's own
// witness proves by going on all the while.
func TestBadInput(t *testing.T) {
	t.Parallel()
	stop := witness(t)
	var senders sync.Map // case name → its connection's address
	t.Cleanup(func() {   // once all cases have ended
		senders.Range(func(name, addr any) bool {
			expectComplaint(t, name.(string), addr.(string))
			return true
		})
		if rounds := stop(); rounds == 0 {
			t.Error("the witness did not complete a single round")
		}
	})
	for name, test := range badInput() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if why := otherwise[name]; why != "" && external != "" {
				t.Skip("another make may do otherwise: " + why)
			}
			c := dialRaw(t)
			senders.Store(name, c.LocalAddr().String())
			test(c)
		})
	}
}

// expectComplaint checks that the broker logged a line, and not a flood, about a
// connection that it complains of. Of the many tests beside this one a connection
// or two may have had the same port, and be complained of, too. The log of a
// broker that was started elsewhere is not at hand.
func expectComplaint(t *testing.T, name, addr string) {
	t.Helper()
	if external != "" {
		return
	}
	count := func() (n int) {
		text, err := os.ReadFile(suite.log.Name())
		must(t, err)
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "conn="+addr+" ") || strings.HasSuffix(strings.TrimSpace(line), "conn="+addr) {
				if !strings.Contains(line, "level=INFO") && !strings.Contains(line, "level=DEBUG") {
					n++
				}
			}
		}
		return n
	}
	eventually(t, func() bool { return count() > 0 }) // the line may come after the socket's end
	if n := count(); n > 3 {
		t.Errorf("%s: the broker complained in %d lines about %s, want one", name, n, addr)
	}
}

// otherwise says what RabbitMQ 3.10 does in cases where it falls behind the
// specification, or behind what a client can make use of.
var otherwise = map[string]string{
	"channel 65535, beyond channel_max": "RabbitMQ bounds how many are open, not their numbers",
	"an unknown method":                 "RabbitMQ hangs up without a word",
	"a body longer than announced":      "RabbitMQ waits for more",
}

func badInput() map[string]func(rawConn) {
	return map[string]func(rawConn){
		"random bytes": func(c rawConn) {
			garbage := make([]byte, 4096)
			_, _ = rand.NewChaCha8([32]byte{1}).Read(garbage) // never fails
			c.send(garbage...)
			c.expectHeaderAndEnd()
		},
		"an HTTP request": func(c rawConn) {
			c.send([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")...)
			c.expectHeaderAndEnd()
		},
		"a TLS hello": func(c rawConn) {
			c.send([]byte("\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 client hello")...)
			c.expectHeaderAndEnd()
		},
		"another version of the protocol": func(c rawConn) {
			c.send([]byte("AMQP\x00\x00\x0a\x01")...)
			c.expectHeaderAndEnd()
		},
		"half a header, then silence": func(c rawConn) {
			c.send([]byte("AMQP")...)
			c.expectEnd()
		},
		"a header, then silence": func(c rawConn) {
			c.send([]byte(rawHeader)...)
			c.expect(10, 10)
			c.expectEnd()
		},
		"half a frame, then the end": func(c rawConn) {
			c.open()
			c.send(rawFrame(1, 1, rawPublish)[:9]...)
			must(c.t, c.Conn.(*net.TCPConn).CloseWrite())
			c.expectEnd()
		},
		"a frame larger than frame_max": func(c rawConn) {
			c.open()
			c.send(rawFrame(1, 1, rawPublish)...)
			c.send(rawFrame(2, 1, contentHeader(2*rawFrameMax))...)
			c.send(rawFrame(3, 1, strings.Repeat("x", rawFrameMax+1))...)
			c.expectClose(501)
		},
		"a frame that announces 4 GiB": func(c rawConn) {
			c.open()
			c.send([]byte("\x03\x00\x01\xff\xff\xff\xff")...)
			c.send([]byte(strings.Repeat("x", rawFrameMax))...)
			c.expectClose(501)
		},
		"a wrong frame end": func(c rawConn) {
			c.open()
			f := rawFrame(1, 1, rawPublish)
			f[len(f)-1] = 0
			c.send(f...)
			c.expectClose(501)
		},
		"a frame of an unknown type": func(c rawConn) {
			c.open()
			c.send(rawFrame(7, 1, "x")...)
			c.expectClose(501)
		},
		"channel 65535, beyond channel_max": func(c rawConn) {
			c.open()
			c.send(rawFrame(1, 65535, rawChannel)...)
			c.expectClose(530)
		},
		"a method on channel 65535, never opened": func(c rawConn) {
			c.open()
			c.send(rawFrame(1, 65535, rawQos)...)
			c.expectClose(504, 530) // both are true of it
		},
		"a method on a channel that is not open": func(c rawConn) {
			c.open()
			c.send(rawFrame(1, 2, rawQos)...)
			c.expectClose(504)
		},
		"a channel opened twice": func(c rawConn) {
			c.open()
			c.send(rawFrame(1, 1, rawChannel)...)
			c.expectClose(504)
		},
		"an unknown method": func(c rawConn) {
			c.open()
			c.send(rawFrame(1, 1, "\x00\x3c\x03\xe7")...)
			c.expectClose(503, 540) // section 1.2: invalid, or not implemented
		},
		"a method cut short": func(c rawConn) {
			c.open()
			c.send(rawFrame(1, 1, rawPublish[:7])...)
			c.expectClose(502, 501) // RabbitMQ takes it for a frame error
		},
		"a body longer than announced": func(c rawConn) {
			c.open()
			c.send(rawFrame(1, 1, rawPublish)...)
			c.send(rawFrame(2, 1, contentHeader(3))...)
			c.send(rawFrame(3, 1, "four")...)
			c.expectClose(501, 505) // the specification forbids it and names no code
		},
		"a body without a publish": func(c rawConn) {
			c.open()
			c.send(rawFrame(3, 1, "x")...)
			c.expectClose(505)
		},
		"a method amid content": func(c rawConn) {
			c.open()
			c.send(rawFrame(1, 1, rawPublish)...)
			c.send(rawFrame(1, 1, rawPublish)...)
			c.expectClose(505)
		},
	}
}

// contentHeader announces a body of basic's class without properties.
func contentHeader(size uint64) string {
	return string(append(binary.BigEndian.AppendUint64([]byte("\x00\x3c\x00\x00"), size), 0, 0))
}

// expectHeaderAndEnd is section 4.2.2's answer to what is not a protocol header.
func (c rawConn) expectHeaderAndEnd() {
	c.t.Helper()
	if got := c.expectEnd(); got != rawHeader {
		c.t.Errorf("answer %q, want the protocol header", got)
	}
}

// witness publishes and waits for the confirm and the delivery, again and again,
// until stop is called, which returns how often. Its connection must not end.
func witness(t *testing.T) (stop func() int) {
	t.Helper()
	ch := channel(t, sharedURL(t))
	q := queueOf(t, ch)
	in := consume(t, ch, q, true)
	must(t, ch.Confirm(false))
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, 1))
	quit, result := make(chan struct{}), make(chan int, 1)
	go func() {
		rounds := 0
		defer func() { result <- rounds }()
		for {
			select {
			case <-quit:
				return
			default:
			}
			if err := ch.Publish("", q, false, false, amqp.Publishing{Body: []byte("alive")}); err != nil {
				t.Errorf("a client beside bad input cannot publish: %v", err)
				return
			}
			c, confirmed := <-confirms
			d, delivered := <-in
			if !confirmed || !c.Ack || !delivered || string(d.Body) != "alive" {
				t.Errorf("a client beside bad input: confirmed %v, delivered %v", confirmed && c.Ack, delivered)
				return
			}
			rounds++
		}
	}()
	return func() int {
		close(quit)
		return within(t, "the witness", result)
	}
}
