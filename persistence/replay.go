package persistence

import (
	"log/slog"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal"
)

// apply gives a whole group its effect. Applying goes on from exactly where it stopped: marks are counted, not set.
func (l *live) apply(g *journal.Group, rec *journal.Record) error {
	at := l.segments.add(g.Segment)
	s := l.segments.at(at)
	s.base = g.FileOff - int64(g.At.Offset)
	s.end = g.End().Offset
	s.dirty = true
	l.position = g.End()
	l.changed = true
	l.replayed += g.End().Offset - g.At.Offset
	if g.At.Offset > 0 { // the first group of an epoch says itself what its records saw
		l.suspect = g.Suspect
	}
	err := g.Each(rec, func(r *journal.Record) error {
		l.applyRecord(r, at, g.FileOff)
		return nil
	})
	l.suspect = g.Suspect
	return err
}

func (l *live) applyRecord(r *journal.Record, at uint32, fileOff int64) {
	switch r.Kind {
	case journal.KindPublish:
		e := entry{segment: at, offset: uint32(fileOff + int64(r.Off)), length: uint32(r.Len), size: uint32(r.Size)}
		for _, p := range r.Pairs {
			l.publish(p, e)
			if p.Queue.Keyed() {
				setKey(l, p, r.RoutingKey(), r.Expires())
			}
		}
	case journal.KindCarry:
		e := entry{segment: at, offset: uint32(fileOff + int64(r.Off)), length: uint32(r.Len), size: uint32(r.Size)}
		for i, p := range r.Pairs {
			e.delivered = r.Counts[i]
			l.publish(p, e)
			if p.Queue.Keyed() {
				setKey(l, p, r.RoutingKey(), r.Expires())
			}
		}
	case journal.KindSettle:
		l.settle(r.Queue, r.Ranges, at)
	case journal.KindMark:
		l.mark(r.Queue, r.Ranges, at)
	case journal.KindDefine:
		l.define(string(r.Key), append([]byte(nil), r.Value...), r.Queue, r.Order, at)
	case journal.KindRemove:
		l.remove(string(r.Key), r.Queue, at)
	case journal.KindPlaces:
		l.places(r.Queue, r.Next, at)
	case journal.KindReclaimed:
		l.reclaimed(r.Segments)
	case journal.KindOpened:
		l.suspect = r.At // what follows in its group is of the life before, and saw this
	case journal.KindClosed, journal.KindCheckpoint:
	}
}

// places notes that the places of queue below next are used.
func (l *live) places(id core.QueueID, next core.Seq, by uint32) {
	q := l.queues[id]
	if q == nil {
		if !l.replay {
			return
		}
		q = l.queueOf(id)
	}
	l.reach(q, next, by)
}

func (l *live) reclaimed(ranges []journal.SegmentRange) {
	for _, r := range ranges {
		for n := uint64(r.First); n <= uint64(r.Last); n++ {
			if i, ok := l.segments.byID[journal.SegmentID{Epoch: r.Epoch, Number: uint32(n)}]; ok {
				l.segments.reclaim(i)
			}
		}
	}
}

// progressEvery is how often a long reading of the journal says how far it is.
const progressEvery = 5 * time.Second

// progress says how far a reading is, if it takes long.
type progress struct {
	log    *slog.Logger
	doing  string
	said   time.Time
	groups int
	bytes  uint64
}

func newProgress(log *slog.Logger, doing string) *progress {
	return &progress{log: log, doing: doing, said: time.Now()}
}

func (p *progress) group(g *journal.Group) {
	p.groups++
	p.bytes += g.End().Offset - g.At.Offset
	if time.Since(p.said) < progressEvery {
		return
	}
	p.said = time.Now()
	p.log.Info("reading the journal", slog.String("to", p.doing), slog.String("position", g.At.String()), slog.Int("groups", p.groups), slog.Uint64("bytes", p.bytes))
}
