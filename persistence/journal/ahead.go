package journal

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"syscall"
)

// A segment that grows makes every sync write file metadata: its size, its extents, the file system's own journal. Where the file is
// already full of zeros up to some point, a group before that point overwrites them, and the sync writes nothing but the group. So
// zeros are written ahead of the groups, in the background, while groups are short: see doc.go for the figures that say up to which
// length that is the better bargain.

const (
	// fillBelow is the mean length of groups below which zeros are written ahead of them.
	fillBelow = 24 << 10
	// fillSync is how much is filled between two syncs: a group that is synced meanwhile waits for no more zeros than that.
	fillSync = 512 << 10
	// fillWrite is one write of zeros. It is what a group can have to wait for before it is written; and as the page cache keeps what was
	// written at once together, a longer one would make the kernel look at more when a part of it is overwritten.
	fillWrite = 32 << 10
	// fillAlign is what zeros begin at a multiple of: a page of the file system, which the group before may have begun.
	fillAlign = 4 << 10
)

// ahead is the zeros of one segment. What is written by the writer is claimed first, and nothing that is claimed is filled: of the two,
// that are not in step, the groups win.
type ahead struct {
	opt  *WriterOptions
	path string
	wg   sync.WaitGroup // the goroutine that fills

	mu      sync.Mutex
	claimed int64         // the writer has written up to here, or is about to
	from    int64         // zeros are being written from here to reached
	reached int64         // zeros have been written up to here, or are about to be
	filled  int64         // zeros or groups up to here are durable, as is the file's size
	written chan struct{} // is closed when what is being written has been
	filling bool
	off     bool // nothing is filled any more
	err     error
}

// claim takes the file up to end for groups. Zeros that are being written there already are waited for.
func (a *ahead) claim(end int64) {
	a.mu.Lock()
	a.claimed = end
	meets, written := a.from < a.reached && a.from < end, a.written
	a.mu.Unlock()
	if meets {
		<-written
	}
}

// left is how many zeros follow the groups.
func (a *ahead) left() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return max(a.reached-a.claimed, 0)
}

// failure is the error that a write or a sync of zeros had. It is final, as the writer's own.
func (a *ahead) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// follow sees to it that more zeros are made when what is left of them ends soon. As much is filled as the segment holds by now, between a
// 256th and a 16th of a whole one: what a small store takes on disk stays in proportion to it.
func (a *ahead) follow() {
	a.mu.Lock()
	defer a.mu.Unlock()
	size := a.opt.SegmentSize
	extent := max(min(a.claimed, size/16), size/256)
	if a.off || a.filling || a.filled-a.claimed >= extent/2 || max(a.filled, a.claimed) >= size {
		return
	}
	to := min(max(a.filled, a.claimed)+extent, size)
	if !a.opt.Room(to - a.claimed) {
		return
	}
	a.filling = true
	a.wg.Go(func() { a.fill(to) })
}

// fill writes zeros up to to. It has a file handle of its own: an error of writing back is told to each handle once, and the writer must
// learn of those that concern its groups.
func (a *ahead) fill(to int64) {
	f, err := a.opt.Files.OpenAhead(a.path)
	if err == nil {
		err = errors.Join(a.zeros(f, to), f.Close())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.filling = false
	switch {
	case err == nil:
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		a.off = true // the segment grows, or tells itself that there is no room
	default:
		a.off, a.err = true, fmt.Errorf("fill journal segment %s: %w", a.path, err)
	}
}

func (a *ahead) zeros(f File, to int64) error {
	zeros := make([]byte, fillWrite)
	for more := true; more; {
		var err error
		end := int64(0)
		for n := 0; more && n < fillSync; n += fillWrite {
			if end, more, err = a.step(f, zeros, to); err != nil {
				return err
			}
		}
		if err := f.Sync(); err != nil {
			return err
		}
		a.mu.Lock()
		a.filled = max(a.filled, end)
		a.mu.Unlock()
	}
	return nil
}

// step writes the next zeros, and tells up to where there are any now, and whether more are to come.
func (a *ahead) step(f File, zeros []byte, to int64) (end int64, more bool, err error) {
	from, n := a.next(to)
	if n == 0 {
		return from, false, nil
	}
	a.opt.Filled(n)
	_, err = f.WriteAt(zeros[:n], from)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.from = a.reached
	close(a.written)
	return a.reached, err == nil && a.reached < to, err
}

// next takes the next bytes for zeros; none where the writer has claimed everything up to to, or does not want any more.
func (a *ahead) next(to int64) (from, n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	from = max(a.reached, (a.claimed+fillAlign-1)&^(fillAlign-1))
	if n = min(fillWrite, to-from); n <= 0 || a.off {
		return a.reached, 0
	}
	a.from, a.reached, a.written = from, from+n, make(chan struct{})
	return from, n
}

// stop ends the filling, waits for it, and tells whether the file may be longer than what was claimed.
func (a *ahead) stop() (longer bool) {
	a.mu.Lock()
	a.off = true
	a.mu.Unlock()
	a.wg.Wait()
	return a.reached > a.claimed
}

// rest is how long what follows the walk's place is without the zeros that end the file: those were written ahead, and are no rest of a
// write that was torn.
func (s *frames) rest() (int64, error) {
	for end := s.size; end > s.off; {
		n := min(fillWrite, end-s.off)
		b, err := s.window(end-n, int(n))
		if err != nil {
			return 0, err
		}
		if n := len(bytes.TrimRight(b, "\x00")); n > 0 {
			return end - int64(len(b)) + int64(n) - s.off, nil
		}
		end -= n
	}
	return 0, nil
}
