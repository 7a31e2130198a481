package persistence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal"
	"github.com/batonmq/baton/persistence/journal/crashfs"
)

// TestDamagedMessage_Withheld: a message whose bytes changed is named and not handed out; its neighbours are.
func TestDamagedMessage_Withheld(t *testing.T) {
	v := newLives(t)
	s := v.open()
	commit(t, s, define("q", q1), publish(1, "first"), publish(2, "second"), publish(3, "third"))
	path := filepath.Join("/store", "journal", "e0000000001-0000000001.seg")
	if err := v.fs.Flip(path, find(t, v.fs, path, "second")); err != nil {
		t.Fatal(err)
	}
	expect(t, tell(t, s, q1), "1:first*0 3:third*0")
	if s.Stats().Damaged != 1 || !strings.Contains(v.log.String(), "e0000000001-0000000001.seg") {
		t.Errorf("damaged %d, log:\n%s", s.Stats().Damaged, v.log)
	}
	v.close(s)
}

// find returns where text stands in a file.
func find(t *testing.T, files journal.Files, path, text string) int64 {
	t.Helper()
	f, err := files.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte(text))
	if at < 0 {
		t.Fatalf("%q is not in %s", text, path)
	}
	return int64(at)
}

// TestDamagedJournal_Refused: what was promised and cannot be read ends the start with the place, unless it is a message with others
// behind it, which is lost for itself; a torn tail does not.
func TestDamagedJournal_Refused(t *testing.T) {
	for _, c := range []struct {
		name     string
		flip     string // the byte to change
		promised bool   // the lease says that everything was promised
		damaged  bool
		left     string
	}{
		{"a definition with others behind it", "value of q", false, true, ""},
		{"a message with others behind it", "early", false, false, "2:last*1"},
		{"the last group, promised", "last", true, true, ""},
		{"the last group, not promised", "last", false, false, "1:early*1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newLives(t)
			s := v.open()
			commit(t, s, define("q", q1), publish(1, "early"))
			commit(t, s, publish(2, "last"))
			v.kill(s)
			if !c.promised {
				v.source.Promised = 0
			}
			path := filepath.Join("/store", "journal", "e0000000001-0000000001.seg")
			if err := v.fs.Flip(path, find(t, v.fs, path, c.flip)); err != nil {
				t.Fatal(err)
			}
			s, err := v.try()
			damage, is := errors.AsType[*DamageError](err)
			if is != c.damaged {
				t.Fatalf("%v, want damage %v", err, c.damaged)
			}
			if is && (damage.File != "e0000000001-0000000001.seg" || damage.Offset == 0) {
				t.Errorf("damage is not located: %+v", damage)
			}
			if !is {
				expect(t, tell(t, s, q1), c.left)
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestMissingSegment_IsDamage: also when the index does not need the file, because a consumer would.
func TestMissingSegment_IsDamage(t *testing.T) {
	for number, name := range map[uint32]string{1: "in the middle", 4: "the last one named"} {
		t.Run(name, func(t *testing.T) {
			v := newLives(t)
			s := v.open()
			commit(t, s, define("q", q1))
			for seq := core.Seq(1); v.named < 4; seq++ {
				commit(t, s, publish(seq, strings.Repeat("x", 900)))
			}
			if err := s.checkpoint(); err != nil {
				t.Fatal(err)
			}
			v.kill(s)
			id := journal.SegmentID{Epoch: 1, Number: number}
			if err := v.fs.Remove(filepath.Join("/store", "journal", id.File())); err != nil {
				t.Fatal(err)
			}
			_, err := v.try()
			if damage, is := errors.AsType[*DamageError](err); !is || damage.File != id.File() {
				t.Errorf("%v, want damage of %s", err, id.File())
			}
		})
	}
}

// TestUnreadableJournal_KeepsTheIndex: what no rebuild can cure does not cost the index.
func TestUnreadableJournal_KeepsTheIndex(t *testing.T) {
	v := newLives(t)
	s := v.open()
	commit(t, s, define("q", q1), publish(1, "a"))
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	commit(t, s, publish(2, "early"), define("other", 0))
	commit(t, s, publish(3, "late"))
	v.kill(s)
	path := filepath.Join("/store", "journal", v.segments()[0])
	at := find(t, v.fs, path, "value of other")
	if err := v.fs.Flip(path, at); err != nil {
		t.Fatal(err)
	}
	_, err := v.try()
	if _, is := errors.AsType[*DamageError](err); !is || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "backup") {
		t.Errorf("%v, want damage of %s and what to do", err, path)
	}
	if v.index.root == nil || len(v.index.chunks) == 0 {
		t.Error("the index was emptied")
	}
	if err := v.fs.Flip(path, at); err != nil { // the trouble is over
		t.Fatal(err)
	}
	before := strings.Count(v.log.String(), "rebuilding")
	s = v.open()
	expect(t, tell(t, s, q1), "1:a*1 2:early*1 3:late*1")
	v.close(s)
	if strings.Count(v.log.String(), "rebuilding") != before {
		t.Errorf("rebuilt:\n%s", v.log)
	}
}

// TestTornTail_IsNamed: what is cut off is said, with file, place and length.
func TestTornTail_IsNamed(t *testing.T) {
	v := newLives(t)
	s := v.open()
	commit(t, s, define("q", q1), publish(1, "a"))
	v.kill(s)
	path := filepath.Join("/store", "journal", v.segments()[0])
	f, err := v.fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{7}, 40), size); err != nil {
		t.Fatal(err)
	}
	s = v.open()
	expect(t, tell(t, s, q1), "1:a*1")
	v.close(s)
	if want := fmt.Sprintf("file=%s offset=%d length=40", path, size); !strings.Contains(v.log.String(), want) {
		t.Errorf("%q is not in the log:\n%s", want, v.log)
	}
}

// TestLineage_EndsWithTheSegments: epochs of which no segment is left are not carried along, the source always is.
func TestLineage_EndsWithTheSegments(t *testing.T) {
	v := newLives(t)
	v.edit = func(o *Options) { o.slack = 1 }
	s := v.open()
	commit(t, s, define("q", q1), publish(1, "stays"))
	v.close(s)
	for n := range core.Seq(12) {
		s = v.open()
		fill(t, s, 100*n+10, 100*n+30)
		if err := s.checkpoint(); err != nil {
			t.Fatal(err)
		}
		v.close(s)
	}
	s = v.open()
	lineage := s.Lineage()
	if n := len(lineage); n == 0 || n > 3 || lineage[n-1].Epoch != v.epoch-1 {
		t.Errorf("lineage of epoch %d: %v", v.epoch, lineage)
	}
	expect(t, tell(t, s, q1), "1:stays*0")
	v.close(s)
}

func TestNewerFormat_Refused(t *testing.T) {
	v := newLives(t)
	s := v.open()
	commit(t, s, define("q", q1))
	v.kill(s)
	f, err := v.fs.Open("/store/journal/e0000000001-0000000001.seg")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(binary.LittleEndian.AppendUint32(nil, journal.Format+1), 8); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("0.9.1\x00"), 16); err != nil {
		t.Fatal(err)
	}
	if _, err := v.try(); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "Baton 0.9.1 and later") {
		t.Errorf("%v, want ErrNewer and the version to start", err)
	}
}

// TestOrphans_Refused: with the history lost, a journal that holds something is not taken for empty and not removed; what an epoch left
// that never began is no obstacle.
func TestOrphans_Refused(t *testing.T) {
	v := newLives(t)
	if _, err := v.try(); err != nil { // never activated
		t.Fatal(err)
	}
	s := v.open()
	commit(t, s, define("q", q1))
	v.kill(s)
	v.source = nil
	if _, err := v.try(); !errors.Is(err, ErrOrphans) {
		t.Errorf("%v, want ErrOrphans", err)
	}
}

// TestRemainders_RemovedWhenActivated: files of epochs that never became active go, but only then.
func TestRemainders_RemovedWhenActivated(t *testing.T) {
	v := newLives(t)
	v.close(v.open())
	if s, err := v.try(); err != nil {
		t.Fatal(err)
	} else if err := s.Close(); err != nil { // epoch 2 was never activated
		t.Fatal(err)
	}
	s := v.open()
	v.close(s) // waits for the checkpointer, whose first work it is
	names, err := v.fs.Names("/store/journal")
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(names, "e0000000002-0000000001.seg") || !slices.Contains(names, "e0000000003-0000000001.seg") {
		t.Errorf("left: %v", names)
	}
}

// TestIndexFull_CheckpointWaits: without room the index stays as it was, no file goes, and what was to be in it is there later.
func TestIndexFull_CheckpointWaits(t *testing.T) {
	v := newLives(t)
	s := v.open()
	x := s.index.(*memIndex)
	commit(t, s, define("q", q1))
	fill(t, s, 1, 40)
	commit(t, s, publish(41, "a"))
	segments := s.Stats().Segments
	x.full = true
	for range 2 {
		if err := s.checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Stats().Segments; len(v.index.chunks) != 0 || n < segments {
		t.Errorf("the index is full, but %d chunks are in it and %d of %d segments are left", len(v.index.chunks), n, segments)
	}
	commit(t, s, publish(42, "b"))
	x.full = false
	for range 2 {
		if err := s.checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Stats().Segments; n >= segments {
		t.Errorf("%d of %d segments are left once there is room", n, segments)
	}
	v.kill(s)
	s = v.open()
	expect(t, tell(t, s, q1), "41:a*1 42:b*1")
	v.close(s)
	if log := v.log.String(); strings.Contains(log, "rebuilding") {
		t.Errorf("rebuilt:\n%s", log)
	}
}

// TestIndexInDoubt_Rebuilds: a value of the index that is not understood costs a rebuild, no message.
func TestIndexInDoubt_Rebuilds(t *testing.T) {
	for name, spoil := range map[string]func(*memIndexDisk){
		"a segment": func(d *memIndexDisk) {
			for k := range d.segments {
				d.segments[k] = []byte{stateFormat + 1}
			}
		},
		"a definition": func(d *memIndexDisk) {
			for k, v := range d.defs {
				v.Value = v.Value[:3]
				d.defs[k] = v
			}
		},
		"a queue":                           func(d *memIndexDisk) { clear(d.queues) },
		"the root":                          func(d *memIndexDisk) { d.root.Meta = nil },
		"a root that is no part of history": func(d *memIndexDisk) { d.root.Position.Offset += 8 },
	} {
		t.Run(name, func(t *testing.T) {
			v := newLives(t)
			s := v.open()
			commit(t, s, define("q", q1), publish(1, "a"))
			v.close(s)
			spoil(v.index)
			s = v.open()
			expect(t, tell(t, s, q1), "1:a*0")
			v.close(s)
			if log := v.log.String(); !strings.Contains(log, "rebuilding") {
				t.Errorf("nothing said of a rebuild:\n%s", log)
			}
		})
	}
}

// TestIndexBroken_IsFinal: a chunk that the index should have and does not makes what is in memory worthless.
func TestIndexBroken_IsFinal(t *testing.T) {
	v := newLives(t)
	s := v.open()
	commit(t, s, define("q", q1))
	for seq := range core.Seq(shortChunk + 1) { // so many that the chunk is not read at once
		commit(t, s, publish(1+seq, "a"))
	}
	v.close(s)
	s = v.open()
	broken := errors.New("wrong checksum")
	s.index.(*memIndex).broken = broken
	if err := tryCommit(s, settle(1, 1)); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
	<-s.Failed()
	if err := s.Close(); !errors.Is(err, broken) {
		t.Errorf("close: %v", err)
	}
}

func TestOptions_Refused(t *testing.T) {
	good := Options{Dir: "/store", Epoch: 2, Files: crashfs.New()}
	for name, edit := range map[string]func(*Options){
		"no directory":                   func(o *Options) { o.Dir = "" },
		"no epoch":                       func(o *Options) { o.Epoch = 0 },
		"an epoch too high":              func(o *Options) { o.Epoch = 1 << 32 },
		"a source that is not before it": func(o *Options) { o.Source = &Source{Epoch: 2} },
		"segments smaller than a page":   func(o *Options) { o.SegmentSize = 100 },
	} {
		opt := good
		edit(&opt)
		if _, err := Open(t.Context(), opt); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
