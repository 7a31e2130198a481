package amqp091

import (
	"fmt"
	"sync/atomic"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// confirms is what a channel knows of its publishes' confirms.
//
// The store completes them in order, so the highest tag that passed says it
// all. Completing stores that tag and, once per write, lists the channel; the
// outbox's writer then sends one basic.ack for everything that passed
// meanwhile.
type confirms struct {
	on     bool          // confirm.select was received; owned by the reader
	issued atomic.Uint64 // tag of the last publish; the reader adds to it

	passed atomic.Uint64 // highest tag completed
	listed atomic.Bool   // the channel is in conn.confirming

	// Guarded by conn.confirmMu.
	sent    uint64   // highest tag confirmed to the client
	refused []uint64 // tags above it of what a full queue refused, in their order
	ended   bool     // the channel is closed: nothing may be sent any more
}

var _ core.Completion = (*channel)(nil)

// handleConfirm acts on confirm.select.
func (ch *channel) handleConfirm(m wire.Method) error {
	sel, ok := m.(*wire.ConfirmSelect)
	if !ok {
		return unhandled(m)
	}
	if ch.tx != nil {
		return wire.Errorf(wire.PreconditionFailed, m.ID(), "cannot switch from tx to confirm mode")
	}
	ch.change(func() { ch.confirms.on = true })
	return ch.reply(sel.NoWait, &wire.ConfirmSelectOK{})
}

// Complete implements core.Completion: the publish with this tag has passed.
func (ch *channel) Complete(tag uint64, err error) {
	if err != nil {
		ch.c.interrupt(fmt.Errorf("%w: %w", errStore, err))
		return
	}
	ch.confirms.passed.Store(tag)
	// The writer clears listed before it reads passed: if listed is still true
	// here, it will see the tag stored above.
	if ch.confirms.listed.Load() || ch.confirms.listed.Swap(true) {
		return
	}
	c := ch.c
	c.confirmMu.Lock()
	c.confirming = append(c.confirming, ch)
	c.confirmMu.Unlock()
	c.out.Wake()
}

// appendConfirms acks what has passed and was not acked, and nacks what was refused among it. conn.confirmMu is held.
func (ch *channel) appendConfirms(b []byte) []byte {
	f := &ch.confirms
	passed := f.passed.Load()
	if f.ended || passed <= f.sent {
		return b
	}
	for len(f.refused) > 0 && f.refused[0] <= passed {
		b = ch.appendAck(b, f.refused[0]-1)
		b = wire.AppendNack(b, ch.id, f.refused[0], false, false)
		f.sent, f.refused = f.refused[0], f.refused[1:]
	}
	return ch.appendAck(b, passed)
}

// appendAck acks what was not answered up to a tag.
func (ch *channel) appendAck(b []byte, upto uint64) []byte {
	f := &ch.confirms
	n := upto - f.sent
	if n == 0 {
		return b
	}
	f.sent = upto
	ch.c.count.confirmed.Add(n)
	return wire.AppendAck(b, ch.id, upto, n > 1)
}

// refusePublish has the publish with this tag, the last one, nacked in its turn.
func (ch *channel) refusePublish(tag uint64) {
	ch.c.confirmMu.Lock()
	ch.confirms.refused = append(ch.confirms.refused, tag)
	ch.c.confirmMu.Unlock()
	ch.c.session.Confirm(ch, tag)
}

// endConfirms keeps confirms that come from now on off the wire, where the
// channel's number may mean another channel already.
func (ch *channel) endConfirms() {
	ch.c.confirmMu.Lock()
	defer ch.c.confirmMu.Unlock()
	ch.confirms.ended = true
}
