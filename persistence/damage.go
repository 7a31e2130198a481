package persistence

import (
	"log/slog"
	"slices"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal"
)

// A replay that meets a damaged group goes on with the records of it that are what was written. What is not decides the rest:
//
//   - a message: its places are lost like those of one that a Load finds damaged, named, counted and settled, unless a record
//     behind it has ended them anyway. Where its places are damaged too, it is named and counted, and nothing can be settled;
//   - a checkpoint record: nothing. It is there to be behind a root;
//   - anything else, or something of which not even the kind is known: the start is refused. It may have been a settle, without which a
//     message comes back, or a definition. With Options.Salvage it is named and given up.
//
// A group that a replay needs to know of and cannot find the end of is the journal's own refusal: the tail.

// replayDamage is what a replay has met.
type replayDamage struct {
	groups   []*DamageError // one for each damaged group
	messages []quarantined  // of which the places are known
	lost     []lostRecord   // the others
}

// lostRecord is a piece of the journal that is lost and leaves nothing to be settled.
type lostRecord struct {
	at      *DamageError
	length  int
	message bool
}

// salvage is what the journal calls for damage that it cannot go on with; nil when that is to be refused.
func (s *Store) salvage() func(*DamageError) {
	if !s.opt.Salvage {
		return nil
	}
	return func(d *DamageError) { s.log.Error("salvage: part of the journal is given up", slog.Any("err", d)) }
}

func (d *replayDamage) reset() { *d = replayDamage{} }

// judge takes note of what is lost in a group, and refuses what must not be lost.
func (d *replayDamage) judge(g *journal.Group, salvage bool) error {
	if g.Damage == nil {
		return nil
	}
	d.groups = append(d.groups, g.Damage)
	for i := range g.Lost {
		lost := &g.Lost[i]
		if lost.Kind == journal.KindCheckpoint || len(lost.Pairs) > 0 {
			continue
		}
		at := g.DamageOf(lost)
		if !lost.IsMessage() && !salvage {
			return at
		}
		d.lost = append(d.lost, lostRecord{at: at, length: lost.Len, message: lost.IsMessage()})
	}
	return nil
}

// applyLost gives the damaged messages of a group whose places are known the effect of sound ones: what lives of them after the replay is
// known to be lost, and what was settled since is not missed. Where a carry record is lost and what was carried is still there,
// that lives on.
func (d *replayDamage) applyLost(l *live, g *journal.Group) {
	at := l.segments.byID[g.Segment]
	for i := range g.Lost {
		lost := &g.Lost[i]
		e := entry{segment: at, offset: uint32(g.FileOff + int64(lost.Off)), length: uint32(lost.Len)}
		for _, p := range lost.Pairs {
			if lost.Kind == journal.KindCarry && l.entryAt(p) != nil {
				continue
			}
			l.publish(p, e)
			d.messages = append(d.messages, quarantined{
				Pair: p, at: found{seq: p.Seq, at: l.segments.at(at), offset: e.offset, length: e.length}, err: lost.Err,
			})
		}
	}
}

// settle appends records that settle what lives of the messages that are lost, and keeps no others. The last group's are not alive:
// of them it only says that their places are used.
func (d *replayDamage) settle(b []byte, l *live, last *journal.Group) []byte {
	d.messages = slices.DeleteFunc(d.messages, func(q quarantined) bool {
		e := l.entryAt(q.Pair)
		return e == nil || l.segments.at(e.segment) != q.at.at || e.offset != q.at.offset
	})
	for _, q := range d.messages {
		b = journal.AppendRanges(b, journal.KindSettle, q.Queue, []core.Range{{First: q.Seq, Last: q.Seq}})
	}
	for i := range last.Lost {
		lost := &last.Lost[i]
		for _, p := range lost.Pairs {
			b = journal.AppendPlaces(b, p.Queue, p.Seq+1)
		}
		if len(lost.Pairs) > 0 {
			d.lost = append(d.lost, lostRecord{at: last.DamageOf(lost), length: lost.Len, message: true})
		}
	}
	return b
}

// say tells the log and the counters what the replay has met, once it is over, and has the segments that hold damage carried forward.
func (d *replayDamage) say(s *Store) {
	l := s.live
	for _, g := range d.groups {
		s.log.Error("journal damaged: a group was read record by record", slog.Any("err", g))
		if id, ok := journal.ParseFile(g.File); ok {
			l.noteDamage(id)
		}
	}
	for _, q := range d.messages {
		s.sayLost(q)
	}
	for _, r := range d.lost {
		if r.message {
			s.stats.damaged.Add(1)
			s.log.Error("message damaged on disk and given up", slog.Int("length", r.length), slog.Any("err", r.at))
			continue
		}
		s.log.Error("salvage: a record is given up; messages that it settled may come back, and what it defined is missing",
			slog.Int("length", r.length), slog.Any("err", r.at))
	}
}

// sayUndefined names the queues that end with the replay because their definitions were given up.
func (d *replayDamage) sayUndefined(s *Store) {
	if !slices.ContainsFunc(d.lost, func(r lostRecord) bool { return !r.message }) {
		return
	}
	for id, q := range s.live.queues {
		if !q.defined && q.count > 0 {
			s.log.Error("salvage: the messages of a queue that has no definition are given up", slog.Uint64("queue", uint64(id)), slog.Int64("messages", q.count))
		}
	}
}

// noteDamage has everything up to segment id carried forward soon.
func (l *live) noteDamage(id journal.SegmentID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, ok := l.segments.byID[id]
	if ok && (l.damaged == 0 || l.segments.at(l.damaged).id.Compare(id) < 0) {
		l.damaged = i
	}
}
