package bench

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
)

// WriteJSON writes the comparison as indented JSON.
func (c *Comparison) WriteJSON(w io.Writer) error { return writeJSON(w, c) }

// WriteTable writes the comparison for people. A figure is a median, with the least and
// the most in parentheses; × is a broker's CPU divided by the first one's.
func (c *Comparison) WriteTable(w io.Writer) error {
	for _, b := range c.Brokers {
		if _, err := fmt.Fprintf(w, "%s says %s (%s); %s\n", b.Name, b.Broker, cmp.Or(b.Copyright, "no copyright"), b.Client); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(w, "%d CPUs, medians of %d × %gs in turns (least to most)\n\n", c.CPUs, c.Rounds, c.Duration); err != nil {
		return err
	}
	rows := [][]string{{"", "load", "size", "broker", "per s", "broker µs", "×", "generator µs", "RSS MB", "disk B", "p50 µs", "p99 µs", "others"}}
	for _, row := range c.Rows {
		for i, one := range row.Brokers {
			head := []string{row.ID, row.Scenario, Row{Size: row.Size}.size()}
			if i > 0 {
				head = []string{"", "", ""}
			}
			rows = append(rows, append(head, one.cells()...))
		}
	}
	if err := writeColumns(w, rows); err != nil {
		return err
	}
	return writeNotes(w, c.Notes)
}

func (c *Compared) cells() []string {
	times := "1"
	if c.Ratio != nil {
		times = c.Ratio.CPU.text()
	}
	return []string{
		c.Name,
		(&Spread{c.Median.Rate, c.Least.Rate, c.Most.Rate}).text(),
		c.spread(func(f *Figures) *float64 { return f.BrokerCPU }).text(),
		times,
		dash(c.Median.GeneratorCPU), dash(c.Most.PeakRSS), dash(c.Median.Written),
		c.spread(func(f *Figures) *float64 { return f.P50 }).text(),
		c.spread(func(f *Figures) *float64 { return f.P99 }).text(),
		percent(c.Median.OtherLoad),
	}
}

func (c *Compared) spread(figure func(*Figures) *float64) *Spread {
	if figure(&c.Median) == nil {
		return nil
	}
	return &Spread{*figure(&c.Median), *figure(&c.Least), *figure(&c.Most)}
}

func (s *Spread) text() string {
	switch {
	case s == nil:
		return "-"
	case s.Least == s.Most:
		return si(s.Median)
	}
	return fmt.Sprintf("%s (%s-%s)", si(s.Median), si(s.Least), si(s.Most))
}

// writeBenchmarks writes a file for each broker in the format of Go's benchmarks, which
// benchstat compares.
func (c *Comparison) writeBenchmarks(dir string, write func(path string, text []byte) error) error {
	texts := make(map[string]*strings.Builder)
	for _, b := range c.Brokers {
		texts[b.Name] = new(strings.Builder)
	}
	for _, row := range c.Rows {
		for _, one := range row.Brokers {
			for _, f := range one.Runs {
				to := texts[one.Name]
				fmt.Fprintf(to, "BenchmarkRow/%s-%d 1 %s %s/s", row.ID, c.CPUs, plain(f.Rate), row.Counts)
				for unit, v := range map[string]*float64{"broker-µs/op": f.BrokerCPU, "generator-µs/op": f.GeneratorCPU, "p50-µs": f.P50, "p99-µs": f.P99, "peak-MB": f.PeakRSS} {
					if v != nil {
						fmt.Fprintf(to, " %s %s", plain(*v), unit)
					}
				}
				to.WriteByte('\n')
			}
		}
	}
	for name, text := range texts {
		if err := write(filepath.Join(dir, name+".txt"), []byte(text.String())); err != nil {
			return fmt.Errorf("write %s's runs for benchstat: %w", name, err)
		}
	}
	return nil
}

func plain(v float64) string { return strconv.FormatFloat(v, 'f', 4, 64) }
