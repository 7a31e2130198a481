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

	amqp "github.com/rabbitmq/amqp091-go"
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
	Median   Figures   `json:"median"` // of each figure by itself
	Runs     []Figures `json:"runs"`
}

// Figures are one run's. A nil figure was not measured, or has no meaning in the row.
type Figures struct {
	Rate         float64  `json:"messages_per_second"`
	BrokerCPU    *float64 `json:"broker_cpu_us_per_message"`
	GeneratorCPU *float64 `json:"generator_cpu_us_per_message"`
	PeakRSS      *float64 `json:"broker_peak_rss_mb"`
	P50          *float64 `json:"p50_us"`
	P99          *float64 `json:"p99_us"`
	// Dropped are deliveries that the broker did not make and, at QoS 0, need not.
	Dropped int64 `json:"dropped,omitempty"`
	// OtherLoad is the share of the machine's CPUs that other processes had.
	OtherLoad *float64 `json:"other_load"`
}

func (r Row) title() string { return fmt.Sprintf("%s %s %d B", r.ID, r.Scenario, r.Size) }

func newReport(o Options) Report {
	r := Report{
		Client: o.Client, CPUs: runtime.NumCPU(),
		Duration: o.Duration.Seconds(), Runs: o.Runs,
	}
	if o.PID == 0 {
		r.Notes = append(r.Notes, "broker CPU and RSS were not measured: no --pid was given")
	} else if _, err := readProc(o.PID); err != nil {
		r.Notes = append(r.Notes, err.Error())
	}
	return r
}

// identify takes the broker's name from its server-properties. Brokers present
// themselves under another's product name, because clients key their behaviour on
// it; whose copyright it is tells them apart.
func (r *Report) identify(props amqp.Table) {
	text := func(key string) string {
		s, _ := props[key].(string)
		return s
	}
	r.Broker = strings.TrimSpace(cmp.Or(text("product"), "unknown") + " " + text("version"))
	r.Copyright = text("copyright")
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

// percentiles returns the median and the 99th percentile in microseconds, by
// nearest rank. It sorts its argument, which must not be empty.
func percentiles(d []time.Duration) (p50, p99 *float64) {
	slices.Sort(d)
	rank := func(percent int) *float64 {
		i := (len(d)*percent + 99) / 100 // ceil
		v := float64(d[max(i, 1)-1].Nanoseconds()) / 1e3
		return &v
	}
	return rank(50), rank(99)
}

func medianFigures(runs []Figures) Figures {
	pick := func(figure func(Figures) *float64) *float64 {
		var v []float64
		for _, r := range runs {
			if f := figure(r); f != nil {
				v = append(v, *f)
			}
		}
		return median(v)
	}
	return Figures{
		Rate:         *pick(func(f Figures) *float64 { return &f.Rate }),
		BrokerCPU:    pick(func(f Figures) *float64 { return f.BrokerCPU }),
		GeneratorCPU: pick(func(f Figures) *float64 { return f.GeneratorCPU }),
		PeakRSS:      pick(func(f Figures) *float64 { return f.PeakRSS }),
		P50:          pick(func(f Figures) *float64 { return f.P50 }),
		P99:          pick(func(f Figures) *float64 { return f.P99 }),
		OtherLoad:    pick(func(f Figures) *float64 { return f.OtherLoad }),
	}
}

// quietLimit is the share of the machine that other processes may have before the
// report says that it was disturbed.
const quietLimit = 0.1

// annotate appends what a row's figures in the table do not say: that it shared the
// machine with other work, that messages were dropped.
func (r *Report) annotate() {
	for _, row := range r.Rows {
		if l := row.Median.OtherLoad; l != nil && *l > quietLimit {
			r.Notes = append(r.Notes, fmt.Sprintf("%s: other processes had %s of the CPUs; rate, latency and CPU per message are those of a busy machine",
				row.title(), percent(l)))
		}
		var dropped int64
		for _, f := range row.Runs {
			dropped += f.Dropped
		}
		if dropped > 0 {
			r.Notes = append(r.Notes, fmt.Sprintf("%s: the broker dropped %d messages; the generator waited %v each time before it went on",
				row.title(), dropped, dropWait))
		}
	}
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
	if _, err := fmt.Fprintf(w, "broker says %s (%s); %s client, %d CPUs, median of %d × %gs\n\n",
		r.Broker, cmp.Or(r.Copyright, "no copyright"), r.Client, r.CPUs, r.Runs, r.Duration); err != nil {
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows := [][]string{{"", "scenario", "size", "msg/s", "broker µs/msg", "generator µs/msg", "RSS MB", "p50 µs", "p99 µs", "others"}}
	for _, row := range r.Rows {
		m := row.Median
		rows = append(rows, []string{
			row.ID, row.Scenario, strconv.Itoa(row.Size) + " B", si(m.Rate),
			dash(m.BrokerCPU), dash(m.GeneratorCPU), dash(m.PeakRSS), dash(m.P50), dash(m.P99), percent(m.OtherLoad),
		})
	}
	for _, cells := range rows {
		if _, err := fmt.Fprintln(tw, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, n := range r.Notes {
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
