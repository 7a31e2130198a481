package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// A Chain asks several authenticators in order until one accepts.
type Chain struct{ links []Authenticator }

var (
	_ Authenticator = (*Chain)(nil)
	_ Offerer       = (*Chain)(nil)
)

// NewChain returns the chain of the authenticators.
func NewChain(links ...Authenticator) *Chain { return &Chain{links: slices.Clone(links)} }

// Authenticate returns the first principal. A refusal goes on to the next
// authenticator, and so does an error that is not a refusal; but it is what the
// chain returns if nobody accepts, as whoever could not answer might have.
// ErrMechanism is returned where no authenticator knows the mechanism.
func (ch *Chain) Authenticate(ctx context.Context, c Credentials) (Principal, error) {
	var refusals, failures []error
	for _, a := range ch.links {
		p, err := a.Authenticate(ctx, c)
		switch {
		case err == nil:
			return p, nil
		case errors.Is(err, ErrMechanism):
		case errors.Is(err, ErrRefused):
			refusals = append(refusals, err)
		default:
			failures = append(failures, err)
		}
		if ctx.Err() != nil { // those that were not asked might have accepted
			return Principal{}, errors.Join(append(failures, context.Cause(ctx))...)
		}
	}
	switch {
	case len(failures) > 0:
		return Principal{}, errors.Join(failures...)
	case len(refusals) > 0:
		return Principal{}, errors.Join(refusals...)
	}
	return Principal{}, fmt.Errorf("mechanism %q: %w", c.Mechanism, ErrMechanism)
}

// Offers returns what any of the authenticators offers.
func (ch *Chain) Offers(peer Credentials) []string {
	var all []string
	for _, a := range ch.links {
		for _, m := range Offers(a, peer) {
			if !slices.Contains(all, m) {
				all = append(all, m)
			}
		}
	}
	return all
}
