package main

import (
	"slices"
	"testing"
)

const mib = 1 << 20

// TestLull: memory is given back once, when a rush is over and has left something
// behind.
func TestLull(t *testing.T) {
	type look struct {
		allocated, cycles, live, free uint64 // in MiB
		release                       bool
	}
	for _, tt := range []struct {
		name  string
		looks []look
	}{
		{"nothing happens", []look{{10, 1, 5, 1, false}, {11, 1, 5, 1, false}, {12, 1, 5, 1, false}, {13, 1, 5, 1, false}}},
		{"a rush leaves garbage", []look{
			{10, 1, 5, 0, false},
			{90, 1, 5, 0, false},
			{91, 1, 5, 0, false},
			{91, 1, 5, 0, true},
			{92, 2, 60, 0, false},
			{93, 2, 60, 0, false},
			{94, 2, 60, 0, false},
		}},
		{"a rush whose garbage was collected leaves room", []look{
			{10, 1, 5, 0, false}, {90, 4, 20, 40, false}, {90, 4, 20, 40, false}, {90, 4, 20, 40, true}, {90, 5, 20, 1, false}, {90, 5, 20, 1, false},
		}},
		{"what cannot be given back is not tried again", []look{
			{10, 1, 5, 30, false}, {10, 1, 5, 30, true}, {10, 2, 5, 30, false}, {11, 2, 5, 30, false}, {12, 2, 5, 30, false},
		}},
		{"little beside what lives", []look{{10, 1, 800, 50, false}, {10, 1, 800, 50, false}, {10, 1, 800, 50, false}}},
		{"work that goes on is left alone", []look{
			{10, 1, 5, 0, false}, {50, 1, 5, 30, false}, {90, 2, 5, 30, false}, {130, 3, 5, 30, false}, {170, 4, 5, 30, false},
		}},
		{"a trickle adds up, and has to wait", append(append([]look{
			{10, 1, 5, 0, false}, {13, 1, 5, 0, false}, {16, 1, 5, 0, true},
		}, slices.Repeat([]look{{20, 2, 5, 0, false}}, lullRest+1)...), look{21, 2, 5, 0, true})},
		{"another rush does not wait", []look{
			{10, 1, 5, 30, false}, {10, 1, 5, 30, true}, {90, 2, 5, 30, false}, {90, 2, 5, 30, false}, {90, 2, 5, 30, true},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var now look
			released := false
			l := &lull{release: func() { released = true }, read: func() heapFigures {
				return heapFigures{allocated: now.allocated * mib, cycles: now.cycles, live: now.live * mib, free: now.free * mib}
			}}
			now = tt.looks[0]
			l.last = l.read()
			l.since = l.last.allocated
			for i := range tt.looks {
				now, released = tt.looks[i], false
				l.look()
				if released != now.release {
					t.Errorf("look %d: released %v, want %v", i+1, released, now.release)
				}
			}
		})
	}
}
