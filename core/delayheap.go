package core

import "slices"

// delayHeap is a binary min-heap of delayed messages by when they are due, and of those due at once by place.
type delayHeap []delayed

func (h *delayHeap) before(i, j int) bool {
	a, b := &(*h)[i], &(*h)[j]
	return a.due < b.due || a.due == b.due && a.seq < b.seq
}

func (h *delayHeap) push(e delayed) {
	*h = append(*h, e)
	h.up(len(*h) - 1)
}

func (h *delayHeap) pop() delayed { return h.remove(0) }

// remove takes out the entry at an index.
func (h *delayHeap) remove(i int) delayed {
	s := *h
	e, last := s[i], len(s)-1
	s[i] = s[last]
	s[last] = delayed{}
	if *h = s[:last]; i < last {
		h.down(i)
		h.up(i)
	}
	if last == 0 {
		*h = nil
	}
	return e
}

func (h *delayHeap) up(i int) {
	s := *h
	for i > 0 {
		parent := (i - 1) / 2
		if h.before(parent, i) {
			return
		}
		s[i], s[parent] = s[parent], s[i]
		i = parent
	}
}

func (h *delayHeap) down(i int) {
	s := *h
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(s); child++ {
			if h.before(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		s[i], s[least] = s[least], s[i]
		i = least
	}
}

// find returns the index of a place, -1 if it is not there.
func (h *delayHeap) find(seq Seq) int {
	return slices.IndexFunc(*h, func(e delayed) bool { return e.seq == seq })
}

// ranges returns places as ranges, in order. It sorts them.
func ranges(places []Seq) []Range { return ranged(places, 1) }

// near is ranges of places among which others may lie: what is read at once.
func near(places []Seq) []Range { return ranged(places, 64) }

func ranged(places []Seq, gap Seq) (rs []Range) {
	slices.Sort(places)
	for _, p := range places {
		if n := len(rs); n > 0 && p-rs[n-1].Last <= gap {
			rs[n-1].Last = p
		} else {
			rs = append(rs, Range{First: p, Last: p})
		}
	}
	return rs
}
