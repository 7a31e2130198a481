package amqp091

import (
	"context"
	"log/slog"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// A delivery may be given a time within which it is to be settled: by the
// consumer's argument, by its queue, or by Options, whichever comes first in this
// order. A channel with one that is over it is closed, and what it has outstanding
// goes back (RabbitMQ's consumer timeout).
//
// When a delivery was made is not noted with it. Every lookEvery a timer notes for
// each channel how far its tags have come: what has a tag up to there was delivered
// before. So a timeout is seen up to two looks late, and costs deliveries nothing.

// lookEvery is how often the server looks for what is overdue.
const lookEvery = 15 * time.Second

// maxMarks is how many marks a channel keeps; of more, every other goes.
const maxMarks = 128

// mark says that all deliveries up to a tag were made before a time.
type mark struct {
	tag uint64
	at  time.Time
}

// argConsumerTimeout is the argument of a consumer, and of a queue.
const argConsumerTimeout = "x-consumer-timeout"

// consumerTimeout reads a consumer's argument: milliseconds, 0 for no timeout.
func consumerTimeout(args field.Table) (d time.Duration, set bool, err error) {
	v, ok := args.Get(argConsumerTimeout)
	if !ok {
		return 0, false, nil
	}
	n, isInt := field.Int(v)
	if d = time.Duration(n) * time.Millisecond; !isInt || n < 0 || d/time.Millisecond != time.Duration(n) {
		return 0, false, wire.Errorf(wire.PreconditionFailed, wire.BasicConsumeID,
			"invalid arg '%s' for consumer: '%s' is not a number of milliseconds", argConsumerTimeout, field.Text(v))
	}
	return d, true, nil
}

// timeoutOf is how long d may be outstanding; 0: for ever.
func (s *Server) timeoutOf(d *core.Delivery) time.Duration {
	if d.Consumer != nil {
		if k, ours := d.Consumer.Receiver().(*consumer); ours && k.timed {
			return k.timeout
		}
	}
	if t := d.ConsumerTimeout(); t > 0 {
		return t
	}
	return s.opt.ConsumerTimeout
}

// watch has the server look as long as there are connections.
func (s *Server) watch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.watching {
		s.watching = true
		time.AfterFunc(lookEvery, s.look)
	}
}

// look finds the channels that have something overdue, and has their readers
// close them.
func (s *Server) look() {
	now, open := time.Now(), 0
	for r := range s.conns.All() {
		open++
		if r.Conn.findOverdue(now) {
			_ = r.Conn.nc.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watching = open > 0; s.watching {
		time.AfterFunc(lookEvery, s.look)
	}
}

func (c *conn) findOverdue(now time.Time) (found bool) {
	c.channelsMu.Lock()
	defer c.channelsMu.Unlock()
	for _, ch := range c.channels {
		if ch.findOverdue(now) {
			found = true
		}
	}
	return found
}

// findOverdue reports whether a delivery has been outstanding for too long.
func (ch *channel) findOverdue(now time.Time) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	limited, m := false, 0
	for i := ch.unsettled.head; i < len(ch.unsettled.items); i++ {
		d := &ch.unsettled.items[i]
		if isHole(d) {
			continue
		}
		if !limited { // the first that is outstanding: marks before it are of no use
			for m < len(ch.marks) && ch.marks[m].tag < d.Tag {
				m++
			}
			ch.marks, m = ch.marks[m:], 0
		}
		limit := ch.c.srv.timeoutOf(d)
		if limit == 0 {
			continue
		}
		limited = true
		for m < len(ch.marks) && ch.marks[m].tag < d.Tag {
			m++
		}
		if m < len(ch.marks) && now.Sub(ch.marks[m].at) >= limit {
			ch.overdue = limit
			return true
		}
	}
	ch.note(limited, now)
	return false
}

// note notes how far tags have come, if there is something to time.
func (ch *channel) note(limited bool, now time.Time) {
	n := len(ch.marks)
	switch {
	case !limited:
		ch.marks = nil
		return
	case n > 0 && ch.marks[n-1].tag == ch.tag:
		return
	case n >= maxMarks:
		kept := ch.marks[:0]
		for i := 1; i < n; i += 2 { // later ones speak for those that go
			kept = append(kept, ch.marks[i])
		}
		ch.marks = kept
	}
	ch.marks = append(ch.marks, mark{ch.tag, now})
}

// woken is what the reader does when its read was ended for no reason of the
// connection's: it closes channels that have something overdue.
func (c *conn) woken(ctx context.Context) error {
	if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if ctx.Err() != nil { // its deadline may just have been lifted
		return ctx.Err()
	}
	for _, ch := range c.channels {
		if err := ch.endOverdue(); err != nil {
			return err
		}
	}
	return nil
}

// endOverdue closes the channel if it has something overdue.
func (ch *channel) endOverdue() error {
	ch.mu.Lock()
	limit := ch.overdue
	ch.overdue = 0
	ch.mu.Unlock()
	if limit == 0 || ch.closing {
		return nil
	}
	e := wire.Errorf(wire.PreconditionFailed, 0, "delivery acknowledgement on channel %d timed out. Timeout value used: %d ms. "+
		"This timeout value can be configured, see consumers doc guide to learn more", ch.id, limit.Milliseconds())
	ch.c.logChannelError(ch, e, e, slog.Duration("timeout", limit))
	return ch.fail(e)
}
