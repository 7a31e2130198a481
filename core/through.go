package core

// What goes through a queue without resting in it. A transient message that finds a queue empty and its consumer ready, where that one
// does not acknowledge, is handed out at the moment in which it is published: no entry is made of it, and where its publisher has only
// lent it (PublishLent) nothing is kept. What is counted is what push and dispatch, the ordinary way, count for it.

// PublishLent is Publish for a message that the caller goes on using afterwards: m, and span, at whose beginning m.Props and at whose end
// m.Body lie. What is to be kept of it is copied. Without a span it is Publish.
func (s *Session) PublishLent(m *Message, span []byte, c Completion, tag uint64) (routed int, err error) {
	s.prepare()
	s.lent = span
	routed, err = s.Publish(m, c, tag)
	if s.scratch != nil {
		s.lent = nil
	}
	return routed, err
}

// keep returns m as it may be kept: itself, or a copy if it was lent.
func (s *Session) keep(m *Message) *Message {
	if s.lent == nil {
		return m
	}
	block := append([]byte(nil), s.lent...) // one copy, of memory that need not be cleared before
	s.lent = nil
	kept := m.again()
	kept.Retain, kept.Delay, kept.Arrived, kept.origin = m.Retain, m.Delay, m.Arrived, m.origin
	kept.Props, kept.Body = block[:len(m.Props):len(m.Props)], block[len(block)-len(m.Body):]
	return kept
}

// goesThrough hands m out if it need not rest in the queue, and reports whether it did. lent says that only a receiver that keeps nothing
// of it may have it. mu is held.
func (q *Queue) goesThrough(m *Message, lent bool) bool {
	if q.stats.Ready > 0 || len(q.listed) != 1 || q.ladder != nil || m.mayExpire() || q.settings.Load() != nil {
		return false
	}
	c := q.listed[0]
	if !c.spec.NoAck || lent && len(m.Body) >= c.spec.Copies {
		return false
	}
	if c = q.pick(); c == nil {
		return false
	}
	seq := q.lane.next // the queue is empty: its tail begins with the place behind this one
	q.lane.next++
	q.stir()
	q.stats.Published++
	q.stats.Delivered++
	q.stats.DeliveredAuto++
	q.stats.Settled++
	c.spec.Receiver.Deliver(Delivery{Message: m, Consumer: c, Seq: seq, queue: q})
	return true
}
