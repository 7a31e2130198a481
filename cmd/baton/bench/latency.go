package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"
)

// latencyTotal bounds the latency rows, which nobody consumes.
const latencyTotal = 1_000_000

// latencies are durations, kept to three significant digits. Those of more than a
// minute count as a minute.
type latencies struct {
	h *hdrhistogram.Histogram
}

const longestLatency = time.Minute

func newLatencies() latencies {
	return latencies{hdrhistogram.New(100, longestLatency.Nanoseconds(), 3)}
}

func (l latencies) record(d time.Duration) {
	// A value within the bounds is never refused.
	_ = l.h.RecordValue(max(0, min(d, longestLatency)).Nanoseconds())
}

// quantile returns that of so many percent in microseconds, or nil if nothing was recorded.
func (l latencies) quantile(percent float64) *float64 {
	if l.h.TotalCount() == 0 {
		return nil
	}
	v := float64(l.h.ValueAtQuantile(percent)) / 1e3
	return &v
}

// into fills the figures that latencies have.
func (l latencies) into(f *Figures) {
	f.P50, f.P99, f.P999, f.Longest = l.quantile(50), l.quantile(99), l.quantile(99.9), l.quantile(100)
}

// latencyRow has publishers publish one persistent message at a time, each confirmed
// before the next. There is no consumer: with one, a broker could confirm a message
// that was consumed meanwhile without ever storing it.
func latencyRow(name string, publishers, size int) row {
	about := "publish, wait for the confirm, repeat"
	if publishers > 1 {
		about = fmt.Sprintf("the same, %d publishers", publishers)
	}
	l := amqpLoad{size: size, durable: true, confirm: confirmEach, pairs: 1}
	return single(line{name: name, about: about, size: size}, overAMQP, func(ctx context.Context, r *run) (fig Figures, err error) {
		routes, undo, err := l.declare(ctx, r)
		defer func() { err = errors.Join(firstCause(ctx, err), undo()) }()
		if err != nil {
			return Figures{}, err
		}
		m := message{keys: routes[0].keys, body: randomBody(size), persistent: true}
		return roundTrips(ctx, r, m, publishers)
	})
}

// roundTrips measures how long the confirms take that publishers wait for. A bare file
// is measured just before and after, if the options name a directory for it.
func roundTrips(ctx context.Context, r *run, m message, publishers int) (fig Figures, err error) {
	bare, err := r.bareSync(ctx)
	if err != nil {
		return Figures{}, err
	}
	t := trips{from: time.Now().Add(r.warmUp()), limit: min(r.MaxMessages, latencyTotal) / int64(publishers), spent: make(chan struct{})}
	r.watch(t.done.Load)
	var all []producer
	for range publishers {
		p, err := r.on.amqp.producer(ctx, m, confirmEach)
		if err != nil {
			return Figures{}, errors.Join(err, closeProducers(all))
		}
		all = append(all, p)
	}
	found := make([]latencies, publishers)
	g, gctx := errgroup.WithContext(ctx)
	for i, p := range all {
		found[i] = newLatencies()
		g.Go(func() error { return t.trip(p, found[i]) })
	}
	g.Go(func() error {
		if fig, err = r.during(gctx, t.spent, t.done.Load); err != nil {
			return err
		}
		return errMeasured
	})
	g.Go(func() error {
		<-gctx.Done()
		t.over.Store(true)
		return closeProducers(all) // wakes a waiting round trip
	})
	if err := g.Wait(); !errors.Is(err, errMeasured) {
		return Figures{}, err
	}
	for _, l := range found[1:] {
		found[0].h.Merge(l.h)
	}
	found[0].into(&fig)
	if err := bare.again(ctx); err != nil {
		return Figures{}, err
	}
	fig.Bare = bare.quantile(50)
	return fig, nil
}

func closeProducers(all []producer) error {
	var errs []error
	for _, p := range all {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// trips are what several publishers share that publish one message at a time.
type trips struct {
	from  time.Time // latencies count that began later
	limit int64     // messages of each publisher
	done  atomic.Int64
	over  atomic.Bool
	spent chan struct{} // closed when a publisher has reached its limit
	first atomic.Bool   // spent is closed
}

func (t *trips) trip(p producer, into latencies) error {
	for now, n := time.Now(), int64(0); n < t.limit && !t.over.Load(); n++ {
		if err := p.roundTrip(); err != nil {
			return err
		}
		sent := now
		now = time.Now()
		t.done.Add(1)
		if !sent.Before(t.from) {
			into.record(now.Sub(sent))
		}
	}
	if t.first.CompareAndSwap(false, true) {
		close(t.spent)
	}
	return nil
}
