package journal

import (
	"fmt"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
)

// BenchmarkGroup is what encoding a group of about 128 KiB costs, its checksums included, and what reading it costs.
func BenchmarkGroup(b *testing.B) {
	for _, size := range []int{16, 128, 1024, 16384} {
		m := &core.Message{Exchange: "", Key: "queue", Props: make([]byte, 12), Body: make([]byte, size), Persistent: true}
		n := max(1, 128<<10/(size+64))
		at := Position{Epoch: 3, Offset: 4096}
		var buf []byte
		encode := func() {
			buf = BeginGroup(buf)
			for i := range n {
				buf = AppendPublish(buf, m, []core.Pair{{Queue: 3<<32 | 7, Seq: core.Seq(1000 + i)}})
			}
			buf = SealGroup(buf, goldenStore, at, 0, time.Unix(1, 0))
		}
		perMessage := func(b *testing.B) {
			b.Helper()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/message")
		}
		b.Run(fmt.Sprintf("encode/%d", size), func(b *testing.B) {
			for b.Loop() {
				encode()
			}
			perMessage(b)
		})
		b.Run(fmt.Sprintf("read/%d", size), func(b *testing.B) {
			encode()
			var r Record
			for b.Loop() {
				g, err := openGroup(buf, goldenStore, at)
				if err == nil {
					err = g.Each(&r, func(*Record) error { return nil })
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			perMessage(b)
		})
	}
}
