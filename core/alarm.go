package core

import (
	"context"
	"sync"
	"time"
)

// alarm is when the expirer is to come, and to whom.
type alarm struct {
	ring func() // called by the expirer, without locks

	// guarded by expiries.mu
	at    int64 // Unix milliseconds of the broker's clock
	index int   // in the heap, from 1; 0: not in it
}

// expiries is the alarms that are set, in a heap by their time. Its lock is a leaf.
type expiries struct {
	signal chan struct{} // one token: there is a new earliest alarm

	mu   sync.Mutex
	heap []*alarm
}

// set has a ring at a time, or earlier if it is to do so already.
func (x *expiries) set(a *alarm, at int64) {
	x.mu.Lock()
	switch {
	case a.index == 0:
		a.at = at
		x.heap = append(x.heap, a)
		a.index = len(x.heap)
	case at < a.at:
		a.at = at
	default:
		x.mu.Unlock()
		return
	}
	x.up(a)
	first := a.index == 1
	x.mu.Unlock()
	if first {
		select {
		case x.signal <- struct{}{}:
		default: // the expirer is told already
		}
	}
}

// cancel takes a out.
func (x *expiries) cancel(a *alarm) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if a.index != 0 {
		x.remove(a)
	}
}

// due takes the first alarm out if its time has come, and says otherwise how long that is away.
func (x *expiries) due(now int64) (a *alarm, wait time.Duration) {
	const longest = time.Hour // a message may live longer than a Duration lasts
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.heap) == 0 {
		return nil, longest
	}
	a = x.heap[0]
	if left := a.at - now; left > 0 {
		return nil, time.Duration(min(left, longest.Milliseconds())) * time.Millisecond
	}
	x.remove(a)
	return a, 0
}

func (x *expiries) remove(a *alarm) {
	last := x.heap[len(x.heap)-1]
	x.heap[len(x.heap)-1] = nil
	x.heap = x.heap[:len(x.heap)-1]
	if last != a {
		last.index = a.index
		x.heap[last.index-1] = last
		x.up(last)
		x.down(last)
	}
	a.index = 0
}

// up moves a towards the top. With indexes from 1 the parent of i is i/2.
func (x *expiries) up(a *alarm) {
	for a.index > 1 {
		parent := x.heap[a.index/2-1]
		if parent.at <= a.at {
			return
		}
		x.swap(a, parent)
	}
}

func (x *expiries) down(a *alarm) {
	for 2*a.index <= len(x.heap) {
		child := x.heap[2*a.index-1]
		if right := 2*a.index + 1; right <= len(x.heap) && x.heap[right-1].at < child.at {
			child = x.heap[right-1]
		}
		if a.at <= child.at {
			return
		}
		x.swap(a, child)
	}
}

func (x *expiries) swap(a, b *alarm) {
	a.index, b.index = b.index, a.index
	x.heap[a.index-1], x.heap[b.index-1] = a, b
}

// expirer rings the alarms as they come due.
func (b *Broker) expirer(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-b.expiries.signal:
		case <-ctx.Done():
			return
		}
		a, wait := b.expiries.due(b.now())
		for ; a != nil && ctx.Err() == nil; a, wait = b.expiries.due(b.now()) {
			a.ring()
		}
		timer.Reset(wait)
	}
}
