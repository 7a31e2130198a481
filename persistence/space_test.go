package persistence

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal"
)

const mib = 1 << 20

// TestSpace_Levels: a full disk is full, and only one that cannot be measured is taken for good.
func TestSpace_Levels(t *testing.T) {
	for _, c := range []struct {
		free    int64
		unknown bool
		want    core.SpaceLevel
	}{
		{free: 0, want: core.SpaceFull},
		{free: 0, unknown: true, want: core.SpaceOK},
		{free: 100*mib - 1, want: core.SpaceFull},
		{free: 101 * mib, want: core.SpaceLow},
		{free: 199 * mib, want: core.SpaceLow},
		{free: 201 * mib, want: core.SpaceOK},
	} {
		v := newLives(t)
		v.fs.FreeBytes = 1 << 40
		v.edit = func(o *Options) { o.FreeLow, o.FreeFull = 200*mib, 100*mib }
		s, err := v.try() // not activated: nothing measures, and takes room for a ballast
		if err != nil {
			t.Fatal(err)
		}
		v.fs.SetFree(c.free, !c.unknown)
		if err := s.measureSpace(); err != nil {
			t.Fatal(err)
		}
		if got := s.Space(); got.Level != c.want || got.Free > c.free {
			t.Errorf("%d bytes free, unknown %v: %+v, want level %d", c.free, c.unknown, got, c.want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSpace_CountsWhatIsWritten: between two measurements the level follows what is written, and it is known right after Open.
func TestSpace_CountsWhatIsWritten(t *testing.T) {
	v := newLives(t)
	v.fs.FreeBytes = 300 * mib
	v.edit = func(o *Options) { o.FreeLow, o.FreeFull, o.SegmentSize = 200*mib, 120*mib, 64*mib }
	s, err := v.try() // not activated: nothing measures
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Space().Level; got != core.SpaceLow { // two segments and a checkpoint above FullSpace
		t.Errorf("level %d with less than what may be under way", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	v.edit = func(o *Options) { o.FreeLow, o.FreeFull = 290*mib, 100*mib }
	if s, err = v.try(); err != nil {
		t.Fatal(err)
	}
	if got := s.Space().Level; got != core.SpaceOK {
		t.Fatalf("level %d", got)
	}
	commit(t, s, define("q", q1), publish(1, strings.Repeat("x", 11*mib)))
	if got := s.Space(); got.Level != core.SpaceLow || got.Free > 289*mib {
		t.Errorf("%+v after 11 of 300 MiB were written", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSpace_MeasuredMoreOftenWhenLow: room that is made near the watermark is seen within a tenth of a second.
func TestSpace_MeasuredMoreOftenWhenLow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newLives(t)
		v.fs.FreeBytes = 150 * mib
		v.edit = func(o *Options) { o.FreeLow, o.FreeFull = 200*mib, 100*mib }
		s := v.open()
		synctest.Wait()
		v.fs.SetFree(1000*mib, true)
		time.Sleep(spaceEveryLow)
		synctest.Wait()
		if got := s.Space().Level; got != core.SpaceOK {
			t.Errorf("level %d", got)
		}
		v.close(s)
	})
}

// TestBallast: what was set aside while there was room lets the store start when there is none; without it the error says how much is
// missing, before anything is touched.
func TestBallast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newLives(t)
		v.fs.FreeBytes = 4096 * mib
		v.edit = func(o *Options) { o.SegmentSize = 16 * mib }
		s := v.open()
		synctest.Wait() // the first measurement
		commit(t, s, define("q", q1), publish(1, "a"))
		v.close(s)
		v.fs.SetFree(42*mib, true) // 1 MiB beside the ballast
		opt := Options{Dir: "/store", Files: v.fs, SegmentSize: 16 * mib}
		if err := CheckSpace(opt); err != nil {
			t.Errorf("with a ballast: %v", err)
		}
		s = v.open()
		if got := s.Space(); got.Level != core.SpaceFull || got.Free < 32*mib {
			t.Errorf("started with %+v", got)
		}
		if !strings.Contains(v.log.String(), "given back") {
			t.Errorf("nothing was said:\n%s", v.log)
		}
		commit(t, s, settle(1, 1))
		v.close(s)

		v.fs.SetFree(2*mib, true) // 1 MiB beside what is set aside for a claim
		for _, err := range []error{CheckSpace(opt), func() error { _, err := v.try(); return err }()} {
			if !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "/store has 1048576 bytes free and 25165824 are needed") {
				t.Errorf("without: %v", err)
			}
		}

		v.fs.SetFree(4096*mib, true)
		s = v.open()
		synctest.Wait()
		if f, err := v.fs.Open("/store/ballast"); err != nil {
			t.Errorf("not set aside again: %v", err)
		} else if err := f.Close(); err != nil {
			t.Error(err)
		}
		v.close(s)
	})
}

// TestSpace_Hysteresis: publishers that wait go on at the upper watermark, not at the lower one.
func TestSpace_Hysteresis(t *testing.T) {
	v := newLives(t)
	v.edit = func(o *Options) { o.FreeLow, o.FreeHigh, o.FreeFull = 200*mib, 300*mib, 100*mib }
	s := v.open()
	for _, step := range []struct {
		free int64
		want core.SpaceLevel
	}{
		{250, core.SpaceOK},
		{199, core.SpaceLow},
		{250, core.SpaceLow},
		{299, core.SpaceLow},
		{50, core.SpaceFull},
		{250, core.SpaceLow},
		{301, core.SpaceOK},
		{250, core.SpaceOK},
		{50, core.SpaceFull},
		{301, core.SpaceOK},
	} {
		v.fs.SetFree(step.free*mib, true)
		if err := s.measureSpace(); err != nil {
			t.Fatal(err)
		}
		if got := s.Space().Level; got != step.want {
			t.Errorf("level %d with %d MiB, want %d", got, step.free, step.want)
		}
	}
	v.close(s)
}

// TestSpace_RaisedWatermarksAreSaid: who sets a watermark that would not hold what is under way is told what is in force.
func TestSpace_RaisedWatermarksAreSaid(t *testing.T) {
	for _, c := range []struct {
		name      string
		low, high int64
		wantLow   int64
		wantHigh  int64
		says      []string
	}{
		{"defaults", 0, 0, 512, 640, nil},
		{"large enough", 400, 500, 400, 500, nil},
		{"the lower one", 1, 0, 320, 400, []string{"watermark=free_low set=1048576 in_force=335544320"}},
		{"both", 1, 2, 320, 320, []string{"watermark=free_low", "watermark=free_high set=2097152 in_force=335544320"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newLives(t)
			v.edit = func(o *Options) { o.FreeLow, o.FreeHigh, o.SegmentSize = c.low*mib, c.high*mib, 64*mib }
			s := v.open()
			if got := s.Stats(); got.FreeLow != c.wantLow*mib || got.FreeHigh != c.wantHigh*mib {
				t.Errorf("in force: %d and %d MiB", got.FreeLow/mib, got.FreeHigh/mib)
			}
			said := v.log.String()
			if n := strings.Count(said, "is raised"); n != len(c.says) {
				t.Errorf("said %d times, want %d", n, len(c.says))
			}
			for _, part := range c.says {
				if !strings.Contains(said, part) {
					t.Errorf("%q is not in\n%s", part, said)
				}
			}
			v.close(s)
		})
	}
}

// TestCheckSpace_GivesRoomForAClaim: on a disk without a byte the small ballast goes, and only that: the large one is for whoever wins.
func TestCheckSpace_GivesRoomForAClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newLives(t)
		v.edit = func(o *Options) { o.SegmentSize = 16 * mib }
		s := v.open()
		synctest.Wait() // the first measurement
		v.close(s)
		there := func(path string) bool {
			_, err := v.fs.Open(path)
			return err == nil
		}
		opt := Options{Dir: "/store", Files: v.fs, SegmentSize: 16 * mib}
		for _, step := range []struct {
			free  int64 // beside what is set aside
			small bool  // it is still there afterwards
		}{{claimSpace, true}, {claimSpace - 1, false}, {0, false}} {
			v.fs.SetFree(41*mib+step.free, true)
			if err := CheckSpace(opt); err != nil {
				t.Fatal(err)
			}
			if !there("/store/ballast") || there("/store/ballast.claim") != step.small {
				t.Errorf("with %d bytes free: large %t, small %t", step.free, there("/store/ballast"), there("/store/ballast.claim"))
			}
		}
		if s, err := v.try(); err != nil { // the large one is enough for the rest
			t.Error(err)
		} else if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestReserve_TakesBlocks: on the operating system's files too.
func TestReserve_TakesBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ballast")
	if err := journal.OSFiles().Reserve(path, mib); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != mib {
		t.Errorf("%v, %v", info, err)
	}
	if err := journal.OSFiles().Reserve(path, mib); !errors.Is(err, os.ErrExist) {
		t.Errorf("reserved over a file: %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file that was there is gone: %v", err)
	}
}
