package core

import (
	"context"
	"slices"
)

// Admit waits while publishers must: when waiting messages fill the memory budget, the disk lacks space, or too much that was
// published has not become durable yet. A front-end calls it before it publishes; as long as nobody must wait it costs three loads.
func (s *Session) Admit(ctx context.Context) error {
	b := s.broker
	if b.open() && b.store.Pending() < b.opt.PendingLimit {
		return nil
	}
	return b.admit(ctx)
}

// Publish routes m to the queues its exchange's bindings lead to and returns their number. c, when not nil, is completed with tag
// once all that m caused has passed. When no queue is reached nothing is committed: the front-end returns a mandatory message to its
// publisher and then calls Confirm, so that the return precedes the confirm.
func (s *Session) Publish(m *Message, c Completion, tag uint64) (routed int, err error) {
	targets, err := s.route(m)
	if err != nil {
		return 0, err
	}
	switch len(targets) {
	case 0:
	case 1:
		routed = s.publishOne(targets[0], m, c, tag)
	default:
		routed = s.publishMany(targets, m, c, tag)
	}
	if routed == 0 {
		s.broker.unroutable.Add(1)
	}
	return routed, nil
}

// Confirm completes c after everything published before it, with no record of its own.
func (s *Session) Confirm(c Completion, tag uint64) {
	if c != nil {
		s.commit(Op{Kind: OpNone, Done: c, Tag: tag})
	}
}

func (s *Session) commit(op Op) {
	s.ops[0] = op
	s.broker.store.Commit(s.ops[:])
}

// publishOne has one queue: its lock orders the place, the record and the delivery.
func (s *Session) publishOne(q *Queue, m *Message, c Completion, tag uint64) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return 0
	}
	durable := m.Persistent && q.id != 0
	seq := q.push(m, durable, false)
	if durable {
		s.commit(Op{Kind: OpPublish, Msg: m, Queue: q.id, Seq: seq, Done: c, Tag: tag})
	} else {
		s.Confirm(c, tag)
	}
	q.afterPush()
	return 1
}

// publishMany reserves a place in each durable queue, commits one record that names them all, and only then shows the entries: no
// consumer may cause a record that precedes the publish.
func (s *Session) publishMany(targets []*Queue, m *Message, c Completion, tag uint64) (routed int) {
	var pairs []Pair
	var hidden []*Queue
	for _, q := range targets {
		durable := m.Persistent && q.id != 0
		q.mu.Lock()
		if !q.deleted {
			routed++
			seq := q.push(m, durable, durable)
			if durable {
				pairs = append(pairs, Pair{Queue: q.id, Seq: seq})
				hidden = append(hidden, q)
			} else {
				q.afterPush()
			}
		}
		q.mu.Unlock()
	}
	switch {
	case len(pairs) > 0:
		s.commit(Op{Kind: OpPublish, Msg: m, Queue: pairs[0].Queue, Seq: pairs[0].Seq, More: pairs[1:], Done: c, Tag: tag})
	case routed > 0:
		s.Confirm(c, tag)
	}
	for i, q := range hidden {
		q.mu.Lock()
		q.show(pairs[i].Seq)
		q.afterPush()
		q.mu.Unlock()
	}
	return routed
}

// afterPush serves consumers and, when messages take much memory, lets the middle of a long queue leave it.
func (q *Queue) afterPush() {
	q.dispatch()
	if q.tail.len() >= 2*pageKeep && q.vhost.broker.crowded() {
		q.pageOut(pageKeep)
	}
}

// route returns the queues that m reaches, each once. The slice is valid until the next call.
func (s *Session) route(m *Message) ([]*Queue, error) {
	s.targets = s.targets[:0]
	if m.Exchange == "" {
		if q := s.vhost.queue(m.Key); q != nil {
			s.targets = append(s.targets, q)
		}
		return s.targets, nil
	}
	x := s.vhost.exchange(m.Exchange)
	if x == nil {
		return nil, s.vhost.noExchange("publish", m.Exchange)
	}
	if x.spec.Internal {
		object := s.vhost.exchangeName(m.Exchange)
		return nil, &Error{Kind: Refused, Op: "publish", Name: object, Text: "cannot publish to internal " + object}
	}
	s.visited = append(s.visited[:0], x)
	s.matched = s.matched[:0]
	// The list of visited exchanges grows while it is walked.
	for i := 0; i < len(s.visited); i++ {
		s.follow(s.visited[i], m)
	}
	s.targets = uniqueQueues(s.targets)
	return s.targets, nil
}

// follow adds the destinations of one exchange, or its alternate where it has none.
func (s *Session) follow(x *Exchange, m *Message) {
	s.matched = (*x.table.Load()).match(m, s.matched[:0])
	for _, b := range s.matched {
		if b.queue != nil {
			s.targets = append(s.targets, b.queue)
		} else {
			s.visit(b.exchange)
		}
	}
	if len(s.matched) == 0 && x.alternate != "" {
		if a := s.vhost.exchange(x.alternate); a != nil {
			s.visit(a)
		}
	}
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
