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
// lines on the message path; Server.Stats adds them up.
type counters struct {
	received, delivered [3]atomic.Uint64

	confirmed, unroutable, unauthorized, redelivered, acknowledged, tooLarge atomic.Uint64

	loginsRefused, bytesRead atomic.Uint64
}

// addTo adds the connection's counts to s.
func (c *conn) addTo(s *Stats) {
	n := &c.count
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
	s.LoginsRefused += n.loginsRefused.Load()
	s.BytesRead += n.bytesRead.Load()
	s.BytesWritten += c.out.Written()
}

// hasPublished reports whether the client has.
func (c *conn) hasPublished() bool {
	for qos := range c.count.received {
		if c.count.received[qos].Load() > 0 {
			return true
		}
	}
	return false
}
