package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// progressInterval is how often the line on a terminal changes.
const progressInterval = 250 * time.Millisecond

// progress says how far a command is: a line for each run that is over and, on a
// terminal, one for the run under way that is written anew all the time. What cannot
// be written is not worth a measurement: errors are ignored.
type progress struct {
	w    io.Writer
	live bool
	many bool // brokers, so that lines name them
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.live = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// execute executes a row on a broker and says so.
func (p *progress) execute(ctx context.Context, b *broker, w row, o Options, number int) ([]Figures, error) {
	title := fmt.Sprintf("%s: run %d of %d", w.name, number, o.Runs)
	if p.many {
		title = b.Name + " " + title
	}
	r := &run{Options: o, on: b}
	stop := p.follow(title, r)
	figures, err := r.execute(ctx, w)
	stop()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", title, err)
	}
	for i, l := range w.lines {
		f := figures[i]
		said := fmt.Sprintf("%s: %s %s, broker CPU %s µs each", title, si(f.Rate), l.unit(), dash(f.BrokerCPU))
		if f.P50 != nil {
			said += fmt.Sprintf(", p50 %s µs, p99 %s µs", dash(f.P50), dash(f.P99))
		}
		if len(w.lines) > 1 {
			said += " (" + l.name + ")"
		}
		_, _ = fmt.Fprintf(p.w, "%s, others %s\n", said, percent(f.OtherLoad))
	}
	return figures, nil
}

// follow shows on a terminal what a run has done so far, until stop.
func (p *progress) follow(title string, r *run) (stop func()) {
	if !p.live {
		return func() {}
	}
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		tick := time.NewTicker(progressInterval)
		defer tick.Stop()
		start, last, before := time.Now(), time.Now(), int64(0)
		for {
			select {
			case <-done:
				return
			case now := <-tick.C:
				count, rate := int64(0), 0.0
				if f := r.done.Load(); f != nil {
					count = (*f)()
					rate = float64(count-before) / now.Sub(last).Seconds()
				}
				last, before = now, count
				_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s: %s, %s so far, %s a second", title, time.Since(start).Round(100*time.Millisecond), si(float64(count)), si(max(0, rate)))
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}
