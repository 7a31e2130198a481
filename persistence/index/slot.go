package index

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A slot is a directory:
//
//	LOCK       locked while a process holds the slot
//	STATE      how far the slot is and who holds it; written with every checkpoint, and only ever a hint
//	OPENING    how many opens were not followed by a good end; absent: none
//	CONDEMNED  why the index in it must not be used; absent: it may be tried
//	db/        Badger's directory
const (
	lockFile      = "LOCK"
	stateFile     = "STATE"
	openingFile   = "OPENING"
	condemnedFile = "CONDEMNED"
)

const (
	// maxOpens is how often a slot is opened without coming to a good end before it is emptied. A damaged table can end the process
	// inside Badger, in a goroutine of its own; without this every start would end the same way.
	maxOpens = 5
	// suspectAfter is after how many of them every block of every table is verified first.
	suspectAfter = 2
	// trustAfter is after how many checkpoints an open has come to a good end.
	trustAfter = 3
)

// slot is a slot that this process holds.
type slot struct {
	dir, name string
	lock      *os.File // nil where locks do not work
	fresh     bool     // nothing was in it
	doubt     string   // why what is in it is not used; "" when it may be tried
	state     state
	applied   int // checkpoints since open
}

// state is the content of STATE.
type state struct {
	Format   int      `json:"format"`
	Store    string   `json:"store"`
	Position Position `json:"position"`
	Owner    string   `json:"owner"` // a random mark of the process that holds the slot
}

// errHeld says that another process holds a slot's lock; errNoLocks that locks do not work there.
var (
	errHeld    = errors.New("held by another process")
	errNoLocks = errors.New("file locks do not work here")
)

// claim finds the most advanced free slot, or makes one.
func claim(o *Options) (*slot, error) {
	own := slotName(o.Node)
	names, err := slotNames(o.Dir)
	if err != nil {
		return nil, err
	}
	var best *slot
	for _, name := range names {
		s, err := hold(o, name)
		switch {
		case errors.Is(err, errNoLocks):
			best.release()
			return unlocked(o, own)
		case err != nil:
			o.Logger.Debug("index slot is not free", slog.String("slot", name), slog.Any("err", err))
		case name != own && (s.state.Store != o.StoreID || s.state.Format != format):
			s.release() // nothing in it is of use, and it is another node's
		case best == nil || s.better(best, own):
			best.release()
			best = s
		default:
			s.release()
		}
	}
	if best == nil {
		best, err = makeSlot(o, own)
		if err != nil {
			return nil, err
		}
	}
	return best, best.adopt(o)
}

// slotName turns a node's name into one that every file system takes.
func slotName(node string) string {
	name := url.PathEscape(node)
	if strings.HasPrefix(name, ".") {
		name = "%2E" + name[1:]
	}
	return strings.ReplaceAll(name, ":", "%3A")
}

func slotNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(dir, e.Name(), lockFile)); e.IsDir() && err == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// better reports whether s is to be preferred to t: the more advanced one, and of two alike the one that bears our name.
func (s *slot) better(t *slot, own string) bool {
	if c := s.state.Position.Compare(t.state.Position); c != 0 {
		return c > 0
	}
	return s.name == own
}

// makeSlot makes a slot with our name, or, when a live process of the same name holds that, with a number behind it.
func makeSlot(o *Options, own string) (*slot, error) {
	for i := 1; ; i++ {
		name := own
		if i > 1 {
			name += "-" + strconv.Itoa(i)
		}
		if err := os.MkdirAll(filepath.Join(o.Dir, name), 0o750); err != nil {
			return nil, err
		}
		s, err := hold(o, name)
		switch {
		case errors.Is(err, errNoLocks):
			return unlocked(o, own)
		case !errors.Is(err, errHeld):
			return s, err
		}
	}
}

// hold locks a slot. The lock counts only if the file is still the one at its path: who removes an idle slot removes it under its lock.
func hold(o *Options, name string) (*slot, error) {
	s := &slot{dir: filepath.Join(o.Dir, name), name: name}
	path := filepath.Join(s.dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.lock = f
	held, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Stat(path); err == nil && !os.SameFile(held, there) {
			err = errHeld
		}
	}
	if err != nil {
		s.release()
		return nil, err
	}
	s.readState()
	return s, nil
}

// unlocked returns the slot with our name where locks do not work.
func unlocked(o *Options, own string) (*slot, error) {
	o.Logger.Warn("file locks do not work for the index: its slot is this node's by name alone", slog.String("slot", own))
	s := &slot{dir: filepath.Join(o.Dir, own), name: own}
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return nil, err
	}
	s.readState()
	return s, s.adopt(o)
}

// readState reads STATE. What cannot be read is no state: the root decides in the end.
func (s *slot) readState() {
	b, err := os.ReadFile(filepath.Join(s.dir, stateFile))
	if err == nil && json.Unmarshal(b, &s.state) != nil {
		s.state = state{}
	}
}

// adopt looks at what is in a slot that is held now, and marks it as ours.
func (s *slot) adopt(o *Options) error {
	_, err := os.Stat(filepath.Join(s.dir, "db"))
	s.fresh = errors.Is(err, os.ErrNotExist)
	condemned, condErr := os.ReadFile(filepath.Join(s.dir, condemnedFile))
	switch {
	case s.fresh:
		s.doubt = "the slot is new"
	case condErr == nil:
		s.doubt = string(condemned)
	case s.state.Format != 0 && s.state.Format != format:
		s.doubt = fmt.Sprintf("it has format %d, not %d", s.state.Format, format)
	case s.state.Store != "" && s.state.Store != o.StoreID:
		s.doubt = fmt.Sprintf("it belongs to store %q, not %q", s.state.Store, o.StoreID)
	case s.opens() >= maxOpens:
		s.doubt = fmt.Sprintf("it was opened %d times without coming to a good end", s.opens())
	}
	s.state.Format, s.state.Store, s.state.Owner = format, o.StoreID, rand.Text()
	return s.writeState()
}

// writeState replaces STATE. It is not synced: it is a hint.
func (s *slot) writeState() error {
	b, err := json.Marshal(s.state)
	if err != nil {
		return fmt.Errorf("encode the slot's state: %w", err)
	}
	path := filepath.Join(s.dir, stateFile)
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o640); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// checkOwner returns an error when another process has taken the slot, which locks that exclude would have prevented.
func (s *slot) checkOwner() error {
	var now slot
	now.dir = s.dir
	now.readState()
	if now.state.Owner != s.state.Owner {
		return errors.New("another process has taken the slot: file locks do not exclude it on this file system; give each node its own name and mount with locks")
	}
	return nil
}

// finished records that a checkpoint was finished.
func (s *slot) finished(p Position) error {
	if s.applied++; s.applied == trustAfter {
		s.endOpen()
	}
	s.state.Position = p
	return s.writeState()
}

// opens returns how many opens were not followed by a good end.
func (s *slot) opens() int {
	b, err := os.ReadFile(filepath.Join(s.dir, openingFile))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return maxOpens // written and not readable: no good end either
	}
	return n
}

// beginOpen counts an open before anything of it can go wrong.
func (s *slot) beginOpen() error {
	return os.WriteFile(filepath.Join(s.dir, openingFile), []byte(strconv.Itoa(s.opens()+1)+"\n"), 0o640)
}

// endOpen records that the open came to a good end. Where it cannot be recorded, the worst is a rebuild.
func (s *slot) endOpen() { _ = os.Remove(filepath.Join(s.dir, openingFile)) }

// condemn makes the next open start empty. It is as durable as can be had: the process is about to end.
func (s *slot) condemn(reason string) {
	f, err := os.Create(filepath.Join(s.dir, condemnedFile))
	if err != nil {
		return // the disk that failed the index may fail this too; the root still decides
	}
	_, _ = f.WriteString(reason)
	_ = f.Sync()
	_ = f.Close()
}

// clear empties the slot but for its lock.
func (s *slot) clear() error {
	s.state.Position = Position{}
	if err := s.writeState(); err != nil {
		return err
	}
	for _, name := range []string{"db", condemnedFile, openingFile} {
		if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// release lets another process have the slot.
func (s *slot) release() {
	if s != nil && s.lock != nil {
		_ = s.lock.Close() // closing releases the lock
		s.lock = nil
	}
}

// removeIdle removes slots that were not touched for longer than age, by the file system's own clock: that of the host may be another.
func removeIdle(o *Options, own *slot, age time.Duration) ([]string, error) {
	if own.lock == nil {
		return nil, nil
	}
	if err := own.writeState(); err != nil {
		return nil, fmt.Errorf("remove idle index slots: %w", err)
	}
	now, err := lastUse(own.dir)
	if err != nil {
		return nil, fmt.Errorf("remove idle index slots: %w", err)
	}
	names, err := slotNames(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("remove idle index slots: %w", err)
	}
	var removed []string
	for _, name := range names {
		if name == own.name {
			continue
		}
		gone, err := removeIfIdle(o, name, now.Add(-age))
		if err != nil {
			return removed, fmt.Errorf("remove idle index slot %s: %w", name, err)
		}
		if gone {
			removed = append(removed, name)
		}
	}
	return removed, nil
}

// removeIfIdle removes one slot, under its lock, if nobody holds it and it was last used before then.
func removeIfIdle(o *Options, name string, then time.Time) (bool, error) {
	s, err := hold(o, name)
	if err != nil {
		return false, nil // held: in use
	}
	defer s.release()
	used, err := lastUse(s.dir)
	if err != nil || used.After(then) {
		return false, err
	}
	for _, part := range []string{"db", stateFile, stateFile + ".new", openingFile, condemnedFile, lockFile} {
		if err := os.RemoveAll(filepath.Join(s.dir, part)); err != nil {
			return false, err
		}
	}
	return true, os.Remove(s.dir)
}

// lastUse returns when a slot's STATE, or for want of it the slot, was last written.
func lastUse(dir string) (time.Time, error) {
	fi, err := os.Stat(filepath.Join(dir, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		fi, err = os.Stat(dir)
	}
	if err != nil {
		return time.Time{}, err
	}
	return fi.ModTime(), nil
}
