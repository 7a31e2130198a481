package persistence

import (
	"cmp"
	"slices"
	"sync"
	"weak"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal"
)

// A record is wide when its message is at very many places: what was published once to a hundred thousand sessions that are away. Its
// places are a megabyte, and each of the queues loads it by itself; so what was decoded for one is kept for the next, as long as
// the collector leaves it there. Without that, the cost of bringing n sessions their message grows with the square of n.
const (
	wideFrom   = 256     // places that a wide record has at least
	wideLeast  = 3       // bytes that a record has at least for each of its places
	widePlaces = 2 << 20 // of all that are kept, 16 bytes each
)

// wideAt is where a wide record lies. No two records ever lie at one place: segments are numbered anew, never written again.
type wideAt struct {
	segment journal.SegmentID
	offset  uint32
}

// wide is a wide record that was read and verified.
type wide struct {
	length uint32
	pairs  []core.Pair // in order
	msg    *core.Message
}

// wideRecords are those that were read last and that the collector has not taken yet. What lives on is the message, for those
// who hold it, and is found again for the next one: its body is in memory once.
type wideRecords struct {
	mu     sync.Mutex
	at     map[wideAt]wideSlot
	places int // of all in at
}

type wideSlot struct {
	rec    weak.Pointer[wide]
	msg    weak.Pointer[core.Message]
	places int
}

// message returns the message that f tells of if its record is known and has the place p; else nil, and the record is to be read.
func (w *wideRecords) message(f *found, p core.Pair) *core.Message {
	if f.length < wideFrom*wideLeast {
		return nil
	}
	w.mu.Lock()
	rec := w.at[wideAt{f.at.id, f.offset}].rec.Value()
	w.mu.Unlock()
	if rec == nil || rec.length != f.length {
		return nil
	}
	if _, ok := slices.BinarySearchFunc(rec.pairs, p, comparePairs); !ok {
		return nil
	}
	return rec.msg
}

// keep returns the message of rec, which was read from f and verified, and keeps a wide one for the next who asks.
func (w *wideRecords) keep(f *found, rec *journal.Record) *core.Message {
	if len(rec.Pairs) < wideFrom {
		return rec.Message()
	}
	at := wideAt{f.at.id, f.offset}
	kept := &wide{length: f.length, pairs: slices.SortedFunc(slices.Values(rec.Pairs), comparePairs)}
	w.mu.Lock()
	defer w.mu.Unlock()
	if kept.msg = w.at[at].msg.Value(); kept.msg == nil {
		kept.msg = rec.Message()
	}
	w.drop(at)
	for other := range w.at { // any one: those that are asked for in turns would all miss if the oldest went
		if w.places+len(kept.pairs) <= widePlaces {
			break
		}
		w.drop(other)
	}
	if w.at == nil {
		w.at = make(map[wideAt]wideSlot)
	}
	w.at[at] = wideSlot{rec: weak.Make(kept), msg: weak.Make(kept.msg), places: len(kept.pairs)}
	w.places += len(kept.pairs)
	return kept.msg
}

func (w *wideRecords) drop(at wideAt) {
	w.places -= w.at[at].places
	delete(w.at, at)
}

func comparePairs(a, b core.Pair) int {
	return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Seq, b.Seq))
}
