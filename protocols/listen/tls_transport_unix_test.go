//go:build unix

package listen

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

func TestReader_HoldsNoBufferWhileItWaitsForTLS(t *testing.T) {
	client, server := tlsPair(t)
	r := NewReader(server, 64)
	below := server.(*tls.Conn).NetConn().(*socket)
	// As in the test for plain connections: what is held whenever the poller
	// is to call again.
	inner, waits, held := below.tryWait, 0, 0
	below.tryWait = func(fd uintptr) bool {
		done := inner(fd)
		if !done {
			waits++
			if r.buf != nil {
				held++
			}
		}
		return done
	}
	for i := range 3 {
		if err := server.SetReadDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if err := r.Fill(1); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Fill = %v", err)
		}
		if r.buf != nil {
			t.Error("a buffer is held after the wait")
		}
		if err := server.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		want := byte('a' + i)
		if _, err := client.Write([]byte{want}); err != nil {
			t.Fatal(err)
		}
		if err := r.Fill(1); err != nil || r.Buffered()[0] != want {
			t.Fatalf("Fill = %v, %q", err, r.Buffered())
		}
		r.Discard(1)
	}
	if waits < 3 || held != 0 {
		t.Errorf("waited %d times, %d of them with a buffer", waits, held)
	}
}

// A halver is a client's transport that, once asked to, keeps back the second
// half of what it is given.
type halver struct {
	net.Conn

	on   bool
	rest []byte
}

func (h *halver) Write(p []byte) (int, error) {
	if !h.on {
		return h.Conn.Write(p)
	}
	h.rest = bytes.Clone(p[len(p)/2:])
	_, err := h.Conn.Write(p[:len(p)/2])
	return len(p), err
}

// A record that arrives in two halves is kept by crypto/tls between the reads
// that find nothing more of it.
func TestReader_ATLSRecordInHalves(t *testing.T) {
	var half *halver
	client, server := tlsPairOver(t, func(conn net.Conn) net.Conn {
		half = &halver{Conn: conn}
		return half
	})
	half.on = true
	if _, err := client.Write([]byte("in two halves")); err != nil {
		t.Fatal(err)
	}
	r := NewReader(server, 64)
	below := server.(*tls.Conn).NetConn().(*socket)
	inner, waits := below.tryWait, 0
	below.tryWait = func(fd uintptr) bool {
		if waits++; waits == 1 { // the first half has been read
			if _, err := half.Conn.Write(half.rest); err != nil {
				t.Error(err)
			}
		}
		return inner(fd)
	}
	const want = "in two halves"
	if err := r.Fill(len(want)); err != nil || string(r.Buffered()) != want {
		t.Fatalf("Fill = %v, %q", err, r.Buffered())
	}
	if waits == 0 {
		t.Error("it never waited for the second half")
	}
}

// A hurried waiter has something happen right before each wait.
type hurried struct {
	waiter

	before func()
}

func (h hurried) wait() error {
	h.before()
	return h.waiter.wait()
}

// What arrives after the read that found nothing, and before the wait, has been
// announced by then and is not announced again.
func TestReader_SeesWhatArrivesBeforeItWaits(t *testing.T) {
	client, server := tlsPair(t)
	here, there := tcpPair(t)
	var answering sync.WaitGroup
	answering.Go(func() { echo(t.Context(), there) })
	defer answering.Wait()
	defer here.Close()
	r := NewReader(server, 64)
	r.below = hurried{r.below, func() {
		if _, err := client.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		// Who answers waits for a later event: when it has been noticed, so has
		// that one.
		if err := roundTrip(here); err != nil {
			t.Error(err)
		}
	}}
	for range 100 {
		if err := server.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if err := r.Fill(1); err != nil {
			t.Fatal(err)
		}
		r.Discard(1)
	}
}
