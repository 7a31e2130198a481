package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Causes of the end of a handler's context.
var (
	// ErrStopping: the broker is going away; say goodbye, finish, return.
	ErrStopping = errors.New("the broker is stopping")

	// ErrCut: the connection has been closed under the handler; say nothing.
	ErrCut = errors.New("the connection was cut by the broker")
)

// DefaultHandshakeTimeout is how long a new connection may take to become a
// working one, as in RabbitMQ.
const DefaultHandshakeTimeout = 10 * time.Second

// A Handler serves one connection and returns when it is over. The connection
// is a *net.TCPConn and arrives with a deadline, Options.HandshakeTimeout from
// now, for reads and writes; the handler lifts it (conn.SetDeadline) when its
// handshake is done. The context ends with the cause [ErrStopping] or [ErrCut].
type Handler func(ctx context.Context, conn net.Conn)

// Options says what to listen on and how.
type Options struct {
	// Name is the front-end's name in log lines and errors, as "amqp". Required.
	Name string

	// Addresses are the HOST:PORT pairs to open. At least one.
	Addresses []string

	// Handler serves a connection. Required.
	Handler Handler

	// MaxConns bounds the open connections; zero is no bound.
	MaxConns int

	// HandshakeTimeout is the deadline a connection arrives with. Zero is
	// DefaultHandshakeTimeout.
	HandshakeTimeout time.Duration

	// Log receives the listener's own events; nil discards them.
	Log *slog.Logger
}

func (o *Options) validate() error {
	switch {
	case o.Name == "":
		return errors.New("listen: no name for the front-end")
	case len(o.Addresses) == 0:
		return fmt.Errorf("listen for %s: no address", o.Name)
	case o.Handler == nil:
		return fmt.Errorf("listen for %s: no handler", o.Name)
	case o.MaxConns < 0:
		return fmt.Errorf("listen for %s: connection limit %d is negative", o.Name, o.MaxConns)
	case o.HandshakeTimeout < 0:
		return fmt.Errorf("listen for %s: handshake timeout %v is negative", o.Name, o.HandshakeTimeout)
	}
	return nil
}

func (o *Options) setDefaults() {
	if o.HandshakeTimeout == 0 {
		o.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Stats counts what happened since Start.
type Stats struct {
	Open     int    // connections open now
	Accepted uint64 // connections a handler was started for
	Refused  uint64 // connections closed at once because of MaxConns
}

// A Listener is a front-end's open addresses and the connections accepted on
// them. Its methods may be called from any goroutine.
type Listener struct {
	opt       Options
	log       *slog.Logger
	listeners []net.Listener
	stop      chan struct{} // closed once, by stopAccepting
	failed    chan error    // capacity one: the first accept loop that gave up

	cancel context.CancelCauseFunc // of the handlers' context

	accepting sync.WaitGroup     // accept loops
	conns     Registry[net.Conn] // with a running handler each

	refused atomic.Uint64
	crowded atomic.Bool // a refusal has been logged since the limit was last left

	mu       sync.Mutex
	stopped  bool // the addresses are closed
	closeErr error
}

// Start opens every address and accepts connections on them until Stop or
// CloseAll. The end of ctx stops the name look-ups of Start itself and nothing
// after it: how connections end is the caller's decision.
func Start(ctx context.Context, opt Options) (*Listener, error) {
	if err := opt.validate(); err != nil {
		return nil, err
	}
	opt.setDefaults()
	listeners, err := Open(ctx, opt.Name, opt.Addresses)
	if err != nil {
		return nil, err
	}
	l := &Listener{
		opt:       opt,
		log:       opt.Log.With(slog.String("listener", opt.Name)),
		listeners: listeners,
		stop:      make(chan struct{}),
		failed:    make(chan error, 1),
		conns:     Registry[net.Conn]{Limit: opt.MaxConns},
	}
	ctx, l.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	for _, ln := range listeners {
		l.accepting.Go(func() { l.acceptLoop(ctx, ln) })
		l.log.Info("listening", slog.String("addr", ln.Addr().String()))
	}
	return l, nil
}

// Addrs returns the opened addresses, with the ports the system chose where
// port 0 was asked for.
func (l *Listener) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(l.listeners))
	for i, ln := range l.listeners {
		addrs[i] = ln.Addr()
	}
	return addrs
}

// Failed delivers the error of an accept loop that cannot go on: its socket is
// broken, and new clients would wait for ever.
func (l *Listener) Failed() <-chan error { return l.failed }

// Stats returns the counters as they are now.
func (l *Listener) Stats() Stats {
	n := l.conns.Counts()
	return Stats{Open: n.Open, Accepted: n.Opened, Refused: l.refused.Load()}
}

// Stop closes the addresses, ends the handlers' context with the cause
// ErrStopping and waits for the handlers. When ctx ends first it returns the
// cause, the remaining connections still open: CloseAll cuts them. Stop may be
// called again.
func (l *Listener) Stop(ctx context.Context) error {
	l.stopAccepting()
	l.cancel(ErrStopping)
	if err := l.conns.Drain(ctx); err != nil {
		return fmt.Errorf("stop the %s listener with %d connections open: %w", l.opt.Name, l.Stats().Open, err)
	}
	return l.closeErr
}

// CloseAll closes the addresses and every connection at once, without a word to
// the peers, and ends the handlers' context with the cause ErrCut. It does not
// wait for the handlers; Stop after it does. CloseAll may be called again.
func (l *Listener) CloseAll() {
	// The cause first: a handler whose read fails looks at it to learn why.
	l.cancel(ErrCut)
	l.stopAccepting()
	for r := range l.conns.All() {
		abort(r.Conn)
	}
}

// stopAccepting closes the addresses and returns when no accept loop runs.
func (l *Listener) stopAccepting() {
	l.conns.Close()
	l.mu.Lock()
	if !l.stopped {
		l.stopped = true
		close(l.stop)
		errs := make([]error, 0, len(l.listeners))
		for _, ln := range l.listeners {
			errs = append(errs, ln.Close())
		}
		l.closeErr = errors.Join(errs...)
	}
	l.mu.Unlock()
	l.accepting.Wait()
}

// serve registers the connection and starts its handler, or closes it where the
// listener is full or stopping.
func (l *Listener) serve(ctx context.Context, conn net.Conn) {
	r, err := l.conns.Add(conn)
	if err != nil {
		l.refuse(conn, err)
		return
	}
	// Some way below the limit, or churn at the limit would log each refusal.
	if l.crowded.Load() && l.conns.Counts().Open-1 <= l.opt.MaxConns*9/10 {
		l.crowded.Store(false)
	}
	go l.handle(ctx, r) // Stop waits for its registration to end
}

func (l *Listener) refuse(conn net.Conn, err error) {
	if errors.Is(err, ErrFull) {
		l.refused.Add(1)
		if !l.crowded.Swap(true) { // once per crowd: the log must not grow with a reconnect storm
			l.log.Warn("connection limit reached, refusing connections",
				slog.Int("limit", l.opt.MaxConns), slog.String("peer", conn.RemoteAddr().String()))
		}
	}
	abort(conn)
}

// handle runs the handler for a registered connection.
func (l *Listener) handle(ctx context.Context, r *Registration[net.Conn]) {
	defer l.conns.Remove(r)
	// The handler may have closed it already; a second close says so and harms nothing.
	defer r.Conn.Close()
	// Absolute, so that a peer sending a byte a second does not move it.
	if err := r.Conn.SetDeadline(time.Now().Add(l.opt.HandshakeTimeout)); err != nil {
		return // closed between accept and here
	}
	l.opt.Handler(ctx, r.Conn)
}

// abort closes the connection without waiting for unsent bytes: what has not
// left yet must not leave any more, and the peer learns at once (RST).
func abort(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails only on a connection that is closed already
	}
	_ = conn.Close()
}
