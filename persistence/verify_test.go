package persistence

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/index"
	"github.com/batonmq/baton/persistence/journal"
)

// verify is Verify of the store as it is now.
func (v *lives) verify() *Verified {
	v.t.Helper()
	opt := VerifyOptions{Dir: "/store", StoreID: [16]byte{5}, Source: *v.source, Files: v.fs, Temp: v.t.TempDir()}
	var edited Options
	if v.edit != nil {
		v.edit(&edited)
	}
	if edited.Files != nil {
		opt.Dir, opt.Files = edited.Dir, edited.Files
	}
	found, err := Verify(v.t.Context(), opt)
	if err != nil {
		v.t.Fatal(err)
	}
	return found
}

// onDisk makes v's store one of the operating system's files, with the real index, and returns its directory.
func (v *lives) onDisk() string {
	dir := v.t.TempDir()
	v.edit = func(o *Options) { o.Dir, o.Files, o.openIndex = dir, journal.OSFiles(), nil }
	return dir
}

// fillStore is a life with something of everything that an index holds, ended orderly.
func (v *lives) fillStore() *state {
	v.t.Helper()
	s := v.open()
	want := newState()
	do := func(ops ...core.Op) {
		commit(v.t, s, ops...)
		want.apply(ops)
	}
	do(define("q", q1), define("other", q2), define("setting", 0))
	for seq := core.Seq(1); seq <= 40; seq++ {
		o := publish(100*seq, strings.Repeat("x", 150))
		o.More = []core.Pair{{Queue: q2, Seq: seq}}
		do(o)
	}
	do(settle(500, 800), core.Op{Kind: core.OpMark, Queue: q2, Ranges: []core.Range{{First: 3, Last: 4}}})
	if err := s.checkpoint(); err != nil {
		v.t.Fatal(err)
	}
	do(publish(5000, "after the checkpoint"), settle(900, 900))
	v.close(s)
	return want
}

// TestVerify_CountsWhatIsThere: a sound store is called so, with what is in it, and opens as before.
func TestVerify_CountsWhatIsThere(t *testing.T) {
	v := newLives(t)
	v.onDisk()
	want := v.fillStore()
	found := v.verify()
	if !found.Sound() || len(found.Segments) < 2 || found.Queues != 2 || found.Definitions != 3 || found.Groups < 40 || found.Records < 40 {
		t.Errorf("found %+v", found)
	}
	if n := int64(len(want.queues[q1]) + len(want.queues[q2])); found.Messages != n {
		t.Errorf("%d messages, want %d", found.Messages, n)
	}
	if len(found.Indexes) != 1 || found.Indexes[0].State != "sound" || found.Indexes[0].Chunks == 0 {
		t.Errorf("indexes %+v", found.Indexes)
	}
	s := v.open()
	if missing, err := want.lost(s); err != nil || len(missing) > 0 {
		t.Errorf("after Verify %v are missing: %v", missing, err)
	}
	if running := v.verify(); !running.Sound() || len(running.Indexes) != 1 || !strings.Contains(running.Indexes[0].State, "running broker") {
		t.Errorf("while it runs: %+v", running)
	}
	commit(t, s, publish(6000, "goes on"))
	v.close(s)
	if strings.Contains(v.log.String(), "rebuilding") {
		t.Errorf("rebuilt:\n%s", v.log)
	}
}

// busyFiles are those of a broker that writes on between two readings of its newest segment, into room that is there already.
type busyFiles struct {
	journal.Files
	newest string
	heads  int
	write  func()
}

func (b *busyFiles) Open(path string) (journal.File, error) {
	f, err := b.Files.Open(path)
	if filepath.Base(path) == b.newest {
		f = busyFile{f, b}
	}
	return f, err
}

type busyFile struct {
	journal.File
	b *busyFiles
}

func (f busyFile) Size() (int64, error) {
	size, err := f.File.Size()
	return size + 4096, err
}

// ReadAt tells a reading by the header that it begins with, in two reads: the first is the search for the newest segment, the second
// that of the journal, the third that for an index.
func (f busyFile) ReadAt(p []byte, off int64) (int, error) {
	if off == 0 {
		if f.b.heads++; f.b.heads == 5 {
			f.b.write()
		}
	}
	return f.File.ReadAt(p, off)
}

// TestVerify_LeavesOutWhatIsWrittenMeanwhile: an index is held against the journal as it was when that was read, not as it is by then.
func TestVerify_LeavesOutWhatIsWrittenMeanwhile(t *testing.T) {
	v := newLives(t)
	dir := v.onDisk()
	v.fillStore()
	slots := filepath.Join(dir, "index")
	names, err := index.Slots(slots)
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	if err := os.CopyFS(filepath.Join(slots, "other"), os.DirFS(filepath.Join(slots, names[0]))); err != nil {
		t.Fatal(err)
	}
	onDisk := v.edit
	v.edit = func(o *Options) { onDisk(o); o.SegmentSize = 1 << 20 }
	s := v.open()
	setting := func(value string) {
		commit(t, s, core.Op{Kind: core.OpDefine, Key: "setting", Value: []byte(value)})
	}
	setting("one")
	wrote := false
	files := &busyFiles{Files: journal.OSFiles(), newest: journal.SegmentID{Epoch: 2, Number: uint32(v.named)}.File(), write: func() {
		wrote = true
		setting("another")
		setting("that of the last group, which a replay does not apply")
	}}
	found, err := Verify(t.Context(), VerifyOptions{Dir: dir, StoreID: [16]byte{5}, Source: *v.source, Files: files, Temp: t.TempDir()})
	if err != nil || !wrote {
		t.Fatal(wrote, err)
	}
	sound := 0
	for _, x := range found.Indexes {
		if x.State == "sound" {
			sound++
		}
	}
	if !found.Sound() || sound != 1 {
		t.Errorf("damage %+v, indexes %+v", found.Damage, found.Indexes)
	}
	v.close(s)
}

// TestVerify_FindsEveryByteOfTheJournal: whichever byte is wrong, it is found, in its file.
func TestVerify_FindsEveryByteOfTheJournal(t *testing.T) {
	v, _ := onEverything(t)
	if found := v.verify(); !found.Sound() {
		t.Fatalf("before anything was changed: %+v", found.Damage)
	}
	for path, size := range v.segmentPaths() {
		for off := range size {
			c := v.copyOf()
			if err := c.fs.Flip(path, off); err != nil {
				t.Fatal(err)
			}
			found, err := Verify(t.Context(), VerifyOptions{Dir: "/store", StoreID: [16]byte{5}, Source: *c.source, Files: c.fs})
			if errors.Is(err, ErrNewer) && strings.Contains(err.Error(), filepath.Base(path)) {
				continue // of another version, nothing else is looked at
			}
			if err != nil {
				t.Fatal(err)
			}
			named := false
			for _, d := range found.Damage {
				named = named || d.File == path && d.Offset <= off && d.Means != "" && d.Held != ""
			}
			if !named {
				t.Fatalf("byte %d of %s: %+v", off, path, found)
			}
		}
	}
}

// TestVerify_HoldsTheIndexAgainstTheJournal: what an index says otherwise, although its own checksums are right, is found.
func TestVerify_HoldsTheIndexAgainstTheJournal(t *testing.T) {
	v := newLives(t)
	v.fillStore()
	for name, spoil := range map[string]func(*memIndexDisk){
		"a definition": func(d *memIndexDisk) {
			def := d.defs["setting"]
			def.Value = append(append([]byte(nil), def.Value...), 'x')
			d.defs["setting"] = def
		},
		"a definition that is not there": func(d *memIndexDisk) { delete(d.defs, "setting") },
		"a chunk": func(d *memIndexDisk) {
			key := index.ChunkID{Queue: uint64(q1), Number: 1}
			b := append([]byte(nil), d.chunks[key]...)
			b[len(b)-3]++
			d.chunks[key] = b
		},
		"a chunk that is not there": func(d *memIndexDisk) { delete(d.chunks, index.ChunkID{Queue: uint64(q1), Number: 1}) },
		"a queue": func(d *memIndexDisk) {
			q := d.queues[uint64(q2)]
			q.Next++
			d.queues[uint64(q2)] = q
		},
	} {
		t.Run(name, func(t *testing.T) {
			disk := v.index.clone()
			differ := func() (named []string) {
				check := &verifier{o: VerifyOptions{Dir: "/store", StoreID: [16]byte{5}, Source: *v.source, Files: v.fs, Logger: slog.New(slog.DiscardHandler)}, out: &Verified{}}
				if err := check.run(t.Context()); err != nil {
					t.Fatal(err)
				}
				found, _, err := check.journal(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				_ = check.compare(t.Context(), newMemIndex(v.fs, disk), found, func(held string, err error) { named = append(named, held+": "+err.Error()) })
				return named
			}
			if named := differ(); len(named) > 0 {
				t.Fatalf("before anything was changed: %v", named)
			}
			spoil(disk)
			if named := differ(); len(named) == 0 {
				t.Error("nothing was found")
			}
		})
	}
}

// TestIndexGone_Rebuilds: without an index, with an older one, and whichever byte of it is wrong, every message is there; what
// made it necessary is in the log.
func TestIndexGone_Rebuilds(t *testing.T) {
	v := newLives(t)
	dir := v.onDisk()
	want := v.fillStore()
	check := func(t *testing.T, harm func(t *testing.T, slot string), rebuilt bool) {
		t.Helper()
		c := *v
		c.t, c.log = t, &syncBuffer{}
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		c.edit = func(o *Options) { o.Dir, o.Files, o.openIndex = copied, journal.OSFiles(), nil }
		harm(t, filepath.Join(copied, "index", "baton"))
		s, err := c.try()
		if err != nil {
			t.Fatal(err)
		}
		missing, err := want.lost(s)
		if err != nil || len(missing) > 0 || s.Stats().Damaged > 0 {
			t.Errorf("%v are missing, %d damaged: %v", missing, s.Stats().Damaged, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if rebuilt && !strings.Contains(c.log.String(), "rebuilding the index from the journal") {
			t.Errorf("nothing said of a rebuild:\n%s", c.log)
		}
	}
	t.Run("no directory", func(t *testing.T) {
		check(t, func(t *testing.T, slot string) {
			t.Helper()
			if err := os.RemoveAll(filepath.Dir(slot)); err != nil {
				t.Fatal(err)
			}
		}, true)
	})
	t.Run("an older format", func(t *testing.T) {
		check(t, func(t *testing.T, slot string) {
			t.Helper()
			path := filepath.Join(slot, "STATE")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var state map[string]any
			if err := json.Unmarshal(b, &state); err != nil {
				t.Fatal(err)
			}
			state["format"] = -1
			if b, err = json.Marshal(state); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}, true)
	})
	names, err := filepath.Glob(filepath.Join(dir, "index", "baton", "db", "*"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	const flips = 8 // of each file
	for _, path := range names {
		name := filepath.Base(path)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() == 0 || strings.HasSuffix(name, ".vlog") {
			continue
		}
		for i := range int64(flips) {
			off := info.Size() * (2*i + 1) / (2 * flips)
			t.Run(name, func(t *testing.T) {
				check(t, func(t *testing.T, slot string) {
					t.Helper()
					f, err := os.OpenFile(filepath.Join(slot, "db", name), os.O_RDWR, 0)
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = f.Close() }()
					var b [1]byte
					if _, err := f.ReadAt(b[:], off); err != nil {
						t.Fatal(err)
					}
					b[0] ^= 0x10
					if _, err := f.WriteAt(b[:], off); err != nil {
						t.Fatal(err)
					}
				}, false)
			})
		}
	}
}

// TestRebuildIndex: what is made from the journal alone is what the next start goes on from.
func TestRebuildIndex(t *testing.T) {
	v := newLives(t)
	dir := v.onDisk()
	want := v.fillStore()
	if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
		t.Fatal(err)
	}
	opt := Options{Dir: dir, StoreID: [16]byte{5}, Source: v.source}
	if err := RebuildIndex(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	if found := v.verify(); !found.Sound() || len(found.Indexes) != 1 || found.Indexes[0].State != "sound" {
		t.Errorf("rebuilt: %+v", found)
	}
	s := v.open()
	if missing, err := want.lost(s); err != nil || len(missing) > 0 {
		t.Errorf("%v are missing: %v", missing, err)
	}
	if err := RebuildIndex(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "stop every broker") {
		t.Errorf("rebuilt under a running broker: %v", err)
	}
	v.close(s)
	if strings.Contains(v.log.String(), "rebuilding") {
		t.Errorf("rebuilt again:\n%s", v.log)
	}
}
