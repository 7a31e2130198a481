package ha

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/batonmq/baton/persistence/failpoint"
)

// contender carries out the steps of a contest.
type contender struct {
	node    *node
	contest contest
	waiting waiting
	standby *Standby // nil without Options.Standby

	tenure  *Tenure   // nil before the claim
	spare   *filled   // a claim in store, nil: none
	refill  time.Time // when to try again to make one
	seals   int       // length of the newest lineage when surveyed
	lineage []Seal    // of the epoch probed last
	marked  []string  // fences that were marked
	damped  damping
	stuck   string   // why this node let its turn pass, as logged last
	timing  Takeover // of the turn under way
	lap     time.Time
}

// contend returns once an epoch is ours and its source is known. The tenure's
// renewer runs from the claim on.
func (c *contender) contend(ctx context.Context) (*Tenure, error) {
	var err error
	for err == nil && c.contest.next().kind != stepOpen {
		err = c.do(ctx, c.contest.next())
	}
	if e := c.contest.source; err == nil && e != 0 {
		c.tenure.source, err = c.node.sourceOf(e, c.lineage)
		c.tenure.hasSource = true
		c.tenure.source.Silence = max(c.tenure.source.Silence, time.Since(c.contest.since))
	}
	if err == nil {
		// Nothing of this epoch may become durable before its claim has: a journal
		// whose epoch ha/ does not know is damage.
		err = c.node.settle(append(c.marked, c.node.haDir())...)
	}
	if err == nil {
		err = failpoint.At(failpoint.TakeoverChosen)
	}
	err = errors.Join(err, c.waiting.stop())
	c.dropSpare()
	if err == nil {
		c.clock(&c.timing.Mark)
		c.tenure.timing, c.tenure.lap = c.timing, c.lap
		return c.tenure, nil
	}
	if c.tenure != nil {
		err = errors.Join(err, c.tenure.end(stateFailed))
	}
	return nil, err
}

// clock adds the time since the last lap to one part of the takeover's.
func (c *contender) clock(part *time.Duration) {
	now := time.Now()
	*part += now.Sub(c.lap)
	c.lap = now
}

// do carries out one step and reports it to the contest.
func (c *contender) do(ctx context.Context, s step) (err error) {
	switch n := c.node; s.kind {
	case stepLook:
		return c.look()
	case stepWait:
		c.keepSpare()
		if err = c.waiting.wait(ctx, c.contest.holder); err == nil {
			c.contest.waited()
		}
	case stepHeld:
		return n.held(c.contest.holder)
	case stepSurvey:
		return c.survey(ctx)
	case stepClaim:
		if err = c.claim(ctx, s.epoch); err == nil {
			c.contest.claimed(c.tenure != nil)
			if c.tenure != nil {
				err = failpoint.At(failpoint.TakeoverClaimed)
			}
		}
	case stepMark:
		if err = n.mark(ctx, s.epoch, c.contest.epoch); err == nil {
			c.marked = append(c.marked, n.path(s.epoch, "fence"))
			c.contest.marked()
			if c.contest.next().kind != stepMark {
				err = failpoint.At(failpoint.TakeoverMarked)
			}
		}
	case stepProbe:
		var active bool
		if c.lineage, active, err = n.probe(s.epoch); err == nil {
			err = c.contest.probed(active)
		}
	case stepOpen:
	}
	return err
}

func (c *contender) look() error {
	n := c.node
	begun := time.Now() // of what was seen: this process may be stopped before it judges
	seen, err := n.look(c.contest.holder.epoch)
	if err != nil {
		return err
	}
	renewed := seen.epoch == c.contest.holder.epoch && seen.print != c.contest.holder.print
	if n.opt.Standby && renewed && seen.readable && !seen.lease.state.over() && seen.lease.node == n.opt.Node {
		return c.standby.namesake(fmt.Errorf("process %d holds epoch %d", seen.lease.pid, seen.epoch))
	}
	ready := c.standby.look(seen)
	if n.opt.Standby {
		back, err := c.damped.delay(n, seen)
		if err != nil {
			return err
		}
		ready.delay = max(ready.delay, back)
		if g := n.opt.GiveWay; g != 0 && g == seen.epoch {
			ready.delay = max(ready.delay, n.opt.TTL)
		}
	}
	c.contest.looked(begun, seen, ready)
	if c.contest.turn != reasonNone && !ready.fit {
		c.letPass()
	}
	return nil
}

// letPass logs, once for each reason, that nobody holds the directory and that
// this node cannot either.
func (c *contender) letPass() {
	why := c.standby.Ineligible()
	if why == nil || errors.Is(why, errUnchecked) || c.stuck == why.Error() {
		return
	}
	c.stuck = why.Error()
	if c.standby.othersEligible() {
		c.node.log.Warn("not taking over, others can", slog.String("turn", c.contest.turn.String()), slog.Any("err", why))
		return
	}
	c.node.log.Error("nobody can take over: mend this, or another node, and it goes on at once",
		slog.String("turn", c.contest.turn.String()), slog.Any("err", why))
}

// survey is made when nobody seems to live any more, so following ends first.
func (c *contender) survey(ctx context.Context) error {
	c.timing, c.lap = Takeover{Why: c.contest.turn.String()}, time.Now()
	if c.standby != nil {
		if err := c.standby.runPreflight(ctx); err != nil {
			if ctx.Err() != nil {
				return err
			}
			c.contest.unfit()
			c.letPass()
			return nil
		}
	}
	if err := c.waiting.stop(); err != nil {
		return err
	}
	c.clock(&c.timing.Stop)
	found, seals, err := c.node.survey(c.contest.holder.epoch)
	if err != nil {
		return err
	}
	c.seals = seals
	refused := c.contest.surveyed(found)
	if refused == nil {
		return nil
	}
	// What is of a higher epoch may be of one that appeared after the look.
	seen, err := c.node.look(c.contest.holder.epoch)
	if err == nil && seen.epoch > c.contest.holder.epoch {
		c.contest.overtaken()
		return nil
	}
	return refused
}

// claim claims e and starts its renewer. A claim before it, made only to leave
// no gap below e, is given up.
func (c *contender) claim(ctx context.Context, e uint64) (err error) {
	if before := c.tenure; before != nil {
		c.tenure = nil
		c.standby.became(nil)
		if err := before.end(stateFailed); err != nil {
			return err
		}
	}
	spare := c.spare
	c.spare = nil
	if c.tenure, err = c.node.take(ctx, e, c.seals, spare); c.tenure != nil {
		c.tenure.start(c.standby)
	}
	c.clock(&c.timing.Claim)
	return err
}

// keepSpare lays a filled claim in store, so that a disk that is full later
// cannot keep this node from claiming, and so that claiming is one rename.
func (c *contender) keepSpare() {
	if c.standby == nil || c.spare != nil || time.Now().Before(c.refill) {
		return
	}
	c.refill = time.Now().Add(c.node.opt.TTL)
	src, _, err := c.standby.Source()
	if err == nil {
		c.spare, err = c.node.fill(c.node.newLease(c.contest.holder.epoch+1), len(src.Lineage)+1)
	}
	if err != nil {
		err = fmt.Errorf("lay a claim in store: %w", err)
	}
	c.standby.setSpare(err)
}

// dropSpare removes the claim in store. It was never renamed, so that its name
// leads to nothing else, in any cache.
func (c *contender) dropSpare() {
	if c.spare == nil {
		return
	}
	if err := errors.Join(c.spare.unlock(), c.node.files.Remove(c.spare.temp)); err != nil {
		c.node.log.Warn("a claim that was not used stays behind", slog.String("path", c.spare.temp), slog.Any("err", err))
	}
	c.spare = nil
}

// damping is how long a node waits that has failed to become primary, by itself or
// by its end, again and again: it counts its claims at the top that were never
// active, since what a process remembers ends with it.
type damping struct {
	epoch uint64 // the claim it is about
	wait  time.Duration
}

const maxDamping = 20 // ttls

func (d *damping) delay(n *node, seen sighting) (time.Duration, error) {
	if d.epoch == seen.epoch {
		return d.wait, nil
	}
	failures := 0
	for e := seen.epoch; e > 0 && failures < 10; e-- {
		ours, err := n.failed(e)
		if err != nil {
			return 0, err
		}
		if !ours {
			break
		}
		failures++
	}
	d.epoch, d.wait = seen.epoch, 0
	if failures > 0 {
		d.wait = min(n.opt.TTL/4<<(failures-1), maxDamping*n.opt.TTL)
		n.log.Warn("waiting before the next try to become primary, as the last ones failed",
			slog.Int("failures", failures), slog.Duration("wait", d.wait))
	}
	return d.wait, nil
}

// failed tells whether epoch e was claimed by a node of our name and never active.
func (n *node) failed(e uint64) (bool, error) {
	page, err := n.readPage(n.path(e, "lease"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	l, ok, err := decodeLease(page, n.id, e)
	if err != nil || !ok || l.node != n.opt.Node {
		return false, err
	}
	_, active, err := n.probe(e)
	return !active, err
}
