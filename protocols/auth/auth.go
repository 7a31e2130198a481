package auth

import (
	"context"
	"errors"
	"net"
)

// Errors of an authentication; test with errors.Is. The text of what an
// Authenticator returns belongs in the log and never on the wire.
var (
	// ErrRefused is every refusal. The two below are refusals, too.
	ErrRefused = errors.New("login refused")

	// ErrBadCredentials is an unknown user or a wrong password; which of the
	// two is not told to anyone.
	ErrBadCredentials error = &refusal{"unknown user or wrong password"}

	// ErrNotLoopback is the right password of a user that may log in from this
	// machine only, sent from another.
	ErrNotLoopback error = &refusal{"this user may log in from loopback addresses only"}

	// ErrMalformed is a response that does not follow its mechanism's syntax.
	ErrMalformed = errors.New("malformed SASL response")

	// ErrMechanism is a mechanism that is not offered.
	ErrMechanism = errors.New("SASL mechanism not offered")
)

// A refusal is a reason that is also ErrRefused.
type refusal struct{ reason string }

func (r *refusal) Error() string        { return ErrRefused.Error() + ": " + r.reason }
func (r *refusal) Is(target error) bool { return target == ErrRefused }

// Credentials are what a client says to prove who it is.
type Credentials struct {
	Mechanism  string   // as negotiated, upper case; empty where the protocol has none (MQTT)
	Username   string   // the authentication identity
	Password   string   // as sent
	RemoteAddr net.Addr // the peer's address, filled in by the front-end
}

// A Principal is an authenticated identity.
type Principal struct {
	Name string
}

// An Authenticator decides whether credentials are good.
type Authenticator interface {
	// Authenticate returns the principal, or an error that is ErrRefused, or
	// another one where the answer could not be found out. It may wait, until
	// ctx ends.
	Authenticate(ctx context.Context, c Credentials) (Principal, error)
}

// isLocal reports an address that only this machine can have: a loopback IP
// address, a unix socket, or a pipe inside the process.
func isLocal(addr net.Addr) bool {
	switch a := addr.(type) {
	case nil:
		return false
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return addr.Network() == "pipe"
}
