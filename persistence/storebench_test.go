package persistence_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/batonmq/baton/persistence/storebench"
)

// BenchmarkAgainstAppend holds the store against a bare file that gets the same groups: see package storebench for what the figures mean.
// One op is the whole measurement of a group size.
func BenchmarkAgainstAppend(b *testing.B) {
	for _, group := range []int{16, 64, 128} {
		b.Run(fmt.Sprintf("group=%d", group), func(b *testing.B) {
			var rep storebench.Report
			for b.Loop() {
				var err error
				rep, err = storebench.Run(b.Context(), storebench.Options{Dir: b.TempDir(), Groups: []int{group}, Duration: 2 * time.Second})
				if err != nil {
					b.Fatal(err)
				}
			}
			row := rep.Rows[0]
			b.ReportMetric(row.Ratio, "ratio")
			b.ReportMetric(row.Store, "store-us/group")
			b.ReportMetric(row.Append, "append-us/group")
			b.ReportMetric(row.Over, "overwrite-us/group")
			for name, v := range map[string]*float64{
				"device-B/B": row.Device, "append-device-B/B": row.BareDevice, "cpu-us/msg": row.CPU, "append-cpu-us/msg": row.BareCPU,
			} {
				if v != nil {
					b.ReportMetric(*v, name)
				}
			}
			b.ReportMetric(100*rep.Elided.Share, "elided-%")
		})
	}
}
