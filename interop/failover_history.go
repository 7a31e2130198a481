package interop

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Stream is what one publisher and the consumers of its one queue or session
// observed while brokers took over from one another. Other than in a History of one
// broker, both sides connect again by themselves: Started begins a connection of
// one side and not a life, and every Confirmed carries the epoch of the broker that
// promised. Publisher and consumer have one connection each at a time that counts;
// what a publisher still hears on connections that it has left is recorded as well.
type Stream struct {
	Name string
	// QoS is 1 or 2 where the publisher sends again what was not answered, as MQTT
	// sessions do, and 0 where every message is published once, as with AMQP.
	QoS     byte
	History History
}

// Fences are the moments at which the fences of epochs were marked.
type Fences map[uint64]time.Time

// Verdict is what a check found. Violations has a sentence for everything that
// brokers that keep their promises do not do.
type Verdict struct {
	Violations []string

	Promises int // publishes that were confirmed
	Lost     int // of them, neither delivered nor left in the queue
	Zombie   int // of the lost, those whose confirm came after its epoch's fence was marked
	Late     int // confirms that came after the fence was marked, and were kept
	Unmarked int // deliveries again without redelivered or DUP
	Twice    int // deliveries again at QoS 2
}

// Add sums up.
func (v *Verdict) Add(o Verdict) {
	v.Violations = append(v.Violations, o.Violations...)
	v.Promises += o.Promises
	v.Lost += o.Lost
	v.Zombie += o.Zombie
	v.Late += o.Late
	v.Unmarked += o.Unmarked
	v.Twice += o.Twice
}

func (v *Verdict) violation(format string, args ...any) {
	v.Violations = append(v.Violations, fmt.Sprintf(format, args...))
}

// streamState is what Check knows of one message. A connection of 0 is none.
type streamState struct {
	publishedIn, confirmedIn int // connections of the publisher
	acked, passed            bool
	deliveries               int
	deliveredIn              int // the consumer's connection of the last delivery
	within                   int // deliveries in that connection
	confirm                  Event
}

type streamChecker struct {
	Verdict
	Stream
	states             map[int]*streamState
	publisher, consume int // the connections of each side so far
	newest             int
}

// Check holds a stream against the promises:
//
//   - what was confirmed is delivered in the end; a confirm that came after the
//     fence of its epoch was marked is a zombie's, if the message is lost;
//   - at QoS 2 nothing is delivered twice;
//   - nothing is delivered again on one connection, where nothing was returned, nor on
//     another without being marked, unless it was published again;
//   - what is not marked as redelivered comes in the order of publishing;
//   - what was settled for sure does not come back;
//   - nothing is delivered that was not published.
//
// It expects the history to end with a consumer that saw the queue's end and then an
// empty queue.
func (s Stream) Check(fences Fences) Verdict {
	c := streamChecker{Stream: s, states: make(map[int]*streamState)}
	for i, e := range s.History {
		c.event(i, e)
	}
	c.settle(fences)
	return c.Verdict
}

func (c *streamChecker) violation(at int, format string, args ...any) {
	c.Verdict.violation("%s, event %d: message %s", c.Name, at, fmt.Sprintf(format, args...))
}

func (c *streamChecker) event(at int, e Event) {
	if e.Kind == Started {
		if e.Consumer {
			c.consume++
		} else {
			c.publisher++
		}
		return
	}
	s := c.states[e.Message]
	if s == nil {
		s = new(streamState)
		c.states[e.Message] = s
	}
	switch e.Kind {
	case Published:
		s.publishedIn = c.publisher
	case Confirmed:
		if s.confirmedIn == 0 {
			s.confirmedIn, s.confirm = c.publisher, e
		}
	case Acked:
		s.acked = true
	case Passed:
		s.passed = true
	case Delivered:
		c.delivery(at, e, s)
	case Started:
	}
}

// copies returns how often the message can have been published so far.
func (c *streamChecker) copies(s *streamState) int {
	if c.QoS == 0 {
		return 1
	}
	last := c.publisher
	if s.confirmedIn != 0 {
		last = s.confirmedIn
	}
	return last - s.publishedIn + 1
}

func (c *streamChecker) delivery(at int, e Event, s *streamState) {
	if s.deliveredIn != c.consume {
		s.deliveredIn, s.within = c.consume, 0
	}
	again := s.deliveries > 0
	switch {
	case s.publishedIn == 0:
		c.violation(at, "%d was delivered and never published", e.Message)
	case again && c.QoS == 2:
		c.Twice++
		c.violation(at, "%d was delivered again at QoS 2", e.Message)
	case again && s.passed:
		c.violation(at, "%d came back though its acknowledgement had passed", e.Message)
	case again && s.within >= c.copies(s):
		c.violation(at, "%d was delivered twice on one connection", e.Message)
	case again && c.copies(s) == 1 && !e.Redelivered:
		c.Unmarked++
		c.violation(at, "%d was delivered again without a mark", e.Message)
	case !again && !e.Redelivered && e.Message < c.newest:
		c.violation(at, "%d was delivered for the first time after %d", e.Message, c.newest)
	}
	s.deliveries++
	s.within++
	c.newest = max(c.newest, e.Message)
}

// settle judges each promise by what became of it.
func (c *streamChecker) settle(fences Fences) {
	for i, e := range c.History {
		s := c.states[e.Message]
		if e.Kind == Published && c.QoS > 0 && s.confirmedIn == 0 {
			c.violation(i, "%d was published and never confirmed", e.Message)
		}
		if e.Kind != Confirmed || e != s.confirm {
			continue
		}
		c.Promises++
		marked, superseded := fences[e.Epoch]
		late := superseded && e.At.After(marked)
		switch {
		case s.deliveries > 0 && late:
			c.Late++
		case s.deliveries > 0:
		case late:
			c.Lost, c.Zombie = c.Lost+1, c.Zombie+1
			c.violation(i, "%d was confirmed by epoch %d, %v after its fence was marked, and never delivered", e.Message, e.Epoch, e.At.Sub(marked))
		default:
			c.Lost++
			c.violation(i, "%d was confirmed by epoch %d and never delivered", e.Message, e.Epoch)
		}
	}
}

// Fact is a step in the life of something that has one value at a time: whether a
// queue exists, what a topic retains, whether a session is subscribed.
type Fact struct {
	Key, Value string
	Step       FactStep
}

// FactStep says what happened.
type FactStep int

// The steps of a change, and the reading at the end.
const (
	Asked FactStep = iota // a change is about to be sent
	Granted
	Found // after everything
)

// CheckFacts returns a violation for each value found that is neither the one last
// promised nor one that was asked for after that and not answered. What was never
// promised may also be "".
func CheckFacts(facts []Fact) Verdict {
	var v Verdict
	allowed := make(map[string][]string)
	for _, f := range facts {
		open, known := allowed[f.Key]
		if !known {
			open = []string{""}
		}
		switch f.Step {
		case Asked:
			allowed[f.Key] = append(open, f.Value)
		case Granted:
			v.Promises++
			allowed[f.Key] = []string{f.Value}
		case Found:
			if !slices.Contains(open, f.Value) {
				v.Lost++
				v.violation("%s is %q, promised or asked for were %q", f.Key, f.Value, open)
			}
		}
	}
	return v
}

// Sighting is whether a broker served on its client port at a moment: a broker that
// is stopped accepts connections without serving them.
type Sighting struct {
	Node    int
	At      time.Time
	Serving bool
}

// CheckOneServes returns a violation when two brokers served clients for longer than
// the limit at the same time.
func CheckOneServes(seen []Sighting, limit time.Duration) Verdict {
	var v Verdict
	spans := servingSpans(seen)
	for i, a := range spans {
		for _, b := range spans[i+1:] {
			if a.node == b.node {
				continue
			}
			from, to := later(a.from, b.from), earlier(a.to, b.to)
			if both := to.Sub(from); both > limit {
				v.violation("nodes %d and %d both served clients for %v", a.node, b.node, both)
			}
		}
	}
	return v
}

// span is a time in which every look found a node serving.
type span struct {
	node     int
	from, to time.Time
}

func servingSpans(seen []Sighting) []span {
	seen = slices.Clone(seen)
	slices.SortStableFunc(seen, func(a, b Sighting) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), a.At.Compare(b.At))
	})
	var spans []span
	open := false
	for i, s := range seen {
		if i > 0 && seen[i-1].Node != s.Node {
			open = false
		}
		switch {
		case !s.Serving:
			open = false
		case open:
			spans[len(spans)-1].to = s.At
		default:
			spans, open = append(spans, span{s.Node, s.At, s.At}), true
		}
	}
	return spans
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Gaps returns, for each change of epoch, the time from the last promise of the
// older to the first promise of the newer one, as a client saw them.
func (h History) Gaps() []time.Duration {
	var gaps []time.Duration
	var last Event
	for _, e := range h {
		if e.Kind != Confirmed || e.Epoch < last.Epoch {
			continue // a late promise of an epoch that was left
		}
		if last.Epoch != 0 && e.Epoch > last.Epoch {
			gaps = append(gaps, e.At.Sub(last.At))
		}
		last = e
	}
	return gaps
}

// Percentile returns the smallest of the durations that p percent of them do not
// exceed.
func Percentile(of []time.Duration, p int) time.Duration {
	if len(of) == 0 {
		return 0
	}
	of = slices.Sorted(slices.Values(of))
	return of[min(len(of)-1, len(of)*p/100)]
}
