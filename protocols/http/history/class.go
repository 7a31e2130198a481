package history

import (
	"slices"
	"sync"
	"time"
)

// MaxHistories is how many objects of a class have one.
const MaxHistories = 256

// Kept is what the history of an object consists of.
func kept(every time.Duration) []Retention {
	return []Retention{{every, 120 * every}, {12 * every, 720 * every}}
}

// A Class is the objects of one kind, by a key that no two of them have.
type Class[K comparable] struct {
	width int
	every time.Duration
	gone  func(K) bool

	mu          sync.Mutex
	before, now time.Time    // of the last samples; zero: there was none
	moving      map[K]*track // objects that the last sample was told of, and those with a history
	remembered  map[K]*track // of those, the ones that have one
	asked       int64        // questions so far
}

// track is what is known of an object: the numbers of the last two samples.
type track struct {
	at        time.Time // of the last sample that the object was told of
	was, last []int64   // was is nil where it is not known
	asked     int64     // the number of the last question for it; 0: there was none

	series *Series // nil: it has no history
}

// NewClass returns a class without objects, of which each has width numbers. It
// is sampled at this distance. gone reports that there is an object no longer; it is
// asked about those that have a history.
func NewClass[K comparable](width int, every time.Duration, gone func(K) bool) *Class[K] {
	return &Class[K]{width: width, every: every, gone: gone, moving: map[K]*track{}, remembered: map[K]*track{}}
}

// Sample notes the numbers of the objects that have changed since the last one: each
// calls note for them, with what they were, and are. What is new was nothing. note does
// not keep the slices. All others are as they were.
func (c *Class[K]) Sample(now time.Time, each func(note func(key K, was, is []int64))) {
	c.mu.Lock()
	c.before, c.now = c.now, now
	c.mu.Unlock()
	each(c.note)
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, t := range c.moving {
		switch {
		case t.at.Equal(now):
		case t.series == nil:
			delete(c.moving, k)
		case c.gone(k):
			delete(c.remembered, k)
			delete(c.moving, k)
		default:
			t.follow(now, t.last, t.last)
		}
	}
}

func (c *Class[K]) note(key K, was, is []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.before.IsZero() || slices.Equal(was, is) {
		return // it is not known since when it is so, or nothing is to be said of it
	}
	t := c.moving[key]
	if t == nil {
		t = new(track)
		c.moving[key] = t
	}
	t.follow(c.now, was, is)
	if t.series == nil && len(c.remembered) < MaxHistories && !c.gone(key) {
		c.remember(key, t)
	}
}

// follow notes one more sample.
func (t *track) follow(now time.Time, was, is []int64) {
	t.at, t.was, t.last = now, append(t.was[:0], was...), append(t.last[:0], is...)
	if t.series != nil {
		t.series.Add(now, is)
	}
}

// remember begins a history with the last sample.
func (c *Class[K]) remember(key K, t *track) {
	t.series = NewSeries(c.width, kept(c.every)...)
	t.series.Add(t.at, t.last)
	c.remembered[key] = t
}

// Look returns how each number of an object changes, and how it was in the window
// that there is for it: windows has one for each number, or is nil. values are what
// the numbers are now. To ask for a window gives the object a history, in place of
// the one that nobody has asked for for longest. What is not known does not change.
func (c *Class[K]) Look(key K, windows []Window, values []int64) []Detail {
	details := make([]Detail, c.width)
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.moving[key]
	if slices.ContainsFunc(windows, Window.wanted) && !c.now.IsZero() {
		t = c.ask(key, t, values)
	}
	if t == nil {
		return details
	}
	for i := range details {
		switch {
		case windows != nil && windows[i].wanted() && t.series != nil:
			details[i] = t.series.Detail(i, windows[i])
		case t.was != nil:
			details[i].Rate = perSecond(t.last[i]-t.was[i], c.now.Sub(c.before).Milliseconds())
		}
	}
	return details
}

// Moves reports whether a number of an object has changed between the last two samples.
func (c *Class[K]) Moves(key K) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.moving[key]
	return t != nil && t.was != nil && !slices.Equal(t.was, t.last)
}

// Now is when the last sample was; zero: there was none.
func (c *Class[K]) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// ask gives an object a history, t being its track.
func (c *Class[K]) ask(key K, t *track, values []int64) *track {
	if t == nil {
		t = &track{at: c.now, last: slices.Clone(values)}
		c.moving[key] = t
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
