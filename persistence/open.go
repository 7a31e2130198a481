package persistence

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/failpoint"
	"github.com/batonmq/baton/persistence/index"
	"github.com/batonmq/baton/persistence/journal"
)

// Errors of Open that a caller tells apart. Each comes wrapped in a sentence that names the file and says what to do.
var (
	// ErrNewer: a file was written by a newer version.
	ErrNewer = journal.ErrNewer
	// ErrOrphans: there is a journal, and nothing that says which of it is history.
	ErrOrphans = errors.New("journal without a history")
)

// DamageError is a place in the journal that does not hold what it must.
type DamageError = journal.DamageError

// Open continues opt.Source, or begins an empty store, under opt.Epoch. Nothing that exists is changed, but for the node's own index,
// before Activated is called; a crash until then leaves the source as it was.
func Open(ctx context.Context, opt Options) (_ *Store, err error) {
	s := new(Store)
	if f := opt.Follower; f != nil {
		s.index = f.index
	}
	defer func() {
		if err != nil && s.index != nil {
			if cerr := s.index.Close(); cerr != nil {
				opt.withDefaults().Logger.Warn("index not closed", slog.Any("err", cerr))
			}
		}
	}()
	if err := opt.validate(); err != nil {
		return nil, err
	}
	s.set(opt)
	if err := s.opt.Files.MkdirAll(s.journal); err != nil {
		return nil, fmt.Errorf("make journal directory: %w", err)
	}
	if err := s.makeRoom(); err != nil {
		return nil, err
	}
	if s.index == nil {
		x, err := openIndex(ctx, &s.opt)
		if err != nil {
			return nil, err
		}
		s.index = x
	}
	if err := s.start(ctx); err != nil {
		return nil, fmt.Errorf("open store %s: %w", s.opt.Dir, err)
	}
	s.committed.Go(s.commits.run)
	return s, nil
}

// set prepares what needs no file.
func (s *Store) set(opt Options) {
	s.opt = opt.withDefaults()
	s.opt.sayRaised(opt)
	s.log, s.journal = s.opt.Logger, filepath.Join(opt.Dir, "journal")
	s.seed = journal.StoreSeed(opt.StoreID)
	s.gather, s.spare = new(batch), new(batch)
	s.failed, s.stop, s.kick = make(chan struct{}), make(chan struct{}), make(chan struct{}, 1)
	s.cond.L = &s.mu
}

func openIndex(ctx context.Context, opt *Options) (indexer, error) {
	if opt.openIndex != nil {
		return opt.openIndex(opt)
	}
	return index.Open(ctx, index.Options{
		Dir: filepath.Join(opt.Dir, "index"), Node: opt.Node, StoreID: hex.EncodeToString(opt.StoreID[:]), Logger: opt.Logger,
		Free: func() (int64, error) {
			free, known, err := opt.Files.Free(opt.Dir)
			if !known {
				free = math.MaxInt64 // a full disk then shows as it can
			}
			return free, err
		},
	})
}

// start brings what is alive into memory and begins our own first segment.
func (s *Store) start(ctx context.Context) error {
	var last *journal.Group
	var suspect journal.Position
	var base time.Time
	if src := s.opt.Source; src != nil {
		tail, err := s.replay(ctx)
		if err != nil {
			return err
		}
		last, suspect = &tail.Last, tail.Newest.Suspect
		for _, torn := range tail.Torn {
			s.log.Warn("cut what holds no group off the end of the journal", slog.String("file", filepath.Join(s.journal, torn.File)),
				slog.Int64("offset", torn.Offset), slog.Int64("length", torn.Length))
		}
		s.lineage = append(slices.Clone(src.Lineage), Seal{Epoch: src.Epoch, Offset: last.At.Offset})
		if base = src.Time; last.Time.After(base) {
			base = last.Time
		}
	} else {
		if err := s.refuseOrphans(); err != nil {
			return err
		}
		if err := s.index.Reset(); err != nil {
			return err
		}
		s.live = s.newLive()
		base = s.opt.wall() // for once: from now on it goes on from itself
	}
	s.clock = newClock(base)
	if err := failpoint.At(failpoint.TakeoverSealed); err != nil {
		return err
	}
	if err := s.begin(last, suspect); err != nil {
		return err
	}
	return failpoint.At(failpoint.TakeoverAdopted)
}

func (s *Store) newLive() *live { return newLiveOn(s.index) }

// newLiveOn is empty, for a replay, and reads from x what it does not keep.
func newLiveOn(x indexer) *live {
	l := newLive()
	l.replay = true
	l.read = func(queue core.QueueID, number uint64) ([]byte, error) {
		b, found, err := x.Chunk(index.ChunkID{Queue: uint64(queue), Number: number})
		if err == nil && !found {
			err = errState
		}
		return b, err
	}
	l.readDef = func(key string) ([]byte, error) {
		d, found, err := x.Definition(key)
		if err == nil && !found {
			err = errState
		}
		return d.Value, err
	}
	return l
}

// replay reads the source's history: from the index's root, or, where that is in doubt, from the beginning. The index is emptied only
// when the journal has been read to its end: whatever keeps that from being read, an index that is as it was is not to blame, and may
// be all that is needed once the trouble is over.
func (s *Store) replay(ctx context.Context) (journal.Tail, error) {
	r, err := s.newReader()
	if err != nil {
		return journal.Tail{}, err
	}
	tail, err := s.replayFollowed(ctx, r)
	if err != nil && ctx.Err() == nil {
		tail, err = s.replayTail(ctx, r)
	}
	if err == nil || errors.Is(err, ErrNewer) || ctx.Err() != nil {
		return tail, err
	}
	s.log.Warn("rebuilding the index from the journal", slog.Any("reason", err))
	if tail, err = s.rebuild(ctx, r); err != nil {
		return journal.Tail{}, err
	}
	return tail, s.index.Reset()
}

func (s *Store) newReader() (*journal.Reader, error) {
	src := s.opt.Source
	return journal.NewReader(journal.History{
		Files: s.opt.Files, Dir: s.journal, Store: s.opt.StoreID,
		Lineage: src.Lineage, Source: uint32(src.Epoch), Named: src.Segment, Promised: src.Promised, Salvage: s.salvage(),
	})
}

var errNotFollowed = errors.New("the journal was not followed")

// replayFollowed goes on from where a follower has come to.
func (s *Store) replayFollowed(ctx context.Context, r *journal.Reader) (journal.Tail, error) {
	f := s.opt.Follower
	if f == nil || f.live == nil || !s.opt.Source.holds(f.live.position) {
		return journal.Tail{}, errNotFollowed
	}
	s.live = f.live
	tail, err := s.replayFrom(ctx, r, s.live.position)
	if err == nil {
		err = s.adopt(r, &tail)
	}
	if err != nil {
		s.log.Warn("what was followed is not used", slog.Any("err", err))
		return tail, err
	}
	s.waiting = f.waiting // of what was followed: nothing else goes on from it
	return tail, nil
}

// replayTail goes on from the index's root.
func (s *Store) replayTail(ctx context.Context, r *journal.Reader) (journal.Tail, error) {
	root, ok := s.index.Root()
	if !ok {
		return journal.Tail{}, errors.New("no checkpoint: " + s.index.Reason())
	}
	from := journal.Position(root.Position)
	if !s.opt.Source.holds(from) {
		return journal.Tail{}, fmt.Errorf("the checkpoint at %v is no part of the history", from)
	}
	s.live = s.newLive()
	if err := s.live.restore(s.index); err != nil {
		return journal.Tail{}, err
	}
	tail, err := s.replayFrom(ctx, r, from)
	if err != nil {
		return journal.Tail{}, err
	}
	return tail, s.adopt(r, &tail)
}

// rebuild reads the whole journal.
func (s *Store) rebuild(ctx context.Context, r *journal.Reader) (journal.Tail, error) {
	s.live = s.newLive()
	tail, err := s.replayFrom(ctx, r, journal.Position{})
	if err != nil {
		return journal.Tail{}, err
	}
	s.log.Info("journal read", slog.Int("queues", len(s.live.queues)), slog.Int("definitions", s.live.defs.Len()))
	return tail, s.adopt(r, &tail)
}

func (s *Store) replayFrom(ctx context.Context, r *journal.Reader, from journal.Position) (journal.Tail, error) {
	var rec journal.Record
	progress := newProgress(s.log, "replay")
	s.damage.reset()
	tail, err := r.Replay(from, func(g *journal.Group) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := s.damage.judge(g, s.opt.Salvage); err != nil {
			return err
		}
		if err := s.live.apply(g, &rec); err != nil {
			return err
		}
		s.damage.applyLost(s.live, g)
		progress.group(g)
		return s.live.err
	})
	if err != nil {
		return journal.Tail{}, err
	}
	return tail, s.damage.judge(&tail.Last, s.opt.Salvage)
}

// adopt brings the table of segments in line with what the journal says exists: ours may come from an index that is older.
func (s *Store) adopt(r *journal.Reader, tail *journal.Tail) error {
	t := &s.live.segments
	known := make(map[journal.SegmentID]bool)
	seal := tail.Last.At
	for _, k := range r.Kept() {
		i, ok := t.byID[k.ID]
		if k.ID.Epoch == seal.Epoch && k.End > seal.Offset {
			// The newest segment holds no group, so that the last one is in the segment before, or is all that it holds.
			k.End = seal.Offset
			if !ok {
				continue
			}
		}
		known[k.ID] = true
		if s.opt.Salvage { // of what was given up, nothing is known, or an end that comes early
			continue
		}
		if !ok {
			return fmt.Errorf("the index does not know %s", k.ID.File())
		}
		if end := t.at(i).end; end != k.End {
			return fmt.Errorf("the index says that %s ends at %d, the journal says %d", k.ID.File(), end, k.End)
		}
	}
	// The newest one is history only if it holds anything before the seal.
	if tail.Newest.First < seal.Offset {
		known[tail.Newest.ID] = true
	}
	for i, seg := range t.list[1:] {
		if !known[seg.id] {
			t.reclaim(uint32(i + 1))
		}
	}
	return nil
}

// begin writes the source's last group again as the first group of our own first segment, with a record that our epoch begins. It is
// the only group of the source that may have been readable without being durable. suspect is the source's.
func (s *Store) begin(last *journal.Group, suspect journal.Position) error {
	epoch := uint32(s.opt.Epoch)
	c := &committer{
		s: s, orders: make(map[string]uint64), unsaid: make(map[core.QueueID]core.Seq),
	}
	s.commits = c
	clean, err := c.again(last, suspect)
	if err != nil {
		return err
	}
	if last != nil {
		c.buf = s.damage.settle(c.buf, s.live, last)
	}
	if !clean {
		suspect = journal.Position{Epoch: epoch, Offset: journal.GroupLength(c.buf)}
	}
	c.suspect = suspect
	var rec journal.Record
	if err := s.reclaimInLast(last, &rec); err != nil {
		return err
	}
	s.lineage = s.live.needed(s.lineage)
	c.writer = journal.NewWriter(journal.WriterOptions{
		Files: s.opt.Files, Dir: s.journal, Store: s.opt.StoreID, Epoch: epoch,
		SegmentSize: s.opt.SegmentSize, Lineage: s.lineage, Header: c.header, Named: s.opt.NameSegment,
		Room: s.roomAhead, Filled: func(n int64) { s.stats.filled.Add(uint64(n)) },
	})
	now := s.Now()
	buf, place, err := c.writer.Append(c.buf, 0, now)
	c.buf = buf
	if err != nil {
		return err
	}
	g, err := journal.Reopen(buf, s.opt.StoreID, place, suspect)
	if err != nil {
		return err
	}
	if err := s.live.apply(&g, &rec); err != nil {
		return err
	}
	s.damage.sayUndefined(s)
	s.live.finishReplay(s.live.segments.add(place.Segment))
	if s.live.err != nil {
		return s.live.err
	}
	s.damage.say(s)
	c.order = s.live.order
	s.replayed.Store(s.live.replayed)
	c.passed = c.writer.Position().Offset
	return nil
}

// again encodes the group that begins our epoch: that it does, and what the source's last group holds. clean tells whether the life
// before ended orderly. suspect is the source's; if its last group is also its first, that is itself of the life before.
func (c *committer) again(last *journal.Group, suspect journal.Position) (clean bool, err error) {
	c.buf = journal.BeginGroup(c.buf)
	if last == nil {
		c.buf = journal.AppendOpened(c.buf, true, c.s.opt.Node, suspect)
		return true, nil
	}
	var rec journal.Record
	var records []byte
	err = last.Each(&rec, func(r *journal.Record) error {
		switch r.Kind {
		case journal.KindClosed:
			clean = true
		case journal.KindOpened:
			suspect = r.At
		default:
			records = append(records, last.Raw(r)...)
		}
		return nil
	})
	c.buf = journal.AppendOpened(c.buf, clean, c.s.opt.Node, suspect)
	c.buf = append(c.buf, records...)
	return clean, err
}

// needed returns the seals of a lineage from the oldest epoch on of which there is a segment; the last seal, the source's, always.
// Those between stay, so that an index that is older than an epoch of which nothing is left can see the gap.
func (l *live) needed(lineage []Seal) []Seal {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.segments.kept()
	for len(lineage) > 1 && (len(kept) == 0 || lineage[0].Epoch < uint64(kept[0].ID.Epoch)) {
		lineage = lineage[1:]
	}
	return lineage
}

// reclaimInLast gives the reclaimed records of the last group their effect before our first header lists what is kept.
func (s *Store) reclaimInLast(last *journal.Group, rec *journal.Record) error {
	if last == nil {
		return nil
	}
	return last.Each(rec, func(r *journal.Record) error {
		s.live.reclaimed(r.Segments)
		return nil
	})
}

// refuseOrphans refuses a journal that nothing accounts for. What an epoch left that began an empty store and was never activated is
// none: one group that says so.
func (s *Store) refuseOrphans() error {
	names, err := s.opt.Files.Names(s.journal)
	if err != nil {
		return err
	}
	for _, name := range names {
		id, ok := journal.ParseFile(name)
		if !ok {
			continue
		}
		begun, err := journal.OnlyBegun(s.opt.Files, s.journal, id, s.opt.StoreID)
		if err != nil {
			return err
		}
		if !begun {
			return fmt.Errorf("%w: %s holds messages, and no active epoch says that they are history; put the ha directory back, "+
				"or run baton ha repair", ErrOrphans, filepath.Join(s.journal, name))
		}
	}
	return nil
}
