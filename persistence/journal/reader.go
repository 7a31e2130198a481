package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// History says what of a directory's segments is history.
type History struct {
	Files   Files
	Dir     string
	Store   [16]byte
	Lineage []Seal // the epochs before Source, oldest first

	Source   uint32 // the epoch whose end is not sealed yet
	Named    uint64 // its highest segment that must exist
	Promised uint64 // its offset up to which everything must be readable

	// Salvage is told of damage that would end a replay, which then goes on without what was there. Nil: it ends. A damaged group that
	// the journal goes on behind is no such damage: see Group.Damage.
	Salvage func(*DamageError)
}

// ErrGone is in the chain of what a replay returns that begins before something that has been reclaimed.
var ErrGone = errors.New("the journal was reclaimed")

// Reader replays a history.
type Reader struct {
	h       History
	late    *patience
	present map[uint32][]uint32 // epoch → segment numbers, ascending
	gone    map[SegmentID]bool  // reclaimed, whether or not the file is still there
	doubt   *DamageError        // a record that is lost, and may have said that segments are gone
	newest  Header
	torn    []Torn
}

// Tail is what a replay ends with.
type Tail struct {
	Last   Group  // the last valid group of the source: not applied, because it is to be written again
	Newest Header // the header of the source's newest segment
	Torn   []Torn // what was cut off behind Last
}

// Torn is the rest of a file that holds no group: what a crash left of a write that was under way.
type Torn struct {
	File   string
	Offset int64
	Length int64
}

func newReader(h History, late *patience) (*Reader, error) {
	names, err := h.Files.Names(h.Dir)
	if err != nil {
		return nil, fmt.Errorf("list journal: %w", err)
	}
	r := &Reader{h: h, late: late, present: make(map[uint32][]uint32)}
	for _, name := range names {
		if id, ok := ParseFile(name); ok {
			r.present[id.Epoch] = append(r.present[id.Epoch], id.Number)
		}
	}
	for _, numbers := range r.present {
		slices.Sort(numbers)
	}
	if err := r.readNewest(); err != nil {
		return nil, err
	}
	return r, r.checkPresent()
}

// checkPresent finds out about a file that is missing now: a replay from a late position does not need it, a consumer will.
func (r *Reader) checkPresent() error {
	for _, k := range r.Kept() {
		if _, ok := slices.BinarySearch(r.present[k.ID.Epoch], k.ID.Number); !ok {
			err := r.headerDamage(k.ID, fs.ErrNotExist)
			if r.doubt != nil { // the reason why it is not known to be gone
				err = fmt.Errorf("%s does not exist: %w", k.ID.File(), r.doubt)
			}
			if err := r.giveUp(k.ID, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// giveUp goes on without a segment where that is wanted: it is gone then. Otherwise it returns err.
func (r *Reader) giveUp(id SegmentID, err error) error {
	damage, is := errors.AsType[*DamageError](err)
	if !is || r.h.Salvage == nil {
		return err
	}
	r.h.Salvage(damage)
	r.gone[id] = true
	return nil
}

// readNewest finds the source's newest segment with a valid header, and the segments that were reclaimed after it was begun. A header
// can be torn only in the last file, which then holds no group.
func (r *Reader) readNewest() error {
	r.gone = make(map[SegmentID]bool)
	numbers := r.present[r.h.Source]
	if n := len(numbers); n == 0 || uint64(numbers[n-1]) < r.h.Named {
		missing := SegmentID{Epoch: r.h.Source, Number: uint32(max(r.h.Named, 1))}
		err := r.headerDamage(missing, fs.ErrNotExist)
		if n == 0 {
			return final(err)
		}
		if err := r.giveUp(missing, err); err != nil {
			return err
		}
	}
	for n := len(numbers); ; n-- {
		id := SegmentID{Epoch: r.h.Source, Number: numbers[n-1]}
		s, h, err := r.open(id)
		if err == nil {
			defer s.close()
			r.newest = h
			return r.readReclaimed(s)
		}
		switch torn := errors.Is(err, errHeader) && uint64(id.Number) > r.h.Named && n == len(numbers); {
		case n == 1:
			return final(r.headerDamage(id, err))
		case torn:
			r.torn = append(r.torn, Torn{File: id.File()})
		default:
			if err := r.giveUp(id, r.headerDamage(id, err)); err != nil {
				return err
			}
		}
		r.present[r.h.Source] = numbers[:n-1]
	}
}

func (r *Reader) readReclaimed(s *frames) error {
	var rec Record
	for {
		g, err := s.next()
		if isEnd(err) {
			return nil // what that means is decided by the replay
		}
		if err != nil {
			return err
		}
		for i := range g.Lost {
			if kind := g.Lost[i].Kind; kind == KindReclaimed || kind == 0 {
				r.doubt = g.DamageOf(&g.Lost[i])
			}
		}
		err = g.Each(&rec, func(rec *Record) error {
			for _, k := range rec.Segments {
				for n := uint64(k.First); n <= uint64(k.Last); n++ {
					r.gone[SegmentID{Epoch: k.Epoch, Number: uint32(n)}] = true
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// Kept lists the segments before the newest one that are not gone, whether or not their files exist, in the order of replay.
func (r *Reader) Kept() []Kept {
	list := slices.DeleteFunc(slices.Clone(r.newest.Kept), func(k Kept) bool { return r.gone[k.ID] })
	slices.SortFunc(list, func(a, b Kept) int { return a.ID.Compare(b.ID) })
	return list
}

// Replay calls apply with every group of the history from position from on, but for the last one, which it returns. The zero Position
// replays everything that is not gone. A group is valid only during the call.
func (r *Reader) Replay(from Position, apply func(*Group) error) (Tail, error) {
	w := &walk{r: r, from: from, apply: apply}
	for _, seal := range r.h.Lineage {
		if seal.Epoch >= uint64(from.Epoch) && seal.Offset > 0 {
			if err := w.epoch(uint32(seal.Epoch), seal.Offset); err != nil {
				return Tail{}, err
			}
		}
	}
	if err := w.epoch(r.h.Source, 0); err != nil {
		return Tail{}, err
	}
	if w.held.frame == nil || w.held.At.Epoch != r.h.Source {
		return Tail{}, &DamageError{
			Dir: r.h.Dir, File: r.newest.ID.File(), Offset: 0, At: Position{Epoch: r.h.Source}, Held: "the epoch's last group",
			Final: from == Position{},
			Err:   errors.New("no group of the epoch was found at or after " + from.String()),
		}
	}
	return Tail{Last: w.held, Newest: r.newest, Torn: slices.Concat(w.torn, r.torn)}, nil
}

// walk is one replay. It holds back the last group it read: only the one that follows shows that it is not the last.
type walk struct {
	r     *Reader
	from  Position
	apply func(*Group) error
	held  Group
	spare []byte
	torn  []Torn
}

// epoch walks an epoch up to its seal, or, with seal 0, to its last valid group.
func (w *walk) epoch(epoch uint32, seal uint64) error {
	whole := w.from == Position{} // nothing may be missing otherwise
	at := uint64(0)
	if w.from.Epoch == epoch {
		at = w.from.Offset
	}
	for _, k := range w.r.Kept() {
		if k.ID.Epoch != epoch || k.End <= at {
			continue
		}
		if err := w.segment(k.ID, &at, k.End, whole); err != nil {
			return err
		}
	}
	if seal == 0 {
		return w.segment(w.r.newest.ID, &at, 0, whole)
	}
	if at != seal && !whole {
		return fmt.Errorf("%w between %d and the seal %d of epoch %d", ErrGone, at, seal, epoch)
	}
	return nil
}

// segment walks one segment from offset *at of its epoch to end, or, with end 0, to its last valid group, and leaves *at there. With
// gaps, segments before it may be gone.
func (w *walk) segment(id SegmentID, at *uint64, end uint64, gaps bool) error {
	s, h, err := w.r.openLate(id)
	if err != nil {
		*at = max(*at, end)
		return w.r.giveUp(id, w.r.headerDamage(id, err))
	}
	defer s.close()
	if end != 0 {
		s.endAt(end)
	}
	switch {
	case h.First <= *at:
		s.off += int64(*at - h.First)
		s.pos.Offset = *at
	case !gaps:
		return fmt.Errorf("%w between %d and %d of epoch %d", ErrGone, *at, h.First, id.Epoch)
	}
	for end == 0 || s.pos.Offset < end {
		g, err := s.next()
		if isEnd(err) {
			if again, late := w.appears(s, end); again {
				continue
			} else if late != nil {
				return late
			}
			err = w.ends(s, end, err)
			*at = max(s.pos.Offset, end)
			return err
		}
		if err != nil {
			return err
		}
		if err := w.hold(g); err != nil {
			return err
		}
	}
	*at = s.pos.Offset
	if s.pos.Offset > end {
		return s.damage(fmt.Errorf("a group crosses offset %d", end), "the end of a group")
	}
	return nil
}

// hold applies the group held back so far and holds g.
func (w *walk) hold(g Group) error {
	if w.held.frame != nil {
		if err := w.apply(&w.held); err != nil {
			return err
		}
	}
	w.spare = append(w.spare[:0], g.frame...)
	g.frame, w.spare = w.spare, w.held.frame
	w.held = g
	return nil
}

// ends decides what it means that no group can be read at the walk's place, as cause says: a torn tail, or none, unless something must
// be there.
func (w *walk) ends(s *frames, end uint64, cause error) error {
	if must := w.must(end); s.pos.Offset < must {
		return w.salvageTail(s, must, cause)
	}
	torn, err := s.rest()
	if torn > 0 {
		w.torn = append(w.torn, Torn{File: s.id.File(), Offset: s.off, Length: torn})
	}
	return err
}

// must is the offset up to which groups must be there in the segment that ends at end, or, with end 0, is the newest.
func (w *walk) must(end uint64) uint64 {
	if end != 0 {
		return end
	}
	return w.r.h.Promised
}

// salvageTail goes on with the records that can be read up to offset must of the epoch, where that is wanted.
func (w *walk) salvageTail(s *frames, must uint64, cause error) error {
	damage := s.damage(cause, fmt.Sprintf("groups up to offset %d of the epoch", must))
	if w.r.h.Salvage == nil {
		return damage
	}
	w.r.h.Salvage(damage)
	last := min(s.off+int64(must-s.pos.Offset), s.off+(s.size-s.off)&^(groupAlign-1), s.off+MaxGroup)
	if last < s.off+groupHeader {
		return nil
	}
	g, err := s.mendUpTo(last, cause)
	if err != nil {
		return err
	}
	s.off += int64(len(g.frame))
	s.pos = g.End()
	return w.hold(g)
}

func (s *frames) damage(cause error, held string) *DamageError {
	return &DamageError{Dir: s.dir, File: s.id.File(), Offset: s.off, At: s.pos, Held: held, Err: cause}
}

// headerDamage tells a missing or unreadable header from an error that says nothing about what is on the disk.
func (r *Reader) headerDamage(id SegmentID, err error) error {
	if !errors.Is(err, errHeader) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open journal segment: %w", err)
	}
	return &DamageError{Dir: r.h.Dir, File: id.File(), At: Position{Epoch: id.Epoch}, Held: "a segment of the history", Err: err}
}

// final says of damage that nothing can be read without what was there.
func final(err error) error {
	if damage, is := errors.AsType[*DamageError](err); is {
		damage.Final = true
	}
	return err
}

// open opens a segment and places a walk at its first group.
func (r *Reader) open(id SegmentID) (*frames, Header, error) {
	f, err := r.h.Files.Open(filepath.Join(r.h.Dir, id.File()))
	if err != nil {
		return nil, Header{}, err
	}
	h, top, err := readHeader(f, id, r.h.Store)
	if err != nil {
		_ = f.Close() // it was only read
		return nil, Header{}, err
	}
	size, err := f.Size()
	if err != nil {
		_ = f.Close() // it was only read
		return nil, Header{}, err
	}
	return &frames{
		file: f, dir: r.h.Dir, id: id, store: r.h.Store, top: h, size: size, off: top,
		pos: Position{Epoch: id.Epoch, Offset: h.First},
	}, h, nil
}

// OnlyBegun reports whether a segment holds nothing that anyone could miss: no valid header, or no group but one that begins an empty
// epoch.
func OnlyBegun(files Files, dir string, id SegmentID, store [16]byte) (bool, error) {
	r := &Reader{h: History{Files: files, Dir: dir, Store: store}}
	s, h, err := r.open(id)
	if errors.Is(err, errHeader) && id.Number == 1 {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("open journal segment: %w", err)
	}
	defer s.close()
	if id.Number != 1 || len(h.Lineage) > 0 || len(h.Kept) > 0 {
		return false, nil
	}
	var rec Record
	records, begun := 0, true
	for {
		g, err := s.next()
		switch {
		case isEnd(err):
			return begun && records <= 1, nil
		case err != nil:
			return false, err
		case g.Damage != nil:
			return false, nil
		}
		err = g.Each(&rec, func(r *Record) error {
			records++
			begun = begun && r.Kind == KindOpened
			return nil
		})
		if err != nil {
			return false, err
		}
	}
}
