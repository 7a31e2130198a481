package amqp091

import (
	"context"
	"math"
	"strings"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// handleQueue acts on the methods of class queue (class reference 1.7).
func (ch *channel) handleQueue(ctx context.Context, m wire.Method) error {
	switch m := m.(type) {
	case *wire.QueueDeclare:
		return ch.queueDeclare(ctx, m)
	case *wire.QueueBind:
		return ch.queueBind(ctx, m)
	case *wire.QueueUnbind:
		return ch.queueUnbind(ctx, m)
	case *wire.QueuePurge:
		return ch.queuePurge(ctx, m)
	case *wire.QueueDelete:
		return ch.queueDelete(ctx, m)
	}
	return unhandled(m)
}

func (ch *channel) queueDeclare(ctx context.Context, m *wire.QueueDeclare) error {
	if strings.HasPrefix(m.Queue, core.ReplyQueue) {
		return ch.declareReplies(m)
	}
	info, err := ch.c.session.DeclareQueue(ctx, core.QueueSpec{
		Name: m.Queue, Durable: m.Durable, Exclusive: m.Exclusive, AutoDelete: m.AutoDelete,
		Passive: m.Passive, NoWait: m.NoWait, Args: m.Arguments,
	})
	if err != nil {
		return err
	}
	ch.queue = info.Name
	return ch.reply(m.NoWait, &wire.QueueDeclareOK{
		Queue: info.Name, MessageCount: count32(info.Messages), ConsumerCount: count32(info.Consumers),
	})
}

func (ch *channel) queueBind(ctx context.Context, m *wire.QueueBind) error {
	queue, key, err := ch.resolveBinding(m.Queue, m.RoutingKey)
	if err != nil {
		return err
	}
	err = ch.c.session.Bind(ctx, core.BindingSpec{
		Source: m.Exchange, Dest: queue, Key: key, Args: m.Arguments, NoWait: m.NoWait,
	})
	if err != nil {
		return err
	}
	return ch.reply(m.NoWait, &wire.QueueBindOK{})
}

func (ch *channel) queueUnbind(ctx context.Context, m *wire.QueueUnbind) error {
	queue, key, err := ch.resolveBinding(m.Queue, m.RoutingKey)
	if err != nil {
		return err
	}
	err = ch.c.session.Unbind(ctx, core.BindingSpec{Source: m.Exchange, Dest: queue, Key: key, Args: m.Arguments})
	if err != nil {
		return err
	}
	return ch.send(&wire.QueueUnbindOK{})
}

func (ch *channel) queuePurge(ctx context.Context, m *wire.QueuePurge) error {
	queue, err := ch.resolveQueue(m.Queue)
	if err != nil {
		return err
	}
	n, err := ch.c.session.PurgeQueue(ctx, queue, m.NoWait)
	if err != nil {
		return err
	}
	return ch.reply(m.NoWait, &wire.QueuePurgeOK{MessageCount: count32(n)})
}

func (ch *channel) queueDelete(ctx context.Context, m *wire.QueueDelete) error {
	queue, err := ch.resolveQueue(m.Queue)
	if err != nil {
		return err
	}
	return ch.answerFirst(func() error {
		n, err := ch.c.session.DeleteQueue(ctx, queue, m.IfUnused, m.IfEmpty, m.NoWait)
		if err != nil {
			return err
		}
		return ch.reply(m.NoWait, &wire.QueueDeleteOK{MessageCount: count32(n)})
	})
}

// resolveQueue replaces an empty name by that of the queue declared last on the
// channel (class reference, domain queue-name and rule last-declared).
func (ch *channel) resolveQueue(name string) (string, error) {
	if name != "" {
		return name, nil
	}
	if ch.queue == "" {
		return "", wire.Errorf(wire.NotFound, ch.method, "no previously declared queue")
	}
	return ch.queue, nil
}

// resolveBinding does the same for bindings, where an empty routing key beside
// an empty queue name stands for the queue's name, too.
func (ch *channel) resolveBinding(name, key string) (queue, routingKey string, err error) {
	queue, err = ch.resolveQueue(name)
	if name == "" && key == "" {
		key = queue
	}
	return queue, key, err
}

// count32 is n in the width the protocol has for it.
func count32(n int) uint32 { return uint32(min(uint64(n), math.MaxUint32)) }
