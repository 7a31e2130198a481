package hatest

import (
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/batonmq/baton/ha"
)

// create makes a file of one page of c, synced or not.
func create(t *testing.T, n *Files, path string, c byte, sync bool) ha.File {
	t.Helper()
	f, err := n.Open(path, true)
	if err == nil {
		err = f.Write(slices.Repeat([]byte{c}, 4096), 0, sync)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPowerCut_KeepsWhatWasSynced(t *testing.T) {
	var lost, torn, renameLost int
	for seed := range uint64(50) {
		d := New()
		n := d.Node()
		if err := n.Mkdir("dir"); err != nil {
			t.Fatal(err)
		}
		create(t, n, "dir/temp", 'a', true)
		if err := errors.Join(n.Place("dir/temp", "dir/placed"), n.Sync("dir")); err != nil {
			t.Fatal(err)
		}
		f, err := n.Open("dir/placed", false)
		if err == nil {
			err = f.Write(slices.Repeat([]byte{'b'}, 4096), 0, false)
		}
		if err != nil {
			t.Fatal(err)
		}
		create(t, n, "dir/unsynced", 'c', true)
		d.PowerCut(seed)

		page := make([]byte, 4096)
		f, err = d.Node().Open("dir/placed", false)
		if err != nil {
			t.Fatalf("seed %d: a placed file is gone: %v", seed, err)
		}
		if _, err := f.ReadAt(page, 0); err != nil {
			t.Fatal(err)
		}
		for sector := range slices.Chunk(page, sectorSize) {
			if c := sector[0]; c != 'a' && c != 'b' || slices.ContainsFunc(sector, func(b byte) bool { return b != c }) {
				t.Fatalf("seed %d: a sector is neither old nor new", seed)
			}
		}
		switch {
		case page[0] == 'a':
			lost++
		case slices.Contains(page, 'a'):
			torn++
		}
		if _, err := d.Node().Open("dir/unsynced", false); errors.Is(err, fs.ErrNotExist) {
			renameLost++
		}
	}
	if lost == 0 || torn == 0 || renameLost == 0 || renameLost == 50 {
		t.Errorf("unsynced: %d writes lost, %d torn, %d names lost; want some of each", lost, torn, renameLost)
	}
}

func TestKill_FreesLocksAndStopsTheNode(t *testing.T) {
	d := New()
	a, b := d.Node(), d.Node()
	held := create(t, a, "lock", 0, true)
	if err := held.Lock(); err != nil {
		t.Fatal(err)
	}
	other, err := b.Open("lock", false)
	if err != nil {
		t.Fatal(err)
	}
	if locked, err := other.Locked(); !locked || err != nil {
		t.Errorf("before: locked %v, %v", locked, err)
	}
	if other.Lock() == nil {
		t.Error("two nodes hold one lock")
	}
	a.Kill()
	if locked, err := other.Locked(); locked || err != nil {
		t.Errorf("after: locked %v, %v", locked, err)
	}
	if err := held.Write(make([]byte, 4096), 0, false); !errors.Is(err, ErrKilled) {
		t.Errorf("a killed node writes: %v", err)
	}
}
