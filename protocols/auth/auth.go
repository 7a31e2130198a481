package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"time"

	"github.com/batonmq/baton/core"
)

// Errors of an authentication; test with errors.Is. The text of what an
// Authenticator returns belongs in the log and never on the wire.
var (
	// ErrRefused is every refusal. Those below that say so are refusals, too.
	ErrRefused = errors.New("login refused")

	// ErrBadCredentials is the refusal of an unknown user or a wrong password;
	// which of the two is not told to anyone.
	ErrBadCredentials error = &refusal{"unknown user or wrong password"}

	// ErrNotLoopback is the refusal of a user that may log in from this machine
	// only and has proved who he is from another.
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

// Credentials are what a client says to prove who it is, and what its connection
// tells about it. Parse sets the first three; the rest is the front-end's.
type Credentials struct {
	Mechanism string // as negotiated, upper case; empty for a name and a password outside SASL (MQTT)
	Username  string // the authentication identity; of EXTERNAL the identity asked for, mostly empty
	Password  string // as sent

	RemoteAddr  net.Addr          // the peer's address
	TLS         bool              // the connection is encrypted
	Certificate *x509.Certificate // the peer's leaf, verified by the listener; nil: none
	ClientID    string            // of an MQTT client, else empty
	VHost       string            // as asked for so far; may be empty
}

// A Principal is an authenticated identity.
type Principal struct {
	Name string
	Tags []string // what the user may administrate; shared, not to be changed

	// Expires is when the proof of identity loses its force; the front-end ends
	// the connection then. The zero time is never.
	Expires time.Time

	// Access makes what decides about the principal's requests, once per
	// session. Nil lets everything pass.
	Access func(Variables) core.Authorizer
}

// Variables are what a session knows beyond its user and vhost that topic
// permissions may name.
type Variables struct {
	ClientID string // {client_id}; empty where the protocol has none

	// Word tells how a client identifier or a user name is written as a word of a
	// routing key, and is empty for one that is none; nil: as it is. A protocol that
	// translates its topics has their names translated alike.
	Word func(value string) string
}

// An Authenticator decides whether credentials are good. It is safe for
// concurrent use.
type Authenticator interface {
	// Authenticate returns the principal, or an error that is ErrRefused or
	// ErrMechanism, or another one where the answer could not be found out. It
	// may wait, until ctx ends.
	Authenticate(ctx context.Context, c Credentials) (Principal, error)
}

// An Offerer is an Authenticator that serves other mechanisms than those that
// carry a name and a password.
type Offerer interface {
	// Offers returns the SASL mechanisms to offer to a peer of which only the
	// connection is known (RemoteAddr, TLS and Certificate), preferred first.
	Offers(peer Credentials) []string
}

// Offers returns the mechanisms that a offers to the peer: its own where it is
// an Offerer, else those that carry a name and a password.
func Offers(a Authenticator, peer Credentials) []string {
	if o, ok := a.(Offerer); ok {
		return o.Offers(peer)
	}
	return []string{PLAIN, AMQPLAIN}
}

// byPassword says whether the credentials are a name and a password.
func (c *Credentials) byPassword() bool {
	return c.Mechanism == "" || c.Mechanism == PLAIN || c.Mechanism == AMQPLAIN
}

// IsLocal reports an address that only this machine can have: a loopback IP
// address, a unix socket, or a pipe inside the process.
func IsLocal(addr net.Addr) bool {
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
