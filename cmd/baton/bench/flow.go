package bench

import "sync"

// bounds limit what a producer may have under way.
type bounds struct {
	window  int   // published and not confirmed; 0: confirms are not awaited
	backlog int   // published and not delivered; 0: nothing is delivered
	copies  int   // deliveries of each message; 0 means 1
	total   int64 // published at all
}

// counts are messages since the run began.
type counts struct {
	published, confirmed, delivered int64
	// dropped are deliveries that were given up (see flow.giveUp).
	dropped int64
}

// flow couples producer, confirms and consumer: it counts, and it makes the
// producer wait while any bound is reached.
//
// A waiting producer is woken once a tenth of its bound is free rather than at the
// first free place: otherwise a broker that confirms one by one would be fed one
// message per write, and the system calls of the generator would be measured.
type flow struct {
	bounds bounds
	// spent is closed when the producer has published all it may.
	spent chan struct{}

	mu      sync.Mutex
	wake    sync.Cond
	counts  counts
	waiting bool
	closed  bool
}

func newFlow(b bounds) *flow {
	f := &flow{bounds: b, spent: make(chan struct{})}
	f.wake.L = &f.mu
	return f
}

// reserve waits until the bounds leave room, counts up to limit messages as published and
// returns how many; 0 says that the run is over.
func (f *flow) reserve(limit int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.closed && f.counts.published < f.bounds.total {
		if room, enough := f.roomLocked(); enough {
			n := min(int64(limit), room, f.bounds.total-f.counts.published)
			f.counts.published += n
			if f.counts.published == f.bounds.total {
				close(f.spent)
			}
			return int(n)
		}
		f.waiting = true
		f.wake.Wait()
		f.waiting = false
	}
	return 0
}

// roomLocked returns the messages that the bounds leave room for, and whether they
// are worth a write.
func (f *flow) roomLocked() (int64, bool) {
	room, enough := f.bounds.total, true
	bound := func(limit int, settled int64) {
		if limit > 0 {
			free := int64(limit) - (f.counts.published - settled)
			room = min(room, free)
			enough = enough && free > 0 && free >= int64(limit/10)
		}
	}
	bound(f.bounds.window, f.counts.confirmed)
	bound(f.bounds.backlog, (f.counts.delivered+f.counts.dropped)/int64(max(f.bounds.copies, 1)))
	return room, enough
}

func (f *flow) confirmed(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts.confirmed += int64(n)
	f.wakeLocked()
}

func (f *flow) delivered(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts.delivered += int64(n)
	f.wakeLocked()
}

func (f *flow) wakeLocked() {
	if f.waiting {
		if _, enough := f.roomLocked(); enough {
			f.wake.Signal()
		}
	}
}

// giveUp counts what is under way as dropped if nothing was delivered since the
// counts in last were taken and the producer waits for it, and returns the counts:
// a protocol that lets a broker drop messages would otherwise halt the producer.
func (f *flow) giveUp(last counts) counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting && f.counts == last {
		f.counts.dropped = f.counts.published*int64(max(f.bounds.copies, 1)) - f.counts.delivered
		f.wakeLocked()
	}
	return f.counts
}

func (f *flow) snapshot() counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts
}

// close releases a waiting producer for good.
func (f *flow) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.wake.Broadcast()
}
