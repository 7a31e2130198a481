package mqtt

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/mqtt/wire"
	"github.com/batonmq/baton/protocols/outbox"
)

// conn is one client's connection. Its reader goroutine owns what no other rule
// covers. There may be very many that are idle, so it is kept small: what not
// every client needs is made when it is.
type conn struct {
	srv   *Server
	nc    net.Conn
	out   *outbox.Outbox
	from  *source
	entry *listen.Registration[*conn] // nil: it was one too many
	over  func()                      // tells who has started the connection that it is closed

	// Agreed on in the handshake, and read by whoever delivers from then on.
	session   *core.Session
	link      *core.Link
	user      string
	vhost     string
	clientID  string
	mount     *mount       // nil: the client has no mount point
	sent      *sentAliases // nil: the client takes none
	acceptMax uint32       // the largest packet the client accepts
	sendMax   uint32       // the largest packet the client may send
	version   wire.Version
	dozes     bool // the connection does when its client is silent
	byMethod  bool // the client has authenticated by SCRAM-SHA-256, and may again
	bridge    bool // the client says that it is another broker, see wire.BridgeBit
	explains  bool // answers may have reason strings
	connected bool // CONNACK was sent, and it was not a refusal
	outlives  bool // the session may outlive the connection
	closed    bool // it is off the books; guarded by srv.mu

	// Owned by the reader.
	warned bool                // of publications that are not allowed
	in     *listen.Reader      // nil while the connection dozes
	pub    *publisher          // nil until the client publishes
	again  *auth.SCRAMExchange // the client is authenticating anew; nil: it is not
	left   *wire.Disconnect    // how the client took its leave

	unacked  atomic.Int32   // publications of QoS 1 that are not answered
	discards sync.WaitGroup // deliveries that are being given up; see discard
	alive    keepAlive
	expiry   *time.Timer // of the login; nil: none
	blocked  atomic.Bool // the reader waits for alarms to end
	told     bool        // DISCONNECT is in the outbox; owned by who appends to that
	lane     uint8       // where the server counts the connection's bytes
	bytesIn  atomic.Uint64
	count    atomic.Pointer[counters]     // nil until there is something to count; see counters
	moves    atomic.Pointer[core.Session] // session, once it has been attached: for the write side

	reasonsMu sync.Mutex
	reasons   map[uint64]string // reason strings of answers to come, by their tags

	lifeMu  sync.Mutex              // below the engine's locks
	leaving bool                    // read deadlines are for the goodbye from now on, and what is delivered is not answered
	cancel  context.CancelCauseFunc // of the reader's context; nil while the connection dozes
	reason  error                   // why the connection is to end; nil: it is not
}

var (
	_ outbox.Owner            = (*conn)(nil)
	_ core.Completion         = (*conn)(nil)
	_ core.SubscriberReceiver = (*conn)(nil)
)

func newConn(s *Server, nc net.Conn, over func()) *conn {
	c := &conn{
		srv:     s,
		nc:      nc,
		over:    over,
		dozes:   mayDoze(nc),
		sendMax: handshakePacketSize,
	}
	c.out = outbox.New(nc, c, s.opt.Outbox)
	c.lane = uint8(s.lastLane.Add(1) % lanes)
	return c
}

// interrupt ends the connection, for the first reason that it is given. It may
// be called by any goroutine, with the engine's locks held.
func (c *conn) interrupt(reason error) {
	c.lifeMu.Lock()
	defer c.lifeMu.Unlock()
	if !c.leaving {
		c.deadlineLocked(time.Unix(1, 0)) // ends a blocked read
	}
	if c.reason != nil {
		return
	}
	c.reason = reason
	if c.cancel != nil {
		c.cancel(reason)
	}
}

// leave begins the end: whatever interrupts the connection from now on comes too
// late. It returns why it was interrupted before, or nil.
func (c *conn) leave() error {
	c.lifeMu.Lock()
	defer c.lifeMu.Unlock()
	c.leaving = true
	return c.reason
}

// finish ends the connection, whose reader has met err.
func (c *conn) finish(err error) {
	c.alive.stop()
	if c.expiry != nil {
		c.expiry.Stop()
	}
	interrupted := c.leave()
	c.release(interrupted)
	c.goodbye(ending(interrupted, err))
	c.in.Release()
	c.srv.close(c)
}

// run reads packets until the connection ends, and returns why.
func (c *conn) run(ctx context.Context) error {
	for {
		b := c.in.Buffered()
		if n := c.acknowledgedAll(b); n > 0 {
			c.in.Discard(n)
			continue
		}
		f, n, err := wire.ParseFrame(b, c.sendMax)
		switch {
		case err != nil:
		case n > 0:
			c.alive.whole()
			c.in.Discard(n) // the bytes stay until the next fill
			err = c.handle(ctx, f)
			c.arriving(0)
		case c.isLarge(b):
			err = c.publishLarge(ctx)
		default:
			err = c.fill(b)
		}
		if err == nil {
			err = c.out.AwaitRoom(ctx)
		}
		if err == nil && n > 0 && f.Type == wire.PINGREQ && c.isDrained() {
			err = errSilent // who has anything else to say does not ping
		}
		if err != nil {
			return err
		}
	}
}

// growAlone is the size up to which a packet's buffer is the reader's affair;
// see fill.
const growAlone = 1 << 20

// fill reads more of the packet at the start of b. The buffer grows with what has arrived, not with what was announced.
func (c *conn) fill(b []byte) error {
	before := len(b)
	least := before + 1
	if before >= growAlone { // the reader's buffers are no longer those of a pool, with room to spare
		least = min(wire.FrameSize(b), 2*before)
		c.arriving(before)
	}
	state := waitsForPacket
	if before > 0 {
		state = waitsForRest
	}
	c.alive.waits.Store(state)
	err := c.await(before)
	if err == nil {
		err = c.in.Fill(least)
	}
	if c.alive.waits.Swap(waitsForBroker) == waitsInVain {
		err = c.nudged(err)
	}
	if err != nil {
		return err
	}
	c.arrived(len(c.in.Buffered()) - before)
	c.alive.read = time.Since(c.srv.start)
	return nil
}

// arrived counts bytes that were read.
func (c *conn) arrived(n int) {
	c.bytesIn.Add(uint64(n))
	c.srv.bytes[c.lane].read.Add(uint64(n))
	c.moved()
}

// moved notes that the connection's traffic has changed.
func (c *conn) moved() {
	if s := c.moves.Load(); s != nil {
		s.Moved()
	}
}

// arriving says how much of a packet is in memory that is not complete: all
// connections' together is bounded.
func (c *conn) arriving(n int) {
	if c.session != nil {
		c.session.Arriving(int64(n))
	}
}

// heard notes that n bytes of a payload have come, which count as a packet.
//
// ![MQTT-3.1.2-22] They are a piece of a large payload. A client that sends it
// as fast as its line allows is no less alive than one that has less to say,
// and cannot put a PINGREQ in between.
func (c *conn) heard(n int) {
	c.arrived(n)
	c.alive.heard.Store(int64(time.Since(c.srv.start)))
}

// await waits for bytes where the reader would hold a buffer meanwhile: on a
// WebSocket, of which the reader knows nothing.
func (c *conn) await(buffered int) error {
	ws, ok := c.nc.(*webSocket)
	if !ok || buffered > 0 {
		return nil
	}
	c.in.Release()
	if err := ws.awaitFrame(); err != nil {
		return err
	}
	// From here on a deadline would end the connection.
	if !c.alive.waits.CompareAndSwap(waitsForPacket, waitsForRest) {
		return os.ErrDeadlineExceeded // it was nudged
	}
	return ws.await()
}

// handle acts on one packet of an open connection, however much of its receive
// maximum the client has used up [MQTT-3.3.4-10] [MQTT-4.9.0-3]. An error ends
// the connection.
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
	case wire.SUBSCRIBE:
		return c.subscribe(ctx, f)
	case wire.UNSUBSCRIBE:
		return c.unsubscribe(ctx, f)
	case wire.PINGREQ:
		// [MQTT-3.12.4-1]
		c.out.Append(func(b *outbox.Buffer) { b.B = wire.AppendPingresp(b.B) })
		return nil
	case wire.DISCONNECT:
		return c.disconnected(f)
	case wire.CONNECT:
		return wire.Errorf(wire.ProtocolError, "a second CONNECT") // [MQTT-3.1.0-2]
	case wire.AUTH:
		return c.reauthenticate(ctx, f)
	case wire.CONNACK, wire.SUBACK, wire.UNSUBACK, wire.PINGRESP: // a server's
	}
	return wire.Errorf(wire.ProtocolError, "%s from a client", f.Type)
}

// disconnected acts on DISCONNECT.
func (c *conn) disconnected(f wire.Frame) error {
	d, err := wire.DecodeDisconnect(f, c.version)
	if err != nil {
		return err
	}
	if d.HasSessionExpiry && d.SessionExpiry > 0 && !c.outlives { // section 3.14.2.2.2
		return wire.Errorf(wire.ProtocolError, "session expiry interval in DISCONNECT after none in CONNECT")
	}
	c.left = &d
	return errDisconnected
}

// release gives back what the connection holds. Where the broker stops it holds
// on: see the package comment about wills.
func (c *conn) release(interrupted error) {
	if c.session == nil {
		return
	}
	c.discards.Wait() // there are no new ones: the connection is leaving
	if stops := stopping(interrupted); stops || errors.Is(interrupted, listen.ErrCut) {
		if c.link != nil && stops {
			c.link.Suspend()
			c.discards.Wait()
		}
		return
	}
	if d := c.left; d != nil && c.link != nil {
		var expiry *time.Duration
		if d.HasSessionExpiry {
			t := c.srv.sessionExpiry(d.SessionExpiry)
			expiry = &t
		}
		c.link.Detach(d.Reason == wire.Success, expiry) // [MQTT-3.14.4-3]
	}
	c.session.Close()
}

// Preflush implements outbox.Owner.
func (c *conn) Preflush(*outbox.Buffer) {}

// Room implements outbox.Owner.
func (c *conn) Room() { c.session.Resume() }

// Wrote implements outbox.Owner.
func (c *conn) Wrote(n int) {
	c.srv.bytes[c.lane].written.Add(uint64(n))
	c.moved()
}

// WriteFailed implements outbox.Owner.
func (c *conn) WriteFailed(err error) { c.interrupt(err) }
