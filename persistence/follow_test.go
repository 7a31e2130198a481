package persistence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/index"
	"github.com/batonmq/baton/persistence/journal"
	"github.com/batonmq/baton/persistence/journal/crashfs"
)

// followed is a store with a standby behind it.
type followed struct {
	*lives
	own *memIndexDisk // the standby's index
	f   *Follower
}

func newFollowed(t *testing.T) *followed {
	t.Helper()
	return &followed{lives: newLives(t), own: newMemIndexDisk()}
}

// standBy begins to follow, with what the standby's index holds.
func (v *followed) standBy() {
	v.t.Helper()
	f, err := NewFollower(v.t.Context(), Options{
		Dir: "/store", StoreID: [16]byte{5}, Files: v.fs, Logger: slog.New(slog.NewTextHandler(v.log, nil)),
		SegmentSize: 4096, CheckpointEvery: time.Hour, CheckpointBytes: 1 << 40,
		openIndex: func(*Options) (indexer, error) { return newMemIndex(v.fs, v.own), nil },
	})
	if err != nil {
		v.t.Fatal(err)
	}
	v.f = f
}

// catchUp takes one step behind the living store.
func (v *followed) catchUp() error {
	src := *v.source
	src.Segment, src.Promised = v.named, v.told
	return v.f.step(v.t.Context(), src)
}

// takeOver opens the next life with what was followed, and leaves the standby's index in its place.
func (v *followed) takeOver() *Store {
	v.t.Helper()
	v.f.stopReading()
	v.f.index.(*memIndex).fs = v.fs //nolint:forcetypeassert // standBy made it
	f := v.f
	edit := v.edit
	v.edit = func(o *Options) {
		if edit != nil {
			edit(o)
		}
		o.Follower = f
	}
	s := v.open()
	v.edit = edit
	v.index, v.own = v.own, newMemIndexDisk()
	return s
}

func TestFollower_TakesOverWhatWasPromised(t *testing.T) {
	v := newFollowed(t)
	s := v.open()
	v.standBy()
	commit(t, s, define("q", q1), publish(1, "a"))
	commit(t, s, publish(2, "b"))
	if err := v.catchUp(); err != nil {
		t.Fatal(err)
	}
	commit(t, s, publish(3, "c"))
	commit(t, s, settle(2, 2))
	if err := v.catchUp(); err != nil {
		t.Fatal(err)
	}
	commit(t, s, publish(4, "d")) // that the standby has not seen
	v.kill(s)
	s = v.takeOver()
	expect(t, tell(t, s, q1), "1:a*1 3:c*1 4:d*1")
	if strings.Contains(v.log.String(), "not used") {
		t.Error("what was followed was not used:\n", v.log)
	}
	v.close(s)
}

// TestFollower_OnlyWhatHasPassed: a group whose fence was not read must not reach the standby, which may outlive a seal before it.
func TestFollower_OnlyWhatHasPassed(t *testing.T) {
	v := newFollowed(t)
	hold := make(chan struct{})
	guarding := make(chan struct{}, 1)
	armed := false
	v.edit = func(o *Options) {
		o.Guard = func() error {
			if armed {
				guarding <- struct{}{}
				<-hold
			}
			return nil
		}
	}
	s := v.open()
	v.standBy()
	commit(t, s, define("q", q1), publish(1, "a"))
	commit(t, s, publish(2, "b"))
	armed = true
	done := make(waiter, 1)
	op := publish(3, "c")
	op.Done = done
	s.Commit([]core.Op{op})
	<-guarding
	if err := v.catchUp(); err != nil {
		t.Fatal(err)
	}
	q := v.f.live.queues[q1]
	if q == nil || q.next != 2 {
		t.Errorf("the standby holds %+v, want the place 1 alone: behind 2 nothing has passed", q)
	}
	close(hold)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	armed = false
	commit(t, s, publish(4, "d"))
	if err := v.catchUp(); err != nil {
		t.Fatal(err)
	}
	if q := v.f.live.queues[q1]; q.next != 4 {
		t.Errorf("next is %d, want 4: 4 is in the last group", q.next)
	}
	v.close(s)
}

// TestFollower_Random: whatever the primary does, however far behind the standby is, and whether or not its own index was saved, a
// takeover finds what a restart of the primary finds.
func TestFollower_Random(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			v, r := newFollowed(t), rand.New(rand.NewPCG(seed, 7))
			s := v.open()
			v.standBy()
			commit(t, s, define("q", q1))
			next := core.Seq(1)
			for range 5 + r.IntN(5) {
				for range r.IntN(60) {
					next = v.randomStep(s, r, next)
				}
				if r.IntN(4) == 0 { // the standby is started anew, with its index
					v.f.stopReading()
					v.standBy()
				}
				commit(t, s, publish(next, "last"))
				next++
				v.kill(s)
				again := &lives{t: t, fs: v.fs.Clone(), index: v.index.clone(), log: v.log, epoch: v.epoch, source: v.source}
				plain := again.open()
				want := tell(t, plain, q1)
				again.close(plain)
				s = v.takeOver()
				expect(t, tell(t, s, q1), want)
				v.standBy()
			}
			v.close(s)
		})
	}
}

func (v *followed) randomStep(s *Store, r *rand.Rand, next core.Seq) core.Seq {
	v.t.Helper()
	switch n := r.IntN(20); {
	case n < 10:
		commit(v.t, s, publish(next, strings.Repeat(fmt.Sprint(next, " "), 1+r.IntN(100))))
		return next + 1
	case n < 14:
		from := 1 + core.Seq(r.Uint64N(uint64(next)))
		commit(v.t, s, settle(from, from+core.Seq(r.IntN(30))))
	case n < 15:
		commit(v.t, s, core.Op{Kind: core.OpMark, Queue: q1, Ranges: []core.Range{{First: 1, Last: next}}})
	case n < 16:
		if err := s.checkpoint(); err != nil {
			v.t.Fatal(err)
		}
	case n < 17 && v.f.live != nil:
		if err := v.f.checkpoint(); err != nil {
			v.t.Fatal(err)
		}
	default:
		// A segment that the standby needed may be gone: it says so, and begins anew.
		if err := v.catchUp(); err != nil {
			if err := v.catchUp(); err != nil {
				v.t.Fatal(err)
			}
		}
	}
	return next
}

// TestFollower_Follow: it runs until it is told to stop, and tells how far it is.
func TestFollower_Follow(t *testing.T) {
	v := newFollowed(t)
	s := v.open()
	v.standBy()
	commit(t, s, define("q", q1), publish(1, "a"))
	commit(t, s, publish(2, "b"))
	src := *v.source
	src.Promised = v.told
	ctx, stop := context.WithCancel(t.Context())
	asked := 0
	err := v.f.Follow(ctx, func() (Source, bool, error) {
		if asked++; asked == 3 {
			stop()
		}
		return src, asked > 1, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if p := v.f.Progress(); !p.CaughtUp || p.Source != 1 || p.Reason != "" || p.Time.Before(time.Now().Add(-time.Minute)) {
		t.Errorf("%+v", p)
	}
	v.close(s)
}

// standbyIndex is the index of the standby that v has now.
func (v *followed) standbyIndex() *memIndex {
	return v.f.index.(*memIndex) //nolint:forcetypeassert // standBy made it
}

// mustCatchUp takes one step that must succeed.
func (v *followed) mustCatchUp() {
	v.t.Helper()
	if err := v.catchUp(); err != nil {
		v.t.Fatal(err)
	}
}

// TestFollower_ChunkThatCannotBeRead: what the standby's index does not give must not look empty to the next checkpoint: the index is
// made anew from the journal.
func TestFollower_ChunkThatCannotBeRead(t *testing.T) {
	v := newFollowed(t)
	s := v.open()
	v.standBy()
	commit(t, s, define("q", q1), publish(1, "a"), publish(2, "b"), publish(3, "c"))
	var further strings.Builder
	for seq := range core.Seq(shortChunk) { // so many that the chunk is not read at once
		commit(t, s, publish(10+seq, "x"))
		fmt.Fprintf(&further, " %d:x*1", 10+seq)
	}
	commit(t, s, publish(4, "d"))
	commit(t, s, publish(5, "e"))
	v.mustCatchUp()
	if err := v.f.checkpoint(); err != nil {
		t.Fatal(err)
	}
	v.f.stopReading()
	v.standBy()                                      // whose chunks are in its index alone
	v.standbyIndex().broken = errors.New("checksum") // as when the disk has damaged one
	commit(t, s, settle(2, 2), publish(6, "f"))      // which is needed for this
	commit(t, s, publish(7, "g"))
	if err := v.catchUp(); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Fatalf("%v, want the chunk's error", err)
	}
	v.standbyIndex().broken = nil
	v.mustCatchUp()
	if err := v.f.checkpoint(); err != nil {
		t.Fatal(err)
	}
	v.f.stopReading()
	v.standBy()
	commit(t, s, publish(8, "h"))
	v.kill(s)
	s = v.takeOver()
	expect(t, tell(t, s, q1), "1:a*1 3:c*1 4:d*1 5:e*1 6:f*1 7:g*1 8:h*1"+further.String())
	v.close(s)
}

// TestFollower_FullDisk: a checkpoint for which the standby's disk has no room waits, and is not mixed with what a start reads without it.
func TestFollower_FullDisk(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("memory lost %v", lost), func(t *testing.T) {
			v := newFollowed(t)
			s := v.open()
			v.standBy()
			v.f.opt.CheckpointBytes = 1 // a checkpoint after each group
			commit(t, s, define("q", q1), publish(1, "a"))
			commit(t, s, publish(2, "b"))
			v.mustCatchUp()
			v.standbyIndex().full = true
			commit(t, s, publish(5000, "c"))
			commit(t, s, publish(5001, "d"))
			if err := v.catchUp(); !errors.Is(err, index.ErrSpace) {
				t.Fatalf("%v, want no space", err)
			}
			commit(t, s, settle(5000, 5001))
			commit(t, s, publish(5002, "e"))
			commit(t, s, publish(5003, "f"))
			if err := v.catchUp(); !errors.Is(err, index.ErrSpace) {
				t.Fatalf("%v, want no space still", err)
			}
			if lost {
				_ = v.f.failed(errHalfApplied)
			}
			v.standbyIndex().full = false
			v.kill(s)
			s = v.takeOver()
			if err := s.checkpoint(); err != nil {
				t.Fatal(err)
			}
			want := "1:a*1 2:b*1 5002:e*1 5003:f*1"
			expect(t, tell(t, s, q1), want)
			v.kill(s)
			s = v.open()
			expect(t, tell(t, s, q1), want)
			v.close(s)
		})
	}
}

// TestFollower_NextSegmentReclaimed: a segment behind the one being read that has come and gone between two looks is a gap, which the
// standby must not wait for for ever, and no damage.
func TestFollower_NextSegmentReclaimed(t *testing.T) {
	v := newFollowed(t)
	s := v.open()
	v.standBy()
	commit(t, s, define("q", q1), publish(1, "a"))
	commit(t, s, publish(2, "b"))
	v.mustCatchUp()
	commit(t, s, publish(3, strings.Repeat("c", 5000))) // segments of their own
	commit(t, s, publish(4, strings.Repeat("d", 5000)))
	commit(t, s, settle(3, 4))
	for range 2 {
		if err := s.checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	if s.Stats().Reclaimed == 0 {
		t.Fatal("nothing was reclaimed")
	}
	commit(t, s, publish(5, "e"))
	commit(t, s, publish(6, "f"))
	for range gapTries {
		if err := v.catchUp(); !errors.Is(err, journal.ErrGone) {
			t.Fatalf("%v, want that the journal was reclaimed", err)
		}
	}
	v.mustCatchUp()
	if q := v.f.live.queues[q1]; q.next != 6 || q.count != 3 {
		t.Errorf("%d messages before place %d, want 3 before 6: 6 is in the last group", q.count, q.next)
	}
	v.close(s)
}

// TestFollower_DiskError: an error of the disk that is over soon costs the standby nothing: neither its index nor what is in memory.
func TestFollower_DiskError(t *testing.T) {
	v := newFollowed(t)
	s := v.open()
	v.standBy()
	commit(t, s, define("q", q1), publish(1, "a"))
	commit(t, s, publish(2, "b"))
	v.mustCatchUp()
	if err := v.f.checkpoint(); err != nil {
		t.Fatal(err)
	}
	broken := true
	v.fs.DecideRead = func(op crashfs.Op) crashfs.Verdict {
		if broken && op.Kind == crashfs.Read {
			return crashfs.Verdict{Err: syscall.EIO}
		}
		return crashfs.Verdict{}
	}
	commit(t, s, publish(3, "c"))
	commit(t, s, publish(4, "d"))
	for range 5 {
		if err := v.catchUp(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("%v, want an I/O error", err)
		}
	}
	if _, ok := v.standbyIndex().Root(); !ok || v.f.live == nil {
		t.Error("what was followed was thrown away")
	}
	broken = false
	v.mustCatchUp()
	if q := v.f.live.queues[q1]; q.next != 4 {
		t.Errorf("next is %d, want 4", q.next)
	}
	v.close(s)
}

// TestFollower_Damage: what damage in the journal means is decided by a start. The standby says what it is, and keeps what it has: its
// index may be all that spares the start the damage.
func TestFollower_Damage(t *testing.T) {
	v := newFollowed(t)
	s := v.open()
	v.standBy()
	commit(t, s, define("q", q1), publish(1, "a"))
	commit(t, s, publish(2, "b"))
	v.mustCatchUp()
	if err := v.f.checkpoint(); err != nil {
		t.Fatal(err)
	}
	commit(t, s, publish(3, strings.Repeat("c", 5000))) // a segment of its own
	commit(t, s, publish(4, "d"))
	commit(t, s, publish(5, "e"))
	if err := v.fs.Flip("/store/journal/e0000000001-0000000002.seg", 3000); err != nil {
		t.Fatal(err)
	}
	_ = v.catchUp() // it may only come to it
	for range 5 {
		if _, damaged := errors.AsType[*DamageError](v.catchUp()); !damaged {
			t.Fatal("the damage was not met")
		}
	}
	if _, ok := v.standbyIndex().Root(); !ok {
		t.Error("the index was emptied")
	}
	v.kill(s)
	s = v.takeOver()
	expect(t, tell(t, s, q1), "1:a*1 2:b*1 4:d*1 5:e*1")
	if strings.Contains(v.log.String(), "not used") || !strings.Contains(v.log.String(), "queue=4294967297 seq=3") {
		t.Error("what was followed was not used, or the message that is lost is not named:\n", v.log)
	}
	v.close(s)
}

// TestFollower_DamageInTheNewest: what is known to be promised and cannot be read is damage, also where nothing can be read behind it.
func TestFollower_DamageInTheNewest(t *testing.T) {
	v := newFollowed(t)
	s := v.open()
	v.standBy()
	commit(t, s, define("q", q1), publish(1, "a"))
	commit(t, s, publish(2, "b"))
	v.mustCatchUp()
	commit(t, s, publish(3, strings.Repeat("c", 900)))
	size := v.segmentPaths()["/store/journal/e0000000001-0000000001.seg"]
	commit(t, s, publish(4, "d"))
	if err := v.fs.Flip("/store/journal/e0000000001-0000000001.seg", size-100); err != nil {
		t.Fatal(err)
	}
	if _, damaged := errors.AsType[*DamageError](v.catchUp()); !damaged {
		t.Error("the standby stands still without a word")
	}
	v.close(s)
}

// TestFollower_StoppedWhileReading: the end of its context, with which a takeover begins, takes nothing from what was followed.
func TestFollower_StoppedWhileReading(t *testing.T) {
	v := newFollowed(t)
	s := v.open()
	v.standBy()
	commit(t, s, define("q", q1), publish(1, "a"))
	commit(t, s, publish(2, "b"))
	v.mustCatchUp()
	commit(t, s, publish(3, "c"))
	commit(t, s, publish(4, "d"))
	src := *v.source
	src.Promised = v.told
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := v.f.step(ctx, src); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	v.kill(s)
	v.f.index.(*memIndex).replace(newMemIndexDisk()) //nolint:forcetypeassert // so that a start can go on from memory alone
	s = v.takeOver()
	expect(t, tell(t, s, q1), "1:a*1 2:b*1 3:c*1 4:d*1")
	if strings.Contains(v.log.String(), "rebuilding the index") {
		t.Error("what was followed was not used:\n", v.log)
	}
	v.close(s)
}

// TestOpen_ClosesFollower: a follower that was given to Open is Open's, whatever becomes of that.
func TestOpen_ClosesFollower(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*Options)
	}{
		{"bad options", func(o *Options) { o.Epoch = 0 }},
		{"no space", func(o *Options) { o.Files.(*crashfs.FS).SetFree(1, true) }}, //nolint:forcetypeassert // it is
		{"no history", func(o *Options) { o.Source = &Source{Epoch: 7}; o.Epoch = 8 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := newFollowed(t)
			s := v.open()
			v.standBy()
			commit(t, s, define("q", q1))
			v.kill(s)
			x := v.standbyIndex()
			v.edit = func(o *Options) {
				o.Follower = v.f
				tt.edit(o)
			}
			if s, err := v.try(); err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			if !x.closed {
				t.Error("the follower's index is open still")
			}
		})
	}
}

// TestSource_Holds: a place is of a history up to the seal of its epoch, not beyond.
func TestSource_Holds(t *testing.T) {
	src := Source{Epoch: 7, Lineage: []Seal{{Epoch: 3, Offset: 100}, {Epoch: 5, Offset: 200}}}
	for _, tt := range []struct {
		at   journal.Position
		want bool
	}{
		{journal.Position{Epoch: 3, Offset: 100}, true},
		{journal.Position{Epoch: 3, Offset: 101}, false},
		{journal.Position{Epoch: 4, Offset: 1}, false},
		{journal.Position{Epoch: 5, Offset: 8}, true},
		{journal.Position{Epoch: 7, Offset: 1 << 40}, true},
		{journal.Position{Epoch: 8}, false},
	} {
		if got := src.holds(tt.at); got != tt.want {
			t.Errorf("%v: %v", tt.at, got)
		}
	}
}
