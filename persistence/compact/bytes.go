package compact

import "fmt"

// Place is where bytes lie: the number of their block, and a quarter of their offset in it. The zero Place is none.
type Place uint32

const (
	unit       = 4
	placeBits  = 14
	blockBytes = unit << placeBits
	maxBlocks  = 1 << (32 - placeBits)

	lostBytes = 1 << 20 // of what is gone, at least, before what is not is moved
)

// Bytes keeps pieces of bytes, whose lengths their owners know. A block goes when nothing in it is kept any more; where pieces that stay
// lie between those that go, that may be never: their owner looks at Wasteful, and moves them.
type Bytes struct {
	blocks []block // the first is none
	last   int     // that is being filled; 0: none
	free   []int   // numbers of blocks that went
	size   int64   // of all blocks
	live   int64   // of what is kept
}

type block struct {
	data []byte
	live int
}

// rounded is what n bytes take: something, so that no two have one place.
func rounded(n int) int { return (max(n, 1) + unit - 1) &^ (unit - 1) }

// offset is where a place is in its block.
func offset(p Place) int { return int(p) & (1<<placeBits - 1) * unit }

// Put keeps a copy of data.
func (s *Bytes) Put(data []byte) Place {
	b, p := s.room(len(data))
	b.data = append(b.data, data...)
	s.count(b, p, len(data))
	return p
}

// PutString is Put for a string.
func (s *Bytes) PutString(data string) Place {
	b, p := s.room(len(data))
	b.data = append(b.data, data...)
	s.count(b, p, len(data))
	return p
}

// room returns a block with room for n bytes, and where they will be.
func (s *Bytes) room(n int) (*block, Place) {
	if s.last == 0 || cap(s.blocks[s.last].data)-len(s.blocks[s.last].data) < rounded(n) {
		s.begin(max(blockBytes, rounded(n)))
	}
	b := &s.blocks[s.last]
	return b, Place(s.last<<placeBits | len(b.data)/unit)
}

// begin begins a block. What is too long for one is alone in its own.
func (s *Bytes) begin(size int) {
	if full := s.last; full != 0 {
		if s.last = 0; s.blocks[full].live == 0 {
			s.drop(full)
		}
	}
	if len(s.blocks) == 0 {
		s.blocks = make([]block, 1)
	}
	if n := len(s.free); n > 0 {
		s.last, s.free = s.free[n-1], s.free[:n-1]
	} else {
		s.last, s.blocks = len(s.blocks), append(s.blocks, block{})
	}
	if s.last == maxBlocks {
		panic(fmt.Sprintf("compact: more than %d blocks of bytes", maxBlocks))
	}
	s.blocks[s.last].data = make([]byte, 0, size)
	s.size += int64(size)
}

// count takes n bytes that were put at a place into account.
func (s *Bytes) count(b *block, p Place, n int) {
	b.data = b.data[:offset(p)+rounded(n)]
	b.live += rounded(n)
	s.live += int64(rounded(n))
}

// Get returns the n bytes at a place. They may not be changed.
func (s *Bytes) Get(p Place, n int) []byte {
	from := offset(p)
	return s.blocks[p>>placeBits].data[from : from+n : from+n]
}

// Drop keeps the n bytes at a place no longer.
func (s *Bytes) Drop(p Place, n int) {
	i := int(p >> placeBits)
	b := &s.blocks[i]
	b.live -= rounded(n)
	s.live -= int64(rounded(n))
	if b.live == 0 && i != s.last {
		s.drop(i)
	}
}

// Wasteful reports whether more than half of the memory is lost to what is kept no longer, and whoever knows the places of what is should put
// all of that into new Bytes.
func (s *Bytes) Wasteful() bool { return s.size > 2*s.live+lostBytes }

// drop lets go of a block.
func (s *Bytes) drop(i int) {
	s.size -= int64(cap(s.blocks[i].data))
	s.blocks[i] = block{}
	s.free = append(s.free, i)
}
