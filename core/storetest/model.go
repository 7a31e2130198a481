package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/batonmq/baton/core"
)

// model is what a store must hold, as plain maps.
type model struct {
	defs   []*modelDef // in the order in which they were made
	queues map[core.QueueID]*modelQueue
}

type modelDef struct {
	key, value string
	queue      core.QueueID
}

type modelQueue struct {
	next    core.Seq // one above the highest place used
	entries map[core.Seq]*modelEntry
}

type modelEntry struct {
	msg       *core.Message
	delivered uint32
}

func (m *model) clone() *model {
	c := &model{queues: make(map[core.QueueID]*modelQueue)}
	for _, d := range m.defs {
		copied := *d
		c.defs = append(c.defs, &copied)
	}
	for id, q := range m.queues {
		entries := make(map[core.Seq]*modelEntry)
		for seq, e := range q.entries {
			copied := *e
			entries[seq] = &copied
		}
		c.queues[id] = &modelQueue{next: q.next, entries: entries}
	}
	return c
}

func (m *model) apply(ops []core.Op) {
	for i := range ops {
		m.applyOp(&ops[i])
	}
}

func (m *model) applyOp(op *core.Op) {
	switch op.Kind {
	case core.OpNone:
	case core.OpPublish:
		for _, p := range append([]core.Pair{{Queue: op.Queue, Seq: op.Seq}}, op.More...) {
			if q := m.queues[p.Queue]; q != nil {
				q.entries[p.Seq] = &modelEntry{msg: op.Msg}
				q.next = max(q.next, p.Seq+1)
			}
		}
	case core.OpSettle:
		m.each(op, func(q *modelQueue, seq core.Seq) { delete(q.entries, seq) })
	case core.OpMark:
		m.each(op, func(q *modelQueue, seq core.Seq) { q.entries[seq].delivered++ })
	case core.OpDefine:
		for _, d := range m.defs {
			if d.key == op.Key {
				d.value = string(op.Value)
				return
			}
		}
		m.defs = append(m.defs, &modelDef{op.Key, string(op.Value), op.Queue})
		if op.Queue != 0 {
			m.queues[op.Queue] = &modelQueue{next: 1, entries: make(map[core.Seq]*modelEntry)}
		}
	case core.OpRemove:
		m.defs = slices.DeleteFunc(m.defs, func(d *modelDef) bool { return d.key == op.Key })
		delete(m.queues, op.Queue)
	}
}

// each calls f with every live place in op's ranges.
func (m *model) each(op *core.Op, f func(q *modelQueue, seq core.Seq)) {
	q := m.queues[op.Queue]
	if q == nil {
		return
	}
	for _, r := range op.Ranges {
		for seq := range maps.Clone(q.entries) {
			if r.First <= seq && seq <= r.Last {
				f(q, seq)
			}
		}
	}
}

// compare says how what was recovered and loaded differs from the model; "" when it does not. After an unclean end an entry counts as
// delivered at least once; how often it was beyond that is taken over into the model.
func (m *model) compare(recovered []core.Definition, load func(core.QueueID) []core.Entry, unclean bool) string {
	if d := m.compareDefinitions(recovered); d != "" {
		return d
	}
	for id, q := range m.queues {
		if d := q.compare(load(id), unclean); d != "" {
			return fmt.Sprintf("queue %x: %s", id, d)
		}
	}
	return ""
}

func (m *model) compareDefinitions(recovered []core.Definition) string {
	want := slices.Clone(m.defs)
	slices.SortStableFunc(want, func(a, b *modelDef) int { return cmp.Compare(min(a.queue, 1), min(b.queue, 1)) })
	if len(recovered) != len(want) {
		return fmt.Sprintf("recovered %d definitions, want %d", len(recovered), len(want))
	}
	for i, d := range recovered {
		if w := want[i]; d.Key != w.key || string(d.Value) != w.value || d.Queue != w.queue {
			return fmt.Sprintf("definition %d is %q = %q for %x, want %q = %q for %x", i, d.Key, d.Value, d.Queue, w.key, w.value, w.queue)
		}
		if d.Queue == 0 {
			continue
		}
		q, bytes := m.queues[d.Queue], int64(0)
		for _, e := range q.entries {
			bytes += int64(len(e.msg.Body))
		}
		if d.Next < q.next || d.Count != int64(len(q.entries)) || d.Bytes != bytes {
			return fmt.Sprintf("queue %x is recovered with next %d, count %d, bytes %d, want %d, %d, %d", d.Queue,
				d.Next, d.Count, d.Bytes, q.next, len(q.entries), bytes)
		}
	}
	return ""
}

func (q *modelQueue) compare(got []core.Entry, unclean bool) string {
	want := slices.Sorted(maps.Keys(q.entries))
	places := make([]core.Seq, len(got))
	for i, e := range got {
		places[i] = e.Seq
	}
	if !slices.Equal(places, want) {
		return fmt.Sprintf("loaded %v, want %v", places, want)
	}
	for _, e := range got {
		w := q.entries[e.Seq]
		if d := sameMessage(e.Msg, w.msg); d != "" {
			return fmt.Sprintf("place %d: %s", e.Seq, d)
		}
		if unclean && e.Delivered < max(w.delivered, 1) || !unclean && e.Delivered != w.delivered {
			return fmt.Sprintf("place %d is delivered %d times, want %d, unclean end %v", e.Seq, e.Delivered, w.delivered, unclean)
		}
	}
	for _, e := range got {
		q.entries[e.Seq].delivered = e.Delivered
	}
	return ""
}

// machine drives a store and its model with the same random units.
type machine struct {
	k      *kit
	passed *model      // everything that was awaited
	ahead  *model      // and everything that was committed
	flight [][]core.Op // the units between the two
	last   promise     // of the last unit
	keys   int         // keys given out
	gone   []core.QueueID
	idle   int // steps since the last end
}

// stepsPerLife is how much is done at least before a store is ended again: opening one takes longer than everything else here.
const stepsPerLife = 6

func runModel(t *testing.T, harness func(tb testing.TB) Harness) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		k := &kit{T: t, h: harness(t)}
		k.open()
		defer k.end()
		empty := &model{queues: map[core.QueueID]*modelQueue{}}
		m := &machine{k: k, passed: empty, ahead: empty.clone()}
		rt.Repeat(map[string]func(*rapid.T){
			"define queue": m.defineQueue,
			"define":       m.define,
			"remove":       m.remove,
			"publish":      m.publish,
			"publish more": m.publish,
			"settle":       m.settle,
			"mark":         m.mark,
			"many":         m.many,
			"load":         m.load,
			"close":        m.close,
			"crash":        m.crash,
		})
		m.idle = stepsPerLife
		m.crash(rt)
		m.idle = stepsPerLife
		m.close(rt)
	})
}

// commit commits ops as one unit.
func (m *machine) commit(ops ...core.Op) {
	m.flight = append(m.flight, ops)
	m.ahead.apply(ops)
	m.last = m.k.commit(ops...)
	m.idle++
}

// wait waits until everything has passed.
func (m *machine) wait() {
	if m.last != nil {
		m.k.await(m.last)
	}
	m.last, m.flight, m.passed = nil, nil, m.ahead.clone()
}

func (m *machine) defineQueue(*rapid.T) {
	m.keys++
	m.commit(define(fmt.Sprint("queue/", m.keys), fmt.Sprint(m.keys), m.k.newID()))
}

func (m *machine) define(t *rapid.T) {
	key := fmt.Sprint("key/", rapid.IntRange(0, 5).Draw(t, "key"))
	id := core.QueueID(0)
	if rapid.Bool().Draw(t, "of a queue") && len(m.ahead.defs) > 0 {
		d := rapid.SampledFrom(m.ahead.defs).Draw(t, "definition")
		key, id = d.key, d.queue
	}
	m.commit(define(key, rapid.StringN(0, 20, 100).Draw(t, "value"), id))
}

func (m *machine) remove(t *rapid.T) {
	if len(m.ahead.defs) == 0 {
		t.SkipNow()
	}
	d := *rapid.SampledFrom(m.ahead.defs).Draw(t, "definition")
	if d.queue != 0 {
		m.gone = append(m.gone, d.queue)
	}
	m.commit(remove(d.key, d.queue))
}

// anyQueue draws a queue, now and then one that is gone.
func (m *machine) anyQueue(t *rapid.T) core.QueueID {
	ids := append(slices.Sorted(maps.Keys(m.ahead.queues)), m.gone...)
	if len(ids) == 0 {
		t.SkipNow()
	}
	return rapid.SampledFrom(ids).Draw(t, "queue")
}

// place returns the next place of a queue, now and then leaving some out as transient messages do.
func (m *machine) place(t *rapid.T, id core.QueueID) core.Pair {
	next := core.Seq(1)
	if q := m.ahead.queues[id]; q != nil {
		next = q.next
	}
	if rapid.IntRange(0, 9).Draw(t, "gap") == 0 {
		next += core.Seq(rapid.IntRange(1, 5000).Draw(t, "places left out"))
	}
	return core.Pair{Queue: id, Seq: next}
}

func (m *machine) publish(t *rapid.T) {
	msg := &core.Message{
		Exchange:   rapid.SampledFrom([]string{"", "amq.topic", "é"}).Draw(t, "exchange"),
		Key:        rapid.StringN(0, 10, 40).Draw(t, "routing key"),
		Keys:       rapid.SliceOfN(rapid.StringN(0, 10, 40), 0, 3).Draw(t, "further keys"),
		Props:      make([]byte, rapid.IntRange(0, 30).Draw(t, "properties")),
		Body:       slices.Repeat([]byte{byte(m.idle)}, rapid.SampledFrom([]int{0, 1, 17, 300, 5000, 70_000}).Draw(t, "body")),
		Persistent: rapid.Bool().Draw(t, "persistent"),
		Priority:   rapid.Byte().Draw(t, "priority"),
		Delay:      rapid.SampledFrom([]int64{0, 1, 60_000, math.MaxInt64}).Draw(t, "delay"),
		Arrived:    rapid.SampledFrom([]int64{0, 1, 1_700_000_000_000, math.MaxInt64}).Draw(t, "arrived"),
		Expires:    rapid.SampledFrom([]int64{0, 1, 1_700_000_000_000, math.MaxInt64}).Draw(t, "expires"),
	}
	first := m.place(t, m.anyQueue(t))
	op := core.Op{Kind: core.OpPublish, Queue: first.Queue, Seq: first.Seq, Msg: msg}
	for _, id := range slices.Sorted(maps.Keys(m.ahead.queues)) {
		if id != first.Queue && rapid.IntRange(0, 3).Draw(t, "shared") == 0 {
			op.More = append(op.More, m.place(t, id))
		}
	}
	m.commit(op)
}

func (m *machine) ranges(t *rapid.T, id core.QueueID) []core.Range {
	top := uint64(1)
	if q := m.ahead.queues[id]; q != nil {
		top = uint64(q.next)
	}
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) core.Range {
		first := rapid.Uint64Range(1, top).Draw(t, "first")
		return core.Range{First: core.Seq(first), Last: core.Seq(first + rapid.Uint64Range(0, 3).Draw(t, "further"))}
	}), 0, 4).Draw(t, "ranges")
}

func (m *machine) settle(t *rapid.T) {
	id := m.anyQueue(t)
	m.commit(settle(id, m.ranges(t, id)...))
}

func (m *machine) mark(t *rapid.T) {
	id := m.anyQueue(t)
	m.commit(mark(id, m.ranges(t, id)...))
}

// many moves the messages of one queue to another as a unit of many ops, as a dead letter does.
func (m *machine) many(t *rapid.T) {
	from, to := m.anyQueue(t), m.anyQueue(t)
	q, target := m.ahead.queues[from], m.ahead.queues[to]
	if q == nil || target == nil || from == to {
		t.SkipNow()
	}
	next := target.next
	var ops []core.Op
	for _, seq := range slices.Sorted(maps.Keys(q.entries)) {
		msg := q.entries[seq].msg
		moved := &core.Message{Exchange: "dlx", Key: msg.Key, Props: msg.Props, Body: msg.Body, Persistent: true}
		ops = append(ops, core.Op{Kind: core.OpPublish, Queue: to, Seq: next, Msg: moved}, settle(from, one(seq)))
		next++
	}
	m.commit(ops...)
}

func (m *machine) load(t *rapid.T) {
	m.wait()
	id := m.anyQueue(t)
	from := core.Seq(rapid.Uint64Range(1, 100).Draw(t, "from"))
	to := from + core.Seq(rapid.Uint64Range(0, 10_000).Draw(t, "length"))
	limit := rapid.IntRange(1, 10).Draw(t, "entries")
	entries, err := m.k.s.Load(id, from, to, limit, everything)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	want := &modelQueue{entries: make(map[core.Seq]*modelEntry)}
	if q := m.passed.queues[id]; q != nil {
		for _, seq := range slices.Sorted(maps.Keys(q.entries)) {
			if seq >= from && seq <= to && len(want.entries) < limit {
				want.entries[seq] = q.entries[seq]
			}
		}
	}
	if d := want.compare(entries, false); d != "" {
		t.Fatalf("loaded %d entries of queue %x from %d to %d: %s", limit, id, from, to, d)
	}
}

func (m *machine) close(t *rapid.T) {
	if m.idle < stepsPerLife {
		t.SkipNow() // it has just begun
	}
	m.k.reopen()
	m.passed = m.ahead
	m.settleOn(t, m.passed)
}

// crash ends the store with whatever is on its way. What is found must be what had passed and none, some or all of the units behind it,
// in order.
func (m *machine) crash(t *rapid.T) {
	if m.idle < stepsPerLife {
		t.SkipNow() // it has just begun
	}
	if rapid.Bool().Draw(t, "wait before") {
		m.wait()
	}
	m.k.crash()
	var found *model
	var differences []string
	candidate := m.passed
	for i := 0; ; i++ {
		trial := candidate.clone()
		d := trial.compare(m.k.recovered, m.everything(t), true)
		if d == "" {
			found = trial
			break
		}
		differences = append(differences, fmt.Sprintf("with %d of %d units: %s", i, len(m.flight), d))
		if i == len(m.flight) {
			t.Fatalf("after a crash the store is at no unit: %v", differences)
		}
		candidate.apply(m.flight[i])
	}
	m.settleOn(t, found)
}

// settleOn compares the store with what it is to hold now, and goes on from there.
func (m *machine) settleOn(t *rapid.T, now *model) {
	if d := now.compare(m.k.recovered, m.everything(t), false); d != "" {
		t.Fatal(d)
	}
	for _, d := range m.k.recovered {
		if q := now.queues[d.Queue]; q != nil {
			q.next = d.Next
		}
	}
	for _, id := range m.gone {
		if now.queues[id] != nil {
			continue
		}
		if entries := m.everything(t)(id); len(entries) != 0 {
			t.Fatalf("queue %x is gone and holds %v", id, entries)
		}
	}
	m.gone = slices.DeleteFunc(m.gone, func(id core.QueueID) bool { return now.queues[id] != nil }) // its removal was lost
	m.passed, m.ahead, m.flight, m.last, m.idle = now, now.clone(), nil, nil, 0
}

// everything loads a whole queue.
func (m *machine) everything(t *rapid.T) func(core.QueueID) []core.Entry {
	return func(id core.QueueID) []core.Entry {
		entries, err := m.k.s.Load(id, 1, math.MaxInt64, everything, everything)
		if err != nil {
			t.Fatalf("Load: %v", err)
		}
		return entries
	}
}
