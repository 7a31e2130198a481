package main

import (
	"runtime/debug"
	"slices"
	"testing"
)

func TestGCPercentIsRaisedForTheStartOnly(t *testing.T) {
	was := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(was) })
	for _, row := range []struct{ set, during int }{
		{100, startGCPercent}, {50, startGCPercent}, {startGCPercent + 1, startGCPercent + 1}, {-1, -1},
	} {
		debug.SetGCPercent(row.set)
		gc := hurryGC()
		gc.live = func() uint64 { return 1 << 40 }
		gc.look()
		if during := debug.SetGCPercent(row.during); during != row.during {
			t.Errorf("GOGC %d: %d during the start, want %d", row.set, during, row.during)
		}
		gc.settle()
		if after := debug.SetGCPercent(row.set); after != row.set {
			t.Errorf("GOGC %d: %d after the start", row.set, after)
		}
		debug.SetGCPercent(row.set + 7) // an operator's change that a second settle must not undo
		gc.settle()
		if again := debug.SetGCPercent(row.set); again != row.set+7 && row.set > 0 {
			t.Errorf("GOGC %d: a second settle made it %d", row.set, again)
		}
		if gc.look(); row.set != usualGCPercent && debug.SetGCPercent(row.set) != row.set {
			t.Errorf("GOGC %d, which somebody has set, was changed for a large heap", row.set)
		}
	}
}

func TestGarbageStaysSmallBesideALargeHeap(t *testing.T) {
	var set []int
	live := uint64(0)
	gc := &gcPace{before: usualGCPercent, live: func() uint64 { return live }, set: func(percent int) int {
		set = append(set, percent)
		return 0
	}}
	gc.settle()
	for _, mib := range []uint64{10, 128, 135, 256, 260, 400, 512, 4096, 4000, 100} {
		live = mib << 20
		gc.look()
	}
	if want := []int{100, 50, 32, 25, 100}; !slices.Equal(set, want) {
		t.Errorf("GOGC was set to %v, want %v", set, want)
	}
}
