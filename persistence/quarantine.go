package persistence

import (
	"errors"
	"log/slog"
	"slices"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal"
)

// A message whose bytes are not what was written is lost: it is never handed out. Its place is settled, durably, so that it is named and
// counted once and holds no segment; and the segment that held it is carried forward soon, because a disk that has damaged one place is
// likely to damage another.

// quarantined is a message that was found damaged.
type quarantined struct {
	core.Pair
	at  found
	err error
}

// verify decodes the record b, which was read from f, into rec and reports what is wrong with it. It must be that of p.
func verify(rec *journal.Record, b []byte, seed uint32, f *found, p core.Pair) error {
	if err := rec.DecodePublish(b, seed, f.at.position(f.offset)); err != nil {
		return err
	}
	if !slices.Contains(rec.Pairs, p) {
		return errors.New("the record there is of another message")
	}
	return nil
}

// quarantine gives a message up: the first time it says so, and settles its place.
func (s *Store) quarantine(q quarantined) {
	if s.live.giveUp(q) {
		s.sayLost(q)
		s.submitOwn(&ownRecords{settled: []core.Pair{q.Pair}})
	}
}

// quarantineNow gives messages up and returns when their places are settled.
func (s *Store) quarantineNow(list []quarantined) error {
	own := &ownRecords{}
	for _, q := range list {
		if s.live.giveUp(q) {
			s.sayLost(q)
		}
		own.settled = append(own.settled, q.Pair) // also one that is about to be settled: twice is as good as once
	}
	if len(own.settled) == 0 {
		return nil
	}
	return s.commitOwn(own)
}

// giveUp notes that a message is lost; false when that is known.
func (l *live) giveUp(q quarantined) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.lost[q.Pair]; known {
		return false
	}
	l.lost[q.Pair] = struct{}{}
	at := l.segments.byID[q.at.at.id]
	if l.damaged == 0 || l.segments.at(l.damaged).id.Compare(q.at.at.id) < 0 {
		l.damaged = at
	}
	return true
}

func (s *Store) sayLost(q quarantined) {
	s.stats.damaged.Add(1)
	s.log.Error("message damaged on disk and given up", slog.String("file", s.segmentPath(q.at.at.id)),
		slog.Uint64("offset", uint64(q.at.offset)), slog.Uint64("length", uint64(q.at.length)),
		slog.Uint64("queue", uint64(q.Queue)), slog.Uint64("seq", uint64(q.Seq)), slog.Any("err", q.err))
}
