package core

import "log/slog"

// What waits for a consumer need not wait in memory. When memory is short, pageOut lets a queue's durable messages go: the older part
// of the tail becomes part of the cold range, of which nothing is in memory; where a message that is not in the store stands in the way
// of that, and among the returned ones, entries stay and become bare. The broker's loader brings back what is about to be needed.

const (
	loadAhead   = 256     // the loader is asked when fewer loaded entries than this are left
	loadEntries = 1024    // entries of one load
	loadBytes   = 1 << 20 // after which a load stops
	pageKeep    = 256     // newest entries that stay as they are
)

// pageOut lets messages of the tail go, but for the newest keep, that the store can read back.
func (q *Queue) pageOut(keep int) {
	for q.tail.len() > keep {
		e := q.tail.at(0)
		if !e.durable || e.hidden || e.msg != nil && !e.msg.Stored() {
			break
		}
		q.chill(q.tail.popFront())
	}
	if q.tail.len() <= keep {
		return
	}
	first := q.tail.at(0).seq
	for q.bared = max(q.bared, first); q.bared < first+Seq(q.tail.len()-keep); q.bared++ {
		e := q.tail.at(int(q.bared - first))
		if e.durable && (e.hidden || e.msg != nil && !e.msg.Stored()) {
			return // it will be in the store soon
		}
		q.bare(e)
	}
}

// pageOutIdle lets everything go that no consumer is about to need.
func (q *Queue) pageOutIdle() {
	for i := range q.returned {
		q.bare(&q.returned[i])
	}
	if len(q.listed) == 0 && q.head.len() > 0 && !q.loading {
		q.chillHead()
	}
	if q.pageOut(0); q.tail.len() == 0 {
		q.tail = deque[entry]{}
	}
	if q.head.len() == 0 {
		q.head = deque[entry]{}
	}
}

// chill makes an entry the last of the cold range.
func (q *Queue) chill(e entry) {
	if q.cold.n == 0 {
		q.cold.from = e.seq
	}
	q.cold.to = e.seq
	q.cold.n++
	q.freed(e.msg)
}

// chillHead puts the head back into the cold range, in front of it.
func (q *Queue) chillHead() {
	if q.cold.n == 0 {
		q.cold.to = q.head.at(q.head.len() - 1).seq
	}
	q.cold.from = q.head.at(0).seq
	for q.head.len() > 0 {
		q.freed(q.head.popFront().msg)
		q.cold.n++
	}
}

// bare lets an entry's message go if the store has it.
func (q *Queue) bare(e *entry) {
	if e.durable && !e.hidden && e.msg != nil && e.msg.Stored() {
		q.account(-e.msg.let())
		e.msg = nil
	}
}

// wanting reports whether something should be loaded.
func (q *Queue) wanting() bool {
	_, _, ok := q.wanted()
	return ok
}

// wanted returns the range of places to be loaded next.
func (q *Queue) wanted() (from, to Seq, ok bool) {
	switch {
	case len(q.returned) > 0 && q.returned[0].msg == nil:
		return q.returned[0].seq, q.next - 1, true
	case q.cold.n > 0 && q.head.len() < loadAhead:
		return q.cold.from, q.cold.to, true
	case q.head.len() == 0 && q.cold.n == 0 && q.tail.len() > 0 && q.tail.at(0).msg == nil:
		return q.tail.at(0).seq, q.next - 1, true
	}
	return 0, 0, false
}

// requestLoad puts the queue on the loader's list, once.
func (q *Queue) requestLoad() {
	if q.loading {
		return
	}
	q.loading = true
	q.vhost.broker.loads.add(q)
}

// load brings back what is wanted next and goes on dispatching. It is the loader's work, and Get's.
func (q *Queue) load() error {
	q.mu.Lock()
	from, to, ok := q.wanted()
	if !ok || q.deleted {
		q.loading = false
		q.mu.Unlock()
		return nil
	}
	q.mu.Unlock()
	entries, err := q.vhost.broker.store.Load(q.id, from, to, loadEntries, loadBytes)
	if err != nil {
		return err
	}
	q.loaded(from, to, entries)
	return nil
}

// loaded takes over what was read for the places from to to. Whatever happened to the queue meanwhile, an entry is taken only where one
// is missing: as the next of the cold range, or for a bare one.
func (q *Queue) loaded(from, to Seq, entries []Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.loading = false
	if q.deleted {
		return
	}
	var bare map[Seq]int // of the returned ones, which have no order but their heap's
	for i := range entries {
		e := &entries[i]
		switch {
		case q.cold.n > 0 && e.Seq >= q.cold.from && e.Seq <= q.cold.to:
			q.account(entryCost + e.Msg.held())
			q.head.pushBack(entry{seq: e.Seq, msg: e.Msg, delivered: e.Delivered, durable: true})
			q.cold.from = e.Seq + 1
			q.cold.n--
		case q.tail.len() > 0 && e.Seq >= q.tail.at(0).seq:
			if at := e.Seq - q.tail.at(0).seq; at < Seq(q.tail.len()) {
				q.fill(q.tail.at(int(at)), e)
			}
		default:
			if bare == nil {
				bare = q.bareReturned()
			}
			if at, ok := bare[e.Seq]; ok {
				q.fill(&q.returned[at], e)
			}
		}
	}
	q.skipMissing(from, to, entries)
	if q.cold.n == 0 {
		q.cold = coldRange{}
	}
	q.dispatch()
}

// fill gives a bare entry its message.
func (q *Queue) fill(bare *entry, e *Entry) {
	if bare.msg == nil {
		bare.msg = e.Msg
		q.account(e.Msg.held())
	}
}

// bareReturned returns where in the heap the returned entries are that have no message.
func (q *Queue) bareReturned() map[Seq]int {
	bare := make(map[Seq]int)
	for i := range q.returned {
		if q.returned[i].msg == nil {
			bare[q.returned[i].seq] = i
		}
	}
	return bare
}

// skipMissing gives up what was to be loaded first if the store does not have it: it quarantined a damaged message, and has said so.
// The queue goes on behind it.
func (q *Queue) skipMissing(from, to Seq, entries []Entry) {
	next, _, ok := q.wanted()
	if !ok || next != from || len(entries) > 0 && entries[0].Seq == from {
		return
	}
	gone := 1
	switch {
	case len(q.returned) > 0:
		q.discard(q.returned.pop(), missing)
	case q.cold.n > 0 && len(entries) == 0:
		gone = q.skipCold(to)
	case q.cold.n > 0:
		return // places of the range that were settled long ago
	default:
		q.discard(q.tail.popFront(), missing)
	}
	q.commitRanges(OpSettle)
	if gone > 0 {
		q.vhost.broker.opt.Logger.Error("messages are missing from the store: the queue goes on without them",
			slog.String("vhost", q.vhost.name), slog.String("queue", q.spec.Name), slog.Int("missing", gone),
			slog.Uint64("first_place", uint64(from)), slog.Uint64("last_place", uint64(to)))
	}
}

// skipCold gives up the cold range up to to, and returns how many messages it should have held. What joined the range behind to while
// it was read stays: those places had one entry each.
func (q *Queue) skipCold(to Seq) (missing int) {
	q.discarded(q.cold.from, to)
	left := int(q.cold.to - to)
	missing = q.cold.n - left
	q.stats.Ready -= missing
	q.cold.n, q.cold.from = left, to+1
	return missing
}
