package bench

import (
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"
	"time"
)

// IdleReport is what idle connections were found to cost. A nil figure was not
// measured.
type IdleReport struct {
	Broker      string  `json:"broker"` // product and version, as the broker says
	Client      string  `json:"client"`
	Connections int     `json:"connections"`
	KeepAlive   float64 `json:"keep_alive_seconds"`
	Password    bool    `json:"password"` // clients had one
	Settle      float64 `json:"settle_seconds"`

	Rate         float64  `json:"connects_per_second"`
	BrokerCPU    *float64 `json:"broker_cpu_us_per_connect"`
	GeneratorCPU *float64 `json:"generator_cpu_us_per_connect"`
	OtherLoad    *float64 `json:"other_load"` // the share of the CPUs that other processes had meanwhile
	PeakRSS      *float64 `json:"broker_peak_rss_mb"`

	Resident  *float64 `json:"broker_rss_bytes_per_connection"`
	AfterPing *float64 `json:"broker_rss_bytes_per_connection_after_ping,omitempty"`
	IdleCPU   *float64 `json:"broker_idle_cpu"` // of one processor
}

func (r *IdleReport) connected(took time.Duration, u usage) {
	f := newFigures(int64(r.Connections), took, u)
	r.Rate, r.BrokerCPU, r.GeneratorCPU, r.PeakRSS, r.OtherLoad = f.Rate, f.BrokerCPU, f.GeneratorCPU, f.PeakRSS, f.OtherLoad
}

func (r *IdleReport) silent(took time.Duration, u usage) {
	if u.broker != nil {
		share := u.broker.Seconds() / took.Seconds()
		r.IdleCPU = &share
	}
}

// resident is a process' resident set; nil if it is not known.
type resident struct{ bytes *int64 }

func residentOf(pid int) resident {
	if pid == 0 {
		return resident{}
	}
	f, err := readFamily(readMembers(pid))
	if err != nil {
		return resident{}
	}
	return resident{&f.rss}
}

// per is the growth since before, divided among n.
func (r resident) per(before resident, n int) *float64 {
	if r.bytes == nil || before.bytes == nil {
		return nil
	}
	each := float64(*r.bytes-*before.bytes) / float64(n)
	return &each
}

// WriteJSON writes the report as indented JSON.
func (r *IdleReport) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

// WriteTable writes the report for people.
func (r *IdleReport) WriteTable(w io.Writer) error {
	password := "no password"
	if r.Password {
		password = "password"
	}
	if _, err := fmt.Fprintf(w, "broker says %s; %s, %s, %d connections, keep alive %gs, %d CPUs\n\n",
		r.Broker, r.Client, password, r.Connections, r.KeepAlive, runtime.NumCPU()); err != nil {
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, value string) { _, _ = fmt.Fprintf(tw, "%s\t%s\n", name, value) } // Flush has the error
	line("CONNECT per second", si(r.Rate))
	line("CPU per CONNECT: broker, generator", dash(r.BrokerCPU)+" µs, "+dash(r.GeneratorCPU)+" µs")
	line("other processes meanwhile", percent(r.OtherLoad))
	line("peak RSS while connecting", dash(r.PeakRSS)+" MB")
	line(fmt.Sprintf("RSS per connection %gs after", r.Settle), kib(r.Resident))
	line("idle CPU", percentTenths(r.IdleCPU))
	if r.AfterPing != nil {
		line("RSS per connection after a PINGREQ of each", kib(r.AfterPing))
	}
	return tw.Flush()
}

func kib(v *float64) string {
	if v == nil {
		return "-"
	}
	return short(*v/1024) + " KiB"
}

func percentTenths(share *float64) string {
	if share == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f%% of one", 100**share)
}
