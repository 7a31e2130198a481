package persistence

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/index"
	"github.com/batonmq/baton/persistence/journal"
)

// VerifyOptions say which store is verified.
type VerifyOptions struct {
	// Dir is the store's directory, StoreID its identity and Source what of its journal is history.
	Dir     string
	StoreID [16]byte
	Source  Source
	// Temp is where indexes are copied to, one after the other, because reading one changes it. Empty: the system's directory for that.
	Temp string

	// Logger gets the progress. Nil: none.
	Logger *slog.Logger
	// Files is the I/O seam of the journal. Nil: the operating system's files.
	Files journal.Files
}

// Verified is what Verify has found.
type Verified struct {
	Segments    []VerifiedSegment `json:"segments"`
	Groups      int               `json:"groups"`
	Records     int               `json:"records"`
	Bytes       int64             `json:"bytes"`
	Queues      int               `json:"queues"`
	Messages    int64             `json:"messages"`    // live places: a message counts once for each queue it is in
	Definitions int               `json:"definitions"` // queues and what else is kept under a key
	Indexes     []VerifiedIndex   `json:"indexes"`
	Damage      []Damage          `json:"damage"`
	Notes       []string          `json:"notes"` // what is worth knowing and no damage
}

// VerifiedSegment is a segment that is history.
type VerifiedSegment struct {
	File    string `json:"file"`
	Groups  int    `json:"groups"`
	Records int    `json:"records"`
	Bytes   int64  `json:"bytes"` // of its groups
}

// VerifiedIndex is an index slot. State is "sound", or why it was not looked at, or why a start would not use it.
type VerifiedIndex struct {
	Slot     string `json:"slot"`
	State    string `json:"state"`
	Position string `json:"position,omitempty"`
	Queues   int    `json:"queues,omitempty"`
	Chunks   int    `json:"chunks,omitempty"`
}

// Damage is a place that does not hold what was written there.
type Damage struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Length int    `json:"length,omitempty"` // 0: not known
	Held   string `json:"held"`
	Error  string `json:"error"`
	Means  string `json:"means"` // what a start makes of it
}

// What a start makes of damage.
const (
	meansNothing    = "nothing is lost"
	meansQuarantine = "the message is lost: a start names it and goes on"
	meansRefusal    = "a start that reads it is refused, unless --salvage gives it up"
	meansFinal      = "a start is refused, and --salvage does not help: nothing can be read without it"
	meansRebuild    = "the index is rebuilt from the journal"
)

// Sound reports whether nothing is damaged.
func (v *Verified) Sound() bool { return len(v.Damage) == 0 }

// Verify reads a store's whole journal, and every index of which it can have a copy, and holds the one against the other. It changes
// nothing, and a broker may be running meanwhile: what that writes on is left out. An error says that it could not be read; what is wrong
// with it is in Verified.
func Verify(ctx context.Context, o VerifyOptions) (*Verified, error) {
	if o.Files == nil {
		o.Files = journal.OSFiles()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	v := &verifier{o: o, out: &Verified{}}
	if err := v.run(ctx); err != nil {
		return nil, fmt.Errorf("verify store %s: %w", o.Dir, err)
	}
	return v.out, nil
}

// verifier is one Verify.
type verifier struct {
	o      VerifyOptions
	out    *Verified
	reader *journal.Reader
	store  *Store // as much of one as a replay needs
	again  bool   // the journal is being read once more: its damage is known
}

func (v *verifier) run(ctx context.Context) error {
	dir := filepath.Join(v.o.Dir, "journal")
	files, err := freezeDir(v.o.Files, dir)
	if err != nil {
		return err
	}
	defer files.close()
	v.store = &Store{
		opt: Options{Dir: v.o.Dir, StoreID: v.o.StoreID, Source: &v.o.Source, Files: files, Salvage: true},
		log: v.o.Logger, journal: dir,
	}
	src := &v.o.Source
	v.reader, err = journal.NewReader(journal.History{
		Files: files, Dir: dir, Store: v.o.StoreID, Lineage: src.Lineage,
		Source: uint32(src.Epoch), Named: src.Segment, Promised: src.Promised, Salvage: v.refusing,
	})
	if err != nil {
		return v.fatal(err)
	}
	found, last, err := v.journal(ctx)
	if err != nil {
		return v.fatal(err)
	}
	files.endWith(last) // what a broker writes meanwhile would be in the next replay and not in this one
	v.remainders(files)
	return v.indexes(ctx, found)
}

// fatal takes damage that ends the reading.
func (v *verifier) fatal(err error) error {
	damage, is := errors.AsType[*DamageError](err)
	if !is {
		return err
	}
	v.refusing(damage)
	return nil
}

// refusing takes damage that a start refuses.
func (v *verifier) refusing(d *DamageError) {
	means := meansRefusal
	if d.Final {
		means = meansFinal
	}
	if !v.again {
		v.damaged(d, 0, means)
	}
}

func (v *verifier) damaged(d *DamageError, length int, means string) {
	v.out.Damage = append(v.out.Damage, Damage{
		File: filepath.Join(d.Dir, d.File), Offset: d.Offset, Length: length, Held: d.Held, Error: d.Err.Error(), Means: means,
	})
}

// journal reads all of it and returns what lives, and the last group that was there.
func (v *verifier) journal(ctx context.Context) (*live, *journal.Group, error) {
	l := newLive()
	l.replay = true
	tail, err := v.replay(ctx, l, journal.Position{}, v.group)
	if err != nil {
		return nil, nil, err
	}
	if err := v.group(&tail.Last); err != nil {
		return nil, nil, err
	}
	for _, torn := range tail.Torn {
		v.out.Notes = append(v.out.Notes, fmt.Sprintf("%s ends with %d bytes at offset %d that are no group: a start cuts them off",
			torn.File, torn.Length, torn.Offset))
	}
	for _, q := range l.queues {
		if q.defined {
			v.out.Queues++
			v.out.Messages += q.count
		}
	}
	v.out.Definitions = l.defs.Len()
	return l, &tail.Last, nil
}

// replay gives what the journal holds behind from, but for its last group, its effect on l.
func (v *verifier) replay(ctx context.Context, l *live, from journal.Position, each func(*journal.Group) error) (journal.Tail, error) {
	var rec journal.Record
	progress := newProgress(v.o.Logger, "verify")
	var damage replayDamage
	tail, err := v.reader.Replay(from, func(g *journal.Group) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		progress.group(g)
		if err := each(g); err != nil {
			return err
		}
		if err := l.apply(g, &rec); err != nil {
			return err
		}
		damage.applyLost(l, g)
		return l.err
	})
	if err != nil {
		return tail, err
	}
	l.finishReplay(l.segments.add(tail.Last.Segment))
	return tail, l.err
}

// group counts a group and takes note of its damage.
func (v *verifier) group(g *journal.Group) error {
	list := v.out.Segments
	if n := len(list); n == 0 || list[n-1].File != g.Segment.File() {
		list = append(list, VerifiedSegment{File: g.Segment.File()})
	}
	s := &list[len(list)-1]
	v.out.Segments = list
	var rec journal.Record
	before := s.Records
	if err := g.Each(&rec, func(*journal.Record) error { s.Records++; return nil }); err != nil {
		return err
	}
	size := int64(g.End().Offset - g.At.Offset)
	s.Groups, s.Bytes = s.Groups+1, s.Bytes+size
	v.out.Groups, v.out.Bytes, v.out.Records = v.out.Groups+1, v.out.Bytes+size, v.out.Records+s.Records-before
	if g.Damage != nil && len(g.Lost) == 0 {
		v.damaged(g.Damage, int(size), meansNothing)
	}
	for i := range g.Lost {
		lost := &g.Lost[i]
		means := meansRefusal
		switch {
		case lost.IsMessage():
			means = meansQuarantine
		case lost.Kind == journal.KindCheckpoint:
			means = meansNothing
		}
		v.damaged(g.DamageOf(lost), lost.Len, means)
	}
	return nil
}

// remainders names the files that are no part of the history.
func (v *verifier) remainders(files *frozen) {
	names := make([]string, 0, len(files.files))
	for name := range files.files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		known := slices.ContainsFunc(v.out.Segments, func(s VerifiedSegment) bool { return s.File == name }) ||
			slices.ContainsFunc(v.out.Damage, func(d Damage) bool { return filepath.Base(d.File) == name })
		if !known {
			v.out.Notes = append(v.out.Notes, name+" is no part of the history, or holds none of it yet")
		}
	}
}

// indexes holds every index against what the journal says lives.
func (v *verifier) indexes(ctx context.Context, found *live) error {
	v.again = true
	dir := filepath.Join(v.o.Dir, "index")
	names, err := index.Slots(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		temp, err := os.MkdirTemp(v.o.Temp, "baton-verify-")
		if err != nil {
			return err
		}
		err = v.slot(ctx, dir, name, temp, found)
		if err := errors.Join(err, os.RemoveAll(temp)); err != nil {
			return fmt.Errorf("verify index slot %s: %w", filepath.Join(dir, name), err)
		}
	}
	return nil
}

func (v *verifier) slot(ctx context.Context, dir, name, temp string, found *live) error {
	out := VerifiedIndex{Slot: name}
	defer func() { v.out.Indexes = append(v.out.Indexes, out) }()
	x, used, err := index.OpenCopy(ctx, index.Options{Dir: dir, StoreID: hex.EncodeToString(v.o.StoreID[:]), Logger: v.o.Logger}, name, temp)
	switch {
	case errors.Is(err, index.ErrHeld):
		out.State = "not verified: " + err.Error()
		return nil
	case errors.Is(err, fs.ErrNotExist):
		out.State = "it went while it was being copied"
		return nil
	case err != nil:
		return err
	}
	defer func() { _ = x.Close() }() // it is a copy
	root, ok := x.Root()
	if !ok {
		out.State = x.Reason()
		if used {
			v.damagedIndex(dir, name, "an index", errors.New(x.Reason()))
		}
		return nil
	}
	out.Position, out.Queues, out.Chunks = root.Position.String(), root.Queues, root.Chunks
	err = v.compare(ctx, x, found, func(held string, err error) { v.damagedIndex(dir, name, held, err) })
	out.State = "sound"
	if err != nil {
		out.State = err.Error()
	}
	return nil
}

func (v *verifier) damagedIndex(dir, slot, held string, err error) {
	v.damaged(&DamageError{Dir: dir, File: slot, Held: held, Err: err}, 0, meansRebuild)
}

// errDiffers ends a comparison that has found enough.
var errDiffers = errors.New("it is not what the journal says")

// compare brings what x holds up to the end of the journal, and holds it against found.
func (v *verifier) compare(ctx context.Context, x indexer, found *live, differs func(held string, err error)) error {
	root, _ := x.Root()
	from := journal.Position(root.Position)
	if !v.o.Source.holds(from) {
		return fmt.Errorf("its position %v is no part of the history: a start does not use it", from)
	}
	l := newLiveOn(x)
	if err := l.restore(x); err != nil {
		differs("definitions, queues and segments", err)
		return err
	}
	if _, err := v.replay(ctx, l, from, func(*journal.Group) error { return nil }); err != nil {
		if _, damaged := errors.AsType[*DamageError](err); damaged {
			return fmt.Errorf("the journal is damaged behind its position: %w", err)
		}
		differs("chunks", err)
		return err
	}
	n := compareDefinitions(found, l, differs) + compareQueues(found, l, differs)
	if l.err != nil {
		differs("chunks", l.err)
		return l.err
	}
	if n > 0 {
		return errDiffers
	}
	return nil
}

// maxDiffers is how many differences of one index are named.
const maxDiffers = 100

func compareDefinitions(want, got *live, differs func(held string, err error)) (n int) {
	say := func(key string, err error) {
		if n++; n <= maxDiffers {
			differs(fmt.Sprintf("definition %q", key), err)
		}
	}
	for w := range want.defs.All() {
		key := want.defs.Key(w)
		g := got.defs.Get(key)
		switch {
		case g == nil:
			say(key, errors.New("the index does not have it"))
		case !bytes.Equal(got.heldValue(g), want.heldValue(w)) || g.queue != w.queue || g.order != w.order:
			say(key, errors.New("the index has another one"))
		case got.segments.at(g.segment).id != want.segments.at(w.segment).id:
			say(key, fmt.Errorf("the index says that its record is in %s, it is in %s",
				got.segments.at(g.segment).id.File(), want.segments.at(w.segment).id.File()))
		}
	}
	for g := range got.defs.All() {
		if key := got.defs.Key(g); want.defs.Get(key) == nil {
			say(key, errors.New("the journal does not have it"))
		}
	}
	return n
}

// compareQueues compares the live places of every queue, and where their records are: each was read from there.
func compareQueues(want, got *live, differs func(held string, err error)) (n int) {
	say := func(id core.QueueID, err error) {
		if n++; n <= maxDiffers {
			differs(fmt.Sprintf("queue %d", id), err)
		}
	}
	for id, q := range want.queues {
		have := got.queues[id]
		if have == nil {
			say(id, errors.New("the index does not have it"))
			continue
		}
		if have.next != q.next || have.count != q.count {
			say(id, fmt.Errorf("the index has %d messages before place %d, the journal %d before %d", have.count, have.next, q.count, q.next))
		}
		want.each(q, core.Range{Last: ^core.Seq(0)}, func(c *chunk, place int) bool {
			seq := core.Seq(c.number*chunkPlaces) + core.Seq(place)
			if err := comparePlace(want, got, c.get(place), have, seq); err != nil {
				say(id, err)
			}
			return true
		})
		if err := compareKeys(want, got, id); err != nil {
			say(id, err)
		}
	}
	for id := range got.queues {
		if want.queues[id] == nil {
			say(id, errors.New("the journal does not have it"))
		}
	}
	return n
}

// compareKeys compares what is known of the routing keys of what lives in a keyed queue.
func compareKeys(want, got *live, id core.QueueID) error {
	a, err := want.keysOfQueue(id)
	if err != nil {
		return err
	}
	b, err := got.keysOfQueue(id)
	if err == nil && !slices.Equal(a, b) {
		err = errors.New("the index has other keys of its messages")
	}
	return err
}

func comparePlace(want, got *live, w *entry, have *queue, seq core.Seq) error {
	c, place := got.at(have, seq)
	if c == nil || c.get(place) == nil {
		return fmt.Errorf("the index does not have place %d", seq)
	}
	g := c.get(place)
	if got.segments.at(g.segment).id != want.segments.at(w.segment).id || g.offset != w.offset || g.length != w.length {
		return fmt.Errorf("the index says that place %d is in %s at %d, it is in %s at %d",
			seq, got.segments.at(g.segment).id.File(), g.offset, want.segments.at(w.segment).id.File(), w.offset)
	}
	if a, b := got.delivered(g), want.delivered(w); a != b {
		return fmt.Errorf("the index says that place %d was delivered %d times, the journal %d", seq, a, b)
	}
	return nil
}
