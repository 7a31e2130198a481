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

// NewWindow returns a window of limit deliveries; 0 sets no limit.
func NewWindow(limit int) *Window {
	w := new(Window)
	w.limit.Store(int64(limit))
	return w
}

// SetLimit changes the limit, 0 for none. A smaller one takes nothing back: deliveries resume once enough are settled. It is called
// without locks, as consumers that waited may be served at once.
func (w *Window) SetLimit(limit int) {
	w.limit.Store(int64(limit))
	w.stall.wake()
}

// Outstanding is the number of deliveries in the window now.
func (w *Window) Outstanding() int { return int(w.used.Load()) }

// take claims one delivery's credit for c. When there is none, c waits in the window.
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

// grant gives n deliveries' credit back and wakes who waited. No lock may be held.
func (w *Window) grant(n int) {
	w.used.Add(-int64(n))
	w.stall.wake()
}

// stall is a set of consumers that wait for the same thing. A consumer may be listed although it no longer needs to be: waking it
// then does nothing.
type stall struct {
	waiting atomic.Bool // some consumer is listed

	mu   sync.Mutex
	list []*Consumer
}

func (s *stall) add(c *Consumer) {
	s.mu.Lock()
	s.list = append(s.list, c)
	s.waiting.Store(true)
	s.mu.Unlock()
}

// wake serves every consumer that waited. No lock may be held.
func (s *stall) wake() {
	if !s.waiting.Load() {
		return
	}
	s.mu.Lock()
	list := s.list
	s.list = nil
	s.waiting.Store(false)
	s.mu.Unlock()
	for _, c := range list {
		c.queue.wake(c)
	}
}
