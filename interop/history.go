package interop

import (
	"fmt"
	"sync"
	"time"
)

// EventKind is what a client observed of a message.
type EventKind int

// The kinds of events. Started has no message.
const (
	Started   EventKind = iota // a life of the broker began
	Published                  // a publish is about to be written
	Confirmed                  // the publish's basic.ack arrived
	Delivered                  // a basic.deliver arrived
	Acked                      // a basic.ack for it was written
	Passed                     // an answer arrived that was promised after that basic.ack
)

// Event is one observation. Every message is published once at most: a publish that
// was not confirmed is not repeated, so that a second delivery is always the
// broker's doing.
type Event struct {
	Kind        EventKind
	Message     int
	Redelivered bool      // of Delivered
	At          time.Time // when it was recorded

	// Of histories across several brokers only; see Stream.
	Epoch    uint64 // of Confirmed: of the broker that promised
	Consumer bool   // of Started: the consumer's connection began, not the publisher's
}

// History is what the clients of one queue with one consumer at a time observed, in
// order. An event is recorded before its cause is written (Published) or
// after it has happened (all others), so that an order in the history is an order
// in the world.
type History []Event

// messageState is what Check knows of one message.
type messageState struct {
	published, confirmed, acked, passed bool
	deliveries                          int
	deliveredIn                         int // the life of the last delivery
}

// Check returns a sentence for everything in the history that a broker that keeps
// its promises does not do:
//
//   - lose a message that it confirmed;
//   - deliver for the first time out of the order of publishing;
//   - deliver again without saying so, or again within one life, in which nothing
//     was returned to the queue;
//   - deliver what was acknowledged, once the acknowledgement had passed;
//   - deliver what was never published.
//
// It expects the history to end with a consumer that saw the queue's end.
func (h History) Check() []string {
	c := checker{states: make(map[int]*messageState)}
	for i, e := range h {
		c.event(i, e)
	}
	c.lost(h)
	return c.violations
}

type checker struct {
	states     map[int]*messageState
	life       int
	newest     int // the highest message delivered so far
	violations []string
}

func (c *checker) violation(format string, args ...any) {
	c.violations = append(c.violations, fmt.Sprintf(format, args...))
}

func (c *checker) event(at int, e Event) {
	if e.Kind == Started {
		c.life++
		return
	}
	s := c.states[e.Message]
	if s == nil {
		s = new(messageState)
		c.states[e.Message] = s
	}
	switch e.Kind {
	case Published:
		s.published = true
	case Confirmed:
		s.confirmed = true
	case Acked:
		s.acked = true
	case Passed:
		s.passed = true
	case Delivered:
		c.delivery(at, e, s)
	case Started:
	}
}

func (c *checker) delivery(at int, e Event, s *messageState) {
	again := s.deliveries > 0
	switch {
	case !s.published:
		c.violation("event %d: message %d was delivered and never published", at, e.Message)
	case !again && e.Message < c.newest:
		c.violation("event %d: message %d was delivered for the first time after message %d", at, e.Message, c.newest)
	case again && s.passed:
		c.violation("event %d: message %d came back though its acknowledgement had passed", at, e.Message)
	case again && s.deliveredIn == c.life:
		c.violation("event %d: message %d was delivered twice in one life", at, e.Message)
	case again && !e.Redelivered:
		c.violation("event %d: message %d was delivered again without redelivered", at, e.Message)
	}
	s.deliveries++
	s.deliveredIn = c.life
	c.newest = max(c.newest, e.Message)
}

// lost walks the history again, so that messages are named in order.
func (c *checker) lost(h History) {
	for i, e := range h {
		if e.Kind == Confirmed && c.states[e.Message].deliveries == 0 {
			c.violation("event %d: message %d was confirmed and never delivered", i, e.Message)
		}
	}
}

// Count returns how many events of a kind the history holds.
func (h History) Count(kind EventKind) int {
	n := 0
	for _, e := range h {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// Recorder collects a history from several goroutines.
type Recorder struct {
	mu      sync.Mutex
	history History
	at      int    // the length of history at which to call
	call    func() // once, without mu
}

// Add records an event.
func (r *Recorder) Add(e Event) {
	r.mu.Lock()
	e.At = time.Now()
	r.history = append(r.history, e)
	var call func()
	if len(r.history) >= r.at {
		call, r.call = r.call, nil
	}
	r.mu.Unlock()
	if call != nil {
		call()
	}
}

// At has call called by the goroutine that makes the history n events long. It
// replaces an earlier call that was not reached.
func (r *Recorder) At(n int, call func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at, r.call = n, call
}

// Snapshot returns a copy of the history so far.
func (r *Recorder) Snapshot() History {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(History(nil), r.history...)
}
