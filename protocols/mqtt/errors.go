package mqtt

import (
	"context"
	"errors"
	"fmt"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// Reasons for the end of a connection that are no fault of the client.
var (
	// errDisconnected: the client left in good order.
	errDisconnected = errors.New("disconnected by the client")

	// errHungUp: there is nothing to say that the client would understand, or
	// it has been said.
	errHungUp = errors.New("hung up")

	// errEnded: somebody but the client wants the connection to end.
	errEnded = errors.New("ended by the broker")

	// errStore: an answer can never be given any more [MQTT-3.1.1 4.8.0-2].
	errStore = errors.New("the store has failed")
)

// reasonCode is the one place where an engine's error becomes a reason code.
func reasonCode(k core.Kind) wire.ReasonCode {
	switch k {
	case core.NotFound, core.Invalid:
		return wire.TopicNameInvalid
	case core.Inequivalent, core.InUse, core.Unsupported:
		return wire.ImplementationSpecific
	case core.TooLarge:
		return wire.PacketTooLarge
	case core.Unauthenticated:
		return wire.BadUserNameOrPassword
	case core.Refused, core.Locked:
		return wire.NotAuthorized
	case core.Exhausted, core.Overflow:
		return wire.QuotaExceeded
	case core.Closing:
		return wire.ServerShuttingDown
	case core.Internal:
		return wire.UnspecifiedError
	}
	return wire.UnspecifiedError
}

// fault returns what the client is told about err; nil where err is the end of
// the connection and not of its meaning.
func fault(err error) *wire.Error {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e
	}
	if errors.Is(err, core.ErrTakenOver) {
		return takenOver()
	}
	e, ok := errors.AsType[*core.Error](err)
	if !ok {
		return nil
	}
	return &wire.Error{Code: reasonCode(e.Kind), Text: sentence(e)}
}

// sentence is what a client is told of an engine's error.
func sentence(e *core.Error) string {
	if e.Text != "" {
		return e.Text
	}
	return e.Op + " " + e.Name + ": " + e.Kind.String()
}

// endedFor is the end of a connection that the client has not brought about.
func endedFor(e *wire.Error) error { return fmt.Errorf("%w: %w", errEnded, e) }

// takenOver is the end of a connection whose client identifier came again.
func takenOver() *wire.Error {
	return &wire.Error{Code: wire.SessionTakenOver, Text: "another connection uses this client identifier"} // [MQTT-3.1.4-3]
}

// ending returns why a connection ends whose reader has met err: an interrupt
// shows as a failed read or as a wait given up.
func ending(interrupted, err error) error {
	switch {
	case interrupted == nil:
		return err
	case stopping(interrupted):
		return &wire.Error{Code: wire.ServerShuttingDown, Text: "the broker is stopping"}
	default:
		return interrupted
	}
}

// stopping reports that a connection was interrupted because the broker stops.
func stopping(interrupted error) bool {
	return errors.Is(interrupted, listen.ErrStopping) || errors.Is(interrupted, context.Canceled) ||
		errors.Is(interrupted, context.DeadlineExceeded)
}
