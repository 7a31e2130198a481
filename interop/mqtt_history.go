package interop

// CheckMQTT returns a sentence for everything in the history of an MQTT publisher
// and a subscriber that a broker that keeps its promises does not do. Message n was
// published to topic n modulo topics. The publisher sends what was not answered
// again, under the same packet identifier, at the start of each life; Confirmed is
// the last answer (PUBACK or PUBCOMP) and Redelivered the DUP flag.
//
//   - A message that was published is confirmed and delivered in the end.
//   - At QoS 2 it is delivered once.
//   - At QoS 1 it may come again only in a later life, or because it was published
//     again; if it was not, then with DUP [MQTT-3.3.1-1].
//   - Messages of one topic are delivered for the first time in the order of
//     publishing (section 4.6).
//   - Nothing is delivered that was not published.
//
// It expects the history to end with a subscriber that saw each topic's end.
func (h History) CheckMQTT(qos byte, topics int) []string {
	c := mqttChecker{qos: qos, states: make(map[int]*mqttState), newest: make([]int, topics)}
	for i, e := range h {
		c.event(i, e)
	}
	for i, e := range h {
		if e.Kind != Published {
			continue
		}
		s := c.states[e.Message]
		if s.confirmedIn == 0 {
			c.violation("event %d: message %d was published and never confirmed", i, e.Message)
		}
		if s.deliveries == 0 {
			c.violation("event %d: message %d was published and never delivered", i, e.Message)
		}
	}
	return c.violations
}

// mqttState is what CheckMQTT knows of one message. A life of 0 is none.
type mqttState struct {
	publishedIn, confirmedIn int
	deliveries               int
	deliveredIn              int // the life of the last delivery
	inLife                   int // deliveries in it
}

type mqttChecker struct {
	checker
	qos    byte
	states map[int]*mqttState
	newest []int // per topic, the highest message delivered so far
}

func (c *mqttChecker) event(at int, e Event) {
	s := c.states[e.Message]
	if s == nil {
		s = new(mqttState)
		c.states[e.Message] = s
	}
	switch e.Kind {
	case Started:
		c.life++
	case Published:
		if s.publishedIn != 0 {
			c.violation("event %d: message %d was published twice", at, e.Message)
		}
		s.publishedIn = c.life
	case Confirmed:
		if s.confirmedIn == 0 {
			s.confirmedIn = c.life
		}
	case Delivered:
		c.delivery(at, e, s)
	case Acked, Passed: // MQTT's answers have no proof of having passed
	}
}

// copies returns how often the message can have been published so far: once in each
// life in which it was not yet confirmed.
func (c *mqttChecker) copies(s *mqttState) int {
	last := c.life
	if s.confirmedIn != 0 {
		last = s.confirmedIn
	}
	return last - s.publishedIn + 1
}

func (c *mqttChecker) delivery(at int, e Event, s *mqttState) {
	if s.deliveredIn != c.life {
		s.deliveredIn, s.inLife = c.life, 0
	}
	topic := e.Message % len(c.newest)
	again := s.deliveries > 0
	switch {
	case s.publishedIn == 0:
		c.violation("event %d: message %d was delivered and never published", at, e.Message)
	case again && c.qos == 2:
		c.violation("event %d: message %d was delivered again at QoS 2", at, e.Message)
	case again && s.inLife >= c.copies(s):
		c.violation("event %d: message %d was delivered more often in one life than it was published", at, e.Message)
	case again && c.copies(s) == 1 && !e.Redelivered:
		c.violation("event %d: message %d was delivered again without DUP", at, e.Message)
	case !again && e.Message < c.newest[topic]:
		c.violation("event %d: message %d was delivered for the first time after message %d of its topic", at, e.Message, c.newest[topic])
	}
	s.deliveries++
	s.inLife++
	c.newest[topic] = max(c.newest[topic], e.Message)
}
