package bench

import (
	"context"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	// backlog bounds the messages between producer and consumer: enough that
	// neither waits for the other's scheduling, small enough to stay in memory.
	backlog = 10_000
	// warmUpLimit is how long a load runs before it is measured, or as long as it is
	// measured if that is shorter: connections and code become warm, and the backlog
	// fills, which would otherwise count as published.
	warmUpLimit = 500 * time.Millisecond
	// stallLimit is how much longer than asked for a run may take before it is
	// given up.
	stallLimit = 30 * time.Second
	// slowestRate is the fewest messages a second at which a load of so many
	// messages may take its time.
	slowestRate = 2000
)

// Options say what to run, and for how long.
type Options struct {
	Rows        string        // comma-separated names, or the beginnings of names before a hyphen
	Client      string        // over AMQP: "raw" or "amqp091"
	V5          bool          // MQTT 5.0 instead of 3.1.1
	Size        int           // bytes of a body; 0: each row's own
	Duration    time.Duration // of the measured part of a run
	Runs        int           // per row; figures are medians
	MaxMessages int64         // published by one run at most

	Backlog     int // messages of the rows that fill a queue and drain it
	Offline     int // messages of the rows for a session that is offline
	Bindings    int // of the row with a topic exchange
	PerSecond   int // messages of the rows at a fixed rate
	Connections int // of the row with silent connections

	// SyncDir is a directory in which a bare file is synced beside the latency rows;
	// "": none is.
	SyncDir string
}

// defaultOptions are those of the commands' flags.
func defaultOptions() Options {
	return Options{
		Client: clientRaw, Duration: 3 * time.Second, Runs: 1, MaxMessages: 20_000_000,
		Backlog: 1_000_000, Offline: 100_000, Bindings: 10_000, PerSecond: 5000, Connections: 1000,
	}
}

func (o Options) warmUp() time.Duration { return min(warmUpLimit, o.Duration) }

func (o Options) version() mqttVersion {
	if o.V5 {
		return mqtt5
	}
	return mqtt311
}

func (o Options) validate() error {
	upTo := func(high int, what string, n int) error {
		if n < 1 || n > high {
			return fmt.Errorf("%s %d is not between 1 and %d", what, n, high)
		}
		return nil
	}
	switch {
	case o.Size < 0 || o.Size > 64<<20:
		return fmt.Errorf("size %d is not between 0 and 64 MiB", o.Size)
	case o.Duration < 100*time.Millisecond || o.Duration > 10*time.Minute:
		return fmt.Errorf("duration %s is not between 100ms and 10m", o.Duration)
	case o.MaxMessages < 1:
		return fmt.Errorf("max-messages %d is not positive", o.MaxMessages)
	}
	return errors.Join(
		upTo(100, "runs", o.Runs),
		upTo(100_000_000, "backlog", o.Backlog),
		upTo(100_000_000, "offline", o.Offline),
		upTo(1_000_000, "bindings", o.Bindings),
		upTo(1_000_000, "rate", o.PerSecond),
		upTo(1_000_000, "connections", o.Connections),
	)
}

// run is one execution of a row on a broker.
type run struct {
	Options
	on *broker
	// done counts for the progress line; nil until the load has begun.
	done atomic.Pointer[func() int64]
}

// watch names what the progress line shows as the messages so far.
func (r *run) watch(done func() int64) { r.done.Store(&done) }

// execute runs a row once, for no longer than it may take.
func (r *run) execute(ctx context.Context, w row) (figures []Figures, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.warmUp()+r.Duration+stallLimit+time.Duration(w.messages)*time.Second/slowestRate,
		errors.New("the broker stalled: the run took much longer than was asked for"))
	defer cancel()
	figures, err = w.run(ctx, r)
	return figures, firstCause(ctx, err)
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

// randomBody is incompressible, so that a broker that compresses gains nothing, and
// the same in every run.
func randomBody(size int) []byte {
	body := make([]byte, size)
	src := mrand.NewChaCha8([32]byte{})
	_, _ = src.Read(body) // never fails
	return body
}

// Run executes the selected rows one after the other.
func Run(ctx context.Context, o Options, t Target, p *progress) (Report, error) {
	rows, err := selectRows(o)
	if err != nil {
		return Report{}, err
	}
	b, err := t.reach(ctx, o)
	if err != nil {
		return Report{}, err
	}
	rep := newReport(o, b)
	for _, w := range rows {
		if missing := w.needs &^ b.speaks; missing != 0 {
			rep.Notes = append(rep.Notes, fmt.Sprintf("%s was left out: the broker's URL for %s was not given", w.name, missing))
			continue
		}
		lines := w.report()
		for i := range o.Runs {
			figures, err := p.execute(ctx, b, w, o, i+1)
			if err != nil {
				return rep, err
			}
			for j := range lines {
				lines[j].Runs = append(lines[j].Runs, figures[j])
			}
		}
		for _, l := range lines {
			l.Median = medianFigures(l.Runs)
			rep.Rows = append(rep.Rows, l)
		}
	}
	rep.annotate()
	return rep, nil
}
