package persistence

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestHistogram_Buckets(t *testing.T) {
	var h histogram
	for _, v := range []uint64{0, 1, 64, 65, 128, 129, 1 << 40} {
		h.add(sizeUnit, v)
	}
	got := h.snapshot(sizeUnit, 10, 0.5)
	if got.Count != 7 || got.Sum != 5 {
		t.Errorf("%d values, sum %v", got.Count, got.Sum)
	}
	for bound, want := range map[float64]uint64{32: 3, 64: 5, 128: 6, 32 << 20: 6} {
		if got.Buckets[bound] != want {
			t.Errorf("%d values up to %v, want %d", got.Buckets[bound], bound, want)
		}
	}
	if len(got.Buckets) != histogramBuckets {
		t.Errorf("%d buckets", len(got.Buckets))
	}
}

// TestStats: what an operator sees adds up.
func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newLives(t)
		s := v.open()
		commit(t, s, define("q", q1), publish(1, "a"))
		commit(t, s, publish(2, "b"), settle(2, 2))
		time.Sleep(time.Minute)
		if got := s.Stats(); got.Checkpoints != 0 || got.CheckpointAge < time.Minute {
			t.Errorf("before a checkpoint: %+v", got)
		}
		if err := s.checkpoint(); err != nil {
			t.Fatal(err)
		}
		got := s.Stats()
		if got.Elided != 1 || got.Checkpoints != 1 || got.CheckpointAge != 0 || got.Pending != 0 || got.Stalled != 0 {
			t.Errorf("%+v", got)
		}
		if got.GroupSize.Count != got.Groups || uint64(got.GroupSize.Sum) != got.Bytes || got.Write.Count != got.Groups {
			t.Errorf("%d groups of %d bytes, but %+v and %+v", got.Groups, got.Bytes, got.GroupSize, got.Write)
		}
		if got.Space.Free == 0 || got.FreeFull >= got.FreeLow || got.FreeLow >= got.FreeHigh {
			t.Errorf("free %+v, watermarks %d, %d, %d", got.Space, got.FreeFull, got.FreeLow, got.FreeHigh)
		}
		v.close(s)
	})
}

// BenchmarkStatsOfAGroup is what counting costs for one group, and beside it what the one reading of the clock costs that it needs.
func BenchmarkStatsOfAGroup(b *testing.B) {
	clock := newClock(time.Unix(0, 0))
	b.Run("count", func(b *testing.B) {
		var c counters
		for b.Loop() {
			c.begins(time.Second)
			c.wrote(100*time.Microsecond, 16<<10, 1)
			c.ends()
		}
	})
	b.Run("clock", func(b *testing.B) {
		var last time.Duration
		for b.Loop() {
			last = clock.elapsed()
		}
		if last == 0 {
			b.Error("the clock stands still")
		}
	})
}
