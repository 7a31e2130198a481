package core

// PublishOnce publishes m, which came in exactly once under id. If a message came in under it that was not released since, m is that
// one again and is not routed. c is completed when it is on record that the id is taken, with all that m caused: with tag, or with
// unrouted if m reached nobody.
func (l *Link) PublishOnce(m *Message, id uint16, c Completion, tag, unrouted uint64) error {
	sub, s := l.sub, l.session
	if s.opt.Access != nil {
		if err := s.mayPublish(m); err != nil { // before the lock
			return err
		}
	}
	sub.gate.Lock()
	defer sub.gate.Unlock()
	if !l.holds() {
		return ErrTakenOver
	}
	if _, ok := sub.received[id]; ok {
		s.Confirm(c, tag)
		return nil
	}
	if sub.durable {
		s.prepare()
		s.extra = append(s.extra, sub.receivedDefinition(id))
	}
	routed, err := s.publish(m, c, tag)
	if err == nil {
		sub.receive(id)
		if routed == 0 {
			s.Confirm(c, unrouted)
		}
	}
	if sub.durable {
		clear(s.extra)
		s.extra = s.extra[:0]
	}
	return err
}

// receive takes id. gate is held.
func (sub *Subscriber) receive(id uint16) {
	if sub.received == nil {
		sub.received = map[uint16]struct{}{}
	}
	sub.received[id] = struct{}{}
}

// ReleaseReceived frees an id. c is completed when that is on record: with tag, or with unknown if the id was not taken.
func (l *Link) ReleaseReceived(id uint16, c Completion, tag, unknown uint64) error {
	sub := l.sub
	sub.gate.Lock()
	defer sub.gate.Unlock()
	if !l.holds() {
		return ErrTakenOver
	}
	op := Op{Kind: OpNone, Done: c, Tag: unknown}
	if _, known := sub.received[id]; known {
		delete(sub.received, id)
		op.Tag = tag
		if sub.durable {
			op.Kind, op.Key = OpRemove, sub.idKey(keyReceived, id)
		}
	}
	l.session.commit(op)
	return nil
}
