package auth

import (
	"sync/atomic"

	"github.com/batonmq/baton/core"
)

// Renewable is a session's Authorizer that can be replaced while the session
// lives: a connection that sends a new token (AMQP's connection.update-secret)
// gets the permissions of that one. The zero value allows nothing.
//
// Its generation grows with every replacement. Whoever remembers an answer
// reads the generation before it asks: what was read before a replacement is
// never that after it.
type Renewable struct {
	current atomic.Pointer[renewed]
}

type renewed struct {
	target core.Authorizer // nil: everything is allowed
	epoch  uint64          // of replacements, from 1
}

var _ core.Authorizer = (*Renewable)(nil)

// epochShift leaves 2^40 generations to a target and 2^24 replacements to a
// session; beyond them, a remembered answer would have to be that old to count.
const epochShift = 40

// NewRenewable returns a Renewable that asks target; nil allows everything, as
// in Principal.
func NewRenewable(target core.Authorizer) *Renewable {
	r := new(Renewable)
	r.Replace(target)
	return r
}

// Replace has all questions from now on answered by target; nil allows
// everything. That the new principal has the old one's name is for the caller to
// see to.
func (r *Renewable) Replace(target core.Authorizer) {
	for {
		old := r.current.Load()
		next := &renewed{target: target, epoch: 1}
		if old != nil {
			next.epoch = old.epoch + 1
		}
		if r.current.CompareAndSwap(old, next) {
			return
		}
	}
}

// Enter asks the current target.
func (r *Renewable) Enter(vhost string) error {
	switch c := r.current.Load(); {
	case c == nil:
		return core.ErrDenied
	case c.target == nil:
		return nil
	default:
		return c.target.Enter(vhost)
	}
}

// Allow asks the current target.
func (r *Renewable) Allow(q core.Request) error {
	switch c := r.current.Load(); {
	case c == nil:
		return core.ErrDenied
	case c.target == nil:
		return nil
	default:
		return c.target.Allow(q)
	}
}

// Topics asks the current target.
func (r *Renewable) Topics(vhost, exchange string) bool {
	switch c := r.current.Load(); {
	case c == nil:
		return true
	case c.target == nil:
		return false
	default:
		return c.target.Topics(vhost, exchange)
	}
}

// Generation has the replacements above the target's own generation.
func (r *Renewable) Generation() uint64 {
	c := r.current.Load()
	if c == nil {
		return 0
	}
	generation := c.epoch << epochShift
	if c.target != nil {
		generation |= c.target.Generation() & (1<<epochShift - 1)
	}
	return generation
}
