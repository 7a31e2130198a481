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

// pnode holds one slot per set bit of bitmap, in bit order. At the deepest level bitmap is unused and the slots, whose whole hashes
// are equal, are searched one by one.
type pnode[V any] struct {
	bitmap uint32
	slots  []pslot[V]
}

// pslot is a key with its value, or, where child is set, a node of the next level.
type pslot[V any] struct {
	child *pnode[V]
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
	for shift := 0; ; shift += pmapBits {
		if shift > pmapDepth {
			for i := range n.slots {
				if n.slots[i].key == key {
					return n.slots[i].value, true
				}
			}
			return value, false
		}
		bit := uint32(1) << (hash >> shift & 31)
		if n.bitmap&bit == 0 {
			return value, false
		}
		s := &n.slots[bits.OnesCount32(n.bitmap&(bit-1))]
		switch {
		case s.child != nil:
			n = s.child
		case s.key == key:
			return s.value, true
		default:
			return value, false
		}
	}
}

// with returns the map in which key has value.
func (m pmap[V]) with(key string, value V) pmap[V] {
	added := false
	root := m.root.with(0, pmapHash(key), pslot[V]{key: key, value: value}, &added)
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
	for i := range n.slots {
		s := &n.slots[i]
		if s.child != nil {
			if !s.child.walk(yield) {
				return false
			}
		} else if !yield(s.key, s.value) {
			return false
		}
	}
	return true
}

func (n *pnode[V]) with(shift int, hash uint64, s pslot[V], added *bool) *pnode[V] {
	if n == nil {
		*added = true
		return &pnode[V]{bitmap: bitAt(hash, shift), slots: []pslot[V]{s}}
	}
	if shift > pmapDepth {
		return n.withCollision(s, added)
	}
	bit := bitAt(hash, shift)
	i := bits.OnesCount32(n.bitmap & (bit - 1))
	if n.bitmap&bit == 0 {
		*added = true
		return &pnode[V]{bitmap: n.bitmap | bit, slots: inserted(n.slots, i, s)}
	}
	old := n.slots[i]
	switch {
	case old.child != nil:
		s = pslot[V]{child: old.child.with(shift+pmapBits, hash, s, added)}
	case old.key != s.key:
		s = pslot[V]{child: below(shift, old).with(shift+pmapBits, hash, s, added)}
	}
	slots := slices.Clone(n.slots)
	slots[i] = s
	return &pnode[V]{bitmap: n.bitmap, slots: slots}
}

// inserted returns slots with s at i. It has room for no more: nobody adds to it.
func inserted[V any](slots []pslot[V], i int, s pslot[V]) []pslot[V] {
	next := make([]pslot[V], len(slots)+1)
	copy(next, slots[:i])
	next[i] = s
	copy(next[i+1:], slots[i:])
	return next
}

// below returns a node of the level below shift that holds s alone.
func below[V any](shift int, s pslot[V]) *pnode[V] {
	return &pnode[V]{bitmap: bitAt(pmapHash(s.key), shift+pmapBits), slots: []pslot[V]{s}}
}

// at returns where key's value is, made where there is none. It changes nodes in place.
func (n *pnode[V]) at(key string, hash uint64) (value *V, added bool) {
	for shift := 0; shift <= pmapDepth; shift += pmapBits {
		bit := bitAt(hash, shift)
		i := bits.OnesCount32(n.bitmap & (bit - 1))
		if n.bitmap&bit == 0 {
			n.bitmap |= bit
			n.slots = slices.Insert(n.slots, i, pslot[V]{key: key})
			return &n.slots[i].value, true
		}
		s := &n.slots[i]
		if s.child == nil {
			if s.key == key {
				return &s.value, false
			}
			*s = pslot[V]{child: below(shift, *s)}
		}
		n = s.child
	}
	i := slices.IndexFunc(n.slots, func(o pslot[V]) bool { return o.key == key })
	if i >= 0 {
		return &n.slots[i].value, false
	}
	n.slots = append(n.slots, pslot[V]{key: key})
	return &n.slots[len(n.slots)-1].value, true
}

func (n *pnode[V]) withCollision(s pslot[V], added *bool) *pnode[V] {
	slots := slices.Clone(n.slots)
	i := slices.IndexFunc(slots, func(o pslot[V]) bool { return o.key == s.key })
	if i < 0 {
		*added = true
		slots = append(slots, s)
	} else {
		slots[i] = s
	}
	return &pnode[V]{bitmap: n.bitmap, slots: slots}
}

// without returns nil for a node that would be empty.
func (n *pnode[V]) without(shift int, hash uint64, key string, removed *bool) *pnode[V] {
	if n == nil {
		return nil
	}
	var i int
	var bit uint32
	if shift > pmapDepth {
		i = slices.IndexFunc(n.slots, func(o pslot[V]) bool { return o.key == key })
	} else {
		bit = bitAt(hash, shift)
		i = bits.OnesCount32(n.bitmap & (bit - 1))
		if n.bitmap&bit == 0 {
			i = -1
		}
	}
	if i < 0 {
		return n
	}
	s := n.slots[i]
	if s.child != nil {
		child := s.child.without(shift+pmapBits, hash, key, removed)
		if child != nil {
			slots := slices.Clone(n.slots)
			slots[i] = pslot[V]{child: child}
			return &pnode[V]{bitmap: n.bitmap, slots: slots}
		}
	} else if s.key != key {
		return n
	}
	*removed = true
	if len(n.slots) == 1 {
		return nil
	}
	return &pnode[V]{bitmap: n.bitmap &^ bit, slots: slices.Delete(slices.Clone(n.slots), i, i+1)}
}

// bitAt is the bit of hash in a node at this shift; below the last level every key shares one.
func bitAt(hash uint64, shift int) uint32 {
	if shift > pmapDepth {
		return 1
	}
	return 1 << (hash >> shift & 31)
}
