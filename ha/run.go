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
func (n *node) run(ctx context.Context, follow func(context.Context, *Standby) error, active func(context.Context, *Tenure) error) error {
	if err := n.prepare(); err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	c := contender{
		node:    n,
		contest: contest{standby: n.opt.Standby, patience: n.opt.TTL + n.opt.TTL/10, doubtLocks: n.opt.DoubtLocks},
		waiting: waiting{node: n, follow: follow},
	}
	if n.opt.Standby {
		standby, err := n.enrol(ctx, stop)
		if err != nil {
			return err
		}
		defer standby.leave()
		c.standby, c.waiting.standby = standby, standby
	}
	t, err := c.contend(ctx)
	if err != nil {
		return err
	}
	n.log.Info("epoch claimed",
		slog.Uint64("epoch", t.epoch), slog.String("node", n.opt.Node), slog.Uint64("source", t.source.Epoch), slog.String("why", t.timing.Why))
	return n.serve(ctx, t, active)
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
	return errors.Join(err, t.end(state))
}

// waiting is the time in which another broker lives: follow runs in it.
type waiting struct {
	node    *node
	standby *Standby
	follow  func(context.Context, *Standby) error

	epoch  uint64 // whose holder was announced
	cancel context.CancelFunc
	done   chan error // follow's error

	watched uint64          // whose claim is watched, if that is possible; 0: none
	signs   <-chan struct{} // of it; nil: it is not
	unwatch func()
}

// wait lets some time pass. It ends early when ctx does or follow fails.
func (w *waiting) wait(ctx context.Context, holder sighting) error {
	w.announce(holder)
	if w.cancel == nil && w.follow != nil && w.standby != nil {
		var following context.Context
		following, w.cancel = context.WithCancel(ctx)
		w.done = make(chan error, 1)
		go func() { w.done <- w.follow(following, w.standby) }()
	}
	d := w.node.opt.TTL / 10
	if w.node.fresh == Cached {
		d = min(d, lookEvery)
	}
	w.watch(holder.epoch)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-w.signs:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-w.done:
		w.done <- nil // for stop
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("follow epoch %d: %w", holder.epoch, err)
		}
		return pause(ctx, d) // having nothing to follow is no reason to stop waiting
	}
}

// watch has the kernel tell of what epoch's holder does, where it can: otherwise the
// next look shows it. An end of the wait must call unwatchHolder.
func (w *waiting) watch(epoch uint64) {
	if w.watched == epoch || w.standby == nil || w.node.fresh != Cached {
		return
	}
	w.unwatchHolder()
	w.watched = epoch
	files, ok := w.node.files.(Watcher)
	if !ok || epoch == 0 {
		return
	}
	var err error
	if w.signs, w.unwatch, err = files.Watch(w.node.path(epoch, "lease"), w.node.path(epoch, "lock")); err != nil {
		w.node.log.Debug("the holder is not watched, only looked at", slog.Uint64("epoch", epoch), slog.Any("err", err))
	}
}

func (w *waiting) unwatchHolder() {
	if w.unwatch != nil {
		w.unwatch()
	}
	w.watched, w.signs, w.unwatch = 0, nil, nil
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
	w.unwatchHolder()
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
