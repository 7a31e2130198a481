package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/batonmq/baton/core"
)

func newStoreIsEmpty(k *kit) {
	if defs := k.recovered; len(defs) != 0 {
		k.Errorf("a new store recovers %v", defs)
	}
	if entries := k.load(k.newID()); len(entries) != 0 {
		k.Errorf("a new store holds %v", entries)
	}
	if n := k.s.Pending(); n != 0 {
		k.Errorf("a new store has %d bytes pending", n)
	}
	select {
	case <-k.s.Failed():
		k.Error("a new store has failed")
	default:
	}
	if err := k.s.Err(); err != nil {
		k.Errorf("a new store has failed: %v", err)
	}
}

// keys returns the keys of defs, in order.
func keys(defs []core.Definition) []string {
	var out []string
	for _, d := range defs {
		out = append(out, d.Key)
	}
	return out
}

func definitionsInOrder(k *kit) {
	q1, q2, q3 := k.newID(), k.newID(), k.newID()
	// Neither keys nor ids are in the order in which they are made.
	k.pass(define("queue/z", "", q3), define("exchange/z", "", 0))
	k.pass(define("binding/m", "", 0))
	k.pass(define("queue/a", "", q2), define("exchange/a", "", 0), define("queue/m", "", q1))
	k.bothEnds(func(how string) {
		got := keys(k.recovered)
		want := []string{"exchange/z", "binding/m", "exchange/a", "queue/z", "queue/a", "queue/m"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			k.Fatalf("%s, recovered %v, want %v", how, got, want)
		}
	})
}

func defineReplacesAndRemoveEnds(k *kit) {
	id := k.queue("queue")
	k.pass(define("a", "1", 0), define("b", "1", 0), define("c", "1", 0), publish(id, 1, "one"))
	k.pass(define("a", "2", 0), remove("b", 0), define("queue", "replaced", id))
	k.pass(remove("c", 0), define("c", "3", 0), define("d", "", 0), remove("never there", 0))
	k.bothEnds(func(how string) {
		var got []string
		for _, d := range k.recovered {
			got = append(got, fmt.Sprintf("%s=%s/%d", d.Key, d.Value, d.Queue))
		}
		want := []string{"a=2/0", "c=3/0", "d=/0", fmt.Sprintf("queue=replaced/%d", id)}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			k.Fatalf("%s, recovered %v, want %v", how, got, want)
		}
		k.bodies(how, id, "1:one")
	})
}

func queueTellsWhatItHolds(k *kit) {
	id, empty := k.queue("q"), k.queue("empty")
	size := int64(0)
	for seq := core.Seq(1); seq <= 20; seq++ {
		op := publish(id, seq, fmt.Sprint("body ", seq))
		if seq > 5 {
			size += int64(len(op.Msg.Body))
		}
		k.pass(op)
	}
	k.pass(settle(id, core.Range{First: 1, Last: 5}))
	for _, how := range []string{"clean", "unclean"} {
		if how == "clean" {
			k.reopen()
		} else {
			k.crash()
		}
		d := k.recoverOne("q")
		if d.Queue != id || d.Next < 21 || d.Count != 15 || d.Bytes != size {
			k.Errorf("after a %s end, the queue is %+v, want id %d, next ≥ 21, count 15, %d bytes", how, d, id, size)
		}
		if d := k.recoverOne("empty"); d.Queue != empty || d.Next < 1 || d.Count != 0 || d.Bytes != 0 {
			k.Errorf("after a %s end, the empty queue is %+v", how, d)
		}
	}
}

func placesAreNeverUsedTwice(k *kit) {
	id := k.queue("q")
	next := core.Seq(1)
	for life := range 6 {
		for range 10 {
			k.pass(publish(id, next, "x"))
			next++
		}
		k.pass(settle(id, core.Range{First: 1, Last: next - 1}), define("q", fmt.Sprint("life ", life), id))
		for _, end := range []func(){k.reopen, k.crash, k.reopen} {
			end()
			if d := k.recoverOne("q"); d.Next < next || d.Count != 0 {
				k.Fatalf("in life %d, everything up to %d was used and settled; recovered %+v", life, next-1, d)
			}
		}
		next = k.recoverOne("q").Next
	}
}

func recoverMayBeLeftEarly(k *kit) {
	k.pass(define("a", "", 0), define("b", "", 0), define("q", "", k.newID()))
	if err := k.s.Close(); err != nil {
		k.Fatal(err)
	}
	k.s = k.h.Open(k.T)
	for _, err := range k.s.Recover(k.Context()) {
		if err != nil {
			k.Fatal(err)
		}
		break
	}
	k.crash()
	if got := keys(k.recovered); fmt.Sprint(got) != "[a b q]" {
		k.Fatalf("recovered %v", got)
	}
}

func thousandsOfQueues(k *kit) {
	const n = 3000
	ids := make([]core.QueueID, n)
	for i := 0; i < n; i += 100 {
		var ops []core.Op
		for j := i; j < i+100; j++ {
			ids[j] = k.newID()
			ops = append(ops, define(fmt.Sprint("queue/", j), fmt.Sprint("value ", j), ids[j]), publish(ids[j], 1, fmt.Sprint("body ", j)))
		}
		k.pass(ops...)
	}
	k.bothEnds(func(how string) {
		defs := k.recovered
		if len(defs) != n {
			k.Fatalf("%s, recovered %d queues, want %d", how, len(defs), n)
		}
		for i, d := range defs {
			if d.Queue != ids[i] || d.Key != fmt.Sprint("queue/", i) || string(d.Value) != fmt.Sprint("value ", i) || d.Count != 1 {
				k.Fatalf("%s, queue %d is %+v", how, i, d)
			}
		}
		for i := 0; i < n; i += 37 {
			k.bodies(how, ids[i], fmt.Sprint("1:body ", i))
		}
	})
}

func keyedQueueTellsItsKeys(k *kit) {
	const n = 3000
	id, plain := core.KeyedID(k.newID()), k.queue("plain")
	k.pass(define("keyed", "", id))
	want := make(map[core.Seq]core.KeyedPlace)
	for from := core.Seq(1); from < n; from += 100 {
		var ops []core.Op
		for seq := from; seq < from+100; seq++ {
			op := publish(id, seq, "body", core.Pair{Queue: plain, Seq: seq})
			want[seq] = core.KeyedPlace{Seq: seq, Key: fmt.Sprint("key/", seq)}
			switch {
			case seq%50 == 0:
				want[seq] = core.KeyedPlace{Seq: seq, Key: want[seq].Key, Expires: 1 << 50}
			case seq == 77:
				want[seq] = core.KeyedPlace{Seq: seq}
			case seq == 78:
				want[seq] = core.KeyedPlace{Seq: seq, Key: strings.Repeat("k", core.MaxKey)}
			}
			op.Msg.Key, op.Msg.Expires = want[seq].Key, want[seq].Expires
			if seq == 79 {
				op.Msg.Key += strings.Repeat("k", core.MaxKey)
				delete(want, seq)
			}
			ops = append(ops, op)
		}
		k.pass(ops...)
	}
	check := func(how string) {
		k.Helper()
		var got []core.KeyedPlace
		for p, err := range k.s.Keys(k.Context(), id) {
			if err != nil {
				k.Fatalf("%s: %v", how, err)
			}
			got = append(got, p)
		}
		if len(got) != len(want) || !slices.IsSortedFunc(got, func(a, b core.KeyedPlace) int { return cmp.Compare(a.Seq, b.Seq) }) {
			k.Fatalf("%s, %d keys came, want %d in the order of their places", how, len(got), len(want))
		}
		for _, p := range got {
			if want[p.Seq] != p {
				k.Fatalf("%s, place %d is %+v, want %+v", how, p.Seq, p, want[p.Seq])
			}
		}
	}
	settled := func(first, last core.Seq) {
		k.pass(settle(id, core.Range{First: first, Last: last}))
		maps.DeleteFunc(want, func(seq core.Seq, _ core.KeyedPlace) bool { return first <= seq && seq <= last })
	}
	k.bothEnds(check)
	for seq := core.Seq(1); seq < 1000; seq += 2 {
		settled(seq, seq)
	}
	settled(1500, 2600)
	k.bothEnds(check)
	k.pass(remove("keyed", id))
	clear(want)
	k.bothEnds(check)
}
