package core

import (
	"slices"
	"sync/atomic"
)

// share is a shared subscription (MQTT 5, section 4.8.2): a name and a pattern, and a queue whose consumers are the links of its members.
// What matches the pattern waits in that queue for one of them: for the next that has credit, in turn. So a member that does not answer
// has no more than its window, and the others go on.
//
// What a member has is in one of these states:
//
//	out, at least once     a delivery of the share's queue, among what is out of the subscriber under an id. When the link ends it goes
//	                       back, marked as handed over, and to whoever of the members is there: the member itself, too, under another id
//	                       then [section 4.8.2 leaves that to the server]
//	out, exactly once      a message of the subscriber's own queue: it has been moved there in the unit that gave it its id, so that nobody
//	                       else gets it, and it ends with the subscriber [MQTT-4.8.2-4] [MQTT-4.8.2-5]
//	out, at most once      nothing: the message has been settled
//
// A message that nobody keeps never enters the queue: it goes straight to a member that is there and not slow.
//
// A share begins with its first member and ends with its last. It is on record from its first durable member on.
type share struct {
	vhost *VHost
	name  string
	edge  subscription // from the topic exchange
	queue *Queue
	level atomic.Uint32 // the surest that any member wants

	levels [ExactlyOnce + 1]int // how many members want each; guarded by vhost.mu
	pushed int                  // index in queue.consumers of the last that was pushed to; guarded by queue.mu
}

// shareName is what a share is known by in its vhost.
type shareName struct{ name, key string }

// member is a subscriber's part in a share. It does not change; another subscription takes its place.
type member struct {
	share *share
	sub   *Subscriber
	spec  SubscriptionSpec
}

// match says how m reaches the member.
func (m *member) match(msg *Message) (match Match) {
	match.add(&m.spec, msg)
	match.finish(msg)
	return match
}

// mayShare refuses a share that would be made and cannot be. mu is held.
func (v *VHost) mayShare(op string, spec *SubscriptionSpec) error {
	if v.share(spec) != nil {
		return nil
	}
	if err := v.mayMake(op); err != nil {
		return err
	}
	if v.queue(spec.Queue) != nil {
		object := v.queueName(spec.Queue)
		return &Error{Kind: Locked, Op: op, Name: object, Text: object + " exists and is not the shared subscription's"}
	}
	return v.mayAddQueue(op, spec.Queue)
}

// share returns the share of a subscription, nil if there is none. mu is held.
func (v *VHost) share(spec *SubscriptionSpec) *share {
	return v.shares[shareName{spec.Share, spec.Key}]
}

// newShare makes a share without members that nothing leads to yet; id is its queue's, 0 if nothing of it is on record.
func (v *VHost) newShare(spec *SubscriptionSpec, id QueueID) *share {
	g := &share{vhost: v, name: spec.Share}
	g.queue = &Queue{
		vhost: v, lane: lane{id: id, next: 1},
		spec: QueueSpec{Name: spec.Queue, Durable: id != 0, Exclusive: true},
	}
	g.queue.settings.Store(v.broker.waiting)
	g.edge = subscription{
		binding: binding{key: spec.Key, source: v.exchange(TopicExchange), queue: g.queue},
		spec:    SubscriptionSpec{Key: spec.Key, NoSystem: spec.NoSystem}, share: g,
	}
	g.edge.subscription = &g.edge
	if v.shares == nil {
		v.shares = map[shareName]*share{}
	}
	v.shares[shareName{spec.Share, spec.Key}] = g
	return g
}

// openShare makes a share, on record if its first member is. mu is held.
func (v *VHost) openShare(spec *SubscriptionSpec, durable bool) *share {
	var id QueueID
	if durable {
		id = v.broker.newQueueID()
	}
	g := v.newShare(spec, id)
	if durable {
		v.commit(true, g.definition()) // before anything can be published to it
	}
	v.addQueue(g.queue)
	g.edge.source.replace(nil, &g.edge.binding)
	return g
}

// record puts a share that is not on record there, because a member joins that is. What waits already stays as it is: it ends with the
// process, as it would have. vhost.mu is held.
func (g *share) record() {
	if g.queue.durable() {
		return
	}
	q := g.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lane.id = g.vhost.broker.newQueueID()
	g.vhost.commit(true, g.definition())
}

// count notes that a member comes (1) or goes (-1), and returns what is to be recorded if it was the last. vhost.mu is held.
func (g *share) count(l Level, n int) []Op {
	g.levels[l] += n
	for level := ExactlyOnce; ; level-- {
		if g.levels[level] > 0 {
			g.level.Store(uint32(level))
			return nil
		}
		if level == AtMostOnce {
			return g.end()
		}
	}
}

// end deletes a share that has no members any more. vhost.mu is held.
func (g *share) end() (ops []Op) {
	v, q := g.vhost, g.queue
	delete(v.shares, shareName{g.name, g.edge.key})
	g.edge.source.replace(&g.edge.binding, nil)
	queues := v.queues.Load().without(q.spec.Name)
	v.queues.Store(&queues)
	_, _ = q.end(false, false) // without conditions it never refuses
	ops = v.forgetIDs(dedupOwner{name: q.spec.Name})
	if q.durable() {
		ops = append(ops, removeOp(g.definition()))
	}
	return ops
}

// members are what the subscriber has of shares. The list does not change.
func (sub *Subscriber) members() []*member {
	if list := sub.shares.Load(); list != nil {
		return *list
	}
	return nil
}

// member returns the subscriber's part in a share, nil if it has none.
func (sub *Subscriber) member(f Filter) *member {
	for _, m := range sub.members() {
		if m.share.name == f.Share && m.spec.Key == f.Key {
			return m
		}
	}
	return nil
}

// sharedBy returns a part in a share that m matches, nil if there is none: what was moved out of a share before a crash has no other
// trace of it.
func (sub *Subscriber) sharedBy(msg *Message) *member {
	for _, m := range sub.members() {
		if matches(m.spec.Key, msg.Key) && !m.spec.hides(msg.Key) {
			return m
		}
	}
	return nil
}

// replaceMember exchanges one member for another; either may be nil. vhost.mu is held.
func (sub *Subscriber) replaceMember(old, m *member) {
	next := slices.DeleteFunc(slices.Clone(sub.members()), func(o *member) bool { return o == old })
	if m != nil {
		next = append(next, m)
	}
	sub.vhost.broker.subscriptions.Add(int64(len(next) - len(sub.members())))
	if len(next) == 0 {
		sub.shares.Store(nil)
		return
	}
	sub.shares.Store(&next)
}

// join makes the subscriber a member of a share, in place of what it was there. vhost.mu is held.
func (sub *Subscriber) join(spec *SubscriptionSpec) {
	v := sub.vhost
	g := v.share(spec)
	switch {
	case g == nil:
		g = v.openShare(spec, sub.durable)
	case sub.durable:
		g.record()
	}
	old, m := sub.member(spec.Filter()), &member{share: g, sub: sub, spec: *spec}
	g.count(spec.Level, 1)
	if old != nil {
		g.count(old.spec.Level, -1)
	}
	sub.replaceMember(old, m)
	sub.gate.Lock()
	defer sub.gate.Unlock()
	if l := sub.link.Load(); l != nil && l.consumer != nil {
		if old != nil {
			l.unshare(old)
		}
		l.share(m)
	}
}

// leave ends the subscriber's part in a share, and returns what is to be recorded. What it has of the share goes on being its own.
// vhost.mu is held.
func (sub *Subscriber) leave(m *member) (ops []Op) {
	sub.replaceMember(m, nil)
	sub.gate.Lock()
	if l := sub.link.Load(); l != nil {
		l.unshare(m)
	}
	sub.gate.Unlock()
	if sub.durable {
		ops = append(ops, sub.removal(m.spec.Filter()))
	}
	return append(ops, m.share.count(m.spec.Level, -1)...)
}
