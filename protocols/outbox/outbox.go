package outbox

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of Options.
const (
	DefaultHigh         = 256 << 10
	DefaultStallTimeout = 30 * time.Second
)

// failed is the size of an outbox whose connection is lost: never ready, with
// room for any number of late subtractions.
const failed = math.MaxInt64 / 2

var (
	// ErrStalled is the failure of a peer that took nothing for the stall timeout.
	ErrStalled = errors.New("the peer has stopped reading")

	// ErrDrain is the failure of a Close that could not write everything in time.
	ErrDrain = errors.New("the peer did not read the last bytes in time")
)

// Owner is the connection an Outbox belongs to.
type Owner interface {
	// Preflush may append to b, which is about to be written, and is also
	// called, with an empty b, when the writer would end. It is called with the
	// outbox's lock held: it must not block and not call the Outbox.
	Preflush(b *Buffer)

	// Room tells that what waits has fallen to the low mark after Ready was
	// false. It is called by the writer with no lock held, and while it runs
	// nothing is written.
	Room()

	// Wrote tells that n bytes were written. It is called by the writer with no lock
	// held, for each write, and must not block.
	Wrote(n int)

	// WriteFailed is called once, by the writer with no lock held, when the
	// connection cannot be written any more.
	WriteFailed(err error)
}

// Options sets an outbox's limits.
type Options struct {
	// High is the number of waiting bytes from which Ready is false. Zero is
	// DefaultHigh.
	High int

	// Low is the number of waiting bytes at which Room is called. Zero is half
	// of High.
	Low int

	// StallTimeout is how long the peer may take nothing at all before it is
	// given up; it is given up before twice that time. Zero is
	// DefaultStallTimeout.
	StallTimeout time.Duration
}

func (o *Options) setDefaults() {
	if o.High <= 0 {
		o.High = DefaultHigh
	}
	if o.Low <= 0 || o.Low >= o.High {
		o.Low = o.High / 2
	}
	if o.StallTimeout <= 0 {
		o.StallTimeout = DefaultStallTimeout
	}
}

// An Outbox is the write queue of one connection. Its methods may be called
// from any goroutine.
type Outbox struct {
	conn  net.Conn
	owner Owner
	opt   Options

	// start is the method value run, made once: a go statement with arguments
	// would allocate each time.
	start func()

	size    atomic.Int64  // bytes appended and not yet written
	waiting atomic.Bool   // Ready was false since Room was last called
	written atomic.Uint64 // bytes written, ever
	writes  atomic.Uint64 // of those, how often

	mu       sync.Mutex
	buf      *Buffer       // what the writer takes next; nil when empty
	writing  bool          // the writer exists
	closed   bool          // no more appends
	err      error         // the write error that ended it
	largest  int64         // of what was appended since no more than the low mark waited: the longest piece above the high mark
	deadline time.Time     // the write deadline in force; zero for none
	room     chan struct{} // made by awaitReady, closed when Room is called
	closing  *closing      // made by Close when it must wait for the writer
}

// closing is what a Close waits for.
type closing struct {
	final time.Time // no deadline is later
	done  chan struct{}
}

// New returns the outbox of conn.
func New(conn net.Conn, owner Owner, opt Options) *Outbox {
	opt.setDefaults()
	o := &Outbox{conn: conn, owner: owner, opt: opt}
	o.start = o.run
	return o
}

// Append calls encode to append to the queue and sees to it that it is written.
// encode is called with the outbox's lock held. Append reports false, without
// calling encode, once the outbox is closed or its connection lost.
func (o *Outbox) Append(encode func(b *Buffer)) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	if o.buf == nil {
		o.buf = takeBuffer()
	}
	before := o.buf.Len()
	encode(o.buf)
	n := int64(o.buf.Len() - before)
	if n > int64(o.opt.High) {
		o.largest = max(o.largest, n)
	}
	o.size.Add(n)
	o.wakeLocked()
	return true
}

// Wake makes the writer call Preflush, as Append does, with nothing of its own
// to append.
func (o *Outbox) Wake() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.wakeLocked()
	}
}

func (o *Outbox) wakeLocked() {
	if !o.writing {
		o.writing = true
		go o.start()
	}
}

// Ready reports whether less than the high mark is waiting. After a false, Room
// is called once there is space again, unless the connection is lost first.
func (o *Outbox) Ready() bool {
	high := int64(o.opt.High)
	if o.size.Load() < high {
		return true
	}
	// The writer subtracts before it looks at waiting; so if the size read
	// after this store is still the old one, the writer will see the store.
	o.waiting.Store(true)
	return o.size.Load() < high
}

// Overfull reports whether more waits than producers that respect the marks can
// cause: what nobody waits with is to be dropped.
func (o *Outbox) Overfull() bool {
	if o.Size() <= 4*int64(o.opt.High) {
		return false
	}
	// Producers come no further than one piece above the high mark. What is beyond
	// that are answers to what the peer keeps sending.
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.Size() > 4*int64(o.opt.High)+o.largest
}

// AwaitRoom keeps an owner from listening to a peer that asks and does not read
// the answers: where more waits than producers that respect the marks can cause,
// it waits until Ready or the end of ctx, and returns the cause of that or how
// the connection was lost. The peer may be waiting for its own answers then,
// and has itself to thank for it.
func (o *Outbox) AwaitRoom(ctx context.Context) error {
	if !o.Overfull() {
		return nil
	}
	return o.awaitReady(ctx)
}

func (o *Outbox) awaitReady(ctx context.Context) error {
	for {
		room, err := o.nextRoom() // before Ready is asked, or the answer could come in between
		if err != nil || o.Ready() {
			return err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// nextRoom returns what is closed when Room is next called or the connection is
// lost, which is the error if it has been. Few connections ever need it.
func (o *Outbox) nextRoom() (<-chan struct{}, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.room == nil {
		o.room = make(chan struct{})
	}
	return o.room, o.err
}

// endWaitLocked ends the wait of awaitReady.
func (o *Outbox) endWaitLocked() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

// Size is the number of bytes that wait to be written.
func (o *Outbox) Size() int64 {
	if n := o.size.Load(); n < failed/2 {
		return n
	}
	return 0
}

// Written is the number of bytes written so far.
func (o *Outbox) Written() uint64 { return o.written.Load() }

// Writes is the number of writes so far.
func (o *Outbox) Writes() uint64 { return o.writes.Load() }

// Close takes no more appends, writes what was appended before within drain,
// and returns when the writer has ended. The connection is left open. Close may
// be called again.
func (o *Outbox) Close(drain time.Duration) error {
	o.mu.Lock()
	o.closed = true
	if !o.writing {
		defer o.mu.Unlock()
		return o.err
	}
	if o.closing == nil {
		o.closing = &closing{final: time.Now().Add(drain), done: make(chan struct{})}
		o.setDeadlineLocked(o.closing.final)
	}
	done := o.closing.done
	o.mu.Unlock()
	<-done // the deadline bounds it
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// run is the writer: it writes until there is nothing left.
func (o *Outbox) run() {
	var b *Buffer // written and empty
	for {
		b = o.swap(b)
		if b == nil {
			return
		}
		if err := o.write(b); err != nil {
			b.free()
			o.fail(err)
			return
		}
		if o.size.Load() <= int64(o.opt.Low) && o.waiting.Swap(false) {
			o.makeRoom()
		}
		b.reset()
	}
}

// makeRoom tells the owner, and who waits in AwaitRoom, that there is room.
func (o *Outbox) makeRoom() {
	o.mu.Lock()
	o.endWaitLocked()
	o.mu.Unlock()
	o.owner.Room()
}

// swap takes what is to be written and leaves, or frees, the buffer that has
// been. It returns nil when there is nothing, and the writer has then ended.
func (o *Outbox) swap(empty *Buffer) *Buffer {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.buf == nil && empty == nil:
		o.buf = takeBuffer()
	case o.buf == nil:
		o.buf = empty
	case empty != nil:
		empty.free()
	}
	b := o.buf
	before := b.Len()
	o.owner.Preflush(b)
	o.size.Add(int64(b.Len() - before))
	if o.size.Load() <= int64(o.opt.Low) {
		o.largest = 0 // such a piece has been written
	}
	o.buf = nil
	if b.Len() == 0 {
		b.free()
		o.endLocked()
		return nil
	}
	o.armLocked()
	return b
}

func (o *Outbox) endLocked() {
	o.writing = false
	if o.closing != nil {
		close(o.closing.done)
		o.closing = nil
	}
}

func (o *Outbox) write(b *Buffer) error {
	b.begin()
	for {
		n, done, err := b.writeSome(o.conn)
		o.size.Add(int64(-n))
		o.written.Add(uint64(n))
		o.writes.Add(1)
		o.owner.Wrote(n)
		switch {
		case err == nil && done:
			return nil
		case err == nil:
			o.arm()
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("write to the peer: %w", err)
		default:
			// Some of it was taken: the peer is slow, not gone. (A TLS
			// connection does not write again after this, and says so.)
			if err := o.extend(n > 0); err != nil {
				return err
			}
		}
	}
}

// arm makes sure that a write has at least the stall timeout. The deadline is
// set for twice the time and moved when half of it is gone, because moving it
// costs a tenth of a small write.
func (o *Outbox) arm() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.armLocked()
}

func (o *Outbox) armLocked() {
	if o.closing != nil {
		return
	}
	if now := time.Now(); o.deadline.Sub(now) < o.opt.StallTimeout {
		o.setDeadlineLocked(now.Add(2 * o.opt.StallTimeout))
	}
}

func (o *Outbox) setDeadlineLocked(t time.Time) {
	o.deadline = t
	// It fails only on a closed connection, where the write fails too.
	_ = o.conn.SetWriteDeadline(t)
}

// extend gives a write that ran into its deadline more time, or the error it
// ends with.
func (o *Outbox) extend(progress bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch now := time.Now(); {
	case o.closing != nil && !now.Before(o.closing.final):
		return ErrDrain
	case o.closing != nil:
		return nil // Close has moved the deadline meanwhile
	case !progress:
		return fmt.Errorf("%w for %v", ErrStalled, o.opt.StallTimeout)
	default:
		o.setDeadlineLocked(now.Add(2 * o.opt.StallTimeout))
		return nil
	}
}

// fail drops what waits and tells the owner.
func (o *Outbox) fail(err error) {
	o.mu.Lock()
	o.closed, o.err = true, err
	o.size.Store(failed)
	if o.buf != nil {
		o.buf.free()
		o.buf = nil
	}
	o.endWaitLocked()
	o.endLocked()
	o.mu.Unlock()
	o.owner.WriteFailed(err)
}
