package bench

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/batonmq/baton/persistence/storebench"
)

// storeReport is what `bench store` found out. Its JSON form is meant for scripts.
type storeReport struct {
	CPUs     int     `json:"cpus"`
	Duration float64 `json:"duration_seconds"`
	storebench.Report
}

func storeCommand() *cobra.Command {
	var (
		o      storebench.Options
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Measure what durability costs in the store, beside a bare file",
		Long: `Measure what durability costs in the store, beside a bare file.

The store runs in this process, without a broker. Messages of 1 KiB are published, written, and settled later, in groups
of the given numbers of messages; a bare file gets the same groups, one write and one fdatasync each, in turns of a
quarter of a second. The ratio is the store's time over that of appending to the bare file.

Device bytes are those of the whole disk, so that other work on it shows.`,
		Example: "  baton bench store --dir /var/lib/baton --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			if o.Duration < 250*time.Millisecond || o.Duration > 10*time.Minute {
				return fmt.Errorf("duration %s is not between 250ms and 10m", o.Duration)
			}
			for _, n := range o.Groups {
				if n < 1 || n > 4096 {
					return fmt.Errorf("a group of %d messages is not between 1 and 4096", n)
				}
			}
			o.Told = func(what string) { _, _ = fmt.Fprintln(cmd.ErrOrStderr(), what) }
			found, err := storebench.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			rep := storeReport{CPUs: runtime.NumCPU(), Duration: o.Duration.Seconds(), Report: found}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), rep)
			}
			return rep.writeTable(cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "a directory on the disk to be measured; the system's directory for temporary files if empty")
	f.IntSliceVar(&o.Groups, "groups", []int{16, 64, 128}, "messages of 1 KiB in a group")
	f.DurationVar(&o.Duration, "duration", 3*time.Second, "how long the store runs for each row")
	f.BoolVar(&asJSON, "json", false, "write the report as JSON")
	return cmd
}

// writeTable writes the report for people.
func (r *storeReport) writeTable(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%d CPUs, %gs per row, messages of 1 KiB, every message written\n\n", r.CPUs, r.Duration); err != nil {
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows := [][]string{{
		"group", "KiB", "msg/s", "store µs", "append µs", "overwrite µs", "ratio",
		"device B/B", "append B/B", "CPU µs/msg", "user", "bare CPU",
	}}
	for _, row := range r.Rows {
		rows = append(rows, []string{
			strconv.Itoa(row.Messages), short(row.Group / 1024), si(row.Rate), short(row.Store), short(row.Append), short(row.Over),
			short(row.Ratio), dash(row.Device), dash(row.BareDevice), dash(row.CPU), dash(row.UserCPU), dash(row.BareCPU),
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
	e := r.Elided
	_, err := fmt.Fprintf(w, "\nsettled at once: %s msg/s, %s%% of the messages elided, %s bytes written per message, %s µs CPU per message\n",
		si(e.Rate), strconv.FormatFloat(math.Floor(1000*e.Share)/10, 'f', 1, 64), short(e.Written), dash(e.CPU))
	return err
}
