package amqp091

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/listen"
)

// A Server speaks AMQP 0-9-1 on the connections it is given. It has no
// goroutines of its own.
type Server struct {
	opt         Options
	properties  field.Table // told to every client
	maxArriving int64       // see Options.maxArriving
	maxPending  int64       // see Options.maxPending

	conns    listen.Registry[*conn]
	accepted atomic.Uint64 // logins

	mu   sync.Mutex // also makes a connection move from conns to past in one step
	past Stats      // the sums of connections that ended

	watching bool // a timer is set to look for what is overdue
}

var _ listen.Handler = (*Server)(nil).Serve

// New returns a Server, or what is wrong with opt.
func New(opt Options) (*Server, error) {
	if err := opt.validate(); err != nil {
		return nil, err
	}
	opt.setDefaults()
	return &Server{
		opt:         opt,
		properties:  serverProperties(&opt),
		maxArriving: opt.maxArriving(),
		maxPending:  opt.maxPending(),
	}, nil
}

// Serve speaks with one client until the connection is over, and closes it; it
// is a listen.Handler. When ctx ends with the cause listen.ErrCut the client
// hears nothing; with any other cause it is told that the broker shuts down
// (320), and has Options.DrainTimeout to take its leave.
func (s *Server) Serve(ctx context.Context, nc net.Conn) {
	defer nc.Close() // what could be written has been
	ctx, interrupt := context.WithCancelCause(ctx)
	defer interrupt(nil)
	c := newConn(s, nc, interrupt)
	r, err := s.conns.Add(c)
	if err != nil {
		c.goodbye(err)
		return
	}
	defer s.remove(r)
	c.entry = r
	s.watch()
	c.serve(ctx)
}

// remove keeps of a connection what it has counted.
func (s *Server) remove(r *listen.Registration[*conn]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns.Remove(r)
	r.Conn.addTo(&s.past)
}

// Stats returns the counters as they are now.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum, n := s.past, s.conns.Counts()
	sum.Connections, sum.ConnectionsOpened, sum.ConnectionsClosed = n.Open, n.Opened, n.Closed
	sum.LoginsAccepted = s.accepted.Load()
	for r := range s.conns.All() {
		r.Conn.addTo(&sum)
	}
	return sum
}

// serverProperties are those of RabbitMQ's connection.start. A capability is
// announced only where it works.
func serverProperties(opt *Options) field.Table {
	return field.Table{
		{Key: "capabilities", Value: field.Table{
			{Key: "publisher_confirms", Value: true},
			{Key: "exchange_exchange_bindings", Value: true},
			{Key: "basic.nack", Value: true},
			{Key: "consumer_cancel_notify", Value: true},
			{Key: "connection.blocked", Value: true},
			{Key: "consumer_priorities", Value: true},
			{Key: "authentication_failure_close", Value: true},
			{Key: "per_consumer_qos", Value: true},
			{Key: "direct_reply_to", Value: true},
		}},
		{Key: "cluster_name", Value: opt.ClusterName},
		{Key: "copyright", Value: "The Baton authors"},
		{Key: "information", Value: "Licensed under the Apache License 2.0"},
		{Key: "platform", Value: platform()},
		{Key: "product", Value: opt.Product},
		{Key: "version", Value: opt.Version},
	}
}

// heartbeatSeconds is the interval that connection.tune suggests.
func (s *Server) heartbeatSeconds() uint16 { return uint16(s.opt.Heartbeat / time.Second) }
