package mqtt

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/protocols/listen"
)

// A Server speaks MQTT on the connections it is given. It has no goroutines of
// its own: who wants the $SYS tree told gives it one, see [Server.Announce].
type Server struct {
	opt      Options
	start    time.Time     // of the clock that connections note times by
	silence  time.Duration // after which a connection dozes
	sections *sections
	system   system
	fights   fights

	conns    listen.Registry[*conn]
	accepted atomic.Uint64 // logins
	refused  atomic.Uint64 // likewise
	lastLane atomic.Uint32
	bytes    [lanes]lane

	mu      sync.Mutex                  // also makes a connection move from conns to past in one step
	past    Stats                       // the sums of connections that ended
	talkers map[*conn]struct{}          // those that have counters; nil until there is one
	sources map[context.Context]*source // those that can end
}

// A source is where connections come from: what has given them to the server with
// the same context. Its end is passed on by one for all, because to be a child of
// the context would cost each idle connection half a KiB.
type source struct {
	ctx context.Context //nolint:containedctx // without its end; readers' contexts are made of it, again and again
}

var (
	_ listen.Handler = (*Server)(nil).Serve
	_ listen.Starter = (*Server)(nil).Start
	_ listen.Starter = (*Server)(nil).StartWebSocket
)

// New returns a Server, or what is wrong with opt.
func New(opt Options) (*Server, error) {
	if err := opt.validate(); err != nil {
		return nil, err
	}
	opt.setDefaults()
	return &Server{
		opt:      opt,
		start:    time.Now(),
		silence:  dozeAfter,
		sections: newSections(),
		fights:   fights{free: freeTurns},
	}, nil
}

// Serve speaks MQTT with one client until the connection is over, and closes
// it; it is a listen.Handler, for any stream of bytes [MQTT-4.2.0-1]. When ctx ends with the cause listen.ErrCut the
// client hears nothing; with any other cause it is told that the broker shuts
// down (0x8B, or 0x9C where Options.Elsewhere knows another), and has Options.DrainTimeout to read what was queued for it.
func (s *Server) Serve(ctx context.Context, nc net.Conn) {
	over := make(chan struct{})
	s.Start(ctx, nc, func() { close(over) })
	<-over
}

// Start is Serve but for its end: it returns when the client was let in, or before,
// and over is called when the connection is closed. It is a listen.Starter.
func (s *Server) Start(ctx context.Context, nc net.Conn, over func()) {
	c := newConn(s, nc, over)
	c.from = s.from(ctx)
	own := c.wake()
	var err error
	if c.entry, err = s.conns.Add(c); err == nil {
		if ctx.Err() != nil { // its end may have been passed on before the connection was there
			c.interrupt(context.Cause(ctx))
		}
		err = c.handshake(own)
	}
	switch {
	case err != nil:
		c.finish(err)
	case c.isDrained(): // a fleet that comes back must not have large stacks, not for seconds
		c.rest()
		go c.doze() // see read
	default:
		c.alive.watch(c)
		c.read(own)
	}
}

// from is the source whose context is ctx.
func (s *Server) from(ctx context.Context) *source {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.sources[ctx]; known != nil {
		return known
	}
	src := &source{ctx: context.WithoutCancel(ctx)}
	if ctx.Done() == nil || ctx.Err() != nil {
		return src // it never ends, or is looked at right away: see Start
	}
	if s.sources == nil {
		s.sources = make(map[context.Context]*source)
	}
	s.sources[ctx] = src
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		delete(s.sources, ctx)
		s.mu.Unlock()
		for r := range s.conns.All() {
			if r.Conn.from == src {
				r.Conn.interrupt(context.Cause(ctx))
			}
		}
	})
	return src
}

// close takes a connection off the books, and keeps of it what it has counted.
// What could be written has been.
func (s *Server) close(c *conn) {
	if c.entry != nil {
		s.mu.Lock()
		s.conns.Remove(c.entry)
		c.closed = true
		if _, talked := s.talkers[c]; talked {
			delete(s.talkers, c)
			c.count.Load().addTo(&s.past)
		}
		s.mu.Unlock()
	}
	c.cancel(nil)
	_ = c.nc.Close() // it may have been closed before
	c.over()
}

// Stats returns the counters as they are now. It costs as much as there are
// connections that have carried messages.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum, n := s.past, s.conns.Counts()
	sum.Connections, sum.ConnectionsOpened, sum.ConnectionsClosed = n.Open, n.Opened, n.Closed
	sum.LoginsAccepted, sum.LoginsRefused = s.accepted.Load(), s.refused.Load()
	for i := range s.bytes {
		sum.BytesRead += s.bytes[i].read.Load()
		sum.BytesWritten += s.bytes[i].written.Load()
	}
	for c := range s.talkers {
		n := c.count.Load()
		n.addTo(&sum)
		if n.hasPublished() {
			sum.Publishers++
		}
	}
	return sum
}
