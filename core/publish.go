package core

import "slices"

// Publish routes m and returns how many queues and subscribers it reaches; an exchange that keeps it counts as one. c, when not nil,
// is completed with tag once all that m caused has passed. When nothing is reached nothing is committed: the front-end returns a
// mandatory message to its publisher and then calls Confirm, so that the return precedes the confirm. An error of kind Overflow says that a
// queue is full and refused m: others have it, and c is not completed.
func (s *Session) Publish(m *Message, c Completion, tag uint64) (routed int, err error) {
	if s.opt.Access != nil {
		if err := s.mayPublish(m); err != nil {
			return 0, err
		}
	}
	return s.publish(m, c, tag)
}

func (s *Session) publish(m *Message, c Completion, tag uint64) (routed int, err error) {
	s.prepare()
	if s.link != nil {
		m.origin = s.link.sub.serial
	}
	if m.Delay > 0 {
		return s.publishLater(m, c, tag)
	}
	if m.Retain && m.Exchange == TopicExchange {
		return s.publishRetained(s.keep(m), c, tag)
	}
	if s.vhost.dedups.on.Load() {
		if id, ok := m.dedupID(); ok {
			return s.publishUnique(id, s.keep(m), c, tag)
		}
	}
	if err := s.routePaced(m); err != nil {
		return 0, err
	}
	if len(s.pushes)+len(s.shared) > 0 {
		m = s.keep(m)
	}
	pushed, _ := s.push(m)
	switch {
	case len(s.targets) == 1 && !m.Once && len(s.keepers) == 0:
		routed, err = s.publishOne(s.targets[0], m, c, tag)
	case len(s.targets)+len(s.keepers) > 0:
		routed, err = s.publishMany(m, c, tag)
	}
	if err != nil {
		return routed + pushed, err
	}
	if routed+pushed == 0 && m.Exchange == "" {
		pushed = s.reply(m)
	}
	switch {
	case routed == 0 && pushed == 0:
		s.unrouted(m)
	case routed == 0:
		s.Confirm(c, tag)
	}
	return routed + pushed, nil
}

// Confirm completes c after everything published before it, with no record of its own.
func (s *Session) Confirm(c Completion, tag uint64) {
	if c != nil || s.scratch != nil && len(s.extra) > 0 {
		s.commit(Op{Kind: OpNone, Done: c, Tag: tag})
	}
}

// commit hands op over, and what is to be recorded with it.
func (s *Session) commit(op Op) {
	s.prepare()
	s.ops = append(append(s.ops[:0], op), s.extra...)
	s.broker.store.Commit(s.ops)
	clear(s.ops) // an idle session must not keep its last message
}

// push hands m to the subscribers for which nobody keeps it, and returns their number, those that are away or slow included, and
// whether there were such.
func (s *Session) push(m *Message) (n int, missed bool) {
	for i := range s.pushes {
		p := &s.pushes[i]
		l := p.sub.link.Load()
		there := l != nil && l.started.Load()
		if there && l.receiver.Ready() {
			l.receiver.Push(m, &p.match)
			continue
		}
		if there {
			p.sub.miss()
		}
		s.broker.dropped.Add(1)
		missed = true
	}
	if len(s.shared) > 0 && s.pushShared(m) {
		missed = true
	}
	return len(s.pushes) + len(s.shared), missed
}

// publishOne has one queue: its lock orders the place, the record and the delivery.
func (s *Session) publishOne(q *Queue, m *Message, c Completion, tag uint64) (routed int, err error) {
	q.stamp(m)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return 0, nil
	}
	if err := q.admits(m, false); err != nil {
		return 0, err
	}
	durable := m.Persistent && q.durable()
	if !durable && q.goesThrough(m, s.lent != nil) {
		s.Confirm(c, tag)
		return 1, nil
	}
	m = s.keep(m)
	at := q.push(m, durable, false)
	if durable {
		s.commit(Op{Kind: OpPublish, Msg: m, Queue: at.lane.id, Seq: at.seq, Done: c, Tag: tag})
	} else {
		s.Confirm(c, tag)
	}
	q.afterPush(at, m.mayExpire())
	return 1, nil
}

// publishMany has several queues, or a message that is to arrive exactly once, or later.
func (s *Session) publishMany(m *Message, c Completion, tag uint64) (routed int, err error) {
	m = s.keep(m)
	u := s.unit()
	routed, err = s.put(&u, nil, m)
	if err != nil {
		c, tag = nil, 0
	}
	if routed > 0 {
		if err == nil {
			u.add(s.extra...)
		}
		s.ops = u.commit(c, tag)
	}
	return routed, err
}

// put publishes m in u to what route has found: see unit.publish. An exchange that keeps it back counts as a queue.
func (s *Session) put(u *unit, kept *Pair, m *Message) (routed int, err error) {
	routed, err = u.publish(s.targets, kept, m)
	return routed + u.keepBack(s.keepers, m), err
}

// unit begins one with the session's scratch.
func (s *Session) unit() unit {
	s.prepare()
	return unit{broker: s.broker, ops: s.ops[:0]}
}

// publishRetained keeps m for its key, or clears what was kept, and publishes it, in one unit. It is routed only then: who subscribes
// meanwhile gets m in one way or the other.
func (s *Session) publishRetained(m *Message, c Completion, tag uint64) (routed int, err error) {
	s.vhost.retained.set(m, func(kept *Pair, ops []Op) (missed bool) {
		_ = s.route(m) // never refused: the exchange is always there and not internal
		routed, missed = s.push(m)
		u := s.unit()
		if _, err = s.put(&u, kept, m); err != nil {
			c, tag = nil, 0
		} else {
			u.add(s.extra...)
		}
		u.add(ops...)
		s.ops = u.commit(c, tag)
		return missed
	})
	return routed + len(s.targets) + 1, err
}

// publishLater has the topic exchange keep m back. When it is due it is published there, and kept for its key where that is asked for.
func (s *Session) publishLater(m *Message, c Completion, tag uint64) (routed int, err error) {
	x, err := s.entry(m)
	if err != nil {
		return 0, err
	}
	if x.delays == nil {
		object := s.vhost.exchangeName(m.Exchange)
		return 0, &Error{Kind: Invalid, Op: "publish", Name: object, Text: object + " keeps no messages back"}
	}
	s.reset()
	s.keepBack(x, m)
	return s.publishMany(m, c, tag)
}

// afterPush serves consumers and, when messages take much memory, lets the middle of a long queue leave it. fresh: see reserved.
func (q *Queue) afterPush(at place, fresh bool) {
	if fresh {
		q.dispatchFresh(at)
	} else {
		q.dispatch()
	}
	if q.settings.Load() != nil {
		q.shorten()
	}
	if at.lane.tail.len() >= 2*pageKeep && q.vhost.broker.crowded() {
		q.pageOut(at.lane, pageKeep)
	}
}

// route finds the queues that m reaches, into targets, and the subscribers that it reaches at most once, into pushes; each once.
func (s *Session) route(m *Message) error {
	if m.Exchange == "" {
		s.reset()
		s.reachQueue(m.Key)
		if m.Keys != nil {
			for _, key := range m.Keys {
				s.reachQueue(key)
			}
			s.targets = uniqueQueues(s.targets)
		}
		return nil
	}
	x, err := s.entry(m)
	if err != nil {
		return err
	}
	s.routeFrom(x, m)
	return nil
}

// routeOn is route for a message that no client publishes: it may enter an internal exchange. It reports whether there is the exchange.
func (s *Session) routeOn(m *Message) bool {
	x := s.vhost.exchange(m.Exchange)
	switch {
	case x == nil:
		return false
	case m.Exchange == "":
		return s.route(m) == nil
	}
	s.routeFrom(x, m)
	return true
}

// reset forgets what the last message reached.
func (s *Session) reset() {
	s.prepare()
	s.targets, s.pushes, s.shared, s.keepers = s.targets[:0], s.pushes[:0], s.shared[:0], s.keepers[:0]
}

// routeFrom finds what m reaches from an exchange on.
func (s *Session) routeFrom(x *Exchange, m *Message) {
	s.reset()
	s.visited = append(s.visited[:0], x)
	// The list of visited exchanges grows while it is walked.
	for i := 0; i < len(s.visited); i++ {
		s.follow(s.visited[i], m)
	}
	if len(s.pushes) > 0 {
		s.sortSubscribers(m)
	}
	// Also the subscribers' queues: a subscription made meanwhile can have been seen in one table and not in the other.
	s.targets = uniqueQueues(s.targets)
}

// reachQueue adds the queue that the default exchange has under a key.
func (s *Session) reachQueue(key string) {
	if q := s.vhost.queue(key); q != nil && !q.isSubscribers() { // a subscriber gets what it has subscribed to
		s.targets = append(s.targets, q)
	}
}

// entry is the exchange that a client may publish m to, which is not the default one.
func (s *Session) entry(m *Message) (*Exchange, error) {
	const op = "publish"
	x := s.vhost.exchange(m.Exchange)
	switch {
	case x == nil:
		return nil, s.vhost.noExchange(op, m.Exchange)
	case x.spec.Internal:
		object := s.vhost.exchangeName(m.Exchange)
		return nil, &Error{Kind: Refused, Op: op, Name: object, Text: "cannot publish to internal " + object}
	}
	return x, nil
}

// follow adds the destinations of one exchange, or its alternate where it has none.
func (s *Session) follow(x *Exchange, m *Message) {
	if s.unique != nil && s.passes(x) {
		return
	}
	if x.byHeader && s.keepBack(x, m) {
		return
	}
	p := s.pacing()
	s.matched = (*x.table.Load()).match(m, s.matched[:0], p)
	for _, b := range s.matched {
		p.did(1)
		switch {
		case b.subscription != nil:
			s.reach(b.subscription, m)
		case b.queue != nil:
			s.targets = append(s.targets, b.queue)
		default:
			s.visit(b.exchange)
		}
	}
	if len(s.matched) > 0 {
		return
	}
	if st := x.settings.Load(); st != nil && st.alternate != "" {
		if a := s.vhost.exchange(st.alternate); a != nil {
			s.visit(a)
		}
	}
}

// reach notes that m matches a subscription. A subscriber whose subscriptions overlap is noted once.
func (s *Session) reach(n *subscription, m *Message) {
	if n.skips(m) {
		return
	}
	if n.share != nil {
		s.reachShare(n.share, m)
		return
	}
	if !n.sub.table.Load().several() {
		s.pushes = append(s.pushes, push{sub: n.sub})
		s.pushes[len(s.pushes)-1].match.add(&n.spec, m)
		return
	}
	i, ok := s.reached[n.sub]
	if !ok {
		if s.reached == nil {
			s.reached = map[*Subscriber]int{}
		}
		i = len(s.pushes)
		s.reached[n.sub] = i
		s.pushes = append(s.pushes, push{sub: n.sub})
	}
	s.pushes[i].match.add(&n.spec, m)
}

// sortSubscribers moves those for which m is kept from pushes to targets.
func (s *Session) sortSubscribers(m *Message) {
	clear(s.reached)
	kept := s.pushes[:0]
	for i := range s.pushes {
		p := &s.pushes[i]
		p.match.finish(m)
		if p.match.Level == AtMostOnce {
			kept = append(kept, *p)
		} else {
			s.targets = append(s.targets, p.sub.queue)
		}
	}
	s.pushes = kept
}

func (s *Session) visit(x *Exchange) {
	if !slices.Contains(s.visited, x) {
		s.visited = append(s.visited, x)
	}
}

// uniqueQueues drops repeated queues, in place.
func uniqueQueues(queues []*Queue) []*Queue {
	if len(queues) < 2 {
		return queues
	}
	kept := queues[:1]
	if len(queues) <= 32 {
		for _, q := range queues[1:] {
			if !slices.Contains(kept, q) {
				kept = append(kept, q)
			}
		}
		return kept
	}
	seen := make(map[*Queue]struct{}, len(queues))
	kept = queues[:0]
	for _, q := range queues {
		if _, ok := seen[q]; !ok {
			seen[q] = struct{}{}
			kept = append(kept, q)
		}
	}
	return kept
}
