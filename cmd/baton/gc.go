package main

import (
	"runtime/debug"
	"sync"
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

// hurryGC has the collector run seldom until settle is called, which also gives
// back to the system what the start has left behind: nothing else would, where
// the broker idles after it. A GOGC that is set higher, or off, stays, and so does
// GOMEMLIMIT.
func hurryGC() (settle func()) {
	before := debug.SetGCPercent(startGCPercent)
	if before < 0 || before > startGCPercent {
		debug.SetGCPercent(before)
		return func() {}
	}
	return sync.OnceFunc(func() {
		debug.SetGCPercent(before)
		go debug.FreeOSMemory() // some 100 ms beside the clients; it ends by itself
	})
}
