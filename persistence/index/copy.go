package index

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

// ErrHeld says that a live process holds a slot.
var ErrHeld = errors.New("a running broker holds it")

// Slots returns the names of the slots in dir; none where there is no such directory.
func Slots(dir string) ([]string, error) {
	names, err := slotNames(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return names, err
}

// Held returns the names of the slots in dir that live processes hold.
func Held(dir string) ([]string, error) {
	names, err := Slots(dir)
	if err != nil {
		return nil, err
	}
	o := Options{Dir: dir}
	var held []string
	for _, name := range names {
		switch _, err := o.look(name); {
		case errors.Is(err, ErrHeld):
			held = append(held, name)
		case err != nil:
			return nil, err
		}
	}
	return held, nil
}

// OpenCopy copies a slot to the directory temp and opens the copy: whatever Badger does to it, the slot stays as it is. While a process
// holds the slot, the error is ErrHeld: a copy of files that change is none. The slot is not held meanwhile, so that a broker that starts
// finds it free. used tells whether a checkpoint of this format was ever finished in it.
func OpenCopy(ctx context.Context, o Options, slot, temp string) (x *Index, used bool, err error) {
	before, err := o.look(slot)
	if err != nil {
		return nil, false, err
	}
	from, to := filepath.Join(o.Dir, slot), filepath.Join(temp, slot)
	if err := copySlot(from, to); err != nil {
		return nil, false, fmt.Errorf("copy index slot %s: %w", from, err)
	}
	after, err := o.look(slot)
	if err != nil {
		return nil, false, err
	}
	if after != before {
		return nil, false, ErrHeld // and it was let go of already
	}
	node, err := url.PathUnescape(slot)
	if err != nil {
		return nil, false, fmt.Errorf("copy index slot %s: %w", from, err)
	}
	o.Dir, o.Node = temp, node
	x, err = Open(ctx, o)
	return x, before.Format == format && before.Position != Position{}, err
}

// look returns the state of a slot that nobody holds.
func (o *Options) look(name string) (state, error) {
	s, err := hold(o, name)
	switch {
	case errors.Is(err, errHeld):
		return state{}, ErrHeld
	case errors.Is(err, errNoLocks):
		unheld := slot{dir: filepath.Join(o.Dir, name)}
		unheld.readState()
		return unheld.state, nil
	case err != nil:
		return state{}, fmt.Errorf("look at index slot %s: %w", name, err)
	}
	defer s.release()
	return s.state, nil
}

// copySlot copies what is in a slot but for its lock.
func copySlot(from, to string) error {
	if err := os.MkdirAll(filepath.Join(to, "db"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(to, lockFile), nil, 0o600); err != nil {
		return err
	}
	for _, name := range []string{stateFile, openingFile, condemnedFile} {
		if err := copyFile(filepath.Join(from, name), filepath.Join(to, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	entries, err := os.ReadDir(filepath.Join(from, "db"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if err := copyFile(filepath.Join(from, "db", e.Name()), filepath.Join(to, "db", e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}
