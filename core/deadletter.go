package core

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/batonmq/baton/core/field"
)

// A message that its queue drops because its time is over, because it was rejected, came back too often, or makes the queue too long, is a
// dead letter where the queue has a dead-letter exchange. It stays the queue's until the dead-letterer has published it again: the end of
// its place and its new places are one unit, so that no crash loses it or has it in both. The dead letters of a queue go on in the order in
// which they died.
//
// They are published by nobody who could be made to wait: they go on while publishers must, and a full queue that refuses does without. Two
// things bound them. The dead-letterer waits while more is to be written than publishers may have; and of messages that no client has its
// hands on, no more than dyingMost die before the first of them have gone on.

const (
	dyingMost   = 1024    // of a queue, after which what is over or too much stays where it is until others have gone on
	burialMost  = 256     // messages of one unit
	burialBytes = 1 << 20 // after which a unit ends
)

// dead is a message that is to go on.
type dead struct {
	lane   *lane // nil: it never had a place
	entry  entry
	reason reason
}

// dying is the dead letters of a queue that are still to go on.
type dying struct {
	list   deque[dead]
	listed bool          // the dead-letterer has the queue on its list
	cycled bool          // it was said that messages go round in circles
	gone   chan struct{} // closed when some have gone on; nil: nobody waits for that
}

// someGone is closed when some have gone on, or the queue is deleted.
func (d *dying) someGone() <-chan struct{} {
	if d.gone == nil {
		d.gone = make(chan struct{})
	}
	return d.gone
}

func (d *dying) tell() {
	if d.gone != nil {
		close(d.gone)
		d.gone = nil
	}
}

// buries reports whether the queue's dead letters go somewhere.
func (q *Queue) buries() bool {
	st := q.settings.Load()
	return st != nil && st.DeadLetterExchange != nil
}

// die makes an entry that was taken out of its lane a dead letter.
func (q *Queue) die(l *lane, e entry, why reason) {
	if q.dying == nil {
		q.dying = new(dying)
	}
	q.dying.list.pushBack(dead{lane: l, entry: e, reason: why})
	if !q.dying.listed {
		q.dying.listed = true
		q.vhost.broker.deaths.add(q)
	}
}

// mayDrop reports whether one more message may be dropped that could wait as well.
func (q *Queue) mayDrop() bool { return q.dying == nil || q.dying.list.len() < dyingMost }

// deadLetterer publishes dead letters again.
func (b *Broker) deadLetterer(ctx context.Context) {
	for {
		select {
		case <-b.deaths.signal:
			for _, q := range b.deaths.take() {
				if err := b.awaitStore(ctx); err != nil {
					return
				}
				if err := q.bury(); err != nil {
					b.fail(err)
					return
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

// awaitStore waits while more is to be written than publishers may have.
func (b *Broker) awaitStore(ctx context.Context) error {
	for b.store.Pending() >= b.opt.PendingLimit {
		if err := b.commit(false, Op{Kind: OpNone}).wait(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// bury publishes the first of a queue's dead letters, as one unit. If there are more they have their turn after other queues'.
func (q *Queue) bury() error {
	batch, bare := q.takeDead()
	if bare != nil {
		if err := q.exhume(bare); err != nil {
			return err
		}
		batch = []dead{*bare}
	}
	s := q.vhost.session()
	u := s.unit()
	ended := map[*lane][]Seq{}
	for i := range batch {
		d := &batch[i]
		if d.entry.msg != nil {
			q.publishDead(&s, &u, d)
		}
		if d.lane != nil && d.entry.durable {
			ended[d.lane] = append(ended[d.lane], d.entry.seq)
		}
	}
	for l, places := range ended {
		u.settle(l.id, ranges(places)...)
	}
	u.commit(nil, 0)
	q.buried(batch)
	return nil
}

// takeDead takes the next dead letters off the list: those whose messages are in memory, or, if that of the first is not, it alone.
func (q *Queue) takeDead() (batch []dead, bare *dead) {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := &q.dying.list
	for size := 0; list.len() > 0 && len(batch) < burialMost && size < burialBytes; {
		if list.at(0).entry.msg == nil {
			if len(batch) == 0 {
				d := list.popFront()
				return nil, &d
			}
			break
		}
		d := list.popFront()
		size += d.entry.msg.Size()
		batch = append(batch, d)
	}
	return batch, nil
}

// exhume reads the message of a dead letter back. It has none afterwards if the store does not have it, which has said so.
func (q *Queue) exhume(d *dead) error {
	entries, err := q.vhost.broker.store.Load(d.lane.id, d.entry.seq, d.entry.seq, 1, 1)
	if err != nil {
		return fmt.Errorf("read a dead letter of %s back: %w", q.vhost.queueName(q.spec.Name), err)
	}
	if len(entries) == 0 {
		q.vhost.broker.opt.Logger.Error("a dead letter is missing from the store: the queue goes on without it",
			slog.String("vhost", q.vhost.name), slog.String("queue", q.spec.Name), slog.Uint64("place", uint64(d.entry.seq)))
		return nil
	}
	d.entry.msg = entries[0].Msg
	q.mu.Lock()
	defer q.mu.Unlock()
	q.account(d.entry.msg.held())
	return nil
}

// publishDead adds one dead letter to a unit. Where there is no exchange for it, any more or at all, it just ends.
func (q *Queue) publishDead(s *Session, u *unit, d *dead) {
	st := q.settings.Load()
	if st == nil || st.DeadLetterExchange == nil {
		return
	}
	how := death{queue: q.spec.Name, reason: d.reason, time: field.Timestamp(s.broker.store.Now().Unix())}
	m, deaths := deadLetter(d.entry.msg, how, *st.DeadLetterExchange, st.DeadLetterKey)
	if !s.routeOn(m) {
		return
	}
	reached := s.targets[:0]
	for _, to := range s.targets {
		if !isCycle(deaths, to.spec.Name) {
			reached = append(reached, to)
		} else if !q.dying.cycled { // the dead-letterer's alone
			q.dying.cycled = true
			s.broker.opt.Logger.Warn("a dead letter is dropped: it has come round to a queue where it died, and nobody has rejected it on the way",
				slog.String("vhost", q.vhost.name), slog.String("queue", q.spec.Name), slog.String("to", to.spec.Name))
		}
	}
	s.push(m)
	_, _ = u.publish(reached, nil, m) // a full queue that refuses does without
	u.keepBack(s.keepers, m)
}

// buried lets go of dead letters that have gone on, and drops what had to wait for them.
func (q *Queue) buried(batch []dead) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range batch {
		q.freed(batch[i].entry.msg)
	}
	q.dying.tell()
	if q.deleted {
		q.say()
		return
	}
	q.stir()
	q.stats.Settled += uint64(len(batch))
	q.stats.Discarded += uint64(len(batch))
	if q.dying.listed = q.dying.list.len() > 0; q.dying.listed {
		q.vhost.broker.deaths.add(q)
	}
	if slices.ContainsFunc(batch, func(d dead) bool { return d.reason == expired }) {
		q.dropDue() // the expirer left the rest to this
	} else {
		q.dropExpired()
	}
	q.shorten()
	q.dispatch()
}
