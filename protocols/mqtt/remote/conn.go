package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/mqtt/wire"
	"github.com/batonmq/baton/protocols/outbox"
)

// conn is one connection to the far broker. The bridge's goroutine reads it and owns
// what no other rule covers.
type conn struct {
	b       *Bridge
	nc      net.Conn
	address string
	in      *listen.Reader
	out     *outbox.Outbox
	cancel  context.CancelCauseFunc
	opened  time.Time

	// Agreed on in the handshake, and read by whoever delivers from then on.
	version wire.Version
	far     connack
	session *core.Session
	moves   atomic.Pointer[core.Session] // session: for the write side
	link    *core.Link

	heard   atomic.Int64 // when a byte came last, since opened
	waiting atomic.Bool  // the reader waits for the far broker, not for this one
	warned  bool         // of what came in and was dropped
	refused atomic.Bool  // of what the far broker refuses
	told    bool         // DISCONNECT is in the outbox; owned by who appends to that

	mu       sync.Mutex  // below the engine's locks
	pings    *time.Timer // nil: none, or stopped
	leaving  bool        // what is delivered is not answered any more
	discards sync.WaitGroup
}

var (
	_ outbox.Owner            = (*conn)(nil)
	_ core.Completion         = (*conn)(nil)
	_ core.SubscriberReceiver = (*conn)(nil)
)

func newConn(b *Bridge, nc net.Conn, address string) *conn {
	c := &conn{
		b: b, nc: nc, address: address, version: b.opt.Version, opened: time.Now(),
		in: listen.NewReader(nc, int(b.opt.MaxPacketSize)),
	}
	c.out = outbox.New(nc, c, outbox.Options{})
	return c
}

// interrupt ends the connection, for the first reason that it is given. It may be called
// by any goroutine, with the engine's locks held.
func (c *conn) interrupt(reason error) {
	c.cancel(reason)
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // ends a blocked read; fails only on a closed connection
}

// serve opens the connection, reads it until it ends, and closes it. up says that it was
// accepted.
func (c *conn) serve(parent context.Context) (up bool, err error) {
	ctx, cancel := context.WithCancelCause(parent)
	c.cancel = cancel
	defer cancel(nil)
	defer context.AfterFunc(parent, func() { c.interrupt(context.Cause(parent)) })()

	late := time.AfterFunc(connectTimeout, func() { c.interrupt(fmt.Errorf("no answer to CONNECT within %v", connectTimeout)) })
	err = c.handshake()
	late.Stop()
	if up = err == nil; up {
		err = c.open(ctx)
		if err == nil {
			err = c.run(ctx)
		}
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, errTryAgain) {
		err = cause
	}
	c.close(err)
	return up, err
}

// handshake sends CONNECT and reads CONNACK.
func (c *conn) handshake() error {
	bit := c.version == wire.V311 && !c.b.opt.NoBit && !c.b.noBit
	var err error
	c.out.Append(func(b *outbox.Buffer) { b.B, err = appendConnect(b.B, &c.b.opt, bit) })
	if err != nil {
		return err
	}
	f, err := c.packet()
	switch {
	case err != nil && bit && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		c.b.noBit = true // it was not answered at all
		return fmt.Errorf("%w: %w", errTryAgain, err)
	case err != nil:
		return err
	case f.Type != wire.CONNACK:
		return fmt.Errorf("%s in place of CONNACK", f.Type)
	}
	if c.far, err = parseConnack(f, c.version); err != nil {
		return err
	}
	if bit && c.far.reason == returnVersion {
		c.b.noBit = true
		return errTryAgain
	}
	if text := c.far.refusal(c.version); text != "" {
		return fmt.Errorf("refused: %s", text)
	}
	return nil
}

// open begins to carry, the connection being accepted.
func (c *conn) open(ctx context.Context) (err error) {
	b := c.b
	if c.session, err = b.attach(core.SessionOptions{Info: c.info, End: c.end, Outgoing: true}); err != nil {
		return err
	}
	c.moves.Store(c.session)
	if c.link, err = b.link(ctx, c.session, c, min(b.opt.Window, c.far.receiveMaximum)); err != nil {
		return err
	}
	if !c.far.present {
		c.link.ForgetReceived() // as the far broker has: it begins to count anew
		for _, spec := range c.link.Subscriptions() {
			if !b.isFresh(spec) {
				b.fresh = append(b.fresh, fresh{SubscriptionSpec: spec})
			}
		}
	}
	if err := c.subscribe(); err != nil {
		return err
	}
	b.count.connects.Add(1)
	b.count.up.Store(true)
	b.log.Info("bridge connected", slog.String("address", c.address), slog.String("protocol", protocol(c.version)),
		slog.Bool("session_present", c.far.present))
	c.keepAlive()
	c.link.Start()
	for _, f := range b.fresh {
		c.link.SendRetained(f.SubscriptionSpec, f.upto)
	}
	b.fresh = nil
	c.notify(connected)
	return nil
}

// subscribe asks for what is to come in, where the far broker may not know it yet. One
// before MQTT 5 sends what is retained each time it is asked.
func (c *conn) subscribe() error {
	var topics []Topic
	for _, t := range c.b.opt.Topics {
		if t.Direction&In != 0 {
			topics = append(topics, t)
		}
	}
	if len(topics) == 0 || c.b.asked && c.far.present {
		return nil
	}
	var err error
	c.out.Append(func(b *outbox.Buffer) { b.B, err = appendSubscribe(b.B, c.version, c.unusedID(), topics) })
	return err
}

// unusedID is an identifier for the connection's SUBSCRIBE, the one packet beside
// deliveries that has one, and before all of them. Section 2.2.1 wants one that is not in
// use: those of deliveries that were not answered may be.
func (c *conn) unusedID() uint16 { return c.link.UnusedID() }

// run reads packets until the connection ends, and returns why.
func (c *conn) run(ctx context.Context) error {
	for {
		f, err := c.packet()
		if err == nil {
			err = c.handle(ctx, f)
		}
		if err == nil {
			err = c.out.AwaitRoom(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// packet reads the next packet. It is valid until the one after.
func (c *conn) packet() (wire.Frame, error) {
	for {
		b := c.in.Buffered()
		f, n, err := wire.ParseFrame(b, c.b.opt.MaxPacketSize)
		if err != nil {
			return f, err
		}
		if n > 0 {
			c.in.Discard(n) // the bytes stay until the next Fill
			return f, nil
		}
		// The buffer grows with what has arrived, not with what was announced.
		least := len(b) + 1
		if len(b) >= growAlone {
			least = min(wire.FrameSize(b), 2*len(b))
		}
		c.waiting.Store(true)
		err = c.in.Fill(least)
		c.waiting.Store(false)
		if err != nil {
			return f, err
		}
		c.heard.Store(int64(time.Since(c.opened)))
	}
}

// growAlone is the size up to which a packet's buffer is the reader's affair.
const growAlone = 1 << 20

// handle acts on one packet. An error ends the connection.
func (c *conn) handle(ctx context.Context, f wire.Frame) error {
	switch f.Type {
	case wire.PUBLISH:
		p, err := wire.ParsePublish(f, c.version)
		if err != nil {
			return err
		}
		return c.publish(ctx, &p)
	case wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP:
		return c.answered(f)
	case wire.SUBACK:
		return c.subscribed(f)
	case wire.PINGRESP:
		return nil
	case wire.DISCONNECT:
		return fmt.Errorf("closed by the far broker: %s", parseDisconnect(f, c.version))
	case wire.CONNECT, wire.CONNACK, wire.SUBSCRIBE, wire.UNSUBSCRIBE, wire.UNSUBACK, wire.PINGREQ, wire.AUTH:
	}
	return fmt.Errorf("the far broker sends %s", f.Type)
}

// subscribed looks at what became of the subscriptions. Those that are refused bring
// nothing; the others go on.
func (c *conn) subscribed(f wire.Frame) error {
	reasons, err := parseSuback(f, c.version)
	if err != nil {
		return err
	}
	i := 0
	for _, t := range c.b.opt.Topics {
		if t.Direction&In == 0 || i >= len(reasons) {
			continue
		}
		if reason := wire.ReasonCode(reasons[i]); reason.Failed() {
			c.b.log.Error("the far broker refuses a subscription", slog.String("filter", t.far()), slog.String("reason", reason.String()))
		}
		i++
	}
	c.b.asked = true
	return nil
}

// keepAlive sends PINGREQ at each interval, and ends a connection on which nothing comes.
func (c *conn) keepAlive() {
	interval := c.b.opt.KeepAlive
	if c.far.hasKeepAlive { // section 3.1.2.10
		interval = time.Duration(c.far.keepAlive) * time.Second
	}
	if interval == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pings = time.AfterFunc(interval, func() {
		silence := time.Since(c.opened) - time.Duration(c.heard.Load())
		if c.waiting.Load() && silence > interval+interval/2 {
			c.interrupt(fmt.Errorf("%w: nothing was received for %v", errSilent, silence.Round(time.Millisecond)))
			return
		}
		c.out.Append(func(b *outbox.Buffer) { b.B = append(b.B, byte(wire.PINGREQ)<<4, 0) })
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.pings != nil {
			c.pings.Reset(interval)
		}
	})
}

// close ends the connection: with a word to the far broker if it is this one that ends it.
func (c *conn) close(err error) {
	c.b.count.up.Store(false)
	c.mu.Lock()
	c.leaving = true
	if c.pings != nil {
		c.pings.Stop()
		c.pings = nil
	}
	c.mu.Unlock()
	c.discards.Wait() // there are no new ones
	if errors.Is(err, errCut) || errors.Is(err, errStore) {
		_ = c.nc.Close()
		_ = c.out.Close(0) // there is nobody to drain to
		c.in.Release()
		return
	}
	if c.link != nil {
		c.notify(disconnected)
		if errors.Is(err, errStopping) { // the records stay as they are
			c.link.Suspend()
		}
		c.out.Append(func(b *outbox.Buffer) {
			c.told = true
			b.B = append(b.B, byte(wire.DISCONNECT)<<4, 0)
		})
	}
	if c.session != nil && !errors.Is(err, errStopping) {
		c.session.Close()
	}
	_ = c.out.Close(drainTimeout) // what is not written is sent again
	_ = c.nc.Close()
	c.in.Release()
}

// end is an administrator's wish.
func (c *conn) end(reason error) { c.interrupt(reason) }

// info describes the connection.
func (c *conn) info(nameOnly bool) core.ConnectionInfo {
	name := c.nc.LocalAddr().String() + " -> " + c.nc.RemoteAddr().String()
	if nameOnly {
		return core.ConnectionInfo{Name: name}
	}
	i := core.ConnectionInfo{
		Name:     name,
		Protocol: protocol(c.version) + " bridge", VHost: c.b.opt.VHost, State: "running", ClientID: c.b.opt.ClientID,
		ClientName: c.b.opt.Name, Timeout: c.b.opt.KeepAlive, ConnectedAt: c.opened, BytesOut: c.out.Written(),
	}
	i.PeerHost, i.PeerPort = listen.HostPort(c.nc.RemoteAddr())
	i.Host, i.Port = listen.HostPort(c.nc.LocalAddr())
	return i
}

// Preflush implements outbox.Owner.
func (c *conn) Preflush(*outbox.Buffer) {}

// Room implements outbox.Owner.
func (c *conn) Room() {
	if c.session != nil {
		c.session.Resume()
	}
}

// Wrote implements outbox.Owner.
func (c *conn) Wrote(int) {
	if s := c.moves.Load(); s != nil {
		s.Moved()
	}
}

// WriteFailed implements outbox.Owner.
func (c *conn) WriteFailed(err error) { c.interrupt(err) }
