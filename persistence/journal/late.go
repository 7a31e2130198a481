package journal

import (
	"errors"
	"io/fs"
	"time"
)

// Lateness is what Files have besides, if what another host has made may appear late. A reader that is told what must be there (History's
// Named and Promised) looks again and again, for so long, before it calls damage what it does not see. What is not known to be there is
// not waited for: that it is seen at once is for Open, ReadAt and Size to see to.
type Lateness interface {
	Late() time.Duration
}

// lateEvery is how often a reader looks again.
const lateEvery = 20 * time.Millisecond

// patience is what is left of the time for which a reader waits: it has it once, not for everything that is missing.
type patience struct {
	left  time.Duration
	until time.Time // zero: nothing was missing yet
}

func (h *History) patience() *patience {
	if l, ok := h.Files.(Lateness); ok && h.Named > 0 {
		return &patience{left: l.Late()}
	}
	return new(patience)
}

// again waits for a moment; false: no longer.
func (p *patience) again() bool {
	if p == nil || p.left == 0 {
		return false
	}
	if p.until.IsZero() {
		p.until = time.Now().Add(p.left)
	}
	if time.Now().After(p.until) {
		p.left = 0
		return false
	}
	<-time.After(lateEvery)
	return true
}

// mayBeLate reports whether err may only mean that a file, or its beginning, is not seen yet.
func mayBeLate(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errHeader) }

// NewReader looks at the directory and at the source's newest segment.
func NewReader(h History) (*Reader, error) {
	p := h.patience()
	strict := h
	strict.Salvage = nil // damage is what is still missing when nothing is waited for any more
	for p.left > 0 {
		r, err := newReader(strict, p)
		if err == nil {
			r.h = h
			return r, nil
		}
		if !mayBeLate(err) || !p.again() {
			break
		}
	}
	return newReader(h, p)
}

// openLate opens a segment that must be there.
func (r *Reader) openLate(id SegmentID) (*frames, Header, error) {
	for {
		s, h, err := r.open(id)
		if err == nil || !mayBeLate(err) || !r.late.again() {
			return s, h, err
		}
	}
}

// appears reports, after a pause, whether to look for a group at the walk's place once more, because one must be there; the file is read
// anew then.
func (w *walk) appears(s *frames, end uint64) (bool, error) {
	if s.pos.Offset >= w.must(end) || !w.r.late.again() {
		return false, nil
	}
	size, err := s.file.Size()
	s.size, s.buf = size, s.buf[:0]
	return err == nil, err
}
