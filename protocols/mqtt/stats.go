package mqtt

import "sync/atomic"

// Stats is a snapshot of what a Server does and did. Sums are since New.
type Stats struct {
	Connections int // open now, those in their handshake included
	Publishers  int // connections open now that have published

	ConnectionsOpened uint64
	ConnectionsClosed uint64
	LoginsAccepted    uint64
	LoginsRefused     uint64

	BytesRead    uint64
	BytesWritten uint64

	// By QoS: received of publishers, and sent to subscribers with the QoS that
	// was granted, those sent again included.
	Received  [3]uint64
	Delivered [3]uint64

	Confirmed         uint64 // PUBACK and PUBREC without a failure
	UnroutableDropped uint64 // publications that matched nothing
	Unauthorized      uint64 // publications that were refused because their user may not
	Redelivered       uint64 // of Delivered, those sent with DUP
	Acknowledged      uint64 // PUBACK and PUBREC of subscribers
	TooLarge          uint64 // deliveries above their client's maximum packet size, or without a topic below its mount point, dropped
}

// counters count for one connection, so that connections do not share cache
// lines on the message path; Server.Stats adds them up. Most of a large fleet have
// none: they have never published, nor been sent anything.
type counters struct {
	received, delivered [3]atomic.Uint64

	confirmed, unroutable, unauthorized, redelivered, acknowledged, tooLarge atomic.Uint64
}

// lanes is how many counts there are of what all connections have read and written,
// so that they hardly ever meet on a cache line.
const lanes = 8

type lane struct {
	read, written atomic.Uint64

	_ [48]byte // the rest of a cache line
}

// counters are made when the first thing is to be counted.
func (c *conn) counters() *counters {
	if n := c.count.Load(); n != nil {
		return n
	}
	return c.srv.counting(c)
}

// counting makes c count. What is counted for a connection that is closed is lost, as it
// would be a moment later.
func (s *Server) counting(c *conn) *counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := c.count.Load()
	if n != nil {
		return n
	}
	n = new(counters)
	c.count.Store(n)
	if !c.closed {
		if s.talkers == nil {
			s.talkers = make(map[*conn]struct{})
		}
		s.talkers[c] = struct{}{}
	}
	return n
}

// addTo adds the counts to s.
func (n *counters) addTo(s *Stats) {
	for qos := range n.received {
		s.Received[qos] += n.received[qos].Load()
		s.Delivered[qos] += n.delivered[qos].Load()
	}
	s.Confirmed += n.confirmed.Load()
	s.UnroutableDropped += n.unroutable.Load()
	s.Unauthorized += n.unauthorized.Load()
	s.Redelivered += n.redelivered.Load()
	s.Acknowledged += n.acknowledged.Load()
	s.TooLarge += n.tooLarge.Load()
}

// hasPublished reports whether the client has.
func (n *counters) hasPublished() bool {
	for qos := range n.received {
		if n.received[qos].Load() > 0 {
			return true
		}
	}
	return false
}
