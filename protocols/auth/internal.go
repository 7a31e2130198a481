package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

const manyRemembered = 65536 // verified credentials, 32 bytes each

// InternalOptions bound what logins by password cost.
type InternalOptions struct {
	// Hashing is how many passwords are verified at a time, 0 for one on every
	// second processor: it takes tens of milliseconds that nothing divides, and
	// messages must not wait for it. An imported hash that takes more memory
	// than a new one counts for several.
	Hashing int

	// Remembered is how many verified credentials are remembered, 0 for 65536.
	Remembered int
}

func (o *InternalOptions) validate() error {
	if o.Hashing < 0 || o.Remembered < 0 {
		return fmt.Errorf("hashing (%d) and remembered (%d) cannot be negative", o.Hashing, o.Remembered)
	}
	if o.Hashing == 0 {
		o.Hashing = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if o.Remembered == 0 {
		o.Remembered = manyRemembered
	}
	return nil
}

// Internal checks names and passwords against the accounts.
//
// What it verified it remembers as a keyed hash of the name, the password and
// the stored hash, so that a client that comes back does not cost a hash, nor
// do ten thousand that come back at once: those with the same password wait for
// one verification. The stored hash being part of it, a new password ends what
// is remembered of the old. A wrong password is not remembered.
type Internal struct {
	accounts   *Accounts
	budget     *semaphore.Weighted // KiB of memory
	whole      int64               // of the budget
	remembered *recent[loginKey, struct{}]
	hashed     atomic.Uint64

	mu     sync.Mutex
	checks map[loginKey]*check // that are under way
}

type loginKey [sha256.Size]byte

// A check is one verification, which all that ask for the same wait for.
type check struct {
	done chan struct{} // closed when the check has ended
	made bool          // false: whoever made it gave up
	good bool
}

var _ Authenticator = (*Internal)(nil)

// NewInternal returns the authenticator of the accounts' passwords.
func NewInternal(a *Accounts, opt InternalOptions) (*Internal, error) {
	if err := opt.validate(); err != nil {
		return nil, fmt.Errorf("internal authenticator: %w", err)
	}
	whole := int64(opt.Hashing) * argonMemory
	return &Internal{
		accounts:   a,
		budget:     semaphore.NewWeighted(whole),
		whole:      whole,
		remembered: newRecent[loginKey, struct{}](opt.Remembered),
		checks:     map[loginKey]*check{},
	}, nil
}

// InternalStats are counters since the start and the state now.
type InternalStats struct {
	Hashed     uint64 // passwords that were verified or refused by hashing
	Remembered int    // credentials that are remembered
}

// Stats returns the counters.
func (i *Internal) Stats() InternalStats {
	return InternalStats{Hashed: i.hashed.Load(), Remembered: i.remembered.len()}
}

// Authenticate checks name and password. An error that is not a refusal is that
// of ctx.
func (i *Internal) Authenticate(ctx context.Context, c Credentials) (Principal, error) {
	if !c.byPassword() {
		return Principal{}, fmt.Errorf("mechanism %q: %w", c.Mechanism, ErrMechanism)
	}
	if c.Username == "" { // nobody's name, so that there is no need to hide anything behind the work
		return Principal{}, fmt.Errorf("no user name from %v: %w", c.RemoteAddr, ErrBadCredentials)
	}
	user, _ := i.accounts.users.User(c.Username) // without one there is no hash, and all goes on as if there were
	good, err := i.check(ctx, user.Password, c)
	switch {
	case err != nil:
		return Principal{}, fmt.Errorf("check the password of user %q from %v: %w", c.Username, c.RemoteAddr, err)
	case !good:
		return Principal{}, fmt.Errorf("user %q from %v: %w", c.Username, c.RemoteAddr, ErrBadCredentials)
	}
	if err := i.accounts.mayComeFrom(c.Username, c.RemoteAddr); err != nil {
		return Principal{}, err
	}
	return i.accounts.principal(c.Username, user), nil
}

// check says whether the password belongs to the hash: from memory, by waiting
// for the same check, or by making it.
func (i *Internal) check(ctx context.Context, hash string, c Credentials) (bool, error) {
	k := i.key(hash, c)
	for {
		if _, ok := i.remembered.get(k); ok {
			return true, nil
		}
		ch, mine := i.join(k)
		if mine {
			return i.lead(ctx, k, ch, hash, c)
		}
		select {
		case <-ch.done:
			if ch.made {
				return ch.good, nil
			}
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// join returns the check of that key that is under way, or begins one.
func (i *Internal) join(k loginKey) (_ *check, mine bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if ch, ok := i.checks[k]; ok {
		return ch, false
	}
	ch := &check{done: make(chan struct{})}
	i.checks[k] = ch
	return ch, true
}

// lead makes the check once there is room for it, and tells all who wait.
func (i *Internal) lead(ctx context.Context, k loginKey, ch *check, hash string, c Credentials) (bool, error) {
	defer func() {
		i.mu.Lock()
		delete(i.checks, k)
		i.mu.Unlock()
		close(ch.done)
	}()
	h, err := parseHash(hash)
	if err != nil && hash != "" {
		i.accounts.logUnusable(c.Username, err)
	}
	need := i.need(h)
	if err := i.budget.Acquire(ctx, need); err != nil {
		return false, context.Cause(ctx)
	}
	defer i.budget.Release(need)

	// The same check may have ended between the look into the memory and join.
	if _, ok := i.remembered.get(k); ok {
		ch.made, ch.good = true, true
		return true, nil
	}
	i.hashed.Add(1)
	ch.good = verify(h, c.Password)
	ch.made = true
	if ch.good {
		i.remembered.put(k, struct{}{})
	}
	return ch.good, nil
}

// need is what a check takes of the budget: a default hash at least, as every
// refusal costs one.
func (i *Internal) need(h passwordHash) int64 {
	n := int64(argonMemory)
	if h != nil {
		n = max(n, h.memory())
	}
	return min(n, i.whole)
}

// verify compares the password with the hash, which may be nil. The empty
// password is nobody's. A refusal takes at least the time of a hash with the
// default parameters, so that it does not tell a user that there is from one
// that there is not.
func verify(h passwordHash, password string) bool {
	if h != nil {
		if h.matches(password) && password != "" {
			return true
		}
		if a, ok := h.(*argon2idHash); ok && a.mem*a.passes >= argonMemory*argonPasses {
			return false
		}
	}
	nobody := argon2idHash{mem: argonMemory, passes: argonPasses, threads: argonThreads, salt: make([]byte, argonSalt)}
	nobody.of(password, argonSum)
	return false
}

// key names a check without telling what it checks to someone who reads the
// memory later.
func (i *Internal) key(hash string, c Credentials) (k loginKey) {
	h := hmac.New(sha256.New, i.accounts.key[:])
	b := make([]byte, 0, 256)
	for _, s := range [...]string{"login", c.Username, c.Password, hash} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	_, _ = h.Write(b) // a hash never fails
	h.Sum(k[:0])
	return k
}
