package ha

import (
	"fmt"
	"time"
)

// contest is one node's way from a directory it knows nothing of to an epoch it
// may activate, as a state machine without I/O and without a clock: next names a
// step, the caller carries it out and reports with the method of the same name.
//
// Its safety is in the order of the steps: claim e, mark every fence from the
// floor to e-1, and only then look for the source. Of two contenders the higher
// has marked the lower before either may have become a source for the other, so
// the lower can never promise. Whether the highest holder lives is decided before
// that and decides only how soon, never whether, this is safe.
type contest struct {
	standby    bool          // wait for a living holder, instead of giving up
	patience   time.Duration // a counter that stands still for so long is a dead holder's
	doubtLocks bool          // a free lock counts only with a counter that stands still, too

	step   step
	holder sighting  // the highest claim seen
	since  time.Time // when holder was first seen as it is
	turn   reason    // why its holder is taken to be gone
	turned time.Time // since when

	floor  uint64 // 0: not known, everything counts
	above  uint64 // the epoch must be above this one
	epoch  uint64 // the number claimed
	source uint64 // 0: the store is empty
}

type stepKind int

const (
	stepLook   stepKind = iota // see the highest claim: looked
	stepWait                   // let some time pass: waited
	stepSurvey                 // read what a contender must know: surveyed
	stepClaim                  // claim step.epoch: claimed
	stepMark                   // mark the fence of step.epoch: marked
	stepProbe                  // read whether step.epoch was active: probed
	stepHeld                   // the end: another holds the directory
	stepOpen                   // the end: epoch and source are known
)

// step is what next asks for; epoch is 0 where the kind needs none.
type step struct {
	kind  stepKind
	epoch uint64
}

// sighting is what one look at the highest claim showed.
type sighting struct {
	epoch    uint64 // 0: there is no claim
	lease    lease
	readable bool   // lease holds a sound record
	print    uint64 // fingerprint of the lease's page: differs after every renewal
	lock     lockHint
}

// lockHint is what the lock tells of the holder's process.
type lockHint int

const (
	lockUnknown lockHint = iota // no locks here: only the counter tells
	lockHeld
	lockFree
)

// survey is what a contender reads before it claims.
type survey struct {
	floor   uint64 // 0: none, or unreadable
	active  bool   // at least one epoch, from the floor on, was active
	journal uint64 // highest epoch named by a journal segment
	above   uint64 // highest epoch named elsewhere
}

// maxGap bounds how many numbers a contender claims only to get above an epoch
// named elsewhere. Claims have no gaps, so each of them is a directory.
const maxGap = 1024

// reason is why a holder is taken to be gone.
type reason int

const (
	reasonNone     reason = iota
	reasonEmpty           // nobody ever held the directory
	reasonReleased        // the holder gave the epoch up
	reasonUnlocked        // the lock is free: its process is gone
	reasonStill           // the counter stands still: host, network or process
)

func (r reason) String() string {
	return [...]string{"the holder lives", "the directory is empty", "the holder gave up", "the holder's process is gone", "the holder's lease stands still"}[r]
}

// readiness is what a node knows of itself when it looks at the holder.
type readiness struct {
	fit   bool          // nothing speaks against its taking over
	delay time.Duration // how long others are let go first
}

func (c *contest) next() step { return c.step }

// looked takes what was seen of the highest claim at now, in whatever state it
// is, and decides whether its holder may still live and whether it is r's turn.
func (c *contest) looked(now time.Time, s sighting, r readiness) {
	renewed := s.epoch == c.holder.epoch && s.print != c.holder.print
	if renewed || s.epoch != c.holder.epoch {
		c.since = now
	}
	changed := s.epoch != c.holder.epoch
	c.holder = s
	turn := c.gone(now.Sub(c.since))
	if changed || turn == reasonNone || c.turn == reasonNone {
		c.turned = now
	}
	c.turn = turn
	switch {
	case turn != reasonNone && r.fit && now.Sub(c.turned) >= r.delay:
		c.step = step{kind: stepSurvey}
	case turn == reasonNone && !c.standby && (renewed || s.lock == lockHeld):
		c.step = step{kind: stepHeld}
	default:
		c.step = step{kind: stepWait}
	}
}

// gone tells why the holder is taken to be gone, given for how long its counter
// has stood still.
//
// Only a standby overrules a lock that is held: whoever started a second broker by
// mistake is told so, and a stopped process is not robbed by an accident.
func (c *contest) gone(still time.Duration) reason {
	s, patience, renewals := &c.holder, c.patience, 2*c.patience/5
	if s.readable && s.lease.ttl > 0 {
		// The holder dies by its own ttl, not by ours.
		patience, renewals = s.lease.ttl+s.lease.ttl/10, 2*s.lease.ttl/5
	}
	switch {
	case s.epoch == 0:
		return reasonEmpty
	case s.readable && s.lease.state.over():
		return reasonReleased
	case s.lock == lockFree && (!c.doubtLocks || still >= renewals):
		return reasonUnlocked
	case still >= patience && (c.standby || s.lock != lockHeld):
		return reasonStill
	}
	return reasonNone
}

// unfit tells that the last check before the claim failed.
func (c *contest) unfit() { c.step = step{kind: stepWait} }

func (c *contest) waited() { c.step = step{kind: stepLook} }

// surveyed refuses a directory whose parts contradict each other, before a
// number is spent on it.
//
// A journal segment of an epoch that was claimed but never active is no
// contradiction: its writer died before it could promise. A segment of an epoch
// that ha/ does not know is: with that claim a lineage is missing, and whatever
// was promised in it.
func (c *contest) surveyed(s survey) error {
	highest := c.holder.epoch
	switch {
	case s.journal > highest:
		return fmt.Errorf("%w: the journal has segments of epoch %d, but the highest claim in ha/ is %d: ha/ was removed or is from an older copy; restore it together with the journal, or see what baton ha repair can make anew", ErrDamage, s.journal, highest)
	case s.floor > highest:
		return fmt.Errorf("%w: ha/floor names epoch %d, but the highest claim in ha/ is %d: claims were removed or are from an older copy; restore ha/ as a whole", ErrDamage, s.floor, highest)
	case s.above > highest+maxGap:
		return fmt.Errorf("%w: an index names epoch %d, but the highest claim in ha/ is %d: it belongs to another store, or ha/ is from a much older copy", ErrDamage, s.above, highest)
	}
	c.floor, c.above = s.floor, s.above
	if !s.active {
		if err := c.sourceless(); err != nil {
			return err
		}
	}
	c.step = step{stepClaim, highest + 1}
	return nil
}

// overtaken tells that there are claims above the one that was looked at.
func (c *contest) overtaken() { c.step = step{kind: stepLook} }

// claimed takes whether the claim of step.epoch succeeded. If another was
// faster, all that was seen is out of date.
func (c *contest) claimed(ok bool) {
	switch e := c.step.epoch; {
	case !ok:
		c.step = step{kind: stepLook}
	case e <= c.above:
		c.step = step{stepClaim, e + 1}
	default:
		c.epoch = e
		c.step = step{stepMark, max(c.floor, 1)}
		if c.step.epoch == e {
			c.step = step{kind: stepOpen}
		}
	}
}

func (c *contest) marked() {
	c.step.epoch++
	if c.step.epoch == c.epoch {
		c.step = step{stepProbe, c.epoch - 1}
	}
}

// probed takes whether step.epoch was active, and goes down to the floor until
// one was.
func (c *contest) probed(active bool) error {
	if active {
		c.source = c.step.epoch
		c.step = step{kind: stepOpen}
		return nil
	}
	c.step.epoch--
	if c.step.epoch >= max(c.floor, 1) {
		return nil
	}
	c.step = step{kind: stepOpen}
	return c.sourceless()
}

// sourceless tells whether a store without an active epoch may be taken for an
// empty one: not with a floor, which only an active epoch writes.
func (c *contest) sourceless() error {
	if c.floor == 0 {
		return nil
	}
	return fmt.Errorf("%w: ha/floor says that epoch %d was active, but no active file from there on holds a lineage: restore ha/ from a copy", ErrDamage, c.floor)
}
