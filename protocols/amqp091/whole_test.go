package amqp091_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// TestWholeMessagesAreTakenAsTheirFramesAre publishes the same in one write, where the
// broker finds all frames of a message together, and frame by frame, where it never
// does. What the client is sent is the same, to the last byte.
func TestWholeMessagesAreTakenAsTheirFramesAre(t *testing.T) {
	key := wire.BasicPublish{RoutingKey: "q"}
	plain := field.Properties{ContentType: "text/plain", DeliveryMode: 2, Present: field.ContentType | field.DeliveryMode}
	for _, tt := range []struct {
		name    string
		publish wire.BasicPublish
		props   field.Properties
		body    string
		mode    wire.Method // of the channel, before
		after   wire.Method
	}{
		{name: "a message", publish: key, props: plain, body: "hello"},
		{name: "no body", publish: key, props: plain},
		{name: "no properties", publish: key, body: "hello"},
		{name: "several body frames", publish: key, body: strings.Repeat("0123456789", 1000)},
		{name: "confirmed", publish: key, props: plain, body: "hello", mode: &wire.ConfirmSelect{}},
		{name: "in a transaction", publish: key, props: plain, body: "hello", mode: &wire.TxSelect{}, after: &wire.TxCommit{}},
		{name: "nowhere to go", publish: wire.BasicPublish{RoutingKey: "none", Mandatory: true}, props: plain, body: "hello"},
		{name: "no such exchange", publish: wire.BasicPublish{Exchange: "none"}, body: "hello"},
		{name: "immediate", publish: wire.BasicPublish{RoutingKey: "q", Immediate: true}, body: "hello"},
		{name: "headers", publish: key, props: field.Properties{Headers: field.Table{{Key: "h", Value: "v"}}, Present: field.Headers}, body: "hello"},
		{
			name: "hidden copies", publish: key, body: "hello",
			props: field.Properties{Headers: field.Table{{Key: "BCC", Value: []any{"q2"}}, {Key: "h", Value: "v"}}, Present: field.Headers},
		},
		{name: "a reply address", publish: key, props: field.Properties{ReplyTo: "r", Present: field.ReplyTo}, body: "hello"},
		{name: "no address of its own", publish: key, props: field.Properties{ReplyTo: "amq.rabbitmq.reply-to", Present: field.ReplyTo}, body: "hello"},
		{name: "expiration", publish: key, props: field.Properties{Expiration: "60000", Present: field.Expiration}, body: "hello"},
		{name: "no expiration", publish: key, props: field.Properties{Expiration: "soon", Present: field.Expiration}, body: "hello"},
		{name: "another's name", publish: key, props: field.Properties{UserID: "nobody", Present: field.UserID}, body: "hello"},
		{name: "too large", publish: key, body: strings.Repeat("x", 20_000)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var answers [2]string
			for i, whole := range []bool{true, false} {
				inBubble(t, func(s *setup) { s.server.MaxMessageSize = 16 << 10 }, func(b *bed) {
					p := b.connect()
					p.frameMax = wire.MinFrameMax
					for _, q := range []string{"q", "q2"} {
						p.declare(wire.QueueDeclare{Queue: q})
						p.call(1, &wire.BasicConsume{Queue: q, ConsumerTag: q, NoAck: true}, &wire.BasicConsumeOK{ConsumerTag: q})
					}
					if tt.mode != nil {
						p.send(1, tt.mode)
						p.next(1)
					}
					one, err := wire.AppendPublish(nil, 1, &tt.publish, content(t, tt.props, tt.body), p.frameMax)
					if err != nil {
						t.Fatal(err)
					}
					stream := slices.Concat(one, one, one)
					if tt.after != nil {
						if stream, err = wire.AppendMethod(stream, 1, tt.after); err != nil {
							t.Fatal(err)
						}
					}
					go func() { // the answers may have to be read meanwhile
						for len(stream) > 0 {
							n := len(stream)
							if !whole {
								n = wire.FrameSize(stream)
							}
							if _, err := p.nc.Write(stream[:n]); err != nil {
								return
							}
							stream = stream[n:]
						}
					}()
					answers[i] = p.everything()
				})
			}
			if answers[0] != answers[1] {
				t.Errorf("in one write:\n%s\nframe by frame:\n%s", answers[0], answers[1])
			}
		})
	}
}

// everything is what arrives until nothing does for a while, or the connection ends.
// Confirms of several messages count as one for each.
func (p *peer) everything() string {
	p.t.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(time.Second))
	var all strings.Builder
	acked := uint64(0)
	for {
		f, err := p.frame()
		if err != nil {
			fmt.Fprintln(&all, "confirmed", acked, isTimeout(err))
			return all.String()
		}
		if f.Type == wire.FrameMethod {
			if id, args, _ := wire.ParseMethod(f.Payload); id == wire.BasicAckID {
				ack, _ := wire.ParseAck(args)
				acked = ack.DeliveryTag
				continue
			}
		}
		fmt.Fprintf(&all, "%d %d %q\n", f.Type, f.Channel, f.Payload)
	}
}
