package listen

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// busy has as many readers be busy in the line as make others stand in it.
func busy(t *testing.T, line *turns) {
	t.Helper()
	for range runtime.GOMAXPROCS(0) {
		line.enter()
		t.Cleanup(line.leave)
	}
}

func TestTurns_FewerBusyReadersThanProcessorsNeedNotWait(t *testing.T) {
	var line turns
	for range runtime.GOMAXPROCS(0) - 1 {
		line.enter()
	}
	if _, ok := line.stand(runtime.GOMAXPROCS(0)); ok {
		t.Error("a reader stands in line beside a processor that nobody needs")
	}
}

func TestTurns_OneAfterTheOther(t *testing.T) {
	var line turns
	busy(t, &line)
	var all []chan struct{}
	for range 5 {
		turn, ok := line.stand(runtime.GOMAXPROCS(0))
		if !ok {
			t.Fatal("nobody stands in line")
		}
		all = append(all, turn)
	}
	for i, turn := range all {
		<-turn
		for j, later := range all[i+1:] {
			select {
			case <-later:
				t.Fatalf("number %d is called before number %d has begun", i+1+j, i)
			default:
			}
		}
		line.begin()
	}
	// And again, when nobody stood in line for a while.
	turn, ok := line.stand(runtime.GOMAXPROCS(0))
	if !ok {
		t.Fatal("nobody stands in line")
	}
	<-turn
	line.begin()
	// That the caller ends when nobody is busy is for TestMain to find.
}

func TestReader_GivesWayWhenItNeverWaits(t *testing.T) {
	for _, tr := range transports {
		if tr.name == "pipe" {
			continue // is no socket
		}
		t.Run(tr.name, func(t *testing.T) {
			client, server := tr.dial(t)
			r := NewReader(server, 64)
			send := func() {
				t.Helper()
				if _, err := io.WriteString(client, "x"); err != nil {
					t.Fatal(err)
				}
			}
			fill := func() {
				t.Helper()
				if err := r.Fill(1); err != nil {
					t.Fatal(err)
				}
				r.Discard(1)
			}
			busy(t, &processors)
			send()
			fill()
			send()
			r.turn.since = time.Now().Add(-quantum) // as if it had worked for so long
			fill()
			if !r.turn.busy {
				t.Error("it did not give way")
			}
			if err := server.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if err := r.Fill(1); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("Fill = %v", err)
			}
			if r.turn.busy || !r.turn.since.IsZero() {
				t.Error("it is taken for busy after it has waited for its socket")
			}
		})
	}
}

// A buffer that was read at once holds thousands of small frames.
func TestReader_GivesWayBetweenFramesThatItHas(t *testing.T) {
	client, server := tcpPair(t)
	r := NewReader(server, 64<<10)
	defer r.Release()
	if _, err := client.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := r.Fill(1000); err != nil {
		t.Fatal(err)
	}
	busy(t, &processors)
	r.turn.since = time.Now().Add(-quantum)
	for range 10 {
		r.Discard(1)
	}
	if r.turn.busy {
		t.Error("it looked at the clock after a few frames")
	}
	for range 100 {
		r.Discard(1)
	}
	if !r.turn.busy {
		t.Error("it did not give way")
	}
}

func TestGiveWay_ReturnsWhereNobodyElseIsBusy(*testing.T) {
	for range 10 {
		GiveWay()
	}
}

func TestTakeTurns_GivesWayWhenItNeverWaits(t *testing.T) {
	for _, tr := range transports {
		if tr.name == "pipe" || runtime.GOOS == "windows" { // there, only a clock tells whether a read has waited
			continue
		}
		t.Run(tr.name, func(t *testing.T) {
			client, server := tr.dial(t)
			fair, ok := TakeTurns(server).(*fairConn)
			if !ok {
				t.Fatal("no fairConn")
			}
			read := func() {
				t.Helper()
				if n, err := fair.Read(make([]byte, 1)); n != 1 || err != nil {
					t.Fatalf("Read = %d, %v", n, err)
				}
			}
			busy(t, &processors)
			if _, err := io.WriteString(client, "xx"); err != nil {
				t.Fatal(err)
			}
			read()
			fair.turn.since = time.Now().Add(-quantum)
			read()
			if !fair.turn.busy {
				t.Error("it did not give way")
			}
			if err := fair.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if n, err := fair.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read = %d, %v", n, err)
			}
			if fair.turn.busy || !fair.turn.since.IsZero() {
				t.Error("it is taken for busy after it has waited for its socket")
			}
			if err := errors.Join(fair.SetReadDeadline(time.Time{}), client.Close()); err != nil {
				t.Fatal(err)
			}
			if n, err := fair.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("Read = %d, %v", n, err)
			}
		})
	}
}

// TestTurns_WhatIsReadyGoesFirst: whoever gives way goes on after those whose
// sockets are ready, which the scheduler would not even look at otherwise.
func TestTurns_WhatIsReadyGoesFirst(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a pipe is no socket there")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var line turns
	line.enter()
	defer line.leave()
	line.yield(1) // so that the caller waits

	const rounds = 100
	var heard atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for b := make([]byte, 1); ; heard.Add(1) {
			if _, err := in.Read(b); err != nil {
				return
			}
		}
	}()
	runtime.Gosched() // it waits
	first := 0
	for n := range int64(rounds) {
		if _, err := out.Write([]byte{0}); err != nil {
			t.Fatal(err)
		}
		line.yield(1)
		if heard.Load() > n {
			first++
		}
	}
	// Once in a while the scheduler does things in another order, so that nobody starves.
	if first < rounds*3/4 {
		t.Errorf("what was ready went first %d times of %d", first, rounds)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	<-ended
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
}

// acceptsSeen is a listener that notes how many handlers had begun when another connection was asked for.
type acceptsSeen struct {
	*net.TCPListener

	begun    *atomic.Int64
	accepted int64
	behind   []int64 // handlers that had not, at each
}

func (a *acceptsSeen) Accept() (net.Conn, error) {
	a.behind = append(a.behind, a.accepted-a.begun.Load())
	a.accepted++
	return a.TCPListener.Accept()
}

// TestAcceptLoop_AHandlerBeginsBeforeTheNextConnection: where very many connect at once, others need not wait for the beginnings of all.
func TestAcceptLoop_AHandlerBeginsBeforeTheNextConnection(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a pipe is no socket there")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const clients = 100
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	for range clients { // in the backlog
		conn, err := net.DialTCP("tcp", nil, ln.Addr().(*net.TCPAddr))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	var begun atomic.Int64
	all := make(chan struct{})
	seen := &acceptsSeen{TCPListener: ln, begun: &begun}
	_, cancel := context.WithCancelCause(t.Context())
	l := &Listener{
		opt: Options{Name: "amqp", HandshakeTimeout: time.Minute, Handler: func(context.Context, net.Conn) {
			if begun.Add(1) == clients {
				close(all)
			}
		}},
		log: slog.New(slog.DiscardHandler), listeners: []net.Listener{seen}, stop: make(chan struct{}), failed: make(chan error, 1), cancel: cancel,
	}
	l.accepting.Go(func() { l.acceptLoop(t.Context(), seen) })
	<-all
	if err := l.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	late := 0
	for _, n := range seen.behind {
		if n > 1 {
			late++
		}
	}
	// An accept that took long is taken for one that waited.
	if late > clients/4 {
		t.Errorf("of %d connections %d were accepted while others had not begun: %v", clients, late, seen.behind)
	}
}
