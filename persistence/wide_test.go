package persistence

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal"
)

// publishWide stores one message at the first place of n queues, the first of which is q1, and returns its operations.
func publishWide(n int, body string) []core.Op {
	msg := &core.Message{Key: "k", Body: []byte(body), Persistent: true}
	ops := make([]core.Op, 0, n+1)
	var more []core.Pair
	for i := range n {
		q := q1 + core.QueueID(i)
		ops, more = append(ops, define(fmt.Sprint("q", i), q)), append(more, core.Pair{Queue: q, Seq: 1})
	}
	ops = append(ops, core.Op{Kind: core.OpPublish, Queue: q1, Seq: 1, Msg: msg, More: more[1:]})
	return ops
}

func loadOne(tb testing.TB, s *Store, q core.QueueID) *core.Message {
	tb.Helper()
	got, err := s.Load(q, 1, 1, 1, 1)
	if err != nil || len(got) != 1 {
		tb.Fatalf("queue %d: %d entries, %v, want 1", q, len(got), err)
	}
	return got[0].Msg
}

func TestLoad_OneMessageAtManyPlacesIsDecodedOnce(t *testing.T) {
	v := newLives(t)
	s := v.open()
	commit(t, s, publishWide(wideFrom, "for all")...)
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	first := loadOne(t, s, q1)
	for i := range wideFrom {
		if msg := loadOne(t, s, q1+core.QueueID(i)); msg != first || string(msg.Body) != "for all" || !msg.Stored() {
			t.Fatalf("queue %d got %p %q, want what the first one got, %p", i, msg, msg.Body, first)
		}
	}
	for range 2 { // what was decoded is gone, and is decoded again for a message that is still held
		runtime.GC()
	}
	if again := loadOne(t, s, q1+7); again != first {
		t.Error("the body is in memory twice")
	}
	f := found{}
	for at := range s.wide.at {
		f.at, f.offset = &segment{id: at.segment}, at.offset
		f.length = s.wide.at[at].rec.Value().length
	}
	for _, p := range []core.Pair{{Queue: q1, Seq: 2}, {Queue: q1 + wideFrom, Seq: 1}} {
		if s.wide.message(&f, p) != nil {
			t.Errorf("the record is taken for one that has the place %v", p)
		}
	}
	f.length++
	if s.wide.message(&f, core.Pair{Queue: q1, Seq: 1}) != nil {
		t.Error("a record of another length is taken for it")
	}
	runtime.KeepAlive(first)
	v.close(s)
}

// TestWideRecords_Bounded: what is kept is bounded by the places of all of it.
func TestWideRecords_Bounded(t *testing.T) {
	var w wideRecords
	rec := journal.Record{Pairs: make([]core.Pair, widePlaces/4)}
	at := &segment{}
	var held []*core.Message
	for i := range 10 {
		held = append(held, w.keep(&found{at: at, offset: uint32(i)}, &rec))
		if w.places != len(w.at)*len(rec.Pairs) || w.places > widePlaces {
			t.Fatalf("after %d: %d records of %d places, counted %d", i+1, len(w.at), len(rec.Pairs), w.places)
		}
	}
	if len(w.at) != 4 {
		t.Errorf("%d records are kept, want 4", len(w.at))
	}
	if again := w.keep(&found{at: at, offset: 9}, &rec); again != held[9] || w.places > widePlaces {
		t.Errorf("kept twice it counts %d places", w.places)
	}
}

// BenchmarkLoadWide loads one message for each of the queues that have it: the cost of one is flat.
func BenchmarkLoadWide(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := openBench(b, noSync{journal.OSFiles()})
			done := make(waiter, 1)
			ops := publishWide(n, "for all")
			ops[len(ops)-1].Done = done
			s.Commit(ops)
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			i := 0
			for b.Loop() {
				loadOne(b, s, q1+core.QueueID(i%n))
				i++
			}
		})
	}
}
