package bench

import "sync"

// bounds limit what producers may have under way.
type bounds struct {
	window  int   // published and not confirmed; 0: confirms are not awaited
	backlog int   // published and not delivered; 0: nothing is delivered
	copies  int   // deliveries of each message; 0 means 1
	total   int64 // published at all
	// until says when the flow has reached what it is for; nil: never.
	until func(counts) bool
}

// counts are messages since the run began.
type counts struct {
	published, confirmed, delivered int64
	// dropped are deliveries that were given up (see flow.giveUp).
	dropped int64
}

// flow couples producers, confirms and consumers: it counts, and it makes the
// producers wait while any bound is reached.
//
// What the bounds leave is granted once a tenth of each is free rather than at the
// first free place: otherwise a broker that confirms one by one would be fed one
// message per write, and the system calls of the generator would be measured. Several
// producers share a grant in the order in which they began to wait.
type flow struct {
	bounds bounds
	// spent is closed when the producers have published all they may.
	spent chan struct{}
	// reached is closed when bounds.until says so.
	reached chan struct{}

	mu      sync.Mutex
	wake    sync.Cond
	counts  counts
	granted int64 // of the room that was found, what is still to be published
	waiting int   // producers
	arrived bool  // reached is closed
	closed  bool
}

func newFlow(b bounds) *flow {
	f := &flow{bounds: b, spent: make(chan struct{}), reached: make(chan struct{})}
	f.wake.L = &f.mu
	return f
}

// reserve waits until the bounds leave room, counts up to limit messages as published and
// returns how many; 0 says that the run is over.
func (f *flow) reserve(limit int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.closed && f.counts.published < f.bounds.total {
		f.grantLocked()
		if n := min(int64(limit), f.granted); n > 0 {
			f.granted -= n
			f.counts.published += n
			if f.counts.published == f.bounds.total {
				close(f.spent)
			}
			if f.granted > 0 && f.waiting > 0 {
				f.wake.Signal()
			}
			return int(n)
		}
		f.waiting++
		f.wake.Wait()
		f.waiting--
	}
	return 0
}

// grantLocked grants what room there is, if it is worth a write and the last grant
// is used up.
func (f *flow) grantLocked() {
	if f.granted > 0 {
		return
	}
	room, enough := f.bounds.total-f.counts.published, true
	bound := func(limit int, settled int64) {
		if limit > 0 {
			free := int64(limit) - (f.counts.published - settled)
			room = min(room, free)
			enough = enough && free > 0 && free >= int64(limit/10)
		}
	}
	bound(f.bounds.window, f.counts.confirmed)
	bound(f.bounds.backlog, (f.counts.delivered+f.counts.dropped)/int64(max(f.bounds.copies, 1)))
	if enough {
		f.granted = room
	}
}

func (f *flow) confirmed(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts.confirmed += int64(n)
	f.changedLocked()
}

func (f *flow) delivered(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts.delivered += int64(n)
	f.changedLocked()
}

// changedLocked lets a producer go on, or the run end, for which the counts now allow it.
func (f *flow) changedLocked() {
	if f.bounds.until != nil && !f.arrived && f.bounds.until(f.counts) {
		f.arrived = true
		close(f.reached)
	}
	if f.waiting > 0 && f.granted == 0 {
		if f.grantLocked(); f.granted > 0 {
			f.wake.Signal()
		}
	}
}

// giveUp counts what is under way as dropped if nothing was delivered since the
// counts in last were taken and a producer waits for it, and returns the counts:
// a protocol that lets a broker drop messages would otherwise halt the producers.
func (f *flow) giveUp(last counts) counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting > 0 && f.counts == last {
		f.counts.dropped = f.counts.published*int64(max(f.bounds.copies, 1)) - f.counts.delivered
		f.changedLocked()
	}
	return f.counts
}

func (f *flow) snapshot() counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts
}

// close releases waiting producers for good.
func (f *flow) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.wake.Broadcast()
}
