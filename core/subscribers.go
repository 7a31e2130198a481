package core

import (
	"iter"
	"time"
)

// SubscriberInfo describes a subscriber as it was at one moment.
type SubscriberInfo struct {
	Linked        bool
	Session       *Session      // whose it is; nil: its client is away
	User          string        // whose it is
	Queue         string        // in which its messages wait
	Durable       bool          // it outlives its connections
	Expiry        time.Duration // for which it does
	Away          time.Time     // since when its client is; zero while it is there
	Subscriptions int           // shared ones included
	Waiting       int           // messages that are kept for it, those on their way to it included
	Out           int           // of these, those that its client has not answered for
	Window        int           // how many may be; 0 while its client is away
	Missed        uint64        // messages that nobody keeps, which it did not get because its client was there and slow
}

// Subscribers returns the names of a vhost's subscribers, in no order.
func (b *Broker) Subscribers(vhost string) iter.Seq[string] {
	return func(yield func(string) bool) {
		v := b.vhost(vhost)
		if v == nil {
			return
		}
		for name := range v.subscribers.Load().all() {
			if !yield(name) {
				return
			}
		}
	}
}

// SubscriberInfo describes a subscriber, if it is there.
func (b *Broker) SubscriberInfo(vhost, name string) (info SubscriberInfo, ok bool) {
	v := b.vhost(vhost)
	if v == nil {
		return info, false
	}
	sub := v.subscriber(name)
	if sub == nil {
		return info, false
	}
	v.mu.Lock()
	info = SubscriberInfo{
		User: sub.user, Queue: sub.queue.spec.Name, Durable: sub.durable, Expiry: sub.expiry, Away: sub.away,
		Subscriptions: sub.table.Load().n + len(sub.members()),
	}
	if l := sub.link.Load(); l != nil {
		info.Linked, info.Session, info.Window = true, l.session, int(l.window.limit.Load())
	}
	v.mu.Unlock()
	info.Missed = sub.missedMessages()
	sub.mu.Lock()
	info.Out = sub.out.len()
	sub.mu.Unlock()
	q := sub.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	info.Waiting = q.stats.Ready + q.stats.Unsettled + q.stats.Resting
	return info, true
}

// Subscriptions returns the subscriptions that the link's subscriber has, in no order.
func (l *Link) Subscriptions() []SubscriptionSpec {
	table := l.sub.table.Load()
	specs := make([]SubscriptionSpec, 0, table.n)
	table.all(func(b *binding) bool {
		specs = append(specs, b.subscription.spec)
		return true
	})
	return specs
}

// ForgetReceived frees all ids under which messages came in exactly once: who sent them has forgotten what they were, and begins anew.
func (l *Link) ForgetReceived() {
	sub := l.sub
	sub.gate.Lock()
	defer sub.gate.Unlock()
	if !l.holds() || len(sub.received) == 0 {
		return
	}
	var ops []Op
	if sub.durable {
		for id := range sub.received {
			ops = append(ops, Op{Kind: OpRemove, Key: sub.idKey(keyReceived, id)})
		}
	}
	sub.received = nil
	if len(ops) > 0 {
		sub.vhost.broker.store.Commit(ops)
	}
}

// UnusedID returns an id under which nothing is out or waits to be. It stays so until the next delivery.
func (l *Link) UnusedID() uint16 {
	l.sub.mu.Lock()
	defer l.sub.mu.Unlock()
	return l.sub.newID()
}
