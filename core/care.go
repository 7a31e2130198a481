package core

import (
	"context"
	"fmt"
	"slices"
)

// Dead-letter care: messages that wait in a queue are deleted, or moved to another queue, to an exchange, or back to where they died.
//
// Messages are looked at from the front, as a consumer would that never answers: what is not meant stays out of other consumers' reach until
// the call ends, and then returns to its place, not marked as delivered. A message that moves gets its new places and loses its old one
// in one unit, so that no crash loses it or has it in both.

// MoveSpec asks for messages to be taken out of a queue.
type MoveSpec struct {
	Queue  string
	To     Destination
	Places []Position            // only these; nil: any
	Only   func(m *Message) bool // only those for which it returns true; nil: all
	Count  int                   // at most so many; 0 means 1,000, or 100,000 in a dry run, which is also the most of one call
	DryRun bool                  // only count
}

// Destination is where messages go. The zero value is nowhere: they are deleted.
type Destination struct {
	Kind     DestinationKind
	Queue    string  // ToQueue
	Exchange string  // ToExchange
	Key      *string // ToExchange: the routing key; nil: each message's own
}

// DestinationKind tells destinations apart.
type DestinationKind uint8

// The kinds.
const (
	Nowhere    DestinationKind = iota
	ToQueue                    // into a queue, with the exchange and the routing key that the message has
	ToExchange                 // published to an exchange
	ToOrigin                   // into the queue in which the message died first, with the exchange and the routing key that it had there
)

// Moved is what came of it.
type Moved struct {
	Waiting int  // messages that waited at the beginning
	Moved   int  // or deleted; in a dry run: that would be
	Kept    int  // meant, but left where they are: what they should go to does not exist, or does not take them
	Passed  int  // not meant
	More    bool // there may be others that are meant
}

// What one call does at most.
const (
	maxMoved  = 1000
	maxPassed = 100_000
	maxLifted = 256 << 20 // bytes of messages that are looked at
	careBatch = 100       // messages of one unit
	careBytes = 1 << 20   // after which a unit ends
)

// Move takes messages out of a queue and has them go where they should. It asks for the right to read the queue, and to write to what they go to. What
// was moved before an error stays so.
func (s *Session) Move(ctx context.Context, spec MoveSpec) (Moved, error) {
	const op = "move"
	if err := s.allow(op, QueueClass, Read, cleanName(spec.Queue), ""); err != nil {
		return Moved{}, err
	}
	q, err := s.find(op, spec.Queue)
	if err != nil {
		return Moved{}, err
	}
	c := care{session: s, queue: q, spec: spec, places: map[Position]struct{}{}, allowed: map[string]error{}}
	for _, p := range spec.Places {
		c.places[p] = struct{}{}
		if c.end.before(p) {
			c.end = p
		}
	}
	most := maxMoved
	if spec.DryRun {
		most = maxPassed
	}
	c.spec.Count = bound(spec.Count, most, most)
	if err := c.checkDestination(op); err != nil {
		return Moved{}, err
	}
	s.broker.showPassed()
	err = c.run(ctx)
	c.putBack()
	return c.moved, err
}

// care is a call of Move.
type care struct {
	session *Session
	queue   *Queue
	spec    MoveSpec
	places  map[Position]struct{} // those of spec
	end     Position              // the last of them
	moved   Moved
	last    promise          // of the last unit
	at      Position         // of the last message that was looked at
	lifted  int              // bytes
	back    []Delivery       // that return to their places in the end
	batch   []Delivery       // that move in the next unit
	bytes   int              // of batch
	allowed map[string]error // by the name of a queue that is an origin
}

// checkDestination refuses what nothing can go to.
func (c *care) checkDestination(op string) error {
	s, to := c.session, &c.spec.To
	switch to.Kind {
	case ToQueue:
		if err := s.allow(op, QueueClass, Write, cleanName(to.Queue), ""); err != nil {
			return err
		}
		target, err := s.find(op, to.Queue)
		if err == nil && target == c.queue {
			err = &Error{Kind: Invalid, Op: op, Name: s.vhost.queueName(to.Queue), Text: "messages cannot be moved from a queue to itself"}
		}
		return err
	case ToExchange:
		to.Exchange = cleanName(to.Exchange)
		if err := s.allow(op, ExchangeClass, Write, to.Exchange, ""); err != nil {
			return err
		}
		if s.vhost.exchange(to.Exchange) == nil {
			return s.vhost.noExchange(op, to.Exchange)
		}
	case Nowhere, ToOrigin:
	}
	return nil
}

// run looks at messages until nothing is left to do.
func (c *care) run(ctx context.Context) error {
	c.queue.mu.Lock()
	c.moved.Waiting = c.queue.stats.Ready
	c.queue.mu.Unlock()
	for n := 0; n < c.moved.Waiting && !c.isComplete(); n++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if c.enough() {
			c.moved.More = true
			break
		}
		d, ok, err := c.queue.lift(ctx)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if err := c.look(ctx, d); err != nil {
			return err
		}
	}
	if err := c.commit(ctx); err != nil {
		return err
	}
	return c.last.wait(ctx)
}

// isComplete reports whether all places that were named have been looked at.
func (c *care) isComplete() bool {
	return c.spec.Places != nil && !c.at.before(c.end)
}

// enough reports whether the call has done what it may.
func (c *care) enough() bool {
	return c.moved.Moved+len(c.batch) >= c.spec.Count || len(c.back) >= maxPassed || c.lifted >= maxLifted
}

// look decides about one message.
func (c *care) look(ctx context.Context, d Delivery) error {
	c.lifted += d.Size()
	c.at = Position{Priority: d.lane, Seq: d.Seq}
	if _, named := c.places[c.at]; c.spec.Places != nil && !named || c.spec.Only != nil && !c.spec.Only(d.Message) {
		c.moved.Passed++
		c.keep(d)
		return nil
	}
	c.batch = append(c.batch, d)
	if c.bytes += d.Size(); len(c.batch) >= careBatch || c.bytes >= careBytes {
		return c.commit(ctx)
	}
	return nil
}

// keep has a message return to its place in the end.
func (c *care) keep(d Delivery) {
	d.Unload()
	c.back = append(c.back, d)
}

// commit has the batch go, as one unit. In an error all of it stays.
func (c *care) commit(ctx context.Context) error {
	batch := c.batch
	c.batch, c.bytes = nil, 0
	if len(batch) == 0 {
		return nil
	}
	var err error
	if c.spec.To.Kind != Nowhere { // to delete makes room
		err = c.session.Admit(ctx, 0)
	}
	u := unit{broker: c.session.broker, whole: true, stays: true}
	var gone []Delivery
	for _, d := range batch {
		goes := err == nil
		if goes {
			goes, err = c.send(&u, d.Message)
		}
		switch {
		case err != nil:
			c.keep(d)
		case !goes:
			c.moved.Kept++
			c.keep(d)
		case c.spec.DryRun:
			c.moved.Moved++
			c.keep(d)
		default:
			c.moved.Moved++
			gone = append(gone, d)
		}
	}
	if len(gone) > 0 {
		c.queue.settleIn(&u, gone, Reject)
		c.last = newPromise()
		u.commit(c.last, 0)
	}
	return err
}

// send has a message published where it should go, and reports whether anything took it.
func (c *care) send(u *unit, m *Message) (goes bool, err error) {
	s, to := c.session, &c.spec.To
	switch to.Kind {
	case Nowhere:
		return true, nil
	case ToQueue:
		q := s.vhost.queue(cleanName(to.Queue))
		return c.put(u, q, m.again()), nil
	case ToOrigin:
		return c.sendBack(u, m)
	case ToExchange:
		m = m.again()
		if m.Exchange = to.Exchange; to.Key != nil {
			m.Key, m.Keys = *to.Key, nil
		}
		if err := s.allowTopic("move", Write, m.Exchange, m.Key); err != nil {
			return false, err
		}
		if err := s.route(m); err != nil {
			return false, err
		}
		switch {
		case slices.Contains(s.targets, c.queue): // it would come back for ever
			return false, nil
		case c.spec.DryRun:
			return len(s.targets)+len(s.pushes)+len(s.shared)+len(s.keepers) > 0, nil
		}
		pushed, _ := s.push(m)
		n, _ := s.put(u, nil, m) // where a full queue refuses it, it is one less that takes it
		return n+pushed > 0, nil
	}
	return false, nil
}

// put publishes m to one queue.
func (c *care) put(u *unit, q *Queue, m *Message) bool {
	if q == nil || q == c.queue || q.isSubscribers() {
		return false
	}
	if c.spec.DryRun {
		return true
	}
	n, _ := u.publish([]*Queue{q}, nil, m)
	return n > 0
}

// sendBack has a message go back to where it died first.
func (c *care) sendBack(u *unit, m *Message) (goes bool, err error) {
	o, ok := originOf(m)
	if !ok {
		return false, nil
	}
	err, asked := c.allowed[o.queue]
	if !asked {
		err = c.session.allow("move", QueueClass, Write, o.queue, "")
		c.allowed[o.queue] = err
	}
	if err != nil {
		return false, err
	}
	m = m.again()
	m.Exchange, m.Key, m.Keys = o.exchange, o.key, nil
	return c.put(u, c.session.vhost.queue(o.queue), m), nil
}

// putBack returns everything that did not go to its place.
func (c *care) putBack() {
	back := slices.Concat(c.back, c.batch)
	q := c.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		q.settleDeleted(back)
		return
	}
	for i := range back {
		q.giveBack(&back[i], false)
	}
	q.dispatch()
}

// lift takes the next message out. ok is false when there is none.
func (q *Queue) lift(ctx context.Context) (d Delivery, ok bool, err error) {
	var remaining int
	ok, err = q.next(ctx, false, func() {
		d = q.handOut(nil, false)
		q.stats.Delivered-- // to nobody
		if d.Redelivered {
			q.stats.Redone--
		}
	}, &remaining)
	return d, ok, err
}

// before reports whether a message at p is handed out before one at o. The zero value is before all.
func (p Position) before(o Position) bool {
	if p == (Position{}) || p.Priority == o.Priority {
		return p.Seq < o.Seq
	}
	return p.Priority > o.Priority
}

// String is how a position is written: the place, behind the priority where that is not 0.
func (p Position) String() string {
	if p.Priority == 0 {
		return fmt.Sprint(uint64(p.Seq))
	}
	return fmt.Sprintf("%d.%d", p.Priority, uint64(p.Seq))
}
