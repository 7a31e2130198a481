package memstore

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/batonmq/baton/core"
)

// Disk is what survives a Store: everything that has passed, the mark of a clean close, and the broker's clock.
type Disk struct {
	mu     sync.Mutex
	owner  *Store // the store that may write; nil between two
	clean  bool   // the last store was closed, not crashed
	order  uint64 // counts definitions as they are made
	defs   map[string]*definition
	queues map[core.QueueID]*queue

	// The broker's clock is the host's plus offset, chosen at open so that it never steps back; last is what it showed last.
	offset time.Duration
	last   time.Time
}

type definition struct {
	value []byte
	queue core.QueueID
	order uint64
}

// queue holds the entries of one queue by ascending seq. A settled entry has no message any more and stays in its place until half
// of the slice is dead, so that settling is O(log n) wherever it happens.
type queue struct {
	entries []entry
	dead    int
	next    core.Seq
	bytes   int64
}

type entry struct {
	seq       core.Seq
	delivered uint32
	msg       *core.Message // nil: settled
}

// NewDisk returns an empty Disk.
func NewDisk() *Disk {
	return &Disk{
		clean:  true, // nothing is there that could have been delivered
		defs:   make(map[string]*definition),
		queues: make(map[core.QueueID]*queue),
	}
}

// open makes s the owner. After an unclean end every entry may have been delivered, and counts so from now on.
func (d *Disk) open(s *Store, host time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.owner != nil {
		d.clean = false // its store is about to be fenced, not closed
	}
	d.owner = s
	if !d.clean {
		for _, q := range d.queues {
			for i := range q.entries {
				q.entries[i].delivered = max(q.entries[i].delivered, 1)
			}
		}
	}
	d.clean = false
	d.offset = max(0, d.last.Sub(host))
}

// release ends s's ownership, and leaves the mark of a clean close if it was one.
func (d *Disk) release(s *Store, clean bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.owner != s {
		return ErrFenced
	}
	d.owner, d.clean = nil, clean
	return nil
}

// crash ends s's ownership, if it still has it, without the mark.
func (d *Disk) crash(s *Store) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.owner == s {
		d.owner = nil
	}
}

// apply makes one unit's records durable, all or none.
func (d *Disk) apply(s *Store, ops []core.Op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch d.owner {
	case s:
	case nil:
		return ErrClosed
	default:
		return ErrFenced
	}
	for i := range ops {
		d.applyOp(&ops[i])
	}
	return nil
}

func (d *Disk) applyOp(op *core.Op) {
	switch op.Kind {
	case core.OpNone:
	case core.OpPublish:
		d.put(core.Pair{Queue: op.Queue, Seq: op.Seq}, op.Msg)
		for _, p := range op.More {
			d.put(p, op.Msg)
		}
		op.Msg.MarkStored()
	case core.OpSettle:
		if q := d.queues[op.Queue]; q != nil {
			q.settle(op.Ranges)
		}
	case core.OpMark:
		if q := d.queues[op.Queue]; q != nil {
			q.mark(op.Ranges)
		}
	case core.OpDefine:
		d.define(op.Key, op.Value, op.Queue)
	case core.OpRemove:
		d.remove(op.Key, op.Queue)
	}
}

// put places m, unless its queue is gone.
func (d *Disk) put(p core.Pair, m *core.Message) {
	q := d.queues[p.Queue]
	if q == nil {
		return
	}
	q.next = max(q.next, p.Seq+1)
	i, found := q.find(p.Seq)
	if found {
		return // a place is never used twice
	}
	q.entries = slices.Insert(q.entries, i, entry{seq: p.Seq, msg: m})
	q.bytes += int64(len(m.Body))
}

// define makes a definition or replaces its value; what is replaced keeps its place in the order, and its entries. A key that passes
// to another queue ends the queue it defined, which nothing could name any more.
func (d *Disk) define(key string, value []byte, id core.QueueID) {
	def := d.defs[key]
	if def != nil && def.queue != id {
		d.remove(key, def.queue)
		def = nil
	}
	if def == nil {
		d.order++
		def = &definition{queue: id, order: d.order}
		d.defs[key] = def
	}
	def.value = value
	if id != 0 && d.queues[id] == nil {
		d.queues[id] = &queue{next: 1}
	}
}

// remove ends a key, and with it its queue.
func (d *Disk) remove(key string, id core.QueueID) {
	if def := d.defs[key]; def != nil {
		delete(d.queues, def.queue)
	}
	delete(d.defs, key)
	delete(d.queues, id)
}

// definitions returns what is alive: those of no queue first, each kind in the order in which they were made.
func (d *Disk) definitions() []core.Definition {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys := make([]string, 0, len(d.defs))
	for key := range d.defs {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int {
		x, y := d.defs[a], d.defs[b]
		if (x.queue == 0) != (y.queue == 0) {
			return cmp.Compare(min(x.queue, 1), min(y.queue, 1))
		}
		return cmp.Compare(x.order, y.order)
	})
	out := make([]core.Definition, len(keys))
	for i, key := range keys {
		def := d.defs[key]
		out[i] = core.Definition{Key: key, Value: slices.Clone(def.value), Queue: def.queue}
		if q := d.queues[def.queue]; q != nil {
			out[i].Next, out[i].Count, out[i].Bytes = q.next, int64(len(q.entries)-q.dead), q.bytes
		}
	}
	return out
}

func (d *Disk) load(id core.QueueID, r core.Range, maxEntries, maxBytes int) []core.Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.queues[id]
	if q == nil {
		return nil
	}
	var out []core.Entry
	bytes := 0
	q.each(r, func(e *entry) bool {
		if len(out) >= maxEntries {
			return false
		}
		out = append(out, core.Entry{Seq: e.seq, Delivered: e.delivered, Msg: reread(e.msg)})
		bytes += e.msg.Size()
		return bytes < maxBytes
	})
	return out
}

// keys returns the keys of the messages of a queue, but for long ones.
func (d *Disk) keys(id core.QueueID) (list []core.KeyedPlace) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.queues[id]
	if q == nil {
		return nil
	}
	q.each(core.Range{Last: ^core.Seq(0)}, func(e *entry) bool {
		if len(e.msg.Key) <= core.MaxKey {
			list = append(list, core.KeyedPlace{Seq: e.seq, Key: e.msg.Key, Expires: e.msg.Expires})
		}
		return true
	})
	return list
}

// reread is m as a store would read it back.
func reread(m *core.Message) *core.Message {
	r := &core.Message{
		Exchange: m.Exchange, Key: m.Key, Keys: m.Keys, Props: m.Props, Body: m.Body,
		Persistent: m.Persistent, Once: m.Once, Retain: m.Retain, Replayed: m.Replayed, Priority: m.Priority,
		Expires: m.Expires, Arrived: m.Arrived, Delay: m.Delay,
	}
	r.MarkStored()
	return r
}

// now turns the host's time into the broker's.
func (d *Disk) now(s *Store, host time.Time) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := host.Add(d.offset); d.owner == s && t.After(d.last) { // the offset is to the owner's host
		d.last = t
	}
	return d.last
}

// find returns the index of seq's entry, or where it belongs.
func (q *queue) find(seq core.Seq) (int, bool) {
	n := len(q.entries)
	if n == 0 || q.entries[n-1].seq < seq {
		return n, false // the common case: places only grow
	}
	return slices.BinarySearchFunc(q.entries, seq, func(e entry, s core.Seq) int { return cmp.Compare(e.seq, s) })
}

// each calls f with the live entries in r, in order, until it returns false.
func (q *queue) each(r core.Range, f func(*entry) bool) {
	for i, _ := q.find(r.First); i < len(q.entries) && q.entries[i].seq <= r.Last; i++ {
		if e := &q.entries[i]; e.msg != nil && !f(e) {
			return
		}
	}
}

func (q *queue) mark(ranges []core.Range) {
	for _, r := range ranges {
		q.each(r, func(e *entry) bool {
			e.delivered++
			return true
		})
	}
}

func (q *queue) settle(ranges []core.Range) {
	for _, r := range ranges {
		q.each(r, func(e *entry) bool {
			q.bytes -= int64(len(e.msg.Body))
			q.dead++
			e.msg = nil
			return true
		})
	}
	if q.dead > 32 && q.dead > len(q.entries)/2 {
		q.entries = slices.DeleteFunc(q.entries, func(e entry) bool { return e.msg == nil })
		q.dead = 0
	}
}
