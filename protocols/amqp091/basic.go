package amqp091

import (
	"context"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/outbox"
)

// handleBasic acts on the methods of class basic (class reference 1.8) but for
// those that come once per message.
func (ch *channel) handleBasic(ctx context.Context, m wire.Method) error {
	switch m := m.(type) {
	case *wire.BasicQos:
		return ch.basicQos(m)
	case *wire.BasicConsume:
		return ch.basicConsume(ctx, m)
	case *wire.BasicCancel:
		return ch.basicCancel(m)
	case *wire.BasicGet:
		return ch.basicGet(ctx, m)
	case *wire.BasicRecover:
		return ch.recover(m.Requeue, &wire.BasicRecoverOK{})
	case *wire.BasicRecoverAsync:
		return ch.recover(m.Requeue, nil)
	}
	return unhandled(m)
}

// basicQos sets how many deliveries may be outstanding. As in RabbitMQ, and
// unlike in the specification, global=false is about consumers to come, each by
// itself, and global=true about all of the channel together.
func (ch *channel) basicQos(m *wire.BasicQos) error {
	if m.PrefetchSize != 0 {
		return wire.Errorf(wire.NotImplemented, m.ID(), "prefetch_size!=0 (%d)", m.PrefetchSize)
	}
	// The answer comes before what a larger limit lets through.
	if err := ch.send(&wire.BasicQosOK{}); err != nil {
		return err
	}
	if m.Global {
		ch.sharedWindow().SetLimit(int(m.PrefetchCount))
	} else {
		ch.change(func() { ch.prefetch = int(m.PrefetchCount) })
	}
	return nil
}

// sharedWindow is given to every consumer, also where no limit is set: it may
// be set later and then holds for all.
func (ch *channel) sharedWindow() *core.Window {
	if ch.shared == nil {
		ch.change(func() { ch.shared = core.NewWindow(0) })
	}
	return ch.shared
}

func (ch *channel) basicConsume(ctx context.Context, m *wire.BasicConsume) error {
	if m.Queue == core.ReplyQueue {
		return ch.consumeReplies(m)
	}
	queue, err := ch.resolveQueue(m.Queue)
	if err != nil {
		return err
	}
	k := &consumer{ch: ch, tag: consumerTag(m.ConsumerTag), noAck: m.NoAck}
	if k.timeout, k.timed, err = consumerTimeout(m.Arguments); err != nil {
		return err
	}
	if !ch.addConsumer(k) {
		return tagTaken(k.tag)
	}
	var sendErr error
	spec := core.ConsumerSpec{
		Queue: queue, Tag: k.tag, Channel: ch.id, NoAck: m.NoAck, Exclusive: m.Exclusive, Args: m.Arguments, Receiver: k,
		Copies: byReference,
		// Before the first delivery, which may come from another goroutine at
		// any moment.
		OnReady: func() { sendErr = ch.reply(m.NoWait, &wire.BasicConsumeOK{ConsumerTag: k.tag}) },
	}
	if !m.NoAck {
		spec.Shared = ch.sharedWindow()
		if ch.prefetch > 0 {
			spec.Window = core.NewWindow(ch.prefetch)
		}
	}
	if k.sub, err = ch.c.session.Consume(ctx, spec); err != nil {
		ch.removeConsumer(k.tag)
		return err
	}
	return sendErr
}

// consumerTag is the tag that a client has chosen, or one that is made for it.
func consumerTag(chosen string) string {
	if chosen != "" {
		return chosen
	}
	return core.GeneratedName("amq.ctag-")
}

func tagTaken(tag string) *wire.Error {
	return wire.Errorf(wire.NotAllowed, wire.BasicConsumeID, "attempt to reuse consumer tag '%s'", tag)
}

func (ch *channel) hasConsumer(tag string) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.consumers[tag] != nil
}

func (ch *channel) addConsumer(k *consumer) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if _, taken := ch.consumers[k.tag]; taken {
		return false
	}
	if ch.consumers == nil {
		ch.consumers = make(map[string]*consumer)
	}
	ch.consumers[k.tag] = k
	ch.c.count.consumers.Add(1)
	return true
}

// removeConsumer returns the consumer that had the tag, nil if there is none.
func (ch *channel) removeConsumer(tag string) *consumer {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	k := ch.consumers[tag]
	if k != nil {
		delete(ch.consumers, tag)
		ch.c.count.consumers.Add(-1)
	}
	return k
}

// basicCancel ends a consumer; one that is unknown is ended already. What it
// has outstanding stays so.
func (ch *channel) basicCancel(m *wire.BasicCancel) error {
	if k := ch.removeConsumer(m.ConsumerTag); k != nil {
		k.sub.Cancel()
	} else if k := ch.replies; k != nil && k.tag == m.ConsumerTag {
		ch.endReplies()
	}
	return ch.reply(m.NoWait, &wire.BasicCancelOK{ConsumerTag: m.ConsumerTag})
}

// retireConsumers ends the deliveries to the channel. Cancelled are the consumers
// when what they hold is back in the queues: who takes their place gets it in
// order.
func (ch *channel) retireConsumers() {
	ch.mu.Lock()
	consumers := ch.consumers
	ch.consumers = nil
	ch.c.count.consumers.Add(-int64(len(consumers)))
	ch.mu.Unlock()
	for _, k := range consumers {
		k.sub.Retire()
		ch.retired = append(ch.retired, k.sub)
	}
	ch.endReplies()
}

func (ch *channel) basicGet(ctx context.Context, m *wire.BasicGet) error {
	queue, err := ch.resolveQueue(m.Queue)
	if err != nil {
		return err
	}
	d, remaining, ok, err := ch.c.session.Get(ctx, queue, m.NoAck)
	if err != nil {
		return err
	}
	count := &ch.c.count
	switch {
	case !ok:
		count.getEmpty.Add(1)
		return ch.send(&wire.BasicGetEmpty{})
	case m.NoAck:
		count.gotNoAck.Add(1)
	default:
		count.gotAck.Add(1)
	}
	if d.Redelivered {
		count.redelivered.Add(1)
	}
	return ch.keep(&d, m.NoAck, func(tag uint64) (err error) {
		got := wire.BasicGetOK{
			DeliveryTag: tag, Redelivered: d.Redelivered,
			Exchange: d.Message.Exchange, RoutingKey: d.Message.Key, MessageCount: count32(remaining),
		}
		ch.c.out.Append(func(b *outbox.Buffer) {
			if len(d.Message.Body) < byReference {
				b.B, err = wire.AppendGetOK(b.B, ch.id, &got, delivered(&d), ch.c.frameMax)
			} else {
				err = ch.appendVec(b, &got, delivered(&d))
			}
		})
		return err
	})
}

func (ch *channel) basicAck(args []byte) error {
	m, err := wire.ParseAck(args)
	if err != nil {
		return err
	}
	if err := ch.collect(m.DeliveryTag, m.Multiple); err != nil {
		return err
	}
	ch.c.count.acknowledged.Add(uint64(len(ch.settling)))
	ch.decide(core.Accept)
	return nil
}

func (ch *channel) basicNack(args []byte) error {
	m, err := wire.ParseNack(args)
	if err != nil {
		return err
	}
	return ch.refuse(m.DeliveryTag, m.Multiple, m.Requeue, core.Return)
}

func (ch *channel) basicReject(args []byte) error {
	m, err := wire.ParseReject(args)
	if err != nil {
		return err
	}
	return ch.refuse(m.DeliveryTag, false, m.Requeue, core.Requeue)
}

// refuse drops deliveries, or puts them back in the way given. RabbitMQ takes a
// reject for a failure, and a nack for a return.
func (ch *channel) refuse(tag uint64, multiple, requeue bool, back core.Outcome) error {
	if err := ch.collect(tag, multiple); err != nil {
		return err
	}
	if requeue {
		ch.decide(back)
	} else {
		ch.decide(core.Reject)
	}
	return nil
}

// decide settles what collect has found: now, or with the channel's transaction.
func (ch *channel) decide(o core.Outcome) {
	if ch.tx != nil {
		ch.settleLater(o)
	} else {
		ch.settle(o)
	}
}

// recover requeues everything that is outstanding on the channel. The answer, if
// there is to be one, comes before what is delivered again.
func (ch *channel) recover(requeue bool, answer wire.Method) error {
	if !requeue {
		return wire.Errorf(wire.NotImplemented, ch.method, "requeue=false")
	}
	if err := ch.collect(0, true); err != nil {
		return err
	}
	if answer != nil {
		if err := ch.send(answer); err != nil {
			return err
		}
	}
	ch.settle(core.Return)
	return nil
}

// collect moves the deliveries that a tag names to ch.settling: that one, with
// multiple all up to it, and with multiple and 0 all there are (class
// reference, basic.ack, multiple).
func (ch *channel) collect(tag uint64, multiple bool) error {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ok := true
	switch {
	case multiple && tag == 0:
		ch.settling = ch.unsettled.takeAll(ch.settling)
	case multiple:
		ch.settling, ok = ch.unsettled.takeUpTo(tag, ch.settling)
	default:
		ch.settling, ok = ch.unsettled.take(tag, ch.settling)
	}
	if !ok {
		return wire.Errorf(wire.PreconditionFailed, ch.method, "unknown delivery tag %d", tag)
	}
	return nil
}

// settle gives what collect found back to the engine, in one call and with no
// lock held.
func (ch *channel) settle(o core.Outcome) {
	if len(ch.settling) == 0 {
		return
	}
	ch.c.session.Settle(ch.settling, o)
	ch.endSettling()
}

// endSettling empties what collect fills.
func (ch *channel) endSettling() {
	clear(ch.settling) // messages must not stay reachable
	ch.settling = ch.settling[:0]
	if cap(ch.settling) > keepItems {
		ch.settling = nil
	}
}
