package persistence

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
)

const q2 core.QueueID = 1<<32 | 2

// onEverything is a store that was killed, with every kind of record in several segments of two epochs, and what lives in it.
func onEverything(t *testing.T) (*lives, *state) {
	t.Helper()
	v := newLives(t)
	want := newState()
	s := v.open()
	do := func(ops ...core.Op) {
		commit(t, s, ops...)
		want.apply(ops)
	}
	to := func(seq core.Seq, size int, more ...core.Pair) core.Op {
		o := publish(seq, fmt.Sprintf("%08d%s", seq, strings.Repeat("b", size)))
		o.More = more
		return o
	}
	do(define("q", q1), define("other", q2), define("setting", 0), define("gone", 0))
	for seq := core.Seq(1); seq <= 6; seq++ {
		do(to(seq, 200, core.Pair{Queue: q2, Seq: seq}))
	}
	do(settle(2, 4), core.Op{Kind: core.OpRemove, Key: "gone"})
	do(core.Op{Kind: core.OpMark, Queue: q2, Ranges: []core.Range{{First: 1, Last: 2}}})
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	do(to(7, 3500)) // a segment is full
	do(settle(7, 7))
	v.kill(s)
	want.endUncleanly()
	v.edit = func(o *Options) { o.slack = 1 }
	s = v.open()
	do(to(8, 10), to(9, 10), settle(9, 9)) // the last one is elided
	do(define("setting", 0), core.Op{Kind: core.OpSettle, Queue: q2, Ranges: []core.Range{{First: 2, Last: 5}}}, settle(5, 6))
	if err := s.checkpoint(); err != nil { // carries forward and reclaims
		t.Fatal(err)
	}
	do(to(10, 300))
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	for seq := core.Seq(11); seq <= 14; seq++ {
		do(to(seq, 20), core.Op{Kind: core.OpSettle, Queue: q1, Ranges: []core.Range{{First: seq - 1, Last: seq - 1}}})
	}
	if s.Stats().Carried == 0 || s.Stats().Reclaimed == 0 {
		t.Fatalf("%+v: nothing was carried forward", s.Stats())
	}
	v.kill(s)
	want.endUncleanly()
	return v, want
}

// copyOf is v as another process finds it.
func (v *lives) copyOf() *lives {
	source := *v.source
	return &lives{
		t: v.t, fs: v.fs.Clone(), index: v.index.clone(), log: &syncBuffer{}, epoch: v.epoch, source: &source, edit: v.edit,
		named: v.named, told: v.told,
	}
}

// segmentPaths lists the segment files and how long they are.
func (v *lives) segmentPaths() map[string]int64 {
	v.t.Helper()
	list := make(map[string]int64)
	for _, name := range v.segments() {
		path := filepath.Join("/store", "journal", name)
		f, err := v.fs.Open(path)
		if err != nil {
			v.t.Fatal(err)
		}
		if list[path], err = f.Size(); err != nil {
			v.t.Fatal(err)
		}
	}
	return list
}

// lost compares what st holds with s and returns how many entries are missing. Anything else that differs is an error.
func (s *state) lost(st *Store) (missing []core.Pair, err error) {
	defs := maps.Clone(s.defs)
	for d, err := range st.Recover(backgroundContext()) {
		if err != nil {
			return nil, err
		}
		if v, ok := defs[d.Key]; !ok || v != string(d.Value) {
			return nil, fmt.Errorf("definition %q is %q", d.Key, d.Value)
		}
		delete(defs, d.Key)
	}
	if len(defs) > 0 {
		return nil, fmt.Errorf("definitions are missing: %v", slices.Collect(maps.Keys(defs)))
	}
	for q, entries := range s.queues {
		there, err := st.Load(q, 0, ^core.Seq(0), 1<<20, 1<<30)
		if err != nil {
			return nil, err
		}
		left := maps.Clone(entries)
		for _, e := range there {
			h, ok := left[e.Seq]
			switch {
			case !ok:
				return nil, fmt.Errorf("queue %x place %d has come back", q, e.Seq)
			case h.body != string(e.Msg.Body):
				return nil, fmt.Errorf("queue %x place %d holds %q", q, e.Seq, e.Msg.Body)
			case e.Delivered != s.delivered(q, e.Seq):
				return nil, fmt.Errorf("queue %x place %d was delivered %d times, want %d", q, e.Seq, e.Delivered, s.delivered(q, e.Seq))
			}
			delete(left, e.Seq)
		}
		for seq := range left {
			missing = append(missing, core.Pair{Queue: q, Seq: seq})
		}
	}
	return missing, nil
}

// TestEveryByteOfTheJournal_NamedOrHarmless: whichever byte of a store's journal is wrong, with its index and without, a start is refused
// with the file's name, or serves what is there: a message that is missing is named and counted, none that was settled is back, and
// no definition, mark or place differs.
func TestEveryByteOfTheJournal_NamedOrHarmless(t *testing.T) {
	v, want := onEverything(t)
	outcomes := make(map[string]int)
	for path, size := range v.segmentPaths() {
		for off := range size {
			for _, indexed := range []bool{true, false} {
				c := v.copyOf()
				if err := c.fs.Flip(path, off); err != nil {
					t.Fatal(err)
				}
				if !indexed {
					c.index = newMemIndexDisk()
				}
				outcome, err := c.afterDamage(want, filepath.Base(path))
				if err != nil {
					t.Fatalf("%s with byte %d changed, index %v: %v\n%s", path, off, indexed, err, c.log)
				}
				outcomes[fmt.Sprintf("%s, index %v", outcome, indexed)]++
			}
		}
	}
	t.Log(outcomes)
	for _, outcome := range []string{"refused, index false", "lost, index false", "lost, index true", "harmless, index true"} {
		if outcomes[outcome] == 0 {
			t.Errorf("never %s: %v", outcome, outcomes)
		}
	}
}

// afterDamage opens a store in which a byte of file was changed, and says what became of it.
func (v *lives) afterDamage(want *state, file string) (string, error) {
	s, err := v.try()
	if err != nil {
		if !strings.Contains(err.Error(), file) {
			return "", fmt.Errorf("refused without the file's name: %w", err)
		}
		if _, is := errors.AsType[*DamageError](err); !is && !errors.Is(err, ErrNewer) {
			return "", fmt.Errorf("refused without being called damage: %w", err)
		}
		return "refused", nil
	}
	defer func() { _ = s.Close() }() // it was never activated
	missing, err := want.lost(s)
	if err != nil {
		return "", err
	}
	for _, p := range missing {
		if !v.names(p) {
			return "", fmt.Errorf("queue %x place %d is missing, and nobody says so", p.Queue, p.Seq)
		}
	}
	switch n := s.Stats().Damaged; {
	case len(missing) > 0 && n == 0:
		return "", fmt.Errorf("%v are missing, and none is counted", missing)
	case len(missing) > 0:
		return "lost", nil
	}
	return "harmless", nil
}

// names reports whether the log names p, or a message whose places are not known.
func (v *lives) names(p core.Pair) bool {
	log := v.log.String()
	return strings.Contains(log, fmt.Sprintf("queue=%d seq=%d", p.Queue, p.Seq)) || strings.Contains(log, "a message of places that are not known") ||
		strings.Contains(log, fmt.Sprintf("queue %d place %d", p.Queue, p.Seq))
}

// TestEveryByteOfTheJournal_Salvaged: with Salvage every start that is possible succeeds, what is missing is named or what may be missing
// is, and the store that was salvaged opens again, from its index and without, to the same.
func TestEveryByteOfTheJournal_Salvaged(t *testing.T) {
	v, want := onEverything(t)
	opened, refused := 0, 0
	for path, size := range v.segmentPaths() {
		for off := int64(0); off < size; off += 3 {
			c := v.copyOf()
			c.edit = func(o *Options) { o.slack, o.Salvage = 1, true }
			c.index = newMemIndexDisk()
			if err := c.fs.Flip(path, off); err != nil {
				t.Fatal(err)
			}
			s, err := c.try()
			if err != nil {
				if !strings.Contains(err.Error(), filepath.Base(path)) {
					t.Fatalf("%s with byte %d changed: refused without the file's name: %v", path, off, err)
				}
				if strings.Contains(err.Error(), "start once with --salvage") {
					t.Fatalf("%s with byte %d changed: salvaging is advised, and does not help: %v", path, off, err)
				}
				refused++
				continue
			}
			opened++
			c.source = &Source{Epoch: c.epoch, Lineage: s.Lineage(), Segment: c.named}
			s.Activated()
			missing, differs := want.lost(s)
			for _, p := range missing {
				if !c.names(p) && !strings.Contains(c.log.String(), "salvage:") {
					t.Fatalf("%s with byte %d changed: %v is missing, and nobody says so:\n%s", path, off, p, c.log)
				}
			}
			if differs != nil && !strings.Contains(c.log.String(), "salvage:") {
				t.Fatalf("%s with byte %d changed: %v, and nobody says so:\n%s", path, off, differs, c.log)
			}
			first := tellAll(t, s)
			if err := s.checkpoint(); err != nil { // what holds damage is carried forward
				t.Fatalf("%s with byte %d changed: %v", path, off, err)
			}
			if err := s.checkpoint(); err != nil {
				t.Fatalf("%s with byte %d changed: %v", path, off, err)
			}
			c.close(s)
			c.edit = nil
			for _, disk := range []*memIndexDisk{c.index, newMemIndexDisk()} {
				c.index = disk
				s, err := c.try()
				if err != nil {
					t.Fatalf("%s with byte %d changed: salvaged, it does not open: %v\n%s", path, off, err, c.log)
				}
				if again := tellAll(t, s); again != first {
					t.Fatalf("%s with byte %d changed: %s after a restart, before it %s", path, off, again, first)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	t.Logf("%d salvaged, %d refused", opened, refused)
	if opened < 9*refused {
		t.Errorf("%d salvaged, %d refused", opened, refused)
	}
}

// tellAll is what a store holds in the two queues of onEverything.
func tellAll(t *testing.T, s *Store) string {
	t.Helper()
	return tell(t, s, q1) + "; " + tell(t, s, q2)
}
