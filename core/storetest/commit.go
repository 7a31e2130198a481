package storetest

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/batonmq/baton/core"
)

func completionsInOrder(k *kit) {
	id := k.queue("q")
	var l log
	for i := range uint64(1000) {
		op := publish(id, core.Seq(i+1), "x")
		if i%3 == 1 {
			op = core.Op{Kind: core.OpNone}
		}
		op.Done, op.Tag = &l, i
		k.s.Commit([]core.Op{op})
	}
	k.pass()
	expectTags(k, &l, 1000)
}

// expectTags expects the tags 0 to n-1, in order, without errors.
func expectTags(k *kit, l *log, n int) {
	k.Helper()
	tags := l.seen()
	if len(tags) != n {
		k.Fatalf("%d completions, want %d", len(tags), n)
	}
	for i, tag := range tags {
		if tag != uint64(i) || l.errs[i] != nil {
			k.Fatalf("completion %d is that of commit %d, error %v", i, tag, l.errs[i])
		}
	}
}

func completionsAcrossGoroutines(k *kit) {
	const goroutines, each = 8, 250
	id := k.queue("q")
	var (
		l    log
		lock sync.Mutex // as a queue's lock: it orders places and commits alike
		next uint64
		wg   sync.WaitGroup
	)
	for range goroutines {
		wg.Go(func() {
			for range each {
				lock.Lock()
				op := publish(id, core.Seq(next+1), fmt.Sprint(next))
				op.Done, op.Tag = &l, next
				next++
				k.s.Commit([]core.Op{op})
				lock.Unlock()
			}
		})
	}
	wg.Wait()
	k.pass()
	expectTags(k, &l, goroutines*each)
	entries := k.load(id)
	for i, e := range entries {
		if e.Seq != core.Seq(i+1) || string(e.Msg.Body) != fmt.Sprint(i) {
			k.Fatalf("entry %d has place %d and body %s", i, e.Seq, e.Msg.Body)
		}
	}
	if len(entries) != goroutines*each {
		k.Fatalf("%d entries, want %d", len(entries), goroutines*each)
	}
}

func everyKindCompletes(k *kit) {
	id := k.newID()
	var l log
	ops := []core.Op{
		define("q", "", id), publish(id, 1, "x"), mark(id, one(1)), settle(id, one(1)), remove("q", id),
		{Kind: core.OpNone},
		mark(id, one(1)), settle(id, one(1)), publish(id, 2, "its queue is gone"), remove("q", id), mark(id), settle(id),
	}
	for i := range ops {
		ops[i].Done, ops[i].Tag = &l, uint64(i)
	}
	k.s.Commit(slices.Clone(ops))
	k.s.Commit(nil) // nothing is a unit, too
	k.pass()
	expectTags(k, &l, len(ops))
}

func completionMeansItSurvives(k *kit) {
	id := k.queue("q")
	for life := range 8 {
		// The end comes right behind the promise, with more on its way.
		first := core.Seq(life*100 + 1)
		p := k.commit(publish(id, first, "promised"))
		for i := range core.Seq(20) {
			k.commit(publish(id, first+1+i, "not promised"))
		}
		k.await(p)
		k.crash()
		entries := k.loadRange(id, first, first+99)
		if len(entries) == 0 || entries[0].Seq != first {
			k.Fatalf("in life %d a promised entry is gone: %v", life, entries)
		}
		for i, e := range entries {
			if e.Seq != first+core.Seq(i) {
				k.Fatalf("in life %d entry %d has place %d: what was lost is not the end", life, i, e.Seq)
			}
		}
	}
}

// unitsAreAtomic commits units that each put one message into three queues, as two publishes, and settle that of the unit before. After
// any crash the queues agree on which unit was the last.
func unitsAreAtomic(k *kit) {
	ids := []core.QueueID{k.queue("a"), k.queue("b"), k.queue("c")}
	last, next := core.Seq(0), core.Seq(1)
	for life := range 8 {
		var p promise
		for i := range 40 {
			body := fmt.Sprint("unit ", next)
			ops := []core.Op{publish(ids[0], next, body, core.Pair{Queue: ids[1], Seq: next}), publish(ids[2], next, body)}
			for _, id := range ids {
				ops = append(ops, settle(id, one(last)))
			}
			if q := k.commit(ops...); i == 10 {
				p = q
			}
			last, next = next, next+1
		}
		k.await(p)
		k.crash()
		entries := k.load(ids[0])
		if len(entries) != 1 {
			k.Fatalf("in life %d the first queue holds %d entries, want 1", life, len(entries))
		}
		last = entries[0].Seq
		for _, id := range ids {
			k.bodies("after a crash", id, fmt.Sprintf("%d:%s", last, entries[0].Msg.Body))
		}
		for _, d := range k.recovered {
			next = max(last+1, d.Next)
		}
	}
}

func slicesAreCopied(k *kit) {
	id := k.queue("q")
	k.pass(publish(id, 1, "one"), publish(id, 2, "two"), publish(id, 3, "three"))
	ranges := []core.Range{one(1)}
	ops := []core.Op{settle(id, ranges...), mark(id, ranges...)}
	k.s.Commit(ops)
	ranges[0] = core.Range{First: 1, Last: 3}
	clear(ops)
	ops[0] = settle(id, ranges...)
	k.pass()
	k.bodies("after settling 1", id, "2:two", "3:three")
	k.reopen()
	k.bodies("after settling 1", id, "2:two", "3:three")
}

func sharedMessage(k *kit) {
	ids := []core.QueueID{k.queue("a"), k.queue("b"), k.queue("c"), k.queue("gone")}
	k.pass(remove("gone", ids[3]))
	k.pass(publish(ids[0], 1, "only here"))
	k.pass(publish(ids[0], 2, "shared", core.Pair{Queue: ids[1], Seq: 1}, core.Pair{Queue: ids[3], Seq: 1}, core.Pair{Queue: ids[2], Seq: 7}))
	k.always(func(how string) {
		k.bodies(how, ids[0], "1:only here", "2:shared")
		k.bodies(how, ids[1], "1:shared")
		k.bodies(how, ids[2], "7:shared")
		k.bodies(how, ids[3])
	})
	k.pass(settle(ids[0], one(2)))
	k.pass(remove("b", ids[1]))
	k.always(func(how string) {
		k.bodies(how, ids[0], "1:only here")
		k.bodies(how, ids[1])
		k.bodies(how, ids[2], "7:shared")
	})
}

func messageComesBackAsItWas(k *kit) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	messages := []*core.Message{
		{Persistent: true},
		{Persistent: true, Once: true, Retain: true},
		{Retain: true, Replayed: true},
		{Exchange: "ex", Key: "a.b.#", Props: all, Body: all, Persistent: true, Priority: 255},
		{Exchange: "amq.topic", Key: string(all[128:]), Body: []byte{0}, Persistent: true, Priority: 9},
		{Props: bytes.Repeat([]byte("p"), 70_000), Key: string(bytes.Repeat([]byte("k"), 255)), Persistent: true},
		{Key: "k", Keys: []string{"", "l", string(all[128:])}, Body: []byte("several keys"), Persistent: true},
		{Arrived: 5, Delay: 1, Persistent: true},
		{Delay: math.MaxInt64, Expires: 1, Body: []byte("delayed"), Persistent: true},
		{Keys: []string{"only further"}, Persistent: true, Expires: 5},
		{Body: []byte("transient in a durable queue"), Priority: 1},
		{Body: bytes.Repeat([]byte("b"), 100_000), Persistent: true},
		{Expires: 1, Persistent: true},
		{Expires: 4_102_444_800_000, Body: []byte("until 2100"), Persistent: true, Once: true, Retain: true},
		{Arrived: 1_700_000_000_000, Body: []byte("stamped"), Persistent: true},
		{Expires: 1, Arrived: math.MaxInt64, Persistent: true},
		{Expires: math.MaxInt64, Body: bytes.Repeat([]byte("b"), 100_000), Persistent: true},
	}
	id := k.queue("q")
	for i, m := range messages {
		k.pass(core.Op{Kind: core.OpPublish, Queue: id, Seq: core.Seq(i + 1), Msg: m})
	}
	k.always(func(how string) {
		entries := k.load(id)
		if len(entries) != len(messages) {
			k.Fatalf("%s, %d messages, want %d", how, len(entries), len(messages))
		}
		for i, e := range entries {
			if d := sameMessage(e.Msg, messages[i]); d != "" {
				k.Errorf("%s, message %d: %s", how, i, d)
			}
		}
	})
}

// storedAt is a Completion that notes whether a message was marked as stored when it ran.
type storedAt struct {
	m      *core.Message
	stored chan bool
}

// Complete implements core.Completion.
func (s storedAt) Complete(uint64, error) { s.stored <- s.m.Stored() }

func messageIsMarkedStored(k *kit) {
	id := k.queue("q")
	op := publish(id, 1, "x")
	if op.Msg.Stored() {
		k.Fatal("a message is stored before it was committed")
	}
	at := storedAt{op.Msg, make(chan bool, 1)}
	op.Done = at
	k.pass(op)
	if !<-at.stored {
		k.Error("a message is not marked as stored when its publish has passed")
	}
	k.always(func(how string) {
		for _, e := range k.load(id) {
			if !e.Msg.Stored() {
				k.Errorf("%s, a loaded message is not marked as stored", how)
			}
		}
	})
}

func bigBodies(k *kit) {
	id := k.queue("q")
	big := func(seq core.Seq, size int) string { return string(bytes.Repeat([]byte{byte('a' + seq)}, size)) }
	sizes := []int{5 << 20, 1, 3<<20 + 1, 0, 1<<20 - 1}
	for i, size := range sizes {
		seq := core.Seq(i + 1)
		k.pass(publish(id, seq, big(seq, size)))
	}
	k.always(func(how string) {
		entries := k.load(id)
		if len(entries) != len(sizes) {
			k.Fatalf("%s, %d entries, want %d", how, len(entries), len(sizes))
		}
		for i, e := range entries {
			if string(e.Msg.Body) != big(e.Seq, sizes[i]) {
				k.Fatalf("%s, body %d has %d bytes, want other %d", how, i, len(e.Msg.Body), sizes[i])
			}
		}
	})
}

// gate is a Completion that holds the committer until it is opened. A broker's Completions return at once; this one makes time stand still.
type gate struct{ reached, open chan struct{} }

func newGate() gate { return gate{make(chan struct{}), make(chan struct{})} }

// Complete implements core.Completion.
func (g gate) Complete(uint64, error) {
	close(g.reached)
	<-g.open
}

func pendingCounts(k *kit) {
	id := k.queue("q")
	if n := k.s.Pending(); n != 0 {
		k.Fatalf("%d bytes are pending when everything has passed", n)
	}
	before, after := newGate(), newGate()
	k.s.Commit([]core.Op{{Kind: core.OpNone, Done: before}})
	<-before.reached
	op := publish(id, 1, string(make([]byte, 1<<20)))
	op.Done = after
	k.s.Commit([]core.Op{op})
	if n := k.s.Pending(); n < 1<<20 || n > 2<<20 {
		k.Errorf("%d bytes are pending, want about 1 MiB", n)
	}
	close(before.open)
	<-after.reached
	if n := k.s.Pending(); n != 0 {
		k.Errorf("%d bytes are pending when all has passed and the last promise is being kept", n)
	}
	close(after.open)
}
