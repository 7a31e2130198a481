package listen

import (
	"math/bits"
	"sync"
)

// Read buffers come in powers of two from minBuffer to maxPooled; a larger one
// is made for its use and left to the collector.
const (
	minBufferBits = 15 // 32 KiB
	maxPooledBits = 20 // 1 MiB

	minBuffer = 1 << minBufferBits
	maxPooled = 1 << maxPooledBits
)

// A buffer is what the pools hold: a pointer, because a slice put into a
// sync.Pool would allocate its header each time.
type buffer struct{ data []byte }

// pools[i] holds buffers of minBuffer<<i bytes. They are the one state of this
// package, shared by all connections of the process because that is the point.
var pools [maxPooledBits - minBufferBits + 1]sync.Pool //nolint:gochecknoglobals // see above

// class returns the index of the smallest pool whose buffers hold n bytes.
func class(n int) int {
	if n <= minBuffer {
		return 0
	}
	return bits.Len(uint(n-1)) - minBufferBits
}

// takeBuffer returns a buffer of at least n bytes.
func takeBuffer(n int) *buffer {
	if n > maxPooled {
		return &buffer{data: make([]byte, n)}
	}
	c := class(n)
	if b, ok := pools[c].Get().(*buffer); ok {
		return b
	}
	return &buffer{data: make([]byte, minBuffer<<c)}
}

// free gives the buffer back. Its bytes are not cleared: they are overwritten
// before they are read.
func (b *buffer) free() {
	if len(b.data) <= maxPooled {
		pools[class(len(b.data))].Put(b)
	}
}
