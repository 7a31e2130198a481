package listen

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// transports are the connections a Reader meets: with a socket below it, with none,
// and with TLS in between.
var transports = []struct {
	name string
	dial func(testing.TB) (client, server net.Conn)
}{
	{"tcp", tcpPair},
	{"pipe", pipePair},
	{"tls", tlsPair},
}

func pipePair(tb testing.TB) (client, server net.Conn) {
	tb.Helper()
	client, server = net.Pipe()
	tb.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	return client, server
}

func tcpPair(tb testing.TB) (client, server net.Conn) {
	tb.Helper()
	ln, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if client, err = new(net.Dialer).DialContext(tb.Context(), "tcp", ln.Addr().String()); err != nil {
		tb.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	return client, server
}

// send writes the pieces from a goroutine of the test and closes the connection.
func send(t *testing.T, conn net.Conn, pieces ...[]byte) {
	t.Helper()
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	wg.Go(func() {
		for _, p := range pieces {
			if _, err := conn.Write(p); err != nil {
				return // the reading side has failed the test
			}
		}
		_ = conn.Close()
	})
}

func TestReader_FillBuffersAtLeastWhatWasAsked(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			client, server := tr.dial(t)
			send(t, client, []byte("ab"), []byte("c"), []byte("defgh"))
			r := NewReader(server, 64)
			if err := r.Fill(4); err != nil {
				t.Fatal(err)
			}
			if got := r.Buffered(); len(got) < 4 || !bytes.HasPrefix([]byte("abcdefgh"), got) {
				t.Fatalf("Buffered() = %q", got)
			}
			r.Discard(3)
			if err := r.Fill(5); err != nil {
				t.Fatal(err)
			}
			if got := r.Buffered(); string(got) != "defgh" {
				t.Fatalf("Buffered() = %q", got)
			}
		})
	}
}

func TestReader_EndOfStream(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			client, server := tr.dial(t)
			send(t, client, []byte("abc"))
			r := NewReader(server, 64)
			if err := r.Fill(4); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("Fill amid a stretch = %v", err)
			}
			if got := r.Buffered(); string(got) != "abc" {
				t.Errorf("Buffered() = %q after the end", got)
			}
			r.Discard(3)
			if err := r.Fill(1); !errors.Is(err, io.EOF) {
				t.Errorf("Fill after the end = %v", err)
			}
			if r.buf != nil {
				t.Error("a buffer is held after the end")
			}
		})
	}
}

func TestReader_LimitHolds(t *testing.T) {
	_, server := tcpPair(t)
	r := NewReader(server, 100_000)
	if err := r.Fill(100_001); !errors.Is(err, ErrLimit) {
		t.Errorf("Fill beyond the limit = %v", err)
	}
	r.SetLimit(200_000)
	if err := server.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := r.Fill(100_001); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Fill within the new limit = %v", err)
	}
}

func TestReader_DeadlineKeepsWhatWasRead(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			client, server := tr.dial(t)
			r := NewReader(server, 64)
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = client.Write([]byte("ab")) })
			if err := r.Fill(1); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if err := server.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if err := r.Fill(4); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("Fill past the deadline = %v", err)
			}
			if err := server.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			send(t, client, []byte("cd"))
			if err := r.Fill(4); err != nil || string(r.Buffered()) != "abcd" {
				t.Fatalf("Fill after the deadline was lifted = %v, buffered %q", err, r.Buffered())
			}
		})
	}
}

func TestReader_CloseEndsAWaitingFill(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			_, server := tr.dial(t)
			r := NewReader(server, 64)
			done := make(chan error, 1)
			go func() { done <- r.Fill(1) }()
			if err := server.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err == nil {
				t.Error("Fill of a closed connection = nil")
			}
		})
	}
}

// The stream arrives unharmed whatever the mixture of pieces, stretches, and
// ways to take them.
func TestReader_AnyMixtureYieldsTheStream(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			client, server := tr.dial(t)
			const seed = 7
			rnd := rand.New(rand.NewPCG(seed, seed))
			stream := make([]byte, 3<<20)
			for i := range stream {
				stream[i] = byte(rnd.Uint32())
			}
			var pieces [][]byte
			for rest := stream; len(rest) > 0; {
				n := min(1+rnd.IntN(1<<uint(rnd.IntN(18))), len(rest))
				pieces, rest = append(pieces, rest[:n]), rest[n:]
			}
			send(t, client, pieces...)

			r := NewReader(server, 300_000)
			defer r.Release() // as its owner does, or it would count among the busy for ever
			var got []byte
			for len(got) < len(stream) {
				left := len(stream) - len(got)
				n := min(1+rnd.IntN(1<<uint(rnd.IntN(19))), left)
				switch rnd.IntN(3) {
				case 0:
					p := make([]byte, n)
					if err := r.ReadFull(p); err != nil {
						t.Fatalf("seed %d, at %d: ReadFull(%d): %v", seed, len(got), n, err)
					}
					got = append(got, p...)
				default:
					if err := r.Fill(n); err != nil {
						t.Fatalf("seed %d, at %d: Fill(%d): %v", seed, len(got), n, err)
					}
					taken := 1 + rnd.IntN(n)
					got = append(got, r.Buffered()[:taken]...)
					r.Discard(taken)
				}
			}
			if !bytes.Equal(got, stream) {
				t.Errorf("seed %d: the stream was changed", seed)
			}
			if err := r.Fill(1); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

func TestReader_ReadFullAtTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name       string
		sent, want int
		err        error
	}{
		{"nothing, short", 0, 10, io.EOF},
		{"nothing, long", 0, 2 * minBuffer, io.EOF},
		{"a part, short", 5, 10, io.ErrUnexpectedEOF},
		{"a part, long", 5, 2 * minBuffer, io.ErrUnexpectedEOF},
		{"all, long", 2 * minBuffer, 2 * minBuffer, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, tr := range transports {
				t.Run(tr.name, func(t *testing.T) {
					client, server := tr.dial(t)
					send(t, client, make([]byte, tt.sent))
					if err := NewReader(server, 0).ReadFull(make([]byte, tt.want)); !errors.Is(err, tt.err) {
						t.Errorf("ReadFull = %v, want %v", err, tt.err)
					}
				})
			}
		})
	}
}

func TestReader_DiscardOfTooMuchPanics(t *testing.T) {
	_, server := tcpPair(t)
	r := NewReader(server, 64)
	defer func() {
		if recover() == nil {
			t.Error("Discard(1) of nothing did not panic")
		}
	}()
	r.Discard(1)
}

func BenchmarkReader_Fill(b *testing.B) {
	for _, size := range []int{64, 4096} {
		b.Run(map[int]string{64: "64B", 4096: "4KiB"}[size], func(b *testing.B) {
			client, server := tcpPair(b)
			r := NewReader(server, 64<<10)
			defer r.Release() // as its owner does, or it would count among the busy for ever
			p := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Write(p); err != nil {
					b.Fatal(err)
				}
				if err := r.Fill(size); err != nil {
					b.Fatal(err)
				}
				r.Discard(size)
			}
		})
	}
}

// BenchmarkReader_FillBuffered is the path of a busy connection: many frames a
// system call.
func BenchmarkReader_FillBuffered(b *testing.B) {
	client, server := tcpPair(b)
	var wg sync.WaitGroup
	wg.Go(func() {
		p := make([]byte, 64<<10)
		for {
			if _, err := client.Write(p); err != nil {
				return
			}
		}
	})
	r := NewReader(server, 64<<10)
	defer r.Release() // as its owner does, or it would count among the busy for ever
	const frame = 100
	b.SetBytes(frame)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Fill(frame); err != nil {
			b.Fatal(err)
		}
		r.Discard(frame)
	}
	_ = server.Close()
	wg.Wait()
}
