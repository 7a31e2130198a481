package persistence

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/persistence/index"
	"github.com/batonmq/baton/persistence/journal"
)

const (
	// followEvery is how often a follower looks for what its source has written.
	followEvery = 20 * time.Millisecond
	// followAgain is how long it waits at most, after errors, before it tries again: to begin anew costs at least a segment's reading.
	followAgain = time.Second
	// gapTries is how often it meets a gap before it believes that there is one: a directory is not listed, nor its newest file read, at
	// one moment.
	gapTries = 3
)

// FreshFiles are the operating system's files, read past this host's cache: see journal.FreshFiles.
func FreshFiles() journal.Files { return journal.FreshFiles() }

// Follower keeps this node's index, and what lives in memory, close behind a journal that another process is writing, so that a takeover
// replays its last moments only. It is the same replay as a start's, of groups that are known to have passed; it writes nothing but this
// node's own index. Options.Follower gives what it reached to Open.
type Follower struct {
	opt      Options
	log      *slog.Logger
	index    indexer
	live     *live             // nil: nothing was read yet
	reader   *journal.Follower // nil: to be made
	source   Source            // that reader reads
	waiting  *index.Checkpoint // one that found no space
	saved    time.Time         // when the last checkpoint was made
	bytes    int64             // read since then
	time     time.Time         // the broker clock of the last group read
	gaps     int               // so many times on end, what comes next had been reclaimed
	anew     bool              // the index is of no use: the next reading begins at the beginning
	progress atomic.Pointer[Progress]
}

// Progress is how far a Follower is.
type Progress struct {
	Source uint64    // the epoch that is followed; 0: none
	Epoch  uint64    // up to here,
	Offset uint64    // in this epoch's journal, everything was read
	Time   time.Time // the broker clock of the last group read

	// CaughtUp: everything was read that the source was known to have promised when the Follower looked last.
	CaughtUp bool
	// Reason is why the follower cannot go on, "" when it can. It tries again all the same.
	Reason string
	// Damaged: Reason is damage in the journal. What that means is decided by a start, so it is no reason not to make one.
	Damaged bool
}

// NewFollower opens this node's index. Of opt, Epoch and Source and what a primary needs are not used.
func NewFollower(ctx context.Context, opt Options) (*Follower, error) {
	if opt.Dir == "" {
		return nil, errors.New("follow store: no directory given")
	}
	opt = opt.withDefaults()
	x, err := openIndex(ctx, &opt)
	if err != nil {
		return nil, err
	}
	f := &Follower{opt: opt, log: opt.Logger, index: x, saved: time.Now()}
	f.progress.Store(new(Progress))
	return f, nil
}

// Progress is how far the follower is. It may be called by any goroutine.
func (f *Follower) Progress() Progress { return *f.progress.Load() }

// Follow follows until ctx ends, and then returns nil. source is asked again and again: what is the source now, and up to where is it known
// to have made promises? It returns false while there is no active epoch. Any error but one of the index is told in Progress, and tried
// again.
func (f *Follower) Follow(ctx context.Context, source func() (Source, bool, error)) error {
	defer f.stopReading()
	wait := followEvery
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		src, ok, err := source()
		if err == nil && ok {
			err = f.step(ctx, src)
		}
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, ErrNewer) || f.index.Err() != nil {
			return errors.Join(err, f.index.Err())
		}
		f.tell(src, ok, err)
		if wait = min(2*wait, followAgain); err == nil {
			wait = followEvery
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
	}
}

// Close gives the index back. It is not called once Open has taken the follower.
func (f *Follower) Close() error {
	f.stopReading()
	return f.index.Close()
}

func (f *Follower) tell(src Source, ok bool, err error) {
	before, p := f.progress.Load(), &Progress{Time: f.time}
	if ok {
		p.Source = src.Epoch
	}
	if f.live != nil {
		at := f.live.position
		p.Epoch, p.Offset = uint64(at.Epoch), at.Offset
		p.CaughtUp = err == nil && ok && f.reader != nil && f.reader.Reached(src.Promised)
	}
	if err != nil {
		p.Reason = err.Error()
		_, p.Damaged = errors.AsType[*DamageError](err)
		if before.Reason != p.Reason {
			f.log.Warn("following the primary's journal is interrupted", slog.Uint64("epoch", src.Epoch), slog.Any("err", err))
		}
	}
	f.progress.Store(p)
}

// step reads what has passed since the last one, and brings the index up to it when that is due.
func (f *Follower) step(ctx context.Context, src Source) error {
	if f.reader != nil && !sameHistory(&f.source, &src) {
		f.stopReading()
	}
	if f.reader == nil {
		if err := f.begin(src); err != nil {
			return err
		}
	}
	if err := f.read(ctx, src.Promised); err != nil {
		f.stopReading()
		return f.failed(err)
	}
	f.gaps = 0
	return f.save()
}

// failed decides with what the next step begins after err. What is in memory stays true, up to its position, whatever ended the reading: an
// error of the disk that may be over soon, or damage, of which a start decides what it means. It is of no use any more if what
// comes next has been reclaimed; nor is the index then, which is behind it.
func (f *Follower) failed(err error) error {
	switch {
	case f.live.err != nil:
		f.live, f.waiting, f.anew = nil, nil, true
	case errors.Is(err, journal.ErrGone), errors.Is(err, fs.ErrNotExist):
		if f.gaps++; f.gaps >= gapTries {
			f.live, f.waiting, f.anew, f.gaps = nil, nil, true, 0
		}
	case errors.Is(err, errHalfApplied):
		f.live, f.waiting = nil, nil
	}
	return err
}

// errHalfApplied: what is in memory has a part of a group.
var errHalfApplied = errors.New("a group could not be applied as a whole")

func sameHistory(a, b *Source) bool { return a.Epoch == b.Epoch && slices.Equal(a.Lineage, b.Lineage) }

// begin decides from where to read: on from what is in memory, from the index's root, or from the beginning.
func (f *Follower) begin(src Source) error {
	f.source = src
	if f.live == nil || !src.holds(f.live.position) {
		f.live, f.waiting = nil, nil // a checkpoint is of what was in memory: nothing else goes on from it
		if f.anew || !f.restore(&src) {
			if err := f.beginAnew(&src); err != nil {
				return err
			}
		}
	}
	f.reader = journal.NewFollower(journal.History{
		Files: f.opt.Files, Dir: filepath.Join(f.opt.Dir, "journal"), Store: f.opt.StoreID,
		Lineage: src.Lineage, Source: uint32(src.Epoch),
	}, f.live.position)
	return nil
}

// beginAnew empties the index, for a replay from the beginning.
func (f *Follower) beginAnew(src *Source) error {
	f.log.Info("rebuilding this node's index from the primary's journal", slog.Uint64("epoch", src.Epoch))
	if err := f.index.Reset(); err != nil {
		return err
	}
	f.live, f.anew = newLiveOn(f.index), false
	return nil
}

// restore fills memory from the index's root, unless that is no part of src's history.
func (f *Follower) restore(src *Source) bool {
	root, ok := f.index.Root()
	if !ok || !src.holds(journal.Position(root.Position)) {
		return false
	}
	l := newLiveOn(f.index)
	if err := l.restore(f.index); err != nil {
		f.log.Warn("this node's index is not used", slog.Any("err", err))
		return false
	}
	f.live = l
	return true
}

func (f *Follower) read(ctx context.Context, promised uint64) error {
	var rec journal.Record
	return f.reader.Next(promised, func(g *journal.Group) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if g.Damage != nil { // what that means is decided by a start
			return g.Damage
		}
		if err := f.live.apply(g, &rec); err != nil {
			return fmt.Errorf("%w: %w", errHalfApplied, err)
		}
		if f.live.err != nil { // a chunk that the index has not given looks empty: nothing of it may get back there
			return f.live.err
		}
		f.time = g.Time
		f.bytes += int64(g.End().Offset - g.At.Offset)
		if f.bytes >= f.opt.CheckpointBytes {
			return f.checkpoint()
		}
		return nil
	})
}

// save makes a checkpoint when it is time for one.
func (f *Follower) save() error {
	if time.Since(f.saved) < f.opt.CheckpointEvery {
		return nil
	}
	return f.checkpoint()
}

// checkpoint brings the index up to what was read. The group behind that is there, so the root is never at the end of the journal.
func (f *Follower) checkpoint() error {
	f.saved, f.bytes = time.Now(), 0
	cp := f.waiting
	if cp == nil {
		if !f.live.hasChanged() {
			return nil
		}
		cp = f.live.snapshot()
	}
	err := f.index.Apply(cp)
	if errors.Is(err, index.ErrSpace) {
		f.waiting = cp
		return fmt.Errorf("bring this node's index up to the journal: %w", err)
	}
	if err != nil {
		return err
	}
	f.waiting = nil
	f.live.evict()
	return nil
}

func (f *Follower) stopReading() {
	if f.reader != nil {
		f.reader.Close()
		f.reader = nil
	}
}

// holds reports whether p is a place of the history that ends with src, as far as that is known before it is read.
func (src *Source) holds(p journal.Position) bool {
	if uint64(p.Epoch) == src.Epoch {
		return true
	}
	return slices.ContainsFunc(src.Lineage, func(seal Seal) bool {
		return seal.Epoch == uint64(p.Epoch) && p.Offset <= seal.Offset
	})
}
