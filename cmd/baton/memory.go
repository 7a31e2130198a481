package main

import (
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// memoryPoll is how often the memory in use is looked at.
	memoryPoll = 250 * time.Millisecond

	// collectEvery is the pause between forced collections, and collectShare by
	// how many times it is longer than what the last one took.
	collectEvery = 3 * time.Second
	collectShare = 20
)

// A memoryWatch tells the broker when the process takes too much memory.
//
// What counts is what the process cannot give back: not the pages of files, not
// what the Go heap has free, and no garbage. The latter is only known after a
// collection. So the watch has one made before it raises the alarm, and while the
// alarm holds, since then little is allocated that would bring one about; but not
// all the time. Between two it believes a measure only that is half way from the
// watermark to the limit.
type memoryWatch struct {
	limit int64 // 0: not known
	log   *slog.Logger

	measure func() int64 // memory in use, garbage included
	collect func()       // afterwards there is none for a moment
	heap    *heapBound   // nil: that is not for the watch to say

	configured atomic.Int64 // watermark; 0: there is none
	ordered    atomic.Int64 // watermark set while the process runs; negative: the configured one counts
	used       atomic.Int64 // as of the last look
	alarm      atomic.Bool

	mu        sync.Mutex
	set       func(bool) // hears of the alarm; nil: nobody watches
	collected time.Time  // end of the last forced collection
	pause     time.Duration
}

// newMemoryWatch finds the limit, and has the Go heap keep to it.
func newMemoryWatch(c *Config, log *slog.Logger) *memoryWatch {
	limit, from := c.Memory.Limit, "memory.limit"
	if limit == 0 {
		limit, from = hostMemory()
	}
	w := &memoryWatch{limit: limit, log: log, measure: memoryInUse, collect: runtime.GC}
	w.configured.Store(c.Memory.Watermark.of(limit))
	w.ordered.Store(-1)
	if limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		w.heap = newHeapBound(limit)
		w.heap.keep(w.watermark())
	}
	if w.watermark() == 0 {
		log.Info("no memory watermark: how much memory there is is not known here; set memory.limit")
		return w
	}
	log.Info("memory watermark", slog.Int64("watermark", w.watermark()), slog.Int64("limit", limit), slog.String("limit_from", from))
	return w
}

// watermark is the one in force; 0: none.
func (w *memoryWatch) watermark() int64 {
	if n := w.ordered.Load(); n >= 0 {
		return n
	}
	return w.configured.Load()
}

// configure sets the watermark that counts where none is ordered. It is looked at
// with the next measure.
func (w *memoryWatch) configure(mark amount) {
	before := w.watermark()
	w.configured.Store(mark.of(w.limit))
	if now := w.watermark(); now != before {
		w.log.Info("memory watermark", slog.Int64("watermark", now))
	}
}

// order sets another watermark until the process ends; a negative one restores
// what is configured, and 0 is less than anything takes. It has taken effect when it
// returns.
func (w *memoryWatch) order(bytes int64) error {
	switch {
	case bytes < 0:
		bytes = -1
	case bytes == 0:
		bytes = 1 // 0 is none
	}
	w.ordered.Store(bytes)
	w.log.Info("memory watermark", slog.Int64("watermark", w.watermark()))
	w.mu.Lock()
	w.collected = time.Time{} // somebody waits for the answer
	w.mu.Unlock()
	w.check()
	return nil
}

// start watches until stop is called, and tells set when the alarm is raised and
// cleared.
func (w *memoryWatch) start(set func(bool)) (stop func()) {
	done := make(chan struct{})
	w.mu.Lock()
	w.set = set
	w.mu.Unlock()
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(memoryPoll)
		defer tick.Stop()
		for {
			w.check()
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	return func() {
		close(done)
		watch.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.set = nil
		w.alarm.Store(false) // the next broker has none yet
	}
}

// check looks, and tells who watches if the alarm has changed by it.
func (w *memoryWatch) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.set == nil {
		return
	}
	if w.look() {
		w.set(w.alarm.Load())
	}
	w.heap.keep(w.watermark())
}

// look measures, and reports whether the alarm has changed by it. w.mu is held.
func (w *memoryWatch) look() (changed bool) {
	mark, raised := w.watermark(), w.alarm.Load()
	if mark == 0 {
		w.used.Store(w.measure())
		return raised && w.change(false, mark)
	}
	used, clean := w.measure(), false
	if used > clearAt(mark, raised) && time.Since(w.collected) >= w.pause {
		begun := time.Now()
		w.collect()
		w.collected = time.Now()
		w.pause = max(collectEvery, collectShare*w.collected.Sub(begun))
		used, clean = w.measure(), true
	}
	w.used.Store(used)
	switch {
	case raised:
		return used <= clearAt(mark, raised) && w.change(false, mark)
	case clean:
		return used > mark && w.change(true, mark)
	}
	return used > mark+max(0, w.limit-mark)/2 && w.change(true, mark)
}

// change is the one place where the alarm does, and returns true.
func (w *memoryWatch) change(to bool, mark int64) bool {
	w.alarm.Store(to)
	figures := slog.Group("", slog.Int64("used", w.used.Load()), slog.Int64("watermark", mark)) // the empty key puts them beside the message
	if to {
		w.log.Warn("memory alarm: publishers wait until memory is free, consumers go on", figures)
	} else {
		w.log.Info("memory alarm cleared: publishers go on", figures)
	}
	return true
}

// clearAt is what may be in use at most: less while the alarm holds, so that it is
// not raised again at once.
func clearAt(mark int64, raised bool) int64 {
	if raised {
		return mark / 10 * 9
	}
	return mark
}

// memoryInUse is what the process has taken and cannot give back, garbage
// included.
func memoryInUse() int64 {
	samples := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	total, released, free := counted(samples[0]), counted(samples[1]), counted(samples[2])
	taken := total - released
	if resident, ok := residentMemory(); ok {
		taken = resident // less where Go has pages it has not touched, more by what Go does not count
	}
	return max(0, taken-free)
}

func counted(s metrics.Sample) int64 {
	if s.Value.Kind() != metrics.KindUint64 {
		return 0 // no such figure in this version
	}
	return int64(min(s.Value.Uint64(), math.MaxInt64))
}
