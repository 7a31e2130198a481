package core

// inflight is what is out of a subscriber, or released, by id: a table with open addressing. Ids are given out one after the other and mostly come back in that
// order, so that those in use lie together, and an id modulo the size of the table is a place that no other wants: what is looked for is
// where it belongs. Where some stay out for long others are moved aside, those farthest from where they belong last (Robin Hood), and
// moved back when there is room: no search goes beyond an entry that is nearer to its place than what is looked for would be.
//
// A nil table is empty. It belongs to Subscriber.mu, and so does what it returns.
type inflight struct {
	slots []outgoing // a power of two
	n     int
}

const (
	leastInflight = 8

	// keptInflight is how large a table may be that is kept empty while its client is busy.
	keptInflight = 1 << 12
)

func (t *inflight) len() int {
	if t == nil {
		return 0
	}
	return t.n
}

// distance is how far what is at i is from where it belongs.
func (t *inflight) distance(i int) int {
	return (i - int(t.slots[i].id)) & (len(t.slots) - 1)
}

// index returns where id is, -1 if it is not there.
func (t *inflight) index(id uint16) int {
	if t == nil || t.n == 0 {
		return -1
	}
	mask := len(t.slots) - 1
	for far, i := 0, int(id)&mask; ; far, i = far+1, (i+1)&mask {
		switch at := t.slots[i].id; {
		case at == 0:
			return -1
		case at == id:
			return i
		case t.distance(i) < far:
			return -1
		}
	}
}

// get returns what has id, nil if nothing has. It is valid until the next add or remove.
func (t *inflight) get(id uint16) *outgoing {
	if i := t.index(id); i >= 0 {
		return &t.slots[i]
	}
	return nil
}

// add adds o, whose id nothing has, and returns where it is: valid until the next add or remove.
func (t *inflight) add(o outgoing) *outgoing {
	if 4*(t.n+1) > 3*len(t.slots) {
		t.grow()
	}
	t.n++
	id, mask := o.id, len(t.slots)-1
	for far, i := 0, int(id)&mask; ; far, i = far+1, (i+1)&mask {
		at := &t.slots[i]
		if at.id == 0 {
			*at = o
			if o.id == id {
				return at
			}
			return t.get(id)
		}
		if there := t.distance(i); there < far {
			*at, o = o, *at
			far = there
		}
	}
}

func (t *inflight) grow() {
	old := t.slots
	t.slots, t.n = make([]outgoing, max(leastInflight, 2*len(old))), 0
	for i := range old {
		if old[i].id != 0 {
			t.add(old[i])
		}
	}
}

// remove removes id, which is there.
func (t *inflight) remove(id uint16) {
	mask := len(t.slots) - 1
	i := t.index(id)
	for next := (i + 1) & mask; t.slots[next].id != 0 && t.distance(next) > 0; next = (next + 1) & mask {
		t.slots[i] = t.slots[next]
		i = next
	}
	t.slots[i] = outgoing{}
	if t.n--; t.n == 0 && len(t.slots) > keptInflight {
		t.slots = nil
	}
}

// all yields everything, in no order. Nothing may be added or removed meanwhile.
func (t *inflight) all(yield func(*outgoing) bool) {
	if t.len() == 0 {
		return
	}
	for i := range t.slots {
		if o := &t.slots[i]; o.id != 0 && !yield(o) {
			return
		}
	}
}
