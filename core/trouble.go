package core

import (
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Who is slow. A consumer that cannot be given what is ready notes for what it waits, and since when; a queue of which no consumer can take
// what is ready is put on a list, which the minder looks at now and then for as long as that goes on or has only just ended. So it costs
// nothing where consumers keep up, two stores where one does not, and no look at all the other queues.
//
// A subscriber that is there and does not read, so that messages which nobody keeps are not for it, is noted likewise.

// Lack is what a consumer waits for that cannot be given more.
type Lack uint8

// The lacks.
const (
	LacksNothing   Lack = iota
	LacksCredit         // its client has as much unanswered as it may have
	LacksShared         // the client's channel has, over all its consumers
	LacksMemory         // clients without a limit of their own have as much as all of them may have: Options.OpenBytes
	LacksRoom           // its client does not read what was sent
	LacksCertainty      // whether this broker is still the one that serves: see Broker.Doubt
	LacksTurn           // what waits for its session alone goes first
)

// String names it for lists and logs.
func (l Lack) String() string {
	switch l {
	case LacksCredit:
		return "credit"
	case LacksShared:
		return "channel_credit"
	case LacksMemory:
		return "memory"
	case LacksRoom:
		return "socket"
	case LacksCertainty:
		return "primary"
	case LacksTurn:
		return "session"
	case LacksNothing:
	}
	return ""
}

const (
	lookEvery  = 5         // seconds from one look to the next
	slowAfter  = 30        // seconds without anything taken, after which a queue's consumers are slow
	lookLines  = 5         // of the log, for each look and what it looks for
	busyWeight = 1.0 / 12  // of one look in what is known of the last minute
	busyOver   = 1.0 / 100 // of the time: below it the queue is not looked at any more
)

// trouble is what the minder looks at because something is the matter with it. The lists are filled by anybody, under any lock.
type trouble struct {
	seconds  atomic.Uint32 // of the broker's life, as the minder counts them
	opened   time.Time     // when it began
	queues   todo[*Queue]
	missing  todo[*missed]
	unrouted todo[*unrouted]

	missed atomic.Uint64 // messages that nobody keeps, for subscribers that were there and slow
	slow   atomic.Int64  // queues whose consumers were slow when the minder looked

	// the minder's alone
	watched []*Queue

	mu  sync.Mutex
	now []*Queue // those that were slow; the list does not change
}

// slowness is what is known of a queue of which no consumer could take what was ready. Guarded by Queue.mu.
type slowness struct {
	watched bool    // it is on the minder's list
	busy    float64 // how much of the time, of late, none could
	said    bool    // the log tells of it, and not that it is over
	nag     nag
}

// lacks notes why c cannot be given more.
func (c *Consumer) lacks(what Lack) bool {
	c.lack = what
	return false
}

// wait notes that c cannot be given more now. The queue's lock is held, and c not listed any more.
func (c *Consumer) wait() { c.since = c.session.broker.trouble.seconds.Load() }

// stall notes that no consumer can take what is ready.
func (q *Queue) stall() {
	if q.slow == nil {
		q.slow = new(slowness)
	}
	if !q.slow.watched {
		q.slow.watched = true
		q.vhost.broker.trouble.queues.add(q)
	}
}

// stalled reports whether something is ready that no consumer can take, and since when, in seconds of the broker's life. mu is held.
func (q *Queue) stalled() (since uint32, ok bool) {
	if q.deleted || len(q.consumers) == 0 || q.stats.Ready == 0 || len(q.listed) > 0 {
		return 0, false
	}
	for _, c := range q.consumers {
		if c.lack != LacksNothing {
			since, ok = max(since, c.since), true
		}
	}
	return since, ok
}

// capacity is how much of the time, of late, a consumer could take what was ready. mu is held.
func (q *Queue) capacity() float64 {
	switch {
	case len(q.consumers) == 0:
		return 0
	case q.slow == nil:
		return 1
	}
	return 1 - q.slow.busy
}

// at is a time in seconds of the broker's life.
func (t *trouble) at(seconds uint32) time.Time {
	return t.opened.Add(time.Duration(seconds) * time.Second)
}

// tick is called by the minder, about once in a second.
func (t *trouble) tick(b *Broker) {
	now := uint32(min(time.Since(t.opened)/time.Second, math.MaxUint32))
	before := t.seconds.Swap(now)
	if now/lookEvery == before/lookEvery {
		return
	}
	t.lookAtQueues(b, now)
	lines := lookLines
	for _, m := range t.missing.take() {
		m.listed.Store(false)
		if lines > 0 && m.tell(b, now) {
			lines--
		}
	}
	lines = lookLines
	for _, u := range t.unrouted.take() {
		u.noted.Store(false)
		if lines > 0 && u.tell(b, now) {
			lines--
		}
	}
}

// lookAtQueues looks for those whose consumers are slow.
func (t *trouble) lookAtQueues(b *Broker, now uint32) {
	t.watched = append(t.watched, t.queues.take()...)
	if len(t.watched) == 0 && t.slow.Load() == 0 {
		return
	}
	var slow []*Queue
	kept, lines := t.watched[:0], lookLines
	for _, q := range t.watched {
		v := q.look(now, lines > 0)
		if v.slow {
			slow = append(slow, q)
		}
		if v.watch {
			kept = append(kept, q)
		}
		if v.say || v.over {
			lines--
			v.tell(b, q, now)
		}
	}
	clear(t.watched[len(kept):])
	if t.watched = kept; len(kept) == 0 {
		t.watched = nil
	}
	t.slow.Store(int64(len(slow)))
	t.mu.Lock()
	t.now = slow
	t.mu.Unlock()
}

// SlowQueues are those of which, when this was looked for last, no consumer had taken anything for half a minute although something was
// ready.
func (b *Broker) SlowQueues() []*Queue {
	b.trouble.mu.Lock()
	defer b.trouble.mu.Unlock()
	return b.trouble.now
}

// verdict is what a look at a queue has found.
type verdict struct {
	slow, watch bool
	say, over   bool // it is to be said that it is slow, or that it is no more
	since       uint32
	stats       QueueStats
	consumers   int
	waits       *Consumer // one of those that do
	lack        Lack
}

// look looks at the queue once. tells says that the log may be told of it.
func (q *Queue) look(now uint32, tells bool) (v verdict) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.slow
	since, stalled := q.stalled()
	v.since, v.slow = since, stalled && now-since >= slowAfter
	if stalled {
		s.busy += (1 - s.busy) * busyWeight
	} else {
		s.busy -= s.busy * busyWeight
	}
	if v.watch = !q.deleted && (stalled || s.busy > busyOver); !v.watch {
		s.watched, s.busy = false, 0
	}
	v.say = v.slow && tells && s.nag.due(now)
	v.over = s.said && tells && !stalled && !q.deleted
	s.said = (s.said || v.say) && stalled
	if v.stats, v.consumers = q.stats, len(q.consumers); v.say {
		v.waits, v.lack = q.slowest()
	}
	return v
}

// slowest is a consumer that has waited for longest. mu is held.
func (q *Queue) slowest() (slowest *Consumer, lack Lack) {
	for _, c := range q.consumers {
		if c.lack != LacksNothing && (slowest == nil || c.since < slowest.since) {
			slowest, lack = c, c.lack
		}
	}
	return slowest, lack
}

// tell says it in the log.
func (v *verdict) tell(b *Broker, q *Queue, now uint32) {
	log := b.opt.Logger.With(slog.String("vhost", q.vhost.name), slog.String("queue", q.spec.Name), slog.Int("ready", v.stats.Ready),
		slog.Int("unacknowledged", v.stats.Unsettled))
	if v.over {
		log.Info("consumers take messages again")
		return
	}
	conn := v.waits.session.Info()
	log.Warn("no consumer takes the messages that are ready", slog.Int("consumers", v.consumers), slog.String("waits_for", v.lack.String()),
		slog.Duration("since", time.Duration(now-v.since)*time.Second), slog.String("consumer", v.waits.spec.Tag),
		slog.String("conn", conn.Name), slog.String("user", conn.User))
}

// missed counts messages that nobody keeps, which a subscriber did not get that was there and slow.
type missed struct {
	sub    *Subscriber
	count  atomic.Uint64
	listed atomic.Bool // on the minder's list

	// the minder's alone
	said uint64 // of count, those that the log tells of
	nag  nag
}

// miss notes that the subscriber, which is there, did not get a message because it is slow.
func (sub *Subscriber) miss() {
	m := sub.missed.Load()
	if m == nil {
		sub.missed.CompareAndSwap(nil, &missed{sub: sub})
		m = sub.missed.Load()
	}
	m.count.Add(1)
	t := &sub.vhost.broker.trouble
	t.missed.Add(1)
	if !m.listed.Load() && !m.listed.Swap(true) {
		t.missing.add(m)
	}
}

// missedMessages is how many the subscriber has missed because it was slow.
func (sub *Subscriber) missedMessages() uint64 {
	if m := sub.missed.Load(); m != nil {
		return m.count.Load()
	}
	return 0
}

// tell says it in the log.
func (m *missed) tell(b *Broker, now uint32) (told bool) {
	if !m.nag.due(now) {
		return false
	}
	n, conn, user := m.count.Load(), "", ""
	if l := m.sub.link.Load(); l != nil {
		i := l.session.Info()
		conn, user = i.Name, i.User
	}
	b.opt.Logger.Warn("messages of QoS 0 were dropped: the client does not read fast enough", slog.String("vhost", m.sub.vhost.name),
		slog.String("client", m.sub.name), slog.Uint64("messages", n-m.said), slog.String("user", user), slog.String("conn", conn))
	m.said = n
	return true
}
