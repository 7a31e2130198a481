package core

// deque is a growable ring. The zero value is empty and ready. It gives memory back when it has become much too large, and what
// is more than little when it is drained: many queues that are idle must not keep what each once needed.
type deque[T any] struct {
	buf  []T   // len(buf) is 0 or a power of two
	head int32 // index of the first element
	n    int32 // of a hundred thousand deques most are empty: their size counts
}

const dequeMin = 8

func (d *deque[T]) len() int { return int(d.n) }

// at returns the i-th element from the front. The pointer is valid until the next push or pop.
func (d *deque[T]) at(i int) *T { return &d.buf[(int(d.head)+i)&(len(d.buf)-1)] }

func (d *deque[T]) pushBack(v T) {
	if d.len() == len(d.buf) {
		d.resize(max(dequeMin, 2*len(d.buf)))
	}
	*d.at(d.len()) = v
	d.n++
}

func (d *deque[T]) popFront() T {
	var zero T
	v := d.buf[d.head]
	d.buf[d.head] = zero
	d.head = (d.head + 1) & int32(len(d.buf)-1)
	d.n--
	switch {
	case d.n == 0 && len(d.buf) > 4*dequeMin:
		*d = deque[T]{}
	case len(d.buf) > 64*dequeMin && d.len() < len(d.buf)/8:
		d.resize(len(d.buf) / 4)
	}
	return v
}

func (d *deque[T]) resize(size int) {
	buf := make([]T, size)
	for i := range d.len() {
		buf[i] = *d.at(i)
	}
	d.buf, d.head = buf, 0
}
