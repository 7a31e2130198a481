package core

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/core/field"
)

// SessionOptions say whose session it is.
type SessionOptions struct {
	Conn string   // the connection's name, of a session without Info
	User string   // who authenticated
	Tags []string // the user's

	// Access is asked for every verb; nil allows everything.
	Access Authorizer

	// A session with Info or End is a connection's: it is listed, and counts for the limits of its user and its vhost. Both are called
	// by any goroutine, return at once and do not call the engine.
	Info    func(nameOnly bool) ConnectionInfo // describes the connection, or says no more than its name
	Traffic func() Traffic                     // is what of it costs nothing to tell, see Session.Moved; nil: Info is asked
	End     func(reason error)                 // asks the connection to end

	// Outgoing is a connection that this broker has opened, as a bridge does: maintenance is not about it.
	Outgoing bool

	// Channels describes the connection's channels, in the order of their numbers, under the same terms. nil: its protocol has none.
	Channels func() []ChannelInfo

	// Blocked is called by Admit when a publisher has waited for a moment because of alarms, again when these have changed, and with
	// none of them when the publisher goes on. nil: nobody is told.
	Blocked func(Alarms)

	// MessageRate and ByteRate limit what the session may publish in a second; 0: no limit. It may publish a second's worth at once.
	MessageRate, ByteRate float64
}

// ConnectionInfo describes a connection in lists.
type ConnectionInfo struct {
	Name, Protocol, User, VHost, AuthMechanism, State string
	PeerHost, Host                                    string
	PeerPort, Port                                    int

	TLS                             bool
	TLSVersion, Cipher              string
	PeerCertSubject, PeerCertIssuer string

	Channels, ChannelMax, FrameMax int
	Timeout                        time.Duration // between heartbeats
	ClientID, ClientName           string
	ClientProperties               field.Table
	ConnectedAt                    time.Time

	BytesIn, BytesOut, PacketsIn, PacketsOut uint64

	Pending int64 // bytes that wait to be written
}

// Traffic is how much a connection has carried.
type Traffic struct{ BytesIn, BytesOut uint64 }

// Session is one connection's view of a vhost: every verb a client has is one of its methods. All but Resume, ID, Info, Traffic, Channels and End are
// called by one goroutine, the connection's reader.
//
// A method that answers for something durable returns when it has passed; ctx bounds that wait only: the change itself is made even
// if the wait is given up.
type Session struct {
	broker *Broker
	vhost  *VHost
	opt    SessionOptions
	listed listing
	moved  atomic.Int64 // the turn in which the session was on the list of stirs last
	looked Traffic      // at the last Look at which it was; guarded by stirs.looking
	rights *rights      // what was allowed and may be again; nil: nothing yet
	rates  *rates       // nil: no limits
	stall  stall        // consumers that wait for room in the outbox

	consumers map[*Consumer]struct{} // nil until there is one; may hold some that ended with their queue, until sweep
	sweepAt   int
	exclusive map[*Queue]struct{}        // nil until there is one
	addresses map[*ReplyAddress]struct{} // nil until there is one
	gets      int                        // messages got and not settled
	arriving  int64                      // as said last; 0: not counted

	link     *Link       // to the subscriber that the connection is
	disowned atomic.Bool // its user is deleted
	paced    bool        // routing is divided
	exempt   bool        // from the limit of the vhost's queues

	*scratch // nil until something is published, and after Rest
}

// scratch is what verbs keep from one to the next: a publisher's room for lists, and whom its last message reached. Of a hundred thousand
// sessions most publish nothing.
type scratch struct {
	matched []*binding
	targets []*Queue
	pushes  []push
	shared  []*share            // that a message reaches at most once
	reached map[*Subscriber]int // index in pushes of those with several subscriptions
	visited []*Exchange
	keepers []*delays // exchanges that keep the message back
	unique  *unique   // of a message whose id is looked at; else nil
	pace    *pace     // nil until it is needed
	ops     []Op
	extra   []Op       // to be recorded with the next publish, as one unit
	lent    []byte     // what holds the message that is being published, where that was only lent; see keep
	acked   []Delivery // what a client has answered for in one run
}

// push is a subscriber that a message reaches at most once.
type push struct {
	sub   *Subscriber
	match Match
}

// session is one of the engine's own, which no connection has and no Authorizer is asked about. It has scratch from the start: only what
// Attach opens begins without, and its verbs prepare before they use any.
func (v *VHost) session() Session {
	return Session{broker: v.broker, vhost: v, scratch: new(scratch)}
}

// prepare sees to it that there is scratch.
func (s *Session) prepare() {
	if s.scratch == nil {
		s.scratch = new(scratch)
	}
}

// Rest lets go of what only a session that publishes needs. It is made anew when it does.
func (s *Session) Rest() {
	s.scratch, s.rights = nil, nil
	if s.link != nil {
		s.link.sub.rest()
	}
}

// HasTag reports whether the session's user has a tag.
func (s *Session) HasTag(tag string) bool { return slices.Contains(s.opt.Tags, tag) }

// Resume serves the consumers that found the outbox full. It is called by any goroutine, without locks.
func (s *Session) Resume() {
	s.stall.wake(func(c *Consumer) bool { return c.spec.Receiver.Ready() })
	if l := s.link; l != nil {
		l.sub.resumeReplays()
		if l.shares.Load() {
			l.window.stall.wake(l.window.open)
		}
	}
}

// Close detaches the session's subscriber if that was not done, ends its consumers, puts back what was outstanding with them or after a
// Get, deletes its exclusive queues, and leaves the list of sessions. It does not wait.
func (s *Session) Close(outstanding ...Delivery) {
	if s.link != nil {
		s.link.Detach(false, nil)
		s.link.sub.resumeReplays() // they may have waited for this link
	}
	for c := range s.consumers {
		c.Retire()
	}
	for a := range s.addresses {
		a.Close()
	}
	s.Settle(outstanding, Return)
	for c := range s.consumers {
		c.Cancel()
	}
	for q := range s.exclusive {
		s.vhost.deleteExclusive(q)
	}
	clear(s.exclusive)
	s.Arriving(0)
	s.broker.sessions.remove(s)
}
