package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// ErrLimit is Fill's refusal to buffer more than the Reader's limit.
var ErrLimit = errors.New("more than the read buffer's limit")

// A Reader reads a connection through a pooled buffer that it holds only while
// bytes are in it. One goroutine at a time uses it.
//
// The usual loop is Fill(header), decode from Buffered, Discard, Fill(payload),
// and so on; ReadFull takes a large payload past the buffer into its final
// slice, for protocols whose frame holds a whole message (those of AMQP 0-9-1
// fit the buffer). Read deadlines of the connection hold, and after os.ErrDeadlineExceeded
// the bytes read so far are still buffered.
type Reader struct {
	conn  net.Conn
	limit int

	// buf holds the unread bytes as data[start:end]; nil when there are none
	// and the Reader waits or has been released.
	buf        *buffer
	start, end int

	// raw is the socket below conn where reads can start without a buffer,
	// else nil. tryRead is the callback of its Read, made once because a
	// method value allocates; n, need and err carry its arguments and results.
	raw     syscall.RawConn
	tryRead func(fd uintptr) bool
	need    int
	n       int
	err     error

	// below is what carries conn where that is TLS and reads of it can be told
	// not to wait, else nil.
	below waiter

	turn turn
}

// NewReader returns a Reader of conn that buffers up to limit bytes: the longest
// stretch Fill may be asked for. The limit is raised to the smallest buffer.
func NewReader(conn net.Conn, limit int) *Reader {
	r := &Reader{conn: conn, limit: max(limit, minBuffer)}
	r.openRaw()
	r.below = below(conn)
	switch conn.(type) {
	case socketConn, *tls.Conn:
	default:
		r.turn.alone = true
	}
	if p, ok := conn.(*proxied); ok && pending(p) {
		r.makeRoom(len(p.early))
		r.end, p.early = copy(r.buf.data, p.early), nil
	}
	return r
}

// A socketConn is a connection whose bytes are those of its socket, and may be
// read from that: of TCP, also through a proxy, or of a unix socket.
type socketConn interface {
	net.Conn
	syscall.Conn
}

// SetLimit changes the limit, as when a larger frame has been agreed on.
func (r *Reader) SetLimit(limit int) { r.limit = max(limit, minBuffer) }

// Buffered returns the unread bytes. They belong to the Reader and are valid
// until the next Fill, ReadFull or Release; Discard leaves them as they are.
func (r *Reader) Buffered() []byte {
	if r.buf == nil {
		return nil
	}
	return r.buf.data[r.start:r.end]
}

// Discard drops the first n unread bytes, a frame or a part of one, and gives way
// to other connections when it is time to. It panics if there are fewer.
func (r *Reader) Discard(n int) {
	if n < 0 || n > r.end-r.start {
		panic(fmt.Sprintf("listen: discard %d of %d buffered bytes", n, r.end-r.start))
	}
	r.start += n
	r.turn.step()
}

// Fill reads until at least least bytes are unread, as many at a time as are
// there. It returns at once where enough are buffered. The end of the stream is
// io.EOF with nothing buffered and io.ErrUnexpectedEOF amid a stretch.
func (r *Reader) Fill(least int) error {
	if least > r.limit {
		return r.overLimit(least)
	}
	for r.end-r.start < least {
		if err := r.readSome(least); err != nil {
			if errors.Is(err, io.EOF) && r.end > r.start {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// overLimit is not in Fill, whose frame stays on the stack of those that wait.
func (r *Reader) overLimit(least int) error {
	return fmt.Errorf("buffer %d bytes of at most %d: %w", least, r.limit, ErrLimit)
}

// ReadFull fills p with the next bytes. What is buffered is copied; a long
// remainder goes from the socket straight into p, a short one through the
// buffer, so that what follows it comes with the same system call. After an
// error it is not known how much of p was filled: the stream is lost.
func (r *Reader) ReadFull(p []byte) error {
	n := copy(p, r.Buffered())
	r.start += n
	for rest := p[n:]; len(rest) > 0; {
		if len(rest) < minBuffer {
			if err := r.Fill(len(rest)); err != nil {
				return unexpected(err, len(rest) < len(p))
			}
			r.start += copy(rest, r.Buffered())
			return nil
		}
		m, err := r.conn.Read(rest)
		rest = rest[m:]
		if err != nil && len(rest) > 0 {
			return unexpected(err, len(rest) < len(p))
		}
	}
	return nil
}

// Release gives the buffer and the unread bytes up. The Reader may be used on.
func (r *Reader) Release() {
	if r.buf != nil {
		r.buf.free()
		r.buf = nil
	}
	r.start, r.end = 0, 0
	r.turn.waited()
}

// unexpected makes the end of the stream amid a stretch an error of its own.
func unexpected(err error, amid bool) error {
	if amid && errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readSome reads once, with room for least bytes in all.
func (r *Reader) readSome(least int) error {
	r.turn.next()
	if r.raw == nil {
		return r.readOver(least)
	}
	r.need, r.n, r.err = least, 0, nil
	err := r.raw.Read(r.tryRead)
	if r.start == r.end {
		r.Release() // a wait that failed: deadline or close
	}
	if err != nil {
		return err
	}
	return r.err
}

// makeRoom moves the unread bytes to the start of a buffer that can hold least
// bytes in all. They are part of one frame, so there is little to move.
func (r *Reader) makeRoom(least int) {
	switch {
	case r.buf == nil:
		r.buf = takeBuffer(least)
	case len(r.buf.data) < least:
		larger := takeBuffer(least)
		copy(larger.data, r.buf.data[r.start:r.end])
		r.buf.free()
		r.buf = larger
	case r.start > 0:
		copy(r.buf.data, r.buf.data[r.start:r.end])
	}
	r.start, r.end = 0, r.end-r.start
}
