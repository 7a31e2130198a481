package main

import (
	"runtime/debug"
	"runtime/metrics"
)

// A heapBound tells the Go heap when to collect its garbage: before it brings the process above the watermark, though nobody waits for
// that, and before it brings it above the limit in any case. What lives may grow by half until a collection, however near it is to the
// watermark: with less room the processors would do nothing but collect.
type heapBound struct {
	limit int64                   // of the process
	lives func() int64            // what the last collection has left
	set   func(bytes int64) int64 // debug.SetMemoryLimit
	last  int64
}

func newHeapBound(limit int64) *heapBound {
	return &heapBound{limit: limit, lives: memoryLiving, set: debug.SetMemoryLimit}
}

// keep sets the bound for a watermark; 0 is none. A change stops the process for a moment, so there is none for a little.
func (h *heapBound) keep(mark int64) {
	if h == nil {
		return
	}
	bound := heapLimit(h.limit, mark, h.lives())
	if change := bound - h.last; max(change, -change) > h.last/32 {
		h.last = bound
		h.set(bound)
	}
}

// heapLimit is what the Go heap may take, garbage included. A tenth of what the process may take is for what Go does not count.
func heapLimit(limit, mark, lives int64) int64 {
	most := limit / 10 * 9
	if mark == 0 {
		return most
	}
	return min(most, max(mark/10*9, lives/2*3))
}

// memoryLiving is what Go holds but for garbage and what is free: the heap as the last collection has left it, and what is not heap.
func memoryLiving() int64 {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
	}
	metrics.Read(samples)
	other := counted(samples[1])
	for _, s := range samples[2:] {
		other -= counted(s)
	}
	return counted(samples[0]) + max(0, other)
}
