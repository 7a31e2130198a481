package persistence

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal"
)

// loadWindow is how much one read brings when records lie close together; loadGap is what may lie between two of them.
const (
	loadWindow = 256 << 10
	loadGap    = 4 << 10
)

// found is an entry that Load is to read.
type found struct {
	seq       core.Seq
	delivered uint32
	at        *segment
	offset    uint32
	length    uint32
}

// loader is what one Load uses and the next can use again.
type loader struct {
	found []found
	used  []*segment
	buf   []byte
	rec   journal.Record
}

//nolint:gochecknoglobals // a pool
var loaders = sync.Pool{New: func() any { return new(loader) }}

// Load implements core.Store.
func (s *Store) Load(queue core.QueueID, from, to core.Seq, maxEntries, maxBytes int) ([]core.Entry, error) {
	ld := loaders.Get().(*loader)
	defer ld.free()
	s.live.bring(queue, core.Range{First: from, Last: to}, maxEntries)
	if err := s.find(ld, queue, core.Range{First: from, Last: to}, maxEntries, maxBytes); err != nil {
		return nil, err
	}
	if len(ld.found) == 0 {
		return nil, nil
	}
	entries := make([]core.Entry, 0, len(ld.found))
	for i := 0; i < len(ld.found); {
		f := &ld.found[i]
		if msg := s.wide.message(f, core.Pair{Queue: queue, Seq: f.seq}); msg != nil {
			entries = append(entries, core.Entry{Seq: f.seq, Delivered: f.delivered, Msg: msg})
			i++
			continue
		}
		n, err := s.read(ld, ld.found[i:])
		if err != nil {
			return nil, err
		}
		start := ld.found[i].offset
		for _, f := range ld.found[i : i+n] {
			msg, err := s.message(ld, &f, ld.buf[f.offset-start:][:f.length], core.Pair{Queue: queue, Seq: f.seq})
			if err != nil {
				return nil, err
			}
			if msg != nil {
				entries = append(entries, core.Entry{Seq: f.seq, Delivered: f.delivered, Msg: msg})
			}
		}
		i += n
	}
	return entries, nil
}

// find lists the entries to read and holds their files open.
func (s *Store) find(ld *loader, queue core.QueueID, r core.Range, maxEntries, maxBytes int) error {
	l := s.live
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queues[queue]
	if q == nil {
		return nil
	}
	bytes := 0
	var failed error
	l.each(q, r, func(c *chunk, place int) bool {
		if len(ld.found) >= maxEntries || bytes >= maxBytes {
			return false
		}
		e := c.get(place)
		seg := l.segments.at(e.segment)
		if n := len(ld.used); n == 0 || ld.used[n-1] != seg {
			if err := seg.reader.acquire(s.opt.Files, s.segmentPath(seg.id)); err != nil {
				failed = fmt.Errorf("load from queue %d: %w", queue, err)
				return false
			}
			ld.used = append(ld.used, seg)
		}
		ld.found = append(ld.found, found{
			seq: core.Seq(c.number*chunkPlaces) + core.Seq(place), delivered: l.delivered(e),
			at: seg, offset: e.offset, length: e.length,
		})
		bytes += int(e.length)
		return true
	})
	return errors.Join(failed, l.err)
}

// read brings the first of list, and those after it that lie close behind, into ld.buf with one read, and returns how many.
func (s *Store) read(ld *loader, list []found) (int, error) {
	first := list[0]
	end, n := first.offset+first.length, 1
	for ; n < len(list); n++ {
		f := list[n]
		if f.at != first.at || f.offset < first.offset || f.offset > end+loadGap || f.offset+f.length > first.offset+loadWindow {
			break
		}
		end = max(end, f.offset+f.length)
	}
	size := int(end - first.offset)
	if cap(ld.buf) < size {
		ld.buf = make([]byte, size)
	}
	ld.buf = ld.buf[:size]
	return n, s.readAt(ld.buf, &first)
}

// readAt reads the bytes from f on. Where the file is too short the rest are zeros.
func (s *Store) readAt(b []byte, f *found) error {
	n, err := f.at.reader.file.ReadAt(b, int64(f.offset))
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read journal segment %s at %d: %w", s.segmentPath(f.at.id), f.offset, err)
	}
	clear(b[n:])
	return nil
}

// message returns the message of a record that was read, nil when its bytes are not what was written for p. Such a message is lost, and
// must not look like another; its neighbours are served. It is read once more before it is given up.
func (s *Store) message(ld *loader, f *found, b []byte, p core.Pair) (*core.Message, error) {
	if verify(&ld.rec, b, s.seed, f, p) == nil {
		return s.wide.keep(f, &ld.rec), nil
	}
	again := make([]byte, f.length)
	if err := s.readAt(again, f); err != nil {
		return nil, err
	}
	if err := verify(&ld.rec, again, s.seed, f, p); err != nil {
		s.quarantine(quarantined{Pair: p, at: *f, err: err})
		return nil, nil //nolint:nilerr // it is lost; its neighbours are not
	}
	return s.wide.keep(f, &ld.rec), nil
}

// free lets go of the files and keeps the arrays.
func (ld *loader) free() {
	for _, seg := range ld.used {
		seg.reader.release()
	}
	clear(ld.found)
	clear(ld.used)
	ld.found, ld.used = ld.found[:0], ld.used[:0]
	if cap(ld.buf) > 4*loadWindow {
		ld.buf = nil
	}
	ld.rec = journal.Record{Pairs: ld.rec.Pairs[:0]}
	loaders.Put(ld)
}
