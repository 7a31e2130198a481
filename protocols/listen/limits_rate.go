package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// DefaultMaxAddresses is how many addresses a [Rate] remembers: some ten
// megabytes when there are so many.
const DefaultMaxAddresses = 1 << 16

// RateOptions says how often one address may connect, and fail.
type RateOptions struct {
	// PerSecond is how many connections an address may open in the long run.
	// Zero is no limit.
	PerSecond float64

	// Burst is how many it may open at once, after a while without. At least
	// one where PerSecond is given. A gateway's clients all come back at once.
	Burst int

	// FailuresPerSecond is how many of its logins may fail in the long run
	// before its connections are refused. Zero is no limit.
	FailuresPerSecond float64

	// FailureBurst is how many may fail at once. At least one where
	// FailuresPerSecond is given.
	FailureBurst int

	// ExemptLoopback leaves connections from this host alone.
	ExemptLoopback bool

	// MaxAddresses bounds the addresses remembered; the one that has been
	// quiet longest is forgotten first, roughly. Zero is DefaultMaxAddresses.
	MaxAddresses int
}

func (o *RateOptions) validate() error {
	switch {
	case o.PerSecond < 0 || o.FailuresPerSecond < 0:
		return errors.New("listen: a rate is negative")
	case o.PerSecond > 0 && o.Burst < 1:
		return fmt.Errorf("listen: %v connections a second with a burst of %d: none could be made", o.PerSecond, o.Burst)
	case o.FailuresPerSecond > 0 && o.FailureBurst < 1:
		return fmt.Errorf("listen: %v failures a second with a burst of %d: no connection could be made", o.FailuresPerSecond, o.FailureBurst)
	case o.MaxAddresses < 0:
		return fmt.Errorf("listen: %d addresses to remember", o.MaxAddresses)
	}
	return nil
}

// A Rate bounds how often one address connects, to any of the listeners that
// share it. An IPv6 address counts with its /64. A nil Rate has no bound. Its
// methods may be called from any goroutine.
//
// Two token buckets are kept for an address: one for connections, and one for
// failed logins, in debt at most by its own size. While the latter is empty the
// address is refused, and so are its tries to log in ([Rate.Try]), however many
// connections it has opened before: it tries wrong passwords at FailuresPerSecond
// at most, and a few more, whose failure is told when the next has begun. An
// address gets in again 2 * FailureBurst / FailuresPerSecond after its last
// failure at the latest.
type Rate struct {
	opt     atomic.Pointer[RateOptions] // changes under mu
	refused atomic.Uint64

	mu sync.Mutex // a leaf

	// Two generations: what is used moves to the young one. When that is full
	// the old one, not touched since, is forgotten as a whole.
	young, old map[netip.Prefix]*buckets
}

// buckets of an address. Either is nil where it is not limited or, for
// failures, while there has been none.
type buckets struct {
	connections, failures *rate.Limiter

	tries int           // to log in that are under way
	tried chan struct{} // closed when one of them is over; nil: nobody waits for that
}

// NewRate returns a Rate that knows no address.
func NewRate(opt RateOptions) (*Rate, error) {
	r := &Rate{young: make(map[netip.Prefix]*buckets)}
	if err := r.Configure(opt); err != nil {
		return nil, err
	}
	return r, nil
}

// Configure puts other options in force, for the addresses that are remembered
// too: what they have used up stays used up.
func (r *Rate) Configure(opt RateOptions) error {
	if err := opt.validate(); err != nil {
		return err
	}
	if opt.MaxAddresses == 0 {
		opt.MaxAddresses = DefaultMaxAddresses
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opt.Store(&opt)
	now := time.Now()
	for _, generation := range []map[netip.Prefix]*buckets{r.young, r.old} {
		for _, b := range generation {
			b.connections = adjusted(b.connections, now, opt.PerSecond, opt.Burst)
			if b.failures != nil {
				b.failures = adjusted(b.failures, now, opt.FailuresPerSecond, opt.FailureBurst)
			}
		}
	}
	return nil
}

// adjusted gives a bucket another rate and another burst: nil where there is no limit.
func adjusted(b *rate.Limiter, now time.Time, perSecond float64, burst int) *rate.Limiter {
	switch {
	case perSecond == 0:
		return nil
	case b == nil:
		return rate.NewLimiter(rate.Limit(perSecond), burst)
	}
	b.SetLimitAt(now, rate.Limit(perSecond))
	b.SetBurstAt(now, burst)
	return b
}

// RateStats says what a Rate has done.
type RateStats struct {
	Addresses int // remembered
	Refused   uint64
}

// Stats returns the counters as they are now.
func (r *Rate) Stats() RateStats {
	if r == nil {
		return RateStats{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return RateStats{Addresses: len(r.young) + len(r.old), Refused: r.refused.Load()}
}

// RecordFailure counts a login that failed, or a connection that was given up
// because its peer did not do its part.
func (r *Rate) RecordFailure(addr net.Addr) {
	if r == nil || r.opt.Load().FailuresPerSecond == 0 {
		return
	}
	key, ok := r.key(addr)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	opt := r.opt.Load()
	if opt.FailuresPerSecond == 0 {
		return
	}
	b := r.bucketsLocked(key)
	if b.failures == nil {
		b.failures = rate.NewLimiter(rate.Limit(opt.FailuresPerSecond), opt.FailureBurst)
	}
	now := time.Now()
	if b.failures.TokensAt(now) > float64(-opt.FailureBurst) {
		b.failures.ReserveN(now, 1) // goes below zero, unlike Allow
	}
}

// allow counts a connection of the address, or refuses it.
func (r *Rate) allow(addr net.Addr) bool {
	if r == nil {
		return true
	}
	key, ok := r.key(addr)
	if !ok {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opt.Load().PerSecond == 0 && r.young[key] == nil && r.old[key] == nil {
		return true // nothing to remember until something fails
	}
	b := r.bucketsLocked(key)
	now := time.Now()
	allowed := (b.failures == nil || b.failures.TokensAt(now) >= 1) &&
		(b.connections == nil || b.connections.AllowN(now, 1))
	if !allowed {
		r.refused.Add(1)
	}
	return allowed
}

// key is the address's, or false where it is not limited.
func (r *Rate) key(addr net.Addr) (netip.Prefix, bool) {
	ip, ok := addressOf(addr)
	if !ok || r.opt.Load().ExemptLoopback && ip.IsLoopback() {
		return netip.Prefix{}, false
	}
	return addressKey(ip), true
}

func (r *Rate) bucketsLocked(key netip.Prefix) *buckets {
	if b, ok := r.young[key]; ok {
		return b
	}
	b, ok := r.old[key]
	if !ok {
		b = new(buckets)
		if opt := r.opt.Load(); opt.PerSecond > 0 {
			b.connections = rate.NewLimiter(rate.Limit(opt.PerSecond), opt.Burst)
		}
	}
	if len(r.young) >= max(r.opt.Load().MaxAddresses/2, 1) {
		r.young, r.old = make(map[netip.Prefix]*buckets), r.young
	}
	delete(r.old, key)
	r.young[key] = b
	return b
}
