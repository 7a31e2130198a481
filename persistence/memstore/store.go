package memstore

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/core"
)

var _ core.Store = (*Store)(nil)

// Errors that end a Store.
var (
	// ErrClosed is what is left to say after Close or Crash.
	ErrClosed = errors.New("memory store is closed")
	// ErrFenced is the final error of a Store whose Disk was opened by another.
	ErrFenced = errors.New("memory store: its disk was opened by another store")
)

// Options say how a Store works. The zero value is a store on a new Disk that passes by itself.
type Options struct {
	Disk   *Disk            // what to open; nil is a new, empty one
	Manual bool             // pass only on Flush, FlushOne and Close
	Now    func() time.Time // the host's clock; nil is time.Now
}

// unit is one call of Commit that has not passed.
type unit struct {
	ops  []core.Op
	size int64
}

// Store is a core.Store on a Disk.
type Store struct {
	disk    *Disk
	clock   func() time.Time
	manual  bool
	wake    chan struct{} // one token: something waits
	stop    chan struct{} // closed: the committer ends
	failed  chan struct{}
	wg      sync.WaitGroup
	pending atomic.Int64
	space   atomic.Pointer[core.Space]

	// passing is held from taking units to the end of their Completions: one pass at a time, in the order of the commits.
	passing sync.Mutex

	mu      sync.Mutex
	waiting []unit
	err     error // the final error, once failed is closed
	ended   bool  // Close or Crash was called: the committer has gone or is about to
	crashed bool  // it was Crash
	closed  error // what Close returned
}

// Open opens a Store on o.Disk.
func Open(o Options) *Store {
	if o.Disk == nil {
		o.Disk = NewDisk()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{
		disk:   o.Disk,
		clock:  o.Now,
		manual: o.Manual,
		wake:   make(chan struct{}, 1),
		stop:   make(chan struct{}),
		failed: make(chan struct{}),
	}
	s.space.Store(&core.Space{})
	s.disk.open(s, o.Now())
	if !s.manual {
		s.wg.Go(s.commitLoop)
	}
	return s
}

// Disk returns what the store keeps its records on, to be opened again.
func (s *Store) Disk() *Disk { return s.disk }

// commitLoop passes everything that waits, again and again, as the committer of a store on disk does.
func (s *Store) commitLoop() {
	for {
		select {
		case <-s.wake:
			s.pass(-1)
		case <-s.stop:
			return
		}
	}
}

// Recover implements core.Store.
func (s *Store) Recover(ctx context.Context) iter.Seq2[core.Definition, error] {
	return func(yield func(core.Definition, error) bool) {
		for _, d := range s.disk.definitions() {
			if ctx.Err() != nil {
				yield(core.Definition{}, context.Cause(ctx))
				return
			}
			if !yield(d, nil) {
				return
			}
		}
	}
}

// Keys implements core.Store.
func (s *Store) Keys(_ context.Context, queue core.QueueID) iter.Seq2[core.KeyedPlace, error] {
	return func(yield func(core.KeyedPlace, error) bool) {
		for _, p := range s.disk.keys(queue) {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// Commit implements core.Store.
func (s *Store) Commit(ops []core.Op) {
	u := unit{ops: slices.Clone(ops)}
	for i := range u.ops {
		u.ops[i].Ranges = slices.Clone(u.ops[i].Ranges)
		u.size += opSize(&u.ops[i])
	}
	s.mu.Lock()
	if s.crashed {
		s.mu.Unlock()
		return // nobody is left to be told
	}
	s.pending.Add(u.size)
	s.waiting = append(s.waiting, u)
	ended := s.ended
	s.mu.Unlock()
	if ended {
		s.pass(-1) // no committer any more: answer here, in order, with ErrClosed once Close is through
		return
	}
	select {
	case s.wake <- struct{}{}:
	default: // the token is there: the committer will see this unit as well
	}
}

// opSize is what an op counts for in Pending: its bytes, and something for the record itself.
func opSize(op *core.Op) int64 {
	const record = 16
	n := record + len(op.Key) + len(op.Value) + record*(len(op.More)+len(op.Ranges))
	if op.Msg != nil {
		n += op.Msg.Size()
	}
	return int64(n)
}

// pass applies up to limit waiting units (all when negative) to the disk, then runs their Completions. It returns how many.
func (s *Store) pass(limit int) int {
	s.passing.Lock()
	defer s.passing.Unlock()
	units, err := s.take(limit)
	for _, u := range units {
		if err == nil {
			err = s.disk.apply(s, u.ops)
		}
		if err != nil {
			s.Fail(err)
		}
		s.pending.Add(-u.size)
	}
	for _, u := range units {
		complete(u, err)
	}
	return len(units)
}

// take removes up to limit units from what waits, and returns the final error if there is one already.
func (s *Store) take(limit int) ([]unit, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.waiting)
	if limit >= 0 {
		n = min(n, limit)
	}
	units := s.waiting[:n:n]
	s.waiting = s.waiting[n:]
	return units, s.err
}

// complete runs a unit's Completions.
func complete(u unit, err error) {
	for i := range u.ops {
		if op := &u.ops[i]; op.Done != nil {
			op.Done.Complete(op.Tag, err)
		}
	}
}

// Flush passes everything that waits and returns how many commits that were.
func (s *Store) Flush() int { return s.pass(-1) }

// FlushOne passes the oldest commit that waits, and reports whether there was one.
func (s *Store) FlushOne() bool { return s.pass(1) == 1 }

// Waiting is the number of commits that have not passed.
func (s *Store) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

// Fail makes err the store's final error, unless it has one. Whatever waits gets it instead of passing: from the committer, or with
// the next Flush of a manual store.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	if s.err == nil && !s.ended {
		s.err = err
		close(s.failed)
	}
	s.mu.Unlock()
}

// Crash ends the store as kill -9 ends a process: what waits is lost, and no Completion runs after Crash has returned.
func (s *Store) Crash() {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended, s.crashed, s.closed = true, true, ErrClosed
	for _, u := range s.waiting {
		s.pending.Add(-u.size)
	}
	s.waiting = nil
	s.mu.Unlock()
	close(s.stop)
	s.wg.Wait()
	s.passing.Lock() // a Flush on another goroutine ends first
	defer s.passing.Unlock()
	s.disk.crash(s)
}

// Pending implements core.Store.
func (s *Store) Pending() int64 { return s.pending.Load() }

// Load implements core.Store. Every call makes new Messages, as a store that reads a disk does.
func (s *Store) Load(queue core.QueueID, from, to core.Seq, maxEntries, maxBytes int) ([]core.Entry, error) {
	s.mu.Lock()
	err := s.err
	if s.ended {
		err = ErrClosed
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return s.disk.load(queue, core.Range{First: from, Last: to}, maxEntries, maxBytes), nil
}

// Space implements core.Store.
func (s *Store) Space() core.Space { return *s.space.Load() }

// SetSpace sets what Space returns.
func (s *Store) SetSpace(v core.Space) { s.space.Store(&v) }

// Failed implements core.Store.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err implements core.Store.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Now implements core.Store.
func (s *Store) Now() time.Time { return s.disk.now(s, s.clock()) }

// Close implements core.Store. It returns the final error of a store that failed, whose disk then carries no mark.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.ended {
		defer s.mu.Unlock()
		return s.closed
	}
	s.ended = true
	s.mu.Unlock()
	close(s.stop)
	s.wg.Wait()
	s.pass(-1)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = s.err
	if err := s.disk.release(s, s.err == nil); s.closed == nil {
		s.closed = err
	}
	return s.closed
}
