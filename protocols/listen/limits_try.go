package listen

import (
	"context"
	"errors"
	"net"
	"time"
)

// ErrTooManyFailures is why an address may not try to log in.
var ErrTooManyFailures = errors.New("too many logins from this address have failed: it may try again later")

// Try asks whether the address may try to log in, before that costs anything. As
// many of its tries are under way at once as may still fail; the others wait for
// their turn, so that a gateway's clients, who come all at once, are not refused,
// and a guesser's are as soon as the first have failed. Without an error, done is
// called when the try is over; whether it failed is for RecordFailure.
func (r *Rate) Try(ctx context.Context, addr net.Addr) (done func(), err error) {
	if r == nil || r.opt.Load().FailuresPerSecond == 0 {
		return func() {}, nil
	}
	key, ok := r.key(addr)
	if !ok {
		return func() {}, nil
	}
	for {
		r.mu.Lock()
		b := r.bucketsLocked(key)
		left := r.opt.Load().FailureBurst
		if b.failures != nil {
			left = int(b.failures.TokensAt(time.Now()))
		}
		if left < 1 {
			r.mu.Unlock()
			r.refused.Add(1)
			return nil, ErrTooManyFailures
		}
		if b.tries < left {
			b.tries++
			r.mu.Unlock()
			return func() { r.tried(b) }, nil
		}
		if b.tried == nil {
			b.tried = make(chan struct{})
		}
		tried := b.tried
		r.mu.Unlock()
		select {
		case <-tried:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// tried ends a try, and has those that wait look again.
func (r *Rate) tried(b *buckets) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b.tries--
	if b.tried != nil {
		close(b.tried)
		b.tried = nil
	}
}
