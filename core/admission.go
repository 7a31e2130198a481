package core

import (
	"context"
	"math"
	"time"
)

// What publishers wait for: alarms, their own rates, and records that have not passed.

// Alarms are why publishers wait.
type Alarms struct {
	Memory bool // the process takes too much of it, or waiting messages fill the memory budget
	Disk   bool // the store lacks space, or is behind
}

// The reasons why publishers wait, as bits of Broker.stops.
const (
	stopLong   uint32 = 1 << iota // messages fill the memory budget: whose went to long queues, until a sixteenth of it is free
	stopBudget                    // they take a quarter more than that
	stopMemory                    // SetMemoryAlarm
	stopSpace                     // the store lacks disk space, or is behind
)

// Alarms are those that hold now.
func (b *Broker) Alarms() Alarms {
	stops := b.stops.Load()
	return Alarms{Memory: stops&(stopLong|stopBudget|stopMemory) != 0, Disk: stops&stopSpace != 0}
}

// SetMemoryAlarm says that the process takes too much memory, or that it does not any more: publishers wait as long as it does,
// consumers go on. The caller tells the operator.
func (b *Broker) SetMemoryAlarm(on bool) { b.stopFor(stopMemory, on) }

// stopFor sets or clears a reason for publishers to wait, and lets all who wait look again. It reports whether that changed anything. Any
// lock may be held.
func (b *Broker) stopFor(reason uint32, on bool) (changed bool) {
	var old uint32
	if on {
		old = b.stops.Or(reason)
	} else {
		old = b.stops.And(^reason)
	}
	if changed = (old&reason != 0) != on; changed {
		b.gate.wake()
	}
	return changed
}

// mostHeld is what messages may take in memory before all publishers wait. It is more than the budget, from which on those wait whose
// messages lie in long queues: what others cannot get rid of must not stop those whose messages are consumed.
func (b *Broker) mostHeld() int64 { return b.opt.MemoryBudget + b.opt.MemoryBudget/4 }

// share is how much may wait in a queue whose publishers need not wait when messages fill the budget: a part of what is left, so
// that it is never all gone, however many queues there are.
func (b *Broker) share() int64 { return max(0, b.mostHeld()-b.held.Load()) / 16 }

// isLong reports whether more waits in q's memory than a share. What only the store has does not count. mu is held.
func (q *Queue) isLong(share int64) bool {
	waits := q.stats.ReadyBytes + entryCost*int64(q.stats.Ready)
	for l := range q.lanes {
		waits -= l.cold.bytes + entryCost*int64(l.cold.n)
	}
	return !q.deleted && waits > share
}

// long returns what is closed when q is shorter again, nil if it is no longer than a share.
func (q *Queue) long(share int64) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.isLong(share) {
		return nil
	}
	if q.shorter == nil {
		q.shorter = make(chan struct{})
	}
	return q.shorter
}

// tellShorter wakes publishers that wait for q to be shorter, if it is. mu is held, and shorter not nil.
func (q *Queue) tellShorter() {
	if !q.isLong(q.vhost.broker.share()) {
		close(q.shorter)
		q.shorter = nil
	}
}

// alarms are those for which the session has to wait: of the budget only where what it published last went to a long queue. shorter is
// closed when that queue is shorter, where it waits for one: then no alarm need have changed.
func (s *Session) alarms() (alarms Alarms, shorter <-chan struct{}) {
	b := s.broker
	stops := b.stops.Load()
	alarms = Alarms{Memory: stops&(stopBudget|stopMemory) != 0, Disk: stops&stopSpace != 0}
	if stops&stopLong == 0 || alarms.Memory {
		return alarms, nil
	}
	share := b.share()
	if s.scratch == nil {
		return alarms, nil
	}
	for _, q := range s.targets {
		if shorter = q.long(share); shorter != nil {
			alarms.Memory = true
			break
		}
	}
	return alarms, shorter
}

// open reports whether publishers may go on, as far as memory and disk go.
func (b *Broker) open() bool { return b.stops.Load() == 0 }

// hasRoom reports whether publishers need not wait for anything.
func (b *Broker) hasRoom() bool { return b.open() && b.store.Pending() < b.opt.PendingLimit }

// Admit waits while the session may not publish a message of so many bytes: when that is more than its rates allow, when waiting
// messages fill the memory budget and what it published last lies in a long queue, the disk lacks space, or too much that was published
// has not become durable yet. A front-end calls it before it publishes; as long as nobody must wait it costs two loads.
func (s *Session) Admit(ctx context.Context, size int) error {
	if s.rates != nil {
		if err := s.rates.wait(ctx, s.broker, size); err != nil {
			return err
		}
	}
	if s.broker.hasRoom() {
		return nil
	}
	return s.admit(ctx)
}

// blockedAfter is how long a publisher waits before anybody is told.
const blockedAfter = 50 * time.Millisecond

// admit is the slow way of Admit.
func (s *Session) admit(ctx context.Context) error {
	b := s.broker
	w := waiting{session: s}
	for {
		opened := b.gate.ch()
		alarms, shorter := s.alarms() // after the channel: what has changed since then closes that
		if alarms == (Alarms{}) {
			break
		}
		if err := w.wait(ctx, opened, shorter, alarms); err != nil {
			return err
		}
	}
	w.over()
	if b.store.Pending() < b.opt.PendingLimit {
		return nil
	}
	// What is pending now has passed when a record behind it has.
	p := newPromise()
	b.store.Commit([]Op{{Kind: OpNone, Done: p}})
	return p.wait(ctx)
}

// waiting is a publisher that waits for alarms to end.
type waiting struct {
	session *Session
	since   time.Time
	told    Alarms
}

// shareAgain is how soon who waits for a long queue looks again though that is no shorter: its share grows when others are.
const shareAgain = 250 * time.Millisecond

// wait returns when the alarms may have changed, or it is time to look again. When the publisher has waited for a moment its front-end
// is told of them.
func (w *waiting) wait(ctx context.Context, changed, shorter <-chan struct{}, alarms Alarms) error {
	again := time.Duration(math.MaxInt64)
	if shorter != nil {
		again = shareAgain
	}
	if w.session.opt.Blocked != nil && alarms != w.told {
		if w.since.IsZero() {
			w.since = time.Now()
		}
		if left := blockedAfter - time.Since(w.since); left > 0 {
			again = min(again, left)
		} else {
			w.tell(alarms)
		}
	}
	var moment <-chan time.Time
	if again < math.MaxInt64 {
		timer := time.NewTimer(again)
		defer timer.Stop()
		moment = timer.C
	}
	select {
	case <-changed:
	case <-shorter:
	case <-moment:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.session.broker.failed:
		return w.session.broker.Err()
	}
	return nil
}

func (w *waiting) tell(alarms Alarms) {
	w.told = alarms
	w.session.opt.Blocked(alarms)
}

// over is called when the publisher goes on.
func (w *waiting) over() {
	if w.told != (Alarms{}) {
		w.tell(Alarms{})
	}
}

// rates are what a session may publish. Each is kept as the time at which what was published will have been earned: it may be a second
// ahead.
type rates struct {
	message, byte float64 // seconds that one costs; 0: nothing
	messages      time.Time
	bytes         time.Time
}

// rateBurst is how far ahead a session may be.
const rateBurst = time.Second

// newRates returns nil if there are no limits.
func newRates(messages, bytes float64) *rates {
	if messages <= 0 && bytes <= 0 {
		return nil
	}
	r := &rates{}
	if messages > 0 {
		r.message = 1 / messages
	}
	if bytes > 0 {
		r.byte = 1 / bytes
	}
	return r
}

// wait returns when a message of so many bytes may be published, and counts it. A message that costs more than the burst waits until
// nothing before it is owed, and is owed itself then.
func (r *rates) wait(ctx context.Context, b *Broker, size int) error {
	forMessage, forBytes := cost(r.message, 1), cost(r.byte, size)
	now := time.Now()
	if left := max(ahead(r.messages, forMessage, now), ahead(r.bytes, forBytes, now)); left > 0 {
		timer := time.NewTimer(left)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-b.failed:
			return b.Err()
		}
		now = time.Now()
	}
	r.messages, r.bytes = later(r.messages, now).Add(forMessage), later(r.bytes, now).Add(forBytes)
	return nil
}

func cost(each float64, n int) time.Duration {
	const most = float64(math.MaxInt64 / 2)
	return time.Duration(min(most, each*float64(n)*float64(time.Second)))
}

// ahead is how long to wait until something of a cost may be added to what is earned at due.
func ahead(due time.Time, cost time.Duration, now time.Time) time.Duration {
	return max(0, due.Sub(now)) + min(cost, rateBurst) - rateBurst
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
