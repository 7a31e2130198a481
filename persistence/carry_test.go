package persistence

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal"
)

// TestDisk_FollowsWhatLives: whatever passes through, the journal takes no more than twice what lives, its slack, and what is written
// between two checkpoints; and what lives is found again with and without the index.
func TestDisk_FollowsWhatLives(t *testing.T) {
	const segment, slack = 64 << 10, 2 * 64 << 10
	for _, c := range []struct {
		name string
		keep core.Seq // every so many messages one stays for ever
		old  int      // messages that were there before, and stay
		defs int      // definitions likewise, of 1 KiB
	}{
		{name: "an empty queue"},
		{name: "one message in a hundred stays", keep: 100},
		{name: "a backlog stays", old: 1000},
		{name: "definitions stay", defs: 300},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newLives(t)
			v.edit = func(o *Options) { o.SegmentSize = segment }
			s := v.open()
			commit(t, s, define("q", q1))
			for i := range c.defs {
				commit(t, s, core.Op{Kind: core.OpDefine, Key: fmt.Sprint("d", i), Value: make([]byte, 1000)})
			}
			commit(t, s, define("p", q1+1))
			for i := range c.old {
				o := publish(core.Seq(i+1), fmt.Sprintf("%8d", i)+strings.Repeat("o", 500))
				o.Queue = q1 + 1
				commit(t, s, o)
			}
			l := &traffic{s: s, body: make([]byte, 400), inFlight: 50, keep: c.keep}
			groups, most := 0, int64(0)
			for range 3 {
				l.run(t, 6000, 10, func() {
					if groups++; groups%16 != 0 {
						return
					}
					// Between two checkpoints here: 16 groups of 10 messages, about one segment. What is carried is written beside.
					if err := s.checkpoint(); err != nil {
						t.Fatal(err)
					}
					st := s.Stats()
					if st.Journal != journalBytes(t, v.fs, "/store/journal") {
						t.Fatalf("the store counts %d bytes, the files have %d", st.Journal, journalBytes(t, v.fs, "/store/journal"))
					}
					most = max(most, st.Journal-2*st.Live)
				})
				l.drain(t)
			}
			if most > slack+2*segment {
				t.Errorf("%d bytes above twice what lives, want no more than %d", most, slack+2*segment)
			}
			want := contents(t, s)
			if len(want) < c.old {
				t.Errorf("%d messages are left of %d", len(want), c.old)
			}
			for _, index := range []string{"used", "lost"} {
				v.close(s)
				if index == "lost" {
					v.index = newMemIndexDisk()
				}
				s = v.open()
				if got := contents(t, s); !maps.Equal(got, want) {
					t.Errorf("index %s: %d messages and definitions, want %d", index, len(got), len(want))
				}
			}
			v.close(s)
		})
	}
}

// contents is everything that a store holds.
func contents(t *testing.T, s *Store) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for d, err := range s.Recover(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all[d.Key] = fmt.Sprint(d.Queue, d.Next, d.Count, d.Bytes, string(d.Value))
		if d.Queue == 0 {
			continue
		}
		entries, err := s.Load(d.Queue, 0, ^core.Seq(0), 1<<20, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			all[fmt.Sprint(d.Queue, e.Seq)] = fmt.Sprint(e.Delivered, e.Msg.Exchange, e.Msg.Key, e.Msg.Priority, string(e.Msg.Props), string(e.Msg.Body))
		}
	}
	return all
}

// TestCarry_KeepsWhatCounts: what is carried forward keeps its places, its order, its deliveries and its message, and the places that were
// settled stay so.
func TestCarry_KeepsWhatCounts(t *testing.T) {
	v := newLives(t)
	v.edit = func(o *Options) { o.slack = 1 }
	s := v.open()
	commit(t, s, define("b", 0), define("q", q1), define("p", q1+1), define("a", 0))
	mark := func(seq core.Seq) core.Op {
		return core.Op{Kind: core.OpMark, Queue: q1, Ranges: []core.Range{{First: seq, Last: seq}}}
	}
	both := publish(1, "both")
	both.More = []core.Pair{{Queue: q1 + 1, Seq: 1}}
	both.Msg = &core.Message{Exchange: "x", Key: "k", Props: []byte("props"), Body: []byte("both"), Priority: 7, Persistent: true}
	commit(t, s, both, publish(2, "marked"), publish(3, "settled"), publish(4, "plain"))
	commit(t, s, mark(2), mark(2), settle(3, 3), settle(1, 1))
	commit(t, s, publish(5, "remarked"))
	v.kill(s) // what lives counts as delivered
	s = v.open()
	commit(t, s, mark(5), publish(6, "new"))
	old := v.segments()
	fill(t, s, 10, 20)
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	for _, name := range v.segments() {
		if slices.Contains(old[:1], name) {
			t.Errorf("%s is still there", name)
		}
	}
	const want = "2:marked*2 4:plain*1 5:remarked*2 6:new*0"
	expect(t, tell(t, s, q1), want)
	expect(t, tell(t, s, q1+1), "1:both*1")
	v.close(s)
	for range 2 {
		s = v.open()
		expect(t, tell(t, s, q1), want)
		got, err := s.Load(q1+1, 1, 1, 1, 1)
		if err != nil || len(got) != 1 || got[0].Delivered != 1 || got[0].Msg.Exchange != "x" || string(got[0].Msg.Props) != "props" ||
			got[0].Msg.Priority != 7 || !got[0].Msg.Persistent || string(got[0].Msg.Body) != "both" {
			t.Errorf("%+v, %v", got, err)
		}
		var keys []string
		for d, err := range s.Recover(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, d.Key)
		}
		if want := []string{"b", "a", "q", "p"}; !slices.Equal(keys, want) {
			t.Errorf("definitions %v, want %v", keys, want)
		}
		v.close(s)
		v.index = newMemIndexDisk()
	}
}

// segments lists the journal's files.
func (v *lives) segments() []string {
	v.t.Helper()
	names, err := v.fs.Names("/store/journal")
	if err != nil {
		v.t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// TestCarry_SettledMeanwhile: what is settled between the reading of a step and its writing is not carried, also not by a settle that
// shares the step's group.
func TestCarry_SettledMeanwhile(t *testing.T) {
	v := newLives(t)
	v.edit = func(o *Options) { o.slack = 1 << 40 }
	s := v.open()
	commit(t, s, define("q", q1), publish(1, "a"), publish(2, "b"), publish(3, "c"))
	fill(t, s, 10, 20) // the first segment is complete
	first := s.live.segments.byID[journal.SegmentID{Epoch: 1, Number: 1}]
	c := &carrier{s: s, segment: first, limit: 1 << 20}
	if err := c.scan(); err != nil || c.step == nil || len(c.step.records) != 3 {
		t.Fatalf("%v, %+v", err, c.step)
	}
	commit(t, s, settle(1, 1))
	s.mu.Lock() // the committer takes both as one batch
	b := s.gather
	b.ops = append(b.ops, op{kind: opSettle, queue: q1, ranges: []core.Range{{First: 2, Last: 2}}}, op{kind: opOwn, own: &ownRecords{carry: c.step}})
	b.units = append(b.units, unit{end: len(b.ops)})
	s.mu.Unlock()
	s.cond.Signal()
	commit(t, s, core.Op{Kind: core.OpNone})
	expect(t, tell(t, s, q1), "3:c*0")
	if n := len(c.step.places); n != 2 {
		t.Errorf("%d places were carried, want the one that lives and the one settled behind it", n)
	}
	v.kill(s)
	v.index = newMemIndexDisk()
	s = v.open()
	expect(t, tell(t, s, q1), "3:c*1")
	v.close(s)
}

// TestCarry_LoadGoesOn: a reader that found its message before the file went away reads it.
func TestCarry_LoadGoesOn(t *testing.T) {
	v := newLives(t)
	v.edit = func(o *Options) { o.slack = 1 }
	s := v.open()
	commit(t, s, define("q", q1), publish(1, "a"))
	fill(t, s, 10, 20)
	ld := &loader{}
	defer ld.free()
	if err := s.find(ld, q1, core.Range{First: 1, Last: 1}, 1, 1); err != nil || len(ld.found) != 1 {
		t.Fatalf("%v, %v", ld.found, err)
	}
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	if name := ld.found[0].at.id.File(); slices.Contains(v.segments(), name) {
		t.Fatalf("%s is still there", name)
	}
	if _, err := s.read(ld, ld.found); err != nil {
		t.Error(err)
	} else if err := verify(&ld.rec, ld.buf, s.seed, &ld.found[0], core.Pair{Queue: q1, Seq: 1}); err != nil {
		t.Error(err)
	}
	v.close(s)
}

// TestDamage_IsGivenUpOnce: a damaged message is named and counted once, its place is settled for good, and once its segment has been
// carried forward the journal can be read again without the index. That goes for one that a Load finds and one that carrying finds.
func TestDamage_IsGivenUpOnce(t *testing.T) {
	for _, by := range []string{"load", "carry"} {
		t.Run(by, func(t *testing.T) {
			v := newLives(t)
			v.edit = func(o *Options) {
				if by == "carry" {
					o.slack = 1
				}
			}
			s := v.open()
			half := publish(3, "third")
			half.More = []core.Pair{{Queue: q1 + 1, Seq: 1}}
			commit(t, s, define("q", q1), define("p", q1+1), publish(1, "first"), publish(2, "second"), half)
			path := filepath.Join("/store", "journal", v.segments()[0])
			if err := v.fs.Flip(path, find(t, v.fs, path, "second")); err != nil {
				t.Fatal(err)
			}
			fill(t, s, 10, 20)
			if by == "load" {
				for range 2 {
					expect(t, tell(t, s, q1), "1:first*0 3:third*0")
				}
			}
			if err := s.checkpoint(); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(v.log.String(), "damaged on disk"); n != 1 || s.Stats().Damaged != 1 || !strings.Contains(v.log.String(), path) {
				t.Errorf("said %d times, counted %d:\n%s", n, s.Stats().Damaged, v.log)
			}
			v.close(s)
			for range 2 {
				s = v.open()
				expect(t, tell(t, s, q1), "1:first*0 3:third*0")
				expect(t, tell(t, s, q1+1), "1:third*0")
				if n := s.Stats().Damaged; n != 0 {
					t.Errorf("counted again: %d", n)
				}
				v.close(s)
				v.index = newMemIndexDisk()
			}
		})
	}
}

// TestCarry_DefinitionsThatMemoryLacks: a definition whose value the index alone has, since a checkpoint or since a start, is carried forward
// with it, so that the journal alone still tells of it.
func TestCarry_DefinitionsThatMemoryLacks(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarted %t", restarted), func(t *testing.T) {
			v := newLives(t)
			s := v.open()
			commit(t, s, define("q", q1))
			commit(t, s, define("d", 0), publish(1, strings.Repeat("a", 5000))) // its segment is full
			commit(t, s, publish(2, "b"))
			want := contents(t, s)
			if err := s.checkpoint(); err != nil {
				t.Fatal(err)
			}
			if restarted {
				v.close(s)
				s = v.claim()
				want = contents(t, s)
				s.Activated()
			}
			first := s.live.defs.Get("d").segment
			if !s.live.defs.Get("d").absent() {
				t.Fatal("memory has the value still")
			}
			if err := s.carrySegment(first); err != nil {
				t.Fatal(err)
			}
			if d := s.live.defs.Get("d"); d.segment == first || d.absent() || string(s.live.heldValue(d)) != "value of d" {
				t.Errorf("after it was carried: %+v", d)
			}
			v.close(s)
			v.index = newMemIndexDisk()
			s = v.open()
			if got := contents(t, s); got["d"] != want["d"] || got["q"] != want["q"] {
				t.Errorf("%v, want %v", got, want)
			}
			v.close(s)
		})
	}
}
