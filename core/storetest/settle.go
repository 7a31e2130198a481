package storetest

import (
	"fmt"

	"github.com/batonmq/baton/core"
)

// fill publishes the places 1 to n, with their numbers as bodies.
func (k *kit) fill(id core.QueueID, n core.Seq) {
	k.Helper()
	var ops []core.Op
	for seq := core.Seq(1); seq <= n; seq++ {
		ops = append(ops, publish(id, seq, fmt.Sprint(seq)))
	}
	k.pass(ops...)
}

func settleEndsEntries(k *kit) {
	id, other := k.queue("q"), k.queue("other")
	k.fill(id, 10)
	k.fill(other, 3)
	k.pass(settle(id, core.Range{First: 2, Last: 4}, one(6), core.Range{First: 9, Last: 10}), settle(other, one(1)))
	k.always(func(how string) {
		k.bodies(how, id, "1:1", "5:5", "7:7", "8:8")
		k.bodies(how, other, "2:2", "3:3")
	})
}

func settleBeforePassing(k *kit) {
	id := k.queue("q")
	var l log
	done := func(op core.Op, tag uint64) core.Op {
		op.Done, op.Tag = &l, tag
		return op
	}
	// In the same unit, in the next, and two units later; with a neighbour that stays.
	k.s.Commit([]core.Op{done(publish(id, 1, "1"), 0), settle(id, one(1))})
	k.s.Commit([]core.Op{done(publish(id, 2, "2"), 1)})
	k.s.Commit([]core.Op{settle(id, one(2)), done(publish(id, 3, "3"), 2), done(publish(id, 4, "4"), 3)})
	k.s.Commit([]core.Op{{Kind: core.OpNone}})
	k.s.Commit([]core.Op{settle(id, one(3))})
	k.pass()
	expectTags(k, &l, 4)
	k.bothEnds(func(how string) {
		k.bodies(how, id, "4:4")
		if d := k.recoverOne("q"); d.Next < 5 || d.Count != 1 {
			k.Errorf("%s, the queue is %+v, want next ≥ 5, count 1", how, d)
		}
	})
}

func settleIsIdempotent(k *kit) {
	id := k.queue("q")
	k.fill(id, 6)
	unknown := k.newID()
	k.pass(settle(id, core.Range{First: 2, Last: 3}))
	for range 3 {
		k.pass(
			settle(id, core.Range{First: 1, Last: 3}),      // partly settled
			settle(id, one(2), one(2)),                     // settled, twice
			settle(id, core.Range{First: 100, Last: 200}),  // never published
			settle(unknown, one(1)), mark(unknown, one(1)), // no such queue
			settle(id, core.Range{First: 3, Last: 2}), // no place at all
			settle(id), mark(id, core.Range{First: 1, Last: 3}, one(500)), // nothing, or nothing alive
		)
		k.bodies("after settling again", id, "4:4", "5:5", "6:6")
		k.reopen()
		k.bodies("after settling again", id, "4:4", "5:5", "6:6")
	}
	if d := k.recoverOne("q"); d.Count != 3 {
		k.Errorf("the queue is %+v, want count 3", d)
	}
	k.pass(settle(id, core.Range{First: 1, Last: 1000})) // more than there is, as a purge may
	next := max(k.recoverNext("q"), 7)
	k.pass(publish(id, next, "after"))
	k.bodies("after a purge", id, fmt.Sprintf("%d:after", next))
	k.crash()
	k.bodies("after a purge", id, fmt.Sprintf("%d:after", next))
}

// recoverNext ends and opens the store and returns a queue's next place.
func (k *kit) recoverNext(key string) core.Seq {
	k.Helper()
	k.reopen()
	return k.recoverOne(key).Next
}

// deliveries returns how often the entries of a queue were delivered, in order.
func (k *kit) deliveries(id core.QueueID) []uint32 {
	k.Helper()
	var out []uint32
	for _, e := range k.load(id) {
		out = append(out, e.Delivered)
	}
	return out
}

func marksCountDeliveries(k *kit) {
	id, other := k.queue("q"), k.queue("other")
	k.pass(publish(id, 1, "1", core.Pair{Queue: other, Seq: 1}))
	k.pass(publish(id, 2, "2"), publish(id, 3, "3"), publish(id, 4, "4"), publish(id, 5, "5"))
	k.pass(mark(id, core.Range{First: 1, Last: 3}))
	k.pass(mark(id, one(2), core.Range{First: 4, Last: 90}), settle(id, one(3)), mark(id, one(3)))
	k.pass(mark(id, one(2)))
	k.pass(publish(id, 6, "6"), mark(id, one(6))) // in the unit that publishes it
	for _, how := range []string{"before the end", "after a clean end", "after another"} {
		if got := k.deliveries(id); fmt.Sprint(got) != "[1 3 1 1 1]" {
			k.Errorf("%s, deliveries are %v, want [1 3 1 1 1]", how, got)
		}
		if got := k.deliveries(other); fmt.Sprint(got) != "[0]" {
			k.Errorf("%s, the same message in another queue has deliveries %v, want [0]", how, got)
		}
		k.reopen()
	}
}

func uncleanEndCountsAsDelivered(k *kit) {
	id := k.queue("q")
	k.fill(id, 3)
	k.pass(mark(id, one(2)), mark(id, one(2)), mark(id, one(2)))
	k.crash()
	expectDelivered := func(how string) {
		k.Helper()
		got := k.deliveries(id)
		if len(got) < 3 || got[0] < 1 || got[1] < 3 || got[2] < 1 {
			k.Fatalf("%s, deliveries are %v, want at least [1 3 1]", how, got)
		}
	}
	expectDelivered("after an unclean end")
	k.pass(publish(id, 4, "4"))
	if got := k.deliveries(id); got[3] != 0 {
		k.Errorf("what was published after the unclean end has deliveries %v", got)
	}
	// What may have been delivered then has still been later.
	k.reopen()
	expectDelivered("after an unclean and a clean end")
	if got := k.deliveries(id); got[3] != 0 {
		k.Errorf("what was published after the unclean end and before a clean one has deliveries %v", got)
	}
	k.reopen()
	expectDelivered("after an unclean and two clean ends")
}

func removedQueueEndsItsEntries(k *kit) {
	id := k.queue("q")
	k.fill(id, 5)
	k.pass(publish(id, 6, "6"), remove("q", id), publish(id, 7, "7"))
	k.pass(publish(id, 8, "8"), settle(id, core.Range{First: 1, Last: 8}), mark(id, one(1)))
	k.bothEnds(func(how string) {
		if defs := k.recovered; len(defs) != 0 {
			k.Fatalf("%s, recovered %v", how, defs)
		}
		k.bodies(how, id)
	})
	again := k.queue("q")
	k.pass(publish(again, 1, "new"), settle(id, one(1)), remove("other key", id))
	k.bothEnds(func(how string) {
		if d := k.recoverOne("q"); d.Queue != again || d.Count != 1 {
			k.Fatalf("%s, the new queue is %+v", how, d)
		}
		k.bodies(how, again, "1:new")
		k.bodies(how, id)
	})
}
