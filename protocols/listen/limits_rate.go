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

// DefaultMaxWaiting is how many connections wait for a [Rate]: some forty
// megabytes when there are so many.
const DefaultMaxWaiting = 1 << 13

// RateOptions says how often one address may connect, and fail.
type RateOptions struct {
	// PerSecond is how many connections an address may open in the long run.
	// Zero is no limit.
	PerSecond float64

	// Burst is how many it may open at once, after a while without. At least
	// one where PerSecond is given. A gateway's clients all come back at once.
	Burst int

	// MaxWait is how long a connection beyond that may wait for its turn. One that
	// would have to wait longer is refused; with zero, all are.
	MaxWait time.Duration

	// MaxWaiting bounds those that wait at one time, of all addresses. Zero is
	// DefaultMaxWaiting.
	MaxWaiting int

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
	case o.MaxWait < 0 || o.MaxWaiting < 0:
		return fmt.Errorf("listen: %d connections may wait for %v", o.MaxWaiting, o.MaxWait)
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
// failed logins, in debt at most by its own size. While the former is empty, the
// address's connections form a line ([RateOptions].MaxWait): each has taken its
// token from what is still to come, and goes on when that has, so the debt is the
// line. Other addresses have lines of their own, and do not wait for this one's.
// Of the room for those that wait an address gets as much as it leaves to others:
// half of it if nobody else waits. While the latter bucket is empty the
// address is refused, and so are its tries to log in ([Rate.Try]), however many
// connections it has opened before: it tries wrong passwords at FailuresPerSecond
// at most, and a few more, whose failure is told when the next has begun. An
// address gets in again 2 * FailureBurst / FailuresPerSecond after its last
// failure at the latest.
type Rate struct {
	opt     atomic.Pointer[RateOptions] // changes under mu
	refused atomic.Uint64

	mu      sync.Mutex // a leaf
	waiting int
	waited  uint64

	// Two generations: what is used moves to the young one. When that is full
	// the old one, not touched since, is forgotten as a whole.
	young, old map[netip.Prefix]*buckets
}

// buckets of an address. Either is nil where it is not limited or, for
// failures, while there has been none.
type buckets struct {
	connections, failures *rate.Limiter

	waiting int // connections that wait for their turn

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
	if opt.MaxWaiting == 0 {
		opt.MaxWaiting = DefaultMaxWaiting
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
	Waiting   int    // connections that wait for their turn
	Waited    uint64 // those that have begun to
}

// Stats returns the counters as they are now.
func (r *Rate) Stats() RateStats {
	if r == nil {
		return RateStats{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return RateStats{Addresses: len(r.young) + len(r.old), Refused: r.refused.Load(), Waiting: r.waiting, Waited: r.waited}
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

// A place is a connection's in the line of its address.
type place struct {
	wait  time.Duration // until its turn; zero: it has come, there is no line
	first bool          // the line begins with it
	of    *buckets
}

// enter counts a connection of the address, and says how long it has to wait, if it
// may; or refuses it. Who waits leaves, when that is over.
func (r *Rate) enter(addr net.Addr, mayWait bool) (p place, ok bool) {
	if r == nil {
		return place{}, true
	}
	key, ok := r.key(addr)
	if !ok {
		return place{}, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opt.Load().PerSecond == 0 && r.young[key] == nil && r.old[key] == nil {
		return place{}, true // nothing to remember until something fails
	}
	b := r.bucketsLocked(key)
	now := time.Now()
	switch {
	case b.failures != nil && b.failures.TokensAt(now) < 1:
	case b.connections == nil || b.connections.AllowN(now, 1):
		return place{}, true
	case mayWait:
		if p, ok = r.lineUpLocked(b, now); ok {
			return p, true
		}
	}
	r.refused.Add(1)
	return place{}, false
}

// lineUpLocked puts a connection at the end of its address's line, if that is not
// too long.
func (r *Rate) lineUpLocked(b *buckets, now time.Time) (p place, ok bool) {
	opt := r.opt.Load()
	seconds := (1 - b.connections.TokensAt(now)) / opt.PerSecond
	if seconds > opt.MaxWait.Seconds() || b.waiting >= opt.MaxWaiting-r.waiting {
		return place{}, false
	}
	p = place{wait: max(time.Duration(seconds*float64(time.Second)), 1), first: b.waiting == 0, of: b}
	b.connections.ReserveN(now, 1)
	b.waiting++
	r.waiting++
	r.waited++
	return p, true
}

// leave ends a wait.
func (r *Rate) leave(p place) {
	if p.wait == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.of.waiting--
	r.waiting--
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
