package main

import (
	"testing"
	"time"
)

// TestLatencies: each duration is below the bounds that are not less, and all are counted.
func TestLatencies(t *testing.T) {
	var l latencies
	for _, d := range []time.Duration{-time.Second, 0, 16384, 16385, time.Millisecond, time.Hour} {
		l.add(d)
	}
	h := l.snapshot()
	for bound, want := range map[time.Duration]uint64{16384: 3, 2 * 16384: 4, 64 * 16384: 5, 1 << 34: 5} {
		if got := h.Buckets[bound.Seconds()]; got != want {
			t.Errorf("%d are not above %v, want %d", got, bound, want)
		}
	}
	if want := (time.Hour + time.Millisecond - time.Second + 32769).Seconds(); h.Count != 6 || h.Sum != want {
		t.Errorf("%d, %v s in all; want 6 and %v", h.Count, h.Sum, want)
	}
}
