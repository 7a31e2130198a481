package authtest

import (
	"context"
	"fmt"

	"github.com/batonmq/baton/protocols/auth"
)

// Guest lets the default user in, with the default password and from loopback
// addresses, and nobody else.
type Guest struct{}

var _ auth.Authenticator = Guest{}

// Authenticate implements auth.Authenticator.
func (Guest) Authenticate(_ context.Context, c auth.Credentials) (auth.Principal, error) {
	switch {
	case c.Mechanism == auth.EXTERNAL:
		return auth.Principal{}, fmt.Errorf("mechanism %q: %w", c.Mechanism, auth.ErrMechanism)
	case c.Username != auth.DefaultUser || c.Password != auth.DefaultPassword:
		return auth.Principal{}, fmt.Errorf("user %q from %v: %w", c.Username, c.RemoteAddr, auth.ErrBadCredentials)
	case !auth.IsLocal(c.RemoteAddr):
		return auth.Principal{}, fmt.Errorf("user %q from %v: %w", c.Username, c.RemoteAddr, auth.ErrNotLoopback)
	}
	return auth.Principal{Name: c.Username}, nil
}
