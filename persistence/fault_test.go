package persistence

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal/crashfs"
)

// faultRun is one life in which one operation fails, and what was promised in it.
type faultRun struct {
	kind    crashfs.Kind
	nth     int // which operation of the kind fails
	verdict crashfs.Verdict

	v        *lives
	seen     int
	hit      string // the file that the operation which failed was about
	promised *state
	doubtful *state // with the unit that failed, which may be there or not
}

func newFaultRun(t *testing.T, kind crashfs.Kind, nth int, verdict crashfs.Verdict) *faultRun {
	t.Helper()
	r := &faultRun{kind: kind, nth: nth, verdict: verdict, v: newLives(t), promised: newState(), doubtful: newState()}
	r.v.edit = func(o *Options) { o.slack = 1 } // as much as can be is carried forward
	decide := func(op crashfs.Op) crashfs.Verdict {
		if op.Kind != kind {
			return crashfs.Verdict{}
		}
		if r.seen++; r.seen != nth {
			return crashfs.Verdict{}
		}
		r.hit = filepath.Base(op.Path)
		return verdict
	}
	r.v.fs.Decide, r.v.fs.DecideRead = decide, decide
	return r
}

// live opens the store and works with it until the work ends or the store does. It reports an error that came without a fault, or a
// promise that came behind one.
func (r *faultRun) live() (final error, problem error) {
	s, err := r.v.try()
	if err != nil {
		return err, nil
	}
	r.v.source = &Source{Epoch: r.v.epoch, Lineage: s.Lineage(), Segment: r.v.named}
	s.Activated()
	problem = r.work(s)
	final = s.Close()
	r.v.source.Segment, r.v.source.Time = r.v.named, s.Now()
	if s.Err() != nil {
		final = s.Err()
	}
	return final, problem
}

// work publishes, settles and marks over several segments, with checkpoints between that carry forward and remove files.
func (r *faultRun) work(s *Store) error {
	units := [][]core.Op{{define("q", q1)}}
	for seq := core.Seq(1); seq <= 24; seq++ {
		units = append(units, []core.Op{publish(seq, strings.Repeat(string(rune('a'+seq)), 700))})
		if seq%3 != 0 {
			units = append(units, []core.Op{settle(seq, seq)})
		} else {
			units = append(units, []core.Op{{Kind: core.OpMark, Queue: q1, Ranges: []core.Range{{First: seq, Last: seq}}}})
		}
	}
	failed := false
	for i, ops := range units {
		err := tryCommit(s, ops...)
		switch {
		case err == nil && failed:
			return fmt.Errorf("unit %d was promised behind a failure", i)
		case err == nil:
			r.promised.apply(ops)
			r.doubtful.apply(ops)
		case !failed:
			failed = true
			r.doubtful.apply(ops)
		}
		if i%12 == 11 && !failed {
			if err := s.checkpoint(); err != nil {
				_ = s.fail(err) // as the checkpointer does
				failed = true
			}
		}
	}
	return nil
}

// verify opens what a crash leaves, on a disk that works again.
func (r *faultRun) verify(clean bool) error {
	after := r.v.fs.Crash(rand.New(rand.NewPCG(uint64(r.nth), 3)))
	r.v.fs = after
	s, err := r.v.try()
	if err != nil {
		return fmt.Errorf("does not open again: %w", err)
	}
	defer s.Close() // it was only looked at
	var diffs []string
	for _, m := range []*state{r.promised, r.doubtful} {
		m = m.clone()
		if !clean {
			m.endUncleanly()
		}
		diff, err := m.difference(s)
		if err != nil {
			return err
		}
		if diff == "" {
			return nil
		}
		diffs = append(diffs, diff)
	}
	return fmt.Errorf("holds neither what was promised (%s) nor that and the unit that failed (%s)", diffs[0], diffs[1])
}

// TestFaults_EveryOperation fails each operation that a life consists of, one in each run. Whatever fails: nothing is promised behind
// it, the error names the operation and the file, and after a crash all that was promised is there, and nothing that was settled.
func TestFaults_EveryOperation(t *testing.T) {
	fault := func(err error, short int) crashfs.Verdict { return crashfs.Verdict{Err: err, Short: short} }
	for _, c := range []struct {
		kind    crashfs.Kind
		name    string
		verdict crashfs.Verdict
		serves  bool // the store goes on without
		atLeast int  // operations of the kind in a life
	}{
		{crashfs.Create, "EIO", fault(syscall.EIO, 0), false, 5},
		{crashfs.Create, "ENOSPC", fault(syscall.ENOSPC, 0), false, 5},
		{crashfs.Write, "EIO", fault(syscall.EIO, 0), false, 20},
		{crashfs.Write, "ENOSPC", fault(syscall.ENOSPC, 0), false, 20},
		{crashfs.Write, "short", fault(io.ErrShortWrite, 37), false, 20},
		{crashfs.Write, "short by sectors", fault(syscall.ENOSPC, crashfs.Sector), false, 20},
		{crashfs.Sync, "EIO", fault(syscall.EIO, 0), false, 20},
		{crashfs.Sync, "ENOSPC", fault(syscall.ENOSPC, 0), false, 20},
		{crashfs.SyncDir, "EIO", fault(syscall.EIO, 0), false, 5},
		{crashfs.Remove, "EIO", fault(syscall.EIO, 0), true, 2},
		{crashfs.Open, "EIO", fault(syscall.EIO, 0), false, 1},
		{crashfs.Read, "EIO", fault(syscall.EIO, 0), false, 1},
		{crashfs.Free, "EIO", fault(syscall.EIO, 0), false, 1},
	} {
		t.Run(string(c.kind)+" "+c.name, func(t *testing.T) {
			n := 1
			for ; ; n++ {
				r := newFaultRun(t, c.kind, n, c.verdict)
				final, problem := r.live()
				if problem != nil {
					t.Fatalf("operation %d: %v", n, problem)
				}
				if r.hit == "" {
					break // there are fewer of them
				}
				name := r.hit
				if final == nil {
					name = ""
				}
				if final == nil && !c.serves && !strings.HasPrefix(r.hit, "ballast") && c.kind != crashfs.Sync && c.kind != crashfs.Write {
					t.Errorf("operation %d, on %s: the store goes on", n, r.hit)
				}
				if final != nil && (!errors.Is(final, c.verdict.Err) || !strings.Contains(final.Error(), string(c.kind)) || !strings.Contains(final.Error(), name)) {
					t.Errorf("operation %d, on %s: the store ends with %v", n, r.hit, final)
				}
				if err := r.verify(final == nil); err != nil {
					t.Fatalf("operation %d, on %s: %v (the store ended with %v)", n, r.hit, err, final)
				}
			}
			if n <= c.atLeast {
				t.Errorf("%d operations were found to fail, which cannot be all", n-1)
			}
		})
	}
}

// TestFaults_SaidOnce: the error that ends the process says once that the store failed, which one, in which operation on which file, and why.
func TestFaults_SaidOnce(t *testing.T) {
	v := newLives(t)
	var broken atomic.Bool
	v.fs.Decide = func(op crashfs.Op) crashfs.Verdict {
		if broken.Load() && op.Kind == crashfs.Write {
			return crashfs.Verdict{Err: syscall.EIO}
		}
		return crashfs.Verdict{}
	}
	s := v.open()
	broker, err := core.Open(t.Context(), s, core.Options{Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, define("q", q1))
	broken.Store(true)
	if err := tryCommit(s, publish(1, "a")); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	<-broker.Failed()
	text := broker.Err().Error()
	for _, part := range []string{"/store", "fail", "write journal segment e0000000001-0000000001.seg", "input/output error"} {
		if n := strings.Count(text, part); n != 1 {
			t.Errorf("%q is there %d times: %s", part, n, text)
		}
	}
	broker.Close()
	if err := s.Close(); err == nil {
		t.Error("closed in spite of it")
	}
}

// TestHang: while the disk does not answer, nothing passes and nothing fails; what is stored can be read, how long it has been can be
// asked, and when it answers everything passes in order.
func TestHang(t *testing.T) {
	for _, kind := range []crashfs.Kind{crashfs.Write, crashfs.Sync} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newLives(t)
				answer := make(chan struct{})
				var hang atomic.Bool
				v.fs.Decide = func(op crashfs.Op) crashfs.Verdict {
					if op.Kind == kind && hang.Load() {
						return crashfs.Verdict{Wait: answer}
					}
					return crashfs.Verdict{}
				}
				s := v.open()
				commit(t, s, define("q", q1), publish(1, "a"))
				if d := s.Stalled(); d != 0 {
					t.Errorf("stalled for %v with nothing to do", d)
				}
				hang.Store(true)
				first, second := make(waiter, 1), make(waiter, 1)
				ops := []core.Op{publish(2, "b")}
				ops[0].Done = first
				s.Commit(ops)
				time.Sleep(time.Minute)
				ops = []core.Op{publish(3, "c")}
				ops[0].Done = second
				s.Commit(ops)
				time.Sleep(time.Minute)
				synctest.Wait()
				if d := s.Stalled().Round(time.Second); d != 2*time.Minute {
					t.Errorf("stalled for %v after two minutes", d)
				}
				if len(first) > 0 || len(second) > 0 || s.Pending() == 0 {
					t.Errorf("passed: %d and %d, with %d bytes pending", len(first), len(second), s.Pending())
				}
				expect(t, tell(t, s, q1), "1:a*0")
				hang.Store(false)
				close(answer)
				if err := errors.Join(<-first, <-second); err != nil {
					t.Error(err)
				}
				expect(t, tell(t, s, q1), "1:a*0 2:b*0 3:c*0")
				synctest.Wait()
				if d := s.Stalled(); d != 0 {
					t.Errorf("stalled for %v afterwards", d)
				}
				if h := s.Stats().Write; h.Count < 3 || h.Sum < 60 || h.Buckets[float64(1<<writeUnit)*1e-9] == h.Count {
					t.Errorf("two minutes are not in the histogram: %+v", h)
				}
				v.close(s)
			})
		})
	}
}

// TestLatency_GathersGroups: on a disk that takes long for a sync, more goes into one.
func TestLatency_GathersGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newLives(t)
		v.edit = func(o *Options) { o.SegmentSize = mib }
		v.fs.Decide = func(op crashfs.Op) crashfs.Verdict {
			if op.Kind != crashfs.Sync {
				return crashfs.Verdict{}
			}
			answer := make(chan struct{})
			time.AfterFunc(50*time.Millisecond, func() { close(answer) })
			return crashfs.Verdict{Wait: answer}
		}
		s := v.open()
		commit(t, s, define("q", q1))
		before, begun := s.Stats().Groups, time.Now()
		done := make(waiter, 1000)
		for seq := core.Seq(1); seq <= 1000; seq++ {
			ops := []core.Op{publish(seq, "a")}
			ops[0].Done = done
			s.Commit(ops)
			time.Sleep(time.Millisecond)
		}
		for range 1000 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if groups, took := s.Stats().Groups-before, time.Since(begun); groups > 25 || took > 1200*time.Millisecond {
			t.Errorf("%d groups and %v for one second of publishes", groups, took)
		}
		v.close(s)
	})
}
