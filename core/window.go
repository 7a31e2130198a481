package core

import (
	"sync"
	"sync/atomic"
)

// Window is credit: how many deliveries may be outstanding at once. Consumers that found it closed wait in it and are woken when it
// opens. One Window serves one consumer, or all of a channel's.
//
// Taking and giving back are atomic counters; the mutex is met only by consumers that must wait.
type Window struct {
	limit atomic.Int64 // 0: no limit
	used  atomic.Int64
	stall stall
}

// NewWindow returns a window of limit deliveries [MQTT-4.9.0-1]; 0 sets no limit.
func NewWindow(limit int) *Window {
	w := new(Window)
	w.limit.Store(int64(limit))
	return w
}

// Limit is what the limit is, 0 for none.
func (w *Window) Limit() int { return int(w.limit.Load()) }

// SetLimit changes the limit, 0 for none. A smaller one takes nothing back: deliveries resume once enough are settled. It is called
// without locks, as consumers that waited may be served at once.
func (w *Window) SetLimit(limit int) {
	w.limit.Store(int64(limit))
	w.stall.wake(w.open)
}

// take claims one delivery's credit for c [MQTT-4.9.0-2]. When there is none, c waits in the window.
func (w *Window) take(c *Consumer) bool {
	if w.tryTake() {
		return true
	}
	w.stall.add(c)
	// Credit that came back before c was listed woke nobody.
	return w.tryTake()
}

// tryTake compares and swaps, because a claim that overshoots and is taken back could make another claim fail that nobody would wake.
func (w *Window) tryTake() bool {
	for {
		limit, used := w.limit.Load(), w.used.Load()
		if limit != 0 && used >= limit {
			return false
		}
		if w.used.CompareAndSwap(used, used+1) {
			return true
		}
	}
}

// open reports whether there is credit, for whoever asks.
func (w *Window) open(*Consumer) bool {
	limit := w.limit.Load()
	return limit == 0 || w.used.Load() < limit
}

// grant gives n deliveries' credit back and wakes who waited. No lock may be held.
func (w *Window) grant(n int) {
	w.used.Add(-int64(n))
	w.stall.wake(w.open)
}

// stall is the consumers that wait for the same thing, first come first served. A consumer may be listed although it no longer needs to
// be: waking it then does nothing.
type stall struct {
	waiting atomic.Bool // some consumer is listed

	mu   sync.Mutex
	list deque[*Consumer]
}

func (s *stall) add(c *Consumer) {
	s.mu.Lock()
	s.list.pushBack(c)
	s.waiting.Store(true)
	s.mu.Unlock()
}

// remove takes a consumer out that will not come back.
func (s *stall) remove(c *Consumer) {
	if !s.waiting.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for range s.list.len() {
		if other := s.list.popFront(); other != c {
			s.list.pushBack(other)
		}
	}
	s.waiting.Store(s.list.len() > 0)
}

// wake serves the consumers that waited, each at most once, as long as there is more for the next one. One that waits again goes
// behind the others, so that all have their turn. No lock may be held.
func (s *stall) wake(more func(*Consumer) bool) {
	if !s.waiting.Load() {
		return
	}
	s.mu.Lock()
	n := s.list.len()
	s.mu.Unlock()
	for range n {
		c := s.next(more)
		if c == nil {
			return
		}
		c.queue.wake(c)
	}
}

func (s *stall) next(more func(*Consumer) bool) *Consumer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list.len() == 0 || !more(*s.list.at(0)) {
		return nil
	}
	c := s.list.popFront()
	s.waiting.Store(s.list.len() > 0)
	return c
}
