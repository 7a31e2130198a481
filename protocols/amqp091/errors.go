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

	// errGone: the client's end of the connection is closed.
	errGone = errors.New("the client went away without closing the connection")

	// errExpired: the credentials are good no longer.
	errExpired = errors.New("credential expired")

	// errNotOffered: a mechanism that is known here, and not to this client.
	errNotOffered = errors.New("SASL mechanism that was not offered")

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
// does not exist, is not for this user, or takes no further connection, nor for a
// channel too many: that is NOT_ALLOWED, as in RabbitMQ.
func replyCode(method wire.MethodID, k core.Kind) wire.ReplyCode {
	switch {
	case method == wire.ConnectionOpenID && (k == core.NotFound || k == core.Refused),
		(method == wire.ConnectionOpenID || method == wire.ChannelOpenID) && k == core.Exhausted:
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

// blamed is an error, and what the client is told of it: never the cause.
type blamed struct {
	told  *wire.Error
	cause error
}

func (b *blamed) Error() string   { return b.cause.Error() }
func (b *blamed) Unwrap() []error { return []error{b.told, b.cause} }

// blame returns err, which method has caused, with what the client is told; as it
// is where that is nothing.
func blame(method wire.MethodID, err error) error {
	told := fault(method, err)
	if told == nil || errors.Is(err, told) {
		return err
	}
	return &blamed{told: told, cause: err}
}

// forced is the end of a connection for somebody's reason.
func forced(reason error) error {
	text := reason.Error()
	if e := fault(0, reason); e != nil {
		text = e.Text
	}
	return &blamed{told: wire.Errorf(wire.ConnectionForced, 0, "%s", text), cause: reason}
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
