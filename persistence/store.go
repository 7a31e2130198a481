package persistence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/index"
	"github.com/batonmq/baton/persistence/journal"
)

// ErrClosed is what a Completion gets that came after Close.
var ErrClosed = errors.New("store is closed")

// Store is core.Store on a journal and an index.
type Store struct {
	opt      Options
	log      *slog.Logger
	journal  string // the journal's directory
	index    indexer
	live     *live
	clock    clock
	lineage  []Seal
	damage   replayDamage // what the start has met
	commits  *committer
	pending  atomic.Int64
	measured atomic.Pointer[measured]
	low      atomic.Bool // disk space is below the upper watermark, and was below the lower one
	stats    counters
	seed     uint32
	wide     wideRecords

	checkpointed atomic.Uint64 // stats.bytes at the last checkpoint that was begun
	rooted       atomic.Uint64 // stats.bytes at the last one that is in the index
	replayed     atomic.Uint64 // bytes read at the start that the index does not have yet
	late         atomic.Bool   // publishers wait for a checkpoint

	mu     sync.Mutex
	cond   sync.Cond // something waits, or ended
	gather *batch
	spare  *batch
	closed bool // Finish was called: only the store's own records are accepted
	sealed bool // nothing is accepted: what ends the journal was
	ended  bool // the committer ends once nothing waits

	failMu sync.Mutex
	err    error
	failed chan struct{}

	waiting   *index.Checkpoint   // one that found no space, or whose record came too late; the checkpointer's, then Close's
	taken     uint64              // stats.bytes when the last snapshot was taken; the checkpointer's
	unremoved []journal.SegmentID // gone, but their files could not be removed; the checkpointer's
	ballast   bool                // it is there, or cannot be had; the measurer's
	perGroup  int64               // bytes of a group; the checkpointer's
	paced     struct{ groups, bytes uint64 }

	activate  sync.Once
	activated atomic.Bool
	stop      chan struct{} // the checkpointer ends
	kick      chan struct{} // the tail has grown enough for a checkpoint
	wg        sync.WaitGroup
	committed sync.WaitGroup
	finishing sync.Once
	finishErr error
	closing   sync.Once
	closeErr  error

	snapshots sync.Mutex        // held for each snapshot, and to end the journal: none is of what follows its end
	last      *index.Checkpoint // what Close brings the index up to; Finish's, then Close's
}

var _ core.Store = (*Store)(nil)

// Lineage is the history that this epoch continues: what the wiring puts on record when it activates the epoch.
func (s *Store) Lineage() []Seal { return slices.Clone(s.lineage) }

// Activated tells the store that its epoch is on record as active. From then on it makes checkpoints, and removes files that are no
// part of its history.
func (s *Store) Activated() {
	s.activate.Do(func() {
		s.activated.Store(true)
		s.askCheckpoint(s.replayed.Load())
		s.wg.Go(s.checkpointer)
		s.wg.Go(s.measurer)
	})
}

// Recover implements core.Store. What it has yielded leaves memory if the index has it: before the store is activated, when nothing changes
// the index meanwhile.
func (s *Store) Recover(ctx context.Context) iter.Seq2[core.Definition, error] {
	return func(yield func(core.Definition, error) bool) {
		var batch [256]core.Definition
		for list := s.live.inOrder(); len(list) > 0; {
			if err := ctx.Err(); err != nil {
				yield(core.Definition{}, fmt.Errorf("recover store %s: %w", s.opt.Dir, context.Cause(ctx)))
				return
			}
			n := min(len(batch), len(list))
			if err := s.live.describe(batch[:n], list); err != nil {
				yield(core.Definition{}, fmt.Errorf("recover store %s: %w", s.opt.Dir, err))
				return
			}
			for i := range batch[:n] {
				if !yield(batch[i], nil) {
					return
				}
			}
			if !s.activated.Load() && s.waiting == nil { // of what waits the index has nothing yet
				s.live.forget(list[:n])
			}
			list = list[n:]
		}
	}
}

// Keys implements core.Store. What it has yielded leaves memory as what Recover has does.
func (s *Store) Keys(ctx context.Context, queue core.QueueID) iter.Seq2[core.KeyedPlace, error] {
	return func(yield func(core.KeyedPlace, error) bool) {
		list := make([]core.KeyedPlace, 0, chunkPlaces)
		for next, more := uint64(0), true; more; more = next != 0 {
			err := context.Cause(ctx)
			if err == nil {
				list, next, err = s.live.keysFrom(list[:0], queue, next, !s.activated.Load() && s.waiting == nil)
			}
			if err != nil {
				yield(core.KeyedPlace{}, fmt.Errorf("recover store %s: %w", s.opt.Dir, err))
				return
			}
			for i := range list {
				if !yield(list[i], nil) {
					return
				}
			}
		}
	}
}

// ordered is a definition and where it is in the order of Recover. It is good until the next checkpoint, which may move definitions: the
// first comes when the store was activated, and what is recovered has been acted on.
type ordered struct {
	at uint64
	d  *definition
}

// inOrder lists what is defined, that of no queue first, in the order in which it was made.
func (l *live) inOrder() []ordered {
	const behind = 1 << 63 // any order
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]ordered, 0, l.defs.Len())
	for d := range l.defs.All() {
		at := d.order
		if d.queue != 0 {
			at |= behind
		}
		list = append(list, ordered{at, d})
	}
	slices.SortFunc(list, func(a, b ordered) int { return cmp.Compare(a.at, b.at) })
	return list
}

// describe fills out with what the first of list define.
func (l *live) describe(out []core.Definition, list []ordered) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range out {
		d := list[i].d
		value, err := l.valueOf(d)
		if err != nil {
			return err
		}
		out[i] = core.Definition{Key: l.defs.Key(d), Value: value, Queue: d.queue}
		if q := l.queues[d.queue]; d.queue != 0 && q != nil {
			out[i].Next, out[i].Count, out[i].Bytes = q.next, q.count, q.bytes
		}
	}
	return nil
}

// forget lets go of the values of a list, as far as the index has them.
func (l *live) forget(list []ordered) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range list {
		if o.d.indexed() && !o.d.dirty() {
			l.letGo(o.d)
		}
	}
}

// Commit implements core.Store.
func (s *Store) Commit(ops []core.Op) {
	if len(ops) == 0 {
		return
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		for i := range ops {
			if o := &ops[i]; o.Done != nil {
				o.Done.Complete(o.Tag, ErrClosed)
			}
		}
		return
	}
	b := s.gather
	var bytes int64
	for i := range ops {
		bytes += b.add(&ops[i])
	}
	b.units = append(b.units, unit{end: len(b.ops), bytes: bytes})
	first := len(b.units) == 1
	s.pending.Add(bytes)
	s.mu.Unlock()
	if first {
		s.cond.Signal()
	}
}

// commitOwn writes records of the store's own as one unit and waits until they have passed.
func (s *Store) commitOwn(own *ownRecords) error { return <-s.submitOwn(own) }

// submitOwn does not wait.
func (s *Store) submitOwn(own *ownRecords) waiter {
	done := make(waiter, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed {
		done <- ErrClosed
		return done
	}
	kind := opOwn
	if own == nil {
		kind = opNone
	} else {
		s.sealed = own.closed
	}
	s.gather.ops = append(s.gather.ops, op{kind: kind, own: own, done: done})
	s.gather.units = append(s.gather.units, unit{end: len(s.gather.ops)})
	s.cond.Signal()
	return done
}

// waiter is a Completion that somebody waits for.
type waiter chan error

// Complete implements core.Completion.
func (w waiter) Complete(_ uint64, err error) { w <- err }

// take waits for a batch; nil when the store has ended.
func (s *Store) take() *batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.gather.units) == 0 {
		if s.ended {
			return nil
		}
		s.cond.Wait()
	}
	b := s.gather
	s.gather, s.spare = s.spare, nil
	if s.gather == nil {
		s.gather = new(batch)
	}
	return b
}

// giveBack returns a batch that has been dealt with.
func (s *Store) giveBack(b *batch) {
	b.reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spare = b
}

// Pending implements core.Store.
func (s *Store) Pending() int64 { return s.pending.Load() }

// Failed implements core.Store.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err implements core.Store.
func (s *Store) Err() error {
	s.failMu.Lock()
	defer s.failMu.Unlock()
	return s.err
}

// fail makes err the final error, unless there is one already, and returns the final one.
func (s *Store) fail(err error) error {
	s.failMu.Lock()
	defer s.failMu.Unlock()
	if s.err == nil {
		s.err = fmt.Errorf("the store in %s failed: %w", s.opt.Dir, err)
		close(s.failed)
	}
	return s.err
}

// Now implements core.Store.
func (s *Store) Now() time.Time { return s.clock.now() }

// Finish ends the journal in order, and nothing else: what was committed has passed, behind it the mark of an orderly end, and then the
// committer has ended and the file is closed, so that no group can follow and no promise can be made. Whoever continues the journal may
// begin when Finish has returned nil. It does not wait for the index, which nobody else reads: a checkpoint that is under way goes on,
// and Close makes the last one. It may be called again.
func (s *Store) Finish() error {
	s.finishing.Do(func() { s.finishErr = s.finish() })
	return s.finishErr
}

func (s *Store) finish() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	close(s.stop)

	err := s.commitOwn(nil) // everything before has passed
	if err == nil && s.activated.Load() {
		err = s.markEnd()
	}
	s.mu.Lock()
	s.sealed, s.ended = true, true
	s.mu.Unlock()
	s.cond.Signal()
	s.committed.Wait()
	if err := s.commits.writer.Close(); err != nil {
		s.log.Warn("journal not closed", slog.Any("err", err)) // it is synced
	}
	return err
}

// markEnd writes the mark of an orderly end, and sees to it that the index can be brought up to where nothing but that mark need be
// replayed: the last group of a journal is written again by the successor, so that the root must not lie behind it.
func (s *Store) markEnd() error {
	s.snapshots.Lock()
	s.last = s.live.snapshot()
	ended := s.submitOwn(&ownRecords{closed: true})
	s.snapshots.Unlock()
	return <-ended
}

// Close implements core.Store: Finish, and the index. It may be called again.
func (s *Store) Close() error {
	s.closing.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Store) close() error {
	err := s.Finish()
	s.wg.Wait()
	if err == nil && s.last != nil {
		err = s.lastCheckpoint()
	}
	s.releaseFiles()
	return err
}

// lastCheckpoint brings the index up to the end, unless one before finds no room there, or was not made: this one goes on from that.
func (s *Store) lastCheckpoint() error {
	if err := s.Err(); err != nil {
		return err
	}
	if err := s.flushCheckpoint(); err != nil || s.waiting != nil {
		return err
	}
	return s.applyCheckpoint(s.last)
}

// closeIndexWithin is how long Close waits for Badger, whose own Close can take many seconds. What it would do then is not needed: the
// last root is synced.
const closeIndexWithin = 2 * time.Second

func (s *Store) releaseFiles() {
	s.live.mu.Lock()
	for _, seg := range s.live.segments.list[1:] {
		seg.reader.retire()
	}
	s.live.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.index.Close(); err != nil {
			s.log.Warn("index not closed", slog.Any("err", err))
		}
	}()
	timer := time.NewTimer(closeIndexWithin)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.log.Info("index is still closing")
	}
}

func (s *Store) segmentPath(id journal.SegmentID) string { return filepath.Join(s.journal, id.File()) }
