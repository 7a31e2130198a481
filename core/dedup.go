package core

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/batonmq/baton/core/field"
)

// De-duplication. An exchange or a queue that is told to remembers the ids of the messages that it took, for a time, up to a number: a message
// with an id that it remembers is a duplicate, which it passes over. Its publisher is confirmed all the same, not before the record of the first
// has passed. An id is that of a header of the message; of a text of any length 128 bits of its SHA-256 are kept.
//
// An id is remembered with the publish that brought it, in one unit, if that reached somebody and no queue was full that had to refuse it. What is
// durable puts its ids on record: each is an entry of a store's queue of its own, in the order in which they came, so that what is forgotten is a
// range of places. Those are ended together, some at a time; a start reads all back and forgets what is too old by then. A message whose id
// is to be on record is shown when that has passed: see unit.commit.
//
// Asked are those that a client's publish reaches, the exchanges on the way too, and the queues that a delayed message reaches when it is due. A
// dead letter, a message that is moved, and one that is retained are no duplicates of anything.

// The headers that hold an id, the first that is there.
var dedupHeaders = [...]string{"x-deduplication-id", "x-deduplication-header"}

// dedupSize is how many ids are remembered where there is only a window.
const dedupSize = 100_000

// forgetBatch is how many ids are forgotten in one record.
const forgetBatch = 64

// dedupID stands for an id.
type dedupID [16]byte

// dedupID returns the message's.
func (m *Message) dedupID() (id dedupID, ok bool) {
	table, ok := field.FindProperty(m.Props, field.Headers)
	if !ok {
		return id, false
	}
	for _, name := range dedupHeaders {
		if value, _, ok := field.RawTable(table).Find(name); ok {
			if text := field.Text(value.Value()); text != "" {
				sum := sha256.Sum256([]byte(text))
				copy(id[:], sum[:])
				return id, true
			}
		}
	}
	return id, false
}

// dedupLimits are how much is remembered; all zero: nothing.
type dedupLimits struct {
	window int64 // milliseconds; 0: however old
	size   int64 // ids; 0: dedupSize
}

func (x *Exchange) dedupLimits() (l dedupLimits) {
	if st := x.settings.Load(); st != nil {
		l = dedupLimits{window: st.dedupWindow, size: st.dedupSize}
	}
	return l
}

func (q *Queue) dedupLimits() (l dedupLimits) {
	if st := q.settings.Load(); st != nil {
		l = dedupLimits{window: st.DedupWindow.Milliseconds(), size: st.DedupSize}
	}
	return l
}

// dedups is what the exchanges and queues of a vhost remember.
type dedups struct {
	on atomic.Bool // some of them have been told to

	mu  sync.Mutex // below vhost.mu, above delays.mu and every queue.mu; held from the look at an id until its record is committed
	all map[dedupOwner]*dedup
}

// dedupOwner is who remembers.
type dedupOwner struct {
	exchange bool
	name     string
}

// dedup is what one of them remembers.
type dedup struct {
	owner   dedupOwner
	durable bool
	id      QueueID // 0 until there is an id on record
	next    Seq
	unread  int64 // at recovery: how many are to be read
	seen    map[dedupID]struct{}
	order   deque[seenID]
	ended   Range // places that are forgotten and not ended on record
}

type seenID struct {
	id  dedupID
	at  int64
	seq Seq
}

// note is told of limits that are put in force.
func (ds *dedups) note(l dedupLimits) {
	if l != (dedupLimits{}) {
		ds.on.Store(true)
	}
}

// of returns what an owner remembers. mu is held.
func (ds *dedups) of(owner dedupOwner, durable bool) *dedup {
	d := ds.all[owner]
	if d == nil {
		d = &dedup{owner: owner, next: 1, durable: durable, seen: map[dedupID]struct{}{}}
		if ds.all == nil {
			ds.all = map[dedupOwner]*dedup{}
		}
		ds.all[owner] = d
	}
	return d
}

// forget is called when an owner is deleted, and returns what is to be recorded. vhost.mu is held.
func (v *VHost) forgetIDs(owner dedupOwner) []Op {
	if !v.dedups.on.Load() {
		return nil
	}
	v.dedups.mu.Lock()
	defer v.dedups.mu.Unlock()
	d := v.dedups.all[owner]
	delete(v.dedups.all, owner)
	if d == nil || d.id == 0 {
		return nil
	}
	return []Op{removeOp(d.definition(v))}
}

// age forgets what is over the limits.
func (d *dedup) age(l dedupLimits, now int64) {
	if l.size == 0 {
		l.size = dedupSize
	}
	for n := d.order.len(); n > 0; n-- {
		first := d.order.at(0)
		if int64(n) <= l.size && (l.window == 0 || now-first.at < l.window) {
			return
		}
		e := d.order.popFront()
		delete(d.seen, e.id)
		if e.seq != 0 {
			if d.ended.Last == 0 {
				d.ended.First = e.seq
			}
			d.ended.Last = e.seq
		}
	}
}

// remember adds an id and returns what is to be recorded.
func (d *dedup) remember(v *VHost, id dedupID, l dedupLimits, now int64) (ops []Op) {
	e := seenID{id: id, at: now}
	if d.durable {
		if d.id == 0 {
			d.id = v.broker.newQueueID()
			v.broker.store.Commit([]Op{d.definition(v)})
		}
		e.seq = d.next
		d.next++
		ops = append(ops, Op{Kind: OpPublish, Queue: d.id, Seq: e.seq, Msg: &Message{Key: string(id[:]), Arrived: now, Persistent: true}})
	}
	d.seen[id] = struct{}{}
	d.order.pushBack(e)
	d.age(l, now)
	if n := d.ended.Last - d.ended.First; d.ended.Last != 0 && n+1 >= forgetBatch {
		ops = append(ops, Op{Kind: OpSettle, Queue: d.id, Ranges: []Range{d.ended}})
		d.ended = Range{}
	}
	return ops
}

// read brings back what is on record.
func (d *dedup) read(b *Broker) error {
	for from := Seq(1); d.unread > 0 && from < d.next; {
		entries, err := b.store.Load(d.id, from, d.next-1, loadEntries, loadBytes)
		if err != nil {
			return fmt.Errorf("read the ids of messages back: %w", err)
		}
		if len(entries) == 0 {
			return nil
		}
		for i := range entries {
			e := seenID{at: entries[i].Msg.Arrived, seq: entries[i].Seq}
			copy(e.id[:], entries[i].Msg.Key)
			d.seen[e.id] = struct{}{}
			d.order.pushBack(e)
		}
		from = entries[len(entries)-1].Seq + 1
	}
	return nil
}

// unique is the look of one message at what is remembered of its id.
type unique struct {
	id    dedupID
	now   int64
	past  *Exchange // has looked already, and keeps it on record; nil: none
	again int       // who has it
	fresh []freshID // who has not
}

type freshID struct {
	dedup  *dedup
	limits dedupLimits
}

// isAgain reports whether an owner has the id.
func (s *Session) isAgain(owner dedupOwner, durable bool, l dedupLimits) bool {
	n := s.unique
	d := s.vhost.dedups.of(owner, durable)
	d.age(l, n.now)
	if _, seen := d.seen[n.id]; seen {
		n.again++
		s.broker.duplicates.Add(1)
		return true
	}
	n.fresh = append(n.fresh, freshID{d, l})
	return false
}

// passes reports whether an exchange that the message has come to is to pass it over.
func (s *Session) passes(x *Exchange) bool {
	l := x.dedupLimits()
	if l == (dedupLimits{}) || x == s.unique.past {
		return false
	}
	return s.isAgain(dedupOwner{exchange: true, name: x.spec.Name}, x.spec.Durable, l)
}

// dropDuplicates takes the queues out of targets that have the id.
func (s *Session) dropDuplicates() {
	kept := s.targets[:0]
	for _, q := range s.targets {
		l := q.dedupLimits()
		if l == (dedupLimits{}) || !s.isAgain(dedupOwner{name: q.spec.Name}, q.isDurable(), l) {
			kept = append(kept, q)
		}
	}
	s.targets = kept
}

// held reports whether the message may be seen only when its id is on record: else a broker that dies in between forgets the id, and who
// has seen the message sees it again when its publisher, who was not answered, sends it again.
func (n *unique) held() bool {
	return n.past != nil && n.past.dedupLimits() != (dedupLimits{}) ||
		slices.ContainsFunc(n.fresh, func(f freshID) bool { return f.dedup.durable })
}

// uniqueIn is put for a message with an id that route finds the way of, and returns whom it reaches, those included that have it already.
// dedups.mu is held, until u is committed.
func (s *Session) uniqueIn(u *unit, n *unique, m *Message, route func() error) (routed int, err error) {
	n.now = s.broker.now()
	s.prepare()
	s.unique = n
	err = route()
	if err == nil {
		s.dropDuplicates()
	}
	s.unique = nil
	if err != nil {
		return 0, err
	}
	routed, _ = s.push(m)
	if n.held() {
		u.once, u.whole = true, true
	}
	took, err := s.put(u, nil, m)
	if routed += took; err == nil && routed > 0 {
		for _, f := range n.fresh {
			u.add(f.dedup.remember(s.vhost, n.id, f.limits, n.now)...)
		}
	}
	return routed + n.again, err
}

// publishUnique is publish for a message with an id.
func (s *Session) publishUnique(id dedupID, m *Message, c Completion, tag uint64) (routed int, err error) {
	ds := &s.vhost.dedups
	ds.mu.Lock()
	defer ds.mu.Unlock()
	u := s.unit()
	routed, err = s.uniqueIn(&u, &unique{id: id}, m, func() error { return s.route(m) })
	if err == nil && routed == 0 && m.Exchange == "" {
		routed = s.reply(m)
	}
	switch {
	case err != nil:
		s.ops = u.commit(nil, 0)
	case routed == 0:
		s.unrouted(m)
	default:
		u.add(s.extra...)
		s.ops = u.commit(c, tag)
	}
	return routed, err
}

// forgetUnasked forgets what is remembered by those that policies do not tell to any more. vhost.mu is held.
func (v *VHost) forgetUnasked() {
	if !v.dedups.on.Load() {
		return
	}
	u := units{broker: v.broker}
	v.dedups.mu.Lock() // a publish that has looked at the limits before has remembered its id by now
	defer v.dedups.mu.Unlock()
	for owner, d := range v.dedups.all {
		if _, ok := v.limitsOf(owner); ok {
			continue
		}
		delete(v.dedups.all, owner)
		if d.id != 0 {
			u.add(removeOp(d.definition(v)))
		}
	}
	u.flush()
}

// clear forgets everything of a vhost that is deleted. vhost.mu is held.
func (ds *dedups) clear(v *VHost, u *units) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	for _, d := range ds.all {
		if d.id != 0 {
			u.add(removeOp(d.definition(v)))
		}
	}
	ds.all = nil
}

// readIDs reads back what was remembered, of those that are still to remember something.
func (b *Broker) readIDs() error {
	for _, v := range b.vhosts.Load().all() {
		for owner, d := range v.dedups.all {
			l, ok := v.limitsOf(owner)
			if !ok {
				b.store.Commit([]Op{removeOp(d.definition(v))})
				delete(v.dedups.all, owner)
				continue
			}
			if err := d.read(b); err != nil {
				return err
			}
			d.age(l, b.now())
		}
	}
	return nil
}

// limitsOf returns how much an owner is to remember; false: nothing.
func (v *VHost) limitsOf(owner dedupOwner) (l dedupLimits, ok bool) {
	if x := v.exchange(owner.name); owner.exchange && x != nil {
		l = x.dedupLimits()
	} else if q := v.queue(owner.name); !owner.exchange && q != nil {
		l = q.dedupLimits()
	}
	return l, l != (dedupLimits{})
}
