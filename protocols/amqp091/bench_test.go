package amqp091_test

import (
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// dialTCP returns a peer over loopback with channel 1 open.
func dialTCP(b *testing.B, bed *bed) *peer {
	b.Helper()
	ln, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	far, err := new(net.Dialer).DialContext(b.Context(), "tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = far.Close() })
	near, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	bed.serve(near)
	p := &peer{t: b, nc: far, frameMax: 131072}
	p.handshake(clientProperties(), 131072, 0)
	p.openChannel(1)
	return p
}

// BenchmarkPublishDeliver is a message's way from a publisher's socket to a
// consumer's, on loopback. The clients send what was encoded before and count
// bytes, so nearly all that is measured is the broker.
func BenchmarkPublishDeliver(b *testing.B) {
	for _, row := range []struct {
		name    string
		size    int
		durable bool // persistent, to a durable queue (of the store in memory), confirmed
		ack     int  // one multiple ack for so many; 0: the consumer does not acknowledge
	}{
		{"transient/12B", 12, false, 0},
		{"transient/1KiB", 1 << 10, false, 0},
		{"transient/64KiB", 64 << 10, false, 0},
		{"transient/12B/ack50", 12, false, 50},
		{"transient/12B/ack1", 12, false, 1},
		{"durable/1KiB/ack50", 1 << 10, true, 50},
	} {
		b.Run(row.name, func(b *testing.B) {
			bed := newBed(b, func(s *setup) { s.server.Log = slog.New(slog.DiscardHandler) })
			publisher, consumer := dialTCP(b, bed), dialTCP(b, bed)
			publisher.declare(wire.QueueDeclare{Queue: "q", Durable: row.durable})
			consumer.call(1, &wire.BasicQos{PrefetchCount: 500}, &wire.BasicQosOK{})
			consumer.call(1, &wire.BasicConsume{Queue: "q", ConsumerTag: "t", NoAck: row.ack == 0}, &wire.BasicConsumeOK{ConsumerTag: "t"})
			props := field.Properties{}
			if row.durable {
				props.DeliveryMode = 2
				publisher.call(1, &wire.ConfirmSelect{}, &wire.ConfirmSelectOK{})
				go func() { _, _ = io.Copy(io.Discard, publisher.nc) }() // confirms
			}
			const batch, window = 50, 2000
			message := content(b, props, string(make([]byte, row.size)))
			var frames []byte
			for range batch {
				frames, _ = wire.AppendPublish(frames, 1, &wire.BasicPublish{RoutingKey: "q"}, message, 131072)
			}
			one := wire.DeliverSize(&wire.BasicDeliver{ConsumerTag: "t", RoutingKey: "q"}, message, 131072)

			var received atomic.Int64
			room := make(chan struct{}, 1)
			done := make(chan struct{})
			go func() {
				defer close(done)
				consume(consumer, one, row.ack, &received, room)
			}()
			b.ReportAllocs()
			sent := int64(0)
			for b.Loop() {
				if sent++; sent%batch != 0 {
					continue
				}
				for sent-received.Load() > window {
					<-room
				}
				publisher.write(frames)
			}
			for received.Load() < sent/batch*batch {
				<-room
			}
			_ = consumer.nc.Close()
			<-done
			b.SetBytes(int64(row.size))
		})
	}
}

// consume counts deliveries by their bytes, all being of one size, and
// acknowledges.
func consume(p *peer, one, ack int, received *atomic.Int64, room chan<- struct{}) {
	buf := make([]byte, 256<<10)
	var acks []byte
	bytes, acked := 0, 0
	for {
		n, err := p.nc.Read(buf)
		if err != nil {
			return
		}
		bytes += n
		count := bytes / one
		acks = acks[:0]
		for ack > 0 && acked+ack <= count {
			acked += ack
			acks = wire.AppendAck(acks, 1, uint64(acked), ack > 1)
		}
		if len(acks) > 0 {
			if _, err := p.nc.Write(acks); err != nil {
				return
			}
		}
		received.Store(int64(count))
		select {
		case room <- struct{}{}:
		default:
		}
	}
}

// BenchmarkConnect is a connection's life: handshake, channel, close.
func BenchmarkConnect(b *testing.B) {
	bed := newBed(b, func(s *setup) { s.server.Log = slog.New(slog.DiscardHandler) })
	b.ReportAllocs()
	for b.Loop() {
		p := dialTCP(b, bed)
		p.call(0, &wire.ConnectionClose{ReplyCode: 200}, &wire.ConnectionCloseOK{})
		_ = p.nc.Close()
	}
}
