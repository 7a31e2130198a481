package history

import (
	"sort"
	"time"
)

// A Retention is for how long samples are kept that are so far apart.
type Retention struct{ Every, For time.Duration }

// keep is how many samples that is, both ends included.
func (r Retention) keep() int { return int(r.For/r.Every) + 1 }

// A Series is the history of numbers that are sampled together: the samples of
// each Retention, the finest first.
type Series struct {
	width  int
	levels []level
}

// level is a ring of samples.
type level struct {
	Retention

	times  []int64 // Unix milliseconds
	values []int64 // of each time, side by side
	next   int     // where the next sample goes once the ring is full
}

// NewSeries returns an empty history of samples of width numbers.
func NewSeries(width int, kept ...Retention) *Series {
	s := &Series{width: width, levels: make([]level, len(kept))}
	for i, r := range kept {
		s.levels[i].Retention = r
	}
	return s
}

// Add notes a sample, whose time is not before that of any other.
func (s *Series) Add(at time.Time, values []int64) {
	for i := range s.levels {
		l := &s.levels[i]
		// Ticks come late by a little; half of the distance tells those that are due from those that are not.
		if n := len(l.times); n == 0 || i == 0 || at.UnixMilli()-l.at(n-1) > (l.Every-s.levels[0].Every/2).Milliseconds() {
			l.add(at.UnixMilli(), values)
		}
	}
}

func (l *level) add(at int64, values []int64) {
	if len(l.times) < l.keep() {
		l.times = append(l.times, at)
		l.values = append(l.values, values...)
		return
	}
	l.times[l.next] = at
	copy(l.values[l.next*len(values):], values)
	l.next = (l.next + 1) % len(l.times)
}

// at is the time of the i-th sample, from the oldest on.
func (l *level) at(i int) int64 { return l.times[(l.next+i)%len(l.times)] }

// value is a number of the i-th sample.
func (l *level) value(i, field, width int) int64 {
	return l.values[(l.next+i)%len(l.times)*width+field]
}

// nearest is the sample whose time is closest to t.
func (l *level) nearest(t int64) int {
	i := sort.Search(len(l.times), func(i int) bool { return l.at(i) >= t })
	switch {
	case i == len(l.times):
		return i - 1
	case i > 0 && t-l.at(i-1) < l.at(i)-t:
		return i - 1
	}
	return i
}

// level returns the finest one that reaches back to t, or else as far as any.
func (s *Series) level(t int64) *level {
	best := &s.levels[0]
	for i := range s.levels {
		l := &s.levels[i]
		if len(l.times) == 0 {
			continue
		}
		if l.at(0) <= t {
			return l
		}
		if l.at(0) < best.at(0) {
			best = l
		}
	}
	return best
}

// Detail returns how one of the numbers was in the window, and how it changes.
func (s *Series) Detail(field int, w Window) Detail {
	finest := &s.levels[0]
	n := len(finest.times)
	if n == 0 {
		return Detail{}
	}
	if !w.wanted() {
		if n == 1 {
			return Detail{}
		}
		change := finest.value(n-1, field, s.width) - finest.value(n-2, field, s.width)
		return Detail{Rate: perSecond(change, finest.at(n-1)-finest.at(n-2))}
	}
	last := finest.at(n - 1)
	l := s.level(last - w.Age.Milliseconds())
	slack := finest.Every.Milliseconds() / 2
	var seen []Sample
	for i := range w.points() {
		t := last - int64(i)*w.Every.Milliseconds()
		if t < l.at(0)-slack {
			break // nothing is known of the time before
		}
		from := l
		if finest.at(0)-slack <= t {
			from = finest
		}
		seen = append(seen, Sample{from.value(from.nearest(t), field, s.width), t})
	}
	return detailOf(seen, w.Every.Milliseconds())
}
