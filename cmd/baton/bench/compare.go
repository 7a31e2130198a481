package bench

import (
	"context"
	"fmt"
	"runtime"
	"slices"
)

// Comparison is what several brokers did with the same loads, in turns.
type Comparison struct {
	Brokers  []ComparedBroker `json:"brokers"`
	CPUs     int              `json:"cpus"`
	Duration float64          `json:"duration_seconds"`
	Rounds   int              `json:"rounds"`
	Rows     []ComparedRow    `json:"rows"`
	Notes    []string         `json:"notes,omitempty"`
}

// ComparedBroker is one of several brokers.
type ComparedBroker struct {
	Name      string `json:"name"`
	Broker    string `json:"broker"`
	Copyright string `json:"copyright"`
	Client    string `json:"client"`
}

// ComparedRow is one line of the report for several brokers.
type ComparedRow struct {
	ID       string     `json:"id"`
	Scenario string     `json:"scenario"`
	Size     int        `json:"size_bytes"`
	Counts   string     `json:"counts"`
	Brokers  []Compared `json:"brokers"` // those that could run it
}

// Compared is what one broker did with one load.
type Compared struct {
	Name   string    `json:"name"`
	Median Figures   `json:"median"`
	Least  Figures   `json:"least"` // of each figure by itself
	Most   Figures   `json:"most"`
	Runs   []Figures `json:"runs"` // one a round
	// Ratio has the figures divided by those of the first broker of the row.
	Ratio *Ratio `json:"ratio,omitempty"`
}

// Ratio is the median of what a broker's figures are in relation to the first one's in
// the same round, and how far the rounds differ: what disturbed a round disturbed both.
type Ratio struct {
	Rate *Spread `json:"rate,omitempty"`
	CPU  *Spread `json:"broker_cpu,omitempty"`
	P50  *Spread `json:"p50,omitempty"`
	P99  *Spread `json:"p99,omitempty"`
}

// Spread is a median with the least and the most.
type Spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

func spreadOf(v []float64) *Spread {
	if len(v) == 0 {
		return nil
	}
	return &Spread{Median: *median(v), Least: slices.Min(v), Most: slices.Max(v)}
}

// compared are the runs of one row so far: for each broker and line, one a round.
type compared struct {
	row
	runs map[string][][]Figures // by broker
}

// Compare runs each row on each broker in turn, as many rounds as the options have runs,
// in the opposite order every other round.
func Compare(ctx context.Context, o Options, targets []Target, p *progress) (Comparison, error) {
	c := Comparison{CPUs: runtime.NumCPU(), Duration: o.Duration.Seconds(), Rounds: o.Runs}
	rows, err := selectRows(o)
	if err != nil {
		return c, err
	}
	brokers := make([]*broker, 0, len(targets))
	for _, t := range targets {
		b, err := t.reach(ctx, o)
		if err != nil {
			return c, fmt.Errorf("%s: %w", t.Name, err)
		}
		brokers = append(brokers, b)
		c.Brokers = append(c.Brokers, ComparedBroker{
			Name: t.Name, Broker: b.id.product, Copyright: b.id.copyright, Client: o.clients(b.speaks),
		})
	}
	p.many = true
	all := make([]compared, len(rows))
	for i, w := range rows {
		all[i] = compared{row: w, runs: make(map[string][][]Figures)}
	}
	for round := range o.Runs {
		for _, w := range all {
			if err := w.round(ctx, o, brokers, round, p); err != nil {
				return c, err
			}
		}
	}
	for _, w := range all {
		c.Rows = append(c.Rows, w.report(brokers)...)
	}
	c.annotate(brokers)
	return c, nil
}

// round runs the row once on each broker that speaks what it needs. A broker that
// fails is left out from then on.
func (w compared) round(ctx context.Context, o Options, brokers []*broker, round int, p *progress) error {
	order := slices.Clone(brokers)
	if round%2 == 1 {
		slices.Reverse(order)
	}
	for _, b := range order {
		if w.needs&^b.speaks != 0 || len(w.runs[b.Name]) < round {
			continue
		}
		figures, err := p.execute(ctx, b, w.row, o, round+1)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			_, _ = fmt.Fprintln(p.w, err)
			continue
		}
		w.runs[b.Name] = append(w.runs[b.Name], figures)
	}
	return nil
}

// report makes the row's lines. Only brokers that finished every round are in them.
func (w compared) report(brokers []*broker) []ComparedRow {
	var lines []ComparedRow
	for i, l := range w.row.report() {
		line := ComparedRow{ID: l.ID, Scenario: l.Scenario, Size: l.Size, Counts: l.Counts}
		rounds := 0
		for _, all := range w.runs {
			rounds = max(rounds, len(all))
		}
		for _, b := range brokers {
			all := w.runs[b.Name]
			if len(all) < rounds || rounds == 0 {
				continue
			}
			one := Compared{Name: b.Name}
			for _, figures := range all {
				one.Runs = append(one.Runs, figures[i])
			}
			one.Median = medianFigures(one.Runs)
			one.Least, one.Most = foldFigures(one.Runs, slices.Min[[]float64]), foldFigures(one.Runs, slices.Max[[]float64])
			if len(line.Brokers) > 0 {
				one.Ratio = ratioOf(one.Runs, line.Brokers[0].Runs)
			}
			line.Brokers = append(line.Brokers, one)
		}
		lines = append(lines, line)
	}
	return lines
}

// ratioOf divides figures by those of the same round.
func ratioOf(runs, first []Figures) *Ratio {
	of := func(figure func(*Figures) *float64) *Spread {
		var v []float64
		for i := range runs {
			a, b := figure(&runs[i]), figure(&first[i])
			if a != nil && b != nil && *b > 0 {
				v = append(v, *a / *b)
			}
		}
		return spreadOf(v)
	}
	return &Ratio{
		Rate: of(func(f *Figures) *float64 { return &f.Rate }),
		CPU:  of(func(f *Figures) *float64 { return f.BrokerCPU }),
		P50:  of(func(f *Figures) *float64 { return f.P50 }),
		P99:  of(func(f *Figures) *float64 { return f.P99 }),
	}
}

func (c *Comparison) annotate(brokers []*broker) {
	for _, b := range brokers {
		if b.PID == 0 {
			c.Notes = append(c.Notes, b.Name+": broker CPU and RSS were not measured: no process id was given")
		}
	}
	for _, row := range c.Rows {
		for _, one := range row.Brokers {
			for _, n := range (Row{Runs: one.Runs, Median: one.Median}).remarks() {
				c.Notes = append(c.Notes, row.ID+", "+one.Name+": "+n)
			}
		}
	}
}
