package core

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Alarms come due in the order of their times, each once, whatever was set and cancelled; setting one again can only bring it forward.
func TestAlarmsComeDueInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := &expiries{signal: make(chan struct{}, 1)}
		alarms := make([]alarm, 40)
		plain := map[*alarm]int64{}
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			a := &alarms[rapid.IntRange(0, len(alarms)-1).Draw(t, "alarm")]
			switch rapid.IntRange(0, 9).Draw(t, "op") {
			case 0:
				x.cancel(a)
				delete(plain, a)
			case 1:
				now := rapid.Int64Range(1, 100).Draw(t, "now")
				due, wait := x.due(now)
				first := int64(math.MaxInt64)
				for _, at := range plain {
					first = min(first, at)
				}
				switch {
				case due != nil && (plain[due] != first || first > now):
					t.Fatalf("at %d the alarm for %d is due, the first is for %d", now, plain[due], first)
				case due == nil && len(plain) > 0 && wait != time.Duration(first-now)*time.Millisecond:
					t.Fatalf("at %d it is %v until the first alarm, which is for %d", now, wait, first)
				}
				delete(plain, due)
			default:
				at := rapid.Int64Range(1, 100).Draw(t, "at")
				x.set(a, at)
				if old, ok := plain[a]; !ok || at < old {
					plain[a] = at
				}
			}
		}
		var got, want []int64
		for a, _ := x.due(100); a != nil; a, _ = x.due(100) {
			got = append(got, plain[a])
			delete(plain, a)
		}
		for _, at := range plain {
			want = append(want, at)
		}
		if !slices.IsSorted(got) || len(want) > 0 {
			t.Fatalf("came due: %v; and not: %v", got, want)
		}
	})
}

// The expirer is told of an earlier alarm and of no other.
func TestOnlyAnEarlierAlarmWakesTheExpirer(t *testing.T) {
	x := &expiries{signal: make(chan struct{}, 1)}
	var a, b, c alarm
	for _, step := range []struct {
		alarm *alarm
		at    int64
		wakes bool
	}{{&a, 50, true}, {&b, 60, false}, {&b, 55, false}, {&a, 70, false}, {&b, 40, true}, {&a, 30, true}, {&c, math.MaxInt64, false}} {
		x.set(step.alarm, step.at)
		woke := len(x.signal) == 1
		if woke {
			<-x.signal
		}
		if woke != step.wakes {
			t.Errorf("an alarm for %d wakes: %t", step.at, woke)
		}
	}
	x.cancel(&a)
	x.cancel(&b)
	if a, wait := x.due(1); a != nil || wait != time.Hour {
		t.Errorf("the end of time is due in %v: %v", wait, a)
	}
}
