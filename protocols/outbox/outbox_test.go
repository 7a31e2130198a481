package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// owner records what an Outbox tells it.
type owner struct {
	preflush func(*Buffer)
	room     atomic.Int32
	wrote    atomic.Int64
	failures atomic.Int32
	failure  error // of the last failure
}

func (w *owner) Preflush(b *Buffer) {
	if w.preflush != nil {
		w.preflush(b)
	}
}

func (w *owner) Room() { w.room.Add(1) }

func (w *owner) Wrote(n int) { w.wrote.Add(int64(n)) }

func (w *owner) WriteFailed(err error) {
	w.failure = err
	w.failures.Add(1)
}

// pipe returns an outbox and the peer's end: the outbox's writes wait for the
// peer's reads, which makes it as slow a connection as a test likes.
func pipe(t *testing.T, opt Options) (*Outbox, *owner, net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { _ = near.Close(); _ = far.Close() })
	w := new(owner)
	return New(near, w, opt), w, far
}

func appendString(o *Outbox, s string) bool {
	return o.Append(func(b *Buffer) { b.B = append(b.B, s...) })
}

// read returns the next n bytes that the peer gets.
func read(t *testing.T, far net.Conn, n int) string {
	t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(far, p); err != nil {
		t.Fatalf("peer reads %d bytes: %v", n, err)
	}
	return string(p)
}

// countingConn counts writes; each waits for a token of gate, where there is one.
type countingConn struct {
	net.Conn // nil: what is not overridden is not called

	gate   chan struct{}
	writes atomic.Int64
	got    bytes.Buffer
}

func (c *countingConn) Write(p []byte) (int, error) {
	if c.gate != nil {
		<-c.gate
	}
	c.writes.Add(1)
	return c.got.Write(p)
}

func (c *countingConn) SetWriteDeadline(time.Time) error { return nil }

func TestAWriteTakesAllThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &countingConn{gate: make(chan struct{})}
		o := New(conn, new(owner), Options{})
		want := "first;"
		appendString(o, want)
		synctest.Wait() // the writer is in its first write
		for i := range 100 {
			s := fmt.Sprintf("%d;", i)
			appendString(o, s)
			want += s
		}
		close(conn.gate)
		synctest.Wait()
		if got := conn.got.String(); got != want {
			t.Errorf("written %q, want %q", got, want)
		}
		if n := conn.writes.Load(); n != 2 {
			t.Errorf("%d writes, want 2: the first append, and everything that came during its write", n)
		}
	})
}

func TestAnIdleOutboxHoldsNoBufferAndNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, far := pipe(t, Options{})
		appendString(o, "x")
		o.Wake()
		read(t, far, 1)
		synctest.Wait()
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.buf != nil || o.writing {
			t.Errorf("buffer %v, writer running %v, want neither", o.buf, o.writing)
		}
		if o.size.Load() != 0 || o.Written() != 1 {
			t.Errorf("size %d, written %d, want 0 and 1", o.size.Load(), o.Written())
		}
	})
}

func TestEachAppendIsWrittenInOnePieceAndInOrder(t *testing.T) {
	const producers, each = 8, 200
	o, _, far := pipe(t, Options{})
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				o.Append(func(b *Buffer) {
					b.B = append(b.B, byte(p))
					if i%3 == 0 { // by reference, in the middle
						b.Reference([]byte{byte(i)})
					} else {
						b.B = append(b.B, byte(i))
					}
					b.B = append(b.B, 0xFF)
				})
			}
		})
	}
	var next [producers]byte
	for range producers * each {
		f := read(t, far, 3)
		p, i := f[0], f[1]
		if int(p) >= producers || f[2] != 0xFF || i != next[p] {
			t.Fatalf("frame % x, want the %dth of its producer", f, next[min(p, producers-1)])
		}
		next[p]++
	}
	wg.Wait()
}

func TestPayloadsAreWrittenWhereTheyWereReferenced(t *testing.T) {
	for _, row := range []struct {
		name   string
		encode func(b *Buffer)
		want   string
	}{
		{"only a payload", func(b *Buffer) { b.Reference([]byte("P")) }, "P"},
		{"between", func(b *Buffer) {
			b.B = append(b.B, "head"...)
			b.Reference([]byte("P"))
			b.B = append(b.B, "tail"...)
		}, "headPtail"},
		{"side by side", func(b *Buffer) {
			b.B = append(b.B, "a"...)
			b.Reference([]byte("P"))
			b.Reference([]byte("Q"))
		}, "aPQ"},
		{"spliced afterwards", func(b *Buffer) {
			b.B = append(b.B, "aabbcc"...)
			b.Splice(2, []byte("P"))
			b.Splice(4, []byte("Q"))
			b.Splice(6, []byte("R"))
		}, "aaPbbQccR"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _, far := pipe(t, Options{})
				for range 2 { // the second time with a used buffer
					o.Append(row.encode)
					if got := read(t, far, len(row.want)); got != row.want {
						t.Errorf("peer got %q, want %q", got, row.want)
					}
					synctest.Wait()
				}
				if n := o.Size(); n != 0 {
					t.Errorf("size %d after everything was written", n)
				}
			})
		})
	}
}

func TestReadyFollowsTheMarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w, far := pipe(t, Options{High: 100, Low: 40})
		appendString(o, string(make([]byte, 99)))
		if !o.Ready() {
			t.Error("not ready below the high mark")
		}
		synctest.Wait() // the writer holds the 99 bytes
		appendString(o, string(make([]byte, 41)))
		if o.Ready() {
			t.Error("ready at the high mark")
		}
		read(t, far, 99)
		synctest.Wait()
		if n := w.room.Load(); n != 0 {
			t.Error("told of room above the low mark")
		}
		read(t, far, 41)
		synctest.Wait()
		if n := w.room.Load(); n != 1 {
			t.Errorf("told of room %d times, want once", n)
		}
		if !o.Ready() {
			t.Error("not ready when empty")
		}
		appendString(o, "x")
		read(t, far, 1)
		synctest.Wait()
		if n := w.room.Load(); n != 1 {
			t.Errorf("told of room %d times, though Ready was true since", n)
		}
	})
}

func TestAwaitRoomWaitsForAPeerThatDoesNotReadItsAnswers(t *testing.T) {
	const high, bound = 100, 4 * 100
	lost := errors.New("the owner has ended the connection")
	for _, row := range []struct {
		name   string
		waits  []int // bytes when AwaitRoom is called, in pieces
		at     func(far net.Conn, cancel context.CancelCauseFunc)
		blocks bool // until at has run
		want   error
	}{
		{"not up to the bound, Ready or not", []int{100, 100, 100, 100}, nil, false, nil},
		{"not for one large message", []int{99, 5000}, nil, false, nil},
		{"nor for the answers beside it", []int{99, 5000, 100, 100, 100}, nil, false, nil},
		{"but for more of them", []int{99, 5000, 100, 100, 100, 2}, func(far net.Conn, _ context.CancelCauseFunc) {
			_, _ = io.CopyN(io.Discard, far, 5401)
		}, true, nil},
		{"until it has read", []int{100, 100, 100, 100, 1}, func(far net.Conn, _ context.CancelCauseFunc) {
			_, _ = io.CopyN(io.Discard, far, bound+1)
		}, true, nil},
		{"until its context ends", []int{100, 100, 100, 100, 1}, func(_ net.Conn, cancel context.CancelCauseFunc) {
			cancel(lost)
		}, true, lost},
		{"until the connection is lost", []int{100, 100, 100, 100, 1}, func(far net.Conn, _ context.CancelCauseFunc) {
			_ = far.Close()
		}, true, io.ErrClosedPipe},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _, far := pipe(t, Options{High: high})
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				for _, n := range row.waits {
					appendString(o, string(make([]byte, n)))
				}
				result := make(chan error, 1)
				go func() { result <- o.AwaitRoom(ctx) }()
				synctest.Wait()
				if blocks := len(result) == 0; blocks != row.blocks {
					t.Fatalf("with %v bytes waiting it waits: %t", row.waits, blocks)
				}
				if row.at != nil {
					row.at(far, cancel)
				}
				if err := <-result; !errors.Is(err, row.want) {
					t.Errorf("AwaitRoom = %v, want %v", err, row.want)
				}
			})
		})
	}
}

// AwaitRoom waits for a peer that reads bit by bit until it has read down to the
// low mark, and for the next surplus again.
func TestAwaitRoomCanWaitAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w, far := pipe(t, Options{High: 100, Low: 40})
		for round := range 3 {
			for range 3 {
				appendString(o, string(make([]byte, 100)))
			}
			synctest.Wait() // the writer holds some of these
			appendString(o, string(make([]byte, 100)))
			appendString(o, string(make([]byte, 50)))
			result := make(chan error, 1)
			go func() { result <- o.AwaitRoom(t.Context()) }()
			synctest.Wait()
			read(t, far, 300)
			synctest.Wait()
			if len(result) != 0 {
				t.Fatal("did not wait for the low mark")
			}
			read(t, far, 150)
			if err := <-result; err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := w.room.Load(); int(n) != round+1 {
				t.Errorf("told of room %d times in %d rounds", n, round+1)
			}
		}
	})
}

func TestPreflushHasTheLastWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w, far := pipe(t, Options{})
		pending := "" // read with the outbox's lock held
		w.preflush = func(b *Buffer) {
			b.B = append(b.B, pending...)
			pending = ""
		}
		note := func(s string) { // as Complete does: note, then wake
			o.mu.Lock()
			pending += s
			o.mu.Unlock()
			o.Wake()
		}
		note("1")
		if got := read(t, far, 1); got != "1" {
			t.Errorf("woken for nothing but the hook, the peer got %q", got)
		}
		synctest.Wait()
		appendString(o, "a")
		synctest.Wait() // in the write of "a"
		note("2")
		note("3")
		if got := read(t, far, 3); got != "a23" {
			t.Errorf("peer got %q: what was noted during a write must follow it", got)
		}
	})
}

func TestAPeerThatTakesNothingIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const stall = 10 * time.Second
		o, w, _ := pipe(t, Options{StallTimeout: stall, High: 10})
		begin := time.Now()
		appendString(o, "never read")
		for w.failures.Load() == 0 {
			time.Sleep(time.Second)
		}
		if d := time.Since(begin); d < stall || d > 2*stall+time.Second {
			t.Errorf("given up after %v, want between %v and %v", d, stall, 2*stall)
		}
		if !errors.Is(w.failure, ErrStalled) {
			t.Errorf("failure %v, want ErrStalled", w.failure)
		}
		if o.Ready() || appendString(o, "x") {
			t.Error("takes more for a peer that was given up")
		}
		if o.Size() != 0 {
			t.Errorf("size %d, want 0: nothing is kept for the peer", o.Size())
		}
		if err := o.Close(time.Hour); !errors.Is(err, ErrStalled) {
			t.Errorf("Close says %v", err)
		}
	})
}

func TestASlowPeerIsNotGivenUp(t *testing.T) {
	for _, row := range []struct {
		name   string
		encode func(b *Buffer)
	}{
		{"plain", func(b *Buffer) { b.B = append(b.B, make([]byte, 20)...) }},
		{"by reference", func(b *Buffer) { b.B = append(b.B, 0); b.Reference(make([]byte, 18)); b.B = append(b.B, 0) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, w, far := pipe(t, Options{StallTimeout: 10 * time.Second})
				o.Append(row.encode)
				for range 20 {
					time.Sleep(9 * time.Second)
					read(t, far, 1)
				}
				synctest.Wait()
				if n := w.failures.Load(); n != 0 || o.Size() != 0 {
					t.Errorf("%d failures (%v), size %d, want everything written", n, w.failure, o.Size())
				}
			})
		})
	}
}

func TestALostConnectionIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w, far := pipe(t, Options{})
		_ = far.Close()
		appendString(o, "x")
		synctest.Wait()
		if !errors.Is(w.failure, io.ErrClosedPipe) {
			t.Errorf("failure %v, want the connection's", w.failure)
		}
		o.Wake()
		appendString(o, "y")
		synctest.Wait()
		if n := w.failures.Load(); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

func TestCloseWritesWhatWasAppended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w, far := pipe(t, Options{})
		appendString(o, "first")
		synctest.Wait()
		appendString(o, "last")
		closed := make(chan error)
		go func() { closed <- o.Close(time.Minute) }()
		synctest.Wait()
		if appendString(o, "late") {
			t.Error("append after Close")
		}
		time.Sleep(59 * time.Second)
		if got := read(t, far, 9); got != "firstlast" {
			t.Errorf("peer got %q", got)
		}
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := o.Close(0); err != nil || w.failures.Load() != 0 {
			t.Errorf("second Close: %v, %d failures", err, w.failures.Load())
		}
	})
}

func TestCloseGivesUpAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w, far := pipe(t, Options{})
		appendString(o, "nobody wants this")
		begin := time.Now()
		go func() {
			time.Sleep(3 * time.Second)
			_, _ = far.Read(make([]byte, 1)) // progress is no excuse
		}()
		if err := o.Close(5 * time.Second); !errors.Is(err, ErrDrain) {
			t.Errorf("Close: %v, want ErrDrain", err)
		}
		if d := time.Since(begin); d != 5*time.Second {
			t.Errorf("Close took %v", d)
		}
		synctest.Wait()
		if w.failures.Load() != 1 {
			t.Error("owner was not told")
		}
	})
}

// BenchmarkAppend is the life of one small frame under load: no allocation, and
// many frames per write.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{64, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			conn := &discardConn{}
			o := New(conn, new(owner), Options{})
			frame := make([]byte, size)
			b.ReportAllocs()
			for b.Loop() {
				for !o.Ready() {
					o.Wake()
				}
				o.Append(func(buf *Buffer) { buf.B = append(buf.B, frame...) })
			}
			if err := o.Close(time.Minute); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/float64(conn.writes.Load()), "frames/write")
		})
	}
}

// BenchmarkWake is a connection that has one frame to write at a time.
func BenchmarkWake(b *testing.B) {
	conn := &discardConn{wrote: make(chan struct{}, 1)}
	o := New(conn, new(owner), Options{})
	b.ReportAllocs()
	for b.Loop() {
		o.Append(func(buf *Buffer) { buf.B = append(buf.B, "0123456789abcdef"...) })
		<-conn.wrote
	}
	if n := conn.writes.Load(); n != int64(b.N) {
		b.Errorf("%d writes for %d wakes", n, b.N)
	}
}

// discardConn is a socket whose peer is infinitely fast.
type discardConn struct {
	net.Conn

	writes atomic.Int64
	wrote  chan struct{}
}

func (c *discardConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	if c.wrote != nil {
		c.wrote <- struct{}{}
	}
	return len(p), nil
}

func (c *discardConn) SetWriteDeadline(time.Time) error { return nil }
