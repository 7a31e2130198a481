package amqp091

import (
	"sort"

	"github.com/batonmq/baton/core"
)

// unsettled is a channel's outstanding deliveries in the order of their tags.
//
// Clients settle mostly from the front, so it is a queue; what is settled out of
// order leaves a hole (a zero Delivery) that goes when the front reaches it, or
// when holes are the greater part: one delivery that is never settled must not
// keep the places of millions that were.
type unsettled struct {
	items []outstanding
	head  int // items[:head] are free
	holes int // in items[head:]
}

type outstanding struct {
	tag uint64
	d   core.Delivery
}

func (o *outstanding) isHole() bool { return o.d.Message == nil }

// keepItems is how much room an empty queue keeps.
const keepItems = 1 << 10

func (u *unsettled) len() int { return len(u.items) - u.head - u.holes }

func (u *unsettled) push(tag uint64, d core.Delivery) {
	if len(u.items) == cap(u.items) && u.head > len(u.items)/2 {
		u.compact()
	}
	u.items = append(u.items, outstanding{tag, d})
}

// find returns the index of tag, or -1 if no such delivery is outstanding.
func (u *unsettled) find(tag uint64) int {
	live := u.items[u.head:]
	if len(live) == 0 {
		return -1
	}
	i := 0
	if live[0].tag != tag {
		i = sort.Search(len(live), func(i int) bool { return live[i].tag >= tag })
	}
	if i == len(live) || live[i].tag != tag || live[i].isHole() {
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
	to = append(to, u.items[i].d)
	u.items[i].d = core.Delivery{}
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
		if o := &u.items[u.head]; o.isHole() {
			u.holes--
		} else {
			to = append(to, o.d)
			o.d = core.Delivery{}
		}
	}
	u.trim()
	return to
}

// trim drops holes at the front, and all of them when they are the most part.
func (u *unsettled) trim() {
	for u.head < len(u.items) && u.items[u.head].isHole() {
		u.head++
		u.holes--
	}
	switch {
	case u.head == len(u.items) && cap(u.items) > keepItems:
		*u = unsettled{}
	case u.head == len(u.items):
		u.items, u.head = u.items[:0], 0
	case u.holes > keepItems && u.holes > u.len():
		u.compact()
	}
}

// compact moves what is outstanding to the start.
func (u *unsettled) compact() {
	n := 0
	for i := u.head; i < len(u.items); i++ {
		if !u.items[i].isHole() {
			u.items[n] = u.items[i]
			n++
		}
	}
	clear(u.items[n:])
	u.items, u.head, u.holes = u.items[:n], 0, 0
}
