package core_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
)

// withQueues makes so many queues.
func withQueues(b *testing.B, s *core.Session, n int) {
	b.Helper()
	for i := range n {
		if _, err := s.DeclareQueue(b.Context(), core.QueueSpec{Name: fmt.Sprint("q", i)}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkQueueInfo(b *testing.B) {
	const n = 50_000
	broker := engine(b, core.Options{})
	s := attach(b, broker)
	withQueues(b, s, n)
	b.ReportAllocs()
	for b.Loop() {
		seen := 0
		for q := range broker.Queues("/") {
			if _, ok := q.Info(); ok {
				seen++
			}
		}
		if seen != n {
			b.Fatal(seen)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/queue")
}

// BenchmarkPublishWhileListing is how long a publish to a queue takes while all of 50,000 are described over and over, and while nobody asks.
func BenchmarkPublishWhileListing(b *testing.B) {
	broker := engine(b, core.Options{MemoryBudget: 1 << 40})
	s := attach(b, broker)
	withQueues(b, s, 50_000)
	for _, listing := range []bool{false, true} {
		b.Run(fmt.Sprint("listing=", listing), func(b *testing.B) {
			stop, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for listing {
					for q := range broker.Queues("/") {
						_, _ = q.Info()
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			}()
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				publish(b, s, &core.Message{Key: "q1"})
				took = append(took, time.Since(start))
			}
			close(stop)
			<-done
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2]), "p50-ns")
			b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
			if _, err := s.PurgeQueue(b.Context(), "q1", false); err != nil {
				b.Fatal(err)
			}
		})
	}
}
