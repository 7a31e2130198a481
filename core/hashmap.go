package core

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"
)

// pmap is a persistent map from strings: with and without return a new map that shares all but one path with the old one, so readers
// use a snapshot without locks while a writer makes the next. It is a hash array mapped trie with 32-way nodes; an update copies
// O(log n) small nodes. The zero value is an empty map.
type pmap[V any] struct {
	root *pnode[V]
	size int
}

// pnode holds one entry or one child per hash value of its level: entries per set bit of keyed, in bit order, children per set bit of
// parted. They are apart because nodes near the root have children alone: a change copies 8 bytes for each and not what an entry takes. At
// the deepest level the entries, whose whole hashes are equal, are searched one by one. What is not changed is shared with the old
// version, also of one node.
type pnode[V any] struct {
	keyed, parted uint32
	entries       []pentry[V]
	children      []*pnode[V]
}

type pentry[V any] struct {
	key   string
	value V
}

const (
	pmapBits  = 5
	pmapDepth = 60 // shift of the last level that uses hash bits
)

//nolint:gochecknoglobals // one seed per process, read only: maps built by different owners may be compared by hash
var pmapSeed = maphash.MakeSeed()

func pmapHash(key string) uint64 { return maphash.String(pmapSeed, key) }

func (m pmap[V]) len() int { return m.size }

func (m pmap[V]) get(key string) (value V, ok bool) {
	if m.root == nil {
		return value, false
	}
	return m.find(key, pmapHash(key))
}

// find is get for a key whose hash is known.
func (m pmap[V]) find(key string, hash uint64) (value V, ok bool) {
	if m.root == nil {
		return value, false
	}
	n := m.root
	for shift := 0; shift <= pmapDepth; shift += pmapBits {
		bit := bitAt(hash, shift)
		if n.parted&bit != 0 {
			n = n.children[before(n.parted, bit)]
			continue
		}
		if n.keyed&bit != 0 {
			if e := &n.entries[before(n.keyed, bit)]; e.key == key {
				return e.value, true
			}
		}
		return value, false
	}
	if i := n.collided(key); i >= 0 {
		return n.entries[i].value, true
	}
	return value, false
}

// with returns the map in which key has value.
func (m pmap[V]) with(key string, value V) pmap[V] {
	added := false
	root := m.root.with(0, pmapHash(key), pentry[V]{key: key, value: value}, &added)
	size := m.size
	if added {
		size++
	}
	return pmap[V]{root: root, size: size}
}

// without returns the map that lacks key.
func (m pmap[V]) without(key string) pmap[V] {
	removed := false
	root := m.root.without(0, pmapHash(key), key, &removed)
	if !removed {
		return m
	}
	return pmap[V]{root: root, size: m.size - 1}
}

// at returns the place of key's value, made where there is none, in a map that nobody shares with the caller yet: it is changed in place,
// which is several times as fast as with and leaves no garbage. The place is valid until the next call.
func (m *pmap[V]) at(key string) *V {
	if m.root == nil {
		m.root = new(pnode[V])
	}
	value, added := m.root.at(key, pmapHash(key))
	if added {
		m.size++
	}
	return value
}

// all yields every key and value in no particular order.
func (m pmap[V]) all() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) { m.root.walk(yield) }
}

func (n *pnode[V]) walk(yield func(string, V) bool) bool {
	if n == nil {
		return true
	}
	for i := range n.entries {
		if e := &n.entries[i]; !yield(e.key, e.value) {
			return false
		}
	}
	for _, child := range n.children {
		if !child.walk(yield) {
			return false
		}
	}
	return true
}

func (n *pnode[V]) with(shift int, hash uint64, e pentry[V], added *bool) *pnode[V] {
	if n == nil {
		*added = true
		return &pnode[V]{keyed: bitAt(hash, shift), entries: []pentry[V]{e}}
	}
	if shift > pmapDepth {
		return n.withCollision(e, added)
	}
	next := *n
	bit := bitAt(hash, shift)
	i, j := before(n.keyed, bit), before(n.parted, bit)
	switch {
	case n.parted&bit != 0:
		next.children = replaced(n.children, j, n.children[j].with(shift+pmapBits, hash, e, added))
	case n.keyed&bit == 0:
		*added = true
		next.keyed |= bit
		next.entries = inserted(n.entries, i, e)
	case n.entries[i].key == e.key:
		next.entries = replaced(n.entries, i, e)
	default:
		next.part(bit, cutOut(n.entries, i), inserted(n.children, j, below(shift, n.entries[i]).with(shift+pmapBits, hash, e, added)))
	}
	return &next
}

// part makes an entry of n the child that it is in now.
func (n *pnode[V]) part(bit uint32, entries []pentry[V], children []*pnode[V]) {
	n.keyed &^= bit
	n.parted |= bit
	n.entries, n.children = entries, children
}

// inserted returns a copy of list with e at i. It has room for no more: nobody adds to it.
func inserted[E any](list []E, i int, e E) []E {
	next := make([]E, len(list)+1)
	copy(next, list[:i])
	next[i] = e
	copy(next[i+1:], list[i:])
	return next
}

// replaced returns a copy of list with e at i.
func replaced[E any](list []E, i int, e E) []E {
	next := make([]E, len(list))
	copy(next, list)
	next[i] = e
	return next
}

// cutOut returns a copy of list without what is at i.
func cutOut[E any](list []E, i int) []E {
	if len(list) == 1 {
		return nil
	}
	next := make([]E, len(list)-1)
	copy(next, list[:i])
	copy(next[i:], list[i+1:])
	return next
}

// below returns a node of the level below shift that holds e alone.
func below[V any](shift int, e pentry[V]) *pnode[V] {
	return &pnode[V]{keyed: bitAt(pmapHash(e.key), shift+pmapBits), entries: []pentry[V]{e}}
}

// at returns where key's value is, made where there is none. It changes nodes in place.
func (n *pnode[V]) at(key string, hash uint64) (value *V, added bool) {
	for shift := 0; shift <= pmapDepth; shift += pmapBits {
		bit := bitAt(hash, shift)
		i, j := before(n.keyed, bit), before(n.parted, bit)
		switch {
		case n.parted&bit != 0:
		case n.keyed&bit == 0:
			n.keyed |= bit
			n.entries = slices.Insert(n.entries, i, pentry[V]{key: key})
			return &n.entries[i].value, true
		case n.entries[i].key == key:
			return &n.entries[i].value, false
		default:
			child := below(shift, n.entries[i])
			n.part(bit, slices.Delete(n.entries, i, i+1), slices.Insert(n.children, j, child))
		}
		n = n.children[j]
	}
	if i := n.collided(key); i >= 0 {
		return &n.entries[i].value, false
	}
	n.entries = append(n.entries, pentry[V]{key: key})
	return &n.entries[len(n.entries)-1].value, true
}

// collided returns where key is in a node of the deepest level, -1 if it is not there.
func (n *pnode[V]) collided(key string) int {
	return slices.IndexFunc(n.entries, func(e pentry[V]) bool { return e.key == key })
}

func (n *pnode[V]) withCollision(e pentry[V], added *bool) *pnode[V] {
	if i := n.collided(e.key); i >= 0 {
		return &pnode[V]{entries: replaced(n.entries, i, e)}
	}
	*added = true
	return &pnode[V]{entries: inserted(n.entries, len(n.entries), e)}
}

// without returns nil for a node that would be empty.
func (n *pnode[V]) without(shift int, hash uint64, key string, found *bool) *pnode[V] {
	if n == nil {
		return nil
	}
	next := *n
	if shift > pmapDepth {
		i := n.collided(key)
		if i < 0 {
			return n
		}
		*found = true
		next.entries = cutOut(n.entries, i)
		return next.unlessEmpty()
	}
	bit := bitAt(hash, shift)
	i, j := before(n.keyed, bit), before(n.parted, bit)
	switch {
	case n.parted&bit != 0:
		child := n.children[j].without(shift+pmapBits, hash, key, found)
		switch {
		case !*found:
			return n
		case child != nil:
			next.children = replaced(n.children, j, child)
		default:
			next.parted &^= bit
			next.children = cutOut(n.children, j)
		}
	case n.keyed&bit != 0 && n.entries[i].key == key:
		*found = true
		next.keyed &^= bit
		next.entries = cutOut(n.entries, i)
	default:
		return n
	}
	return next.unlessEmpty()
}

func (n *pnode[V]) unlessEmpty() *pnode[V] {
	if len(n.entries) == 0 && len(n.children) == 0 {
		return nil
	}
	return n
}

// before is how many bits are set in front of one.
func before(set, bit uint32) int { return bits.OnesCount32(set & (bit - 1)) }

// bitAt is the bit of hash in a node at this shift; below the last level every key shares one.
func bitAt(hash uint64, shift int) uint32 {
	if shift > pmapDepth {
		return 1
	}
	return 1 << (hash >> shift & 31)
}
