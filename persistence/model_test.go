package persistence

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal/crashfs"
)

// TestModel runs random sequences of everything that happens to a store in its life, and of its ends and starts, against a plain map:
// a settled message never returns, a live one never vanishes. Where TestCrash stops the world at every step of short lives, here lives
// are long, memory holds hardly a chunk, and the journal is carried forward and reclaimed all the time; and a start finds the
// index as it was, an older one that another node left, or none.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &modelRun{
			fs: crashfs.New(), index: newMemIndexDisk(), older: newMemIndexDisk(), model: newState(), next: make(map[core.QueueID]core.Seq),
			slack: rapid.SampledFrom([]int64{1, 4096, 1 << 40}).Draw(t, "slack"), resident: rapid.IntRange(0, 8).Draw(t, "resident"),
		}
		r.start(t)
		t.Repeat(map[string]func(*rapid.T){
			"declare":       r.declare,
			"remove":        r.remove,
			"define":        r.define,
			"publish":       r.publish,
			"publish many":  r.publishMany,
			"settle":        r.settle,
			"purge":         r.purge,
			"mark":          r.mark,
			"load":          r.load,
			"checkpoint":    r.checkpoint,
			"keep an index": func(*rapid.T) { r.older = r.index.clone() },
			"restart":       r.restart,
		})
		r.compare(t)
		_ = r.store.Close() // what it leaves nobody reads
	})
}

type modelRun struct {
	fs           *crashfs.FS
	index, older *memIndexDisk
	store        *Store
	model        *state
	next         map[core.QueueID]core.Seq
	slack        int64
	resident     int

	epoch       uint64
	source      *Source
	named, told uint64
	queues      uint64
}

func (r *modelRun) start(t *rapid.T) {
	r.epoch++
	r.named, r.told = 0, 0
	s, err := Open(backgroundContext(), Options{
		Dir: "/store", StoreID: [16]byte{4}, Epoch: r.epoch, Source: r.source, Files: r.fs,
		NameSegment: func(n uint64) error { r.named = n; return nil },
		Promised:    func(offset uint64, _ time.Time) { r.told = offset },
		SegmentSize: 4096, CheckpointEvery: time.Hour, CheckpointBytes: 1 << 40, slack: r.slack,
		openIndex: func(*Options) (indexer, error) { return newMemIndex(r.fs, r.index), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.live.resident = r.resident
	r.store, r.source = s, &Source{Epoch: r.epoch, Lineage: s.Lineage(), Segment: r.named}
	s.Activated()
}

// restart ends the life, orderly or not, and begins the next one with one index or another.
func (r *modelRun) restart(t *rapid.T) {
	killed := rapid.Bool().Draw(t, "killed")
	after := r.fs.Clone()
	if killed {
		r.fs.Stop()
		r.model.endUncleanly()
	}
	if err := r.store.Close(); (err != nil) != killed {
		t.Fatalf("killed %v, close: %v", killed, err)
	}
	r.source.Segment, r.source.Promised, r.source.Time = r.named, r.told, r.store.Now()
	if killed {
		r.fs = after
	}
	switch rapid.SampledFrom([]string{"its own", "its own", "an older one", "none"}).Draw(t, "index") {
	case "an older one":
		r.index = r.older.clone()
	case "none":
		r.index = newMemIndexDisk()
	}
	r.start(t)
	r.compare(t)
}

func (r *modelRun) compare(t *rapid.T) {
	diff, err := r.model.difference(r.store)
	if err != nil || diff != "" {
		t.Fatalf("epoch %d: %s %v", r.epoch, diff, err)
	}
}

func (r *modelRun) commit(t *rapid.T, ops ...core.Op) {
	r.model.apply(ops)
	if err := tryCommit(r.store, ops...); err != nil {
		t.Fatal(err)
	}
}

func queueKey(id core.QueueID) string { return fmt.Sprintf("queue %x", uint64(id)) }

func (r *modelRun) declare(t *rapid.T) {
	if len(r.model.queues) == 4 {
		t.Skip("enough queues")
	}
	r.queues++
	id := core.QueueID(r.epoch<<32 | r.queues)
	if rapid.Bool().Draw(t, "keyed") {
		id = core.KeyedID(id)
	}
	r.commit(t, core.Op{Kind: core.OpDefine, Key: queueKey(id), Queue: id, Value: []byte("queue")})
}

// queue picks one of those that there are.
func (r *modelRun) queue(t *rapid.T) core.QueueID {
	if len(r.model.queues) == 0 {
		t.Skip("no queue")
	}
	return rapid.SampledFrom(slices.Sorted(maps.Keys(r.model.queues))).Draw(t, "queue")
}

func (r *modelRun) remove(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "really") > 0 {
		t.Skip("queues live longer than that")
	}
	id := r.queue(t)
	r.commit(t, core.Op{Kind: core.OpRemove, Key: queueKey(id), Queue: id})
}

func (r *modelRun) define(t *rapid.T) {
	key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
	if rapid.Bool().Draw(t, "end it") {
		r.commit(t, core.Op{Kind: core.OpRemove, Key: key})
		return
	}
	r.commit(t, core.Op{Kind: core.OpDefine, Key: key, Value: []byte(rapid.StringN(0, 40, 40).Draw(t, "value"))})
}

// place is the next of a queue, now and then in another chunk.
func (r *modelRun) place(t *rapid.T, q core.QueueID) core.Seq {
	r.next[q] = max(r.next[q], 1) + core.Seq(rapid.SampledFrom([]int{0, 0, 0, 1, 300, chunkPlaces, 5 * chunkPlaces}).Draw(t, "skipped"))
	r.next[q]++
	return r.next[q] - 1
}

func (r *modelRun) message(t *rapid.T, q core.QueueID) core.Op {
	seq := r.place(t, q)
	body := fmt.Appendf(nil, "%d/%d%*s", q, seq, rapid.SampledFrom([]int{1, 1, 50, 900}).Draw(t, "size"), "")
	m := &core.Message{Body: body, Key: fmt.Sprintf("key.%d", seq), Persistent: true}
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		m.Key = strings.Repeat("long", 1+core.MaxKey/4)
	case 1:
		m.Expires = 1 << 50
	}
	return core.Op{Kind: core.OpPublish, Queue: q, Seq: seq, Msg: m}
}

func (r *modelRun) publish(t *rapid.T) {
	q := r.queue(t)
	o := r.message(t, q)
	for _, other := range slices.Sorted(maps.Keys(r.model.queues)) {
		if other != q && rapid.IntRange(0, 3).Draw(t, "also") == 0 {
			o.More = append(o.More, core.Pair{Queue: other, Seq: r.place(t, other)})
		}
	}
	r.commit(t, o)
}

func (r *modelRun) publishMany(t *rapid.T) {
	q := r.queue(t)
	var ops []core.Op
	for range rapid.IntRange(2, 30).Draw(t, "messages") {
		ops = append(ops, r.message(t, q))
	}
	r.commit(t, ops...)
}

// live picks some live places of q.
func (r *modelRun) live(t *rapid.T, q core.QueueID) []core.Range {
	places := slices.Sorted(maps.Keys(r.model.queues[q]))
	if len(places) == 0 {
		t.Skip("an empty queue")
	}
	var list []core.Range
	for range rapid.IntRange(1, 6).Draw(t, "places") {
		seq := rapid.SampledFrom(places).Draw(t, "place")
		list = append(list, core.Range{First: seq, Last: seq})
	}
	return list
}

func (r *modelRun) settle(t *rapid.T) {
	q := r.queue(t)
	r.commit(t, core.Op{Kind: core.OpSettle, Queue: q, Ranges: r.live(t, q)})
}

func (r *modelRun) mark(t *rapid.T) {
	q := r.queue(t)
	r.commit(t, core.Op{Kind: core.OpMark, Queue: q, Ranges: r.live(t, q)})
}

// stretch is some places of q, also those never used.
func (r *modelRun) stretch(t *rapid.T, q core.QueueID) core.Range {
	first := core.Seq(rapid.Uint64Range(0, uint64(r.next[q])).Draw(t, "first"))
	return core.Range{First: first, Last: first + core.Seq(rapid.Uint64Range(0, uint64(r.next[q])+10).Draw(t, "length"))}
}

func (r *modelRun) purge(t *rapid.T) {
	q := r.queue(t)
	r.commit(t, core.Op{Kind: core.OpSettle, Queue: q, Ranges: []core.Range{r.stretch(t, q)}})
}

func (r *modelRun) load(t *rapid.T) {
	q := r.queue(t)
	at := r.stretch(t, q)
	n := rapid.IntRange(1, 50).Draw(t, "entries")
	entries, err := r.store.Load(q, at.First, at.Last, n, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, e := range entries {
		got = append(got, fmt.Sprintf("%d*%d %s", e.Seq, e.Delivered, e.Msg.Body))
	}
	for _, seq := range slices.Sorted(maps.Keys(r.model.queues[q])) {
		if at.First <= seq && seq <= at.Last && len(want) < n {
			want = append(want, fmt.Sprintf("%d*%d %s", seq, r.model.delivered(q, seq), r.model.queues[q][seq].body))
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("queue %x, places %d to %d: %q, want %q", uint64(q), at.First, at.Last, got, want)
	}
}

func (r *modelRun) checkpoint(t *rapid.T) {
	if err := r.store.checkpoint(); err != nil {
		t.Fatal(err)
	}
}
