package ha

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// TestContest_LivingHolder decides from what is seen of the highest claim, now
// and before.
func TestContest_LivingHolder(t *testing.T) {
	const patience = 3300 * time.Millisecond
	see := func(checksum uint64, lock lockHint, state leaseState) sighting {
		return sighting{epoch: 5, lease: lease{state: state, ttl: 3 * time.Second}, readable: state != 0, print: checksum, lock: lock}
	}
	for _, tc := range []struct {
		name           string
		before         *sighting // seen at 0; nil: this is the first look
		after          time.Duration
		now            sighting
		alone, standby stepKind // what follows without and with Standby
	}{
		{"an empty directory", nil, 0, sighting{}, stepSurvey, stepSurvey},
		{"lock is held", nil, 0, see(1, lockHeld, stateServing), stepHeld, stepWait},
		{"lock is held, still claiming", nil, 0, see(1, lockHeld, stateClaimed), stepHeld, stepWait},
		{"lock is held, lease torn", nil, 0, see(1, lockHeld, 0), stepHeld, stepWait},
		{"lock is held, unchanged, not for long", new(see(1, lockHeld, stateServing)), patience - 1, see(1, lockHeld, stateServing), stepHeld, stepWait},
		{"lock is held, long unchanged", new(see(1, lockHeld, stateServing)), patience, see(1, lockHeld, stateServing), stepHeld, stepSurvey},
		{"lock is held, a slow takeover goes on", new(see(1, lockHeld, stateClaimed)), time.Hour, see(2, lockHeld, stateClaimed), stepHeld, stepWait},
		{"lock is held, a takeover that hangs", new(see(1, lockHeld, stateClaimed)), patience, see(1, lockHeld, stateClaimed), stepHeld, stepSurvey},
		{"lock is held, a new holder after a long time", new(sighting{epoch: 4, print: 1, readable: true, lock: lockHeld}), time.Hour, see(1, lockHeld, stateClaimed), stepHeld, stepWait},
		{"lock is held, released", nil, 0, see(1, lockHeld, stateReleased), stepSurvey, stepSurvey},
		{"lock is held, failed", nil, 0, see(1, lockHeld, stateFailed), stepSurvey, stepSurvey},
		{"lock is free", nil, 0, see(1, lockFree, stateServing), stepSurvey, stepSurvey},
		{"lock is free, renewed since", new(see(1, lockHeld, stateServing)), 1, see(2, lockFree, stateServing), stepSurvey, stepSurvey},
		{"no locks, first look", nil, 0, see(1, lockUnknown, stateServing), stepWait, stepWait},
		{"no locks, renewed", new(see(1, lockUnknown, stateServing)), time.Second, see(2, lockUnknown, stateServing), stepHeld, stepWait},
		{"no locks, unchanged, not for long", new(see(1, lockUnknown, stateServing)), patience - 1, see(1, lockUnknown, stateServing), stepWait, stepWait},
		{"no locks, unchanged for long", new(see(1, lockUnknown, stateServing)), patience, see(1, lockUnknown, stateServing), stepSurvey, stepSurvey},
		{"no locks, torn for long", new(see(1, lockUnknown, 0)), patience, see(1, lockUnknown, 0), stepSurvey, stepSurvey},
		{"no locks, a new holder", new(sighting{epoch: 4, print: 1, readable: true}), time.Hour, see(1, lockUnknown, stateClaimed), stepWait, stepWait},
		{"no locks, released", nil, 0, see(1, lockUnknown, stateReleased), stepSurvey, stepSurvey},
	} {
		for _, standby := range []bool{false, true} {
			c := contest{standby: standby, patience: patience}
			zero := time.Unix(0, 0)
			if tc.before != nil {
				c.looked(zero, *tc.before, readiness{fit: true})
				c.waited()
			}
			if got := c.next().kind; got != stepLook {
				t.Fatalf("a contest begins with step %d", got)
			}
			c.looked(zero.Add(tc.after), tc.now, readiness{fit: true})
			want := tc.alone
			if standby {
				want = tc.standby
			}
			if got := c.next().kind; got != want {
				t.Errorf("%s, standby %v: step %d, want %d", tc.name, standby, got, want)
			}
		}
	}
}

// TestContest_Order walks the steps to an epoch.
func TestContest_Order(t *testing.T) {
	type steps = []step
	for _, tc := range []struct {
		name    string
		highest uint64
		survey  survey
		active  []uint64 // epochs that were active
		want    steps    // between the look and the end
		source  uint64
	}{
		{"first start", 0, survey{}, nil, steps{{stepClaim, 1}}, 0},
		{"restart", 3, survey{floor: 3, active: true}, []uint64{1, 2, 3}, steps{{stepClaim, 4}, {stepMark, 3}, {stepProbe, 3}}, 3},
		{
			"floor unreadable", 3,
			survey{active: true},
			[]uint64{1, 2, 3},
			steps{{stepClaim, 4}, {stepMark, 1}, {stepMark, 2}, {stepMark, 3}, {stepProbe, 3}},
			3,
		},
		{
			"claims that were never active", 4,
			survey{floor: 2, active: true},
			[]uint64{2},
			steps{{stepClaim, 5}, {stepMark, 2}, {stepMark, 3}, {stepMark, 4}, {stepProbe, 4}, {stepProbe, 3}, {stepProbe, 2}},
			2,
		},
		{"only such claims", 2, survey{}, nil, steps{{stepClaim, 3}, {stepMark, 1}, {stepMark, 2}, {stepProbe, 2}, {stepProbe, 1}}, 0},
		{
			"an index is ahead", 1,
			survey{floor: 1, active: true, above: 3},
			[]uint64{1},
			steps{{stepClaim, 2}, {stepClaim, 3}, {stepClaim, 4}, {stepMark, 1}, {stepMark, 2}, {stepMark, 3}, {stepProbe, 3}, {stepProbe, 2}, {stepProbe, 1}},
			1,
		},
	} {
		c := contest{}
		c.looked(time.Time{}, sighting{epoch: tc.highest, lock: lockFree}, readiness{fit: true})
		if err := c.surveyed(tc.survey); err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		var got steps
		var err error
		for c.next().kind != stepOpen && err == nil && len(got) < 20 {
			s := c.next()
			got = append(got, s)
			switch s.kind {
			case stepClaim:
				c.claimed(true)
			case stepMark:
				c.marked()
			default:
				err = c.probed(slices.Contains(tc.active, s.epoch))
			}
		}
		if err != nil || !slices.Equal(got, tc.want) || c.source != tc.source {
			t.Errorf("%s: %v to source %d (%v), want %v to %d", tc.name, got, c.source, err, tc.want, tc.source)
		}
	}
}

func TestContest_LostClaimBeginsAgain(t *testing.T) {
	c := contest{standby: true, patience: time.Second}
	c.looked(time.Time{}, sighting{epoch: 2, lock: lockFree}, readiness{fit: true})
	if err := c.surveyed(survey{active: true}); err != nil {
		t.Fatal(err)
	}
	c.claimed(false)
	if got := c.next(); got.kind != stepLook {
		t.Fatalf("after a lost claim: %v", got)
	}
	c.looked(time.Time{}, sighting{epoch: 3, lock: lockHeld}, readiness{fit: true})
	if got := c.next(); got.kind != stepWait {
		t.Errorf("after the winner was seen: %v", got)
	}
}

func TestContest_ActiveEpochVanishedAfterTheSurvey(t *testing.T) {
	c := contest{}
	c.looked(time.Time{}, sighting{epoch: 1, lock: lockFree}, readiness{fit: true})
	if err := c.surveyed(survey{floor: 1, active: true}); err != nil {
		t.Fatal(err)
	}
	c.claimed(true)
	c.marked()
	if err := c.probed(false); !errors.Is(err, ErrDamage) {
		t.Errorf("a floor, and no active epoch: %v, want ErrDamage", err)
	}
}
