package storagecheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/batonmq/baton/ha"
)

// exclusiveness races for names with the other side: of two that link a file, or
// rename a directory, to one name, one wins, and knows it.
func (l *lead) exclusiveness(ctx context.Context) error {
	n := l.opt.Rounds
	if _, err := l.box.ask(ctx, message{Op: opReady, N: int64(n)}); err != nil {
		return err
	}
	us := entrant{l.files, l.dir, leadBox, n}
	if err := us.prepare(); err != nil {
		return err
	}
	mine, theirs, err := l.race(ctx, &us)
	if err != nil {
		return err
	}
	if len(mine) != len(theirs) || len(mine) != 2*n {
		return fmt.Errorf("a race of %d names has %d and %d results", 2*n, len(mine), len(theirs))
	}
	for kind, name := range []string{"link", "rename"} {
		both, none, wrong, won := 0, 0, 0, 0
		for i := range n {
			a, b := mine[kind*n+i], theirs[kind*n+i]
			path := raced(l.dir, kind*n+i)
			if name == "rename" {
				path = filepath.Join(path, "mark")
			}
			who, err := l.winner(path)
			switch {
			case err != nil && !errors.Is(err, fs.ErrNotExist):
				return err
			case a && b:
				both++
			case !a && !b:
				none++
			case a && who != leadBox, b && who != partnerBox:
				wrong++
			}
			if a {
				won++
			}
		}
		if both+none+wrong > 0 {
			l.report.add("exclusive "+name, Fail, nil, "of %d names raced for, %d were won by both, %d by nobody, %d by another than was told", n, both, none, wrong)
		} else {
			l.report.add("exclusive "+name, Pass, nil, "of %d names raced for, each was won by one: %d by the lead", n, won)
		}
	}
	return nil
}

// race has both sides place the same few names at the same time, again and again:
// when the partner is asked to, it begins half a round trip later, and so does this
// side.
func (l *lead) race(ctx context.Context, us *entrant) (mine, theirs []bool, err error) {
	type result struct {
		answer message
		err    error
	}
	for first := 0; first < 2*us.n; first += raceNames {
		begun := time.Now()
		if _, err := l.box.ask(ctx, message{Op: opHello}); err != nil {
			return nil, nil, err
		}
		trip := time.Since(begun)
		their := make(chan result, 1)
		go func() {
			answer, err := l.box.ask(ctx, message{Op: opRace, N: int64(first)})
			their <- result{answer, err}
		}()
		err := pause(ctx, trip/2)
		if err == nil {
			mine = append(mine, us.run(first)...)
		}
		answer := <-their
		if err := errors.Join(err, answer.err); err != nil {
			return nil, nil, err
		}
		theirs = append(theirs, answer.answer.Wins...)
	}
	return mine, theirs, nil
}

func (l *lead) winner(path string) (string, error) {
	f, err := l.files.Open(path, false)
	if err != nil {
		return "", err
	}
	page := ha.AlignedPages(1)
	_, err = f.ReadAt(page, 0)
	return string(bytes.TrimRight(page, "\x00")), errors.Join(err, f.Close())
}

// entrant is one side of a race for names. Everything it places was made before, so
// that nothing but the placing is raced.
type entrant struct {
	files ha.Files
	dir   string
	who   string
	n     int
}

// raceNames is how many names are raced for at once: few, as one side falls behind.
const raceNames = 8

// temp is what is placed in place i: of 2n, the first n are files, the others
// directories.
func (e *entrant) temp(i int) string {
	return filepath.Join(e.dir, fmt.Sprintf("race-%s-%d", e.who, i))
}

// raced is the name that both sides try to give.
func raced(dir string, i int) string { return filepath.Join(dir, fmt.Sprintf("race-%d", i)) }

// prepare makes n files and n directories that hold who made them.
func (e *entrant) prepare() error {
	mark := ha.AlignedPages(1)
	copy(mark, e.who)
	write := func(path string) error {
		f, err := e.files.Open(path, true)
		if err != nil {
			return err
		}
		return errors.Join(f.Write(mark, 0, true), f.Close())
	}
	for i := range 2 * e.n {
		path := e.temp(i)
		if i >= e.n {
			if err := e.files.Mkdir(path); err != nil {
				return err
			}
			path = filepath.Join(path, "mark")
		}
		if err := write(path); err != nil {
			return err
		}
	}
	return nil
}

// run gives raceNames of them, from the first on, their names, and tells for which
// it was told that it had won.
func (e *entrant) run(first int) (wins []bool) {
	for i := first; i < min(first+raceNames, 2*e.n); i++ {
		wins = append(wins, e.files.Place(e.temp(i), raced(e.dir, i)) == nil)
	}
	return wins
}
