package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
// is that of a socket, or a *tls.Conn whose handshake is done (see [TLSState]);
// its addresses are those that a trusted proxy named, see Options.Proxy. It
// arrives with a deadline, Options.HandshakeTimeout from when it was accepted,
// for reads and writes; the handler lifts it (conn.SetDeadline) when its own
// handshake is done. The context ends with the cause [ErrStopping] or [ErrCut].
type Handler func(ctx context.Context, conn net.Conn)

// A Starter begins to serve one connection, as a [Handler] does, and may return
// before the connection is over: then it calls over, once, from any goroutine. An
// idle connection has no goroutine of the Listener's then.
type Starter func(ctx context.Context, conn net.Conn, over func())

// Options says what to listen on and how.
type Options struct {
	// Name is the front-end's name in log lines and errors, as "amqp". Required.
	Name string

	// Addresses are the HOST:PORT pairs to open, Sockets the paths of unix sockets,
	// whose files get the mode SocketMode. At least one of either.
	Addresses  []string
	Sockets    []string
	SocketMode fs.FileMode

	// Handler serves a connection, or Start does. One of them is required.
	Handler Handler
	Start   Starter

	// MaxConns bounds the open connections; zero is no bound.
	MaxConns int

	// HandshakeTimeout is the deadline a connection arrives with, that of TLS
	// and of the protocol together. Zero is DefaultHandshakeTimeout.
	HandshakeTimeout time.Duration

	// TLS is what connections begin with; nil: they are plain.
	TLS *TLS

	// ALPN are the protocols that TLS offers, as "amqp", "mqtt" or "http/1.1".
	// A client that names some, and none of these, is refused (RFC 7301); one
	// that names none is not.
	ALPN []string

	// Budget bounds the connections of all listeners that share it; nil: it
	// does not.
	Budget *Budget

	// Rate bounds how often one address connects; nil: it does not.
	Rate *Rate

	// Proxy has connections begin with a header of the PROXY protocol, which
	// names the address that counts everywhere; nil: it is not understood. It does
	// not concern unix sockets.
	Proxy *Proxy

	// Log receives the listener's own events; nil discards them.
	Log *slog.Logger
}

func (o *Options) validate() error {
	switch {
	case o.Name == "":
		return errors.New("listen: no name for the front-end")
	case len(o.Addresses)+len(o.Sockets) == 0:
		return fmt.Errorf("listen for %s: no address", o.Name)
	case (o.Handler == nil) == (o.Start == nil):
		return fmt.Errorf("listen for %s: no handler", o.Name)
	case o.MaxConns < 0:
		return fmt.Errorf("listen for %s: connection limit %d is negative", o.Name, o.MaxConns)
	case o.HandshakeTimeout < 0:
		return fmt.Errorf("listen for %s: handshake timeout %v is negative", o.Name, o.HandshakeTimeout)
	case o.Proxy != nil && len(o.Proxy.Trusted) == 0:
		return fmt.Errorf("listen for %s: the PROXY protocol, and no address of a proxy", o.Name)
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
	Open       int    // connections open now
	Accepted   uint64 // connections that were not closed at once, those that wait for their turn included
	Refused    uint64 // connections closed at once because of MaxConns
	OverBudget uint64 // connections closed at once because of Budget
	TooOften   uint64 // connections closed because of Rate, and not let wait
	Unnamed    uint64 // connections closed because a header of the PROXY protocol had to come, and be believed

	// Handshakes counts the TLS handshakes that failed, by HandshakeFailure, at
	// this and at former listeners of the name.
	Handshakes [handshakeFailures]uint64
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

	waiting    atomic.Int64 // connections that wait for their turn
	refused    atomic.Uint64
	overBudget atomic.Uint64
	tooOften   atomic.Uint64
	unnamed    atomic.Uint64
	handshakes *handshakes // nil: without TLS
	crowded    atomic.Bool // a refusal has been logged since the limit was last left
	complaints *complaints

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
	listeners, err := opt.open(ctx)
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

		complaints: newComplaints(),
	}
	if opt.TLS != nil {
		l.handshakes = opt.TLS.countersOf(opt.Name)
	}
	ctx, l.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	for _, ln := range listeners {
		l.accepting.Go(func() { l.acceptLoop(ctx, ln) })
		l.log.Info("listening", slog.String("addr", ln.Addr().String()))
	}
	return l, nil
}

// open opens all, or nothing.
func (o *Options) open(ctx context.Context) ([]net.Listener, error) {
	open, err := Open(ctx, o.Name, o.Addresses)
	if err != nil {
		return nil, err
	}
	for _, path := range o.Sockets {
		ln, err := OpenSocket(ctx, o.Name, path, o.SocketMode)
		if err != nil {
			for _, ln := range open {
				_ = ln.Close() // nothing was accepted on it
			}
			return nil, err
		}
		open = append(open, &namedPeers{Listener: ln})
	}
	return open, nil
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
	s := Stats{
		Open: n.Open, Accepted: n.Opened,
		Refused: l.refused.Load(), OverBudget: l.overBudget.Load(), TooOften: l.tooOften.Load(),
		Unnamed: l.unnamed.Load(),
	}
	if l.handshakes != nil {
		s.Handshakes = l.handshakes.failures()
	}
	return s
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

// serve registers the connection and starts its handler, or closes it where a
// limit is reached or the listener is stopping. What is refused has cost its
// accept and nothing else.
func (l *Listener) serve(ctx context.Context, conn net.Conn) {
	r, p, err := l.admit(conn)
	if err != nil {
		l.refuse(conn, err)
		return
	}
	// Some way below the limit, or churn at the limit would log each refusal.
	if l.crowded.Load() && l.conns.Counts().Open-1 <= l.opt.MaxConns*9/10 {
		l.crowded.Store(false)
	}
	if p.wait > 0 {
		l.noteLine(conn, p)
		go l.handleLater(ctx, r, p)
		return
	}
	go l.handle(ctx, r) // Stop waits for its registration to end
}

// admit asks the limits, those first that concern the address alone. For whom a
// trusted proxy speaks is not known yet: see unproxied.
func (l *Listener) admit(conn net.Conn) (r *Registration[net.Conn], p place, err error) {
	switch trusted := l.opt.Proxy.trusts(conn.RemoteAddr()); {
	case trusted:
	case l.opt.Proxy != nil && !l.opt.Proxy.Optional:
		return nil, place{}, errNotProxied
	default:
		var ok bool
		if p, ok = l.enter(conn.RemoteAddr()); !ok {
			return nil, place{}, errTooOften
		}
	}
	defer func() {
		if err != nil {
			l.leave(p)
		}
	}()
	if first, err := l.opt.Budget.take(conn.RemoteAddr()); err != nil {
		if first {
			l.log.Warn("connection budget spent, refusing connections", slog.Any("err", err),
				slog.Int("limit", l.opt.Budget.Stats().Limit), slog.String("peer", conn.RemoteAddr().String()))
		}
		return nil, p, err
	}
	if r, err = l.conns.Add(conn); err != nil {
		l.opt.Budget.give(conn.RemoteAddr())
	}
	return r, p, err
}

// enter asks the Rate. Of what the listener may have open, connections that wait
// for their turn take no more than they leave to those that need not.
func (l *Listener) enter(addr net.Addr) (p place, ok bool) {
	mayWait := l.opt.Budget.roomy()
	if limit := l.opt.MaxConns; limit > 0 && mayWait {
		waiting := int(l.waiting.Load())
		mayWait = waiting < (limit-l.conns.Counts().Open+waiting)/2
	}
	if p, ok = l.opt.Rate.enter(addr, mayWait); p.wait > 0 {
		l.waiting.Add(1)
	}
	return p, ok
}

// leave ends a wait, if there was one.
func (l *Listener) leave(p place) {
	if p.wait > 0 {
		l.opt.Rate.leave(p)
		l.waiting.Add(-1)
	}
}

func (l *Listener) refuse(conn net.Conn, err error) {
	peer := slog.String("peer", conn.RemoteAddr().String())
	switch {
	case errors.Is(err, errTooOften), errors.Is(err, errNotProxied):
		counter := &l.tooOften
		if errors.Is(err, errNotProxied) {
			counter = &l.unnamed
		}
		counter.Add(1)
		if suppressed, ok := l.complaints.next(l.log, slog.LevelWarn); ok {
			l.log.Warn("connection refused", peer, slog.Any("err", err), suppressed)
		}
	case errors.Is(err, errOverBudget), errors.Is(err, errOverShare):
		l.overBudget.Add(1)
	case errors.Is(err, ErrFull):
		l.refused.Add(1)
		if !l.crowded.Swap(true) { // once per crowd: the log must not grow with a reconnect storm
			l.log.Warn("connection limit reached, refusing connections", slog.Int("limit", l.opt.MaxConns), peer)
		}
	}
	abort(conn)
}

// handle runs the handler for a registered connection, after the handshake of
// TLS. Its frame stays on the stack of each idle connection that a Handler serves:
// what happens before and after has frames of its own.
func (l *Listener) handle(ctx context.Context, r *Registration[net.Conn]) {
	if l.opt.Start != nil {
		l.start(ctx, r)
		return
	}
	conn, ok := l.begin(ctx, r.Conn)
	defer l.end(r, conn.RemoteAddr())
	if ok {
		l.opt.Handler(ctx, conn)
		_ = conn.Close() // the handler may have done so; of TLS, it tells the peer
	}
}

// handleLater is handle for a connection whose turn has not come: nothing is read
// before, and the time for its handshake begins then.
func (l *Listener) handleLater(ctx context.Context, r *Registration[net.Conn], p place) {
	if !l.await(ctx, p) {
		l.end(r, r.Conn.RemoteAddr())
		return
	}
	l.handle(ctx, r)
}

// noteLine logs that connections of an address begin to wait.
func (l *Listener) noteLine(conn net.Conn, p place) {
	if !p.first {
		return
	}
	if suppressed, ok := l.complaints.next(l.log, slog.LevelWarn); ok {
		l.log.Warn("the address connects too often, its connections wait for their turn",
			slog.String("peer", conn.RemoteAddr().String()), suppressed)
	}
}

// await waits for a connection's turn, and reports whether it has come before the
// listener stops.
func (l *Listener) await(ctx context.Context, p place) bool {
	defer l.leave(p)
	t := time.NewTimer(p.wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *Listener) start(ctx context.Context, r *Registration[net.Conn]) {
	conn, ok := l.begin(ctx, r.Conn)
	if !ok {
		l.end(r, conn.RemoteAddr())
		return
	}
	l.opt.Start(ctx, conn, func() {
		_ = conn.Close() // see handle
		l.end(r, conn.RemoteAddr())
	})
}

// begin makes of an accepted connection what the handler is given, or reports
// false. What it returns has the address that the connection counts for.
func (l *Listener) begin(ctx context.Context, conn net.Conn) (net.Conn, bool) {
	// Absolute, so that a peer sending a byte a second does not move it.
	if err := conn.SetDeadline(time.Now().Add(l.opt.HandshakeTimeout)); err != nil {
		return conn, false // closed between accept and here
	}
	if l.opt.Proxy.trusts(conn.RemoteAddr()) {
		var ok bool
		if conn, ok = l.unproxied(ctx, conn); !ok {
			return conn, false
		}
	}
	if l.opt.TLS == nil {
		return conn, true
	}
	secure, ok := l.handshake(ctx, conn)
	if !ok {
		return conn, false
	}
	return secure, true
}

// end closes a connection and takes it off the books.
func (l *Listener) end(r *Registration[net.Conn], peer net.Addr) {
	_ = r.Conn.Close() // a second close says so and harms nothing
	l.opt.Budget.give(peer)
	l.conns.Remove(r)
}

// abort closes the connection without waiting for unsent bytes: what has not
// left yet must not leave any more, and the peer learns at once (RST).
func abort(conn net.Conn) {
	if tcp, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0) // fails only on a connection that is closed already
	}
	_ = conn.Close()
}
