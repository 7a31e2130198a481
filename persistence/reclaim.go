package persistence

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal"
)

// What is alive in a segment:
//
//   - a publish or carry record that one live entry or more points to;
//   - a define record whose definition lives;
//   - any record that ended or changed what a record in an older segment says: a settle, a mark, a remove, the define that replaced
//     another, and a carry record while what it was carried from is there. A rebuild that found the older one without it would bring
//     back what is over. It is dead once the older segment is gone;
//   - the record that makes known that a queue's places are used up to some point. Before it goes it is written again.
//
// A reclaimed record is needed as long as a header written before it lists the segment as kept. The newest segment's header is the only
// one that counts, and the newest segment never goes, so nothing need be kept for it.
//
// A segment is gone once the reclaimed record that names it has passed, whatever becomes of the file: a rebuild skips it, so that a file
// that could not be removed yet brings nothing back.

// reclaim makes segments gone and removes their files.
func (s *Store) reclaim(free []uint32) error {
	if len(free) == 0 {
		return nil
	}
	own := &ownRecords{}
	ids := s.live.reclaimRecords(free, own)
	if err := s.commitOwn(own); err != nil {
		return err
	}
	s.unremoved = append(s.unremoved, ids...)
	s.unremoved = slices.DeleteFunc(s.unremoved, func(id journal.SegmentID) bool {
		err := s.removeSegment(id)
		if err != nil {
			s.log.Warn("a journal segment that is gone is left for now", slog.Any("err", err))
		}
		return err == nil
	})
	s.log.Debug("journal segments removed", slog.Int("segments", len(ids)))
	return s.opt.Files.SyncDir(s.journal)
}

// reclaimRecords completes own with what must pass before the segments free are gone, and returns their ids.
func (l *live) reclaimRecords(free []uint32, own *ownRecords) []journal.SegmentID {
	l.mu.Lock()
	defer l.mu.Unlock()
	going := make(map[uint32]bool, len(free))
	ids := make([]journal.SegmentID, 0, len(free))
	for _, i := range free {
		going[i] = true
		id := l.segments.at(i).id
		ids = append(ids, id)
		if n := len(own.reclaimed); n > 0 && own.reclaimed[n-1].Epoch == id.Epoch && own.reclaimed[n-1].Last+1 == id.Number {
			own.reclaimed[n-1].Last++
			continue
		}
		own.reclaimed = append(own.reclaimed, journal.SegmentRange{Epoch: id.Epoch, First: id.Number, Last: id.Number})
	}
	for _, q := range l.queues {
		if q.next > 1 && (q.nextIn == 0 || going[q.nextIn]) {
			own.places = append(own.places, core.Pair{Queue: q.id, Seq: q.next})
		}
	}
	return ids
}

// removeRemainders removes the segment files that are no part of our history: of epochs that were never activated, beyond a seal, or
// gone before but not removed in time. Those of later epochs are not ours to judge.
func (s *Store) removeRemainders() error {
	names, err := s.opt.Files.Names(s.journal)
	if err != nil {
		return err
	}
	removed := 0
	for _, name := range names {
		id, ok := journal.ParseFile(name)
		if !ok || uint64(id.Epoch) >= s.opt.Epoch || s.live.isHistory(id) {
			continue
		}
		if err := s.removeSegment(id); err != nil {
			return err
		}
		removed++
	}
	if removed == 0 {
		return nil
	}
	s.log.Info("removed journal segments that are no part of the history", slog.Int("segments", removed))
	return s.opt.Files.SyncDir(s.journal)
}

func (l *live) isHistory(id journal.SegmentID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, ok := l.segments.byID[id]
	return ok && !l.segments.at(i).gone
}

func (s *Store) removeSegment(id journal.SegmentID) error {
	if err := s.opt.Files.Remove(s.segmentPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove journal segment %s: %w", id.File(), err)
	}
	s.stats.reclaimed.Add(1)
	return nil
}
