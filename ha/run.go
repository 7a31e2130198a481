package ha

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// run is the life of a node: contend for an epoch, serve it, give it back.
func (n *node) run(ctx context.Context, follow func(context.Context) error, active func(context.Context, *Tenure) error) error {
	if err := n.prepare(); err != nil {
		return err
	}
	c := contender{
		node:    n,
		contest: contest{standby: n.opt.Standby, patience: n.opt.TTL + n.opt.TTL/10},
		waiting: waiting{node: n, follow: follow},
	}
	t, err := c.contend(ctx)
	if err != nil {
		return err
	}
	n.log.Info("epoch claimed",
		slog.Uint64("epoch", t.epoch), slog.String("node", n.opt.Node), slog.Uint64("source", t.source.Epoch))
	return n.serve(ctx, t, active)
}

// contender carries out the steps of a contest.
type contender struct {
	node    *node
	contest contest
	waiting waiting

	tenure  *Tenure // nil before the claim
	seals   int     // length of the newest lineage when surveyed
	lineage []Seal  // of the epoch probed last
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
	}
	err = errors.Join(err, c.waiting.stop())
	if err == nil {
		return c.tenure, nil
	}
	if c.tenure != nil {
		err = errors.Join(err, c.tenure.end(stateFailed))
	}
	return nil, err
}

// do carries out one step and reports it to the contest.
func (c *contender) do(ctx context.Context, s step) (err error) {
	switch n := c.node; s.kind {
	case stepLook:
		var seen sighting
		if seen, err = n.look(c.contest.holder.epoch); err == nil {
			c.contest.looked(time.Now(), seen)
		}
	case stepWait:
		if err = c.waiting.wait(ctx, c.contest.holder); err == nil {
			c.contest.waited()
		}
	case stepHeld:
		return n.held(c.contest.holder)
	case stepSurvey:
		return c.survey()
	case stepClaim:
		if err = c.claim(ctx, s.epoch); err == nil {
			c.contest.claimed(c.tenure != nil)
		}
	case stepMark:
		if err = n.mark(ctx, s.epoch, c.contest.epoch); err == nil {
			c.contest.marked()
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

// survey is made when nobody seems to live any more, so following ends first.
func (c *contender) survey() error {
	if err := c.waiting.stop(); err != nil {
		return err
	}
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
		if err := before.end(stateFailed); err != nil {
			return err
		}
	}
	if c.tenure, err = c.node.take(ctx, e, c.seals); c.tenure != nil {
		c.tenure.start()
	}
	return err
}

// held tells who holds the directory, and what to do about it.
func (n *node) held(s sighting) error {
	who := "a node whose lease is unreadable"
	if s.readable {
		who = fmt.Sprintf("node %q (pid %d", s.lease.node, s.lease.pid)
		if len(s.lease.advertise) > 0 {
			who += ", " + strings.Join(s.lease.advertise, ", ")
		}
		who += ")"
	}
	return fmt.Errorf("%w: %s holds epoch %d in %s; stop it, choose another directory, or start with --ha to stand by", ErrHeld, who, s.epoch, n.opt.Dir)
}

// serve hands the tenure to active, and gives the epoch back in the state that
// active's return tells.
func (n *node) serve(ctx context.Context, t *Tenure, active func(context.Context, *Tenure) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-t.Lost():
			cancel(t.Err())
		case <-ctx.Done():
		}
	})
	err := active(ctx, t)
	cancel(nil)
	watch.Wait()

	if lost := t.Err(); lost != nil {
		if errors.Is(err, ErrLost) || errors.Is(err, context.Canceled) {
			err = nil
		}
		return errors.Join(lost, err, t.abandon())
	}
	state := stateReleased
	if err != nil {
		state = stateFailed
	}
	endErr := t.end(state)
	n.log.Info("epoch given back", slog.Uint64("epoch", t.epoch), slog.String("state", state.String()))
	return errors.Join(err, endErr)
}

// waiting is the time in which another broker lives: follow runs in it.
type waiting struct {
	node   *node
	follow func(context.Context) error

	epoch  uint64 // whose holder was announced
	cancel context.CancelFunc
	done   chan error // follow's error
}

// wait lets some time pass. It ends early when ctx does or follow fails.
func (w *waiting) wait(ctx context.Context, holder sighting) error {
	w.announce(holder)
	if w.cancel == nil && w.follow != nil && w.node.opt.Standby {
		var following context.Context
		following, w.cancel = context.WithCancel(ctx)
		w.done = make(chan error, 1)
		go func() { w.done <- w.follow(following) }()
	}
	d := w.node.opt.TTL / 10
	if w.node.fresh == Cached {
		d = min(d, lookEvery)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-w.done:
		w.done <- nil // for stop; having nothing to follow is no reason to stop waiting
		if err != nil {
			return fmt.Errorf("follow epoch %d: %w", holder.epoch, err)
		}
		return pause(ctx, d)
	}
}

// announce logs, once for each holder, that this node waits for it.
func (w *waiting) announce(holder sighting) {
	if w.epoch == holder.epoch {
		return
	}
	w.epoch = holder.epoch
	if !w.node.opt.Standby {
		w.node.log.Info("watching whether the last holder still lives",
			slog.Uint64("epoch", holder.epoch), slog.String("holder", holder.lease.node))
		return
	}
	w.node.log.Info("standing by",
		slog.Uint64("epoch", holder.epoch), slog.String("holder", holder.lease.node), slog.Any("addresses", holder.lease.advertise))
}

// stop ends follow and waits for it.
func (w *waiting) stop() error {
	if w.cancel == nil {
		return nil
	}
	w.cancel()
	w.cancel = nil
	err := <-w.done
	w.done = nil
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("follow epoch %d: %w", w.epoch, err)
	}
	return nil
}
