package core

import "log/slog"

// A queue that has more waiting than memory should hold keeps its durable middle in the store only: pageOut moves the older part of
// the tail to the cold range, and the broker's loader brings it back to the head ahead of the consumers.

const (
	loadAhead   = 256     // the loader is asked when fewer loaded entries than this are left
	loadEntries = 1024    // entries of one load
	loadBytes   = 1 << 20 // after which a load stops
	pageKeep    = 256     // newest entries that stay in the tail
)

// pageOut lets durable entries of the tail go that the store can read back, down to keep. A message that is not durable, or not
// stored yet, stops it: what is behind it stays in memory, in order.
func (q *Queue) pageOut(keep int) {
	for q.tail.len() > keep {
		e := q.tail.at(0)
		if !e.durable || e.hidden || !e.msg.Stored() {
			return
		}
		if q.cold.n == 0 {
			q.cold.from = e.seq
		}
		q.cold.to = e.seq
		q.cold.n++
		q.account(-int64(e.msg.Size()) - entryCost)
		q.tail.popFront()
	}
}

// requestLoad puts the queue on the loader's list, once.
func (q *Queue) requestLoad() {
	if q.loading {
		return
	}
	q.loading = true
	q.vhost.broker.loads.add(q)
}

// load brings the next part of the cold range to the head and goes on dispatching. It is the loader's work, and Get's.
func (q *Queue) load() error {
	q.mu.Lock()
	want := q.cold
	q.mu.Unlock()
	if want.n == 0 {
		q.loaded(want, nil)
		return nil
	}
	entries, err := q.vhost.broker.store.Load(q.id, want.from, want.to, loadEntries, loadBytes)
	if err != nil {
		return err
	}
	q.loaded(want, entries)
	return nil
}

// loaded takes over what was read for the cold range as it was when the reading began. The range may have grown at its end since
// then; it has shrunk only if it was purged, and then what was read no longer exists.
func (q *Queue) loaded(want coldRange, entries []Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.loading = false
	if q.deleted || q.cold.n == 0 || q.cold.from != want.from {
		q.dispatch()
		return
	}
	for i := range entries {
		e := &entries[i]
		q.account(int64(e.Msg.Size()) + entryCost)
		q.head.pushBack(entry{seq: e.Seq, msg: e.Msg, delivered: e.Delivered, durable: true})
		q.cold.from = e.Seq + 1
	}
	q.cold.n -= len(entries)
	if len(entries) == 0 {
		q.skipMissing(want)
	}
	if q.cold.n == 0 {
		q.cold = coldRange{}
	}
	q.dispatch()
}

// skipMissing gives up a range in which the store found nothing: it quarantined damaged entries, and has said so. The queue goes on
// behind them.
func (q *Queue) skipMissing(want coldRange) {
	q.vhost.broker.opt.Logger.Error("messages are missing from the store: the queue goes on without them",
		slog.String("vhost", q.vhost.name), slog.String("queue", q.spec.Name), slog.Int("missing", want.n),
		slog.Uint64("first_place", uint64(want.from)), slog.Uint64("last_place", uint64(want.to)))
	q.stats.Ready -= want.n
	q.cold.n -= want.n
	q.cold.from = want.to + 1
}
