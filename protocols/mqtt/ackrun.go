package mqtt

import "github.com/batonmq/baton/protocols/mqtt/wire"

// A client that is sent many messages of QoS 1 answers them in runs of PUBACK
// that have nothing but an identifier. They are acted on together: the engine's
// locks are taken, and its record is written, once for a run. conn.answered is
// the plain path, which has all that is said here too.

const (
	// shortestRun is how many answers it takes to be a run: fewer cost less one
	// by one.
	shortestRun = 2

	// longestRun bounds the room that a connection keeps for a run.
	longestRun = 64
)

// acknowledgedAll acts on the run of PUBACKs that b begins with, and returns the
// bytes that it has; 0: there is none.
func (c *conn) acknowledgedAll(b []byte) int {
	var room [longestRun]uint16
	ids := wire.AppendPubackRun(room[:0], b)
	if len(ids) < shortestRun {
		return 0
	}
	c.alive.whole()
	c.counters().acknowledged.Add(uint64(c.link.AckAll(ids)))
	return len(ids) * wire.ShortAck
}
