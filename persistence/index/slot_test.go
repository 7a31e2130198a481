package index

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestSlots are what a node finds in the directory and which slot it takes.
func TestSlots(t *testing.T) {
	type there struct {
		slot   string
		offset uint64
		store  string
		held   bool
	}
	cases := []struct {
		name  string
		there []there
		node  string
		want  string
		root  uint64 // the root's offset; 0: none
	}{
		{"nothing there", nil, "b", "b", 0},
		{"its own", []there{{slot: "b", offset: 3}}, "b", "b", 3},
		{"a more advanced one is free", []there{{slot: "a", offset: 9}, {slot: "b", offset: 3}, {slot: "c", offset: 8}}, "b", "a", 9},
		{"the most advanced one is held", []there{{slot: "a", offset: 9, held: true}, {slot: "c", offset: 8}}, "b", "c", 8},
		{"alike: its own", []there{{slot: "a", offset: 5}, {slot: "b", offset: 5}, {slot: "c", offset: 5}}, "b", "b", 5},
		{"all held", []there{{slot: "a", offset: 9, held: true}}, "b", "b", 0},
		{"its own name is held", []there{{slot: "b", offset: 9, held: true}}, "b", "b-2", 0},
		{"another store's is more advanced", []there{{slot: "a", offset: 9, store: "other"}, {slot: "b", offset: 3}}, "b", "b", 3},
		{"only another store's", []there{{slot: "a", offset: 9, store: "other"}}, "b", "b", 0},
		{"its own is another store's", []there{{slot: "b", offset: 9, store: "other"}}, "b", "b", 0},
		{"a name no file system takes", nil, "../a:b", "%2E.%2Fa%3Ab", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, s := range c.there {
				makeTestSlot(t, dir, s.slot, s.offset, s.store, s.held)
			}
			o := testOptions(t, dir)
			o.Node = c.node
			x := mustOpen(t, o)
			root, ok := x.Root()
			if x.Slot() != c.want || ok != (c.root != 0) || root.Position.Offset != c.root {
				t.Fatalf("slot %s with root %v, %v (%s); want %s, %d", x.Slot(), root.Position, ok, x.Reason(), c.want, c.root)
			}
		})
	}
}

// makeTestSlot makes a slot of that name with a root at offset. It is made elsewhere, so that no other slot is adopted for it.
func makeTestSlot(t *testing.T, dir, name string, offset uint64, store string, held bool) {
	t.Helper()
	o := testOptions(t, t.TempDir())
	o.Node = name
	if store != "" {
		o.StoreID = store
	}
	x := mustOpen(t, o)
	apply(t, x, &Checkpoint{Position: Position{Epoch: 1, Offset: offset}})
	closeIndex(t, x)
	if err := os.Rename(filepath.Join(o.Dir, name), filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	if held {
		o.Dir = dir
		s, err := hold(&o, name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.release)
	}
}

func TestSlotIsFreeAfterClose(t *testing.T) {
	o := testOptions(t, t.TempDir())
	first := mustOpen(t, o)
	second := mustOpen(t, o)
	if first.Slot() != "node" || second.Slot() != "node-2" {
		t.Fatalf("slots %s and %s", first.Slot(), second.Slot())
	}
	closeIndex(t, first)
	if third := mustOpen(t, o); third.Slot() != "node" {
		t.Fatalf("slot %s", third.Slot())
	}
}

func TestRemoveIdleLeavesWhatIsHeldOrYoung(t *testing.T) {
	dir := t.TempDir()
	makeTestSlot(t, dir, "idle", 1, "", false)
	makeTestSlot(t, dir, "held", 1, "", true)
	makeTestSlot(t, dir, "young", 1, "", false)
	old := time.Now().Add(-25 * time.Hour)
	for _, name := range []string{"idle", "held"} {
		if err := os.Chtimes(filepath.Join(dir, name, stateFile), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "not a slot"), 0o750); err != nil {
		t.Fatal(err)
	}
	makeTestSlot(t, dir, "primary", 2, "", false)
	o := testOptions(t, dir)
	o.Node = "primary"
	x := mustOpen(t, o)
	removed, err := x.RemoveIdle(24 * time.Hour)
	if err != nil || !slices.Equal(removed, []string{"idle"}) {
		t.Fatalf("removed %v, %v", removed, err)
	}
	var left []string
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{"held", "not a slot", "primary", "young"}; err != nil || !slices.Equal(left, want) {
		t.Fatalf("left %v, %v, want %v", left, err, want)
	}
}

// TestTakenSlotIsNoticed is what happens where locks do not exclude the other process.
func TestTakenSlotIsNoticed(t *testing.T) {
	o := testOptions(t, t.TempDir())
	x := mustOpen(t, o)
	apply(t, x, example())
	other, err := unlocked(&o, x.Slot())
	if err != nil || other.state.Owner == x.slot.state.Owner {
		t.Fatalf("owner %q twice, %v", other.state.Owner, err)
	}
	if err := x.Apply(&Checkpoint{Position: Position{Epoch: 2}}); err == nil {
		t.Fatal("a checkpoint was written into a slot that another process has")
	}
	<-x.Failed()
}
