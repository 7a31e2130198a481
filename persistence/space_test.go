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
		v.edit = func(o *Options) { o.LowSpace, o.FullSpace = 200*mib, 100*mib }
		s := v.open()
		v.fs.SetFree(c.free, !c.unknown)
		if err := s.measureSpace(); err != nil {
			t.Fatal(err)
		}
		if got := s.Space(); got.Level != c.want || got.Free > c.free {
			t.Errorf("%d bytes free, unknown %v: %+v, want level %d", c.free, c.unknown, got, c.want)
		}
		v.close(s)
	}
}

// TestSpace_CountsWhatIsWritten: between two measurements the level follows what is written, and it is known right after Open.
func TestSpace_CountsWhatIsWritten(t *testing.T) {
	v := newLives(t)
	v.fs.FreeBytes = 300 * mib
	v.edit = func(o *Options) { o.LowSpace, o.FullSpace, o.SegmentSize = 200*mib, 120*mib, 64*mib }
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
	v.edit = func(o *Options) { o.LowSpace, o.FullSpace = 290*mib, 100*mib }
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
		v.edit = func(o *Options) { o.LowSpace, o.FullSpace = 200*mib, 100*mib }
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
		v.fs.SetFree(33*mib, true) // 1 MiB beside the ballast
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

		v.fs.SetFree(mib, true)
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
