package storagecheck

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/batonmq/baton/ha"
)

// lead is the side that asks.
type lead struct {
	files  ha.Files
	opt    Options
	dir    string
	box    *box
	report *Report
}

func beUint32(b []byte) uint32       { return binary.BigEndian.Uint32(b) }
func putUint32(b []byte, n int)      { binary.BigEndian.PutUint32(b, uint32(n)) }
func (l *lead) path(n string) string { return filepath.Join(l.dir, n) }

// until looks again and again, up to a TTL, and tells how long it took; false in
// the figures' sense, a TTL, if it never was.
func (l *lead) until(ctx context.Context, look func() (bool, error)) (time.Duration, error) {
	begun := time.Now()
	for {
		ok, err := look()
		took := time.Since(begun)
		if ok || err != nil || took > l.opt.TTL {
			return took, err
		}
		if err := pause(ctx, pollEvery); err != nil {
			return took, err
		}
	}
}

// visibility holds that a synced write is seen by every later fresh read, of the
// other side, through a name and through a descriptor that was open before.
func (l *lead) visibility(ctx context.Context) (err error) {
	open, err := l.files.Open(l.path("cell"), false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, open.Close()) }()
	mine, err := l.files.Open(l.path("answer"), false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mine.Close()) }()
	var reads []time.Duration
	old, torn := 0, 0
	count := func(got int64, err error, want int64) error {
		switch {
		case errors.Is(err, errTorn):
			torn++
		case err != nil:
			return err
		case got != want:
			old++
		}
		return nil
	}
	for i := int64(1); i <= int64(l.opt.Rounds); i++ {
		if _, err := l.box.ask(ctx, message{Op: opWrite, Names: []string{"cell"}, N: i}); err != nil {
			return err
		}
		begun := time.Now()
		got, readErr := readOpenCell(open)
		reads = append(reads, time.Since(begun))
		if err := count(got, readErr, i); err != nil {
			return err
		}
		got, readErr = readCell(l.files, l.path("cell"))
		if err := count(got, readErr, i); err != nil {
			return err
		}
		if err := writeCell(mine, i); err != nil {
			return err
		}
		answer, err := l.box.ask(ctx, message{Op: opRead, Names: []string{"answer"}})
		if err != nil {
			return err
		}
		if err := count(answer.N, nil, i); err != nil {
			return err
		}
	}
	verdict, detail := Pass, "every synced write was seen by the next fresh read of the other side"
	if old+torn > 0 {
		verdict, detail = Fail, fmt.Sprintf("after a synced write %d fresh reads of the other side were old and %d partly old, of %d", old, torn, 3*l.opt.Rounds)
	}
	l.report.add("visibility", verdict, spread("fresh read", reads), "%s", detail)
	return nil
}

// cost measures a synced write, which every group of records needs.
func (l *lead) cost(context.Context) error {
	f, err := l.files.Open(l.path("answer"), false)
	if err != nil {
		return err
	}
	var writes []time.Duration
	for i := range int64(l.opt.Rounds) {
		begun := time.Now()
		if err := writeCell(f, i); err != nil {
			return errors.Join(err, f.Close())
		}
		writes = append(writes, time.Since(begun))
	}
	slices.Sort(writes)
	verdict, detail := Pass, "writes are synced"
	switch {
	case writes[len(writes)/2] < 15*time.Microsecond:
		verdict, detail = Note, "a synced write is faster than any disk: this is memory, or a cache that does not survive a power cut"
	case writes[(len(writes)-1)*9/10] > l.opt.TTL/5:
		verdict, detail = Fail, fmt.Sprintf("of ten synced writes one takes longer than a renewal of the lease may, %v", l.opt.TTL/5)
	case writes[len(writes)-1] > l.opt.TTL/5:
		verdict, detail = Note, fmt.Sprintf("now and then a synced write takes longer than a renewal of the lease should, %v: give ha.ttl more room", l.opt.TTL/5)
	}
	l.report.add("synced writes", verdict, spread("write", writes), "%s", detail)
	return f.Close()
}

// sameFile holds that one file is the same through two descriptors, by which a
// fence that was replaced is told.
func (l *lead) sameFile(context.Context) error {
	different := 0
	first, err := l.files.Open(l.path("cell"), false)
	if err != nil {
		return err
	}
	for range l.opt.Rounds {
		again, err := l.files.Open(l.path("cell"), false)
		if err != nil {
			return errors.Join(err, first.Close())
		}
		same, err := again.Same(first)
		if err = errors.Join(err, again.Close()); err != nil {
			return errors.Join(err, first.Close())
		}
		if !same {
			different++
		}
	}
	if different > 0 {
		l.report.add("file identity", Fail, nil, "a file had another inode %d times of %d when it was opened again: a primary would take its own fence for another's", different, l.opt.Rounds)
	} else {
		l.report.add("file identity", Pass, nil, "a file opened again is the same")
	}
	return first.Close()
}

// staleness measures what is not relied upon: plain reads, sizes and listings of
// what the other side changed. Only a new name must not stay hidden for a TTL.
func (l *lead) staleness(ctx context.Context) error {
	var reads, sizes, names, opens []time.Duration
	for i := range min(l.opt.Rounds, 20) {
		name := fmt.Sprintf("new-%d", i)
		size, err := l.look(name) // so that caches hold the state before
		if err != nil {
			return err
		}
		if _, err := l.box.ask(ctx, message{Op: opPlain, Names: []string{"plain"}, N: 100}); err != nil {
			return err
		}
		if _, err := l.box.ask(ctx, message{Op: opMake, Names: []string{name}}); err != nil {
			return err
		}
		for _, m := range []struct {
			into *[]time.Duration
			seen func() (bool, error)
		}{
			{&opens, func() (bool, error) { return l.exists(name) }},
			{&reads, func() (bool, error) {
				b, err := os.ReadFile(l.path("plain"))
				return int64(len(b)) > size, err
			}},
			{&sizes, func() (bool, error) {
				info, err := os.Stat(l.path("plain"))
				return err == nil && info.Size() > size, err
			}},
			{&names, func() (bool, error) {
				all, err := l.files.Names(l.dir)
				return slices.Contains(all, name), err
			}},
		} {
			took, err := l.until(ctx, m.seen)
			if err != nil {
				return err
			}
			*m.into = append(*m.into, took)
		}
	}
	late := slices.Max(opens)
	figures := map[string]float64{
		"open": ms(late), "read": ms(slices.Max(reads)), "size": ms(slices.Max(sizes)), "listing": ms(slices.Max(names)),
	}
	switch worst := max(late, slices.Max(reads), slices.Max(sizes), slices.Max(names)); {
	case late > l.opt.TTL:
		l.report.add("staleness", Fail, figures, "a file that the other side made could not be opened for a ttl, %v", l.opt.TTL)
	case worst > 50*time.Millisecond:
		l.report.add("staleness", Note, figures, "what the other side changed is seen late by plain means, on which nothing relies")
	default:
		l.report.add("staleness", Pass, figures, "what the other side changed is seen at once by plain means, too")
	}
	return nil
}

// look fills the caches, and returns the size of the plain file.
func (l *lead) look(name string) (int64, error) {
	if _, err := l.exists(name); err != nil {
		return 0, err
	}
	if _, err := l.files.Names(l.dir); err != nil {
		return 0, err
	}
	b, err := os.ReadFile(l.path("plain"))
	return int64(len(b)), err
}

func (l *lead) exists(name string) (bool, error) {
	f, err := l.files.Open(l.path(name), false)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

// locks tries whether a lock of one side keeps the other from it, and goes when it
// is released. Locks are a hint: without them a takeover waits for the ttl.
func (l *lead) locks(ctx context.Context) error {
	f, err := l.files.Open(l.path("lock"), false)
	if err != nil {
		return err
	}
	if err := f.Lock(); errors.Is(err, errors.ErrUnsupported) {
		l.report.add("locks", Note, nil, "there are none: a takeover after a crash takes a ttl")
		return f.Close()
	} else if err != nil {
		return errors.Join(err, f.Close())
	}
	seen, err := l.box.ask(ctx, message{Op: opLocked, Names: []string{"lock"}})
	if err != nil {
		return errors.Join(err, f.Close())
	}
	taken, err := l.box.ask(ctx, message{Op: opLock, Names: []string{"lock"}})
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if taken.Wins[0] {
		if _, err := l.box.ask(ctx, message{Op: opUnlock}); err != nil {
			return err
		}
	}
	if !seen.Wins[0] || taken.Wins[0] {
		l.report.DoubtLocks = true
		l.report.add("locks", Note, nil, "a lock of one side does not keep the other side from it (seen %v, taken twice %v)", seen.Wins[0], taken.Wins[0])
		return nil
	}
	took, err := l.until(ctx, func() (bool, error) {
		a, err := l.box.ask(ctx, message{Op: opLocked, Names: []string{"lock"}})
		return err == nil && !a.Wins[0], err
	})
	if err != nil {
		return err
	}
	l.report.add("locks", Pass, map[string]float64{"free after": ms(took)}, "a lock excludes the other side, and is free once released")
	return nil
}

// watchLock is for how long a lock of a living holder is watched. One kernel's own
// locks do not vanish by themselves, so that a glance is enough there.
const (
	watchLock       = time.Second
	watchLocalLocks = 50 * time.Millisecond
)

// killedHolder lets a process on the partner's host hold a lock and then kills it.
func (l *lead) killedHolder(ctx context.Context) error {
	if l.report.DoubtLocks || l.report.Checks[len(l.report.Checks)-1].Verdict != Pass {
		return nil
	}
	if _, err := l.box.ask(ctx, message{Op: opHold, Names: []string{"held"}}); err != nil {
		return err
	}
	f, err := l.files.Open(l.path("held"), false)
	if err != nil {
		return err
	}
	vanished, err := l.vanishes(ctx, f)
	if err == nil {
		_, err = l.box.ask(ctx, message{Op: opKill})
	}
	var took time.Duration
	if err == nil {
		took, err = l.until(ctx, func() (bool, error) {
			locked, err := f.Locked()
			return !locked, err
		})
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	figures := map[string]float64{"free after": ms(took)}
	switch {
	case vanished:
		l.report.DoubtLocks = true
		l.report.add("kill -9", Note, figures, "a lock vanished while its holder lived")
	case took > l.opt.TTL:
		l.report.add("kill -9", Note, figures, "the lock of a killed process lingers: a takeover after a crash takes a ttl")
	default:
		l.report.add("kill -9", Pass, figures, "the lock of a killed process is free")
	}
	return nil
}

// vanishes watches a lock that is held, and looks often also where looking is slow.
func (l *lead) vanishes(ctx context.Context, f ha.File) (bool, error) {
	end := time.Now().Add(watchLock)
	for looks := 0; looks < 20 || time.Now().Before(end); looks++ {
		locked, err := f.Locked()
		if err != nil || !locked {
			return !locked, err
		}
		if err := pause(ctx, 10*pollEvery); err != nil {
			return false, err
		}
	}
	return false, nil
}
