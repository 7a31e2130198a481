package listen

import (
	"errors"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// quantum is for how long a reader whose peer always has something for it
	// works before it gives way. It costs a few microseconds to do so.
	quantum = 2 * time.Millisecond

	// instant is what a read takes at most that did not wait, where nothing
	// else tells.
	instant = 20 * time.Microsecond
)

// A turn is a reader's part of the processors. Go's scheduler lets a goroutine
// that does not wait run for 10 ms, and looks whether sockets are ready when
// nothing is runnable, or every 10 ms: sixteen connections that never wait for
// their peers make all others wait for the better part of a second. So a reader
// that was not made to wait by its socket for a quantum gives way to those whose
// sockets are ready, and only then to the others that gave way.
//
// It belongs to the goroutine that reads.
type turn struct {
	since time.Time // when the socket began to have something at each read; zero: it does not
	steps uint8     // pieces that were taken from what is read already
	busy  bool      // the turn counts among those of processors.busy
	alone bool      // it never gives way: what is read is no socket
}

// step is called between two reads, for each piece of what is read already: a
// buffer can hold thousands of frames.
func (t *turn) step() {
	const look = 64 // a look at the clock costs as much as some frames do
	if t.steps++; t.steps%look == 0 {
		t.next()
	}
}

// next is called before a read.
func (t *turn) next() {
	if t.alone {
		return
	}
	now := time.Now()
	switch {
	case t.since.IsZero():
		t.since = now
	case now.Sub(t.since) >= quantum:
		t.giveWay()
	}
}

// giveWay is not in next, whose frame stays on the stack of those that wait.
func (t *turn) giveWay() {
	if !t.busy {
		t.busy = true
		processors.enter()
	}
	processors.yield(runtime.GOMAXPROCS(0))
	t.since = time.Now()
}

// waited is called when the socket had nothing to read, and when the connection
// is over.
func (t *turn) waited() {
	t.since = time.Time{}
	if t.busy {
		t.busy = false
		processors.leave()
	}
}

// processors are shared by the connections of all listeners, as they are the
// process's.
var processors turns //nolint:gochecknoglobals // see above

// arrivals are the accept loops of all listeners.
var arrivals turns //nolint:gochecknoglobals // see processors

// GiveWay lets the connections go first whose sockets are ready, as a reader does
// that never waits: for what takes long between two reads. It is to be called
// about once in a millisecond.
func GiveWay() { processors.pass() }

// turns is a line of readers that gave way. The first of it goes on when the
// scheduler has nothing else to run and looks at the sockets: it is called by a
// byte in a pipe, which is one of them. (Where a pipe is not, as on Windows, to
// stand in line is still to be behind all that is runnable.) As long as there are
// fewer such readers than processors none of them needs to give way.
type turns struct {
	mu      sync.Mutex
	busy    int // readers that have worked for a quantum and did not wait for their socket since
	line    []chan struct{}
	called  bool     // a byte is on its way, or whom it has called is not running yet
	running bool     // the caller exists: as long as anybody is busy
	in, out *os.File // opened once
}

func (t *turns) enter() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy++
}

func (t *turns) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy--; t.busy == 0 && t.running && !t.called {
		t.callLocked() // the caller, that it may end
	}
}

// pass stands in line whoever else is busy: for who does not count while it works.
func (t *turns) pass() {
	t.enter()
	defer t.leave()
	t.yield(1)
}

// yield returns when a busy reader is to go on: at once where fewer are busy than
// is enough.
func (t *turns) yield(enough int) {
	turn, ok := t.stand(enough)
	if !ok {
		return
	}
	<-turn
	t.begin()
}

// begin is called by who was called, when it runs.
func (t *turns) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.called = false; len(t.line) > 0 {
		t.callLocked()
	}
}

// stand adds to the line, or reports false where there is no need to wait.
func (t *turns) stand(enough int) (turn chan struct{}, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy < enough || !t.startLocked() {
		return nil, false
	}
	turn = make(chan struct{})
	t.line = append(t.line, turn)
	if !t.called {
		t.callLocked()
	}
	return turn, true
}

// startLocked reports false when there are no descriptors for a pipe. Later there
// may be.
func (t *turns) startLocked() bool {
	if t.in == nil {
		var err error
		if t.in, t.out, err = os.Pipe(); err != nil {
			return false
		}
	}
	if !t.running {
		t.running = true
		go t.call() // until nobody is busy
	}
	return true
}

// callLocked has the first of the line called. The next is when that one runs, or
// all would be runnable at once.
func (t *turns) callLocked() {
	t.called = true
	_, _ = t.out.Write([]byte{0}) // there is room for one, and nobody closes it
}

func (t *turns) call() {
	var b [1]byte
	for {
		_, _ = t.in.Read(b[:])
		runtime.Gosched() // those whose sockets were found ready with the pipe go first
		t.mu.Lock()
		if len(t.line) == 0 { // nobody is busy: who stands in line is
			t.called, t.running = false, false
			t.mu.Unlock()
			return
		}
		first := t.line[0]
		t.line = slices.Delete(t.line, 0, 1)
		t.mu.Unlock()
		close(first)
	}
}

// TakeTurns returns conn with reads that give way to other connections, as those
// of a [Reader] do: for whoever reads by other means. The goroutine that reads has
// met an error when it stops, so that it does not count any more.
func TakeTurns(conn net.Conn) net.Conn {
	c := &fairConn{Conn: conn, below: below(conn)}
	c.openRaw()
	return c
}

type fairConn struct {
	net.Conn

	turn  turn
	below waiter // see Reader

	// raw is the socket of a connection where a read can tell that it waits,
	// else nil. tryRead is the callback of its Read, made once because a method
	// value allocates; p, n and err carry its arguments and results.
	raw     syscall.RawConn
	tryRead func(fd uintptr) bool
	p       []byte
	n       int
	err     error
}

// NetConn returns the connection below.
func (c *fairConn) NetConn() net.Conn { return c.Conn }

// Read implements net.Conn.
func (c *fairConn) Read(p []byte) (n int, err error) {
	c.turn.next()
	switch {
	case len(p) == 0:
		return 0, nil
	case pending(c.Conn):
		return c.Conn.Read(p)
	case c.raw != nil:
		n, err = c.readRaw(p)
	case c.below != nil:
		n, err = c.readOver(p)
	default:
		return c.turn.read(c.Conn, p)
	}
	if err != nil {
		c.turn.waited()
	}
	return n, err
}

func (c *fairConn) readRaw(p []byte) (int, error) {
	c.p, c.n, c.err = p, 0, nil
	err := c.raw.Read(c.tryRead)
	c.p = nil
	if err != nil {
		return 0, err // the deadline, or closed
	}
	return c.n, c.err
}

func (c *fairConn) readOver(p []byte) (int, error) {
	for {
		c.below.setInstant(true)
		n, err := c.Conn.Read(p)
		c.below.setInstant(false)
		if n > 0 || !errors.Is(err, errNothingYet) {
			return n, err
		}
		c.turn.waited()
		if err := c.below.wait(); err != nil {
			return 0, err
		}
	}
}

// read reads from what does not tell whether it waits.
func (t *turn) read(conn net.Conn, p []byte) (int, error) {
	begun := time.Now()
	n, err := conn.Read(p)
	if err != nil || time.Since(begun) > instant {
		t.waited()
	}
	return n, err
}
