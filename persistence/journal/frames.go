package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	readAhead    = 1 << 20
	searchWindow = 64 << 10 // less than readAhead: a false hit does not read everything again
)

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
	end   int64    // where its groups are known to end in the file; 0: not known
	off   int64    // where the next frame starts in the file
	pos   Position // and in the epoch

	buf    []byte // the window of the file that starts at bufOff
	bufOff int64
}

// next returns the group at the walk's place and moves past it. io.EOF at the end of the file, errInvalid where no valid group is and
// none behind; any other error is one of reading. A group that is not valid, with the journal going on behind it, has Damage set.
func (s *frames) next() (Group, error) {
	if s.off == s.size {
		return Group{}, io.EOF
	}
	g, err := s.at(s.off, s.pos)
	if errors.Is(err, errInvalid) {
		g, err = s.damaged(err)
	}
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

// endAt says at which offset of the epoch the segment's groups are known to end.
func (s *frames) endAt(offset uint64) { s.end = s.off + int64(offset-s.pos.Offset) }

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
	got, err := s.file.ReadAt(s.buf, off)
	s.buf = s.buf[:got]
	switch {
	case err == nil:
	case !errors.Is(err, io.EOF):
		s.buf = s.buf[:0]
		return nil, fmt.Errorf("read journal segment %s: %w", s.id.File(), err)
	default: // the writer has ended the segment since its size was asked for, and cut off the zeros ahead of its groups
		s.size = off + int64(got)
		return s.window(off, n)
	}
	return s.buf[:n], nil
}

// limit is where groups end at the latest.
func (s *frames) limit() int64 {
	if s.end != 0 {
		return min(s.size, s.end)
	}
	return s.size
}

// beyond looks for a valid group behind the walk's place, where there was none, and returns where it is in the file. Frames start at
// multiples of groupAlign from one another.
func (s *frames) beyond() (int64, bool, error) {
	magic := binary.LittleEndian.AppendUint32(nil, groupMagic)
	for off := s.off + groupAlign; off+groupHeader <= s.limit(); {
		limit := s.limit()
		b, err := s.window(off, int(min(searchWindow, limit-off)))
		if s.limit() < limit {
			continue // the file has become shorter
		}
		if err != nil {
			return 0, false, err
		}
		i := bytes.Index(b[8:], magic)
		if i < 0 { // the last bytes may hold the beginning of one
			off += max(int64(len(b)-groupHeader)&^(groupAlign-1), groupAlign)
			continue
		}
		at := off + int64(i)
		if (at-s.off)%groupAlign == 0 && at+groupHeader <= limit {
			p := Position{Epoch: s.pos.Epoch, Offset: s.pos.Offset + uint64(at-s.off)}
			switch _, err := s.at(at, p); {
			case err == nil:
				return at, true, nil
			case !errors.Is(err, errInvalid):
				return 0, false, err
			}
		}
		off = s.off + (at-s.off)&^(groupAlign-1) + groupAlign
	}
	return 0, false, nil
}

// close lets go of the file, which was only read.
func (s *frames) close() { _ = s.file.Close() }
