package main

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// lullPoll is how often it is looked whether a rush is over: after two of them
	// that were calm.
	lullPoll = 3 * time.Second

	// lullRest is how many looks are let go by after a collection, unless there is
	// another rush: a trickle must not cost one every few seconds.
	lullRest = 20

	// lullRate is what may be allocated between two looks while nothing much
	// happens.
	lullRate = 4 << 20

	// lullLeft is what has to be left behind for it to be worth a collection: so
	// much, and an eighth of what lives.
	lullLeft = 4 << 20
)

// A lull is the time after a rush. What the clients of a fleet have allocated by
// connecting, all at once, stays as it is when they are silent: the collector
// waits for the heap to double, or for two minutes, and then keeps what it has
// freed for the next rush. So where garbage, and what the heap has free, is much
// beside what lives, and hardly anything is allocated any more, all of it is given
// back. As long as nothing new is left behind that happens once. The start of a
// broker is a rush, too.
type lull struct {
	read    func() heapFigures
	release func()

	last   heapFigures // at the last look
	since  uint64      // what had been allocated at the last collection that was seen
	calm   int         // looks in a row; negative: so many more are let go by
	steady uint64      // what the heap had free after the last release: that much is not to be had
}

// heapFigures are the runtime's.
type heapFigures struct {
	allocated, cycles uint64 // so far
	live              uint64 // at the last collection
	free              uint64 // not in use, and not given back
}

func readHeap() heapFigures {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	figure := func(i int) uint64 { return uint64(counted(samples[i])) }
	return heapFigures{allocated: figure(0), cycles: figure(1), live: figure(2), free: figure(3)}
}

// watchLulls looks for lulls until stop is called.
func watchLulls() (stop func()) {
	l := &lull{read: readHeap, release: debug.FreeOSMemory}
	return every(lullPoll, l.look)
}

// look releases what is left behind when it is calm.
func (l *lull) look() {
	now := l.read()
	if now.cycles != l.last.cycles {
		l.since = l.last.allocated // what came between is garbage or not; it makes no difference here
	}
	calm := now.allocated-l.last.allocated <= lullRate
	l.last = now
	if !calm {
		l.calm = 0
		return
	}
	left := now.allocated - l.since + now.free - min(l.steady, now.free)
	if l.calm++; l.calm < 2 || left < lullLeft+now.live/8 {
		return
	}
	l.release()
	l.last = l.read()
	l.since, l.steady, l.calm = l.last.allocated, l.last.free, -lullRest
}
