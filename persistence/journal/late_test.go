package journal_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/persistence/journal"
	"github.com/batonmq/baton/persistence/journal/crashfs"
)

// lateFiles show what another host has made late, as a client of a network file system does.
type lateFiles struct {
	*crashfs.FS
	from   time.Time
	unseen string        // a file whose name is not seen at first: "" none
	hidden bool          // nor is it by its path
	size   int64         // of files, at first; 0: the true one
	zeros  int64         // that were at their end, at first
	seen   time.Duration // after from
	late   time.Duration // what Late tells
}

func (l *lateFiles) yet() bool           { return time.Since(l.from) >= l.seen }
func (l *lateFiles) Late() time.Duration { return l.late }

func (l *lateFiles) Names(dir string) ([]string, error) {
	names, err := l.FS.Names(dir)
	if !l.yet() {
		names = slices.DeleteFunc(names, func(n string) bool { return n == l.unseen })
	}
	return names, err
}

func (l *lateFiles) Open(path string) (journal.File, error) {
	if l.hidden && !l.yet() && filepath.Base(path) == l.unseen {
		return nil, fs.ErrNotExist
	}
	f, err := l.FS.Open(path)
	return lateFile{f, l}, err
}

type lateFile struct {
	journal.File
	l *lateFiles
}

func (f lateFile) Size() (int64, error) {
	if f.l.size > 0 && !f.l.yet() {
		return f.l.size, nil
	}
	size, err := f.File.Size()
	if !f.l.yet() {
		size += f.l.zeros
	}
	return size, err
}

// TestReader_WaitsForWhatMustBeThere: what the lease names is looked for again before it is called damage, and nothing that was promised is
// missing from a replay that begins too early.
func TestReader_WaitsForWhatMustBeThere(t *testing.T) {
	const groups = 20
	cases := []struct {
		name   string
		late   func(l *lateFiles, second string)
		wait   bool // whether it takes as long as what is late
		damage bool
	}{
		{name: "everything is there", late: func(*lateFiles, string) {}},
		{name: "the named segment is not listed", late: func(l *lateFiles, second string) { l.unseen = second }, wait: true},
		{name: "it is listed and cannot be opened", late: func(l *lateFiles, second string) { l.unseen, l.hidden = second, true }, wait: true},
		{name: "the size is old", late: func(l *lateFiles, _ string) { l.size = 4096 }, wait: true},
		{name: "the size is that of an empty file", late: func(l *lateFiles, _ string) { l.size = 1 }, wait: true},
		{name: "it never appears", late: func(l *lateFiles, second string) { l.unseen, l.seen = second, time.Hour }, wait: true, damage: true},
		{name: "the size never changes", late: func(l *lateFiles, _ string) { l.size, l.seen = 4096, time.Hour }, wait: true, damage: true},
		{name: "the zeros ahead were cut off since", late: func(l *lateFiles, _ string) { l.zeros, l.seen = 4096, time.Hour }},
		{name: "nothing is late on these files", late: func(l *lateFiles, second string) { l.unseen, l.late = second, 0 }, damage: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWriting()
				w.opt.Header = func(h *journal.Header) {
					for n := uint32(1); n < h.ID.Number; n++ { // there are two segments
						h.Kept = append(h.Kept, journal.Kept{ID: journal.SegmentID{Epoch: 1, Number: n}, End: h.First})
					}
				}
				w.w = journal.NewWriter(w.opt)
				for range groups {
					w.group(t, segmentSize/16)
				}
				end := w.w.Position()
				names, err := w.fs.Names("/j")
				if err != nil || len(names) != 2 {
					t.Fatalf("segments %v, %v; want two", names, err)
				}
				slices.Sort(names)
				l := &lateFiles{FS: w.fs, from: time.Now(), seen: time.Second, late: 3 * time.Second}
				c.late(l, names[len(names)-1])
				read, err := replayNamed(l, uint64(len(names)), end.Offset)
				took := time.Since(l.from)
				if _, damaged := errors.AsType[*journal.DamageError](err); damaged != c.damage || err != nil && !damaged {
					t.Fatalf("replay: %v, want damage %v", err, c.damage)
				}
				if err == nil && read != groups {
					t.Errorf("%d groups were read, want %d", read, groups)
				}
				if waited := took > 0; waited != c.wait || took > l.late+time.Second {
					t.Errorf("it took %v, want to wait %v", took, c.wait)
				}
				if c.damage && !strings.Contains(err.Error(), "journal damaged") {
					t.Error(err)
				}
			})
		})
	}
}

func replayNamed(files journal.Files, named, promised uint64) (groups int, err error) {
	r, err := journal.NewReader(journal.History{Files: files, Dir: "/j", Store: [16]byte{1}, Source: 1, Named: named, Promised: promised})
	if err != nil {
		return 0, err
	}
	_, err = r.Replay(journal.Position{}, func(*journal.Group) error { groups++; return nil })
	return groups + 1, err // the last one is not applied
}
