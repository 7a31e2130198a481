package core

import (
	"cmp"
	"context"
	"slices"
	"sort"
)

// To browse a queue is to look at what waits in it, a page at a time, without taking anything out. What is in the store alone is read
// while the queue goes on, so a page tells what was there at some moment since it was asked for: a message of it may have gone since, and
// what was published meanwhile may be missing.

// Position is where a message waits in a queue: higher priorities first, and in each of them in the order of the places.
type Position struct {
	Priority uint8 // of the lane; 0 in a queue without priorities
	Seq      Seq
}

// Browsed is a message that waits.
type Browsed struct {
	Position
	Message   *Message
	Delivered uint32 // how often it may have been delivered before
}

// BrowseSpec asks for a page.
type BrowseSpec struct {
	Queue string
	After Position // the page is what comes behind it; the zero value: the front of the queue
	Count int      // messages at most; 0 means 100, and more than 1,000 are never returned
	Bytes int      // after which the page ends; 0 means 1 MiB, and it never has much more than 16 MiB
}

// Page is what waits behind a position, in order.
type Page struct {
	Messages []Browsed
	More     bool // there may be something behind the last
}

const (
	browseCount, maxBrowseCount = 100, 1000
	browseBytes, maxBrowseBytes = 1 << 20, 16 << 20
)

// bound gives n its default and its maximum.
func bound(n, standard, most int) int {
	if n <= 0 {
		n = standard
	}
	return min(n, most)
}

// Browse returns a page of what waits in a queue. It asks for the right to read.
func (s *Session) Browse(ctx context.Context, spec BrowseSpec) (Page, error) {
	const op = "browse"
	if err := s.allow(op, QueueClass, Read, cleanName(spec.Queue), ""); err != nil {
		return Page{}, err
	}
	q, err := s.find(op, spec.Queue)
	if err != nil {
		return Page{}, err
	}
	s.broker.showPassed()
	q.dropAllExpired()
	p := browsing{queue: q, left: bound(spec.Count, browseCount, maxBrowseCount), bytes: bound(spec.Bytes, browseBytes, maxBrowseBytes)}
	for _, at := range q.priorities(spec.After) {
		if err := p.browse(ctx, at); err != nil {
			return Page{}, err
		}
		if p.full() {
			return Page{Messages: p.found, More: true}, nil
		}
	}
	return Page{Messages: p.found}, nil
}

// priorities returns where to begin in each lane to find what is behind a position: the highest lane first.
func (q *Queue) priorities(after Position) (from []Position) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for l := range q.lanes {
		switch {
		case after.Seq == 0 || l.priority < after.Priority:
			from = append(from, Position{Priority: l.priority})
		case l.priority == after.Priority:
			from = append(from, after)
		}
	}
	return from
}

// browsing is a page that is being made.
type browsing struct {
	queue       *Queue
	found       []Browsed
	left, bytes int
}

func (p *browsing) full() bool { return p.left <= 0 || p.bytes <= 0 }

func (p *browsing) add(b Browsed) {
	p.found = append(p.found, b)
	p.left--
	p.bytes -= b.Message.Size()
}

// browse adds what waits behind a position in its lane. Each turn takes what can be seen without the store, up to where that alone has
// something, and then reads on from there.
func (p *browsing) browse(ctx context.Context, at Position) error {
	for !p.full() {
		seen, gap, id := p.queue.seen(at, p.left)
		for _, b := range seen {
			if p.full() {
				return nil
			}
			p.add(b)
			at.Seq = b.Seq
		}
		if gap == (Range{}) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		next, err := p.read(at.Priority, id, gap)
		if err != nil {
			return err
		}
		at.Seq = next
	}
	return nil
}

// read adds what the store has in a range of places that wait, and returns the last place that was looked at.
func (p *browsing) read(priority uint8, id QueueID, gap Range) (Seq, error) {
	entries, err := p.queue.vhost.broker.store.Load(id, gap.First, gap.Last, p.left, p.bytes)
	if err != nil {
		return 0, err
	}
	for i := range entries {
		e := &entries[i]
		p.add(Browsed{Position: Position{Priority: priority, Seq: e.Seq}, Message: e.Msg, Delivered: e.Delivered})
		if p.full() {
			return e.Seq, nil
		}
	}
	if n := len(entries); n > 0 {
		return entries[n-1].Seq, nil
	}
	return gap.Last, nil
}

// seen returns what waits behind a position in its lane and is in memory, up to the first message that is not, and the places where that is
// and those behind it may be: none if nothing is in the store alone. id is the lane's.
func (q *Queue) seen(after Position, most int) (seen []Browsed, gap Range, id QueueID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for l := range q.lanes {
		if l.priority == after.Priority {
			seen, gap = l.seen(after.Seq, most)
			return seen, gap, l.id
		}
	}
	return nil, Range{}, 0
}

func (l *lane) seen(after Seq, most int) (seen []Browsed, gap Range) {
	// take notes an entry, and reports whether to go on.
	take := func(e *entry) bool {
		switch {
		case len(seen) == most:
			return false
		case e.hidden || e.seq <= after:
		case e.msg == nil && gap == (Range{}):
			gap = Range{First: e.seq, Last: e.seq}
		case e.msg == nil && e.seq == gap.Last+1:
			gap.Last = e.seq
		case gap != (Range{}):
			return false
		default:
			seen = append(seen, Browsed{Position: Position{Priority: l.priority, Seq: e.seq}, Message: e.msg, Delivered: uint32(e.delivered)})
		}
		return true
	}
	for _, e := range l.returnedAfter(after) {
		if !take(&e) {
			return seen, gap
		}
	}
	for i := firstAfter(&l.head, after); i < l.head.len(); i++ {
		if !take(l.head.at(i)) {
			return seen, gap
		}
	}
	if l.cold.n > 0 && l.cold.to > after && len(seen) < most && gap == (Range{}) {
		return seen, Range{First: max(l.cold.from, after+1), Last: l.cold.to}
	}
	for i := firstAfter(&l.tail, after); i < l.tail.len(); i++ {
		if !take(l.tail.at(i)) {
			return seen, gap
		}
	}
	return seen, gap
}

// returnedAfter returns the entries that were put back behind a place, in order.
func (l *lane) returnedAfter(after Seq) (list []entry) {
	for _, e := range l.returned {
		if e.seq > after {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b entry) int { return cmp.Compare(a.seq, b.seq) })
	return list
}

// firstAfter returns the index of the first entry behind a place.
func firstAfter(d *deque[entry], after Seq) int {
	return sort.Search(d.len(), func(i int) bool { return d.at(i).seq > after })
}
