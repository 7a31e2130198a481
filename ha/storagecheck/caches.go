package storagecheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/batonmq/baton/ha"
)

// lookUps is how many files are looked up before they change. Each has a name of
// its own: what a client keeps of a name, it keeps from the first time on.
const lookUps = 20

// lookedUp holds that a fresh read is fresh also just after this side has looked
// the file up by its name, and read it plainly: a client may keep the content of a
// small file then, and answer what should go past every cache.
func (l *lead) lookedUp(ctx context.Context) error {
	old := 0
	for i := range int64(lookUps) {
		name := fmt.Sprintf("looked-up-%d", i)
		if _, err := l.box.ask(ctx, message{Op: opMake, Names: []string{name}}); err != nil {
			return err
		}
		n, err := l.oldAfter(ctx, name, i%2 == 0)
		if err != nil {
			return err
		}
		old += n
	}
	if old > 0 {
		l.report.add("looked up", Fail, nil, "of %d fresh reads of files that this side had looked up before, %d were old: a cache of small files answers them; turn it off", 2*lookUps, old)
	} else {
		l.report.add("looked up", Pass, nil, "fresh reads of files that this side had looked up before were fresh")
	}
	return nil
}

// oldAfter looks a new file up, has it changed and counts the fresh reads, through
// the open file and by its name, that do not show the change.
func (l *lead) oldAfter(ctx context.Context, name string, plainly bool) (old int, err error) {
	f, err := l.files.Open(l.path(name), false)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if plainly {
		if _, err := os.ReadFile(l.path(name)); err != nil {
			return 0, err
		}
	}
	if _, err := l.box.ask(ctx, message{Op: opFill, Names: []string{name}, N: 1}); err != nil {
		return 0, err
	}
	for _, read := range []func() (int64, error){
		func() (int64, error) { return readOpenCell(f) },
		func() (int64, error) { return readCell(l.files, l.path(name)) },
	} {
		switch n, err := read(); {
		case err != nil && !errors.Is(err, errTorn):
			return old, err
		case n != 1:
			old++
		}
	}
	return old, nil
}

// growth holds that what the other side appends to a file, and syncs, is read
// freshly: a journal is read so. First the file's mode is set to what it is, as a
// kernel answers reads beyond the size it knows by itself, and a change of the file
// brings the true size from its server.
func (l *lead) growth(ctx context.Context) error {
	const step = 300 // so that most appends share a page
	f, err := l.files.Open(l.path("growing"), false)
	if err != nil {
		return err
	}
	var reads []time.Duration
	short := 0
	for i := range int64(l.opt.Rounds) {
		if _, err := l.box.ask(ctx, message{Op: opPlain, Names: []string{"growing"}, N: step}); err != nil {
			return errors.Join(err, f.Close())
		}
		begun := time.Now()
		there, err := l.tail(f, "growing", int64(pageSize)+i*step, step)
		if err != nil {
			return errors.Join(err, f.Close())
		}
		reads = append(reads, time.Since(begun))
		if !there {
			short++
		}
	}
	if short > 0 {
		l.report.add("growing files", Fail, spread("read", reads), "of %d synced appends of the other side %d were not seen by the next fresh read", l.opt.Rounds, short)
	} else {
		l.report.add("growing files", Pass, spread("read", reads), "every synced append was seen by the next fresh read of the other side")
	}
	return f.Close()
}

// pageSize is how long a file is that create makes of one page.
const pageSize = 4096

// tail reports whether a file holds the n bytes that it grew by at off.
func (l *lead) tail(f ha.File, name string, off, n int64) (bool, error) {
	info, err := os.Stat(l.path(name))
	if err == nil {
		err = os.Chmod(l.path(name), info.Mode().Perm())
	}
	if err != nil {
		return false, err
	}
	from := off - off%pageSize
	pages := ha.AlignedPages(2)
	got, err := f.ReadAt(pages, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return int64(got) >= off-from+n && !bytes.ContainsFunc(pages[off-from:off-from+n], func(r rune) bool { return r != grown }), nil
}
