package amqp091

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// channel is one open channel, or one that has been closed for an error and
// waits for the client's close-ok. The reader owns what no other rule covers;
// what it tells others of (describe), which changes seldom, it changes under mu.
type channel struct {
	c       *conn
	id      uint16
	closing bool          // channel.close was sent: all but its answer is dropped
	counted bool          // as a publisher
	method  wire.MethodID // the one being acted on, for errors

	queue    string       // declared last: what an empty queue name means
	prefetch int          // of consumers to come (basic.qos, global=false)
	shared   *core.Window // of all consumers (basic.qos, global=true); made with the first

	publication publication
	confirms    confirms
	tx          *transaction    // nil: the channel is not transactional
	settling    []core.Delivery // scratch
	retired     []*core.Consumer

	uncommitted, uncommittedAcks atomic.Int32 // of the transaction

	mu        sync.Mutex
	tag       uint64 // of the last delivery
	unsettled unsettled
	consumers map[string]*consumer // by tag
	replies   *replies             // nil: no consumer of replies; written by the reader alone, which needs no lock to read it
	marks     []mark               // of deliveries that have a timeout
	overdue   time.Duration        // the timeout of one that is; 0: none is known
	answering bool                 // basic.cancel waits until an answer is sent
	cancelled []string             // tags of which the client is to hear then
	splices   [][]byte             // scratch of the encoder
}

// openChannel acts on a frame for a channel number that is not in use.
func (c *conn) openChannel(f wire.Frame) error {
	if f.Type != wire.FrameMethod {
		return wire.Errorf(wire.ChannelError, 0, "expected 'channel.open'")
	}
	m, err := wire.DecodeMethod(f.Payload)
	if err != nil {
		return err
	}
	switch m.(type) {
	case *wire.ChannelOpen:
	case *wire.ChannelCloseOK: // late, after both sides had closed it
		return nil
	default:
		return wire.Errorf(wire.ChannelError, m.ID(), "expected 'channel.open'")
	}
	if f.Channel > c.channelMax {
		return wire.Errorf(wire.NotAllowed, m.ID(),
			"channel number %d is higher than the negotiated channel_max (%d)", f.Channel, c.channelMax)
	}
	if err := c.session.OpenChannel(); err != nil {
		return blame(m.ID(), err)
	}
	ch := &channel{c: c, id: f.Channel}
	c.channelsMu.Lock()
	c.channels[f.Channel] = ch
	c.channelsMu.Unlock()
	c.count.channelsOpened.Add(1)
	c.session.TellChannel(ch.id, true)
	return ch.send(&wire.ChannelOpenOK{})
}

func (ch *channel) send(m wire.Method) error { return ch.c.send(ch.id, m) }

// reply sends an …-ok unless the client did not want it.
func (ch *channel) reply(noWait bool, m wire.Method) error {
	if noWait {
		return nil
	}
	return ch.send(m)
}

// handle acts on one frame of the channel. A soft error closes the channel, any
// other the connection.
func (ch *channel) handle(ctx context.Context, f wire.Frame) error {
	if ch.closing {
		return ch.handleClosing(f)
	}
	switch f.Type {
	case wire.FrameMethod:
		if ch.publication.state != awaitMethod {
			return ch.publication.outOfOrder(f.Type)
		}
		return ch.handleMethod(ctx, f.Payload)
	case wire.FrameHeader:
		return ch.contentHeader(ctx, f.Payload)
	default:
		return ch.contentBody(ctx, f.Payload)
	}
}

// handleMethod acts on one method: what comes once per message is decoded
// without allocating, the rest by its struct.
func (ch *channel) handleMethod(ctx context.Context, payload []byte) error {
	id, args, err := wire.ParseMethod(payload)
	if err != nil {
		return err
	}
	ch.method = id
	switch id {
	case wire.BasicPublishID:
		return ch.basicPublish(args)
	case wire.BasicAckID:
		return ch.basicAck(args)
	case wire.BasicNackID:
		return ch.basicNack(args)
	case wire.BasicRejectID:
		return ch.basicReject(args)
	default:
		return ch.handleDecoded(ctx, payload)
	}
}

// handleDecoded acts on a method that comes seldom.
func (ch *channel) handleDecoded(ctx context.Context, payload []byte) error {
	m, err := wire.DecodeMethod(payload)
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Code == wire.CommandInvalid {
		// A method that nobody has heard of is one that is not implemented here.
		return wire.Errorf(wire.NotImplemented, e.Method, "%s", e.Text)
	}
	if err != nil {
		return err
	}
	switch m.ID().Class() {
	case wire.ClassChannel:
		return ch.handleChannel(m)
	case wire.ClassAccess:
		return ch.accessRequest(m)
	case wire.ClassExchange:
		return ch.handleExchange(ctx, m)
	case wire.ClassQueue:
		return ch.handleQueue(ctx, m)
	case wire.ClassBasic:
		return ch.handleBasic(ctx, m)
	case wire.ClassConfirm:
		return ch.handleConfirm(m)
	case wire.ClassTx:
		return ch.handleTx(ctx, m)
	}
	return unhandled(m)
}

// unhandled is the error for a method that is known but not for a server, or
// not for this place.
func unhandled(m wire.Method) error {
	return wire.Errorf(wire.CommandInvalid, m.ID(), "unimplemented method")
}

// handleChannel acts on the methods of class channel.
func (ch *channel) handleChannel(m wire.Method) error {
	switch m := m.(type) {
	case *wire.ChannelOpen:
		return wire.Errorf(wire.ChannelError, m.ID(), "second 'channel.open' seen")
	case *wire.ChannelClose:
		ch.retireConsumers()
		ch.release()
		ch.forget()
		return ch.send(&wire.ChannelCloseOK{})
	case *wire.ChannelFlow:
		if !m.Active {
			return wire.Errorf(wire.NotImplemented, m.ID(), "active=false")
		}
		return ch.send(&wire.ChannelFlowOK{Active: true})
	}
	return unhandled(m)
}

// accessRequest grants everything: the class is a relic (0-9-1 has removed it)
// that some clients still use.
func (ch *channel) accessRequest(m wire.Method) error {
	if _, ok := m.(*wire.AccessRequest); !ok {
		return unhandled(m)
	}
	return ch.send(&wire.AccessRequestOK{Ticket: 1})
}

// fail closes the channel for e. The number stays taken until close-ok.
func (ch *channel) fail(e *wire.Error) error {
	ch.retireConsumers()
	ch.release()
	ch.change(func() { ch.closing = true })
	return ch.send(&wire.ChannelClose{
		ReplyCode: e.Code, ReplyText: e.ReplyText(), ClassID: e.Method.Class(), MethodID: e.Method.Method(),
	})
}

// handleClosing drops everything until close-ok frees the channel's number
// (section 1.5 of the class reference, channel.close).
func (ch *channel) handleClosing(f wire.Frame) error {
	if f.Type != wire.FrameMethod {
		return nil
	}
	switch id, _, _ := wire.ParseMethod(f.Payload); id {
	case wire.ChannelCloseOKID:
		ch.forget()
	case wire.ChannelCloseID: // both closed at once; close-ok is still to come
		return ch.send(&wire.ChannelCloseOK{})
	default:
	}
	return nil
}

// forget frees the channel's number, and its place among those of the user.
func (ch *channel) forget() {
	ch.c.channelsMu.Lock()
	delete(ch.c.channels, ch.id)
	ch.c.count.receivedConfirm.Add(ch.confirms.issued.Load())
	ch.c.channelsMu.Unlock()
	ch.c.last = nil
	ch.c.session.CloseChannel()
	ch.c.session.TellChannel(ch.id, false)
	ch.c.count.channelsClosed.Add(1)
	ch.countPublisher(false)
}

// countPublisher has the statistics know whether the channel is open and has published.
func (ch *channel) countPublisher(is bool) {
	switch {
	case is == ch.counted:
	case is:
		ch.c.count.publishers.Add(1)
	default:
		ch.c.count.publishers.Add(-1)
	}
	ch.counted = is
}

// release gives back what the channel holds: outstanding deliveries return to
// their queues. Consumers have been retired before.
func (ch *channel) release() {
	ch.settling = ch.surrender(ch.settling)
	ch.settle(core.Return)
	for _, c := range ch.retired {
		c.Cancel()
	}
	ch.retired = nil
}

// surrender ends what the channel holds: its publication is dropped, confirms
// that come now go nowhere, and outstanding deliveries are moved to the end of
// to, for the caller to give back.
func (ch *channel) surrender(to []core.Delivery) []core.Delivery {
	ch.dropPublication()
	ch.endConfirms()
	if ch.tx != nil {
		to = ch.takeTransaction(to)
		ch.change(func() { ch.tx = nil })
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.unsettled.takeAll(to)
}
