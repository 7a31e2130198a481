package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const readAhead = 1 << 20

// errInvalid: there is no valid group here. Whether that is a torn tail or damage depends on what follows.
var errInvalid = errors.New("no valid group")

// isEnd reports whether an error of frames.next says that no valid group follows.
func isEnd(err error) bool { return errors.Is(err, errInvalid) || errors.Is(err, io.EOF) }

// frames walks the groups of one segment.
type frames struct {
	file  File
	dir   string // where the file is, for error messages
	id    SegmentID
	store [16]byte
	top   Header
	size  int64
	off   int64    // where the next frame starts in the file
	pos   Position // and in the epoch

	buf    []byte // the window of the file that starts at bufOff
	bufOff int64
}

// next returns the group at the walk's place and moves past it. io.EOF at the end of the file, errInvalid where no valid group is; any
// other error is one of reading.
func (s *frames) next() (Group, error) {
	if s.off == s.size {
		return Group{}, io.EOF
	}
	g, err := s.at(s.off, s.pos)
	if err != nil {
		return Group{}, err
	}
	s.off += int64(len(g.frame))
	s.pos = g.End()
	return g, nil
}

// at reads the group that starts at off and stands for position p.
func (s *frames) at(off int64, p Position) (Group, error) {
	head, err := s.window(off, groupHeader)
	if err != nil {
		return Group{}, err
	}
	length, err := frameLength(head)
	if err != nil {
		return Group{}, fmt.Errorf("%w: %w", errInvalid, err)
	}
	frame, err := s.window(off, length)
	if err != nil {
		return Group{}, err
	}
	g, err := openGroup(frame, s.store, p)
	if err != nil {
		return Group{}, fmt.Errorf("%w: %w", errInvalid, err)
	}
	g.Segment, g.FileOff, g.Suspect, g.dir = s.id, off, s.top.Suspect, s.dir
	return g, nil
}

// window returns the n bytes at off. They are valid until the next call.
func (s *frames) window(off int64, n int) ([]byte, error) {
	if off+int64(n) > s.size {
		return nil, fmt.Errorf("%w: the file ends %d bytes early", errInvalid, off+int64(n)-s.size)
	}
	if from := off - s.bufOff; from >= 0 && from+int64(n) <= int64(len(s.buf)) {
		return s.buf[from : from+int64(n)], nil
	}
	want := int(min(int64(max(n, readAhead)), s.size-off))
	if cap(s.buf) < want {
		s.buf = make([]byte, want)
	}
	s.buf, s.bufOff = s.buf[:want], off
	if _, err := s.file.ReadAt(s.buf, off); err != nil {
		s.buf = s.buf[:0]
		return nil, fmt.Errorf("read journal segment %s: %w", s.id.File(), err)
	}
	return s.buf[:n], nil
}

// beyond looks for a valid group behind the walk's place, where there was none. Frames start at multiples of groupAlign.
func (s *frames) beyond() (Position, bool, error) {
	for off := s.off + groupAlign; off+groupHeader <= s.size; off += groupAlign {
		head, err := s.window(off, groupHeader)
		if err != nil {
			return Position{}, false, err
		}
		if binary.LittleEndian.Uint32(head[8:]) != groupMagic {
			continue
		}
		p := Position{Epoch: s.pos.Epoch, Offset: s.pos.Offset + uint64(off-s.off)}
		switch _, err := s.at(off, p); {
		case err == nil:
			return p, true, nil
		case !errors.Is(err, errInvalid):
			return Position{}, false, err
		}
	}
	return Position{}, false, nil
}

// close lets go of the file, which was only read.
func (s *frames) close() { _ = s.file.Close() }
