package amqp091

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/outbox"
)

// conn is one client's connection. Its reader goroutine owns what no other rule
// covers.
type conn struct {
	srv       *Server
	nc        net.Conn
	in        *listen.Reader
	out       *outbox.Outbox
	interrupt context.CancelCauseFunc // from any goroutine: end the connection for this reason
	entry     *listen.Registration[*conn]

	// Agreed on in the handshake, and the same from then on: info reads it.
	user       string
	vhost      string
	mechanism  string
	client     client
	frameMax   uint32
	channelMax uint16

	session      *core.Session
	moves        atomic.Pointer[core.Session] // session, once it has been attached: for the write side
	rights       *auth.Renewable              // what the session may do; nil: everything
	expiry       *time.Timer                  // of the credentials; nil: they do not expire
	impersonator bool                         // may publish in others' names

	channelsMu    sync.Mutex // the reader holds it to change channels, others to read them
	channels      map[uint16]*channel
	last          *channel      // the one that the last frame was for
	arriving      int64         // bytes that have arrived of all channels' publications
	pending       int64         // bytes of publications that wait for their commits
	lent          *core.Message // see channel.lend; nil until it is needed
	released      bool          // the session is closed
	channelErrors int           // that closed a channel

	heart   heart
	reading atomic.Bool // the reader waits for the client, not for the broker
	blocked atomic.Bool // it waits for an alarm to end
	count   counters

	confirmMu  sync.Mutex
	confirming []*channel // have confirms to send
}

var _ outbox.Owner = (*conn)(nil)

func newConn(s *Server, nc net.Conn, interrupt context.CancelCauseFunc) *conn {
	c := &conn{
		srv:       s,
		nc:        nc,
		in:        listen.NewReader(nc, handshakeFrameMax),
		interrupt: interrupt,
		frameMax:  handshakeFrameMax,
		channels:  make(map[uint16]*channel),
	}
	c.out = outbox.New(nc, c, s.opt.Outbox)
	return c
}

// log returns the connection's logger. It is made for each line: one that is kept
// would cost every quiet connection more than all that is known of its client.
func (c *conn) log() *slog.Logger {
	return c.srv.opt.Log.With(slog.String("conn", c.nc.RemoteAddr().String()))
}

// serve is the reader: from the protocol header to the goodbye.
func (c *conn) serve(ctx context.Context) {
	// A blocked read ends with its deadline, which cannot be moved forward
	// again before the interruption has been taken note of.
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
	})
	err := c.handshake(ctx)
	if err == nil {
		c.heart.start(ctx, c)
		err = c.run(ctx)
		c.heart.stop()
	}
	err = ending(ctx, err)
	if !stop() {
		<-interrupted
	}
	c.release()
	c.goodbye(err)
	c.in.Release()
}

// run reads frames until the connection ends, and returns why.
func (c *conn) run(ctx context.Context) error {
	for {
		taken, err := c.takeWhole(ctx)
		if !taken {
			err = c.takeFrame(ctx)
		}
		if err == nil {
			err = c.out.AwaitRoom(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// takeFrame waits for the next frame, and acts on it.
func (c *conn) takeFrame(ctx context.Context) error {
	f, err := c.nextFrame()
	switch {
	case err == nil:
		return c.handle(ctx, f)
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil:
		return c.woken(ctx)
	}
	return err
}

// nextFrame waits for the next frame. Its payload is valid until the next call.
func (c *conn) nextFrame() (wire.Frame, error) {
	for {
		b := c.in.Buffered()
		f, n, err := wire.ParseFrame(b, c.frameMax)
		if err != nil {
			return wire.Frame{}, err
		}
		if n > 0 {
			c.in.Discard(n)
			return f, nil
		}
		if err := c.fill(max(wire.FrameSize(b), len(b)+1)); err != nil {
			return wire.Frame{}, err
		}
	}
}

// fill waits until the read buffer holds least bytes. It counts every read by
// itself, so that a client that sends slowly is not taken for a silent one.
func (c *conn) fill(least int) error {
	for {
		before := len(c.in.Buffered())
		if before >= least {
			return nil
		}
		c.reading.Store(true)
		err := c.in.Fill(before + 1)
		c.reading.Store(false)
		if err != nil {
			return err
		}
		c.count.bytesRead.Add(uint64(len(c.in.Buffered()) - before))
		c.count.reads.Add(1)
		c.moved()
	}
}

// handle acts on one frame of an open connection. An error ends the connection.
func (c *conn) handle(ctx context.Context, f wire.Frame) error {
	if f.Type == wire.FrameHeartbeat {
		if f.Channel != 0 {
			// Section 4.2.7: heartbeats belong to channel 0.
			return wire.Errorf(wire.FrameError, 0, "heartbeat on channel %d", f.Channel)
		}
		return nil
	}
	if f.Channel == 0 {
		return c.control(ctx, f)
	}
	ch := c.channel(f.Channel)
	if ch == nil {
		return c.openChannel(f)
	}
	return c.finish(ctx, ch, ch.handle(ctx, f))
}

// channel returns the one of that number, nil for none.
func (c *conn) channel(id uint16) *channel {
	if ch := c.last; ch != nil && ch.id == id {
		return ch
	}
	ch := c.channels[id]
	if ch != nil {
		c.last = ch
	}
	return ch
}

// finish closes ch if err is a soft error, and returns any other.
func (c *conn) finish(ctx context.Context, ch *channel, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return err // the engine gave up waiting because the connection ends
	}
	e := fault(ch.method, err)
	if e == nil || e.Code.Hard() {
		return blame(ch.method, err)
	}
	c.logChannelError(ch, e, err)
	return ch.fail(e)
}

// loudErrors is how many channel errors of a connection are warned of: a client
// that does nothing else must not fill the disk.
const loudErrors = 5

// logChannelError logs why a channel is closed.
func (c *conn) logChannelError(ch *channel, e *wire.Error, cause error, more ...slog.Attr) {
	c.channelErrors++
	level := slog.LevelWarn
	if c.channelErrors > loudErrors {
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{
		slog.Int("channel", int(ch.id)), slog.String("user", c.user), slog.Int("code", int(e.Code)), slog.Any("err", cause),
	}
	c.log().LogAttrs(context.Background(), level, "channel closed for an error", append(attrs, more...)...)
	if c.channelErrors == loudErrors {
		c.log().Warn("further channel errors of this connection are logged at level debug")
	}
}

// control acts on a frame of channel 0 (class connection).
func (c *conn) control(ctx context.Context, f wire.Frame) error {
	if f.Type != wire.FrameMethod {
		return wire.Errorf(wire.UnexpectedFrame, 0, "expected method frame, got non method frame instead")
	}
	m, err := wire.DecodeMethod(f.Payload)
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *wire.ConnectionClose:
		return c.closedByClient(m)
	case *wire.ConnectionUpdateSecret:
		return c.updateSecret(ctx, m)
	}
	return wire.Errorf(wire.ChannelError, m.ID(), "unexpected method in connection state running")
}

// closedByClient answers connection.close, after everything the connection held
// has been given back: who reads close-ok may rely on it.
func (c *conn) closedByClient(m *wire.ConnectionClose) error {
	c.release()
	if m.ReplyCode != wire.ReplySuccess {
		c.log().Info("client reports an error", slog.Int("code", int(m.ReplyCode)), slog.String("text", m.ReplyText))
	}
	if err := c.send(0, &wire.ConnectionCloseOK{}); err != nil {
		return err
	}
	return errClosed
}

// send queues a method.
func (c *conn) send(channel uint16, m wire.Method) (err error) {
	c.out.Append(func(b *outbox.Buffer) { b.B, err = wire.AppendMethod(b.B, channel, m) })
	return err
}

// release gives back what the connection holds: consumers end first, so that
// nothing which is requeued comes here again. It may be called more than once.
func (c *conn) release() {
	for _, ch := range c.channels {
		ch.retireConsumers() // the session cancels them
	}
	var outstanding []core.Delivery
	for _, ch := range c.channels {
		outstanding = ch.surrender(outstanding)
		ch.countPublisher(false)
	}
	c.count.channelsClosed.Add(uint64(len(c.channels)))
	c.tellChannelsClosed()
	c.channelsMu.Lock()
	clear(c.channels)
	c.channelsMu.Unlock()
	c.last = nil
	c.expireAt(time.Time{})
	if c.session != nil && !c.released {
		c.released = true
		c.session.Close(outstanding...)
	}
}

// Preflush implements outbox.Owner: confirms that were completed since the last
// write leave as one basic.ack per channel.
func (c *conn) Preflush(b *outbox.Buffer) {
	c.confirmMu.Lock()
	defer c.confirmMu.Unlock()
	for i, ch := range c.confirming {
		ch.confirms.listed.Store(false)
		b.B = ch.appendConfirms(b.B)
		c.confirming[i] = nil
	}
	c.confirming = c.confirming[:0]
}

// Room implements outbox.Owner.
func (c *conn) Room() { c.session.Resume() }

// Wrote implements outbox.Owner.
func (c *conn) Wrote(int) { c.moved() }

// moved notes that the connection's traffic has changed.
func (c *conn) moved() {
	if s := c.moves.Load(); s != nil {
		s.Moved()
	}
}

// WriteFailed implements outbox.Owner.
func (c *conn) WriteFailed(err error) { c.interrupt(err) }

// tellChannelsClosed tells of the channels that end with the connection.
func (c *conn) tellChannelsClosed() {
	if len(c.channels) == 0 || c.session == nil || !c.srv.opt.Broker.HearsEvents() {
		return
	}
	for id := range c.channels {
		c.session.TellChannel(id, false)
	}
}
