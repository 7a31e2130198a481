package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/batonmq/baton/core"
)

func closeKeepsWhatWasCommitted(k *kit) {
	id := k.queue("q")
	var l log
	for i := range uint64(500) {
		op := publish(id, core.Seq(i+1), fmt.Sprint(i))
		op.Done, op.Tag = &l, i
		k.s.Commit([]core.Op{op})
	}
	if err := k.s.Close(); err != nil {
		k.Fatal(err)
	}
	expectTags(k, &l, 500) // before Close returned
	k.open()
	if entries := k.load(id); len(entries) != 500 || entries[0].Delivered != 0 {
		k.Errorf("%d entries after a clean end, want 500, none delivered", len(entries))
	}
}

func closeAgain(k *kit) {
	k.pass(define("a", "", 0))
	for range 3 {
		if err := k.s.Close(); err != nil {
			k.Fatal(err)
		}
	}
	select {
	case <-k.s.Failed():
		k.Error("Close made the store fail")
	default:
	}
	if err := k.s.Err(); err != nil {
		k.Errorf("after Close, Err is %v", err)
	}
	k.open()
	if got := keys(k.recovered); fmt.Sprint(got) != "[a]" {
		k.Errorf("recovered %v", got)
	}
}

func errorSticks(k *kit) {
	id := k.queue("q")
	k.fill(id, 3)
	want := k.h.Break(k.T, k.s)
	var l log
	for i := range uint64(10) {
		op := publish(id, core.Seq(i+4), "x")
		op.Done, op.Tag = &l, i
		k.s.Commit([]core.Op{op})
	}
	for range 2 {
		if err := k.outcome(k.commit()); !errors.Is(err, want) {
			k.Errorf("a commit after the failure gets %v, want %v", err, want)
		}
	}
	for i, tag := range l.seen() {
		if tag != uint64(i) || !errors.Is(l.errs[i], want) {
			k.Errorf("completion %d is that of commit %d, error %v", i, tag, l.errs[i])
		}
	}
	if n := len(l.seen()); n != 10 {
		k.Errorf("%d completions, want 10", n)
	}
	select {
	case <-k.s.Failed():
	case <-time.After(patience):
		k.Fatal("Failed is not closed")
	}
	if err := k.s.Err(); !errors.Is(err, want) {
		k.Errorf("Err is %v, want %v", err, want)
	}
	if n := k.s.Pending(); n != 0 {
		k.Errorf("%d bytes are pending when all have been answered", n)
	}
	if err := k.s.Close(); err == nil {
		k.Error("a store that failed closes without an error")
	}
	k.open()
	entries := k.load(id)
	if len(entries) < 3 {
		k.Fatalf("what had passed before the failure is gone: %v", entries)
	}
	for i, e := range entries {
		if e.Seq != core.Seq(i+1) || e.Delivered < 1 {
			k.Errorf("after the failure entry %d has place %d, delivered %d; want an unclean end", i, e.Seq, e.Delivered)
		}
	}
}

func clockNeverStepsBack(k *kit) {
	last := k.s.Now()
	step := func(how string) {
		k.Helper()
		for range 100 {
			if now := k.s.Now(); now.Before(last) {
				k.Fatalf("%s, the clock stepped back from %v to %v", how, last, now)
			} else {
				last = now
			}
		}
	}
	k.always(func(how string) {
		step(how)
		k.pass(define("a", how, 0))
		step(how)
	})
}

// manyLives ends the store again and again, one way and the other, with a little done in each life.
func manyLives(k *kit) {
	id := k.queue("q")
	var want []string
	for life := range 12 {
		seq := core.Seq(life + 1)
		k.pass(publish(id, seq, fmt.Sprint("life ", life)), define("life", fmt.Sprint(life), 0))
		want = append(want, fmt.Sprintf("%d:life %d", seq, life))
		if life%4 == 3 {
			k.pass(settle(id, one(seq-2)))
			want = append(want[:len(want)-3], want[len(want)-2:]...)
		}
		if life%3 == 1 {
			k.crash()
		} else {
			k.reopen()
		}
		k.bodies(fmt.Sprint("in life ", life), id, want...)
		if d := k.recoverOne("life"); string(d.Value) != fmt.Sprint(life) {
			k.Fatalf("life %d finds %q", life, d.Value)
		}
	}
}
