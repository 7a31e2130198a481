package persistence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/persistence/index"
	"github.com/batonmq/baton/persistence/journal"
)

// followEvery is how often a follower looks for what its source has written.
const followEvery = 20 * time.Millisecond

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
	doubted  bool              // what live holds could not be continued
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
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
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
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Close gives the index back. It is not called once Open has taken the follower.
func (f *Follower) Close() error {
	f.stopReading()
	return f.index.Close()
}

func (f *Follower) tell(src Source, ok bool, err error) {
	before, p := f.progress.Load(), new(Progress)
	if ok {
		p.Source = src.Epoch
	}
	if f.live != nil {
		at := f.live.position
		p.Epoch, p.Offset, p.Time = uint64(at.Epoch), at.Offset, before.Time
		p.CaughtUp = err == nil && ok && f.reader != nil && f.reader.Reached(src.Promised)
	}
	if err != nil {
		p.Reason = err.Error()
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
		f.doubted = true
		return err
	}
	return f.save()
}

func sameHistory(a, b *Source) bool { return a.Epoch == b.Epoch && slices.Equal(a.Lineage, b.Lineage) }

// begin decides from where to read: on from what is in memory, from the index's root, or from the beginning. What could not be continued
// once is not tried again.
func (f *Follower) begin(src Source) error {
	f.source = src
	from := journal.Position{}
	switch {
	case f.live != nil && !f.doubted && src.holds(f.live.position):
		from = f.live.position
	case f.restore(&src):
		from = f.live.position
	default:
		f.log.Info("rebuilding this node's index from the primary's journal", slog.Uint64("epoch", src.Epoch))
		if err := f.index.Reset(); err != nil {
			return err
		}
		f.live, f.waiting = newLiveOn(f.index), nil
	}
	f.doubted = false
	f.reader = journal.NewFollower(journal.History{
		Files: f.opt.Files, Dir: filepath.Join(f.opt.Dir, "journal"), Store: f.opt.StoreID,
		Lineage: src.Lineage, Source: uint32(src.Epoch),
	}, from)
	return nil
}

// restore fills memory from the index's root, unless that is no part of src's history, or is where reading has failed before.
func (f *Follower) restore(src *Source) bool {
	root, ok := f.index.Root()
	from := journal.Position(root.Position)
	if !ok || !src.holds(from) || f.doubted && f.live != nil && f.live.position == from {
		return false
	}
	f.live, f.waiting = newLiveOn(f.index), nil
	if err := f.live.restore(f.index); err != nil {
		f.log.Warn("this node's index is not used", slog.Any("err", err))
		return false
	}
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
			return err
		}
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
