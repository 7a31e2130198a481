package core

// PublishOnce publishes m, which came in exactly once under id. If a message came in under it that was not released since, m is that
// one again and is not routed. c is completed when it is on record that the id is taken, with all that m caused: with tag, or with
// unrouted if m reached nobody.
func (l *Link) PublishOnce(m *Message, id uint16, c Completion, tag, unrouted uint64) error {
	sub, s := l.sub, l.session
	if sub.link.Load() != l {
		return ErrTakenOver
	}
	if !sub.receive(id) {
		s.Confirm(c, tag)
		return nil
	}
	if sub.durable {
		s.extra = append(s.extra, sub.receivedDefinition(id))
	}
	routed, err := s.Publish(m, c, tag)
	if err == nil && routed == 0 {
		s.Confirm(c, unrouted)
	}
	s.extra = s.extra[:0]
	if err != nil {
		sub.mu.Lock()
		delete(sub.received, id)
		sub.mu.Unlock()
	}
	return err
}

// receive takes id, unless it is taken.
func (sub *Subscriber) receive(id uint16) bool {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if _, ok := sub.received[id]; ok {
		return false
	}
	if sub.received == nil {
		sub.received = map[uint16]struct{}{}
	}
	sub.received[id] = struct{}{}
	return true
}

// Receiving is the number of ids under which messages came in exactly once and that were not released yet.
func (l *Link) Receiving() int {
	l.sub.mu.Lock()
	defer l.sub.mu.Unlock()
	return len(l.sub.received)
}

// ReleaseReceived frees an id. c is completed when that is on record. known tells whether the id was taken.
func (l *Link) ReleaseReceived(id uint16, c Completion, tag uint64) (known bool) {
	sub := l.sub
	sub.mu.Lock()
	if sub.link.Load() == l {
		_, known = sub.received[id]
		delete(sub.received, id)
	}
	sub.mu.Unlock()
	op := Op{Kind: OpNone, Done: c, Tag: tag}
	if known && sub.durable {
		op = Op{Kind: OpRemove, Key: sub.idKey(keyReceived, id), Done: c, Tag: tag}
	}
	l.session.commit(op)
	return known
}
