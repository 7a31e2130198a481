package persistence

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal/crashfs"
)

// copyStore copies the store of v, with what its lease would say, into /copy.
func (v *lives) copyStore() (Copied, error) {
	return Copy(context.WithoutCancel(v.t.Context()), CopyOptions{
		Dir: "/store", StoreID: [16]byte{5}, Source: *v.source, Target: "/copy", TargetID: [16]byte{6}, Files: v.fs,
	})
}

// openCopy opens what a copy says that it is.
func (v *lives) openCopy(c Copied, edit func(*Options)) (*Store, error) {
	opt := Options{
		Dir: "/copy", StoreID: [16]byte{6}, Epoch: c.Source.Epoch + 1, Source: &c.Source, Files: v.fs, SegmentSize: 4096,
		openIndex: func(*Options) (indexer, error) { return newMemIndex(v.fs, newMemIndexDisk()), nil },
	}
	if edit != nil {
		edit(&opt)
	}
	return Open(v.t.Context(), opt)
}

// TestCopy: a copy holds what the store held, also one whose history began long ago, and the store goes on as if there were none.
func TestCopy(t *testing.T) {
	v := newLives(t)
	v.edit = func(o *Options) { o.slack = 1 }
	s := v.open()
	commit(t, s, define("q", q1), publish(1, "old"))
	fill(t, s, 2, 40)
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	v.kill(s)
	s = v.open() // of two epochs
	fill(t, s, 41, 60)
	commit(t, s, publish(61, "new"))
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	commit(t, s, publish(62, "newer"))
	v.ended(s)

	done, err := v.copyStore()
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, settle(1, 1), publish(63, "later"))
	c, err := v.openCopy(done, nil)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, tell(t, c, q1), "1:old*1 61:new*1 62:newer*1")
	commit(t, c, publish(70, "its own"))
	expect(t, tell(t, c, q1), "1:old*1 61:new*1 62:newer*1 70:its own*0")
	expect(t, tell(t, s, q1), "61:new*0 62:newer*0 63:later*0")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	v.close(s)
}

// TestCopy_IsAnotherStore: no file of a copy passes for one of the original.
func TestCopy_IsAnotherStore(t *testing.T) {
	v := newLives(t)
	s := v.open()
	commit(t, s, define("q", q1), publish(1, "a"))
	v.close(s)
	done, err := v.copyStore()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.openCopy(done, func(o *Options) { o.StoreID = [16]byte{5} }); err == nil || !strings.Contains(err.Error(), "belongs to store") {
		t.Errorf("under the original's identity: %v", err)
	}
	if _, err := v.openCopy(done, func(o *Options) { o.Dir = "/store" }); err == nil || !strings.Contains(err.Error(), "belongs to store") {
		t.Errorf("the original under the copy's: %v", err)
	}
	_, err = Copy(t.Context(), CopyOptions{Dir: "/store", StoreID: [16]byte{5}, TargetID: [16]byte{5}, Source: *v.source, Target: "/c", Files: v.fs})
	if err == nil || !strings.Contains(err.Error(), "identity of its own") {
		t.Errorf("a copy with the original's identity: %v", err)
	}
}

// TestCopy_WhileItIsWritten: copies are made while messages pass, files are carried forward and vanish. Each holds what had been promised
// before it began and was not settled before it ended, and nothing whose settle had been promised before it began.
func TestCopy_WhileItIsWritten(t *testing.T) {
	v := newLives(t)
	v.edit = func(o *Options) { o.slack = 1 }
	s := v.open()
	commit(t, s, define("q", q1))
	v.ended(s)
	src := *v.source

	var mu sync.Mutex
	published, settled := core.Seq(0), core.Seq(0) // promised up to here
	stop, writing := make(chan struct{}), sync.WaitGroup{}
	writing.Go(func() {
		for seq := core.Seq(1); ; seq++ {
			select {
			case <-stop:
				return
			default:
			}
			err := tryCommit(s, publish(seq, strings.Repeat("x", 300)))
			mu.Lock()
			published = seq
			mu.Unlock()
			if seq > 8 {
				err = errors.Join(err, tryCommit(s, settle(seq-8, seq-8)))
				mu.Lock()
				settled = seq - 8
				mu.Unlock()
			}
			if seq%50 == 0 {
				err = errors.Join(err, s.checkpoint())
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := 0; i < 20 || s.Stats().Reclaimed < 10; i++ {
		mu.Lock()
		publishedBefore, settledBefore := published, settled
		mu.Unlock()
		done, err := Copy(t.Context(), CopyOptions{
			Dir: "/store", StoreID: [16]byte{5}, Source: src, Target: fmt.Sprintf("/copy%d", i), TargetID: [16]byte{6}, Files: v.fs,
		})
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		settledAfter := settled + 1 // the next one may have been on its way
		mu.Unlock()
		c, err := v.openCopy(done, func(o *Options) { o.Dir = fmt.Sprintf("/copy%d", i) })
		if err != nil {
			t.Fatal(err)
		}
		entries, err := c.Load(q1, 0, ^core.Seq(0), 1000, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		there := make(map[core.Seq]bool)
		for _, e := range entries {
			there[e.Seq] = true
			if e.Seq <= settledBefore {
				t.Errorf("copy %d: %d was settled before, and is back", i, e.Seq)
			}
		}
		for seq := settledAfter + 1; seq <= publishedBefore; seq++ {
			if !there[seq] {
				t.Errorf("copy %d: %d was promised before, and is not there", i, seq)
			}
		}
		_ = c.Close() // never activated: nothing to write
	}
	close(stop)
	writing.Wait()
	v.close(s)
}

// TestCopy_BeginsAgain: a file that vanishes while the files are being opened, as one that is reclaimed does, makes the copy look again.
func TestCopy_BeginsAgain(t *testing.T) {
	v := newLives(t)
	s := v.open()
	commit(t, s, define("q", q1))
	fill(t, s, 1, 40)
	commit(t, s, publish(41, "a"))
	v.ended(s)
	reclaimed := false
	v.fs.DecideRead = func(op crashfs.Op) crashfs.Verdict {
		if op.Kind != crashfs.Open || reclaimed || !strings.HasSuffix(op.Path, "-0000000001.seg") {
			return crashfs.Verdict{}
		}
		reclaimed = true
		gone, wait := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(wait)
			if err := s.checkpoint(); err != nil {
				t.Error(err)
			}
		}()
		go func() {
			<-wait
			close(gone)
		}()
		return crashfs.Verdict{Wait: gone}
	}
	done, err := v.copyStore()
	if err != nil {
		t.Fatal(err)
	}
	if !reclaimed || s.Stats().Reclaimed == 0 {
		t.Fatal("nothing was removed while the copy was made")
	}
	v.fs.DecideRead = nil
	c, err := v.openCopy(done, nil)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, tell(t, c, q1), "41:a*1")
	_ = c.Close() // never activated: nothing to write
	v.close(s)
}

// TestCopy_NewestVanishes: if the newest file has vanished by the time it is to be opened, the files before it are no history.
func TestCopy_NewestVanishes(t *testing.T) {
	v := newLives(t)
	v.edit = func(o *Options) { o.slack = 1 }
	s := v.open()
	commit(t, s, define("q", q1), publish(1, "a"))
	fill(t, s, 2, 10)
	commit(t, s, settle(1, 1))
	v.ended(s)
	newest := fmt.Sprintf("e0000000001-%010d.seg", v.named)
	gone := make(chan struct{})
	moved := false
	v.fs.DecideRead = func(op crashfs.Op) crashfs.Verdict {
		if moved || op.Kind != crashfs.Open || !strings.HasSuffix(op.Path, newest) {
			return crashfs.Verdict{}
		}
		moved = true
		go func() {
			defer close(gone)
			fill(t, s, 11, 40)
			if err := s.checkpoint(); err != nil {
				t.Error(err)
			}
		}()
		return crashfs.Verdict{Wait: gone}
	}
	done, err := v.copyStore()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.fs.Open("/store/journal/" + newest); err == nil || !moved {
		t.Fatal("the newest file did not vanish")
	}
	v.fs.DecideRead = nil
	c, err := v.openCopy(done, nil)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, tell(t, c, q1), "")
	_ = c.Close() // never activated: nothing to write
	v.close(s)
}

// TestCopy_Refuses: what is damaged or missing is named, and not copied.
func TestCopy_Refuses(t *testing.T) {
	for name, harm := range map[string]func(*lives) error{
		"a flipped byte":      func(v *lives) error { return v.fs.Flip("/store/journal/e0000000001-0000000002.seg", 900) },
		"a file that is gone": func(v *lives) error { return v.fs.Remove("/store/journal/e0000000001-0000000002.seg") },
	} {
		t.Run(name, func(t *testing.T) {
			v := newLives(t)
			s := v.open()
			commit(t, s, define("q", q1))
			for seq := core.Seq(1); seq <= 40; seq++ {
				commit(t, s, publish(seq, strings.Repeat("x", 500)))
			}
			v.close(s)
			if err := harm(v); err != nil {
				t.Fatal(err)
			}
			_, err := v.copyStore()
			if e, ok := errors.AsType[*DamageError](err); !ok || e.File != "e0000000001-0000000002.seg" {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestCopy_FaultsOfTheTarget: a copy that could not be written whole is an error.
func TestCopy_FaultsOfTheTarget(t *testing.T) {
	for _, kind := range []crashfs.Kind{crashfs.Create, crashfs.Write, crashfs.Sync, crashfs.SyncDir} {
		v := newLives(t)
		s := v.open()
		commit(t, s, define("q", q1), publish(1, "a"))
		v.close(s)
		v.fs.Decide = func(op crashfs.Op) crashfs.Verdict {
			if op.Kind == kind && strings.HasPrefix(op.Path, "/copy") {
				return crashfs.Verdict{Err: fs.ErrInvalid}
			}
			return crashfs.Verdict{}
		}
		if _, err := v.copyStore(); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
