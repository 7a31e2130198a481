package listen

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a listener on a free port of the loopback until the test ends.
func start(t *testing.T, opt Options) *Listener {
	t.Helper()
	if opt.Name == "" {
		opt.Name = "test"
	}
	if opt.Addresses == nil {
		opt.Addresses = []string{"127.0.0.1:0"}
	}
	l, err := Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.CloseAll()
		if err := l.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return l
}

func tryDial(ctx context.Context, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

func dial(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	conn, err := tryDial(t.Context(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func echo(_ context.Context, conn net.Conn) { _, _ = io.Copy(conn, conn) }

// roundTrip reports whether the other side answers.
func roundTrip(conn net.Conn) error {
	if _, err := conn.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}

// untilClosed waits for the end of the connection, however it ends.
func untilClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection is still open (%v)", err)
	}
}

// refused dials an address that resets what it accepts: the reset may be seen
// by the dial or by the first read.
func refused(t *testing.T, addr net.Addr) {
	t.Helper()
	conn, err := tryDial(t.Context(), addr.String())
	if err != nil {
		return
	}
	untilClosed(t, conn)
	_ = conn.Close()
}

func TestStart_ServesEveryAddress(t *testing.T) {
	l := start(t, Options{Addresses: []string{"127.0.0.1:0", "localhost:0", ":0"}, Handler: echo})
	if len(l.Addrs()) < 3 {
		t.Fatalf("Addrs() = %v", l.Addrs())
	}
	for _, addr := range l.Addrs() {
		if err := roundTrip(dial(t, addr)); err != nil {
			t.Errorf("%v: %v", addr, err)
		}
	}
}

func TestStart_EmptyHostIsBothFamilies(t *testing.T) {
	l := start(t, Options{Addresses: []string{":0"}, Handler: echo})
	_, port, err := net.SplitHostPort(l.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		conn, err := tryDial(t.Context(), net.JoinHostPort(host, port))
		if isUnavailable(err) {
			t.Logf("this host has no %s", host)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		if err := roundTrip(conn); err != nil {
			t.Errorf("%s: %v", host, err)
		}
		_ = conn.Close()
	}
}

func TestStart_PortInUseIsOneSentenceAndOpensNothing(t *testing.T) {
	taken := start(t, Options{Handler: echo}).Addrs()[0].String()
	free := start(t, Options{Handler: echo})
	freed := free.Addrs()[0].String()
	free.CloseAll()

	_, err := Start(t.Context(), Options{Name: "amqp", Addresses: []string{freed, taken}, Handler: echo})
	if e, ok := errors.AsType[*AddressError](err); !ok || !e.InUse() || e.Addr != taken {
		t.Fatalf("Start on a port in use = %v", err)
	}
	if want := "listen for amqp on " + taken + ": the port is in use: stop the program that holds it, or choose another address"; err.Error() != want {
		t.Errorf("error is %q, want %q", err, want)
	}
	start(t, Options{Addresses: []string{freed}, Handler: echo}) // was closed again
}

func TestStart_RefusesBadOptions(t *testing.T) {
	for _, tt := range []struct {
		opt  Options
		want string
	}{
		{Options{Addresses: []string{":0"}, Handler: echo}, "no name"},
		{Options{Name: "amqp", Handler: echo}, "no address"},
		{Options{Name: "amqp", Addresses: []string{":0"}}, "no handler"},
		{Options{Name: "amqp", Addresses: []string{":0"}, Handler: echo, MaxConns: -1}, "-1 is negative"},
		{Options{Name: "amqp", Addresses: []string{":0"}, Handler: echo, HandshakeTimeout: -1}, "is negative"},
		{Options{Name: "amqp", Addresses: []string{"5672"}, Handler: echo}, "missing port"},
		{Options{Name: "amqp", Addresses: []string{"192.0.2.1:0"}, Handler: echo}, "no such address"},
	} {
		l, err := Start(t.Context(), tt.opt)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Start(%+v) = %v, %v; want %q", tt.opt.Addresses, l, err, tt.want)
		}
	}
}

func TestListener_RefusesBeyondTheLimit(t *testing.T) {
	l := start(t, Options{MaxConns: 2, Handler: echo})
	first, second := dial(t, l.Addrs()[0]), dial(t, l.Addrs()[0])
	for _, conn := range []net.Conn{first, second} {
		if err := roundTrip(conn); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, l.Addrs()[0])
	if s := l.Stats(); s != (Stats{Open: 2, Accepted: 2, Refused: 1}) {
		t.Errorf("Stats() = %+v", s)
	}
	_ = first.Close()
	// The place is free when the handler has returned; until then a try is refused.
	for {
		conn, err := tryDial(t.Context(), l.Addrs()[0].String())
		if err != nil {
			continue
		}
		err = roundTrip(conn)
		_ = conn.Close()
		if err == nil {
			return
		}
	}
}

func TestListener_HandshakeDeadlineIsAbsolute(t *testing.T) {
	ended := make(chan error, 1)
	l := start(t, Options{HandshakeTimeout: 30 * time.Millisecond, Handler: func(_ context.Context, conn net.Conn) {
		_, err := io.Copy(io.Discard, conn)
		ended <- err
	}})
	conn := dial(t, l.Addrs()[0])
	var wg sync.WaitGroup
	wg.Go(func() { // a peer that is never silent
		for {
			if _, err := conn.Write([]byte("x")); err != nil {
				return
			}
		}
	})
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the handshake ended with %v", err)
	}
	_ = conn.Close()
	wg.Wait()
}

func TestListener_StopLetsHandlersSayGoodbye(t *testing.T) {
	l := start(t, Options{Handler: func(ctx context.Context, conn net.Conn) {
		_ = roundTripServer(conn)
		<-ctx.Done()
		if errors.Is(context.Cause(ctx), ErrStopping) {
			_, _ = conn.Write([]byte("goodbye"))
		}
	}})
	conn := dial(t, l.Addrs()[0])
	if err := roundTrip(conn); err != nil {
		t.Fatal(err)
	}
	if err := l.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); string(got) != "goodbye" || err != nil {
		t.Errorf("the peer read %q, %v", got, err)
	}
	if _, err := tryDial(t.Context(), l.Addrs()[0].String()); err == nil {
		t.Error("a connection was accepted after Stop")
	}
}

func roundTripServer(conn net.Conn) error {
	b := make([]byte, 1)
	if _, err := io.ReadFull(conn, b); err != nil {
		return err
	}
	_, err := conn.Write(b)
	return err
}

func TestListener_StopGivesUpWithItsContextAndCloseAllCuts(t *testing.T) {
	cause := make(chan error, 1)
	l := start(t, Options{Handler: func(ctx context.Context, conn net.Conn) {
		echo(ctx, conn) // deaf to ctx
		cause <- context.Cause(ctx)
	}})
	conn := dial(t, l.Addrs()[0])
	if err := roundTrip(conn); err != nil {
		t.Fatal(err)
	}
	late := errors.New("no more time")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(late)
	if err := l.Stop(ctx); !errors.Is(err, late) || !strings.Contains(err.Error(), "1 connections") {
		t.Errorf("Stop = %v", err)
	}
	l.CloseAll()
	untilClosed(t, conn)
	if err := <-cause; !errors.Is(err, ErrStopping) {
		t.Errorf("cause is %v, want the first one given", err)
	}
}

func TestListener_CloseAllIsSilent(t *testing.T) {
	cause := make(chan error, 1)
	l := start(t, Options{Handler: func(ctx context.Context, conn net.Conn) {
		echo(ctx, conn)
		cause <- context.Cause(ctx)
	}})
	conn := dial(t, l.Addrs()[0])
	if err := roundTrip(conn); err != nil {
		t.Fatal(err)
	}
	l.CloseAll()
	untilClosed(t, conn)
	if err := <-cause; !errors.Is(err, ErrCut) {
		t.Errorf("cause is %v", err)
	}
}

// A fakeListener answers Accept from a script; when it is over, or closed, it
// blocks until closed.
type fakeListener struct {
	net.Listener // the unused rest

	script []error // nil: a connection
	calls  atomic.Int64
	closed chan struct{}
}

func (f *fakeListener) Accept() (net.Conn, error) {
	i := int(f.calls.Load())
	if i == len(f.script) {
		<-f.closed
		return nil, net.ErrClosed
	}
	f.calls.Add(1)
	if err := f.script[i]; err != nil {
		return nil, err
	}
	client, server := net.Pipe()
	_ = client.Close()
	return server, nil
}

func (f *fakeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5672} }
func (f *fakeListener) Close() error   { close(f.closed); return nil }

// runAccept runs an accept loop over the script in a synctest bubble and
// returns its log when it waits, and how long that took.
func runAccept(t *testing.T, script []error, check func(l *Listener)) (log string, took time.Duration) {
	t.Helper()
	var out strings.Builder
	synctest.Test(t, func(t *testing.T) {
		f := &fakeListener{script: script, closed: make(chan struct{})}
		ctx, cancel := context.WithCancelCause(t.Context())
		l := &Listener{
			opt:       Options{Name: "amqp", Handler: func(context.Context, net.Conn) {}, HandshakeTimeout: time.Second},
			log:       slog.New(slog.NewTextHandler(&out, nil)),
			listeners: []net.Listener{f}, stop: make(chan struct{}), failed: make(chan error, 1),
			cancel: cancel,
		}
		begin := time.Now()
		l.accepting.Go(func() {
			l.acceptLoop(ctx, f)
		})
		for synctest.Wait(); int(f.calls.Load()) < len(script) && len(l.failed) == 0; synctest.Wait() {
			time.Sleep(time.Millisecond) // the bubble's clock, on which the pauses are
		}
		took = time.Since(begin)
		if check != nil {
			check(l)
		}
		if err := l.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return out.String(), took
}

func TestAcceptLoop_BacksOffAndSaysSoOnce(t *testing.T) {
	emfile := &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	script := make([]error, 12)
	for i := range 11 {
		script[i] = emfile
	}
	log, took := runAccept(t, script, nil)
	// 5+10+20+40+80+160+320+640 ms, then 1 s each.
	if took < 4*time.Second || took > 5*time.Second {
		t.Errorf("eleven failures took %v", took)
	}
	if n := strings.Count(log, "cannot accept connections"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log)
	}
	if n := strings.Count(log, "accepting connections again"); n != 1 {
		t.Errorf("recovery logged %d times:\n%s", n, log)
	}
}

func TestAcceptLoop_AbortedConnectionsCostNothing(t *testing.T) {
	aborted := &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.ECONNABORTED)}
	log, took := runAccept(t, []error{aborted, aborted, nil}, nil)
	if took != 0 || log != "" {
		t.Errorf("took %v, logged %q", took, log)
	}
}

func TestAcceptLoop_ABrokenSocketIsReported(t *testing.T) {
	broken := &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EINVAL)}
	runAccept(t, []error{broken, nil}, func(l *Listener) {
		if err := <-l.Failed(); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("Failed delivered %v", err)
		}
	})
}

func TestListener_ConnectionsComeAndGo(t *testing.T) {
	l := start(t, Options{Handler: echo})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				conn, err := tryDial(t.Context(), l.Addrs()[0].String())
				if err != nil {
					t.Error(err)
					return
				}
				if err := roundTrip(conn); err != nil {
					t.Error(err)
				}
				_ = conn.Close()
			}
		})
	}
	wg.Wait()
	if err := l.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.Open != 0 || s.Accepted != 400 {
		t.Errorf("Stats() = %+v", s)
	}
}
