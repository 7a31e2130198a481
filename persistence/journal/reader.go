package journal

import (
	"errors"
	"fmt"
	"io"
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
}

// Reader replays a history.
type Reader struct {
	h       History
	present map[uint32][]uint32 // epoch → segment numbers, ascending
	gone    map[SegmentID]bool  // reclaimed, whether or not the file is still there
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

// NewReader looks at the directory and at the source's newest segment.
func NewReader(h History) (*Reader, error) {
	names, err := h.Files.Names(h.Dir)
	if err != nil {
		return nil, fmt.Errorf("list journal: %w", err)
	}
	r := &Reader{h: h, present: make(map[uint32][]uint32)}
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
			return r.headerDamage(k.ID, fs.ErrNotExist)
		}
	}
	return nil
}

// readNewest finds the source's newest segment with a valid header, and the segments that were reclaimed after it was begun. A header
// can be torn only in the last file, which then holds no group.
func (r *Reader) readNewest() error {
	numbers := r.present[r.h.Source]
	if len(numbers) == 0 || uint64(numbers[len(numbers)-1]) < r.h.Named {
		return r.headerDamage(SegmentID{Epoch: r.h.Source, Number: uint32(max(r.h.Named, 1))}, fs.ErrNotExist)
	}
	id := SegmentID{Epoch: r.h.Source, Number: numbers[len(numbers)-1]}
	s, h, err := r.open(id)
	if errors.Is(err, errHeader) && uint64(id.Number) > r.h.Named && id.Number > 1 {
		r.torn = append(r.torn, Torn{File: id.File()})
		r.present[r.h.Source] = numbers[:len(numbers)-1]
		id.Number--
		s, h, err = r.open(id)
	}
	if err != nil {
		return r.headerDamage(id, err)
	}
	defer s.close()
	r.newest = h
	r.gone = make(map[SegmentID]bool)
	return r.readReclaimed(s)
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
			Err: errors.New("no group of the epoch was found at or after " + from.String()),
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
		return fmt.Errorf("the journal of epoch %d is gone between %d and its seal %d", epoch, at, seal)
	}
	return nil
}

// segment walks one segment from offset *at of its epoch to end, or, with end 0, to its last valid group, and leaves *at there. With
// gaps, segments before it may be gone.
func (w *walk) segment(id SegmentID, at *uint64, end uint64, gaps bool) error {
	s, h, err := w.r.open(id)
	if err != nil {
		return w.r.headerDamage(id, err)
	}
	defer s.close()
	switch {
	case h.First <= *at:
		s.off += int64(*at - h.First)
		s.pos.Offset = *at
	case !gaps:
		return fmt.Errorf("the journal of epoch %d is gone between %d and %d", id.Epoch, *at, h.First)
	}
	for end == 0 || s.pos.Offset < end {
		g, err := s.next()
		if isEnd(err) {
			*at = s.pos.Offset
			return w.ends(s, end, err)
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

// ends decides what it means that no valid group is at the walk's place, which cause says.
func (w *walk) ends(s *frames, end uint64, cause error) error {
	if end != 0 {
		return s.damage(cause, fmt.Sprintf("groups up to offset %d of the epoch", end))
	}
	if s.pos.Offset < w.r.h.Promised {
		return s.damage(cause, fmt.Sprintf("groups that were promised, up to offset %d", w.r.h.Promised))
	}
	at, found, err := s.beyond()
	if err != nil {
		return err
	}
	if found {
		return s.damage(cause, fmt.Sprintf("groups before the valid one at %v", at))
	}
	if s.size > s.off {
		w.torn = append(w.torn, Torn{File: s.id.File(), Offset: s.off, Length: s.size - s.off})
	}
	return nil // a torn tail, or none
}

func (s *frames) damage(cause error, held string) error {
	return &DamageError{Dir: s.dir, File: s.id.File(), Offset: s.off, At: s.pos, Held: held, Err: cause}
}

// headerDamage tells a missing or unreadable header from an error that says nothing about what is on the disk.
func (r *Reader) headerDamage(id SegmentID, err error) error {
	if !errors.Is(err, errHeader) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open journal segment: %w", err)
	}
	return &DamageError{Dir: r.h.Dir, File: id.File(), At: Position{Epoch: id.Epoch}, Held: "a segment of the history", Err: err}
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
		case errors.Is(err, io.EOF):
			return begun && records <= 1, nil
		case errors.Is(err, errInvalid):
			_, found, err := s.beyond()
			return begun && records <= 1 && !found, err
		case err != nil:
			return false, err
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
