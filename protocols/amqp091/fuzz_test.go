package amqp091_test

import (
	"bytes"
	"io"
	"math"
	"net"
	"testing"
	"time"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// FuzzConnection sends arbitrary bytes on an open connection and hangs up:
// nothing panics, the connection ends, what the server says is well-formed, and
// the broker goes on serving.
func FuzzConnection(f *testing.F) {
	methods := func(methods ...wire.Method) (b []byte) {
		for _, m := range methods {
			var err error
			if b, err = wire.AppendMethod(b, 1, m); err != nil {
				f.Fatal(err)
			}
		}
		return b
	}
	publish, err := wire.AppendPublish(nil, 1, &wire.BasicPublish{RoutingKey: "q", Mandatory: true},
		wire.Content{Properties: []byte("\x10\x00\x02"), Body: []byte("body")}, 4096)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(publish)
	f.Add(wire.AppendHeartbeat(nil))
	f.Add(raw(2, 1, "\x00\x3c\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00"))
	f.Add(append(methods(
		&wire.QueueDeclare{Queue: "q", Arguments: field.Table{{Key: "k", Value: int32(1)}}},
		&wire.QueueBind{Queue: "q", Exchange: "amq.topic", RoutingKey: "#"},
		&wire.ConfirmSelect{},
		&wire.BasicQos{PrefetchCount: 1},
		&wire.BasicConsume{Queue: "q", ConsumerTag: "t"}), publish...))
	f.Add(append(append(methods(&wire.QueueDeclare{Queue: "q"}), publish...),
		methods(&wire.BasicGet{Queue: "q"}, &wire.BasicNack{DeliveryTag: 1, Requeue: true}, &wire.BasicRecover{Requeue: true})...))
	f.Add(methods(&wire.ExchangeDeclare{Exchange: "x", Type: "headers"}, &wire.ExchangeBind{Source: "x", Destination: "x"},
		&wire.BasicCancel{ConsumerTag: "t"}, &wire.ChannelFlow{Active: true}, &wire.TxSelect{}))
	f.Add(methods(&wire.ChannelClose{ReplyCode: 200}, &wire.ChannelOpen{}, &wire.AccessRequest{}))

	b := newBed(f, func(s *setup) { s.server = amqp091.Options{DrainTimeout: time.Second, MaxMessageSize: 1 << 20} })
	f.Fuzz(func(t *testing.T, input []byte) {
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.server.Serve(b.ctx, near)
		}()
		p := &peer{t: t, nc: far, frameMax: 4096}
		p.handshake(nil, 4096, 0)
		p.openChannel(1)
		go func() {
			_, _ = far.Write(input) // cut short where the server hangs up first
			_ = far.SetReadDeadline(time.Now().Add(time.Millisecond))
		}()
		answer, _ := io.ReadAll(io.MultiReader(bytes.NewReader(p.buf), far)) // to the deadline or the end
		_ = far.Close()
		<-done
		for len(answer) > 0 {
			_, n, err := wire.ParseFrame(answer, math.MaxUint32)
			if err != nil {
				t.Fatalf("server says % x: %v", answer, err)
			}
			if n == 0 {
				break // cut short by the deadline
			}
			answer = answer[n:]
		}
	})
}
