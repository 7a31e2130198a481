//go:build unix

package listen

import (
	"errors"
	"os"
	"testing"
	"time"
)

func TestReader_HoldsNoBufferWhileItWaits(t *testing.T) {
	client, server := tcpPair(t)
	r := NewReader(server, 64)
	// The callback is what the runtime's poller calls before and after a wait.
	// Watching it from inside tells, at each such moment, what is held.
	inner, held := r.tryRead, 0
	r.tryRead = func(fd uintptr) bool {
		done := inner(fd)
		if !done && r.buf != nil {
			held++
		}
		return done
	}
	waitFor := func(deadline time.Duration) {
		t.Helper()
		if err := server.SetReadDeadline(time.Now().Add(deadline)); err != nil {
			t.Fatal(err)
		}
		if err := r.Fill(1); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Fill = %v", err)
		}
	}
	waitFor(5 * time.Millisecond)
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := server.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := r.Fill(1); err != nil {
		t.Fatal(err)
	}
	if r.buf == nil {
		t.Error("no buffer holds the byte that was read")
	}
	r.Discard(1)
	waitFor(5 * time.Millisecond)
	if held != 0 || r.buf != nil {
		t.Errorf("waited %d times with a buffer; after the wait it is %v", held, r.buf)
	}
}

func TestReader_FillAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop buffers at random")
	}
	client, server := tcpPair(t)
	r := NewReader(server, 64)
	defer r.Release() // as its owner does, or it would count among the busy for ever
	p := make([]byte, 64)
	allocs := testing.AllocsPerRun(200, func() {
		if _, err := client.Write(p); err != nil {
			t.Fatal(err)
		}
		if err := r.Fill(len(p)); err != nil {
			t.Fatal(err)
		}
		r.Discard(len(p))
		r.Release() // as a wait would
	})
	if allocs >= 1 {
		t.Errorf("%v allocations a fill, want 0", allocs)
	}
}
