package ha_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/ha/hatest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const ttl = 3 * time.Second

// broker is a Run under test. Its body activates as a broker would, passes one
// group, and serves until it is told to stop.
type broker struct {
	files  *hatest.Files
	logger *slog.Logger // nil: the test's output
	cancel context.CancelFunc

	serving chan *ha.Tenure // gets the tenure once a group has passed
	done    chan error      // gets what Run returned
	ctxErr  atomic.Value    // why active's context ended
	passed  atomic.Uint64   // the epoch in which a group passed
}

// sealOf is the seal every broker of these tests makes for a source.
func sealOf(epoch uint64) ha.Seal { return ha.Seal{Epoch: epoch, Offset: epoch * 1000} }

func history(t *ha.Tenure) []ha.Seal {
	src, ok := t.Source()
	if !ok {
		return nil
	}
	return append(slices.Clone(src.Lineage), sealOf(src.Epoch))
}

func (b *broker) active(ctx context.Context, t *ha.Tenure) error {
	if err := t.NameSegment(t.Epoch() * 10); err != nil {
		return err
	}
	if err := t.Activate(history(t)); err != nil {
		return err
	}
	if err := t.Guard(); err != nil {
		return err
	}
	b.passed.Store(t.Epoch())
	t.Promised(t.Epoch()*1000, time.Unix(int64(t.Epoch()), 0))
	if err := t.Settle(); err != nil {
		return err
	}
	b.serving <- t
	<-ctx.Done()
	b.ctxErr.Store(context.Cause(ctx))
	return nil
}

func newBroker(disk *hatest.Disk) *broker {
	return &broker{files: disk.Node(), serving: make(chan *ha.Tenure, 1), done: make(chan error, 1)}
}

// start runs b as node name.
func (b *broker) start(t *testing.T, opt ha.Options, follow func(context.Context, *ha.Standby) error) *broker {
	t.Helper()
	var ctx context.Context
	ctx, b.cancel = context.WithCancel(t.Context())
	opt.Dir, opt.Files, opt.TTL = "data", b.files, ttl
	if opt.Logger = b.logger; b.logger == nil {
		opt.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	go func() { b.done <- ha.Run(ctx, opt, follow, b.active) }()
	return b
}

// serves returns the tenure of a broker that must be serving by now, or that
// must become so without further help.
func (b *broker) serves(t *testing.T) *ha.Tenure {
	t.Helper()
	select {
	case tenure := <-b.serving:
		return tenure
	case err := <-b.done:
		t.Fatalf("Run returned %v, want it to serve", err)
	case <-time.After(time.Minute):
		t.Fatal("not serving after a minute")
	}
	return nil
}

func (b *broker) stop(t *testing.T) error {
	t.Helper()
	b.cancel()
	return <-b.done
}

// serveOnce starts a broker on disk that must serve, stops it orderly, and
// returns what it was told.
func serveOnce(t *testing.T, disk *hatest.Disk) (epoch uint64, src ha.Source, lineage []ha.Seal) {
	t.Helper()
	b := newBroker(disk).start(t, ha.Options{Node: "again"}, nil)
	tenure := b.serves(t)
	src, _ = tenure.Source()
	if err := b.stop(t); err != nil {
		t.Fatalf("Run returned %v after an orderly stop", err)
	}
	return tenure.Epoch(), src, history(tenure)
}

func TestRun_FirstStartAndRestartContinueOneHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		for want := uint64(1); want <= 5; want++ {
			epoch, src, lineage := serveOnce(t, disk)
			if epoch != want || src.Epoch != want-1 {
				t.Fatalf("epoch %d continues %d, want %d continuing %d", epoch, src.Epoch, want, want-1)
			}
			if len(lineage) != int(want-1) {
				t.Fatalf("lineage of epoch %d is %v", epoch, lineage)
			}
			if want == 1 {
				continue
			}
			w := ha.Source{
				Epoch: want - 1, Lineage: lineage[:want-2], HighestSegment: (want - 1) * 10, Promised: (want - 1) * 1000,
				BrokerTime: time.Unix(int64(want-1), 0), Released: true,
			}
			if fmt.Sprint(src) != fmt.Sprint(w) {
				t.Errorf("source of epoch %d is\n%v, want\n%v", epoch, src, w)
			}
		}
	})
}

var nonce = regexp.MustCompile(`[0-9a-f]{32}`)

// TestRun_GoldenTrace pins which file operations a start is made of, in which
// order: the safety of the protocol is in that order.
func TestRun_GoldenTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		for _, name := range []string{"first_start", "restart"} {
			b := newBroker(disk).start(t, ha.Options{Node: "a"}, nil)
			b.serves(t)
			if err := b.stop(t); err != nil {
				t.Fatal(err)
			}
			got := nonce.ReplaceAllString(strings.Join(b.files.Ops(), "\n")+"\n", "NONCE")
			path := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s: operations are\n%s\nwant\n%s", name, got, want)
			}
		}
	})
}

// crashing runs a broker on disk that is killed before its op-th operation, and
// returns the epoch in which a group passed before that (0: none). finished tells
// that there was no such operation any more.
func crashing(t *testing.T, disk *hatest.Disk, op int, standby bool) (passed uint64, finished bool) {
	t.Helper()
	b := newBroker(disk)
	var left atomic.Int64 // a standby's operations are of several goroutines
	left.Store(int64(op))
	b.files.Before = func(string) error {
		if left.Add(-1) == 0 {
			b.files.Kill()
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	opt := ha.Options{Dir: "data", Node: "crashing", Standby: standby, TTL: ttl, Files: b.files}
	err := ha.Run(ctx, opt, nil, func(ctx context.Context, tenure *ha.Tenure) error {
		cancel()
		return b.active(ctx, tenure)
	})
	cancel()
	if err != nil && !errors.Is(err, hatest.ErrKilled) {
		t.Fatalf("killed before operation %d: Run returned %v", op, err)
	}
	return b.passed.Load(), err == nil
}

// TestRun_CrashAtEveryOperation kills a start before each of its operations,
// with and without a power cut after it. Whatever was left behind, the next start
// serves, and continues every epoch in which a group had passed.
func TestRun_CrashAtEveryOperation(t *testing.T) {
	for _, before := range []int{0, 1, 3} {
		for _, power := range []bool{false, true} {
			for _, standby := range []bool{false, true} {
				t.Run(fmt.Sprintf("after %d starts, power cut %v, standby %v", before, power, standby), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { crashAtEvery(t, before, power, standby) })
				})
			}
		}
	}
}

func crashAtEvery(t *testing.T, before int, power, standby bool) {
	t.Helper()
	seeds := 1
	if power {
		seeds = 3
	}
	for op := 1; ; op++ {
		ended := false
		for seed := range seeds {
			disk := hatest.New()
			for range before {
				serveOnce(t, disk)
			}
			var passed uint64
			passed, ended = crashing(t, disk, op, standby)
			if power {
				disk.PowerCut(uint64(op*1000 + seed))
			}
			epoch, src, lineage := serveOnce(t, disk)
			checkChain(t, fmt.Sprintf("op %d seed %d", op, seed), before, passed, epoch, lineage)
			if passed != 0 && src.HighestSegment != passed*10 {
				t.Fatalf("op %d seed %d: highest segment is %d, want the one named before promises, %d", op, seed, src.HighestSegment, passed*10)
			}
		}
		if ended {
			if op < 30 {
				t.Fatalf("a start of only %d operations: the crashes miss something", op)
			}
			return
		}
	}
}

// checkChain holds that lineage has every epoch in which a group passed (1 to
// before, and passed), ascending, and nothing that was never active.
func checkChain(t *testing.T, where string, before int, passed, epoch uint64, lineage []ha.Seal) {
	t.Helper()
	var want []ha.Seal
	for e := range uint64(before) {
		want = append(want, sealOf(e+1))
	}
	if passed != 0 {
		want = append(want, sealOf(passed))
	}
	extra := lineage
	if len(lineage) >= len(want) && slices.Equal(lineage[:len(want)], want) {
		extra = lineage[len(want):]
	} else {
		t.Fatalf("%s: lineage %v of epoch %d, want it to begin with %v", where, lineage, epoch, want)
	}
	// A start that was killed after its active file was durable, before its first
	// group passed, belongs to history too.
	if len(extra) > 1 || len(extra) == 1 && (passed != 0 || extra[0] != sealOf(epoch-1)) {
		t.Fatalf("%s: lineage %v of epoch %d, want only %v", where, lineage, epoch, want)
	}
}

func TestRun_SecondBrokerIsHeldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		a := newBroker(disk).start(t, ha.Options{Node: "alpha", Advertise: []string{"amqp://alpha:5672"}}, nil)
		a.serves(t)
		begun := time.Now()
		b := newBroker(disk).start(t, ha.Options{Node: "beta"}, nil)
		err := <-b.done
		if !errors.Is(err, ha.ErrHeld) || time.Since(begun) != 0 {
			t.Fatalf("after %v: %v, want ErrHeld at once", time.Since(begun), err)
		}
		for _, part := range []string{"alpha", "amqp://alpha:5672", "data", "--ha", fmt.Sprint(os.Getpid())} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not name %q", err, part)
			}
		}
		for _, op := range b.files.Ops() {
			if strings.HasPrefix(op, "write") || strings.HasPrefix(op, "create") || strings.HasPrefix(op, "rename") {
				t.Errorf("a broker that was refused did %q", op)
			}
		}
		if err := a.stop(t); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRun_StandbyWaitsDarkAndTakesItsTurn(t *testing.T) {
	for _, tc := range []struct {
		name     string
		end      func(t *testing.T, a *broker)
		released bool
	}{
		{"when the primary releases", func(t *testing.T, a *broker) {
			t.Helper()
			if err := a.stop(t); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"when the primary is killed", func(_ *testing.T, a *broker) { a.files.Kill() }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := hatest.New()
				a := newBroker(disk).start(t, ha.Options{Node: "a", Standby: true}, nil)
				a.serves(t)
				var following, calls atomic.Int64
				b := newBroker(disk).start(t, ha.Options{Node: "b", Standby: true}, func(ctx context.Context, _ *ha.Standby) error {
					calls.Add(1)
					following.Add(1)
					<-ctx.Done()
					following.Add(-1)
					return ctx.Err()
				})
				time.Sleep(time.Minute)
				if b.passed.Load() != 0 || following.Load() != 1 || calls.Load() != 1 {
					t.Fatalf("after a minute: passed in epoch %d, %d of %d follow; want one that follows", b.passed.Load(), following.Load(), calls.Load())
				}
				for _, op := range b.files.Ops() {
					if (strings.HasPrefix(op, "write") || strings.HasPrefix(op, "create")) &&
						!strings.Contains(op, " data/ha/standby/n-b") && !strings.Contains(op, " data/ha/claim-") {
						t.Fatalf("a dark standby did %q", op)
					}
				}
				begun := time.Now()
				tc.end(t, a)
				tenure := b.serves(t)
				if took := time.Since(begun); took > 100*time.Millisecond {
					t.Errorf("took its turn after %v", took)
				}
				if following.Load() != 0 {
					t.Error("follow still runs while active does")
				}
				if src, _ := tenure.Source(); tenure.Epoch() != 2 || src.Epoch != 1 || src.Released != tc.released {
					t.Errorf("epoch %d continues %+v", tenure.Epoch(), src)
				}
				if err := b.stop(t); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestRun_StandbyEndsWithItsContextOrItsFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		a := newBroker(disk).start(t, ha.Options{Node: "a"}, nil)
		a.serves(t)
		b := newBroker(disk).start(t, ha.Options{Node: "b", Standby: true}, nil)
		time.Sleep(time.Second)
		if err := b.stop(t); !errors.Is(err, context.Canceled) {
			t.Errorf("stopped while waiting: %v, want context.Canceled", err)
		}
		broken := errors.New("index is broken")
		c := newBroker(disk).start(t, ha.Options{Node: "c", Standby: true}, func(context.Context, *ha.Standby) error { return broken })
		if err := <-c.done; !errors.Is(err, broken) {
			t.Errorf("follow failed: %v, want its error", err)
		}
		d := newBroker(disk).start(t, ha.Options{Node: "d", Standby: true}, func(context.Context, *ha.Standby) error { return nil })
		time.Sleep(time.Second)
		if err := a.stop(t); err != nil {
			t.Fatal(err)
		}
		d.serves(t)
		if err := d.stop(t); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRun_FailedActivationLeavesTheNumberAndTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		serveOnce(t, disk)
		broken := errors.New("port in use")
		opt := ha.Options{Dir: "data", Node: "a", Files: disk.Node()}
		err := ha.Run(t.Context(), opt, nil, func(context.Context, *ha.Tenure) error { return broken })
		if !errors.Is(err, broken) {
			t.Fatalf("Run returned %v, want active's error", err)
		}
		if epoch, src, _ := serveOnce(t, disk); epoch != 3 || src.Epoch != 1 {
			t.Errorf("epoch %d continues %d, want 3 continuing 1", epoch, src.Epoch)
		}
	})
}

// TestRun_LineageOutgrowsAPage starts more often than one page of seals holds.
func TestRun_LineageOutgrowsAPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		for range 400 {
			serveOnce(t, disk)
		}
		if _, _, lineage := serveOnce(t, disk); len(lineage) != 400 {
			t.Errorf("lineage of %d epochs, want 400", len(lineage))
		}
	})
}

// TestRun_RacingStarts starts brokers together, with seeded delays before each
// operation: one serves, the others are held, and there is one store.
func TestRun_RacingStarts(t *testing.T) {
	for _, before := range []int{0, 1} {
		t.Run(fmt.Sprintf("after %d starts", before), func(t *testing.T) {
			for seed := range uint64(150) {
				synctest.Test(t, func(t *testing.T) { race(t, before, seed) })
			}
		})
	}
}

// TestRun_OvertakenBetweenLookAndSurvey lets another broker go all the way from
// its claim to its floor while this one has seen none of it.
func TestRun_OvertakenBetweenLookAndSurvey(t *testing.T) {
	for _, op := range []string{"names data/journal", "open data/ha/floor"} {
		synctest.Test(t, func(t *testing.T) {
			disk := hatest.New()
			serveOnce(t, disk)
			a, b := newBroker(disk), newBroker(disk)
			b.files.Before = func(name string) error {
				if name == op {
					b.files.Before = nil
					a.start(t, ha.Options{Node: "a"}, nil).serves(t)
					return disk.Put("data/journal/e0000000002-0000000001.seg", nil)
				}
				return nil
			}
			b.start(t, ha.Options{Node: "b"}, nil)
			if err := <-b.done; !errors.Is(err, ha.ErrHeld) {
				t.Errorf("overtaken before %q: %v, want ErrHeld", op, err)
			}
			if err := a.stop(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func race(t *testing.T, before int, seed uint64) {
	t.Helper()
	disk := hatest.New()
	for range before {
		serveOnce(t, disk)
	}
	var all []*broker
	for i := range uint64(3) {
		b := newBroker(disk)
		r := rand.New(rand.NewPCG(seed, i))
		b.files.Before = func(string) error {
			time.Sleep(time.Duration(r.IntN(4)) * time.Microsecond)
			return nil
		}
		all = append(all, b.start(t, ha.Options{Node: fmt.Sprint("n", i)}, nil))
	}
	time.Sleep(ttl / 10)
	var winners []*broker
	for _, b := range all {
		select {
		case err := <-b.done:
			if !errors.Is(err, ha.ErrHeld) {
				t.Fatalf("seed %d: a loser got %v, want ErrHeld", seed, err)
			}
		default:
			winners = append(winners, b)
		}
	}
	if len(winners) != 1 {
		t.Fatalf("seed %d: %d brokers serve", seed, len(winners))
	}
	tenure := winners[0].serves(t)
	if src, _ := tenure.Source(); tenure.Epoch() != uint64(before+1) || src.Epoch != uint64(before) {
		t.Fatalf("seed %d: epoch %d continues %d", seed, tenure.Epoch(), src.Epoch)
	}
	if err := winners[0].stop(t); err != nil {
		t.Fatal(err)
	}
}
