package listen

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// However many connections an address has open already, no more of its logins fail than may.
func TestRate_TriesOfManyOpenConnectionsEndWithTheirFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const connections, burst = 1000, 5
		r := newRate(t, RateOptions{FailuresPerSecond: 1, FailureBurst: burst})
		guesser := tcpAddr("198.51.100.1")
		hashed, refused := make(chan bool, connections), make(chan bool, connections)
		for range connections {
			go func() {
				done, err := r.Try(t.Context(), guesser)
				if errors.Is(err, ErrTooManyFailures) {
					refused <- true
					return
				}
				hashed <- true
				time.Sleep(50 * time.Millisecond)
				r.RecordFailure(guesser)
				done()
			}()
		}
		time.Sleep(900 * time.Millisecond) // before a failure is forgiven
		synctest.Wait()
		if len(hashed) != burst || len(refused) != connections-burst {
			t.Errorf("%d passwords were tried and %d refused, want %d tried", len(hashed), len(refused), burst)
		}
		if _, err := r.Try(t.Context(), tcpAddr("192.0.2.1")); err != nil {
			t.Errorf("another address pays for it: %v", err)
		}
		time.Sleep(burst * time.Second)
		if _, err := r.Try(t.Context(), guesser); err != nil {
			t.Errorf("refused when the failures are forgiven: %v", err)
		}
	})
}

// The clients of a gateway come all at once, and all get their turn.
func TestRate_TriesThatSucceedWaitForOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRate(t, RateOptions{FailuresPerSecond: 1, FailureBurst: 2})
		in := make(chan error, 100)
		for range cap(in) {
			go func() {
				done, err := r.Try(t.Context(), tcpAddr("192.0.2.1"))
				if err == nil {
					time.Sleep(time.Millisecond)
					done()
				}
				in <- err
			}()
		}
		for range cap(in) {
			if err := <-in; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestRate_TryEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRate(t, RateOptions{FailuresPerSecond: 1, FailureBurst: 1})
		if _, err := r.Try(t.Context(), tcpAddr("192.0.2.1")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Try(ctx, tcpAddr("192.0.2.1")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a try while another is under way: %v", err)
		}
	})
}

func TestRate_TriesAreNotLimitedWithoutALimit(t *testing.T) {
	exempt := newRate(t, RateOptions{FailuresPerSecond: 1, FailureBurst: 1, ExemptLoopback: true})
	for _, r := range []*Rate{nil, newRate(t, RateOptions{}), exempt} {
		for range 3 {
			if _, err := r.Try(t.Context(), tcpAddr("127.0.0.1")); err != nil {
				t.Error(err)
			}
		}
	}
}
