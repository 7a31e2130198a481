package listen

import (
	"errors"
	"net"
)

// What a client may send for its part of a handshake. crypto/tls would keep 64
// KiB of a hello that never ends, and 256 KiB of a certificate; of ten thousand
// connections that adds up. A hello has some 2 KiB, a chain of certificates may
// have ten times that.
const (
	maxHandshake         = 16 << 10
	maxHandshakeWithCert = 32 << 10
)

var errHandshakeTooLong = errors.New("the client's part of the handshake does not end")

// An inlet is a connection below TLS that lets no more bytes in than a handshake
// needs until that is done.
type inlet struct {
	net.Conn

	left int // negative: no bound any more
}

// done lifts the bound. Whoever has made the handshake calls it.
func (c *inlet) done() { c.left = -1 }

func (c *inlet) Read(p []byte) (int, error) {
	switch {
	case c.left < 0:
		return c.Conn.Read(p)
	case c.left == 0:
		return 0, errHandshakeTooLong
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// A waiter is a transport below TLS that a [Reader] can ask not to wait. crypto/tls wants a
// buffer to decrypt into before it knows whether there is anything to read; a
// Reader of ten thousand quiet connections would hold ten thousand. So it reads
// with the transport set to instant, gives its buffer back where that yields
// errNothingYet, and waits below TLS.
type waiter interface {
	// setInstant makes reads fail with errNothingYet where they would wait. It
	// concerns the goroutine that reads and is called by it.
	setInstant(bool)

	// wait returns when there is something to read, or with the error of the
	// connection: its deadline, its end.
	wait() error
}

// errNothingYet must look like an expired deadline to crypto/tls, which takes
// every other error for the end of the connection.
var errNothingYet net.Error = nothingYetError{}

type nothingYetError struct{}

func (nothingYetError) Error() string   { return "nothing to read yet" }
func (nothingYetError) Timeout() bool   { return true }
func (nothingYetError) Temporary() bool { return true }

// readOver reads once from a connection over a waiter, which may be nil.
func (r *Reader) readOver(least int) error {
	for {
		r.makeRoom(least)
		n, err := r.readInstant()
		r.end += n
		if n > 0 {
			return nil // an error beside bytes comes again
		}
		if r.start == r.end {
			r.Release()
		}
		if !errors.Is(err, errNothingYet) {
			return err
		}
		r.turn.waited()
		if err := r.below.wait(); err != nil {
			return err
		}
	}
}

func (r *Reader) readInstant() (int, error) {
	if r.below == nil {
		return r.turn.read(r.conn, r.buf.data[r.end:])
	}
	r.below.setInstant(true)
	defer r.below.setInstant(false)
	return r.conn.Read(r.buf.data[r.end:])
}
