package interop

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// The rows of "Backlog, disk, restart" in docs/BENCHMARKS.md:
//
//	go test ./interop -run '^$' -bench 'Backlog|Purge|DiskInTraffic|Sessions' -benchtime 1x

var (
	backlogScale = flag.Float64("backlog.scale", 1, "what part of the full number of messages and sessions the benchmarks of a backlog use")
	trafficTime  = flag.Duration("backlog.traffic", 60*time.Second, "how long BenchmarkDiskInTraffic publishes and consumes")
)

func scaled(n int) int { return int(float64(n) * *backlogScale) }

// check ends a benchmark with the broker's log.
func check(tb testing.TB, log *logFile, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatalf("%v\nthe broker's log:\n%s", err, log.text())
	}
}

// restart kills the broker and starts it again, and reports how long the start took, and how much of the processors.
func restart(b *testing.B, br *Broker, log *logFile) {
	b.Helper()
	check(b, log, br.Kill())
	began := time.Now()
	start(b, br, log)
	b.ReportMetric(time.Since(began).Seconds(), "reopen-s")
	b.ReportMetric(processorTime(b, br.PID()).Seconds(), "reopen-cpu-s")
	b.ReportMetric(mebi(residentSet(b, br.PID())), "reopened-MiB")
}

func mebi(n int) float64 { return float64(n) / (1 << 20) }

// names are the queues of a row.
func names(prefix string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(prefix, i)
	}
	return list
}

func declareAll(b *testing.B, br *Broker, log *logFile, queues ...string) {
	b.Helper()
	c, err := openLoad(br.AMQP)
	check(b, log, err)
	for _, queue := range queues {
		check(b, log, c.declare(queue))
	}
	check(b, log, c.Close())
}

// BenchmarkBacklog fills queues, lets 100,000 messages be delivered and not acknowledged, kills the broker, starts it again and
// drains the queues. Beside it stands the rate of a queue that stays short.
func BenchmarkBacklog(b *testing.B) {
	for _, row := range []struct {
		name           string
		queues         int
		messages, size int
	}{
		{"10M_of_100B_in_one_queue", 1, 10_000_000, 100},
		{"1M_of_1KiB_over_100_queues", 100, 1_000_000, 1024},
	} {
		b.Run(row.name, func(b *testing.B) {
			for b.Loop() {
				backlog(b, row.queues, scaled(row.messages), row.size)
			}
		})
	}
}

func backlog(b *testing.B, queues, n, size int) {
	b.Helper()
	br, log := ownBroker(b)
	start(b, br, log)
	list := names("backlog", queues)
	declareAll(b, br, log, append(list, "short", "probe")...)
	short := shortRate(b, br, log, size, n/5)
	b.ReportMetric(short, "short-msg/s")

	took, err := publishAll(br.AMQP, list, size, n)
	check(b, log, err)
	b.ReportMetric(float64(n)/took.Seconds(), "load-msg/s")
	b.ReportMetric(mebi(residentSet(b, br.PID())), "loaded-MiB")
	b.ReportMetric(mebi(int(diskUse(b, br.Dir))), "loaded-disk-MiB")

	hold := min(scaled(100_000), n)
	holders := make([]*subscription, 2) // a prefetch has 16 bits
	for i := range holders {
		holders[i], err = subscribeAll(br.AMQP, list, hold/2/queues)
		check(b, log, err)
	}
	for _, h := range holders {
		check(b, log, h.receive(hold/2/queues*queues, true))
	}
	b.ReportMetric(mebi(residentSet(b, br.PID())), "unacked-MiB")
	b.ReportMetric(mebi(peakResident(b, br.PID())), "peak-MiB")
	restart(b, br, log)
	for _, h := range holders {
		_ = h.Close() // the broker is another one
	}
	drain(b, br, log, list, n, short)
}

func drain(b *testing.B, br *Broker, log *logFile, list []string, n int, short float64) {
	b.Helper()
	idle := newProbe(b, br, "idle")
	time.Sleep(3 * time.Second) // what it measures
	check(b, log, idle.stop(b))

	busy := newProbe(b, br, "draining")
	began := time.Now()
	s, err := subscribeAll(br.AMQP, list, 5000)
	check(b, log, err)
	check(b, log, s.receive(1, false))
	b.ReportMetric(time.Since(began).Seconds()*1e3, "first-delivery-ms")
	check(b, log, s.receive(n-1, false))
	rate := float64(n) / time.Since(began).Seconds()
	check(b, log, busy.stop(b))
	b.ReportMetric(rate, "drain-msg/s")
	b.ReportMetric(rate/short, "drain/short")
	check(b, log, s.Close())
	b.ReportMetric(mebi(residentSet(b, br.PID())), "drained-MiB")
	b.ReportMetric(mebi(peakResident(b, br.PID())), "drain-peak-MiB")
}

// shortRate is how many messages pass a queue in a second that is consumed as it is published to.
func shortRate(b *testing.B, br *Broker, log *logFile, size, n int) float64 {
	b.Helper()
	s, err := subscribeAll(br.AMQP, []string{"short"}, 5000)
	check(b, log, err)
	p, err := newPublisher(br.AMQP, []string{"short"}, size)
	check(b, log, err)
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- p.run(n, 5000, nil) }()
	check(b, log, s.receive(n, false))
	rate := float64(n) / time.Since(began).Seconds()
	check(b, log, <-done)
	check(b, log, errors.Join(s.Close(), p.Close()))
	return rate
}

// probe publishes one message after the other to a queue of its own, which nobody reads, and notes how long each confirm takes.
type probe struct {
	name  string
	p     *publisher
	ended atomic.Bool
	done  chan error
	times []time.Duration
}

func newProbe(b *testing.B, br *Broker, name string) *probe {
	b.Helper()
	p, err := newPublisher(br.AMQP, []string{"probe"}, 100)
	if err != nil {
		b.Fatal(err)
	}
	r := &probe{name: name, p: p, done: make(chan error, 1)}
	go func() { r.done <- r.run() }()
	return r
}

func (r *probe) run() error {
	for !r.ended.Load() {
		began := time.Now()
		err := r.p.run(1, 1, nil)
		if err == nil {
			err = r.p.confirmed()
		}
		if err != nil {
			return err
		}
		r.times = append(r.times, time.Since(began))
	}
	return nil
}

func (r *probe) stop(b *testing.B) error {
	b.Helper()
	r.ended.Store(true)
	if err := <-r.done; err != nil {
		return err
	}
	slices.Sort(r.times)
	n := len(r.times)
	for _, q := range []struct {
		name string
		at   int
	}{{"p50", n / 2}, {"p99", n * 99 / 100}, {"max", n - 1}} {
		b.ReportMetric(r.times[q.at].Seconds()*1e3, r.name+"-"+q.name+"-ms")
	}
	return r.p.Close()
}

// BenchmarkPurge empties a queue of 10 M messages and deletes another one.
func BenchmarkPurge(b *testing.B) {
	n := scaled(10_000_000)
	for b.Loop() {
		br, log := ownBroker(b)
		start(b, br, log)
		declareAll(b, br, log, "probe", "purged", "deleted")
		c, err := openLoad(br.AMQP)
		check(b, log, err)
		for _, row := range []struct {
			queue string
			act   func(string) error
		}{{"purged", c.purge}, {"deleted", c.delete}} {
			_, err := publishAll(br.AMQP, []string{row.queue}, 100, n)
			check(b, log, err)
			if row.queue == "purged" {
				restart(b, br, log) // so that nothing of it is in memory
				c, err = openLoad(br.AMQP)
				check(b, log, err)
				row.act = c.purge
			} else {
				row.act = c.delete
			}
			p := newProbe(b, br, row.queue)
			began := time.Now()
			check(b, log, row.act(row.queue))
			b.ReportMetric(time.Since(began).Seconds()*1e3, row.queue+"-ms")
			time.Sleep(2 * time.Second) // what follows in the background
			check(b, log, p.stop(b))
		}
		check(b, log, c.Close())
	}
}

// diskUse is what a data directory takes on disk, but for the ballast.
func diskUse(tb testing.TB, dir string) int64 {
	tb.Helper()
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed since it was listed
		}
		if err != nil || d.IsDir() || d.Name() == "ballast" {
			return err
		}
		fi, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			sum += blocks(fi)
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return sum
}

// BenchmarkDiskInTraffic publishes and consumes at full rate and watches the disk: once everything is acknowledged, once every hundredth
// message is not.
func BenchmarkDiskInTraffic(b *testing.B) {
	for _, row := range []struct {
		name string
		keep int
		size int
	}{{"all_acknowledged", 0, 1024}, {"one_in_100_stays", 100, 1024}} {
		b.Run(row.name, func(b *testing.B) {
			for b.Loop() {
				diskInTraffic(b, row.keep, row.size)
			}
		})
	}
}

func diskInTraffic(b *testing.B, keep, size int) {
	b.Helper()
	br, log := ownBroker(b)
	start(b, br, log)
	declareAll(b, br, log, "traffic")
	s, err := subscribeAll(br.AMQP, []string{"traffic"}, 0)
	check(b, log, err)
	s.keep = keep
	p, err := newPublisher(br.AMQP, []string{"traffic"}, size)
	check(b, log, err)
	ends := time.Now().Add(*trafficTime)
	var received atomic.Int64
	published, consumed := make(chan error, 1), make(chan error, 1)
	go func() {
		published <- p.run(math.MaxInt, 20_000, func() bool {
			for p.sent.Load()-received.Load() > 100_000 { // a consumer that is slower makes no backlog
				time.Sleep(time.Millisecond)
			}
			return time.Now().Before(ends)
		})
	}()
	go func() { // ends with the connection
		for {
			if err := s.receive(1, false); err != nil {
				consumed <- err
				return
			}
			received.Store(int64(s.received))
		}
	}()
	live := func() int64 {
		n := p.sent.Load() - received.Load()
		if keep > 0 {
			n += received.Load() / int64(keep)
		}
		return n * int64(size)
	}
	var peak, over, index int64
	for time.Now().Before(ends) {
		use := diskUse(b, br.Dir)
		peak, over = max(peak, use), max(over, use-2*live())
		index = max(index, diskUse(b, filepath.Join(br.Dir, "index")))
		time.Sleep(100 * time.Millisecond) // between two looks
	}
	check(b, log, <-published)
	check(b, log, p.confirmed())
	for received.Load() < p.sent.Load() {
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(float64(p.sent.Load())/trafficTime.Seconds(), "msg/s")
	b.ReportMetric(mebi(int(peak)), "peak-MiB")
	b.ReportMetric(mebi(int(index)), "index-peak-MiB")
	b.ReportMetric(mebi(int(over)), "above-twice-live-MiB")
	b.ReportMetric(mebi(int(2*live())), "twice-live-MiB")
	time.Sleep(10 * time.Second) // the requirement's
	b.ReportMetric(mebi(int(diskUse(b, br.Dir))), "10s-later-MiB")
	b.ReportMetric(mebi(residentSet(b, br.PID())), "resident-MiB")
	check(b, log, errors.Join(s.Close(), p.Close()))
	if err := <-consumed; err == nil { // it was ended by the close
		b.Error("the consumer ended by itself")
	}
}
