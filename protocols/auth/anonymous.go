package auth

import (
	"context"
	"errors"
	"fmt"
)

// Anonymous lets in whoever asks for the mechanism ANONYMOUS (RFC 4505), as one
// user. A front-end whose protocol has no mechanisms asks with it for the
// clients that its settings let in without a name.
type Anonymous struct {
	accounts *Accounts
	user     string
}

var (
	_ Authenticator = (*Anonymous)(nil)
	_ Offerer       = (*Anonymous)(nil)
)

// NewAnonymous returns the authenticator that takes everybody for the user.
// Where that is one that may log in from loopback only, so may everybody.
func NewAnonymous(a *Accounts, user string) (*Anonymous, error) {
	if user == "" {
		return nil, errors.New("anonymous logins need a user that they stand for")
	}
	return &Anonymous{accounts: a, user: user}, nil
}

// Authenticate lets the client in as the user, if that user exists.
func (a *Anonymous) Authenticate(_ context.Context, c Credentials) (Principal, error) {
	if c.Mechanism != ANONYMOUS {
		return Principal{}, fmt.Errorf("mechanism %q: %w", c.Mechanism, ErrMechanism)
	}
	return a.accounts.Principal(a.user, c.RemoteAddr)
}

// Offers returns ANONYMOUS.
func (*Anonymous) Offers(Credentials) []string { return []string{ANONYMOUS} }
