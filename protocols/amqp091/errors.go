package amqp091

import (
	"context"
	"errors"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/listen"
)

// Reasons for the end of a connection that have no reply code.
var (
	// errClosed: the client closed the connection as the protocol wants it.
	errClosed = errors.New("closed by the client")

	// errHungUp: everything there was to say has been said.
	errHungUp = errors.New("hung up")

	// errMissedHeartbeats: nothing came for two heartbeat intervals.
	errMissedHeartbeats = errors.New("missed heartbeats from the client")

	// errStore: a confirm can never be given any more.
	errStore = errors.New("the store has failed")
)

// replyCode is the one place where an engine's error becomes a reply code. What
// a code does, close the channel or the connection, is the code's own property.
// There is no channel to close for a vhost that cannot be opened, because it
// does not exist, is not for this user, or takes no further connection: that is
// NOT_ALLOWED, as in RabbitMQ.
func replyCode(method wire.MethodID, k core.Kind) wire.ReplyCode {
	if method == wire.ConnectionOpenID && (k == core.NotFound || k == core.Refused || k == core.Exhausted) {
		return wire.NotAllowed
	}
	switch k {
	case core.NotFound:
		return wire.NotFound
	case core.Inequivalent, core.InUse, core.Invalid, core.TooLarge, core.Exhausted, core.Overflow:
		return wire.PreconditionFailed // RabbitMQ's choice for TooLarge, too, instead of 311
	case core.Unauthenticated, core.Refused:
		return wire.AccessRefused
	case core.Locked:
		return wire.ResourceLocked
	case core.Unsupported:
		return wire.NotImplemented
	case core.Closing:
		return wire.ConnectionForced
	case core.Internal:
		return wire.InternalError
	}
	return wire.InternalError
}

// fault returns what the client is told about err, which method has caused; nil
// where err is no fault but the end of the connection.
func fault(method wire.MethodID, err error) *wire.Error {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		if e.Method == 0 {
			e.Method = method
		}
		return e
	}
	e, ok := errors.AsType[*core.Error](err)
	if !ok {
		return nil
	}
	text := e.Text
	if text == "" {
		text = e.Op + " " + e.Name + ": " + e.Kind.String()
	}
	return &wire.Error{Code: replyCode(method, e.Kind), Method: method, Text: text}
}

// ending returns why a connection ends whose reader has met err: an interrupt
// shows as a failed read or as a wait given up, and its reason is ctx's cause.
func ending(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return err
	case errors.Is(cause, listen.ErrStopping), errors.Is(cause, context.Canceled), errors.Is(cause, context.DeadlineExceeded):
		return wire.Errorf(wire.ConnectionForced, 0, "broker forced connection closure with reason 'shutdown'")
	default:
		return cause
	}
}
