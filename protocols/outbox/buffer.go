package outbox

import (
	"net"
	"sync"
)

const (
	// newBuffer is the capacity a buffer starts with: what one write of small
	// frames usually takes on a busy connection.
	newBuffer = 32 << 10
	// maxPooled is the largest buffer that is kept for reuse.
	maxPooled = 1 << 20
	// maxWrite bounds one plain write, so that room is noticed early also
	// where a long stretch waits.
	maxWrite = 256 << 10
)

// A Buffer collects what is to be written. It is valid only during the callback
// it is given to.
type Buffer struct {
	// B is the end of the queue: append to it and assign the result back.
	B []byte

	cuts       []cut // where referenced payloads go, in order
	referenced int   // their bytes

	// Progress of the write.
	off  int // plain: bytes of B written
	vec  net.Buffers
	rest net.Buffers // what remains of vec; WriteTo consumes it
}

// A cut is a payload to be written between B[:at] and B[at:].
type cut struct {
	at      int
	payload []byte
}

// pool holds the buffers of all connections of the process: they are in use
// only while there is something to write, which is what makes sharing pay.
var pool = sync.Pool{New: func() any { return &Buffer{B: make([]byte, 0, newBuffer)} }} //nolint:gochecknoglobals // see above

func takeBuffer() *Buffer { return pool.Get().(*Buffer) }

// free empties the buffer and gives it back.
func (b *Buffer) free() {
	if cap(b.B) > maxPooled {
		return
	}
	b.reset()
	pool.Put(b)
}

// reset drops the bytes and, so that no message stays reachable through an idle
// buffer, the references.
func (b *Buffer) reset() {
	clear(b.cuts)
	clear(b.vec)
	b.B, b.cuts, b.vec, b.rest = b.B[:0], b.cuts[:0], b.vec[:0], nil
	b.off, b.referenced = 0, 0
}

// Reference queues p itself behind what is in B: p is not copied and must not
// change any more. It pays from a few kilobytes on. It is for encoders that
// write a frame from front to end; that of AMQP 0-9-1 splices.
func (b *Buffer) Reference(p []byte) { b.Splice(len(b.B), p) }

// Splice is Reference for an encoder that has written on already: p goes
// between B[:at] and B[at:]. No later splice may go before it.
func (b *Buffer) Splice(at int, p []byte) {
	b.cuts = append(b.cuts, cut{at, p})
	b.referenced += len(p)
}

// Len is the number of bytes to be written.
func (b *Buffer) Len() int { return len(b.B) + b.referenced }

// begin prepares the buffer, which takes no more appends, for writeSome.
func (b *Buffer) begin() {
	if len(b.cuts) == 0 {
		return
	}
	from := 0
	for _, c := range b.cuts {
		if c.at > from {
			b.vec = append(b.vec, b.B[from:c.at])
			from = c.at
		}
		b.vec = append(b.vec, c.payload)
	}
	if from < len(b.B) {
		b.vec = append(b.vec, b.B[from:])
	}
	b.rest = b.vec
}

// writeSome writes once and returns how far it came.
func (b *Buffer) writeSome(conn net.Conn) (n int, done bool, err error) {
	if len(b.cuts) > 0 {
		n, err := b.rest.WriteTo(conn)
		return int(n), len(b.rest) == 0, err
	}
	p := b.B[b.off:]
	n, err = conn.Write(p[:min(len(p), maxWrite)])
	b.off += n
	return n, b.off == len(b.B), err
}
