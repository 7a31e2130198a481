package persistence

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal/crashfs"
)

// TestDelivered_EndDecides: after an orderly end counts are as recorded; after a kill what lived may have been delivered, for good.
func TestDelivered_EndDecides(t *testing.T) {
	v := newLives(t)
	s := v.open()
	commit(t, s, define("q", q1), publish(1, "a"), publish(2, "b"))
	commit(t, s, core.Op{Kind: core.OpMark, Queue: q1, Ranges: []core.Range{{First: 2, Last: 2}}},
		core.Op{Kind: core.OpMark, Queue: q1, Ranges: []core.Range{{First: 2, Last: 2}}})
	expect(t, tell(t, s, q1), "1:a*0 2:b*2")
	v.close(s)

	s = v.open()
	expect(t, tell(t, s, q1), "1:a*0 2:b*2")
	commit(t, s, publish(3, "c"))
	v.kill(s)

	s = v.open()
	expect(t, tell(t, s, q1), "1:a*1 2:b*2 3:c*1")
	commit(t, s, publish(4, "d"))
	v.close(s)

	s = v.open()
	expect(t, tell(t, s, q1), "1:a*1 2:b*2 3:c*1 4:d*0")
	v.close(s)
	if log := v.log.String(); strings.Contains(log, "rebuilding") {
		t.Errorf("a clean end leaves a checkpoint, so that no later start needs the whole journal:\n%s", log)
	}
}

// TestKillAfterCheckpoint_NoRebuild: the root never lies behind the seal, so that a kill right after a checkpoint costs no rebuild.
func TestKillAfterCheckpoint_NoRebuild(t *testing.T) {
	v := newLives(t)
	s := v.open()
	commit(t, s, define("q", q1), publish(1, "a"))
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	v.kill(s)
	s = v.open()
	expect(t, tell(t, s, q1), "1:a*1")
	v.close(s)
	if log := v.log.String(); strings.Contains(log, "rebuilding") {
		t.Errorf("rebuilt:\n%s", log)
	}
}

// TestDefinitions_Order: those of no queue first, each kind in the order in which it was made, also when replaced, also after a rebuild
// from which the first records are gone.
func TestDefinitions_Order(t *testing.T) {
	v := newLives(t)
	s := v.open()
	commit(t, s, define("z", 0), define("q", q1), define("y", 0), define("p", q1+1), define("x", 0))
	fill(t, s, 1, 40)
	commit(t, s, define("z", 0), define("q", q1))
	commit(t, s, core.Op{Kind: core.OpRemove, Key: "y"})
	commit(t, s, define("y", 0))
	fill(t, s, 41, 80)
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	for _, index := range []string{"used", "lost"} {
		v.close(s)
		if index == "lost" {
			v.index = newMemIndexDisk()
		}
		s = v.open()
		var keys []string
		for d, err := range s.Recover(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, d.Key)
		}
		if want := []string{"z", "x", "y", "q", "p"}; !slices.Equal(keys, want) {
			t.Errorf("index %s: %v, want %v", index, keys, want)
		}
	}
	v.close(s)
}

// fill publishes and settles the places first to last, one group each, so that segments begin and die.
func fill(t *testing.T, s *Store, first, last core.Seq) {
	t.Helper()
	for seq := first; seq <= last; seq++ {
		commit(t, s, publish(seq, strings.Repeat("x", 500)))
		commit(t, s, settle(seq, seq))
	}
}

// TestReclaim_BoundsTheDisk: what is settled goes, and places are not used again even when all that ever said so has gone.
func TestReclaim_BoundsTheDisk(t *testing.T) {
	v := newLives(t)
	s := v.open()
	commit(t, s, define("q", q1))
	for n := range core.Seq(10) {
		fill(t, s, 20*n+1, 20*n+20)
		if err := s.checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Stats().Segments; n > 6 {
		t.Errorf("%d segments of 4 KiB are left and nothing is alive but one definition", n)
	}
	v.close(s)
	v.index = newMemIndexDisk()
	s = v.open()
	for d, err := range s.Recover(t.Context()) {
		if err != nil || d.Next != 201 || d.Count != 0 {
			t.Errorf("%+v, %v, want next 201", d, err)
		}
	}
	v.close(s)
}

// TestElision: what one group publishes and settles is not written, is not readable, and is promised in its turn.
func TestElision(t *testing.T) {
	v := newLives(t)
	guarded := 0
	v.edit = func(o *Options) { o.Guard = func() error { guarded++; return nil } }
	s := v.open()
	commit(t, s, define("q", q1), define("p", q1+1))
	before, asked := s.Stats(), guarded
	gone := publish(1, strings.Repeat("a", 1000))
	commit(t, s, gone, settle(1, 1))
	if st := s.Stats(); st.Groups != before.Groups || st.Bytes != before.Bytes || st.Elided != 1 {
		t.Errorf("%d groups of %d bytes were written for a message that needs none, %d elided",
			st.Groups-before.Groups, st.Bytes-before.Bytes, st.Elided)
	}
	if guarded != asked+1 {
		t.Errorf("the guard was asked %d times before the promise, want once", guarded-asked)
	}
	if gone.Msg.Stored() {
		t.Error("a message that was not written counts as stored")
	}
	half := publish(2, "b")
	half.More = []core.Pair{{Queue: q1 + 1, Seq: 1}}
	commit(t, s, half, settle(2, 2))
	expect(t, tell(t, s, q1), "")
	expect(t, tell(t, s, q1+1), "1:b*0")
	if !half.Msg.Stored() {
		t.Error("a message that lives in one of its queues does not count as stored")
	}
	v.close(s)
}

// TestElision_PlacesAreUsed: after a kill, a place that was elided is not given out again if any record is left that was committed with it
// or after it; after an orderly end it never is.
func TestElision_PlacesAreUsed(t *testing.T) {
	for _, c := range []struct {
		name    string
		then    []core.Op
		orderly bool
		next    core.Seq
	}{
		{
			name: "a record in the same group",
			then: []core.Op{publish(7, "c"), settle(7, 7), {Kind: core.OpDefine, Key: "of 7"}}, next: 8,
		},
		{name: "a record of something else later", then: []core.Op{{Kind: core.OpDefine, Key: "of 3"}}, next: 4},
		{name: "an orderly end", orderly: true, next: 4},
		{name: "nothing", next: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newLives(t)
			s := v.open()
			commit(t, s, define("q", q1), publish(1, "a"))
			commit(t, s, publish(3, "b"), settle(3, 3))
			commit(t, s, publish(2, "late"), settle(2, 2))
			if len(c.then) > 0 {
				commit(t, s, c.then...)
			}
			if c.orderly {
				v.close(s)
			} else {
				v.kill(s)
			}
			s = v.open()
			for d, err := range s.Recover(t.Context()) {
				if d.Key == "q" && (err != nil || d.Next != c.next) {
					t.Errorf("next %d, %v, want %d", d.Next, err, c.next)
				}
			}
			v.close(s)
		})
	}
}

func TestLoad_Limits(t *testing.T) {
	v := newLives(t)
	s := v.open()
	ops := []core.Op{define("q", q1)}
	for seq := core.Seq(1); seq <= 3000; seq += 3 {
		ops = append(ops, publish(seq, fmt.Sprint(seq)))
	}
	commit(t, s, ops...)
	const record = 26 // bytes, of a message whose body is one
	for _, c := range []struct {
		name            string
		from, to        core.Seq
		entries, bytes  int
		n               int
		first, lastSeen core.Seq
	}{
		{"everything", 0, 5000, 5000, 1 << 20, 1000, 1, 2998},
		{"a range across chunks", 1000, 1100, 5000, 1 << 20, 34, 1000, 1099},
		{"between two places", 2, 3, 10, 1 << 20, 0, 0, 0},
		{"entries end it", 4, 5000, 7, 1 << 20, 7, 4, 22},
		{"bytes end it, after the one that reaches them", 1, 5000, 100, 2*record + 1, 3, 1, 7},
		{"behind the last", 2999, 5000, 10, 1 << 20, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := s.Load(q1, c.from, c.to, c.entries, c.bytes)
			if err != nil || len(got) != c.n {
				t.Fatalf("%d entries, %v, want %d", len(got), err, c.n)
			}
			for i, e := range got {
				if string(e.Msg.Body) != fmt.Sprint(e.Seq) || !e.Msg.Stored() || i > 0 && got[i-1].Seq >= e.Seq {
					t.Errorf("entry %d: %+v", i, e)
				}
			}
			if c.n > 0 && (got[0].Seq != c.first || got[c.n-1].Seq != c.lastSeen) {
				t.Errorf("from %d to %d, want %d to %d", got[0].Seq, got[c.n-1].Seq, c.first, c.lastSeen)
			}
		})
	}
	v.close(s)
}

// TestFaults_AreFinal: the first error of a write, a sync, the guard or the naming of a segment reaches everything from then on.
func TestFaults_AreFinal(t *testing.T) {
	eio := errors.New("input/output error")
	var armed sync.Map
	fault := func(kind crashfs.Kind, short int) func(*lives, *Options) {
		return func(v *lives, _ *Options) {
			v.fs.Decide = func(op crashfs.Op) crashfs.Verdict {
				if _, on := armed.Load(v); on && op.Kind == kind {
					return crashfs.Verdict{Err: eio, Short: short}
				}
				return crashfs.Verdict{}
			}
		}
	}
	for name, set := range map[string]func(*lives, *Options){
		"write":       fault(crashfs.Write, 0),
		"short write": fault(crashfs.Write, 100),
		"sync":        fault(crashfs.Sync, 0),
		"guard": func(v *lives, o *Options) {
			o.Guard = func() error {
				if _, on := armed.Load(v); on {
					return eio
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := newLives(t)
			v.edit = func(o *Options) { set(v, o) }
			s := v.open()
			commit(t, s, define("q", q1), publish(1, "a"))
			armed.Store(v, true)
			lost := publish(2, "b")
			if err := tryCommit(s, lost); !errors.Is(err, eio) {
				t.Fatalf("%v, want %v", err, eio)
			}
			armed.Delete(v)
			<-s.Failed()
			if err := tryCommit(s, publish(3, "c")); !errors.Is(err, eio) || !errors.Is(s.Err(), eio) {
				t.Errorf("%v and %v, want %v", err, s.Err(), eio)
			}
			if lost.Msg.Stored() {
				t.Error("a message that has not passed counts as stored")
			}
			expect(t, tell(t, s, q1), "1:a*0")
			if err := s.Close(); !errors.Is(err, eio) {
				t.Errorf("close: %v", err)
			}
			if n := s.Pending(); n != 0 {
				t.Errorf("%d bytes are pending after the end", n)
			}
		})
	}
}

// TestNothingToWrite_IsGuarded: a promise without a record needs the guard like any other, and no write.
func TestNothingToWrite_IsGuarded(t *testing.T) {
	v := newLives(t)
	lost := errors.New("fenced")
	fenced := make(chan struct{})
	v.edit = func(o *Options) {
		o.Guard = func() error {
			select {
			case <-fenced:
				return lost
			default:
				return nil
			}
		}
	}
	s := v.open()
	commit(t, s, core.Op{Kind: core.OpNone})
	before := s.Stats()
	commit(t, s, core.Op{Kind: core.OpNone})
	if after := s.Stats(); after.Groups != before.Groups || after.Bytes != before.Bytes {
		t.Errorf("%d groups of %d bytes for nothing", after.Groups-before.Groups, after.Bytes-before.Bytes)
	}
	close(fenced)
	if err := tryCommit(s, core.Op{Kind: core.OpNone}); !errors.Is(err, lost) {
		t.Errorf("%v, want %v", err, lost)
	}
	if err := s.Close(); !errors.Is(err, lost) {
		t.Errorf("close: %v", err)
	}
}

// TestLargeRecord_OwnSegment: a record larger than a segment is kept whole.
func TestLargeRecord_OwnSegment(t *testing.T) {
	v := newLives(t)
	s := v.open()
	large := strings.Repeat("L", 3*4096)
	commit(t, s, define("q", q1), publish(1, "a"))
	commit(t, s, publish(2, large))
	commit(t, s, publish(3, "b"))
	v.kill(s)
	s = v.open()
	got, err := s.Load(q1, 2, 2, 1, 1)
	if err != nil || len(got) != 1 || string(got[0].Msg.Body) != large {
		t.Errorf("%d entries, %v", len(got), err)
	}
	expect(t, tell(t, s, q1), "1:a*1 2:LLLLLLLL*1 3:b*1")
	v.close(s)
}

// TestClock_NeverStepsBack: it goes on from the source's time, or from its last group when that is later.
func TestClock_NeverStepsBack(t *testing.T) {
	v := newLives(t)
	s := v.open()
	commit(t, s, define("q", q1))
	last := s.Now()
	v.kill(s)
	v.source.Time = last.Add(-time.Hour)
	s = v.open()
	if now := s.Now(); now.Before(last.Add(-time.Second)) {
		t.Errorf("%v after %v", now, last)
	}
	commit(t, s, define("p", q1+1))
	v.kill(s)
	ahead := last.Add(time.Hour)
	v.source.Time = ahead
	s = v.open()
	if now := s.Now(); now.Before(ahead) {
		t.Errorf("%v, but the lease said %v", now, ahead)
	}
	v.close(s)
}

// TestCommitAfterClose is answered, with an error.
func TestCommitAfterClose(t *testing.T) {
	v := newLives(t)
	s := v.open()
	v.close(s)
	if err := tryCommit(s, core.Op{Kind: core.OpNone}); !errors.Is(err, ErrClosed) {
		t.Errorf("%v, want ErrClosed", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

// TestRealFilesAndIndex: the same through the operating system and Badger.
func TestRealFilesAndIndex(t *testing.T) {
	dir := t.TempDir()
	var source *Source
	for epoch := uint64(1); epoch <= 4; epoch++ {
		var log syncBuffer
		named := uint64(0)
		s, err := Open(t.Context(), Options{
			Dir: dir, Node: "n", StoreID: [16]byte{7}, Epoch: epoch, Source: source, SegmentSize: 64 << 10, CheckpointEvery: time.Hour,
			Logger:      slog.New(slog.NewTextHandler(&log, nil)),
			NameSegment: func(n uint64) error { named = n; return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Activated()
		if epoch == 1 {
			commit(t, s, define("q", q1))
		}
		from := core.Seq(epoch * 10000)
		for seq := from; seq < from+500; seq++ {
			s.Commit([]core.Op{publish(seq, strings.Repeat("y", 400))})
			if seq%5 > 0 {
				s.Commit([]core.Op{settle(seq-1, seq)})
			}
		}
		commit(t, s, core.Op{Kind: core.OpNone})
		if err := s.checkpoint(); err != nil {
			t.Fatal(err)
		}
		for d, err := range s.Recover(t.Context()) {
			if err != nil || d.Next != from+500 {
				t.Errorf("epoch %d: %+v, %v", epoch, d, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if epoch > 1 && strings.Contains(log.String(), "rebuilding") {
			t.Errorf("epoch %d rebuilt its index:\n%s", epoch, log.String())
		}
		source = &Source{Epoch: epoch, Lineage: s.Lineage(), Segment: named, Time: s.Now()}
	}
}

// TestEvict: what leaves memory is found in the index again, by whatever asks for it.
func TestEvict(t *testing.T) {
	v := newLives(t)
	s := v.open()
	s.live.resident = 4
	ops := []core.Op{define("q", q1)}
	for seq := core.Seq(1); seq <= 20*chunkPlaces; seq += 64 {
		ops = append(ops, publish(seq, fmt.Sprint(seq)))
	}
	commit(t, s, ops...)
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	absent := 0
	for _, c := range s.live.queues[q1].chunks {
		if c.absent {
			absent++
		}
	}
	if absent != 16 {
		t.Errorf("%d of 20 chunks are not in memory, want 16", absent)
	}
	commit(t, s, settle(2*chunkPlaces, 3*chunkPlaces-1), settle(5*chunkPlaces+1, 5*chunkPlaces+1),
		core.Op{Kind: core.OpMark, Queue: q1, Ranges: []core.Range{{First: 7*chunkPlaces + 1, Last: 7*chunkPlaces + 1}}})
	for _, end := range []string{"now", "after a clean end"} {
		entries, err := s.Load(q1, 0, ^core.Seq(0), 1000, 1<<20)
		if err != nil || len(entries) != 20*16-16-1 {
			t.Fatalf("%s: %d entries, %v", end, len(entries), err)
		}
		for _, e := range entries {
			if string(e.Msg.Body) != fmt.Sprint(e.Seq) || (e.Delivered == 1) != (e.Seq == 7*chunkPlaces+1) {
				t.Errorf("%s: place %d is %q, delivered %d", end, e.Seq, e.Msg.Body, e.Delivered)
			}
		}
		v.close(s)
		s = v.open()
	}
	commit(t, s, core.Op{Kind: core.OpRemove, Key: "q", Queue: q1})
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	if len(v.index.chunks) != 0 {
		t.Errorf("%d chunks of a removed queue are left in the index", len(v.index.chunks))
	}
	v.close(s)
}
