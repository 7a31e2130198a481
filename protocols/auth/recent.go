package auth

import "sync"

// A recent is a bounded map of what was used last. It is two maps: when the
// young one is full it becomes the old one, and the old one is forgotten; what
// is found in the old one moves to the young. So nothing that is used at least
// once in half entries is lost, and there is no list to keep in order.
type recent[K comparable, V any] struct {
	half int

	mu         sync.Mutex
	young, old map[K]V
}

// newRecent returns a map that remembers between half of entries and entries.
func newRecent[K comparable, V any](entries int) *recent[K, V] {
	return &recent[K, V]{half: max(entries/2, 1), young: map[K]V{}}
}

func (r *recent[K, V]) get(k K) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.young[k]
	if ok {
		return v, true
	}
	if v, ok = r.old[k]; ok {
		delete(r.old, k)
		r.putLocked(k, v)
	}
	return v, ok
}

func (r *recent[K, V]) put(k K, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.old, k)
	r.putLocked(k, v)
}

func (r *recent[K, V]) putLocked(k K, v V) {
	if _, ok := r.young[k]; !ok && len(r.young) >= r.half {
		r.young, r.old = make(map[K]V), r.young
	}
	r.young[k] = v
}

func (r *recent[K, V]) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.young) + len(r.old)
}
