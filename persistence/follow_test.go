package persistence

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
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
	if p := v.f.Progress(); !p.CaughtUp || p.Source != 1 || p.Reason != "" {
		t.Errorf("%+v", p)
	}
	v.close(s)
}
