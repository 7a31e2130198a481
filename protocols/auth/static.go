package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
)

// The user that exists when none is configured, known to every RabbitMQ client.
const (
	DefaultUser     = "guest"
	DefaultPassword = "guest"
)

// StaticOptions describe the one user of a Static authenticator.
type StaticOptions struct {
	// Username and Password of the user. Both empty is the default user, which
	// may log in from loopback addresses only.
	Username string
	Password string
}

func (o *StaticOptions) validate() error {
	switch {
	case o.Username == "" && o.Password != "":
		return errors.New("a default password is set but no default user: set both or neither")
	case o.Username != "" && o.Password == "":
		return fmt.Errorf("no password for the default user %q: set both or neither", o.Username)
	}
	return nil
}

// Static knows one user.
type Static struct {
	name         string
	nameSum      [sha256.Size]byte
	passwordSum  [sha256.Size]byte
	loopbackOnly bool
}

var _ Authenticator = (*Static)(nil)

// NewStatic returns the authenticator of one user.
func NewStatic(opt StaticOptions) (*Static, error) {
	if err := opt.validate(); err != nil {
		return nil, err
	}
	loopbackOnly := opt.Username == ""
	if loopbackOnly {
		opt.Username, opt.Password = DefaultUser, DefaultPassword
	}
	return &Static{
		name:         opt.Username,
		nameSum:      sha256.Sum256([]byte(opt.Username)),
		passwordSum:  sha256.Sum256([]byte(opt.Password)),
		loopbackOnly: loopbackOnly,
	}, nil
}

// Authenticate compares name and password in a time that depends on neither.
func (s *Static) Authenticate(_ context.Context, c Credentials) (Principal, error) {
	if !c.byPassword() {
		return Principal{}, fmt.Errorf("mechanism %q: %w", c.Mechanism, ErrMechanism)
	}
	// Sums have one length, so that the comparison does not tell the secret's;
	// the & keeps it from stopping at the name.
	name := sha256.Sum256([]byte(c.Username))
	password := sha256.Sum256([]byte(c.Password))
	good := subtle.ConstantTimeCompare(name[:], s.nameSum[:]) &
		subtle.ConstantTimeCompare(password[:], s.passwordSum[:])
	switch {
	case good != 1:
		return Principal{}, fmt.Errorf("user %q from %v: %w", c.Username, c.RemoteAddr, ErrBadCredentials)
	case s.loopbackOnly && !IsLocal(c.RemoteAddr):
		return Principal{}, fmt.Errorf("user %q from %v: %w", c.Username, c.RemoteAddr, ErrNotLoopback)
	}
	return Principal{Name: s.name}, nil
}
