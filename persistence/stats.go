package persistence

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/core"
)

// Stats is what is worth seeing from outside. Counters count from Open on.
type Stats struct {
	Groups      uint64 // groups that have passed
	Bytes       uint64 // their bytes
	Carried     uint64 // about how many of them were carried forward
	Elided      uint64 // places that were not written, because the same group settled them
	Checkpoints uint64
	Reclaimed   uint64 // segment files removed
	Damaged     uint64 // messages that were given up because their bytes are not what was written
	Segments    int    // segment files that are history
	Journal     int64  // their bytes
	Live        int64  // those of them that live, a message counted once for each queue it is in
	Pending     int64  // bytes committed that have not passed

	CheckpointTook time.Duration // the last one; 0 before the first
	CheckpointAge  time.Duration // since the last one, or since Open

	// Stalled is how long the group under way has been under way: written, synced and guarded it should be in far less than a second.
	// While it grows nothing passes, and everything that was committed waits.
	Stalled time.Duration

	Write     Histogram // seconds that writing and syncing one group took
	GroupSize Histogram // bytes of a group

	Space                       core.Space
	FreeLow, FreeHigh, FreeFull int64 // the watermarks in force
}

// Histogram is how values are spread.
type Histogram struct {
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64 // upper bound → how many values are not above it; the largest values are in Count alone
}

// counters are what Stats is made of. Most belong to one goroutine and are read by any.
type counters struct {
	groups, bytes, filled, carried, elided, checkpoints, reclaimed, damaged atomic.Uint64

	checkpointTook atomic.Int64  // nanoseconds
	checkpointAt   atomic.Int64  // nanoseconds after clock.start
	underWay       atomic.Int64  // when the group under way began to be written, nanoseconds after clock.start; 0: none is
	write          histogram     // nanoseconds
	writing        atomic.Uint64 // their sum
	size           histogram     // bytes; bytes is their sum
}

// Stats returns the counters.
func (s *Store) Stats() Stats {
	s.live.mu.Lock()
	segments, journal, live := s.live.segments.count(), s.live.segments.size(), s.live.segments.live()
	s.live.mu.Unlock()
	c := &s.stats
	return Stats{
		Groups: c.groups.Load(), Bytes: c.bytes.Load(), Carried: c.carried.Load(), Elided: c.elided.Load(),
		Checkpoints: c.checkpoints.Load(), Reclaimed: c.reclaimed.Load(), Damaged: c.damaged.Load(),
		Segments: segments, Journal: journal + s.commits.writer.Ahead(), Live: live, Pending: s.Pending(),
		CheckpointTook: time.Duration(c.checkpointTook.Load()),
		CheckpointAge:  s.clock.elapsed() - time.Duration(c.checkpointAt.Load()),
		Stalled:        s.Stalled(),
		Write:          c.write.snapshot(writeUnit, c.writing.Load(), 1e-9),
		GroupSize:      c.size.snapshot(sizeUnit, c.bytes.Load(), 1),
		Space:          s.Space(), FreeLow: s.opt.FreeLow, FreeHigh: s.opt.FreeHigh, FreeFull: s.opt.FreeFull,
	}
}

// Stalled is Stats.Stalled. It takes no lock, so that it answers whatever hangs.
func (s *Store) Stalled() time.Duration {
	began := s.stats.underWay.Load()
	if began == 0 {
		return 0
	}
	return max(s.clock.elapsed()-time.Duration(began), 0)
}

// written is how many bytes the journal's files may have grown by. Groups that overwrite zeros count twice, until the disk is measured.
func (c *counters) written() uint64 { return c.bytes.Load() + c.filled.Load() }

// begins notes that a group is under way.
func (c *counters) begins(now time.Duration) { c.underWay.Store(max(int64(now), 1)) }

// wrote notes a group that is durable.
func (c *counters) wrote(took time.Duration, size int, elided uint64) {
	c.write.add(writeUnit, uint64(max(took, 0)))
	c.writing.Add(uint64(max(took, 0)))
	c.size.add(sizeUnit, uint64(size))
	if elided > 0 {
		c.elided.Add(elided)
	}
}

// ends notes that no group is under way: it has passed, or the store has failed.
func (c *counters) ends() { c.underWay.Store(0) }

// checkpointed notes a checkpoint that is in the index.
func (c *counters) checkpointed(began, now time.Duration) {
	c.checkpoints.Add(1)
	c.checkpointTook.Store(int64(now - began))
	c.checkpointAt.Store(int64(now))
}

const (
	// The first bucket of a histogram reaches to 2^unit, each other to twice the one before.
	writeUnit = 14 // 16 µs, in nanoseconds; the last bucket reaches to 17 s
	sizeUnit  = 6  // 64 B; the last reaches to 64 MiB

	histogramBuckets = 21
)

// histogram counts values in buckets whose bounds double, which costs no search. The last one is of values above all bounds.
type histogram [histogramBuckets + 1]atomic.Uint64

func (h *histogram) add(unit int, v uint64) {
	i := 0
	if v > 0 {
		i = min(bits.Len64((v-1)>>unit), histogramBuckets)
	}
	h[i].Add(1)
}

// snapshot returns the histogram of values whose sum is sum, with bounds and sum multiplied by scale.
func (h *histogram) snapshot(unit int, sum uint64, scale float64) Histogram {
	out := Histogram{Buckets: make(map[float64]uint64, histogramBuckets), Sum: float64(sum) * scale}
	for i := range h {
		out.Count += h[i].Load()
		if i < histogramBuckets {
			out.Buckets[float64(uint64(1)<<(unit+i))*scale] = out.Count
		}
	}
	return out
}
