package ha_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/ha/hatest"
)

// freezer stops a node as SIGSTOP does: every file operation of it waits, and its
// locks stay.
type freezer struct {
	mu   sync.Mutex
	thaw chan struct{} // nil: not frozen
}

func (f *freezer) freeze() (thaw func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := make(chan struct{})
	f.thaw = c
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.thaw = nil
		close(c)
	}
}

func (f *freezer) before(string) error {
	f.mu.Lock()
	c := f.thaw
	f.mu.Unlock()
	if c != nil {
		<-c
	}
	return nil
}

func frozenBroker(disk *hatest.Disk) (*broker, *freezer) {
	b, f := newBroker(disk), new(freezer)
	b.files.Before = f.before
	return b, f
}

// TestStandby_WhenItActs says how long after the end, or the freeze, of a primary
// a standby serves.
func TestStandby_WhenItActs(t *testing.T) {
	const (
		atOnce   = 30 * time.Millisecond
		renewals = 2 * ttl / 5
		patience = ttl + ttl/10
	)
	for _, tc := range []struct {
		name     string
		disk     func(*hatest.Disk)
		opt      ha.Options
		end      string
		from, to time.Duration
	}{
		{name: "released", end: "stop", to: atOnce},
		{name: "killed", end: "kill", to: atOnce},
		{name: "frozen, its lock held", end: "freeze", from: patience - ttl/5, to: patience + atOnce},
		{name: "frozen, no locks", disk: func(d *hatest.Disk) { d.NoLocks = true }, end: "freeze", from: patience - ttl/5, to: patience + atOnce},
		{name: "killed, no locks", disk: func(d *hatest.Disk) { d.NoLocks = true }, end: "kill", from: patience - ttl/5, to: patience + atOnce},
		{name: "killed, on a network file system", disk: func(d *hatest.Disk) { d.Freshness = ha.Direct }, end: "kill", to: ttl / 10},
		{name: "killed, its lock in doubt", opt: ha.Options{DoubtLocks: true}, end: "kill", from: renewals - ttl/5, to: renewals + atOnce},
		{name: "handed over by this very node", opt: ha.Options{GiveWay: 1}, end: "stop", from: ttl - ttl/5, to: ttl + atOnce},
		{name: "released, its lock in doubt", opt: ha.Options{DoubtLocks: true}, end: "stop", to: atOnce},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := hatest.New()
				if tc.disk != nil {
					tc.disk(disk)
				}
				a, freeze := frozenBroker(disk)
				a.start(t, ha.Options{Node: "a", Standby: true}, nil)
				a.serves(t)
				opt := tc.opt
				opt.Node, opt.Standby = "b", true
				b := newBroker(disk).start(t, opt, nil)
				time.Sleep(time.Minute + 17*time.Millisecond)
				if b.passed.Load() != 0 {
					t.Fatal("took over from a living primary")
				}
				begun := time.Now()
				thaw := func() {}
				switch tc.end {
				case "stop":
					if err := a.stop(t); err != nil {
						t.Fatal(err)
					}
				case "kill":
					a.files.Kill()
				case "freeze":
					thaw = freeze.freeze()
				}
				b.serves(t)
				if took := time.Since(begun); took < tc.from || took > tc.to {
					t.Errorf("serves after %v, want %v to %v", took, tc.from, tc.to)
				}
				thaw()
				if err := b.stop(t); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// TestStandby_LocksVanishUnderALivingHolder: where that is known to happen, it
// costs nothing.
func TestStandby_LocksVanishUnderALivingHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		a := newBroker(disk).start(t, ha.Options{Node: "a", Standby: true}, nil)
		a.serves(t)
		b := newBroker(disk).start(t, ha.Options{Node: "b", Standby: true, DoubtLocks: true}, nil)
		disk.DropLocks()
		time.Sleep(time.Minute)
		if b.passed.Load() != 0 {
			t.Error("took over from a living primary whose lock had vanished")
		}
		if err := errors.Join(a.stop(t)); err != nil {
			t.Fatal(err)
		}
		b.serves(t)
		if err := b.stop(t); err != nil {
			t.Fatal(err)
		}
	})
}

// TestStandby_ASlowTakeoverIsNotOvertaken lets a successor open its store for
// minutes while it renews its lease.
func TestStandby_ASlowTakeoverIsNotOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		serveOnce(t, disk)
		opening, opened := make(chan struct{}), make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		slow := ha.Options{Dir: "data", Node: "slow", Standby: true, TTL: ttl, Files: disk.Node()}
		go func() {
			opened <- ha.Run(ctx, slow, nil, func(_ context.Context, tenure *ha.Tenure) error {
				close(opening)
				time.Sleep(5 * time.Minute)
				return tenure.Activate(history(tenure))
			})
		}()
		<-opening
		b := newBroker(disk).start(t, ha.Options{Node: "b", Standby: true}, nil)
		if err := <-opened; err != nil {
			t.Errorf("the slow takeover: %v", err)
		}
		cancel()
		if tenure := b.serves(t); tenure.Epoch() != 3 {
			t.Errorf("the other standby serves in epoch %d, want 3: nothing between", tenure.Epoch())
		}
		if err := b.stop(t); err != nil {
			t.Fatal(err)
		}
	})
}

// TestStandby_StoppedItselfDoesNotBlameThePrimary stops a standby between its
// reading of the lease and its judgement, for longer than its patience.
func TestStandby_StoppedItselfDoesNotBlameThePrimary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		a := newBroker(disk).start(t, ha.Options{Node: "a", Standby: true}, nil)
		a.serves(t)
		var looks atomic.Int64
		b := newBroker(disk)
		b.files.Before = func(op string) error {
			if op == "open data/ha/e0000000001/lock" && looks.Add(1)%10 == 0 {
				time.Sleep(10 * ttl)
			}
			return nil
		}
		b.start(t, ha.Options{Node: "b", Standby: true}, nil)
		time.Sleep(10 * time.Minute)
		if b.passed.Load() != 0 || looks.Load() < 100 {
			t.Errorf("took over in epoch %d from a living primary, after %d looks", b.passed.Load(), looks.Load())
		}
		if err := a.stop(t); err != nil {
			t.Fatal(err)
		}
		b.serves(t)
		if err := b.stop(t); err != nil {
			t.Fatal(err)
		}
	})
}

// TestStandby_StartedAtTheSameInstant starts two on an empty directory, with seeded
// delays before each operation: one is primary, the other stands by, and takes
// over when it is its turn.
func TestStandby_StartedAtTheSameInstant(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			disk := hatest.New()
			var both []*broker
			for i := range uint64(2) {
				b := newBroker(disk)
				var mu sync.Mutex
				r := rand.New(rand.NewPCG(seed, i))
				b.files.Before = func(string) error {
					mu.Lock()
					d := time.Duration(r.IntN(4)) * time.Microsecond
					mu.Unlock()
					time.Sleep(d)
					return nil
				}
				both = append(both, b.start(t, ha.Options{Node: fmt.Sprint("n", i), Standby: true}, nil))
			}
			time.Sleep(2 * ttl)
			primary, standby := both[0], both[1]
			if standby.passed.Load() != 0 {
				primary, standby = standby, primary
			}
			if primary.passed.Load() != 1 || standby.passed.Load() != 0 {
				t.Fatalf("seed %d: they passed groups in epochs %d and %d, want 1 and none", seed, primary.passed.Load(), standby.passed.Load())
			}
			if err := primary.stop(t); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if tenure := standby.serves(t); tenure.Epoch() != 2 {
				t.Errorf("seed %d: the standby serves in epoch %d, want 2", seed, tenure.Epoch())
			}
			if err := standby.stop(t); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		})
	}
}

// follower reports one thing and waits.
func follower(p ha.Progress) func(context.Context, *ha.Standby) error {
	return func(ctx context.Context, s *ha.Standby) error {
		s.Report(p)
		<-ctx.Done()
		return nil
	}
}

// TestStandby_Order lets five standbys see the end of a primary at the same
// moment: one contends, the right one, and no number is spent for nothing.
func TestStandby_Order(t *testing.T) {
	caught := ha.Progress{CaughtUp: true}
	broken := ha.Progress{CaughtUp: true, Err: errors.New("a segment is damaged")}
	for _, tc := range []struct {
		name     string
		progress []ha.Progress
		want     int
	}{
		{"all caught up: by name", []ha.Progress{caught, caught, caught, caught, caught}, 0},
		{"who has caught up goes first", []ha.Progress{{}, {}, {}, caught, {}}, 3},
		{"who cannot does not", []ha.Progress{broken, broken, {}, broken, broken}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := hatest.New()
				a := newBroker(disk).start(t, ha.Options{Node: "z", Standby: true}, nil)
				a.serves(t)
				var all []*broker
				for i, p := range tc.progress {
					all = append(all, newBroker(disk).start(t, ha.Options{Node: fmt.Sprint("n", i), Standby: true}, follower(p)))
				}
				time.Sleep(4 * ttl)
				a.files.Kill()
				if tenure := all[tc.want].serves(t); tenure.Epoch() != 2 {
					t.Errorf("serves in epoch %d, want 2: somebody else contended first", tenure.Epoch())
				}
				time.Sleep(4 * ttl)
				for i, b := range all {
					if b.passed.Load() != 0 && i != tc.want {
						t.Errorf("node %d took over, too", i)
					}
				}
				// Only now: the end of one is the next one's beginning.
				for i, b := range all {
					if err := b.stop(t); err != nil && !errors.Is(err, context.Canceled) {
						t.Errorf("node %d: %v", i, err)
					}
				}
			})
		})
	}
}

// messages collects a node's log.
type messages struct {
	mu   sync.Mutex
	text strings.Builder
}

func (m *messages) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.Write(p)
}

func (m *messages) count(part string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Count(m.text.String(), part)
}

func TestStandby_IneligibleDoesNotContendUntilMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		a := newBroker(disk).start(t, ha.Options{Node: "a", Standby: true}, nil)
		a.serves(t)
		var broken atomic.Pointer[error]
		var calls atomic.Int64
		broken.Store(new(errors.New("baton.yaml:7: unknown key")))
		var log messages
		var standby atomic.Pointer[ha.Standby]
		b := newBroker(disk)
		b.logger = slog.New(slog.NewTextHandler(&log, nil))
		b.start(t, ha.Options{Node: "b", Standby: true, Preflight: func(context.Context) error {
			calls.Add(1)
			return *broken.Load()
		}}, func(ctx context.Context, s *ha.Standby) error {
			standby.Store(s)
			<-ctx.Done()
			return nil
		})
		time.Sleep(time.Minute)
		if err := standby.Load().Ineligible(); err == nil || !strings.Contains(err.Error(), "baton.yaml:7") {
			t.Errorf("while the primary lives, its health says: %v", err)
		}
		if n := calls.Load(); n < 60 {
			t.Errorf("%d checks in a minute", n)
		}
		if log.count("nobody can take over") != 0 || log.count("cannot take over until") != 1 {
			t.Errorf("while the primary lives it logs\n%s", log.text.String())
		}
		a.files.Kill()
		time.Sleep(time.Minute)
		if b.passed.Load() != 0 {
			t.Fatal("an ineligible standby took over")
		}
		if log.count("nobody can take over") != 1 || log.count("baton.yaml:7") < 2 {
			t.Errorf("what is to be mended is not said once:\n%s", log.text.String())
		}
		broken.Store(new(error))
		begun := time.Now()
		if tenure := b.serves(t); tenure.Epoch() != 2 || time.Since(begun) > ttl/5+30*time.Millisecond {
			t.Errorf("mended, it serves epoch %d after %v", tenure.Epoch(), time.Since(begun))
		}
		if err := b.stop(t); err != nil {
			t.Fatal(err)
		}
	})
}

// TestStandby_IneligibleLeavesItToOthers: an eligible standby of a later rank
// takes over at once.
func TestStandby_IneligibleLeavesItToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		a := newBroker(disk).start(t, ha.Options{Node: "a", Standby: true}, nil)
		a.serves(t)
		var log messages
		b, c := newBroker(disk), newBroker(disk)
		b.logger = slog.New(slog.NewTextHandler(&log, nil))
		b.start(t, ha.Options{Node: "b", Standby: true, Preflight: func(context.Context) error { return errors.New("disk is full") }}, nil)
		c.start(t, ha.Options{Node: "c", Standby: true}, nil)
		time.Sleep(time.Minute)
		a.files.Kill()
		begun := time.Now()
		c.serves(t)
		if took := time.Since(begun); took > 30*time.Millisecond {
			t.Errorf("took over after %v", took)
		}
		time.Sleep(time.Second)
		if log.count("nobody can take over") != 0 {
			t.Errorf("the ineligible one says\n%s", log.text.String())
		}
		if err := c.stop(t); err != nil {
			t.Fatal(err)
		}
		if err := b.stop(t); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestStandby_LastPreflight fails the check only once it matters: no number is
// spent, and follow goes on.
func TestStandby_LastPreflight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		a := newBroker(disk).start(t, ha.Options{Node: "a", Standby: true}, nil)
		a.serves(t)
		var ended atomic.Bool
		var follows, late atomic.Int64
		b := newBroker(disk).start(t, ha.Options{Node: "b", Standby: true, Preflight: func(context.Context) error {
			if ended.Load() && late.Add(1) == 1 {
				return errors.New("no space")
			}
			return nil
		}}, func(ctx context.Context, _ *ha.Standby) error {
			follows.Add(1)
			<-ctx.Done()
			return nil
		})
		time.Sleep(time.Minute)
		ended.Store(true)
		if err := a.stop(t); err != nil {
			t.Fatal(err)
		}
		if tenure := b.serves(t); tenure.Epoch() != 2 || late.Load() < 2 || follows.Load() != 1 {
			t.Errorf("epoch %d after %d checks, follow was called %d times", tenure.Epoch(), late.Load(), follows.Load())
		}
		if err := b.stop(t); err != nil {
			t.Fatal(err)
		}
	})
}

// TestStandby_FailedActivationsAreDamped restarts a node whose activation fails,
// as a supervisor does.
func TestStandby_FailedActivationsAreDamped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		serveOnce(t, disk)
		broken := errors.New("port in use")
		want := time.Duration(0)
		for try := range 9 {
			begun := time.Now()
			opt := ha.Options{Dir: "data", Node: "bad", Standby: true, TTL: ttl, Files: disk.Node()}
			err := ha.Run(t.Context(), opt, nil, func(context.Context, *ha.Tenure) error { return broken })
			if took := time.Since(begun); !errors.Is(err, broken) || took < want || took > want+100*time.Millisecond {
				t.Fatalf("try %d: %v after %v, want %v", try, err, took, want)
			}
			if want *= 2; want == 0 {
				want = ttl / 4
			}
			want = min(want, 20*ttl)
		}
		begun := time.Now()
		b := newBroker(disk).start(t, ha.Options{Node: "good", Standby: true}, nil)
		if tenure := b.serves(t); tenure.Epoch() != 11 || time.Since(begun) > 30*time.Millisecond {
			t.Errorf("another node serves epoch %d after %v", tenure.Epoch(), time.Since(begun))
		}
		if err := b.stop(t); err != nil {
			t.Fatal(err)
		}
	})
}

// TestStandby_FollowIsToldWhatToFollow moves the primary's promises and then the
// primary itself under a follower.
func TestStandby_FollowIsToldWhatToFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		var standby atomic.Pointer[ha.Standby]
		follow := func(ctx context.Context, s *ha.Standby) error {
			standby.Store(s)
			<-ctx.Done()
			return nil
		}
		a := newBroker(disk).start(t, ha.Options{Node: "a", Standby: true, Advertise: []string{"amqp://a"}, ConfigHash: hash("c1")}, nil)
		tenure := a.serves(t)
		b := newBroker(disk).start(t, ha.Options{Node: "c", Standby: true}, follow)
		time.Sleep(time.Second)
		s := standby.Load()
		tenure.Promised(4711, time.Unix(99, 0))
		time.Sleep(ttl)
		src, ok, err := s.Source()
		if !ok || err != nil || src.Epoch != 1 || src.Promised != 4711 || src.HighestSegment != 10 || len(src.Lineage) != 0 {
			t.Errorf("follows %+v, %v, %v", src, ok, err)
		}
		if h, ok := s.Holder(); !ok || h.Node != "a" || h.Epoch != 1 || h.State != "serving" || h.ConfigHash != "c1" || len(h.Advertise) != 1 {
			t.Errorf("the holder is %+v, %v", h, ok)
		}
		other := newBroker(disk).start(t, ha.Options{Node: "b", Standby: true}, follower(ha.Progress{CaughtUp: true, Position: ha.Position{Epoch: 1, Offset: 4711}}))
		time.Sleep(ttl)
		if p, ok := tenure.Successor(); !ok || p.Node != "b" || p.Position.Offset != 4711 {
			t.Errorf("the primary's successor would be %+v, %v; want b, who has caught up", p, ok)
		}
		if err := a.stop(t); err != nil {
			t.Fatal(err)
		}
		other.serves(t)
		time.Sleep(ttl)
		src, _, err = s.Source()
		if err != nil || src.Epoch != 2 || fmt.Sprint(src.Lineage) != fmt.Sprint([]ha.Seal{sealOf(1)}) {
			t.Errorf("after a takeover it follows %+v, %v", src, err)
		}
		if err := other.stop(t); err != nil {
			t.Fatal(err)
		}
		b.serves(t)
		if err := b.stop(t); err != nil {
			t.Fatal(err)
		}
	})
}

// TestStandby_FullDiskDoesNotStopATakeover fails everything that needs new space
// once standbys stand by.
func TestStandby_FullDiskDoesNotStopATakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		a := newBroker(disk).start(t, ha.Options{Node: "a", Standby: true}, nil)
		a.serves(t)
		var full atomic.Bool
		b := newBroker(disk)
		b.files.Before = func(op string) error {
			if full.Load() && (strings.HasPrefix(op, "create") || strings.HasPrefix(op, "mkdir")) {
				return errors.New("no space left on device")
			}
			return nil
		}
		b.start(t, ha.Options{Node: "b", Standby: true}, nil)
		time.Sleep(time.Minute)
		full.Store(true)
		a.files.Kill()
		b.serves(t)
		if err := b.stop(t); err != nil {
			t.Fatal(err)
		}
		names, err := disk.Node().Names("data/ha")
		for _, name := range names {
			if strings.HasPrefix(name, "claim-") {
				t.Errorf("%s was left behind (%v)", name, err)
			}
		}
	})
}

func TestTenure_FreshEndsWithTheChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, standby := range []bool{true, false} {
			disk := hatest.New()
			a, freeze := frozenBroker(disk)
			a.start(t, ha.Options{Node: "a", Standby: standby}, nil)
			tenure := a.serves(t)
			for range 100 {
				time.Sleep(ttl / 7)
				if !tenure.Fresh() {
					t.Fatal("not fresh while all is well")
				}
			}
			thaw := freeze.freeze()
			time.Sleep(ttl/2 - ttl/5)
			if !tenure.Fresh() {
				t.Error("not fresh although the last check is younger than half a ttl")
			}
			time.Sleep(ttl / 5)
			if tenure.Fresh() == standby {
				t.Errorf("standby %v: fresh is %v half a ttl after the last check", standby, tenure.Fresh())
			}
			thaw()
			synctest.Wait()
			time.Sleep(ttl / 5)
			if !tenure.Fresh() {
				t.Error("not fresh after a good check")
			}
			if err := a.stop(t); err != nil {
				t.Fatal(err)
			}
			if tenure.Fresh() {
				t.Error("fresh after the end")
			}
		}
	})
}
