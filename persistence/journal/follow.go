package journal

import (
	"errors"
	"fmt"
	"io/fs"
)

// errAhead ends a replay at a group that is not known to have passed.
var errAhead = errors.New("the group may not have passed yet")

// Follower reads a history whose source is still being written, by another process. It hands on a group once the one behind it has passed
// too: the successor of the source writes the source's last group again, so nobody may have that twice, and a group that has not passed may
// turn out to have been lost.
//
// A segment that it needs may be reclaimed while it reads. Then its history has a gap: Next returns ErrGone, or fs.ErrNotExist, and the
// reader has to begin anew, from the beginning.
type Follower struct {
	h      History
	at     Position // everything before it was handed on
	passed uint64   // of the source: there is a group that ends there, and it has passed
	read   *frames  // the source's segment that is being read; nil: it is to be found
	held   []Group  // read and not handed on
	spare  [][]byte // frames for those to come
}

// maxHeld is how many groups wait to be handed on: a group tells that the one before it has passed, so that two are enough to go on.
const maxHeld = 4

// NewFollower begins at from: the zero Position, or what an earlier Follower of the same history, or of one that it continues, reached.
// h.Named and h.Promised are not used.
func NewFollower(h History, from Position) *Follower {
	h.Named, h.Promised, h.Salvage = 0, 0, nil
	return &Follower{h: h, at: from}
}

// At is the position up to which groups were handed on.
func (f *Follower) At() Position { return f.at }

// Reached reports whether everything up to offset of the source was read, whether or not it was handed on.
func (f *Follower) Reached(offset uint64) bool {
	if n := len(f.held); n > 0 {
		return f.held[n-1].End().Offset >= offset
	}
	return f.at.Epoch == f.h.Source && f.at.Offset >= offset
}

// Next hands on what has come since the last call. promised is up to where the source is known to have made promises. A group is valid
// only during the call of apply. An error of apply is returned as it is. After any error the Follower is of no more use; what it handed on
// stays true.
func (f *Follower) Next(promised uint64, apply func(*Group) error) error {
	f.passed = max(f.passed, promised)
	if f.read == nil {
		if err := f.catchUp(apply); err != nil {
			return err
		}
	}
	for {
		if err := f.handOn(apply); err != nil {
			return err
		}
		if len(f.held) >= maxHeld {
			return nil
		}
		g, ok, err := f.peek()
		if err != nil || !ok {
			return err
		}
		f.passed = max(f.passed, g.Passed)
		f.hold(g)
	}
}

// mayHandOn reports whether the group behind g has passed.
func (f *Follower) mayHandOn(g *Group) bool {
	return g.At.Epoch != f.h.Source || g.End().Offset < f.passed
}

func (f *Follower) handOn(apply func(*Group) error) error {
	for len(f.held) > 0 && f.mayHandOn(&f.held[0]) {
		g := &f.held[0]
		if err := apply(g); err != nil {
			return err
		}
		f.at = g.End()
		f.spare = append(f.spare, g.frame)
		f.held = append(f.held[:0], f.held[1:]...)
	}
	return nil
}

// Close lets go of what is open.
func (f *Follower) Close() {
	if f.read != nil {
		f.read.close()
		f.read = nil
	}
}

// catchUp replays what there is from where the follower stands, and finds the source's segment to go on with.
func (f *Follower) catchUp(apply func(*Group) error) error {
	r, err := NewReader(f.h)
	if err != nil {
		return err
	}
	_, err = r.Replay(f.at, func(g *Group) error {
		if g.At.Epoch == f.h.Source {
			f.passed = max(f.passed, g.Passed)
		}
		if !f.mayHandOn(g) {
			return errAhead
		}
		if err := apply(g); err != nil {
			return err
		}
		f.at = g.End()
		return nil
	})
	if err != nil && !errors.Is(err, errAhead) {
		return err
	}
	offset := uint64(0)
	if f.at.Epoch == f.h.Source {
		offset = f.at.Offset
	}
	return f.find(r, offset)
}

// find opens the source's segment to read offset from.
func (f *Follower) find(r *Reader, offset uint64) error {
	id := r.newest.ID
	for _, k := range r.Kept() {
		if k.ID.Epoch == f.h.Source && k.End > offset {
			id = k.ID
			break
		}
	}
	s, h, err := r.open(id)
	if err != nil {
		return err
	}
	if h.First > offset {
		s.close()
		return fmt.Errorf("%w between %d and %d of epoch %d", ErrGone, offset, h.First, f.h.Source)
	}
	s.off += int64(offset - h.First)
	s.pos.Offset = offset
	f.read = s
	return nil
}

// hold keeps g, which is valid until the next read, and moves past it.
func (f *Follower) hold(g Group) {
	f.read.off += int64(len(g.frame))
	f.read.pos = g.End()
	var frame []byte
	if n := len(f.spare); n > 0 {
		frame, f.spare = f.spare[n-1], f.spare[:n-1]
	}
	g.frame = append(frame[:0], g.frame...)
	f.held = append(f.held, g)
}

// peek reads the group at the follower's place; false when none is there yet.
func (f *Follower) peek() (Group, bool, error) {
	g, ok, err := f.look()
	if ok || err != nil {
		return g, ok, err
	}
	next, err := f.nextSegment()
	if err != nil {
		return Group{}, false, err
	}
	if next == nil {
		if err := f.missing(f.passed); err != nil {
			return Group{}, false, f.skipped(err)
		}
		return Group{}, false, nil
	}
	// The segment was complete before the next one was begun. What had not appeared of it must be there now.
	if g, ok, err = f.look(); ok || err != nil {
		next.close()
		return g, ok, err
	}
	if err := f.missing(next.pos.Offset); err != nil {
		next.close()
		return Group{}, false, err
	}
	f.read.close()
	f.read = next
	return f.look()
}

// missing is the error that there are groups up to offset, which must be there, and none can be read; nil when all were.
func (f *Follower) missing(offset uint64) error {
	if f.read.pos.Offset >= offset {
		return nil
	}
	return f.read.damage(errInvalid, fmt.Sprintf("groups up to offset %d of the epoch", offset))
}

// skipped is called where there should be groups and are none, in a segment behind which there is none, and returns err, which says so,
// if that is the newest segment. Otherwise the one behind it has come meanwhile, or has been reclaimed already.
func (f *Follower) skipped(err error) error {
	r, rerr := NewReader(f.h)
	if rerr != nil {
		return rerr
	}
	if r.newest.ID == f.read.id {
		return err
	}
	offset := f.read.pos.Offset
	f.read.close()
	f.read = nil
	return f.find(r, offset)
}

// look reads the group at the follower's place from the file as it is now.
func (f *Follower) look() (Group, bool, error) {
	s := f.read
	if s.off+groupHeader <= s.bufOff+int64(len(s.buf)) {
		if g, err := s.at(s.off, s.pos); err == nil {
			return g, true, nil
		}
	}
	size, err := s.file.Size()
	if err != nil {
		return Group{}, false, fmt.Errorf("read journal segment %s: %w", s.id.File(), err)
	}
	s.size, s.buf = size, s.buf[:0]
	// Most looks find nothing, and a segment may have zeros ahead of its groups: a whole window is read only for what may be one.
	var head [groupHeader]byte
	if s.off+groupHeader > size {
		return Group{}, false, nil
	}
	if _, err := s.file.ReadAt(head[:], s.off); err != nil {
		return Group{}, false, fmt.Errorf("read journal segment %s: %w", s.id.File(), err)
	}
	if _, err := frameLength(head[:]); err != nil {
		return Group{}, false, nil //nolint:nilerr // nothing has been written here yet, or not all of it
	}
	g, err := s.at(s.off, s.pos)
	if isEnd(err) {
		return Group{}, false, nil
	}
	return g, err == nil, err
}

// nextSegment opens the segment behind the one being read; nil when there is none, or none that is complete enough to be one.
func (f *Follower) nextSegment() (*frames, error) {
	id := f.read.id
	id.Number++
	r := Reader{h: f.h}
	s, _, err := r.open(id)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errHeader) {
		return nil, nil //nolint:nilnil // there is none
	}
	return s, err
}
