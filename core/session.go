package core

import "fmt"

// SessionOptions say whose session it is.
type SessionOptions struct {
	Conn string // the connection's name, for logs
	User string // who authenticated
}

// Session is one connection's view of a vhost: every verb a client has is one of its methods. All but Resume are called by one
// goroutine, the connection's reader.
//
// A method that answers for something durable returns when it has passed; ctx bounds that wait only: the change itself is made even
// if the wait is given up.
type Session struct {
	broker *Broker
	vhost  *VHost
	opt    SessionOptions
	stall  stall // consumers that wait for room in the outbox

	consumers map[*Consumer]struct{} // nil until there is one; may hold some that ended with their queue, until sweep
	sweepAt   int
	exclusive map[*Queue]struct{} // nil until there is one
	gets      int                 // messages got and not settled

	link *Link // to the subscriber that the connection is

	// scratch of Publish and Settle
	matched []*binding
	targets []*Queue
	pushes  []push
	reached map[*Subscriber]int // index in pushes of those with several subscriptions
	visited []*Exchange
	ops     []Op
	extra   []Op // to be recorded with the next publish, as one unit
}

// push is a subscriber that a message reaches at most once.
type push struct {
	sub   *Subscriber
	match Match
}

// Attach opens a session in a vhost.
func (b *Broker) Attach(vhost string, opt SessionOptions) (*Session, error) {
	v := b.vhost(vhost)
	if v == nil {
		return nil, &Error{Kind: NotFound, Op: "open vhost", Name: vhost, Text: fmt.Sprintf("vhost %s not found", vhost)}
	}
	return &Session{broker: b, vhost: v, opt: opt}, nil
}

// Resume serves the consumers that found the outbox full. It is called by any goroutine, without locks.
func (s *Session) Resume() {
	s.stall.wake(func(c *Consumer) bool { return c.spec.Receiver.Ready() })
	if s.link != nil {
		s.link.sub.resumeReplays()
	}
}

// Close detaches the session's subscriber if that was not done, ends its consumers, puts back what was outstanding with them or after a
// Get, and deletes its exclusive queues. It does not wait.
func (s *Session) Close(outstanding ...Delivery) {
	if s.link != nil {
		s.link.Detach(false, nil)
		s.link.sub.resumeReplays() // they may have waited for this link
	}
	for c := range s.consumers {
		c.Cancel()
	}
	s.Settle(outstanding, Requeue)
	for q := range s.exclusive {
		s.vhost.deleteExclusive(q)
	}
	clear(s.exclusive)
}
