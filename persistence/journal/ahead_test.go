package journal_test

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/persistence/journal"
	"github.com/batonmq/baton/persistence/journal/crashfs"
)

const segmentSize = 1 << 20

// writing is a Writer whose operations on the disk are counted, those of its own handle and those of the one that fills.
type writing struct {
	fs    *crashfs.FS
	w     *journal.Writer
	opt   journal.WriterOptions
	own   counts
	ahead counts
	room  bool
	hold  chan struct{} // zeros are written when it is closed; nil: at once
}

type counts struct{ writes, syncs, bytes int }

type counting struct {
	journal.Files
	c *writing
}

type countingFile struct {
	journal.File
	n *counts
}

func (f counting) Create(path string) (journal.File, error) {
	file, err := f.Files.Create(path)
	return countingFile{file, &f.c.own}, err
}

func (f counting) OpenAhead(path string) (journal.File, error) {
	file, err := f.Files.OpenAhead(path)
	return aheadFile{countingFile{file, &f.c.ahead}, f.c}, err
}

type aheadFile struct {
	countingFile
	c *writing
}

func (f aheadFile) WriteAt(p []byte, off int64) (int, error) {
	if f.c.hold != nil {
		<-f.c.hold
	}
	return f.countingFile.WriteAt(p, off)
}

func (f countingFile) WriteAt(p []byte, off int64) (int, error) {
	f.n.writes++
	f.n.bytes += len(p)
	return f.File.WriteAt(p, off)
}

func (f countingFile) Sync() error {
	f.n.syncs++
	return f.File.Sync()
}

func newWriting() *writing {
	c := &writing{fs: crashfs.New(), room: true}
	c.fs.InPlace = true
	c.opt = journal.WriterOptions{
		Files: counting{c.fs, c}, Dir: "/j", Store: [16]byte{1}, Epoch: 1, SegmentSize: segmentSize,
		Header: func(*journal.Header) {}, Named: func(uint64) error { return nil },
		Room: func(int64) bool { return c.room },
	}
	c.w = journal.NewWriter(c.opt)
	return c
}

// group appends a group of about size bytes, and lets what it set off in the background end.
func (c *writing) group(t *testing.T, size int) {
	t.Helper()
	if err := c.tryGroup(size); err != nil {
		t.Fatal(err)
	}
}

func (c *writing) tryGroup(size int) error {
	b := journal.AppendDefine(journal.BeginGroup(nil), 0, 1, "k", slices.Repeat([]byte{0xff}, size))
	_, _, err := c.w.Append(b, 0, time.Unix(1, 0))
	synctest.Wait()
	return err
}

func (c *writing) fileSize(t *testing.T, n uint32) int64 {
	t.Helper()
	f, err := c.fs.Open("/j/" + journal.SegmentID{Epoch: 1, Number: n}.File())
	if err != nil {
		t.Fatal(err)
	}
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// read replays the epoch, and returns how many groups there are and what was cut.
func (c *writing) read(t *testing.T) (groups int, torn []journal.Torn) {
	t.Helper()
	r, err := journal.NewReader(journal.History{Files: c.fs, Dir: "/j", Store: [16]byte{1}, Source: 1})
	if err != nil {
		t.Fatal(err)
	}
	tail, err := r.Replay(journal.Position{}, func(*journal.Group) error { groups++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return groups + 1, tail.Torn
}

// TestAppend_OneWriteOneSync: a group costs the writer one write and one sync, also where zeros are ahead of it.
func TestAppend_OneWriteOneSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWriting()
		c.group(t, 100)
		before := c.own
		for range 100 {
			c.group(t, 1000)
		}
		if n := c.own.writes - before.writes; n != 100 {
			t.Errorf("%d writes for 100 groups", n)
		}
		if n := c.own.syncs - before.syncs; n != 100 {
			t.Errorf("%d syncs for 100 groups", n)
		}
		if c.ahead.writes == 0 {
			t.Error("no zeros were written ahead")
		}
	})
}

// TestAhead_Overwritten: once a segment is under way its short groups overwrite zeros, so that none of them makes the file longer, until it
// is nearly full; and what waits to be overwritten stays in proportion to it.
func TestAhead_Overwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWriting()
		for c.w.Position().Offset < 8192 {
			c.group(t, 500)
		}
		for c.w.Position().Offset < segmentSize-8192 {
			size := c.fileSize(t, 1)
			end := int64(c.w.Position().Offset)
			if size-end < 1000 {
				t.Fatalf("%d bytes of zeros are left at %d", size-end, end)
			}
			if size-end > min(end+end/2, segmentSize*3/32)+8192 {
				t.Fatalf("%d bytes of zeros at %d", size-end, end)
			}
			c.group(t, 500)
		}
		if n := c.ahead.bytes; n > segmentSize {
			t.Errorf("%d bytes of zeros were written in a segment of %d", n, segmentSize)
		}
	})
}

// TestAhead_NeverOverGroups: a group that is to stand where zeros are being written at that moment waits for them, and stays; one before
// them does not wait.
func TestAhead_NeverOverGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWriting()
		c.group(t, 100)
		c.hold = make(chan struct{})
		c.group(t, 1000) // zeros are to be written from 4096 on
		c.group(t, 1000)
		passed := make(chan error, 1)
		go func() {
			b := journal.AppendDefine(journal.BeginGroup(nil), 0, 1, "k", slices.Repeat([]byte{0xff}, 20_000))
			_, _, err := c.w.Append(b, 0, time.Unix(1, 0))
			passed <- err
		}()
		synctest.Wait()
		if len(passed) > 0 {
			t.Error("a group was written where zeros are being written")
		}
		close(c.hold)
		if err := <-passed; err != nil {
			t.Fatal(err)
		}
		c.group(t, 1000)
		if groups, torn := c.read(t); groups != 5 || torn != nil {
			t.Errorf("%d groups, torn %v, want 5", groups, torn)
		}
	})
}

// TestAhead_LongGroups: where groups have been long for a while, none of their bytes is written twice.
func TestAhead_LongGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWriting()
		for range 10 {
			c.group(t, 64<<10)
		}
		before := c.ahead.writes
		for range 20 {
			c.group(t, 64<<10)
		}
		if n := c.ahead.writes - before; n != 0 {
			t.Errorf("%d writes of zeros", n)
		}
	})
}

// TestAhead_GivenBack: a segment that has ended, and the one that is closed, end with their last group.
func TestAhead_GivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWriting()
		for range 50 {
			c.group(t, 1000)
		}
		end := int64(c.w.Position().Offset)
		top := c.fileSize(t, 1) - end - c.w.Ahead()
		if c.w.Ahead() == 0 {
			t.Fatal("no zeros were written ahead")
		}
		c.group(t, segmentSize)
		if got := c.fileSize(t, 1); got != top+end {
			t.Errorf("the first segment has %d bytes, want %d", got, top+end)
		}
		for range 300 { // until groups count as short again
			c.group(t, 1000)
		}
		if c.w.Ahead() == 0 {
			t.Fatal("no zeros were written ahead again")
		}
		last := c.fileSize(t, 3) - c.w.Ahead()
		if err := c.w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := c.fileSize(t, 3); got != last {
			t.Errorf("the last segment has %d bytes, want %d", got, last)
		}
	})
}

// TestAhead_NoTornTail: zeros behind the last group are the end of the journal, and nothing to speak of; anything else is.
func TestAhead_NoTornTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWriting()
		for range 50 {
			c.group(t, 1000)
		}
		if groups, torn := c.read(t); groups != 50 || torn != nil {
			t.Errorf("%d groups, torn %v", groups, torn)
		}
		path := "/j/" + journal.SegmentID{Epoch: 1, Number: 1}.File()
		f, err := c.fs.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		end := c.fileSize(t, 1) - c.w.Ahead()
		if _, err := f.WriteAt([]byte{0xff}, end+99); err != nil {
			t.Fatal(err)
		}
		groups, torn := c.read(t)
		if groups != 50 || len(torn) != 1 || torn[0].Offset != end || torn[0].Length != 100 {
			t.Errorf("%d groups, torn %v, want 100 bytes at %d", groups, torn, end)
		}
	})
}

// TestAhead_Faults: where there is no room for zeros the segment grows; what else goes wrong with them is final.
func TestAhead_Faults(t *testing.T) {
	eio := errors.New("input/output error")
	for _, tt := range []struct {
		name  string
		kind  crashfs.Kind
		err   error
		final bool
	}{
		{"disk full", crashfs.Write, syscall.ENOSPC, false},
		{"quota", crashfs.Write, syscall.EDQUOT, false},
		{"disk full, told late", crashfs.Sync, syscall.ENOSPC, false},
		{"write", crashfs.Write, eio, true},
		{"sync", crashfs.Sync, eio, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newWriting()
				c.group(t, 100)
				// The next group is written and synced, then zeros are.
				own := 0
				c.fs.Decide = func(op crashfs.Op) crashfs.Verdict {
					if op.Kind != tt.kind {
						return crashfs.Verdict{}
					}
					if own++; own == 2 {
						return crashfs.Verdict{Err: tt.err}
					}
					return crashfs.Verdict{}
				}
				c.group(t, 1000)
				if own < 2 {
					t.Fatal("no zeros were written ahead")
				}
				err := c.tryGroup(1000)
				if !tt.final && err != nil || tt.final && !errors.Is(err, tt.err) {
					t.Errorf("the next group: %v", err)
				}
				if err != nil && !strings.Contains(err.Error(), "0000000001-0000000001.seg") {
					t.Errorf("%q does not name the segment", err)
				}
			})
		})
	}
}

// TestAhead_NoRoom: zeros are not written when the disk is short of space, or where overwriting them gains nothing.
func TestAhead_NoRoom(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*writing)
	}{
		{"no room", func(c *writing) { c.room = false }},
		{"not in place", func(c *writing) { c.fs.InPlace = false }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newWriting()
				tt.set(c)
				for range 50 {
					c.group(t, 1000)
				}
				if c.ahead.writes != 0 || c.w.Ahead() != 0 {
					t.Errorf("%d writes of zeros", c.ahead.writes)
				}
			})
		})
	}
}
