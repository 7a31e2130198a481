package amqp091

import (
	"context"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// The short way of a message that lies in the read buffer with all of its frames:
// it is taken in one step, and copied once, properties and body together. It is the
// usual case of whoever publishes much. Whatever is not as usual goes frame by
// frame (nextFrame, channel.handle), with the same outcome.

// takeWhole publishes the message that the read buffer begins with. It reports
// false, and has done nothing, where there is none that can be taken as a whole.
func (c *conn) takeWhole(ctx context.Context) (taken bool, err error) {
	var w wire.Whole
	n := wire.ParseWhole(&w, c.in.Buffered(), c.frameMax)
	if n == 0 {
		return false, nil
	}
	ch := c.channel(w.Channel)
	if ch == nil || ch.closing || ch.publication.state != awaitMethod {
		return false, nil
	}
	c.in.Discard(n) // what it has read stays as it is
	return true, c.finish(ctx, ch, ch.publishWhole(ctx, &w))
}

// publishWhole is basicPublish, contentHeader and contentBody in one.
func (ch *channel) publishWhole(ctx context.Context, w *wire.Whole) error {
	p := &ch.publication
	ch.method = wire.BasicPublishID
	p.begin(&w.Publish)
	s, err := ch.checkHeader(uint64(len(w.Body)), w.Properties)
	if err != nil {
		return err
	}
	if s.ReplyTo == nil && len(s.Headers) == 0 {
		return ch.lend(ctx, w)
	}
	if err := ch.readProperties(w.Properties, &s); err != nil { // it may be another block
		return err
	}
	p.size = len(w.Body)
	p.reserve(len(p.properties) + p.size)
	p.block = append(p.block, w.Body...)
	return ch.publish(ctx)
}

// lend hands a message over of which the engine copies what it keeps: of one that goes
// through to a consumer at once, nothing.
func (ch *channel) lend(ctx context.Context, w *wire.Whole) error {
	p, c := &ch.publication, ch.c
	if ch.tx != nil || p.expires || len(w.Body) >= byReference {
		m := new(core.Message)
		properties, body := w.Clone()
		p.complete(m, properties, body)
		return ch.handOver(ctx, m, nil)
	}
	if c.lent == nil {
		c.lent = new(core.Message)
	}
	m := c.lent
	p.complete(m, w.Properties, w.Body)
	err := ch.handOver(ctx, m, w.Span)
	m.Props, m.Body, m.Arrived = nil, nil, 0 // the read buffer is nobody's before long
	return err
}
