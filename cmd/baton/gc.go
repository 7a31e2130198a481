package main

import (
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

// settleAfter is for how long after a start the collector is left as it was during
// that: the clients that come back just then need the processor.
const settleAfter = 2 * time.Second

// startGCPercent is the garbage collector's GOGC while the broker opens. Then
// the heap only grows, by what stays: at 100 it would be marked anew each time it
// has doubled. With 100,000 MQTT sessions that is a quarter of the processor
// time of a start; at 400 it is a twentieth, for a sixth more of memory at the
// peak.
const startGCPercent = 400

const (
	// usualGCPercent is GOGC where nobody has set it.
	usualGCPercent = 100

	// garbageRoom is how much garbage may gather in any case, and garbageShare the
	// part of what lives that may: with a large heap GOGC alone would let as much
	// gather as lives, so that a million retained topics took twice their memory.
	// Most of a large heap are bodies and tables, in which the collector looks for
	// nothing, so that it may well come more often.
	garbageRoom  = 128 << 20
	garbageShare = 4

	// gcPoll is how often it is looked how large the heap has become.
	gcPoll = 2 * time.Second
)

// A gcPace says when the garbage collector runs: seldom while the broker opens, and
// then so that garbage stays small beside a large heap. A GOGC that an operator has
// set stays, once the broker is open, and one that is higher, or off, always; so does
// GOMEMLIMIT.
type gcPace struct {
	live    func() uint64         // what the last collection has left
	set     func(percent int) int // debug.SetGCPercent
	before  int
	last    int // what was set
	settled atomic.Bool
	once    sync.Once
}

// hurryGC has the collector run seldom until settle is called.
func hurryGC() *gcPace {
	g := &gcPace{live: liveHeap, set: debug.SetGCPercent}
	if g.before = g.set(startGCPercent); g.before < 0 || g.before > startGCPercent {
		g.set(g.before)
		g.once.Do(func() {}) // nothing is to be settled
	}
	return g
}

// settle ends the hurry, and gives back to the system what the start has left
// behind: nothing else would, where the broker idles after it.
func (g *gcPace) settle() {
	g.once.Do(func() {
		g.last = g.before
		g.set(g.before)
		g.settled.Store(g.before == usualGCPercent)
		go debug.FreeOSMemory() // some 100 ms beside the clients; it ends by itself
	})
}

// watch looks at the heap until stop is called, which leaves GOGC as it was found.
func (g *gcPace) watch() (stop func()) {
	end := every(gcPoll, g.look)
	return func() {
		if end(); g.settled.Swap(false) {
			g.set(g.before)
		}
	}
}

// look sets GOGC to what suits the heap. A change stops the process for a moment, so
// there is none for a little.
func (g *gcPace) look() {
	if !g.settled.Load() {
		return
	}
	percent := gcPercent(g.live())
	if change := percent - g.last; max(change, -change) > g.last/8 {
		g.last = percent
		g.set(percent)
	}
}

// gcPercent is the GOGC for so much that lives.
func gcPercent(live uint64) int {
	room := max(garbageRoom, live/garbageShare)
	if live <= room {
		return usualGCPercent
	}
	return int(room * usualGCPercent / live)
}

func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return uint64(counted(sample[0]))
}
