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
	"github.com/batonmq/baton/persistence/journal"
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
	// claimSpace is what is written before Open is called, rounded up: the claim of an epoch, and a try whether anything can be written.
	// What is set aside for it holds several of them, so that several starts find it.
	claimSpace        = 256 << 10
	claimBallastBytes = 1 << 20
)

// measured is the disk as it was at one moment.
type measured struct {
	free    int64
	known   bool
	written uint64 // stats.written() then
}

// leastFreeLow is the least free space at which publishers must wait already: what is under way then, two segments and a checkpoint,
// still leaves what settles need.
func (o Options) leastFreeLow() int64 { return o.FreeFull + 2*o.SegmentSize + checkpointSpace }

// withWatermarks raises what is too low to keep a disk from filling. The upper watermark is a quarter above the lower one unless it is
// set: the room between them is what must be gained before publishers go on, so that they do not stop and go with every segment.
func (o Options) withWatermarks() Options {
	setDefault(&o.FreeLow, 512<<20)
	setDefault(&o.FreeFull, 128<<20)
	o.FreeLow = max(o.FreeLow, o.leastFreeLow())
	setDefault(&o.FreeHigh, o.FreeLow+o.FreeLow/4)
	o.FreeHigh = max(o.FreeHigh, o.FreeLow)
	return o
}

// sayRaised tells of watermarks that were set and are not what they were set to.
func (o Options) sayRaised(set Options) {
	for _, w := range []struct {
		name         string
		set, inForce int64
	}{{"free_low", set.FreeLow, o.FreeLow}, {"free_high", set.FreeHigh, o.FreeHigh}} {
		if w.set != 0 && w.set != w.inForce {
			o.Logger.Warn("watermark of free disk space is raised: less would not hold what is under way when publishers stop",
				slog.String("watermark", w.name), slog.Int64("set", w.set), slog.Int64("in_force", w.inForce))
		}
	}
}

// Space implements core.Store: the last measured state, less what was written since and what waits to be. What was low stays so until
// the upper watermark is reached.
func (s *Store) Space() core.Space {
	m := s.measured.Load()
	behind := s.behind()
	if !m.known {
		return core.Space{Behind: behind}
	}
	free := max(m.free-int64(s.stats.written()-m.written)-s.pending.Load(), 0)
	space := core.Space{Free: free, Behind: behind}
	switch {
	case free < s.opt.FreeFull:
		space.Level = core.SpaceFull
	case free < s.opt.FreeLow, free < s.opt.FreeHigh && s.low.Load():
		space.Level = core.SpaceLow
	}
	s.low.Store(space.Level != core.SpaceOK)
	return space
}

// roomAhead reports whether zeros may be written ahead of the groups: there must be plenty of space, because what they take is taken
// from what publishers may still write.
func (s *Store) roomAhead(n int64) bool {
	m := s.measured.Load()
	return !m.known || m.free-int64(s.stats.written()-m.written)-s.pending.Load()-n >= s.opt.FreeHigh
}

// measureSpace asks the file system how much is free.
func (s *Store) measureSpace() error {
	written := s.stats.written() // before: what is written meanwhile counts twice rather than not at all
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
		if space := s.Space(); s.measured.Load().known && space.Free < 2*s.opt.FreeHigh {
			next = spaceEveryLow
		}
		timer.Reset(next)
	}
}

// The ballast is two files that hold nothing but disk space, taken while there is plenty. A process that finds the disk full when it
// starts gives the space back, and so can start, let consumers empty queues, and shrink the journal. The large one, of two segments and at least what a start takes, is
// given back by Open alone, which only the holder of an epoch calls: a second broker that is started by mistake on a full disk must not
// take it from the first. The small one lets such a process get as far as to claim an epoch.

func (o Options) ballastPath() string      { return filepath.Join(o.Dir, "ballast") }
func (o Options) claimBallastPath() string { return filepath.Join(o.Dir, "ballast.claim") }

func (o Options) ballastBytes() int64 { return max(2*o.SegmentSize, startSpace+o.SegmentSize) }

// keepBallast makes the ballast where there is none and room for it.
func (s *Store) keepBallast() {
	if m := s.measured.Load(); s.ballast || !m.known || m.free < s.opt.FreeHigh+2*s.opt.ballastBytes() {
		return
	}
	s.ballast = true // or cannot be had
	for path, size := range map[string]int64{s.opt.ballastPath(): s.opt.ballastBytes(), s.opt.claimBallastPath(): claimBallastBytes} {
		if err := s.opt.Files.Reserve(path, size); err != nil && !errors.Is(err, fs.ErrExist) {
			s.log.Warn("no space is set aside for a start on a full disk", slog.Any("err", err))
		}
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
	given, err := s.opt.giveBack(s.opt.ballastPath())
	if err != nil {
		return err
	}
	if err := s.measureSpace(); err != nil {
		return err
	}
	if given > 0 {
		s.log.Warn("the disk is nearly full: the space set aside for this start was given back; free disk space or consume messages",
			slog.String("file", s.opt.ballastPath()), slog.Int64("bytes", given))
	}
	return s.opt.spaceError(s.measured.Load().free)
}

// giveBack removes what was set aside under path, and returns how much that was.
func (o Options) giveBack(path string) (int64, error) {
	size, err := o.sizeOf(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err == nil {
		err = o.Files.Remove(path)
	}
	if err == nil {
		err = o.Files.SyncDir(o.Dir)
	}
	if err != nil {
		return 0, fmt.Errorf("give back the disk space of %s: %w", path, err)
	}
	return size, nil
}

func (o Options) sizeOf(path string) (int64, error) {
	f, err := o.Files.Open(path)
	if err != nil {
		return 0, err
	}
	size, err := f.Size()
	return size, errors.Join(err, f.Close())
}

func (o Options) spaceError(free int64) error {
	if free >= startSpace {
		return nil
	}
	return fmt.Errorf("%w: %s has %d bytes free and %d are needed: free %d bytes on that file system, or enlarge it, and start again",
		ErrNoSpace, o.Dir, free, int64(startSpace), startSpace-free)
}

// CheckSpace returns ErrNoSpace when Open would: for whoever is about to claim an epoch that Open would then waste. Where there is not
// even room for the claim, it gives back what was set aside for that. Only Dir, SegmentSize, Logger and Files of o count.
func CheckSpace(o Options) error {
	o = o.withDefaults()
	free, known, err := o.Files.Free(o.Dir)
	if err != nil {
		return fmt.Errorf("measure free space: %w", err)
	}
	if !known || free >= startSpace {
		return nil
	}
	held, err := o.sizeOf(o.ballastPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at the disk space set aside: %w", err)
	}
	if err := o.spaceError(free + held); err != nil || free >= claimSpace {
		return err
	}
	given, err := o.giveBack(o.claimBallastPath())
	if given > 0 {
		o.Logger.Warn("the disk is full: the space set aside for claiming an epoch was given back",
			slog.String("file", o.claimBallastPath()), slog.Int64("bytes", given))
	}
	return err
}

// DiskSize is the size of the file system that dir is on; false when that cannot be known here.
func DiskSize(dir string) (total int64, known bool, err error) { return journal.TotalBytes(dir) }

// DiskFree is how much of that is free to this process.
func DiskFree(dir string) (free int64, known bool, err error) { return journal.OSFiles().Free(dir) }
