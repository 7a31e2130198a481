package persistence

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal"
)

// journalBytes is how long the files of a journal are together.
func journalBytes(tb testing.TB, files journal.Files, dir string) int64 {
	tb.Helper()
	names, err := files.Names(dir)
	if err != nil {
		tb.Fatal(err)
	}
	var sum int64
	for _, name := range names {
		f, err := files.Open(dir + "/" + name)
		if err != nil {
			continue // removed since it was listed
		}
		size, err := f.Size()
		if err != nil {
			tb.Fatal(err)
		}
		sum += size
		_ = f.Close()
	}
	return sum
}

// traffic is a queue in steady use: what is published is settled some places later, but for every keep-th message, which stays.
type traffic struct {
	s        *Store
	body     []byte
	inFlight core.Seq
	keep     core.Seq // 0: none
	backlog  core.Seq // places up to it stay
	seq      core.Seq
	times    []time.Duration // of each commit that was waited for
}

// run publishes n messages in groups of batch, waits for each group, and settles what is due.
func (l *traffic) run(tb testing.TB, n, batch int, each func()) {
	tb.Helper()
	for range n / batch {
		ops := make([]core.Op, 0, 2*batch)
		for range batch {
			l.seq++
			ops = append(ops, core.Op{
				Kind: core.OpPublish, Queue: q1, Seq: l.seq, Msg: &core.Message{Key: "k", Body: l.body, Persistent: true},
			})
			if due := l.seq - l.inFlight; l.seq > l.inFlight && l.ends(due) {
				ops = append(ops, settle(due, due))
			}
		}
		start := time.Now()
		mustCommit(tb, l.s, ops)
		l.times = append(l.times, time.Since(start))
		if each != nil {
			each()
		}
	}
}

// ends reports whether the message at that place is settled in the end.
func (l *traffic) ends(due core.Seq) bool { return due > l.backlog && (l.keep == 0 || due%l.keep != 0) }

// drain settles everything but what stays.
func (l *traffic) drain(tb testing.TB) {
	tb.Helper()
	var ops []core.Op
	for due := l.seq - l.inFlight + 1; due <= l.seq; due++ {
		if l.ends(due) {
			ops = append(ops, settle(due, due))
		}
	}
	mustCommit(tb, l.s, ops)
}

func mustCommit(tb testing.TB, s *Store, ops []core.Op) {
	tb.Helper()
	if err := tryCommit(s, ops...); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkDiskOverTraffic is how much disk the journal takes while 60,000 messages of 4 KiB pass a queue, three times over: one that is
// empty afterwards, one of which every hundredth message stays, and one beside a backlog of 100,000 messages; and how long a commit of 50
// of them takes meanwhile.
func BenchmarkDiskOverTraffic(b *testing.B) {
	for _, c := range []struct {
		name    string
		keep    core.Seq
		backlog int
	}{{"empty", 0, 0}, {"one in 100 stays", 100, 0}, {"backlog of 400 MB", 0, 100_000}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				trafficRounds(b, c.keep, c.backlog)
			}
		})
	}
}

func trafficRounds(b *testing.B, keep core.Seq, backlog int) {
	b.Helper()
	dir := b.TempDir()
	s, err := Open(b.Context(), Options{Dir: dir, StoreID: [16]byte{9}, Epoch: 1, CheckpointEvery: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	s.Activated()
	mustCommit(b, s, []core.Op{define("q", q1)})
	body := make([]byte, 4096)
	_, _ = rand.NewChaCha8([32]byte{}).Read(body)
	l := &traffic{s: s, body: body, inFlight: 1000, keep: keep, backlog: core.Seq(backlog)}
	l.run(b, backlog, 50, nil)
	for round := range 3 {
		var peak, above int64
		cpu := processCPU()
		l.times = l.times[:0]
		l.run(b, 60_000, 50, func() {
			if len(l.times)%20 == 0 {
				st := s.Stats()
				peak, above = max(peak, st.Journal), max(above, st.Journal-2*st.Live)
			}
		})
		l.drain(b)
		cpu = processCPU() - cpu
		slices.Sort(l.times)
		st := s.Stats()
		b.Logf("round %d: files %d MB, live %d MB, peak %d MB, at most %d MB above twice what lives; written %d MB; commit p50 %v p99 %v max %v, cpu %v",
			round+1, journalBytes(b, journal.OSFiles(), dir+"/journal")>>20, st.Live>>20, peak>>20, above>>20, st.Bytes>>20,
			l.times[len(l.times)/2], l.times[len(l.times)*99/100], l.times[len(l.times)-1], cpu)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
