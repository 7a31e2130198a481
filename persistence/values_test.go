package persistence

import (
	"fmt"
	"testing"

	"github.com/batonmq/baton/persistence/journal"
)

// TestStandbyGivesBackTheMemoryOfValues has definitions made one by one, between many changes of another, and then removed but for some, as a
// standby sees them, which never lets go of a value. What is in memory must stay near what is alive.
func TestStandbyGivesBackTheMemoryOfValues(t *testing.T) {
	l := newLive()
	at := l.segments.add(journal.SegmentID{Epoch: 1, Number: 1})
	value := func(i, round int) string { return fmt.Sprintf("value %d of %d", round, i) }
	check := func(when string, from int) {
		t.Helper()
		if l.values.Wasteful() {
			t.Errorf("%s: more than half of the values' memory is lost", when)
		}
		for i := from; i < 200; i++ {
			d := l.defs.Get(fmt.Sprint(i))
			if got := string(l.heldValue(d)); got != value(i, 0) {
				t.Fatalf("%s: definition %d is %q", when, i, got)
			}
		}
	}
	early := []byte(nil)
	for i := range 200 {
		l.define(fmt.Sprint(i), []byte(value(i, 0)), 0, uint64(i+1), at)
		if i == 0 {
			early = l.heldValue(l.defs.Get("0"))
		}
		for round := range 2000 {
			l.define("hot", []byte(value(1000, round)), 0, 1000, at)
		}
	}
	check("after the changes", 0)
	for i := range 190 {
		l.remove(fmt.Sprint(i), 0, at)
	}
	check("after most are gone", 190)
	if got := string(l.heldValue(l.defs.Get("hot"))); got != value(1000, 1999) {
		t.Errorf("what changes is %q", got)
	}
	if string(early) != value(0, 0) {
		t.Errorf("what was handed out was written to: %q", early)
	}
}
