package persistence

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/index"
)

// ErrNoSpace says that the disk is too full to start. Nothing is lost.
var ErrNoSpace = errors.New("not enough disk space to start")

const (
	// spaceEvery is how often the disk is measured, spaceEveryLow how often when it comes near the watermark.
	spaceEvery    = time.Second
	spaceEveryLow = 100 * time.Millisecond
	// checkpointSpace is what a checkpoint may take beside the journal.
	checkpointSpace = 64 << 20
	// startSpace is what a start takes at least: the index's files, and the group that begins the epoch.
	startSpace = index.StartSpace + 8<<20
)

// measured is the disk as it was at one moment.
type measured struct {
	free    int64
	known   bool
	written uint64 // stats.bytes then
}

// minLowSpace is the least free space at which publishers must wait already: what is under way then, two segments and a checkpoint,
// still leaves what settles need.
func (o Options) minLowSpace() int64 { return o.FullSpace + 2*o.SegmentSize + checkpointSpace }

// Space implements core.Store: the last measured state, less what was written since and what waits to be.
func (s *Store) Space() core.Space {
	m := s.measured.Load()
	if !m.known {
		return core.Space{}
	}
	free := max(m.free-int64(s.stats.bytes.Load()-m.written)-s.pending.Load(), 0)
	space := core.Space{Free: free}
	switch {
	case free < s.opt.FullSpace:
		space.Level = core.SpaceFull
	case free < s.opt.LowSpace:
		space.Level = core.SpaceLow
	}
	return space
}

// measureSpace asks the file system how much is free.
func (s *Store) measureSpace() error {
	written := s.stats.bytes.Load() // before: what is written meanwhile counts twice rather than not at all
	free, known, err := s.opt.Files.Free(s.opt.Dir)
	if err != nil {
		return fmt.Errorf("measure free space: %w", err)
	}
	s.measured.Store(&measured{free: free, known: known, written: written})
	return nil
}

// measurer measures the disk until the store stops, and sees to the ballast.
func (s *Store) measurer() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.failed:
			return
		case <-timer.C:
		}
		if err := s.measureSpace(); err != nil {
			_ = s.fail(err) // it is what Err returns from now on
			return
		}
		s.keepBallast()
		next := spaceEvery
		if space := s.Space(); s.measured.Load().known && space.Free < 2*s.opt.LowSpace {
			next = spaceEveryLow
		}
		timer.Reset(next)
	}
}

// The ballast is a file that holds nothing but disk space: two segments' worth, taken while there is plenty. A process that finds the disk
// full when it starts gives the space back, and so can start, let consumers empty queues, and shrink the journal.

func (s *Store) ballastPath() string { return filepath.Join(s.opt.Dir, "ballast") }

func (o Options) ballastBytes() int64 { return 2 * o.SegmentSize }

// keepBallast makes the ballast where there is none and room for it.
func (s *Store) keepBallast() {
	if m := s.measured.Load(); s.ballast || !m.known || m.free < s.opt.LowSpace+2*s.opt.ballastBytes() {
		return
	}
	s.ballast = true // or cannot be had
	err := s.opt.Files.Reserve(s.ballastPath(), s.opt.ballastBytes())
	if err != nil && !errors.Is(err, fs.ErrExist) {
		s.log.Warn("no space is set aside for a start on a full disk", slog.Any("err", err))
	}
}

// makeRoom gives the ballast back if the disk is too full to start, and refuses to start if that is not enough.
func (s *Store) makeRoom() error {
	if err := s.measureSpace(); err != nil {
		return err
	}
	if m := s.measured.Load(); !m.known || m.free >= startSpace+s.opt.SegmentSize {
		return nil
	}
	switch err := s.opt.Files.Remove(s.ballastPath()); {
	case err == nil:
		s.log.Warn("the disk is nearly full: the space set aside for this start was given back; free disk space or consume messages",
			slog.String("file", s.ballastPath()), slog.Int64("bytes", s.opt.ballastBytes()))
		if err := s.opt.Files.SyncDir(s.opt.Dir); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("give back %s: %w", s.ballastPath(), err)
	}
	if err := s.measureSpace(); err != nil {
		return err
	}
	return s.opt.spaceError(s.measured.Load().free)
}

func (o Options) spaceError(free int64) error {
	if free >= startSpace {
		return nil
	}
	return fmt.Errorf("%w: %s has %d bytes free and %d are needed: free %d bytes on that file system, or enlarge it, and start again",
		ErrNoSpace, o.Dir, free, int64(startSpace), startSpace-free)
}

// CheckSpace returns ErrNoSpace when Open would, and changes nothing: for whoever is about to take an epoch that Open would then waste.
func CheckSpace(o Options) error {
	o = o.withDefaults()
	free, known, err := o.Files.Free(o.Dir)
	if err != nil {
		return fmt.Errorf("measure free space: %w", err)
	}
	if !known || free >= startSpace {
		return nil
	}
	if f, err := o.Files.Open(filepath.Join(o.Dir, "ballast")); err == nil {
		_ = f.Close() // it was only looked at
		free += o.ballastBytes()
	}
	return o.spaceError(free)
}
