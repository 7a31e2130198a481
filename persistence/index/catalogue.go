package index

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"slices"

	"github.com/batonmq/baton/persistence/compact"
)

// catalogue is every value that the root accounts for, by version. It is kept in memory (some 50 bytes for a chunk of a thousand
// entries), so that replacing or removing a value never has to search a tree in which the deleted is still passed over.
type catalogue struct {
	definitions compact.Map[definition, *definition]
	queues      map[uint64]*queueVersions
	segments    map[uint64]version
	chunks      int // of all queues
}

// definition is a definition's version. There may be millions.
type definition struct {
	compact.Key
	crc uint32
	gen uint64
}

// digestSeeds are of this process.
var digestSeeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

// digest stands for a definition's key in the catalogue, where nobody asks what the key was: 128 bits, under seeds of this process, which
// no two keys that a store will ever see share. It takes half of a key's room.
func digest(key string) string {
	var d [16]byte
	binary.NativeEndian.PutUint64(d[:], maphash.String(digestSeeds[0], key))
	binary.NativeEndian.PutUint64(d[8:], maphash.String(digestSeeds[1], key))
	return string(d[:])
}

func (d *definition) version() version { return version{gen: d.gen, crc: d.crc} }

// queueVersions is a queue's own version and those of its chunks, by ascending number.
type queueVersions struct {
	self    version
	present bool // self is set: while loading, chunks may be met before their queue
	chunks  []chunkVersion
}

type chunkVersion struct {
	number uint64
	version
}

func newCatalogue() *catalogue { return newCatalogueFor(&rootRecord{}) }

// newCatalogueFor has room for what a root accounts for: growing maps of hundreds of thousands of queues would be a part of what a start
// takes. A root that is not what it seems asks for no more than some MiB.
func newCatalogueFor(r *rootRecord) *catalogue {
	return &catalogue{
		queues:   make(map[uint64]*queueVersions, room(r, kindQueue)),
		segments: make(map[uint64]version, room(r, kindSegment)),
	}
}

func room(r *rootRecord, k kind) int { return int(min(r.tally(k).count, 1<<20)) }

// find returns the index of a chunk, or where it belongs.
func (q *queueVersions) find(number uint64) (int, bool) {
	if n := len(q.chunks); n == 0 || q.chunks[n-1].number < number {
		return n, false
	}
	return slices.BinarySearchFunc(q.chunks, number, func(c chunkVersion, n uint64) int { return cmp.Compare(c.number, n) })
}

// get returns d's version.
func (c *catalogue) get(d id) (v version, found bool) {
	switch d.kind {
	case kindDefinition:
		if def := c.definitions.Get(digest(d.key)); def != nil {
			return def.version(), true
		}
	case kindSegment:
		v, found = c.segments[d.number]
	case kindQueue:
		if q := c.queues[d.queue]; q != nil && q.present {
			return q.self, true
		}
	case kindChunk:
		if q := c.queues[d.queue]; q != nil {
			if i, ok := q.find(d.number); ok {
				return q.chunks[i].version, true
			}
		}
	}
	return v, found
}

// set makes v the version of d. A chunk's queue is made when it is not there.
func (c *catalogue) set(d id, v version) {
	switch d.kind {
	case kindDefinition:
		key := digest(d.key)
		def := c.definitions.Get(key)
		if def == nil {
			def = c.definitions.Add(key)
		}
		def.gen, def.crc = v.gen, v.crc
	case kindSegment:
		c.segments[d.number] = v
	case kindQueue:
		q := c.queue(d.queue)
		q.self, q.present = v, true
	case kindChunk:
		q := c.queue(d.queue)
		i, found := q.find(d.number)
		if !found {
			q.chunks = slices.Insert(q.chunks, i, chunkVersion{number: d.number})
			c.chunks++
		}
		q.chunks[i].version = v
	}
}

func (c *catalogue) queue(id uint64) *queueVersions {
	q := c.queues[id]
	if q == nil {
		q = &queueVersions{}
		c.queues[id] = q
	}
	return q
}

// drop forgets d. A queue must have no chunks any more.
func (c *catalogue) drop(d id) {
	switch d.kind {
	case kindDefinition:
		c.definitions.Remove(digest(d.key))
		c.definitions.Reuse()
	case kindSegment:
		delete(c.segments, d.number)
	case kindQueue:
		delete(c.queues, d.queue)
	case kindChunk:
		q := c.queues[d.queue]
		i, found := q.find(d.number)
		switch {
		case !found:
			return
		case i == 0: // a queue is consumed from its head
			q.chunks = q.chunks[1:]
		default:
			q.chunks = slices.Delete(q.chunks, i, i+1)
		}
		c.chunks--
	}
}
