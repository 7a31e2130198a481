package core

import "github.com/batonmq/baton/core/field"

// A queue may have a limit to the messages that are ready in it, or to the bytes of their bodies. Where it is full, either the oldest
// messages go, at the moment at which a new one could not be handed out, or new ones are refused: their publisher is told, whatever other
// queues did.

// terms are the limits as a policy has them; nil: there are none.
func (w *WaitingLimits) terms() (t field.Table) {
	if w.Messages > 0 {
		t = append(t, field.Field{Key: "max-length", Value: w.Messages})
	}
	if w.Bytes > 0 {
		t = append(t, field.Field{Key: "max-length-bytes", Value: w.Bytes})
	}
	if len(t) > 0 && w.Overflow == RejectPublish {
		t = append(t, field.Field{Key: "overflow", Value: "reject-publish"})
	}
	return t
}

// waitingUnder returns the settings of subscribers' queues under a pair of policies, which they share, as there may be very many. The
// policies' word counts as that of arguments does elsewhere. vhost.mu is held, unless g is nil.
func (b *Broker) waitingUnder(g *governed) *QueueSettings {
	if g == nil {
		return b.waiting
	}
	if g.waiting == nil {
		g.waiting = settingsOf(governArgs(governArgs(nil, g.terms()), b.opt.Waiting.terms()))
	}
	return g.waiting
}

// settingsOf returns what arguments that have been looked at amount to.
func settingsOf(args field.Table) *QueueSettings {
	st, _ := parseQueueArgs(args, func(string, string) error { return nil })
	return st
}

// tooLong reports whether the queue would be too long with so much more.
func (q *Queue) tooLong(st *QueueSettings, messages int, bytes int64) bool {
	return st.MaxLength != nil && int64(q.stats.Ready+messages) > *st.MaxLength ||
		st.MaxBytes != nil && q.stats.ReadyBytes+bytes > *st.MaxBytes
}

// admits asks whether m may be put into the queue. One that is refused may be a dead letter, unless it stays where it comes from.
func (q *Queue) admits(m *Message, stays bool) error {
	st := q.settings.Load()
	if st == nil || st.Overflow == DropHead || !q.tooLong(st, 1, int64(len(m.Body))) {
		return nil
	}
	if st.Overflow == RejectPublishDLX && st.DeadLetterExchange != nil && !stays {
		q.account(entryCost + m.held())
		q.die(nil, entry{msg: m, size: uint32(len(m.Body))}, maxlen)
	}
	q.stir()
	q.stats.Overflowed++
	object := q.vhost.queueName(q.spec.Name)
	return &Error{Kind: Overflow, Op: "publish", Name: object, Text: object + " is full"}
}

// shorten drops the oldest messages of a queue that is too long. What is in the store alone is read back first: its size tells how many
// have to go.
func (q *Queue) shorten() {
	st := q.settings.Load()
	if st == nil || st.Overflow != DropHead || !q.tooLong(st, 0, 0) {
		return
	}
	for q.tooLong(st, 0, 0) && q.mayDrop() {
		l := q.front()
		if l.peek() == nil {
			if q.wanting() {
				q.requestLoad()
			}
			break
		}
		q.discard(l, l.pop(), maxlen)
	}
	q.commitRanges(OpSettle)
}
