package mqtt

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// Two clients that were given one identifier take each other over as fast as
// they can connect (section 3.1.4 wants the one there is to be disconnected).
// Neither gets anything done, and each turn costs a login and a session's state.
// So after some turns in a row the next ones have to wait.
const (
	freeTurns = 5                     // a client that lost its connection comes back, also more than once
	firstWait = 50 * time.Millisecond // then this, and twice as long each time
	lastWait  = 3 * time.Second       // but no longer
	mostWait  = 6 * time.Second       // for all that wait already; who would wait longer is refused
	fightOver = 30 * time.Second      // without a turn

	// maxFights is how many identifiers are remembered. When there are more, all
	// are forgotten: fights that go on are found again.
	maxFights = 4096
)

// fights are the identifiers of sessions that were taken over lately.
type fights struct {
	free int // turns that nobody waits for

	mu     sync.Mutex // a leaf
	recent map[fightKey]*fight
}

type fightKey struct{ vhost, clientID string }

type fight struct {
	turns int
	last  time.Time // a turn
	next  time.Time // when the next CONNECT may go on
}

// turn notes that a session was taken over. first reports that a fight begins.
func (f *fights) turn(key fightKey, now time.Time) (first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.recent[key]
	if at == nil || now.Sub(at.last) >= fightOver {
		if f.recent == nil || len(f.recent) >= maxFights {
			f.recent = make(map[fightKey]*fight)
		}
		at = new(fight)
		f.recent[key] = at
	}
	at.turns++
	at.last = now
	return at.turns == f.free
}

// wait returns for how long a client has to wait that connects now; it is
// counted as if it did.
func (f *fights) wait(key fightKey, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.recent[key]
	if at == nil || at.turns < f.free || now.Sub(at.last) >= fightOver {
		return 0
	}
	pause := lastWait
	if n := at.turns - f.free; n < 10 {
		pause = min(firstWait<<n, lastWait)
	}
	if at.next.Before(now) {
		at.next = now
	}
	if until := at.next.Add(pause); until.Sub(now) <= mostWait {
		at.next = until
		return until.Sub(now)
	}
	return mostWait + 1
}

// slowDown has a client wait whose identifier is fought over.
func (c *conn) slowDown(ctx context.Context) error {
	wait := c.srv.fights.wait(fightKey{c.vhost, c.clientID}, time.Now())
	if wait == 0 {
		return nil
	}
	if wait > mostWait {
		return wire.Errorf(wire.ConnectionRateExceeded, "clients take each other over that have this client identifier")
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// noteFight is told that another connection has taken the session over.
func (c *conn) noteFight() {
	if c.srv.fights.turn(fightKey{c.vhost, c.clientID}, time.Now()) {
		c.log().Warn("clients take each other over: several have this client identifier", slog.Int("turns", c.srv.fights.free))
	}
}
