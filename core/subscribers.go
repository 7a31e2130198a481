package core

import "iter"

// SubscriberInfo describes a subscriber.
type SubscriberInfo struct {
	Linked  bool
	Waiting int // messages that are kept for it, those on their way to it included
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
	info.Linked = sub.link.Load() != nil
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
