package storetest

import (
	"fmt"
	"math"
	"sync"

	"github.com/batonmq/baton/core"
)

func loadKeepsItsBounds(k *kit) {
	id := k.queue("q")
	for _, seq := range []core.Seq{1, 2, 3, 10, 11, 12, 500, 100_000} {
		k.pass(publish(id, seq, fmt.Sprint("body of ", seq)))
	}
	k.pass(settle(id, one(2)))
	cases := []struct {
		name       string
		queue      core.QueueID
		from, to   core.Seq
		maxEntries int
		maxBytes   int
		want       []core.Seq
	}{
		{"all", id, 1, math.MaxInt64, everything, everything, []core.Seq{1, 3, 10, 11, 12, 500, 100_000}},
		{"from 0", id, 0, math.MaxUint64, everything, everything, []core.Seq{1, 3, 10, 11, 12, 500, 100_000}},
		{"both bounds belong to it", id, 3, 11, everything, everything, []core.Seq{3, 10, 11}},
		{"one place", id, 500, 500, everything, everything, []core.Seq{500}},
		{"a gap", id, 13, 499, everything, everything, nil},
		{"a settled place", id, 2, 2, everything, everything, nil},
		{"behind the end", id, 100_001, math.MaxInt64, everything, everything, nil},
		{"upside down", id, 11, 10, everything, everything, nil},
		{"entries", id, 1, math.MaxInt64, 3, everything, []core.Seq{1, 3, 10}},
		{"one entry", id, 4, math.MaxInt64, 1, everything, []core.Seq{10}},
		{"bytes reached by the first", id, 1, math.MaxInt64, everything, 1, []core.Seq{1}},
		{"unknown queue", k.newID(), 1, math.MaxInt64, everything, everything, nil},
	}
	k.always(func(how string) {
		for _, c := range cases {
			entries, err := k.s.Load(c.queue, c.from, c.to, c.maxEntries, c.maxBytes)
			var got []core.Seq
			for _, e := range entries {
				got = append(got, e.Seq)
				if string(e.Msg.Body) != fmt.Sprint("body of ", e.Seq) {
					k.Errorf("%s, %s: place %d has body %q", how, c.name, e.Seq, e.Msg.Body)
				}
			}
			if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
				k.Errorf("%s, %s: loaded %v, %v; want %v", how, c.name, got, err, c.want)
			}
		}
	})
}

// deepQueue holds more than any store keeps in one piece, with holes of every kind.
func deepQueue(k *kit) {
	const n = 20_000
	id := k.queue("q")
	var p promise
	for first := core.Seq(1); first <= n; first += 100 {
		var ops []core.Op
		for seq := first; seq < first+100; seq++ {
			ops = append(ops, publish(id, seq, fmt.Sprint(seq)))
		}
		p = k.commit(ops...)
	}
	k.await(p)
	live := func(seq core.Seq) bool { return seq > 3000 && seq%3 != 0 && (seq < 8000 || seq > 12_000) }
	ranges := []core.Range{{First: 1, Last: 3000}, {First: 8000, Last: 12_000}}
	for seq := core.Seq(3); seq <= n; seq += 3 {
		ranges = append(ranges, one(seq))
	}
	k.pass(settle(id, ranges...))
	k.always(func(how string) {
		k.Helper()
		at := core.Seq(1)
		for {
			entries, err := k.s.Load(id, at, math.MaxInt64, 700, everything)
			if err != nil {
				k.Fatal(err)
			}
			for _, e := range entries {
				for ; !live(at) && at < e.Seq; at++ {
				}
				if e.Seq != at || string(e.Msg.Body) != fmt.Sprint(at) {
					k.Fatalf("%s, loaded %d with body %s where %d should be", how, e.Seq, e.Msg.Body, at)
				}
				at++
			}
			if len(entries) == 0 {
				break
			}
		}
		for ; at <= n; at++ {
			if live(at) {
				k.Fatalf("%s, %d is gone", how, at)
			}
		}
	})
}

// loadWhileCommitting loads what others publish and settle: always ascending, never what cannot be there.
func loadWhileCommitting(k *kit) {
	const n = 2000
	id := k.queue("q")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	stopped := sync.OnceFunc(func() {
		close(stop)
		wg.Wait()
	})
	defer stopped()
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				entries, err := k.s.Load(id, 1, math.MaxInt64, 500, everything)
				if err != nil {
					k.Errorf("Load: %v", err)
					return
				}
				for i, e := range entries {
					if string(e.Msg.Body) != fmt.Sprint(e.Seq) || (i > 0 && e.Seq <= entries[i-1].Seq) {
						k.Errorf("loaded %d with body %s behind %v", e.Seq, e.Msg.Body, entries[max(i-1, 0)].Seq)
						return
					}
				}
			}
		})
	}
	var p promise
	for seq := core.Seq(1); seq <= n; seq++ {
		op := publish(id, seq, fmt.Sprint(seq))
		if seq > 50 {
			p = k.commit(op, settle(id, one(seq-50)))
		} else {
			p = k.commit(op)
		}
		if seq%100 == 0 {
			k.await(p)
		}
	}
	stopped()
	if entries := k.load(id); len(entries) != 50 || entries[0].Seq != n-49 {
		k.Errorf("%d entries are left, want the last 50", len(entries))
	}
}
