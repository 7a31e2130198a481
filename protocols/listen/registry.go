package listen

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"
)

// Why a Registry takes no further connection.
var (
	// ErrFull: as many are open as the limit allows.
	ErrFull = errors.New("the connection limit is reached")

	// ErrClosed: the registry has been closed.
	ErrClosed = errors.New("no further connections are taken")
)

// A Registration is a connection's entry in a [Registry]. It does not change.
type Registration[C any] struct {
	ID     uint64 // from 1, increasing: unique in the registry, ever
	Opened time.Time
	Conn   C
}

// A Registry is the open connections of one front-end, as C knows them: which
// there are, since when, and how many there have been. The zero value is empty
// and without a limit. Its methods may be called from any goroutine.
type Registry[C any] struct {
	// Limit bounds the open connections; zero is no bound. It must not be
	// changed once there are any.
	Limit int

	mu     sync.Mutex // a leaf
	open   map[uint64]*Registration[C]
	opened uint64        // ever, which is the last ID
	closed bool          // no more are added
	empty  chan struct{} // made by Drain, closed when the last is removed
}

// Counts says how many connections a Registry has and had.
type Counts struct {
	Open   int // now
	Opened uint64
	Closed uint64
}

// Add enters a connection, or refuses it with [ErrFull] or [ErrClosed].
func (g *Registry[C]) Add(conn C) (*Registration[C], error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return nil, ErrClosed
	case g.Limit > 0 && len(g.open) >= g.Limit:
		return nil, ErrFull
	case g.open == nil:
		g.open = make(map[uint64]*Registration[C])
	}
	g.opened++
	r := &Registration[C]{ID: g.opened, Opened: time.Now(), Conn: conn}
	g.open[r.ID] = r
	return r, nil
}

// Remove takes out what Add has returned.
func (g *Registry[C]) Remove(r *Registration[C]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, r.ID)
	if len(g.open) == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// All yields the connections that are open when the loop begins, in no order.
// The loop holds no lock: what it meets may have been removed meanwhile.
func (g *Registry[C]) All() iter.Seq[*Registration[C]] {
	return func(yield func(*Registration[C]) bool) {
		for _, r := range g.snapshot() {
			if !yield(r) {
				return
			}
		}
	}
}

func (g *Registry[C]) snapshot() []*Registration[C] {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.AppendSeq(make([]*Registration[C], 0, len(g.open)), maps.Values(g.open))
}

// Counts returns the counters as they are now.
func (g *Registry[C]) Counts() Counts {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Counts{Open: len(g.open), Opened: g.opened, Closed: g.opened - uint64(len(g.open))}
}

// Close refuses every further connection. Those that are open it leaves alone:
// who wants them to end tells each of [Registry.All], and then waits in Drain.
func (g *Registry[C]) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// Drain waits until every connection has been removed, or returns the cause of
// the end of ctx. Close comes first, or there can always be another one.
func (g *Registry[C]) Drain(ctx context.Context) error {
	g.mu.Lock()
	if len(g.open) == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.empty == nil {
		g.empty = make(chan struct{})
	}
	empty := g.empty
	g.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
