package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what a bench command found out. Its JSON form is meant for scripts.
type Report struct {
	Broker    string  `json:"broker"`    // product and version, as the broker says
	Copyright string  `json:"copyright"` // as the broker says
	Client    string  `json:"client"`
	CPUs      int     `json:"cpus"` // of the machine the generator ran on
	Duration  float64 `json:"duration_seconds"`
	Runs      int     `json:"runs"`
	Rows      []Row   `json:"rows"`
	// Notes say which figures are missing, and why.
	Notes []string `json:"notes,omitempty"`
}

// Row is one scenario with one message size.
type Row struct {
	ID       string    `json:"id"`
	Scenario string    `json:"scenario"`
	Size     int       `json:"size_bytes"`
	Counts   string    `json:"counts"` // what figures are of: messages, deliveries, bindings or connections
	Median   Figures   `json:"median"` // of each figure by itself
	Runs     []Figures `json:"runs"`
}

// Figures are one run's. A nil figure was not measured, or has no meaning in the row.
type Figures struct {
	Rate         float64  `json:"per_second"`
	BrokerCPU    *float64 `json:"broker_cpu_us_each"`
	GeneratorCPU *float64 `json:"generator_cpu_us_each"`
	PeakRSS      *float64 `json:"broker_peak_rss_mb"`
	// Written is what the broker gave the disk: what the kernel wrote back later is
	// counted when it became dirty.
	Written *float64 `json:"broker_written_bytes_each"`
	P50     *float64 `json:"p50_us,omitempty"`
	P99     *float64 `json:"p99_us,omitempty"`
	P999    *float64 `json:"p999_us,omitempty"`
	Longest *float64 `json:"longest_us,omitempty"`
	// Bare is the median time of an append, a sync and a read of bare files.
	Bare *float64 `json:"bare_sync_us,omitempty"`
	// Late is the 99th percentile of how late the generator's own timer was, which
	// is in the latencies of a load at a fixed rate.
	Late *float64 `json:"generator_late_p99_us,omitempty"`
	// Resident is by how much the broker's resident set grew for each.
	Resident *float64 `json:"broker_rss_bytes_each,omitempty"`
	// Dropped are deliveries that the broker did not make and, at QoS 0, need not.
	Dropped int64 `json:"dropped,omitempty"`
	// OtherLoad is the share of the machine's CPUs that other processes had.
	OtherLoad *float64 `json:"other_load"`
}

// optional are pointers to the figures that may be missing.
func (f *Figures) optional() []**float64 {
	return []**float64{
		&f.BrokerCPU, &f.GeneratorCPU, &f.PeakRSS, &f.Written, &f.P50, &f.P99, &f.P999, &f.Longest,
		&f.Bare, &f.Late, &f.Resident, &f.OtherLoad,
	}
}

func (r Row) title() string { return r.ID }

func newReport(o Options, b *broker) Report {
	r := Report{
		Broker: b.id.product, Copyright: b.id.copyright, Client: o.clients(b.speaks),
		CPUs: runtime.NumCPU(), Duration: o.Duration.Seconds(), Runs: o.Runs,
	}
	if b.PID == 0 {
		r.Notes = append(r.Notes, "broker CPU and RSS were not measured: no --pid was given")
	} else if _, err := readProc(b.PID); err != nil {
		r.Notes = append(r.Notes, err.Error())
	}
	return r
}

// clients names what the generator speaks.
func (o Options) clients(speaks protocols) string {
	var names []string
	if speaks&overAMQP != 0 {
		names = append(names, "AMQP 0-9-1 ("+o.Client+")")
	}
	if speaks&overMQTT != 0 {
		names = append(names, "MQTT "+o.version().String())
	}
	return strings.Join(names, ", ")
}

func newFigures(messages int64, took time.Duration, u usage) Figures {
	f := Figures{Rate: float64(messages) / took.Seconds()}
	perMessage := func(cpu *time.Duration) *float64 {
		if cpu == nil {
			return nil
		}
		v := float64(cpu.Nanoseconds()) / 1e3 / float64(messages)
		return &v
	}
	f.BrokerCPU, f.GeneratorCPU = perMessage(u.broker), perMessage(u.generator)
	if u.written != nil {
		v := float64(*u.written) / float64(messages)
		f.Written = &v
	}
	if u.peakRSS != nil {
		mb := float64(*u.peakRSS) / 1e6
		f.PeakRSS = &mb
	}
	if u.others != nil {
		share := u.others.Seconds() / took.Seconds() / float64(runtime.NumCPU())
		f.OtherLoad = &share
	}
	return f
}

// medianFigures is the median of each figure by itself.
func medianFigures(runs []Figures) Figures {
	return foldFigures(runs, func(v []float64) float64 { return *median(v) })
}

// foldFigures makes one of each figure of several runs, of those that have it.
func foldFigures(runs []Figures, fold func([]float64) float64) Figures {
	var out Figures
	rates := make([]float64, len(runs))
	for i := range runs {
		rates[i] = runs[i].Rate
	}
	out.Rate = fold(rates)
	for which, to := range out.optional() {
		var v []float64
		for i := range runs {
			if f := *runs[i].optional()[which]; f != nil {
				v = append(v, *f)
			}
		}
		if len(v) > 0 {
			folded := fold(v)
			*to = &folded
		}
	}
	return out
}

// quietLimit is the share of the machine that other processes may have before the
// report says that it was disturbed.
const quietLimit = 0.1

// annotate appends what the rows' figures in the table do not say.
func (r *Report) annotate() {
	for _, row := range r.Rows {
		if l := row.Median.OtherLoad; l != nil && *l > quietLimit {
			r.Notes = append(r.Notes, fmt.Sprintf("%s: other processes had %s of the CPUs; rate, latency and CPU are those of a busy machine", row.title(), percent(l)))
		}
		for _, n := range row.remarks() {
			r.Notes = append(r.Notes, row.title()+": "+n)
		}
	}
}

// remarks are what a row's figures in the table do not say: that messages were dropped,
// what a bare file took.
func (r Row) remarks() []string {
	var notes []string
	var dropped int64
	for _, f := range r.Runs {
		dropped += f.Dropped
	}
	if dropped > 0 {
		notes = append(notes, fmt.Sprintf("%d deliveries were not made", dropped))
	}
	if b := r.Median.Bare; b != nil {
		notes = append(notes, fmt.Sprintf("append, sync and read of bare files took %s µs (p50) just before and after", dash(b)))
	}
	if l := r.Median.Late; l != nil {
		notes = append(notes, fmt.Sprintf("the generator's own timer was up to %s µs late (p99), which is in the latencies", dash(l)))
	}
	if b := r.Median.Resident; b != nil {
		notes = append(notes, fmt.Sprintf("the broker's resident memory grew by %s for each", kib(b)))
	}
	return notes
}

// median returns nil for no values, and the mean of the middle two for an even number.
func median(v []float64) *float64 {
	if len(v) == 0 {
		return nil
	}
	slices.Sort(v)
	m := (v[(len(v)-1)/2] + v[len(v)/2]) / 2
	return &m
}

// WriteJSON writes the report as indented JSON.
func (r *Report) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

func writeJSON(w io.Writer, report any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(report)
}

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "broker says %s (%s); %s, %d CPUs, median of %d × %gs\n\n",
		r.Broker, cmp.Or(r.Copyright, "no copyright"), r.Client, r.CPUs, r.Runs, r.Duration); err != nil {
		return err
	}
	rows := [][]string{{"", "load", "size", "per s", "broker µs", "generator µs", "RSS MB", "disk B", "p50 µs", "p99 µs", "others"}}
	for _, row := range r.Rows {
		m := row.Median
		rows = append(rows, []string{
			row.ID, row.Scenario, row.size(), si(m.Rate),
			dash(m.BrokerCPU), dash(m.GeneratorCPU), dash(m.PeakRSS), dash(m.Written), dash(m.P50), dash(m.P99), percent(m.OtherLoad),
		})
	}
	if err := writeColumns(w, rows); err != nil {
		return err
	}
	return writeNotes(w, r.Notes)
}

func (r Row) size() string {
	if r.Size == 0 {
		return "-"
	}
	return sizeText(r.Size)
}

func writeColumns(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, cells := range rows {
		if _, err := fmt.Fprintln(tw, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return tw.Flush()
}

func writeNotes(w io.Writer, notes []string) error {
	for _, n := range notes {
		if _, err := fmt.Fprintln(w, "\nnote:", n); err != nil {
			return err
		}
	}
	return nil
}

// si writes a number with three significant digits and k or M.
func si(v float64) string {
	switch {
	case v >= 999_500:
		return short(v/1e6) + "M"
	case v >= 9_995:
		return short(v/1e3) + "k"
	default:
		return short(v)
	}
}

// short writes three significant digits, never an exponent.
func short(v float64) string {
	switch {
	case v >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

func dash(v *float64) string {
	if v == nil {
		return "-"
	}
	return si(*v)
}

func percent(share *float64) string {
	if share == nil {
		return "-"
	}
	return strconv.FormatFloat(100**share, 'f', 0, 64) + "%"
}
