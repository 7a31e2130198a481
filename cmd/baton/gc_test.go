package main

import (
	"runtime/debug"
	"testing"
)

func TestGCPercentIsRaisedForTheStartOnly(t *testing.T) {
	was := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(was) })
	for _, row := range []struct{ set, during int }{
		{100, startGCPercent}, {50, startGCPercent}, {startGCPercent + 1, startGCPercent + 1}, {-1, -1},
	} {
		debug.SetGCPercent(row.set)
		settle := hurryGC()
		if during := debug.SetGCPercent(row.during); during != row.during {
			t.Errorf("GOGC %d: %d during the start, want %d", row.set, during, row.during)
		}
		settle()
		if after := debug.SetGCPercent(row.set); after != row.set {
			t.Errorf("GOGC %d: %d after the start", row.set, after)
		}
		debug.SetGCPercent(row.set + 7) // an operator's change that a second settle must not undo
		settle()
		if again := debug.SetGCPercent(row.set); again != row.set+7 && row.set > 0 {
			t.Errorf("GOGC %d: a second settle made it %d", row.set, again)
		}
	}
}
