package index

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	badger "github.com/dgraph-io/badger/v4"
)

// TestCrashBetweenStepsLeavesOneCheckpoint copies the directory after every sync of a checkpoint that puts, replaces and removes, and
// opens each copy.
func TestCrashBetweenStepsLeavesOneCheckpoint(t *testing.T) {
	type crash struct {
		step Step
		dir  string
	}
	var crashes []crash
	o := testOptions(t, t.TempDir())
	o.Step = func(step Step, _ int) { crashes = append(crashes, crash{step, copyDir(t, o.Dir)}) }
	x := mustOpen(t, o)
	x.txnBytes = 4 << 10 // many syncs
	r := rand.New(rand.NewPCG(3, 3))
	before := contents{}
	for round := range uint64(3) {
		apply(t, x, randomCheckpoint(r, round, before))
	}
	crashes = nil
	after := maps.Clone(before)
	apply(t, x, randomCheckpoint(r, 3, after))

	steps := map[Step]int{}
	for _, c := range crashes {
		steps[c.step]++
		want, position := after, uint64(3)
		if c.step == StepValues {
			want, position = before, 2
		}
		again := mustOpen(t, testOptions(t, c.dir))
		got, p := mustRead(t, again)
		if !maps.Equal(got, want) || p.Offset != position {
			t.Fatalf("after sync %d of %s: at %v, %s (reason %q)", steps[c.step], c.step, p, diff(got, want), again.Reason())
		}
		if n := keysOnDisk(t, again); n != len(want) {
			t.Errorf("after sync %d of %s: %d keys are there, the root accounts for %d", steps[c.step], c.step, n, len(want))
		}
		next := maps.Clone(want)
		apply(t, again, randomCheckpoint(r, 4, next))
		if got, _ := mustRead(t, again); !maps.Equal(got, next) {
			t.Fatalf("the next checkpoint after sync %d of %s: %s", steps[c.step], c.step, diff(got, next))
		}
		closeIndex(t, again)
	}
	if steps[StepValues] < 5 || steps[StepRoot] != 1 || steps[StepDeletes] < 2 {
		t.Errorf("the checkpoint took too few steps to tell anything: %v", steps)
	}
}

// keysOnDisk counts every key, the root in the place of its meta.
func keysOnDisk(t *testing.T, x *Index) int {
	t.Helper()
	n := 0
	err := x.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestDamagedBytesNeverPassForAnIndex flips bytes and cuts ends all over Badger's files. Whatever is opened then has no root, or says
// that it is damaged when it is read, or is one of the checkpoints that were finished, whole.
func TestDamagedBytesNeverPassForAnIndex(t *testing.T) {
	o := testOptions(t, t.TempDir())
	x := mustOpen(t, o)
	states := applyRounds(t, &x, o)
	pristine := snapshot(t, o.Dir)

	outcomes := map[string]int{}
	for _, d := range damages(pristine) {
		dir := t.TempDir()
		for _, f := range pristine {
			if f.path == d.file.path {
				f = d.file
			}
			f.write(t, dir)
		}
		if d.table && verifyTables(filepath.Join(dir, "node", "db"), true) == nil {
			t.Errorf("%s: a reading of every block has not noticed", d.name)
		}
		outcome, err := openDamaged(t, dir, states)
		if err != nil {
			t.Errorf("%s: %v", d.name, err)
		}
		outcomes[outcome]++
	}
	t.Log(outcomes)
	for _, outcome := range []string{"noticed at open", "noticed when read", "an older checkpoint", "harmless"} {
		if outcomes[outcome] == 0 {
			t.Errorf("no damage was %s: the test has lost its reach", outcome)
		}
	}
}

// applyRounds applies checkpoints, of which the first end in tables and the last in a log, and returns what was there after each.
func applyRounds(t *testing.T, x **Index, o Options) map[uint64]contents {
	t.Helper()
	r := rand.New(rand.NewPCG(5, 5))
	states, model := map[uint64]contents{}, contents{}
	for round := range uint64(9) {
		cp := randomCheckpoint(r, round, model)
		if round == 0 { // a queue that rests, so that a table has much that lives
			cp.PutQueues = append(cp.PutQueues, Queue{ID: 50})
			model["queue 50"] = "0 0 0"
			for n := range uint64(8) {
				b := randomData(r, 6000)
				cp.PutChunks = append(cp.PutChunks, Chunk{ChunkID{50, n}, b})
				model[fmt.Sprint("chunk ", 50, "/", n)] = string(b)
			}
		}
		apply(t, *x, cp)
		states[round] = maps.Clone(model)
		if round == 2 || round == 5 {
			closeIndex(t, *x)
			*x = mustOpen(t, o)
		}
	}
	return states
}

// file is a file in memory, without the zeros at its end.
type file struct {
	path string // below the index's directory
	data []byte
	size int
}

// snapshot reads dir as it is on disk now.
func snapshot(t *testing.T, dir string) []file {
	t.Helper()
	var files []file
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		files = append(files, file{rel, bytes.TrimRight(b, "\x00"), len(b)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// write puts the file below dir; a negative size leaves it out.
func (f *file) write(t *testing.T, dir string) {
	t.Helper()
	if f.size < 0 {
		return
	}
	path := filepath.Join(dir, f.path)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, f.data, 0o640), os.Truncate(path, int64(f.size)))
	if err != nil {
		t.Fatal(err)
	}
}

// openDamaged opens a damaged index and says how that went; an error is what must never happen.
func openDamaged(t *testing.T, dir string, states map[uint64]contents) (string, error) {
	t.Helper()
	o := testOptions(t, dir)
	o.Logger = nil
	x, err := Open(t.Context(), o)
	if err != nil {
		return "", fmt.Errorf("Open: %w", err)
	}
	defer func() { _ = x.Close() }() // Badger may complain about what it was given
	got, p, err := read(x)
	switch {
	case errors.Is(err, ErrDamaged):
		return "noticed when read", checkCondemned(t, x, o)
	case err != nil:
		return "", fmt.Errorf("read: %w", err)
	}
	if _, ok := x.Root(); !ok {
		return "noticed at open", nil
	}
	want := states[p.Offset]
	if !maps.Equal(got, want) {
		return "", fmt.Errorf("an index at %v that never was: %s", p, diff(got, want))
	}
	if p.Offset == uint64(len(states)-1) {
		return "harmless", nil
	}
	return "an older checkpoint", nil
}

// checkCondemned checks that an index which was found damaged is not opened again.
func checkCondemned(t *testing.T, x *Index, o Options) error {
	t.Helper()
	<-x.Failed()
	_ = x.Close()
	again, err := Open(t.Context(), o)
	if err != nil {
		return fmt.Errorf("Open after damage: %w", err)
	}
	defer func() { _ = again.Close() }()
	if root, ok := again.Root(); ok || !strings.Contains(again.Reason(), "damaged") {
		return fmt.Errorf("damage was found and yet the next Open has root %+v, reason %q", root, again.Reason())
	}
	return nil
}

type damage struct {
	name  string
	file  file
	table bool // a byte of a table was changed
}

// damages returns flips and cuts spread over every file of Badger that says something.
func damages(files []file) []damage {
	var out []damage
	for _, f := range files {
		name := filepath.Base(f.path)
		used := len(f.data)
		if filepath.Base(filepath.Dir(f.path)) != "db" || used == 0 {
			continue
		}
		flips := 2
		if ext := filepath.Ext(name); ext == ".sst" || ext == ".mem" || name == badger.ManifestFilename {
			flips = 16
		}
		for i := range flips {
			damaged, at := f, i*used/flips
			damaged.data = slices.Clone(f.data)
			damaged.data[at] ^= 0x41
			out = append(out, damage{fmt.Sprintf("%s: flip at %d of %d", name, at, used), damaged, filepath.Ext(name) == ".sst"})
		}
		for _, cut := range []int{7, used / 2, used - 7} {
			damaged := f
			damaged.size = max(cut, 0)
			out = append(out, damage{fmt.Sprintf("%s: cut at %d of %d", name, cut, used), damaged, false})
		}
		gone := f
		gone.size = -1
		out = append(out, damage{name + ": removed", gone, false})
	}
	return out
}

// editState changes the STATE of the slot in dir.
func editState(dir string, change func(*state)) error {
	path := filepath.Join(dir, "node", stateFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var s state
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	change(&s)
	if b, err = json.Marshal(s); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o640)
}

// TestUnusableSlotIsEmptied lists what makes Open start from nothing, and that it says why.
func TestUnusableSlotIsEmptied(t *testing.T) {
	formatIs := func(n int) func(string) error {
		return func(dir string) error { return editState(dir, func(s *state) { s.Format = n }) }
	}
	fileIs := func(name, text string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, "node", name), []byte(text), 0o640) }
	}
	nothing := func(string) error { return nil }
	cases := []struct {
		name, reason string
		store        string // whose index is opened, if another's
		do           func(dir string) error
	}{
		{"older format", "has format -1, not 1", "", formatIs(format - 2)},
		{"newer format", "has format 2, not 1", "", formatIs(format + 1)},
		{"another store", "belongs to store", "another", nothing},
		{"another store, known to the root alone", "belongs to store", "another", fileIs(stateFile, "{")},
		{"condemned", "a chunk is gone", "", fileIs(condemnedFile, "a chunk is gone")},
		{"never opened well", "without coming to a good end", "", fileIs(openingFile, "5")},
		{"count of opens unreadable", "without coming to a good end", "", fileIs(openingFile, "")},
		{"no database", "new", "", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "node", "db")) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o := testOptions(t, t.TempDir())
			x := mustOpen(t, o)
			apply(t, x, example())
			closeIndex(t, x)
			if err := c.do(o.Dir); err != nil {
				t.Fatal(err)
			}
			if c.store != "" {
				o.StoreID = c.store
			}
			x = mustOpen(t, o)
			if root, ok := x.Root(); ok || !strings.Contains(x.Reason(), c.reason) {
				t.Fatalf("root %+v, reason %q, want one with %q", root, x.Reason(), c.reason)
			}
			apply(t, x, example())
			want, _ := mustRead(t, x)
			closeIndex(t, x)
			x = mustOpen(t, o)
			if got, _ := mustRead(t, x); len(want) == 0 || !maps.Equal(got, want) {
				t.Fatalf("after starting from nothing: %s (%s)", diff(got, want), x.Reason())
			}
		})
	}
}

// TestOpensWithoutGoodEndAreCounted is what stops a loop of starts that end inside Badger.
func TestOpensWithoutGoodEndAreCounted(t *testing.T) {
	o := testOptions(t, t.TempDir())
	x := mustOpen(t, o)
	apply(t, x, example())
	closeIndex(t, x)
	dir := o.Dir
	for i := range maxOpens {
		x = mustOpen(t, testOptions(t, dir))
		if _, ok := x.Root(); !ok {
			t.Fatalf("open %d: %s", i+1, x.Reason())
		}
		dir = copyDir(t, dir) // the process ends
	}
	x = mustOpen(t, testOptions(t, dir))
	if _, ok := x.Root(); ok {
		t.Fatal("a slot that never came to a good end was opened once more")
	}
	for i := range uint64(trustAfter) {
		apply(t, x, &Checkpoint{Position: Position{Offset: i}})
	}
	x = mustOpen(t, testOptions(t, copyDir(t, dir)))
	if n := x.slot.opens(); n != 1 {
		t.Fatalf("%d opens are counted after a good one", n)
	}
}

// TestBadgerTroubleFailsTheIndex speaks to the Logger as Badger does.
func TestBadgerTroubleFailsTheIndex(t *testing.T) {
	say := map[string]func(e *events){
		"error":         func(e *events) { e.Errorf("error flushing memtable to disk: %v, retrying", os.ErrPermission) },
		"compaction":    func(e *events) { e.Warningf("While running doCompact: %v\n", os.ErrPermission) },
		"other warning": func(e *events) { e.Warningf("cache is small") },
	}
	for name, speak := range say {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t, t.TempDir())
			x := mustOpen(t, o)
			apply(t, x, example())
			speak(x.events)
			if name == "other warning" {
				if err := x.Err(); err != nil {
					t.Fatal(err)
				}
				return
			}
			<-x.Failed()
			if err := x.Apply(&Checkpoint{Position: Position{Epoch: 2}}); err == nil {
				t.Error("a checkpoint after Badger's error")
			}
			_ = x.Close()
			if _, ok := mustOpen(t, o).Root(); ok {
				t.Error("the slot is used again")
			}
		})
	}
}
