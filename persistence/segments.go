package persistence

import (
	"slices"
	"sync"

	"github.com/batonmq/baton/persistence/journal"
)

// segment is what is known of one segment file. All but its reader is guarded by live.mu.
type segment struct {
	id       journal.SegmentID
	base     int64  // what to take from a file offset to get the offset in its epoch
	end      uint64 // the offset of its epoch at which it ends, as far as it is applied
	entries  int64  // live entries whose publish record it holds
	bytes    int64  // the length of those records, each counted once for every place it lives at
	defs     int64  // definitions whose record it holds
	defBytes int64  // about the length of those records
	// older are the segments, not gone yet, that hold what a record of this one ended or marked. While one of them can still be
	// replayed, this one must be too.
	older map[uint32]struct{}
	last  uint32 // the one added to older last
	gone  bool   // a reclaimed record that names it has passed
	dirty bool
	saved bool // the index knows it

	reader segmentReader
}

// segmentReader is a segment's file, opened when first read and closed when the segment has gone and the last reader is done.
type segmentReader struct {
	mu    sync.Mutex
	file  journal.File
	users int
	gone  bool
}

// acquire opens the file for one more reader.
func (r *segmentReader) acquire(files journal.Files, path string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		f, err := files.Open(path)
		if err != nil {
			return err
		}
		r.file = f
	}
	r.users++
	return nil
}

func (r *segmentReader) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users--
	r.closeUnusedLocked()
}

// retire closes the file once nobody reads it.
func (r *segmentReader) retire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = true
	r.closeUnusedLocked()
}

func (r *segmentReader) closeUnusedLocked() {
	if r.gone && r.users == 0 && r.file != nil {
		_ = r.file.Close() // it was only read
		r.file = nil
	}
}

// segmentTable gives segments small numbers, so that an entry need not carry epoch and number. 0 is no segment. What has gone leaves
// nothing but its number, so that the table is as large as the journal, not as its past. Guarded by live.mu.
type segmentTable struct {
	list    []*segment // a gone one is ended
	present []uint32   // those that are not gone, oldest first
	byID    map[journal.SegmentID]uint32
	forget  []uint64 // keys of gone ones that the index has
	ended   *segment
}

func newSegmentTable() segmentTable {
	return segmentTable{list: make([]*segment, 1), byID: make(map[journal.SegmentID]uint32), ended: &segment{gone: true}}
}

func (t *segmentTable) at(i uint32) *segment { return t.list[i] }

// add returns the number of id, given to it now where it is new.
func (t *segmentTable) add(id journal.SegmentID) uint32 {
	if i, ok := t.byID[id]; ok {
		return i
	}
	i := uint32(len(t.list))
	t.list = append(t.list, &segment{id: id, dirty: true})
	t.byID[id] = i
	at, _ := slices.BinarySearchFunc(t.present, id, func(i uint32, id journal.SegmentID) int { return t.list[i].id.Compare(id) })
	t.present = slices.Insert(t.present, at, i)
	return i
}

// depend notes that a record in segment by ended or changed what one in segment of holds.
func (t *segmentTable) depend(by, of uint32) {
	if by == of {
		return
	}
	s := t.list[by]
	if s.last == of {
		return
	}
	s.last = of
	if t.list[of].gone {
		return
	}
	if s.older == nil {
		s.older = make(map[uint32]struct{})
	}
	s.older[of] = struct{}{}
	s.dirty = true
}

// endPosition is where the segment ends.
func (s *segment) endPosition() journal.Position {
	return journal.Position{Epoch: s.id.Epoch, Offset: s.end}
}

// live is the length of what lives in the segment.
func (s *segment) live() int64 { return s.bytes + s.defBytes }

// size is the length of the file.
func (s *segment) size() int64 { return int64(s.end) + s.base }

// position is where in the journal the byte at off of the file is.
func (s *segment) position(off uint32) journal.Position {
	return journal.Position{Epoch: s.id.Epoch, Offset: uint64(int64(off) - s.base)}
}

// reclaimable returns the segments that nothing needs any more, oldest first: they hold no live entry and no live definition, they
// end nothing that an older segment could bring back, and they lie before at.
func (t *segmentTable) reclaimable(at journal.Position) []uint32 {
	order := t.present
	var free []uint32
	freed := make(map[uint32]bool)
	for _, i := range order {
		s := t.list[i]
		if s.entries > 0 || s.defs > 0 || at.Before(s.endPosition()) {
			continue
		}
		needed := false
		for o := range s.older { // older ones were looked at before
			needed = needed || !t.list[o].gone && !freed[o]
		}
		if !needed {
			freed[i] = true
			free = append(free, i)
		}
	}
	// The newest one is being written.
	if n := len(order); n > 0 && freed[order[n-1]] {
		free = free[:len(free)-1]
	}
	return free
}

// excess is by how much the segments are longer than twice what lives in them and slack.
func (t *segmentTable) excess(slack int64) int64 { return t.size() - 2*t.live() - slack }

// manyPins marks a segment that would stay whichever one segment was carried forward.
const manyPins = ^uint32(0)

// victim returns the segment that is best carried forward, 0 when there is none before at. It must end nothing that an older one holds.
// What is gained by one is what is dead in it and the segments that stay because of it alone; what it costs is what lives in it. Where
// nothing is worth half its cost it is the oldest, so that a pass over the journal comes to everything in the end.
func (t *segmentTable) victim(at journal.Position) uint32 {
	order := t.present
	if len(order) < 2 || at.Before(t.list[order[0]].endPosition()) {
		return 0
	}
	pins, gain := make(map[uint32]uint32, len(order)), make(map[uint32]int64)
	for _, i := range order[:len(order)-1] { // the newest one is being written
		s := t.list[i]
		switch pin := t.pin(s, pins); {
		case at.Before(s.endPosition()):
			pins[i] = manyPins
		case s.entries == 0 && s.defs == 0:
			pins[i] = pin
			gain[pin] += s.size()
		case pin == 0:
			pins[i] = i
			gain[i] += s.size() - s.live()
		default:
			pins[i] = manyPins
		}
	}
	delete(gain, 0)
	delete(gain, manyPins)
	best := order[0]
	for _, i := range order {
		if float64(gain[i])*float64(t.list[best].live()+1) > float64(gain[best])*float64(t.list[i].live()+1) {
			best = i
		}
	}
	if 2*gain[best] < t.list[best].live() {
		return order[0]
	}
	return best
}

// pin returns the one segment because of which those that s depends on stay; 0 when none does.
func (t *segmentTable) pin(s *segment, pins map[uint32]uint32) uint32 {
	pin := uint32(0)
	for o := range s.older {
		if p := pins[o]; p != 0 && !t.list[o].gone {
			if pin != 0 && pin != p {
				return manyPins
			}
			pin = p
		}
	}
	return pin
}

// count is how many segments are not gone.
func (t *segmentTable) count() int { return len(t.present) }

// size is the length of the files that are not gone.
func (t *segmentTable) size() int64 {
	var sum int64
	for _, i := range t.present {
		sum += t.list[i].size()
	}
	return sum
}

// live is the length of what lives, a message counted once for every place it lives at.
func (t *segmentTable) live() int64 {
	var sum int64
	for _, i := range t.present {
		sum += t.list[i].live()
	}
	return sum
}

// kept lists the segments that are not gone, for the header of the one after them.
func (t *segmentTable) kept() []journal.Kept {
	list := make([]journal.Kept, 0, len(t.present))
	for _, i := range t.present {
		list = append(list, journal.Kept{ID: t.list[i].id, End: t.list[i].end})
	}
	return list
}

// reclaim notes that a segment is gone: a record says so.
func (t *segmentTable) reclaim(i uint32) {
	gone := t.list[i]
	if gone.gone {
		return
	}
	gone.gone = true
	gone.reader.retire()
	if gone.saved {
		t.forget = append(t.forget, gone.id.Key())
	}
	delete(t.byID, gone.id)
	t.list[i] = t.ended
	t.present = slices.DeleteFunc(t.present, func(p uint32) bool { return p == i })
	for _, p := range t.present {
		s := t.list[p]
		delete(s.older, i)
		if s.last == i {
			s.last = 0
		}
	}
}
