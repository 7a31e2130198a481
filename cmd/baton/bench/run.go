package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"
)

const (
	// backlog bounds the messages between producer and consumer: enough that
	// neither waits for the other's scheduling, small enough to stay in memory.
	backlog = 10_000
	// warmUpLimit is how long a load runs before it is measured, or as long as it is
	// measured if that is shorter: connections and code become warm, and the backlog
	// fills, which would otherwise count as published.
	warmUpLimit = 500 * time.Millisecond
	// latencyTotal bounds the latency row, which nobody consumes.
	latencyTotal = 200_000
	// stallLimit is how much longer than asked for a run may take before it is
	// given up.
	stallLimit = 30 * time.Second
)

// Options say what to run, and against what.
type Options struct {
	URL         string        // of the broker, amqp://user:password@host:port/vhost
	PID         int           // of the broker's process; 0: its CPU and memory are not measured
	Client      string        // "raw" or "amqp091"
	Scenario    string        // comma-separated names, or "all"
	Size        int           // bytes of a body; 0: each scenario's own
	Duration    time.Duration // of the measured part of a run
	Runs        int           // per row; figures are medians
	MaxMessages int64         // published by one run at most
}

func (o Options) warmUp() time.Duration { return min(warmUpLimit, o.Duration) }

func (o Options) validate() error {
	switch {
	case o.Size < 0 || o.Size > 64<<20:
		return fmt.Errorf("size %d is not between 0 and 64 MiB", o.Size)
	case o.Duration < 100*time.Millisecond || o.Duration > 10*time.Minute:
		return fmt.Errorf("duration %s is not between 100ms and 10m", o.Duration)
	case o.Runs < 1 || o.Runs > 100:
		return fmt.Errorf("runs %d is not between 1 and 100", o.Runs)
	case o.MaxMessages < 1:
		return fmt.Errorf("max-messages %d is not positive", o.MaxMessages)
	case o.PID < 0:
		return fmt.Errorf("pid %d is negative", o.PID)
	}
	if o.PID > 0 {
		if _, err := readProc(o.PID); err != nil && !errors.Is(err, errNoProc) {
			return err
		}
	}
	return nil
}

// Run executes the selected rows one after the other and writes a progress line for
// each run.
func Run(ctx context.Context, o Options, progress io.Writer) (Report, error) {
	if err := o.validate(); err != nil {
		return Report{}, err
	}
	rows, err := selectScenarios(o.Scenario, o.Size)
	if err != nil {
		return Report{}, err
	}
	cl, err := newClient(o.Client, o.URL)
	if err != nil {
		return Report{}, err
	}
	rep := newReport(o)
	loads := make([]load, 0, len(rows))
	for _, s := range rows {
		loads = append(loads, load{
			Row: Row{ID: s.ID, Scenario: s.Note, Size: s.Size},
			run: func(ctx context.Context) (Figures, error) { return runOnce(ctx, o, cl, s, &rep) },
		})
	}
	return rep, measureRows(ctx, o, loads, &rep, progress)
}

// load is a row that is yet to be measured.
type load struct {
	Row
	run func(context.Context) (Figures, error)
}

// measureRows runs the loads one after the other and adds them to the report.
func measureRows(ctx context.Context, o Options, loads []load, rep *Report, progress io.Writer) error {
	for _, l := range loads {
		row := l.Row
		for i := range o.Runs {
			fig, err := l.run(ctx)
			if err != nil {
				return fmt.Errorf("%s, run %d of %d: %w", row.title(), i+1, o.Runs, err)
			}
			row.Runs = append(row.Runs, fig)
			// A progress line that cannot be written is not worth a measurement.
			_, _ = fmt.Fprintf(progress, "%s: run %d of %d: %s msg/s, broker CPU %s µs/msg, others %s\n",
				row.title(), i+1, o.Runs, si(fig.Rate), dash(fig.BrokerCPU), percent(fig.OtherLoad))
		}
		row.Median = medianFigures(row.Runs)
		rep.Rows = append(rep.Rows, row)
	}
	rep.annotate()
	return nil
}

// runOnce makes the queue, runs the load and deletes the queue again.
func runOnce(ctx context.Context, o Options, cl client, s scenario, rep *Report) (fig Figures, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.warmUp()+o.Duration+stallLimit,
		errors.New("the broker stalled: the run took much longer than was asked for"))
	defer cancel()
	queue := "baton-bench-" + rand.Text()
	if err := declare(o.URL, queue, s.Durable, rep); err != nil {
		return Figures{}, err
	}
	// A connection of its own deletes the queue: the one that declared it may have
	// ended with the broker's patience.
	defer func() { err = errors.Join(firstCause(ctx, err), remove(o.URL, queue)) }()

	m := message{queue: queue, body: randomBody(s.Size), persistent: s.Durable}
	if s.Confirm == confirmEach {
		return runLatency(ctx, o, cl, s, m)
	}
	return runStream(ctx, o, cl, s, m)
}

// randomBody is incompressible, so that a broker that compresses gains nothing, and
// the same in every run.
func randomBody(size int) []byte {
	body := make([]byte, size)
	src := mrand.NewChaCha8([32]byte{})
	_, _ = src.Read(body) // never fails
	return body
}

func declare(url, queue string, durable bool, rep *Report) error {
	lc, err := libraryClient{url: url}.dial()
	if err != nil {
		return err
	}
	rep.identify(lc.conn.Properties)
	_, err = lc.ch.QueueDeclare(queue, durable, false, false, false, amqp.Table{})
	if err != nil {
		err = fmt.Errorf("declare queue %s: %w", queue, err)
	}
	return errors.Join(err, lc.Close())
}

func remove(url, queue string) error {
	lc, err := libraryClient{url: url}.dial()
	if err != nil {
		return fmt.Errorf("delete queue %s: %w", queue, err)
	}
	_, err = lc.ch.QueueDelete(queue, false, false, false)
	if err != nil {
		err = fmt.Errorf("delete queue %s: %w", queue, err)
	}
	return errors.Join(err, lc.Close())
}

// errMeasured ends a run that went well.
var errMeasured = errors.New("measured")

// runStream measures a producer and a consumer at full speed.
func runStream(ctx context.Context, o Options, cl client, s scenario, m message) (Figures, error) {
	cons, err := cl.consumer(ctx, consumeSpec{queue: m.queue, prefetch: s.Prefetch, ackEvery: s.AckEvery, bodySize: s.Size})
	if err != nil {
		return Figures{}, err
	}
	prod, err := cl.producer(ctx, m, s.Confirm)
	if err != nil {
		return Figures{}, errors.Join(err, cons.Close())
	}
	f := newFlow(bounds{window: s.Window, backlog: backlog, total: o.MaxMessages})
	return stream(ctx, o, f, prod, cons, s.Size)
}

// stream drives a producer and a consumer of messages of one size as fast as the
// flow lets them, measures, and closes both.
func stream(ctx context.Context, o Options, f *flow, prod streamProducer, cons consumer, size int) (Figures, error) {
	batch := max(1, blockBytes/(size+64))
	var fig Figures
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return cons.deliveries(f.delivered) })
	g.Go(func() error { return prod.confirms(f.confirmed) })
	g.Go(func() error {
		for {
			n := f.reserve(batch)
			if n == 0 {
				return nil
			}
			if err := prod.publish(n); err != nil {
				return err
			}
		}
	})
	g.Go(func() error {
		var err error
		fig, err = measureStream(gctx, o, f)
		return err
	})
	// Whatever ended first ends the rest: the flow wakes the producer, the closed
	// sockets wake the readers.
	g.Go(func() error {
		<-gctx.Done()
		f.close()
		return errors.Join(prod.Close(), cons.Close())
	})
	if err := g.Wait(); !errors.Is(err, errMeasured) {
		return Figures{}, err
	}
	return fig, nil
}

// firstCause prefers the reason why ctx ended over an error that followed from it.
func firstCause(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// stalledTurns is how often the measured time begins anew while nothing at all
// arrives: a broker, or the machine, that stalls for so long shows in the rate.
const stalledTurns = 20

// measureStream waits out the warm-up and the measured time, and returns
// errMeasured with the figures.
func measureStream(ctx context.Context, o Options, f *flow) (Figures, error) {
	if err := pause(ctx, o.warmUp(), f.spent); err != nil {
		return Figures{}, err
	}
	p := startProbe(o.PID)
	start, before := time.Now(), f.snapshot()
	var err error
	after := before
	for turn := 0; turn < stalledTurns && err == nil && after.delivered == before.delivered; turn++ {
		err = pause(ctx, o.Duration, f.spent)
		after = f.snapshot()
	}
	took, used := time.Since(start), p.stop()
	if err != nil {
		return Figures{}, err
	}
	if after.delivered == before.delivered {
		return Figures{}, errNothing
	}
	return newFigures(after.delivered-before.delivered, took, used), errMeasured
}

var errNothing = errors.New("no message was measured: the broker delivered none, or --max-messages was reached during the warm-up")

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

// runLatency measures one publish at a time, each confirmed before the next.
func runLatency(ctx context.Context, o Options, cl client, s scenario, m message) (Figures, error) {
	prod, err := cl.producer(ctx, m, s.Confirm)
	if err != nil {
		return Figures{}, err
	}
	release := context.AfterFunc(ctx, func() { _ = prod.Close() }) // wakes a waiting roundTrip
	defer release()

	limit := min(o.MaxMessages, latencyTotal)
	for start := time.Now(); time.Since(start) < o.warmUp() && limit > 0; limit-- {
		if err := prod.roundTrip(); err != nil {
			return Figures{}, errors.Join(err, prod.Close())
		}
	}
	var took []time.Duration
	p := startProbe(o.PID)
	start := time.Now()
	now := start
	for now.Sub(start) < o.Duration && limit > 0 {
		if err = prod.roundTrip(); err != nil {
			break
		}
		sent := now
		now = time.Now()
		took = append(took, now.Sub(sent))
		limit--
	}
	used := p.stop()
	if err != nil {
		return Figures{}, errors.Join(err, prod.Close())
	}
	if len(took) == 0 {
		return Figures{}, errNothing
	}
	fig := newFigures(int64(len(took)), now.Sub(start), used)
	fig.P50, fig.P99 = percentiles(took)
	return fig, prod.Close()
}
