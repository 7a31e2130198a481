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

// pageOut lets messages of a lane's tail go, but for the newest keep, that the store can read back.
func (q *Queue) pageOut(l *lane, keep int) {
	for l.tail.len() > keep {
		e := l.tail.at(0)
		if !e.durable || e.hidden || e.msg != nil && !e.msg.Stored() {
			break
		}
		q.chill(l, l.tail.popFront())
	}
	if l.tail.len() <= keep {
		return
	}
	first := l.tail.at(0).seq
	for l.bared = max(l.bared, first); l.bared < first+Seq(l.tail.len()-keep); l.bared++ {
		e := l.tail.at(int(l.bared - first))
		if e.durable && (e.hidden || e.msg != nil && !e.msg.Stored()) {
			return // it will be in the store soon
		}
		q.bare(e)
	}
}

// pageOutIdle lets everything go that no consumer is about to need.
func (q *Queue) pageOutIdle() {
	for l := range q.lanes {
		q.pageOutLane(l)
	}
}

func (q *Queue) pageOutLane(l *lane) {
	for i := range l.returned {
		q.bare(&l.returned[i])
	}
	if (len(q.listed) == 0 || l != q.front()) && l.head.len() > 0 && !q.loading {
		q.chillHead(l)
	}
	if q.pageOut(l, 0); l.tail.len() == 0 {
		l.tail = deque[entry]{}
	}
	if l.head.len() == 0 {
		l.head = deque[entry]{}
	}
}

// chill makes an entry the last of the cold range.
func (q *Queue) chill(l *lane, e entry) {
	if l.cold.n == 0 {
		l.cold.from = e.seq
	}
	l.cold.to = e.seq
	l.cold.n++
	l.cold.bytes += int64(e.size)
	q.freed(e.msg)
	if q.shorter != nil {
		q.tellShorter()
	}
}

// chillHead puts the head back into the cold range, in front of it.
func (q *Queue) chillHead(l *lane) {
	if l.cold.n == 0 {
		l.cold.to = l.head.at(l.head.len() - 1).seq
	}
	l.cold.from = l.head.at(0).seq
	for l.head.len() > 0 {
		e := l.head.popFront()
		q.freed(e.msg)
		l.cold.n++
		l.cold.bytes += int64(e.size)
	}
}

// bare lets an entry's message go if the store has it.
func (q *Queue) bare(e *entry) {
	if e.durable && !e.hidden && e.msg != nil && e.msg.Stored() {
		q.account(-e.msg.let())
		e.msg = nil
	}
}

// want is what is to be loaded next: the places of a lane that are from from to to.
type want struct {
	lane     *lane
	from, to Seq
	cold     int64 // bytes of the cold range when it was wanted
}

// wanting reports whether something should be loaded.
func (q *Queue) wanting() bool {
	_, ok := q.wanted()
	return ok
}

// wanted returns what is to be loaded next.
func (q *Queue) wanted() (w want, ok bool) {
	if w, ok = q.front().wanted(); ok || q.ladder == nil {
		return w, ok
	}
	return q.ladder.wanted()
}

func (l *lane) wanted() (w want, ok bool) {
	w = want{lane: l, cold: l.cold.bytes}
	switch {
	case len(l.returned) > 0 && l.returned[0].msg == nil:
		w.from, w.to = l.returned[0].seq, l.next-1
	case l.cold.n > 0 && l.head.len() < loadAhead:
		w.from, w.to = l.cold.from, l.cold.to
	case l.head.len() == 0 && l.cold.n == 0 && l.tail.len() > 0 && l.tail.at(0).msg == nil:
		w.from, w.to = l.tail.at(0).seq, l.next-1
	default:
		return w, false
	}
	return w, true
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
	w, ok := q.wanted()
	if !ok || q.deleted {
		q.loading = false
		q.mu.Unlock()
		return nil
	}
	q.mu.Unlock()
	entries, err := q.vhost.broker.store.Load(w.lane.id, w.from, w.to, loadEntries, loadBytes)
	if err != nil {
		return err
	}
	q.loaded(w, entries)
	return nil
}

// loaded takes over what was read. Whatever happened to the lane meanwhile, an entry is taken only where one is missing: as the next of
// the cold range, or for a bare one.
func (q *Queue) loaded(w want, entries []Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.loading = false
	if q.deleted {
		return
	}
	l := w.lane
	var bare map[Seq]int // of the returned ones, which have no order but their heap's
	for i := range entries {
		e := &entries[i]
		switch {
		case l.cold.n > 0 && e.Seq >= l.cold.from && e.Seq <= l.cold.to:
			q.warm(l, e)
		case l.tail.len() > 0 && e.Seq >= l.tail.at(0).seq:
			if at := e.Seq - l.tail.at(0).seq; at < Seq(l.tail.len()) {
				q.fill(l.tail.at(int(at)), e)
			}
		default:
			if bare == nil {
				bare = l.bareReturned()
			}
			if at, ok := bare[e.Seq]; ok {
				q.fill(&l.returned[at], e)
			}
		}
	}
	q.skipMissing(w, entries)
	if l.cold.n == 0 {
		l.cold = coldRange{}
	}
	q.shorten()
	q.dispatch()
	if q.ladder != nil {
		if q.ladder.read(l); len(q.ladder.due) > 0 && q.wanting() {
			q.requestLoad()
		}
	}
}

// warm makes the next of the cold range the last of the head.
func (q *Queue) warm(l *lane, e *Entry) {
	size := len(e.Msg.Body)
	q.account(entryCost + e.Msg.held())
	l.head.pushBack(entry{seq: e.Seq, msg: e.Msg, size: uint32(size), delivered: tries(e.Delivered), durable: true})
	l.cold.from = e.Seq + 1
	l.cold.n--
	l.cold.bytes -= int64(size)
}

// fill gives a bare entry its message.
func (q *Queue) fill(bare *entry, e *Entry) {
	if bare.msg == nil {
		bare.msg = e.Msg
		q.account(e.Msg.held())
	}
}

// bareReturned returns where in the heap the returned entries are that have no message.
func (l *lane) bareReturned() map[Seq]int {
	bare := make(map[Seq]int)
	for i := range l.returned {
		if l.returned[i].msg == nil {
			bare[l.returned[i].seq] = i
		}
	}
	return bare
}

// skipMissing gives up what was to be loaded first if the store does not have it: it quarantined a damaged message, and has said so.
// The queue goes on behind it.
func (q *Queue) skipMissing(w want, entries []Entry) {
	l := w.lane
	next, ok := l.wanted()
	if !ok || next.from != w.from || len(entries) > 0 && entries[0].Seq == w.from {
		return
	}
	gone := 1
	switch {
	case len(l.returned) > 0:
		q.discard(l, l.returned.pop(), missing)
	case l.cold.n > 0 && len(entries) == 0:
		gone = q.skipCold(w)
	case l.cold.n > 0:
		return // places of the range that were settled long ago
	default:
		q.discard(l, l.tail.popFront(), missing)
	}
	q.commitRanges(OpSettle)
	if gone > 0 {
		q.vhost.broker.opt.Logger.Error("messages are missing from the store: the queue goes on without them",
			slog.String("vhost", q.vhost.name), slog.String("queue", q.spec.Name), slog.Int("missing", gone),
			slog.Uint64("first_place", uint64(w.from)), slog.Uint64("last_place", uint64(w.to)))
	}
}

// skipCold gives up the cold range as far as it was wanted, and returns how many messages it should have held. What joined the range
// behind that while it was read stays: those places had one entry each.
func (q *Queue) skipCold(w want) (missing int) {
	l := w.lane
	q.discarded(l.cold.from, w.to)
	left := int(l.cold.to - w.to)
	missing = l.cold.n - left
	q.ready(-missing, -w.cold)
	l.cold.n, l.cold.from, l.cold.bytes = left, w.to+1, l.cold.bytes-w.cold
	return missing
}
