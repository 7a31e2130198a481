package core

// Something that goes on is said when it begins, and then again after times that double.
const (
	nagFirst = 60   // seconds
	nagMost  = 3600 // after as long without it, it begins anew
)

// A nag says when something is to be said again. The zero value is ready. Times are seconds of the broker's life.
type nag struct{ next, wait uint32 }

// due reports whether to say now that it goes on.
func (n *nag) due(now uint32) bool {
	if now < n.next {
		return false
	}
	if n.wait == 0 || now-n.next >= nagMost {
		n.wait = nagFirst
	} else {
		n.wait = min(2*n.wait, nagMost)
	}
	n.next = now + n.wait
	return true
}
