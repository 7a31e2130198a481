package bench

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
)

// lane is a flow with those who fill and empty it. Lanes of one run know nothing of
// one another.
type lane struct {
	flow      *flow
	producers []streamProducer
	consumers []consumer
	batch     int       // messages that one write takes at most
	confirmed func(int) // is told of confirms besides the flow; nil: nobody
}

// start begins to publish and to read; all of it ends with the lane's connections.
func (l lane) start(g *errgroup.Group) {
	report := l.flow.confirmed
	if l.confirmed != nil {
		report = func(n int) {
			l.confirmed(n)
			l.flow.confirmed(n)
		}
	}
	for _, c := range l.consumers {
		g.Go(func() error { return c.deliveries(l.flow.delivered) })
	}
	for _, p := range l.producers {
		g.Go(func() error { return p.confirms(report) })
		g.Go(func() error {
			for {
				n := l.flow.reserve(l.batch)
				if n == 0 {
					return nil
				}
				if err := p.publish(n); err != nil {
					return err
				}
			}
		})
	}
}

func (l lane) close() error {
	l.flow.close()
	var errs []error
	for _, p := range l.producers {
		errs = append(errs, p.Close())
	}
	for _, c := range l.consumers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// closeLanes is for a run that did not begin.
func closeLanes(lanes []lane, err error) error {
	errs := []error{err}
	for _, l := range lanes {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}

// batchOf is how many messages of a size one write takes at most.
func batchOf(size int) int { return max(1, blockBytes/(size+64)) }

// errMeasured ends a run that went well.
var errMeasured = errors.New("measured")

// drive has the lanes go as fast as their flows let them until measure returns, and
// closes them.
func drive(ctx context.Context, lanes []lane, measure func(context.Context) error) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, l := range lanes {
		l.start(g)
	}
	g.Go(func() error {
		if err := measure(gctx); err != nil {
			return err
		}
		return errMeasured
	})
	// Whatever ended first ends the rest: the flow wakes the producers, the closed
	// sockets wake the readers.
	g.Go(func() error {
		<-gctx.Done()
		return closeLanes(lanes, nil)
	})
	if err := g.Wait(); !errors.Is(err, errMeasured) {
		return err
	}
	return nil
}

// stream measures what the lanes deliver during the run's time.
func (r *run) stream(ctx context.Context, lanes []lane) (fig Figures, err error) {
	total := func() (c counts) {
		for _, l := range lanes {
			s := l.flow.snapshot()
			c.delivered += s.delivered
			c.dropped += s.dropped
		}
		return c
	}
	r.watch(func() int64 { return total().delivered })
	err = drive(ctx, lanes, func(ctx context.Context) error {
		var err error
		fig, err = r.during(ctx, lanes[0].flow.spent, func() int64 { return total().delivered })
		return err
	})
	fig.Dropped = total().dropped
	return fig, err
}

// stalledTurns is how often the measured time begins anew while nothing at all
// arrives: a broker, or the machine, that stalls for so long shows in the rate.
const stalledTurns = 20

// during waits out the warm-up and the measured time, and returns the figures of what
// done counted meanwhile.
func (r *run) during(ctx context.Context, spent <-chan struct{}, done func() int64) (Figures, error) {
	if err := pause(ctx, r.warmUp(), spent); err != nil {
		return Figures{}, err
	}
	p := startProbe(r.on.PID)
	start, before := time.Now(), done()
	var err error
	after := before
	for turn := 0; turn < stalledTurns && err == nil && after == before; turn++ {
		err = pause(ctx, r.Duration, spent)
		after = done()
	}
	took, used := time.Since(start), p.stop()
	if err != nil {
		return Figures{}, err
	}
	if after == before {
		return Figures{}, errNothing
	}
	return newFigures(after-before, took, used), nil
}

var errNothing = errors.New("no message was measured: the broker delivered none, or --max-messages was reached during the warm-up")

// quietLimitOfMany is how long nothing must arrive before the rest of a number of
// messages is given up, where a broker may have dropped some.
const quietLimitOfMany = 3 * time.Second

// exhaust lets a lane go on until its flow has reached what it is for, and returns the
// figures of as many messages as done counts then. With mayDrop, it also ends when
// nothing has arrived for a while; the time is then that of the last arrival.
func (r *run) exhaust(ctx context.Context, l lane, done func(counts) int64, mayDrop bool) (fig Figures, err error) {
	r.watch(func() int64 { return done(l.flow.snapshot()) })
	p := startProbe(r.on.PID)
	start := time.Now()
	last := start
	err = drive(ctx, []lane{l}, func(ctx context.Context) error {
		tick := time.NewTicker(quietLimitOfMany / 10)
		defer tick.Stop()
		var seen counts
		for {
			select {
			case <-l.flow.reached:
				last = time.Now()
				return nil
			case now := <-tick.C:
				if c := l.flow.snapshot(); c != seen {
					seen, last = c, now
				} else if mayDrop && now.Sub(last) >= quietLimitOfMany {
					return nil
				}
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	})
	used := p.stop()
	if err != nil {
		return Figures{}, err
	}
	n := done(l.flow.snapshot())
	if n == 0 {
		return Figures{}, errNothing
	}
	return newFigures(n, last.Sub(start), used), nil
}

// pause waits for d, or until spent or ctx ends it early.
func pause(ctx context.Context, d time.Duration, spent <-chan struct{}) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-spent:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
