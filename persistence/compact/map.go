package compact

import (
	"hash/maphash"
	"iter"
	"math"
)

// Key is what an entry knows of its key. An entry embeds it.
type Key struct {
	at     Place
	hash   uint32
	length uint16
	alive  bool
	Flags  uint8 // the owner's, where there would be nothing
}

// MaxKey is the most bytes that a key may have.
const MaxKey = math.MaxUint16

// Len is the length of the key.
func (k *Key) Len() int { return int(k.length) }

// Alive reports whether the entry is in its Map.
func (k *Key) Alive() bool { return k.alive }

func (k *Key) self() *Key { return k }

// Entry is a type of entries, which embeds Key.
type Entry[E any] interface {
	*E
	self() *Key
}

// Map finds entries by their keys. The zero Map is empty.
type Map[E any, P Entry[E]] struct {
	parts   [mapParts]part
	entries []*[entryBlock]E
	made    int      // of entries, how many were ever in use
	n       int      // how many are
	gone    []uint32 // that were removed and may still be pointed to
	free    []uint32
	keys    Bytes
}

// part is the table of the keys whose hashes begin alike. An entry stands where the rest of its hash says, or in the next place that is free.
type part struct {
	slots []uint32 // 1 + the number of an entry; 0: free
	n     int
}

const (
	mapParts   = 256
	partMin    = 8
	entryBlock = 512

	sparse    = 8 // of the entries that were in use at one time so many as are now, and sparseMin more, are kept for others to come
	sparseMin = 64 * entryBlock
)

//nolint:gochecknoglobals // of this process
var seed = maphash.MakeSeed()

func (m *Map[E, P]) hashed(key string) (*part, uint32) {
	h := maphash.String(seed, key)
	return &m.parts[h>>56], uint32(h)
}

// Len is the number of entries.
func (m *Map[E, P]) Len() int { return m.n }

func (m *Map[E, P]) entry(number uint32) P { return &m.entries[number/entryBlock][number%entryBlock] }

// Get returns the entry of a key, nil if there is none.
func (m *Map[E, P]) Get(key string) P {
	p, hash := m.hashed(key)
	if i := m.find(p, hash, key); i >= 0 {
		return m.entry(p.slots[i] - 1)
	}
	return nil
}

// find returns where in its part the entry of a key is, -1 if there is none.
func (m *Map[E, P]) find(p *part, hash uint32, key string) int {
	if len(p.slots) == 0 {
		return -1
	}
	mask := uint32(len(p.slots) - 1)
	for i := hash & mask; p.slots[i] != 0; i = (i + 1) & mask {
		k := m.entry(p.slots[i] - 1).self()
		if k.hash == hash && int(k.length) == len(key) && string(m.keys.Get(k.at, len(key))) == key {
			return int(i)
		}
	}
	return -1
}

// Key returns the key of an entry that is in the Map.
func (m *Map[E, P]) Key(e P) string { return string(m.keyBytes(e.self())) }

func (m *Map[E, P]) keyBytes(k *Key) []byte { return m.keys.Get(k.at, int(k.length)) }

// Add makes the entry of a key that has none.
func (m *Map[E, P]) Add(key string) P {
	if len(key) > MaxKey {
		panic("compact: a key is too long")
	}
	p, hash := m.hashed(key)
	if p.n++; 4*p.n > 3*len(p.slots) {
		m.grow(p)
	}
	number := m.unused()
	e := m.entry(number)
	*e.self() = Key{at: m.keys.PutString(key), hash: hash, length: uint16(len(key)), alive: true}
	p.place(number, hash)
	m.n++
	return e
}

// unused returns the number of an entry that is in no use, and zero.
func (m *Map[E, P]) unused() uint32 {
	if n := len(m.free); n > 0 {
		number := m.free[n-1]
		m.free = m.free[:n-1]
		var zero E
		*m.entry(number) = zero
		return number
	}
	if m.made == len(m.entries)*entryBlock {
		m.entries = append(m.entries, new([entryBlock]E))
	}
	m.made++
	return uint32(m.made - 1)
}

func (p *part) place(number, hash uint32) {
	mask := uint32(len(p.slots) - 1)
	i := hash & mask
	for p.slots[i] != 0 {
		i = (i + 1) & mask
	}
	p.slots[i] = number + 1
}

// grow doubles the table of a part.
func (m *Map[E, P]) grow(p *part) {
	old := p.slots
	p.slots = make([]uint32, max(partMin, 2*len(old)))
	for _, s := range old {
		if s != 0 {
			p.place(s-1, m.entry(s-1).self().hash)
		}
	}
}

// Remove takes out the entry of a key, if there is one. What is in it can be read until Reuse is called.
func (m *Map[E, P]) Remove(key string) {
	p, hash := m.hashed(key)
	i := m.find(p, hash, key)
	if i < 0 {
		return
	}
	number := p.slots[i] - 1
	k := m.entry(number).self()
	k.alive = false
	m.keys.Drop(k.at, int(k.length))
	m.close(p, uint32(i))
	m.gone = append(m.gone, number)
	m.n--
	if m.keys.Wasteful() {
		m.moveKeys()
	}
}

// close frees a slot. What stands behind it and would not be found any more moves up.
func (m *Map[E, P]) close(p *part, i uint32) {
	if p.n--; p.n == 0 {
		p.slots = nil
		return
	}
	mask := uint32(len(p.slots) - 1)
	for j := (i + 1) & mask; p.slots[j] != 0; j = (j + 1) & mask {
		if home := m.entry(p.slots[j]-1).self().hash & mask; (j-home)&mask >= (j-i)&mask {
			p.slots[i], i = p.slots[j], j
		}
	}
	p.slots[i] = 0
}

// moveKeys puts the keys together.
func (m *Map[E, P]) moveKeys() {
	var keys Bytes
	for e := range m.All() {
		k := e.self()
		k.at = keys.Put(m.keyBytes(k))
	}
	m.keys = keys
}

// Reuse lets go of the entries that were removed, and where few are left of many, of the memory that they took: the entries move then. So
// nothing may point to any.
func (m *Map[E, P]) Reuse() {
	switch {
	case m.n == 0:
		*m = Map[E, P]{}
	case m.made > sparse*m.n+sparseMin:
		m.moveEntries()
	default:
		m.free, m.gone = append(m.free, m.gone...), nil
	}
}

// moveEntries puts the entries, and their keys, together.
func (m *Map[E, P]) moveEntries() {
	var moved Map[E, P]
	for e := range m.All() {
		to := moved.Add(m.Key(e))
		at := to.self().at
		*to = *e
		to.self().at = at
	}
	*m = moved
}

// All yields every entry. The Map may not be changed meanwhile.
func (m *Map[E, P]) All() iter.Seq[P] {
	return func(yield func(P) bool) {
		for number := range uint32(m.made) {
			if e := m.entry(number); e.self().alive && !yield(e) {
				return
			}
		}
	}
}
