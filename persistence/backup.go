package persistence

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/batonmq/baton/persistence/journal"
)

// A copy of a store is made from its files alone, also while another process writes them. Three things make it consistent:
//
//   - All files are opened before any is read, the newest last. What is removed from then on can still be read, and what was removed just
//     before is named in the newest one; a name that has vanished between makes the copy begin again, before anything is written.
//   - It ends at the group that was the last one readable right after that. Whatever had been promised when the copy began is before it.
//   - It is a history like that of a process that was killed there: what opens it needs to know nothing of copies.
//
// The copy is another store, with an identity of its own: the two go on from the same history under the same epochs, so that their files
// would otherwise fit into one another.

// CopyOptions say what is copied where to.
type CopyOptions struct {
	// Dir is the store's directory, StoreID its identity and Source what of its journal is history.
	Dir     string
	StoreID [16]byte
	Source  Source
	// Target is the directory of the copy, which has no journal, and TargetID its identity, which is not StoreID.
	Target   string
	TargetID [16]byte

	// Logger gets the progress. Nil: none.
	Logger *slog.Logger
	// Files is the I/O seam. Nil: the operating system's files.
	Files journal.Files
}

// Copied is a copy that is on stable storage and was read back.
type Copied struct {
	Source   Source // what of the copy's journal is history
	Segments int
	Groups   int
	Bytes    int64
}

// Copy copies the journal of a store that may be running. A copy that returns an error is worthless: nobody may declare it history.
// Damage in the journal is an error.
func Copy(ctx context.Context, o CopyOptions) (Copied, error) {
	if o.Files == nil {
		o.Files = journal.OSFiles()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.TargetID == o.StoreID {
		return Copied{}, errors.New("copy the journal: the copy needs an identity of its own")
	}
	frozen, r, err := o.freeze(ctx)
	if err != nil {
		return Copied{}, fmt.Errorf("read the journal in %s: %w", o.Dir, err)
	}
	defer frozen.close()
	done, err := o.write(ctx, r)
	if err != nil {
		return Copied{}, fmt.Errorf("copy the journal of %s to %s: %w", o.Dir, o.Target, err)
	}
	if err := o.verify(ctx, &done); err != nil {
		return Copied{}, fmt.Errorf("read the copy in %s back: %w", o.Target, err)
	}
	return done, nil
}

func (o *CopyOptions) journal() string       { return filepath.Join(o.Dir, "journal") }
func (o *CopyOptions) targetJournal() string { return filepath.Join(o.Target, "journal") }

// freezeTries bounds how often files may vanish while all of them are being opened. Each try takes milliseconds; files are removed every
// few seconds.
const freezeTries = 20

// freeze opens the journal as it is at one moment.
func (o *CopyOptions) freeze(ctx context.Context) (*frozen, *journal.Reader, error) {
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return nil, nil, context.Cause(ctx)
		}
		f, r, err := o.tryFreeze()
		if err == nil || !errors.Is(err, fs.ErrNotExist) || try == freezeTries {
			return f, r, err
		}
	}
}

func (o *CopyOptions) tryFreeze() (*frozen, *journal.Reader, error) {
	f, err := freezeDir(o.Files, o.journal())
	if err != nil {
		return nil, nil, err
	}
	r, err := journal.NewReader(journal.History{
		Files: f, Dir: o.journal(), Store: o.StoreID,
		Lineage: o.Source.Lineage, Source: uint32(o.Source.Epoch), Named: o.Source.Segment, Promised: o.Source.Promised,
	})
	if err == nil {
		err = f.cutNewest(r)
	}
	if err != nil {
		f.close()
		return nil, nil, err
	}
	return f, r, nil
}

// write copies what r replays, the last group included.
func (o *CopyOptions) write(ctx context.Context, r *journal.Reader) (Copied, error) {
	if err := o.Files.MkdirAll(o.targetJournal()); err != nil {
		return Copied{}, err
	}
	c := journal.NewCopier(r, o.Files, o.targetJournal(), o.TargetID)
	groups, said := 0, time.Now()
	each := func(g *journal.Group) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		groups++
		if time.Since(said) >= progressEvery {
			said = time.Now()
			o.Logger.Info("copying the journal", slog.String("position", g.At.String()), slog.Int("groups", groups))
		}
		return c.Group(g)
	}
	tail, err := r.Replay(journal.Position{}, each)
	if err == nil {
		err = each(&tail.Last)
	}
	segments, bytes, last, closeErr := c.Close()
	if err := errors.Join(err, closeErr); err != nil {
		return Copied{}, err
	}
	src := o.Source
	src.Segment, src.Promised = uint64(last.Number), tail.Last.End().Offset
	if tail.Last.Time.After(src.Time) {
		src.Time = tail.Last.Time
	}
	return Copied{Source: src, Segments: segments, Groups: groups, Bytes: bytes}, nil
}

// verify reads the copy as a start would, and finds as many groups in it.
func (o *CopyOptions) verify(ctx context.Context, c *Copied) error {
	r, err := journal.NewReader(journal.History{
		Files: o.Files, Dir: o.targetJournal(), Store: o.TargetID,
		Lineage: c.Source.Lineage, Source: uint32(c.Source.Epoch), Named: c.Source.Segment, Promised: c.Source.Promised,
	})
	if err != nil {
		return err
	}
	groups := 1 // the last one, which a replay holds back
	tail, err := r.Replay(journal.Position{}, func(g *journal.Group) error {
		groups++
		if g.Damage != nil {
			return g.Damage
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if groups != c.Groups || tail.Last.End().Offset != c.Source.Promised {
		return fmt.Errorf("%d groups up to %v are there, %d up to %d were copied", groups, tail.Last.End(), c.Groups, c.Source.Promised)
	}
	return nil
}

// frozen is a journal's directory as it was at one moment, for reading: its files are open, so that it does not matter who removes them,
// and do not grow.
type frozen struct {
	journal.Files

	files map[string]*frozenFile
}

type frozenFile struct {
	journal.File

	size int64
}

// Size is the file's length at the moment.
func (f *frozenFile) Size() (int64, error) { return f.size, nil }

// Close does nothing: who opened the file for all of its readers closes it.
func (f *frozenFile) Close() error { return nil }

// freezeDir opens the segments in dir, the newest last. One that has vanished is left out, as the newest one tells that it is gone; if
// that has vanished itself, fs.ErrNotExist: those before it would pass for a history that ended earlier.
func freezeDir(files journal.Files, dir string) (*frozen, error) {
	names, err := files.Names(dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	f := &frozen{Files: files, files: make(map[string]*frozenFile)}
	newest := make(map[uint32]error) // of each epoch: what came of opening it
	for _, name := range names {
		id, ok := journal.ParseFile(name)
		if !ok {
			continue
		}
		err := f.hold(files, dir, name)
		newest[id.Epoch] = err
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	for _, err := range newest {
		if err != nil {
			f.close()
			return nil, err
		}
	}
	return f, nil
}

// hold opens one file.
func (f *frozen) hold(files journal.Files, dir, name string) error {
	file, err := files.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	held := &frozenFile{File: file}
	f.files[name] = held
	held.size, err = file.Size()
	return err
}

// cutNewest leaves of the newest segment what is whole by now.
func (f *frozen) cutNewest(r *journal.Reader) error {
	id, end, err := r.NewestEnd()
	if err == nil {
		f.files[id.File()].size = end
	}
	return err
}

// endWith cuts the file that holds a group off behind it.
func (f *frozen) endWith(g *journal.Group) {
	f.files[g.Segment.File()].size = g.FileOff + int64(g.End().Offset-g.At.Offset)
}

// Names lists what was found.
func (f *frozen) Names(string) ([]string, error) {
	names := make([]string, 0, len(f.files))
	for name := range f.files {
		names = append(names, name)
	}
	return names, nil
}

// Open returns the file that was opened.
func (f *frozen) Open(path string) (journal.File, error) {
	if file, ok := f.files[filepath.Base(path)]; ok {
		return file, nil
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

// close closes all files: they were only read.
func (f *frozen) close() {
	for _, file := range f.files {
		_ = file.File.Close()
	}
}
