package history

import (
	"slices"
	"sync"
	"time"
)

const (
	// MaxHistories is how many objects of a class have one.
	MaxHistories = 256

	// Rest is after how many samples without a change an object is still.
	Rest = 12
)

// Kept is what the history of an object consists of.
func kept(every time.Duration) []Retention {
	return []Retention{{every, 120 * every}, {12 * every, 720 * every}}
}

// A Class is the objects of one kind, by a key that no two of them have.
type Class[K comparable] struct {
	width int
	every time.Duration

	mu         sync.Mutex
	now        time.Time    // of the last sample; zero: there was none
	turn       uint64       // 0 or 1, the other one with each sample
	still      map[K]mark   // objects that do not change
	moving     map[K]*track // all others
	remembered map[K]*track // of those, the ones that have a series
	asked      int64        // questions so far
}

// mark tells a sample from another one.
type mark struct {
	print   uint64 // but for its lowest bit: that is the turn in which the object was seen last
	changed int64  // when it was seen to, or was seen first: Unix milliseconds
}

// track is what is known of an object.
type track struct {
	turn  uint64 // in which it was seen last
	calm  int    // samples since it has changed
	moved int64  // when it was seen to: Unix milliseconds
	asked int64  // the number of the last question for it; 0: there was none

	at   time.Time // of the last sample
	last []int64
	from time.Time // of the one before; zero: there was none
	prev []int64

	series *Series // nil: it has no history
}

// NewClass returns a class without objects, of which each has width numbers. It
// is sampled at this distance.
func NewClass[K comparable](width int, every time.Duration) *Class[K] {
	return &Class[K]{width: width, every: every, still: map[K]mark{}, moving: map[K]*track{}, remembered: map[K]*track{}}
}

// Sample notes the numbers of all objects, which each calls note with. What it
// does not mention is gone. note does not keep the slice.
func (c *Class[K]) Sample(now time.Time, each func(note func(key K, values []int64))) {
	c.mu.Lock()
	c.turn ^= 1
	first := c.now.IsZero()
	c.now = now
	c.mu.Unlock()
	seen := 0
	each(func(key K, values []int64) {
		seen++
		c.note(now, first, key, values)
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if seen != len(c.still)+len(c.moving) {
		c.sweep()
	}
}

// sweep forgets what this turn has not seen.
func (c *Class[K]) sweep() {
	for k, m := range c.still {
		if m.print&1 != c.turn {
			delete(c.still, k)
		}
	}
	for k, t := range c.moving {
		if t.turn == c.turn {
			continue
		}
		delete(c.remembered, k)
		delete(c.moving, k)
	}
}

func (c *Class[K]) note(now time.Time, first bool, key K, values []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.moving[key]; t != nil {
		t.turn = c.turn
		t.follow(now, values)
		if t.calm >= Rest && t.series == nil {
			delete(c.moving, key)
			c.still[key] = mark{c.printOf(values), t.moved}
		}
		return
	}
	was, known := c.still[key]
	is := mark{c.printOf(values), was.changed}
	if !known {
		is.changed = now.UnixMilli()
	}
	if known && was.print>>1 == is.print>>1 || !known && first {
		c.still[key] = is
		return
	}
	t := c.move(key, now, values)
	if !known { // it is new, and began with nothing
		t.from, t.prev = now.Add(-c.every), make([]int64, c.width)
	}
	if len(c.remembered) < MaxHistories {
		c.remember(key, t)
	}
}

// move begins to follow an object.
func (c *Class[K]) move(key K, now time.Time, values []int64) *track {
	delete(c.still, key)
	t := &track{turn: c.turn, at: now, last: slices.Clone(values), moved: now.UnixMilli()}
	c.moving[key] = t
	return t
}

// remember begins a history with the last sample.
func (c *Class[K]) remember(key K, t *track) {
	t.series = NewSeries(c.width, kept(c.every)...)
	t.series.Add(t.at, t.last)
	c.remembered[key] = t
}

// follow notes one more sample of what moves.
func (t *track) follow(now time.Time, values []int64) {
	t.calm++
	if !slices.Equal(t.last, values) {
		t.calm, t.moved = 0, now.UnixMilli()
	}
	if t.prev == nil {
		t.prev = make([]int64, len(values))
	}
	t.from, t.prev, t.last = t.at, t.last, t.prev
	t.at = now
	copy(t.last, values)
	if t.series != nil {
		t.series.Add(now, values)
	}
}

// printOf mixes numbers so that samples which differ hardly ever have the same
// print.
func (c *Class[K]) printOf(values []int64) uint64 {
	const odd = 0x9E3779B97F4A7C15 // so that multiplication loses nothing
	h := uint64(odd)
	for _, v := range values {
		h = (h ^ uint64(v)) * odd
		h ^= h >> 29
	}
	return h&^1 | c.turn
}

// Look returns how each number of an object changes, and how it was in the window
// that there is for it: windows has one for each number, or is nil. values are what
// the numbers are now. To ask for a window gives the object a history, in place of
// the one that nobody has asked for for longest. What is not known, as an object
// that has come since the last sample, does not change.
func (c *Class[K]) Look(key K, windows []Window, values []int64) []Detail {
	details := make([]Detail, c.width)
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.moving[key]
	if slices.ContainsFunc(windows, Window.wanted) {
		t = c.ask(key, t, values)
	}
	if t == nil {
		return details
	}
	for i := range details {
		switch {
		case windows != nil && windows[i].wanted() && t.series != nil:
			details[i] = t.series.Detail(i, windows[i])
		case !t.from.IsZero():
			details[i].Rate = perSecond(t.last[i]-t.prev[i], t.at.Sub(t.from).Milliseconds())
		}
	}
	return details
}

// Idle returns since when no number of an object was seen to change: zero if one
// has since the sample before the last, or nothing is known of it.
func (c *Class[K]) Idle(key K) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.moving[key]; t != nil {
		if t.calm == 0 {
			return time.Time{}
		}
		return time.UnixMilli(t.moved)
	}
	if m, known := c.still[key]; known {
		return time.UnixMilli(m.changed)
	}
	return time.Time{}
}

// ask gives an object a history, t being its track.
func (c *Class[K]) ask(key K, t *track, values []int64) *track {
	if t == nil {
		m, known := c.still[key]
		if !known {
			return nil
		}
		t = c.move(key, c.now, values)
		t.calm, t.moved = Rest, m.changed
	}
	c.asked++
	t.asked = c.asked
	if t.series != nil {
		return t
	}
	if len(c.remembered) >= MaxHistories {
		c.forget()
	}
	c.remember(key, t)
	return t
}

// forget ends the history that nobody has asked for for longest.
func (c *Class[K]) forget() {
	var oldest K
	var found *track
	for k, t := range c.remembered {
		if found == nil || t.asked < found.asked {
			oldest, found = k, t
		}
	}
	found.series = nil
	delete(c.remembered, oldest)
}
