package bench

import (
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"
)

// RetainedReport is what retained messages were found to cost. A nil figure was not
// measured.
type RetainedReport struct {
	Broker string  `json:"broker"` // product and version, as the broker says
	Client string  `json:"client"`
	Topics int     `json:"topics"`
	Size   int     `json:"size_bytes"`
	Settle float64 `json:"settle_seconds"`

	Published Figures  `json:"published"`
	Resident  *float64 `json:"broker_rss_mb"`
	Received  Figures  `json:"received"`
	AfterAll  *float64 `json:"broker_rss_mb_after_all"`
}

// megabytes is the resident set as figures have it.
func (r resident) megabytes() *float64 {
	if r.bytes == nil {
		return nil
	}
	mb := float64(*r.bytes) / 1e6
	return &mb
}

// WriteJSON writes the report as indented JSON.
func (r *RetainedReport) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

// WriteTable writes the report for people.
func (r *RetainedReport) WriteTable(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "broker says %s; %s, %d topics, messages of %d bytes, %d CPUs\n\n",
		r.Broker, r.Client, r.Topics, r.Size, runtime.NumCPU()); err != nil {
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "\tmsg/s\tbroker CPU µs\tgenerator CPU µs\tother load\tpeak RSS MB\tRSS MB then") // Flush has the error
	row := func(name string, f *Figures, then *float64) {
		_, _ = fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, si(f.Rate), dash(f.BrokerCPU), dash(f.GeneratorCPU), percent(f.OtherLoad), dash(f.PeakRSS), dash(then))
	}
	row("published, QoS 1", &r.Published, r.Resident)
	row("sent to who subscribes to all", &r.Received, r.AfterAll)
	return tw.Flush()
}
