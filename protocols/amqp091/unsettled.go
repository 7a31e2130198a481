package amqp091

import (
	"cmp"
	"slices"
	"sort"

	"github.com/batonmq/baton/core"
)

// unsettled is a channel's outstanding deliveries in the order of their tags.
//
// Clients settle mostly from the front, so it is a queue; what is settled out of
// order leaves a hole (a zero Delivery) that goes when the front reaches it, or
// when holes are the greater part: one delivery that is never settled must not
// keep the places of millions that were.
//
// Their messages have been encoded, and serve for no more than to go back to
// their queues. The newest keep theirs, since most clients settle soon; beyond
// wholeBytes the engine is asked to let go of the others.
type unsettled struct {
	items []core.Delivery
	head  int // items[:head] are free
	holes int // in items[head:]
	whole int // items[:whole] have been unloaded, as far as they can be
	bytes int // of the messages of items[whole:]
}

// isHole: places begin with 1.
func isHole(d *core.Delivery) bool { return d.Seq == 0 }

// keepItems is how much room an empty queue keeps.
const keepItems = 1 << 10

// wholeBytes is how many bytes of messages a channel keeps beside its outbox.
const wholeBytes = 256 << 10

func (u *unsettled) len() int { return len(u.items) - u.head - u.holes }

func (u *unsettled) push(d core.Delivery) {
	if len(u.items) == cap(u.items) && u.head > len(u.items)/2 {
		u.compact()
	}
	u.items = append(u.items, d)
	u.bytes += d.Size()
	u.unload()
}

// unload has the oldest messages let go while there are too many bytes of them.
// One that the store does not have yet is asked for with the next push.
func (u *unsettled) unload() {
	for last := len(u.items) - 1; u.bytes > wholeBytes && u.whole < last; u.whole++ {
		d := &u.items[u.whole]
		if isHole(d) {
			continue
		}
		if !d.Unload() {
			return
		}
		u.bytes -= d.Size()
	}
}

// taken takes the delivery at i out of the sums.
func (u *unsettled) taken(i int) core.Delivery {
	d := u.items[i]
	if i >= u.whole {
		u.bytes -= d.Size()
	}
	u.items[i] = core.Delivery{Tag: d.Tag}
	return d
}

// find returns the index of tag, or -1 if no such delivery is outstanding.
func (u *unsettled) find(tag uint64) int {
	live := u.items[u.head:]
	if len(live) == 0 {
		return -1
	}
	i := 0
	if live[0].Tag != tag {
		i = sort.Search(len(live), func(i int) bool { return live[i].Tag >= tag })
	}
	if i == len(live) || live[i].Tag != tag || isHole(&live[i]) {
		return -1
	}
	return u.head + i
}

// take moves the delivery of tag to the end of to. It reports false if there is
// none.
func (u *unsettled) take(tag uint64, to []core.Delivery) ([]core.Delivery, bool) {
	i := u.find(tag)
	if i < 0 {
		return to, false
	}
	to = append(to, u.taken(i))
	u.holes++
	u.trim()
	return to, true
}

// takeUpTo moves the delivery of tag and all before it to the end of to.
func (u *unsettled) takeUpTo(tag uint64, to []core.Delivery) ([]core.Delivery, bool) {
	i := u.find(tag)
	if i < 0 {
		return to, false
	}
	return u.takeFront(i+1, to), true
}

// takeAll moves everything to the end of to.
func (u *unsettled) takeAll(to []core.Delivery) []core.Delivery {
	return u.takeFront(len(u.items), to)
}

// takeFront moves items[:end] to the end of to.
func (u *unsettled) takeFront(end int, to []core.Delivery) []core.Delivery {
	for ; u.head < end; u.head++ {
		if isHole(&u.items[u.head]) {
			u.holes--
		} else {
			to = append(to, u.taken(u.head))
		}
	}
	u.trim()
	return to
}

// putBack takes deliveries that were taken, in any order.
func (u *unsettled) putBack(ds []core.Delivery) {
	all := u.takeAll(slices.Clone(ds))
	slices.SortFunc(all, func(a, b core.Delivery) int { return cmp.Compare(a.Tag, b.Tag) })
	for _, d := range all {
		u.push(d)
	}
}

// trim drops holes at the front, and all of them when they are the most part.
func (u *unsettled) trim() {
	for u.head < len(u.items) && isHole(&u.items[u.head]) {
		u.head++
		u.holes--
	}
	switch {
	case u.head == len(u.items) && cap(u.items) > keepItems:
		*u = unsettled{}
	case u.head == len(u.items):
		u.items, u.head, u.whole = u.items[:0], 0, 0
	case u.holes > keepItems && u.holes > u.len():
		u.compact()
	}
}

// compact moves what is outstanding to the start.
func (u *unsettled) compact() {
	n, whole := 0, 0
	for i := u.head; i < len(u.items); i++ {
		if i == u.whole {
			whole = n
		}
		if !isHole(&u.items[i]) {
			u.items[n] = u.items[i]
			n++
		}
	}
	clear(u.items[n:])
	u.items, u.head, u.holes, u.whole = u.items[:n], 0, 0, whole
}
