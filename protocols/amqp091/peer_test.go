package amqp091_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
	"github.com/batonmq/baton/protocols/amqp091"
	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/auth/authtest"
	"github.com/batonmq/baton/protocols/listen"
)

// bed is a server on a real engine whose store is in memory.
type bed struct {
	t      testing.TB
	store  *memstore.Store
	broker *core.Broker
	server *amqp091.Server

	ctx     context.Context //nolint:containedctx // what Serve is given, until the test ends
	stop    context.CancelCauseFunc
	serving sync.WaitGroup
}

// setup is what a test may change.
type setup struct {
	store  memstore.Options
	broker core.Options
	server amqp091.Options
	auth   func(*core.Broker) auth.Authenticator // nil: the default user alone
}

// newBed starts a server; it ends with the test.
func newBed(tb testing.TB, change func(*setup)) *bed {
	tb.Helper()
	var s setup
	s.server.Log = slog.New(slog.NewTextHandler(tb.Output(), nil))
	if change != nil {
		change(&s)
	}
	b := &bed{t: tb, store: memstore.Open(s.store)}
	var err error
	if b.broker, err = core.Open(tb.Context(), b.store, s.broker); err != nil {
		tb.Fatal(err)
	}
	if s.auth == nil {
		s.auth = func(*core.Broker) auth.Authenticator { return authtest.Guest{} }
	}
	s.server.Broker, s.server.Auth = b.broker, s.auth(b.broker)
	if b.server, err = amqp091.New(s.server); err != nil {
		tb.Fatal(err)
	}
	b.ctx, b.stop = context.WithCancelCause(context.Background())
	tb.Cleanup(func() {
		b.stop(listen.ErrCut)
		b.serving.Wait()
		b.broker.Close()
		_ = b.store.Close() // some tests have made it fail
	})
	return b
}

// inBubble runs f with a bed in a synctest bubble.
func inBubble(t *testing.T, change func(*setup), f func(b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(newBed(t, change)) })
}

// serve lets the server serve nc.
func (b *bed) serve(nc net.Conn) { b.serving.Go(func() { b.server.Serve(b.ctx, nc) }) }

// dial returns a peer that has said nothing yet.
func (b *bed) dial() *peer {
	near, far := net.Pipe()
	b.serve(near)
	b.t.Cleanup(func() { _ = far.Close() })
	return &peer{t: b.t, nc: far, frameMax: 131072}
}

// connect returns a peer with an open connection and channel 1 open.
func (b *bed) connect() *peer {
	b.t.Helper()
	p := b.dial()
	p.handshake(clientProperties(), 131072, 0)
	p.openChannel(1)
	return p
}

// peer is the client's end of a connection, driven by a script.
type peer struct {
	t        testing.TB
	nc       net.Conn
	frameMax uint32
	buf      []byte // read and not yet parsed
	tags     uint64 // handed out by tag
}

func clientProperties() field.Table {
	return field.Table{
		{Key: "product", Value: "scripted peer"},
		{Key: "capabilities", Value: field.Table{
			{Key: "authentication_failure_close", Value: true},
			{Key: "consumer_cancel_notify", Value: true},
		}},
	}
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatalf("peer writes: %v", err)
	}
}

// send sends methods on a channel.
func (p *peer) send(channel uint16, methods ...wire.Method) {
	p.t.Helper()
	var b []byte
	for _, m := range methods {
		var err error
		if b, err = wire.AppendMethod(b, channel, m); err != nil {
			p.t.Fatal(err)
		}
	}
	p.write(b)
}

// publish sends a message.
func (p *peer) publish(channel uint16, m wire.BasicPublish, props field.Properties, body string) {
	p.t.Helper()
	b, err := wire.AppendPublish(nil, channel, &m, content(p.t, props, body), p.frameMax)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(b)
}

func content(tb testing.TB, props field.Properties, body string) wire.Content {
	tb.Helper()
	block, err := field.AppendProperties(nil, &props)
	if err != nil {
		tb.Fatal(err)
	}
	return wire.Content{Properties: block, Body: []byte(body)}
}

// frame returns the next frame, with a payload of its own.
func (p *peer) frame() (wire.Frame, error) {
	for {
		f, n, err := wire.ParseFrame(p.buf, math.MaxUint32)
		if err != nil {
			return wire.Frame{}, err
		}
		if n > 0 {
			f.Payload = append([]byte(nil), f.Payload...)
			p.buf = p.buf[n:]
			return f, nil
		}
		chunk := make([]byte, 64<<10)
		n, err = p.nc.Read(chunk)
		p.buf = append(p.buf, chunk[:n]...)
		if n == 0 && err != nil {
			return wire.Frame{}, err
		}
	}
}

// next returns the next method, which must come on the given channel.
// Heartbeats are passed over.
func (p *peer) next(channel uint16) wire.Method {
	p.t.Helper()
	f, err := p.frame()
	for err == nil && f.Type == wire.FrameHeartbeat {
		f, err = p.frame()
	}
	if err != nil {
		p.t.Fatalf("peer waits for a method on channel %d: %v", channel, err)
	}
	m, err := wire.DecodeMethod(f.Payload)
	if f.Type != wire.FrameMethod || f.Channel != channel || err != nil {
		p.t.Fatalf("peer waits for a method on channel %d, got frame type %d on channel %d: %+v %v",
			channel, f.Type, f.Channel, m, err)
	}
	return m
}

// expect waits for exactly these methods.
func (p *peer) expect(channel uint16, want ...wire.Method) {
	p.t.Helper()
	for _, m := range want {
		if got := p.next(channel); !reflect.DeepEqual(got, m) {
			p.t.Fatalf("peer got %v %+v, want %v %+v", got.ID(), got, m.ID(), m)
		}
	}
}

// call sends m and waits for the answer.
func (p *peer) call(channel uint16, m, answer wire.Method) {
	p.t.Helper()
	p.send(channel, m)
	p.expect(channel, answer)
}

// message returns the content that follows the method just received.
func (p *peer) message(channel uint16) (props field.Properties, body string) {
	p.t.Helper()
	f, err := p.frame()
	if err != nil {
		p.t.Fatalf("peer waits for a content header: %v", err)
	}
	h, err := wire.ParseContentHeader(f.Payload)
	if f.Type != wire.FrameHeader || f.Channel != channel || err != nil {
		p.t.Fatalf("peer waits for a content header, got frame type %d on channel %d: %v", f.Type, f.Channel, err)
	}
	if props, err = field.ParseProperties(h.Properties); err != nil {
		p.t.Fatal(err)
	}
	for uint64(len(body)) < h.BodySize {
		f, err := p.frame()
		if err != nil || f.Type != wire.FrameBody || len(f.Payload)+wire.FrameOverhead > int(p.frameMax) {
			p.t.Fatalf("peer waits for a body frame, got type %d of %d bytes: %v", f.Type, len(f.Payload), err)
		}
		body += string(f.Payload)
	}
	return props, body
}

// deliver waits for a basic.deliver and returns its body.
func (p *peer) deliver(channel uint16, want wire.BasicDeliver) string {
	p.t.Helper()
	p.expect(channel, &want)
	_, body := p.message(channel)
	return body
}

// silence fails if anything but a heartbeat arrives within d, and afterwards
// waits until the server has nothing left to do.
func (p *peer) silence(d time.Duration) {
	p.t.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(d))
	defer func() { _ = p.nc.SetReadDeadline(time.Time{}) }()
	for {
		f, err := p.frame()
		switch {
		case err == nil && f.Type == wire.FrameHeartbeat:
		case err == nil:
			m, _ := wire.DecodeMethod(f.Payload)
			p.t.Fatalf("peer wants silence, got frame type %d on channel %d: %+v", f.Type, f.Channel, m)
		case !isTimeout(err):
			p.t.Fatalf("peer wants silence, got %v", err)
		default:
			return
		}
	}
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// gone waits for the end of the connection, heartbeats aside.
func (p *peer) gone() {
	p.t.Helper()
	for {
		f, err := p.frame()
		switch {
		case err == nil && f.Type == wire.FrameHeartbeat:
		case err == nil:
			m, _ := wire.DecodeMethod(f.Payload)
			p.t.Fatalf("peer wants the end of the connection, got frame type %d on channel %d: %+v", f.Type, f.Channel, m)
		case !errors.Is(err, io.EOF):
			p.t.Fatalf("peer wants the end of the connection, got %v", err)
		default:
			return
		}
	}
}

// handshake opens the connection.
func (p *peer) handshake(properties field.Table, frameMax uint32, heartbeat uint16) {
	p.t.Helper()
	p.login(properties, "guest", "guest")
	p.next(0) // tune
	p.frameMax = frameMax
	p.open("/", heartbeat)
	p.expect(0, &wire.ConnectionOpenOK{})
}

// login gives a name and a password.
func (p *peer) login(properties field.Table, user, password string) {
	p.t.Helper()
	p.write([]byte(wire.ProtocolHeader))
	p.next(0) // start
	p.send(0, &wire.ConnectionStartOK{
		ClientProperties: properties, Mechanism: "PLAIN", Response: "\x00" + user + "\x00" + password, Locale: "en_US",
	})
}

// open asks for a vhost.
func (p *peer) open(vhost string, heartbeat uint16) {
	p.t.Helper()
	p.send(0,
		&wire.ConnectionTuneOK{ChannelMax: 2047, FrameMax: p.frameMax, Heartbeat: heartbeat},
		&wire.ConnectionOpen{VirtualHost: vhost})
}

// as opens a connection for a user in a vhost.
func (p *peer) as(user, password, vhost string) *peer {
	p.t.Helper()
	p.login(clientProperties(), user, password)
	p.next(0) // tune
	p.open(vhost, 0)
	p.expect(0, &wire.ConnectionOpenOK{})
	return p
}

func (p *peer) openChannel(id uint16) {
	p.t.Helper()
	p.call(id, &wire.ChannelOpen{}, &wire.ChannelOpenOK{})
}

// declare makes a queue, on channel 1, and expects it to be as new.
func (p *peer) declare(m wire.QueueDeclare) {
	p.t.Helper()
	p.call(1, &m, &wire.QueueDeclareOK{Queue: m.Queue})
}

// connectionClosed waits for connection.close with this reply, answers it and
// waits for the end.
func (p *peer) connectionClosed(code wire.ReplyCode, text string, method wire.MethodID) {
	p.t.Helper()
	p.expect(0, &wire.ConnectionClose{
		ReplyCode: code, ReplyText: text, ClassID: method.Class(), MethodID: method.Method(),
	})
	p.send(0, &wire.ConnectionCloseOK{})
	p.gone()
}

// connectionLost waits for connection.close for a fault of the framing, behind
// which no answer can be found.
func (p *peer) connectionLost(text string) {
	p.t.Helper()
	p.expect(0, &wire.ConnectionClose{ReplyCode: wire.FrameError, ReplyText: text})
	p.gone()
}

// channelClosed waits for channel.close with this reply, answers it, and shows
// that the connection and the channel's number live on.
func (p *peer) channelClosed(channel uint16, code wire.ReplyCode, text string, method wire.MethodID) {
	p.t.Helper()
	p.expect(channel, &wire.ChannelClose{
		ReplyCode: code, ReplyText: text, ClassID: method.Class(), MethodID: method.Method(),
	})
	p.send(channel, &wire.ChannelCloseOK{})
	p.openChannel(channel)
}

// refuseAll lets nobody in.
type refuseAll struct{}

func (refuseAll) Authenticate(context.Context, auth.Credentials) (auth.Principal, error) {
	return auth.Principal{}, auth.ErrBadCredentials
}
