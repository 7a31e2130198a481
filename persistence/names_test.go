package persistence

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/index"
	"github.com/batonmq/baton/persistence/journal"
)

const keyed = core.QueueID(3<<32 | 1<<31 | 7)

// keyedPublish puts a message with a key at a place of the keyed queue.
func keyedPublish(seq core.Seq, key string) core.Op {
	o := publish(seq, "body")
	o.Queue, o.Msg.Key = keyed, key
	return o
}

// keys are what a store says lives in the keyed queue, in short.
func keys(t *testing.T, s *Store) string {
	t.Helper()
	var list []string
	for p, err := range s.Keys(t.Context(), keyed) {
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%d:%s", p.Seq, p.Key)
		if p.Expires != 0 {
			text += fmt.Sprintf("@%d", p.Expires)
		}
		list = append(list, text)
	}
	return strings.Join(list, " ")
}

// TestPage_Format holds what the index has of a keyed queue against FORMAT.md.
func TestPage_Format(t *testing.T) {
	l := newLive()
	at := l.segments.add(journal.SegmentID{Epoch: 1, Number: 1})
	l.define("q", nil, keyed, 1, at)
	for _, p := range []struct {
		seq     core.Seq
		key     string
		expires int64
	}{{1, "a.b", 0}, {2, "over", 0}, {63, "", 300}, {65, "next", 0}, {66, strings.Repeat("k", core.MaxKey+1), 0}} {
		pair := core.Pair{Queue: keyed, Seq: p.seq}
		l.publish(pair, entry{segment: at, length: 100})
		setKey(l, pair, p.key, p.expires)
		setKey(l, pair, p.key, p.expires) // as a record says that carries the message forward
	}
	l.settle(keyed, []core.Range{{First: 2, Last: 2}}, at)
	var got []string
	for _, d := range l.snapshot().PutDefinitions {
		if d.Key != "q" {
			got = append(got, hex.EncodeToString([]byte(d.Key))+" "+hex.EncodeToString(d.Value))
		}
	}
	slices.Sort(got)
	want := []string{
		"006e" + "0000000380000007" + "0000000000000000" + " 02" + "01" + "03612e62" + "bf" + "00" + "ac02",
		"006e" + "0000000380000007" + "0000000000000001" + " 02" + "01" + "046e657874",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the index gets\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestPage_LeavesMemoryAndComesBack: memory has the keys of pages only until the index has them, and reads those again to which a late place
// comes, or of which little is left.
func TestPage_LeavesMemoryAndComesBack(t *testing.T) {
	v := newLives(t)
	s := v.open()
	checkpoint := func() {
		t.Helper()
		if err := s.checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	page := func() *page { return &s.live.queues[keyed].chunks[0].pages[0] }
	commit(t, s, define("q", keyed))
	for seq := core.Seq(1); seq <= 130; seq++ {
		if seq != 5 {
			commit(t, s, keyedPublish(seq, fmt.Sprint("k", seq)))
		}
	}
	checkpoint()
	if page().data != nil || page().named == 0 {
		t.Fatalf("the keys of a page that the index has are in memory")
	}
	commit(t, s, keyedPublish(5, "late"))
	if page().data == nil {
		t.Error("the keys of a page to which one was added are not in memory")
	}
	checkpoint()
	commit(t, s, core.Op{Kind: core.OpSettle, Queue: keyed, Ranges: []core.Range{{First: 6, Last: 129}}})
	before := len(v.index.defs[pageKey(keyed, 0)].Value)
	checkpoint()
	if now := len(v.index.defs[pageKey(keyed, 0)].Value); now > before/4 {
		t.Errorf("a page of which little lives takes %d bytes, it took %d", now, before)
	}
	if _, there := v.index.defs[pageKey(keyed, 1)]; there {
		t.Error("the index has a page of which nothing lives")
	}
	const want = "1:k1 2:k2 3:k3 4:k4 5:late 130:k130"
	expect(t, keys(t, s), want)
	v.kill(s)
	s = v.open()
	expect(t, keys(t, s), want)
	commit(t, s, core.Op{Kind: core.OpRemove, Key: "q", Queue: keyed})
	checkpoint()
	if n := len(v.index.defs); n != 0 {
		t.Errorf("the index has %d definitions or pages when the queue is gone", n)
	}
	v.close(s)
}

// TestPage_Malformed: an index that says something else of the keys than can be is made again from the journal.
func TestPage_Malformed(t *testing.T) {
	v := newLives(t)
	s := v.open()
	o := keyedPublish(2, "b")
	o.Msg.Expires = 1 << 40
	commit(t, s, define("q", keyed), define("plain", q1), keyedPublish(1, "a"), o)
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	commit(t, s, keyedPublish(3, "c"))
	v.kill(s)
	good := v.index.clone()
	value := good.defs[pageKey(keyed, 0)].Value
	for name, spoil := range map[string]func(defs map[string]index.Definition, put func(key string, value ...byte)){
		"nothing":        func(_ map[string]index.Definition, put func(string, ...byte)) { put(pageKey(keyed, 0), stateFormat) },
		"another format": func(_ map[string]index.Definition, put func(string, ...byte)) { put(pageKey(keyed, 0), 99, 1, 0) },
		"a place twice": func(_ map[string]index.Definition, put func(string, ...byte)) {
			put(pageKey(keyed, 0), stateFormat, 1, 0, 1, 0)
		},
		"no such place": func(_ map[string]index.Definition, put func(string, ...byte)) {
			put(pageKey(keyed, 0), stateFormat, 64, 0)
		},
		"cut off": func(_ map[string]index.Definition, put func(string, ...byte)) {
			put(pageKey(keyed, 0), value[:len(value)-1]...)
		},
		"cut off early": func(_ map[string]index.Definition, put func(string, ...byte)) { put(pageKey(keyed, 0), stateFormat, 1) },
		"no live place": func(_ map[string]index.Definition, put func(string, ...byte)) { put(pageKey(keyed, 1), value...) },
		"no chunk":      func(_ map[string]index.Definition, put func(string, ...byte)) { put(pageKey(keyed, 99), value...) },
		"no queue":      func(_ map[string]index.Definition, put func(string, ...byte)) { put(pageKey(keyed+1, 0), value...) },
		"not keyed":     func(_ map[string]index.Definition, put func(string, ...byte)) { put(pageKey(q1, 0), value...) },
	} {
		t.Run(name, func(t *testing.T) {
			fs, source, epoch := v.fs.Clone(), *v.source, v.epoch
			w := &lives{t: t, fs: fs, index: good.clone(), log: &syncBuffer{}, epoch: epoch, source: &source}
			w.index.defs = maps.Clone(good.defs)
			spoil(w.index.defs, func(key string, value ...byte) { w.index.defs[key] = index.Definition{Key: key, Value: value} })
			s := w.open()
			if !strings.Contains(w.log.String(), "rebuilding the index") {
				t.Error("the index was believed")
			}
			expect(t, keys(t, s), fmt.Sprintf("1:a 2:b@%d 3:c", int64(1)<<40))
			w.close(s)
		})
	}
}

// TestVerify_ComparesKeys: what an index says of keys is held against the messages.
func TestVerify_ComparesKeys(t *testing.T) {
	v := newLives(t)
	v.onDisk()
	s := v.open()
	commit(t, s, define("q", keyed), keyedPublish(1, "a"), keyedPublish(2, "b"))
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	commit(t, s, keyedPublish(3, "c"))
	v.close(s)
	if found := v.verify(); !found.Sound() || len(found.Indexes) != 1 || found.Indexes[0].State != "sound" {
		t.Errorf("a sound store: %+v", found)
	}
	a, b := newLive(), newLive()
	for i, l := range []*live{a, b} {
		at := l.segments.add(journal.SegmentID{Epoch: 1, Number: 1})
		l.define("q", nil, keyed, 1, at)
		l.publish(core.Pair{Queue: keyed, Seq: 1}, entry{segment: at})
		setKey(l, core.Pair{Queue: keyed, Seq: 1}, fmt.Sprint("key ", i), 0)
	}
	if n := compareQueues(a, b, func(string, error) {}); n != 1 {
		t.Errorf("%d differences of one key", n)
	}
	if n := compareQueues(a, a, func(held string, err error) { t.Error(held, err) }); n != 0 {
		t.Errorf("%d differences of nothing", n)
	}
}
