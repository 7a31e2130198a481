package persistence

import (
	"errors"
	"log/slog"
	"time"

	"github.com/batonmq/baton/persistence/index"
	"github.com/batonmq/baton/persistence/journal"
)

// checkpointer makes checkpoints when it is time or when the tail has grown, carries forward and removes files, until the store stops.
func (s *Store) checkpointer() {
	if err := s.removeRemainders(); err != nil {
		s.log.Warn("files that are no part of the history are left", slog.Any("err", err))
	}
	every := time.NewTicker(s.opt.CheckpointEvery)
	defer every.Stop()
	for {
		var err error
		select {
		case <-s.stop:
			return
		case <-s.failed:
			return
		case <-s.index.Failed():
			err = s.index.Err()
		case <-every.C:
			err = s.checkpoint()
		case <-s.kick:
			err = s.checkpoint()
		}
		if errors.Is(err, ErrClosed) {
			return // the journal ended meanwhile, and whatever was not written then is not needed
		}
		if err != nil {
			_ = s.fail(err) // it is what Err returns from now on
			return
		}
	}
}

// checkpoint brings the index up to the last group that has passed, removes the files that nothing needs any more, and makes more of them
// such while the journal is over its budget.
//
// The root must not lie behind the last group of the journal: a successor takes that group for not yet written and writes it again. So
// one more group passes before the root is made.
func (s *Store) checkpoint() error {
	s.checkpointed.Store(s.stats.bytes.Load())
	s.pace()
	if err := s.flushCheckpoint(); err != nil {
		return err
	}
	if s.waiting != nil || !s.live.hasChanged() {
		return nil
	}
	s.taken = s.checkpointed.Load()
	cp, err := s.snapshot()
	if err != nil {
		return err
	}
	free := s.live.reclaimable(journal.Position(cp.Position))
	if err := s.commitOwn(&ownRecords{checkpoint: journal.Position(cp.Position)}); err != nil {
		s.waiting = cp // where the journal has ended its last group follows, and Close's checkpoint goes on from this one
		return err
	}
	if err := s.applyCheckpoint(cp); err != nil {
		return err
	}
	if s.waiting != nil {
		return nil // the index does not hold it yet
	}
	s.live.evict()
	if err := s.reclaim(free); err != nil {
		return err
	}
	return s.carryForward(journal.Position(cp.Position))
}

// snapshot returns a checkpoint to be written; ErrClosed once the journal has ended, as the root would lie behind its last group.
func (s *Store) snapshot() (*index.Checkpoint, error) {
	s.snapshots.Lock()
	defer s.snapshots.Unlock()
	s.mu.Lock()
	sealed := s.sealed
	s.mu.Unlock()
	if sealed {
		return nil, ErrClosed
	}
	return s.live.snapshot(), nil
}

// applyCheckpoint writes cp to the index. Where there is no room, cp waits: the index is as before, and the journal holds everything.
func (s *Store) applyCheckpoint(cp *index.Checkpoint) error {
	began := s.clock.elapsed()
	err := s.index.Apply(cp)
	if errors.Is(err, index.ErrSpace) {
		s.waiting = cp
		s.log.Warn("checkpoint waits for space", slog.Any("err", err))
		return nil
	}
	if err != nil {
		return err
	}
	s.waiting = nil
	s.live.letGoOf(cp)
	s.replayed.Store(0)
	s.rooted.Store(s.taken)
	s.stats.checkpointed(began, s.clock.elapsed())
	return nil
}

// flushCheckpoint writes the checkpoint that waits for space, so that the next one follows it.
func (s *Store) flushCheckpoint() error {
	if s.waiting == nil {
		return nil
	}
	return s.applyCheckpoint(s.waiting)
}

func (l *live) hasChanged() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *live) reclaimable(at journal.Position) []uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments.reclaimable(at)
}

// grown counts a group that has passed, and asks for a checkpoint when the tail has become long enough.
func (s *Store) grown(bytes int) {
	s.stats.groups.Add(1)
	total := s.stats.bytes.Add(uint64(bytes))
	s.askCheckpoint(total - s.checkpointed.Load())
}

// tail is how much a start would have to read now.
func (s *Store) tail() uint64 {
	rooted := s.rooted.Load() // before the bytes, which only grow
	return s.stats.bytes.Load() - rooted + s.replayed.Load()
}

// behind reports whether checkpoints do not keep up. It stays so until the tail is half of what it may be, so that publishers do not
// stop and go with every checkpoint.
func (s *Store) behind() bool {
	tail, bound := s.tail(), uint64(s.opt.TailBytes)
	if s.late.Load() {
		bound /= 2
	}
	late := tail > bound
	s.late.Store(late)
	return late
}

// askCheckpoint has the checkpointer make a checkpoint now if so many bytes wait for it that it is time.
func (s *Store) askCheckpoint(waiting uint64) {
	if waiting < uint64(s.opt.CheckpointBytes) {
		return
	}
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// failure is the error that makes what is in memory worthless.
func (l *live) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
