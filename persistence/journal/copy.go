package journal

import (
	"errors"
	"fmt"
	"path/filepath"
)

// NewestEnd is where, in its file, the last group of the newest segment ends by now, while another process may be writing it: what is
// under way is not there yet.
func (r *Reader) NewestEnd() (id SegmentID, end int64, err error) {
	const tries = 3
	for range tries {
		if end, err = r.newestEnd(); err == nil {
			break
		}
		if _, damaged := errors.AsType[*DamageError](err); !damaged {
			break
		}
		// A group that was read while it was being written looks like this, too, if another one was written behind it meanwhile.
	}
	return r.newest.ID, end, err
}

func (r *Reader) newestEnd() (int64, error) {
	s, _, err := r.open(r.newest.ID)
	if err != nil {
		return 0, r.headerDamage(r.newest.ID, err)
	}
	defer s.close()
	for {
		g, err := s.next()
		switch {
		case isEnd(err):
			return s.off, nil
		case err != nil:
			return 0, err
		case g.Damage != nil:
			return 0, g.Damage
		}
	}
}

// Copier writes the groups of a history, in the order of a replay, as those of another store. Every segment keeps its number and every
// group its position, so that whatever refers to one means the same; but no checksum is that of the original, so that no file of the one
// can be taken for one of the other.
type Copier struct {
	from  *Reader
	files Files
	dir   string
	store [16]byte

	file    File
	id      SegmentID
	size    int64 // of the file, with what is in buf
	buf     []byte
	group   []byte
	written int64
	count   int
}

// copyBuffer is how much is written at once.
const copyBuffer = 1 << 20

// NewCopier returns a Copier of what from replays into dir, which holds no segments.
func NewCopier(from *Reader, files Files, dir string, store [16]byte) *Copier {
	return &Copier{from: from, files: files, dir: dir, store: store}
}

// Group copies the next group.
func (c *Copier) Group(g *Group) error {
	if g.Damage != nil {
		return g.Damage
	}
	if g.Segment != c.id {
		if err := c.begin(g.Segment); err != nil {
			return fmt.Errorf("begin the copy of journal segment %s: %w", g.Segment.File(), err)
		}
	}
	if g.FileOff != c.size {
		return fmt.Errorf("copy journal segment %s: a group is at %d of the file, and its copy would be at %d", c.id.File(), g.FileOff, c.size)
	}
	c.group = SealGroup(append(c.group[:0], g.frame[:g.records]...), c.store, g.At, g.Passed, g.Time)
	c.buf = append(c.buf, c.group...)
	c.size += int64(len(c.group))
	if len(c.buf) < copyBuffer {
		return nil
	}
	return c.flush()
}

func (c *Copier) flush() error {
	if _, err := c.file.WriteAt(c.buf, c.size-int64(len(c.buf))); err != nil {
		return fmt.Errorf("copy journal segment %s: %w", c.id.File(), err)
	}
	c.written += int64(len(c.buf))
	c.buf = c.buf[:0]
	return nil
}

// begin ends the segment before and begins the copy of the next one.
func (c *Copier) begin(id SegmentID) error {
	if err := c.end(); err != nil {
		return err
	}
	s, h, err := c.from.open(id)
	if err != nil {
		return c.from.headerDamage(id, err)
	}
	top := s.off
	s.close()
	if c.file, err = c.files.Create(filepath.Join(c.dir, id.File())); err != nil {
		return err
	}
	h.Store = c.store
	c.id, c.buf = id, append(c.buf[:0], h.encode()...)
	c.size = int64(len(c.buf))
	c.count++
	if c.size != top {
		return fmt.Errorf("its header takes %d bytes, and that of its copy %d", top, c.size)
	}
	return nil
}

func (c *Copier) end() error {
	if c.file == nil {
		return nil
	}
	err := c.flush()
	if err == nil {
		err = c.file.Sync()
	}
	err = errors.Join(err, c.file.Close())
	c.file = nil
	return err
}

// Close makes the copy durable. It returns how many segments and bytes it has, and which segment is the last.
func (c *Copier) Close() (segments int, bytes int64, last SegmentID, err error) {
	err = c.end()
	if err == nil {
		err = c.files.SyncDir(c.dir)
	}
	return c.count, c.written, c.id, err
}
