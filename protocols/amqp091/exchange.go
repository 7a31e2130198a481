package amqp091

import (
	"context"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// handleExchange acts on the methods of class exchange (class reference 1.6,
// with RabbitMQ's exchange.bind and exchange.unbind).
func (ch *channel) handleExchange(ctx context.Context, m wire.Method) error {
	session := ch.c.session
	switch m := m.(type) {
	case *wire.ExchangeDeclare:
		err := session.DeclareExchange(ctx, core.ExchangeSpec{
			Name: m.Exchange, Kind: m.Type, Durable: m.Durable, AutoDelete: m.AutoDelete, Internal: m.Internal,
			Passive: m.Passive, NoWait: m.NoWait, Args: m.Arguments,
		})
		if err != nil {
			return err
		}
		return ch.reply(m.NoWait, &wire.ExchangeDeclareOK{})

	case *wire.ExchangeDelete:
		if err := session.DeleteExchange(ctx, m.Exchange, m.IfUnused, m.NoWait); err != nil {
			return err
		}
		return ch.reply(m.NoWait, &wire.ExchangeDeleteOK{})

	case *wire.ExchangeBind:
		err := session.Bind(ctx, core.BindingSpec{
			Source: m.Source, Dest: m.Destination, DestExchange: true, Key: m.RoutingKey,
			Args: m.Arguments, NoWait: m.NoWait,
		})
		if err != nil {
			return err
		}
		return ch.reply(m.NoWait, &wire.ExchangeBindOK{})

	case *wire.ExchangeUnbind:
		err := session.Unbind(ctx, core.BindingSpec{
			Source: m.Source, Dest: m.Destination, DestExchange: true, Key: m.RoutingKey,
			Args: m.Arguments, NoWait: m.NoWait,
		})
		if err != nil {
			return err
		}
		return ch.reply(m.NoWait, &wire.ExchangeUnbindOK{})
	}
	return unhandled(m)
}
