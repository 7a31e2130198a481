package mqtt

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/batonmq/baton/protocols/listen"
)

// A Server speaks MQTT on the connections it is given. It has no goroutines of
// its own.
type Server struct {
	opt      Options
	start    time.Time // of the clock that connections note times by
	sections *sections

	conns listen.Registry[*conn]

	mu   sync.Mutex // also makes a connection move from conns to past in one step
	past Stats      // the sums of connections that ended
}

var (
	_ listen.Handler = (*Server)(nil).Serve
	_ listen.Handler = (*Server)(nil).ServeWebSocket
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
		sections: newSections(),
	}, nil
}

// Serve speaks MQTT with one client until the connection is over, and closes
// it; it is a listen.Handler. When ctx ends with the cause listen.ErrCut the
// client hears nothing; with any other cause it is told that the broker shuts
// down (0x8B, or 0x9C where Options.Elsewhere knows another), and has Options.DrainTimeout to read what was queued for it.
func (s *Server) Serve(ctx context.Context, nc net.Conn) {
	c, own, err := s.open(ctx, nc)
	defer s.close(c)
	if err != nil {
		c.goodbye(err)
		return
	}
	c.serve(own)
}

// open registers a connection and makes the context that it runs under.
//
// It is not a part of Serve, and neither is close: an idle connection's stack is
// four KiB as long as the frames of those that wait fill no more than a third of
// it. Nothing that is done once has its variables there.
func (s *Server) open(ctx context.Context, nc net.Conn) (c *conn, own context.Context, err error) {
	c = newConn(s, nc)
	// Not a child of ctx: passing its end on is all that is needed, and costs an
	// idle connection half a KiB less.
	own, c.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	c.unhook = context.AfterFunc(ctx, func() { c.interrupt(context.Cause(ctx)) })
	c.entry, err = s.conns.Add(c)
	return c, own, err
}

// close takes a connection off the books, and keeps of it what it has counted.
// What could be written has been.
func (s *Server) close(c *conn) {
	if c.entry != nil {
		s.mu.Lock()
		s.conns.Remove(c.entry)
		c.addTo(&s.past)
		s.mu.Unlock()
	}
	c.unhook()
	c.cancel(nil)
	_ = c.nc.Close() // it may have been closed before
}

// Stats returns the counters as they are now.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum, n := s.past, s.conns.Counts()
	sum.Connections, sum.ConnectionsOpened, sum.ConnectionsClosed = n.Open, n.Opened, n.Closed
	for r := range s.conns.All() {
		r.Conn.addTo(&sum)
	}
	return sum
}
