package core

import (
	"context"
	"slices"
	"strings"
)

// TopicExchange is the exchange through which subscribers receive, and where protocols meet.
const TopicExchange = "amq.topic"

// SubscriptionSpec asks for messages that match a pattern, in the words of a topic exchange.
type SubscriptionSpec struct {
	Key         string
	Level       Level  // the surest that is wanted
	NoLocal     bool   // not what the subscriber itself publishes
	AsPublished bool   // show a message as retained if it was published so
	NoSystem    bool   // not keys that begin with $: the pattern begins with a wildcard [MQTT-4.7.2-1]
	ID          uint32 // told with every message that matches; 0: none
}

// subscription is what a binding knows that leads to a subscriber.
type subscription struct {
	spec SubscriptionSpec
	sub  *Subscriber
}

// subscriptionTable is an immutable snapshot of a subscriber's subscriptions.
type subscriptionTable struct {
	list []*binding
	trie topicRouter
}

// Subscribe adds subscriptions, replacing those of the same key, and tells which of them existed. It returns when they have passed.
func (l *Link) Subscribe(ctx context.Context, specs []SubscriptionSpec) (existed []bool, err error) {
	sub := l.sub
	v := sub.vhost
	v.mu.Lock()
	if sub.link.Load() != l {
		v.mu.Unlock()
		return nil, ErrTakenOver
	}
	ops := make([]Op, 0, len(specs)+1)
	for i := range specs {
		_, ok := sub.subscriptions[specs[i].Key]
		existed = append(existed, ok)
		sub.subscribe(specs[i])
		if sub.durable {
			ops = append(ops, sub.subscriptionDefinition(&specs[i]))
		}
	}
	p := v.commit(false, append(ops, Op{Kind: OpNone})...)
	v.mu.Unlock()
	return existed, p.wait(ctx)
}

// Unsubscribe removes subscriptions by key and tells which of them existed.
func (l *Link) Unsubscribe(ctx context.Context, keys []string) (existed []bool, err error) {
	sub := l.sub
	v := sub.vhost
	v.mu.Lock()
	if sub.link.Load() != l {
		v.mu.Unlock()
		return nil, ErrTakenOver
	}
	var ops []Op
	for _, key := range keys {
		_, ok := sub.subscriptions[key]
		existed = append(existed, ok)
		if ok {
			ops = append(ops, sub.unsubscribe(key)...)
		}
	}
	p := v.commit(false, append(ops, Op{Kind: OpNone})...)
	v.mu.Unlock()
	return existed, p.wait(ctx)
}

// subscribe puts one subscription in place of what was there. vhost.mu is held.
func (sub *Subscriber) subscribe(spec SubscriptionSpec) {
	b := &binding{
		spec:         BindingSpec{Source: TopicExchange, Dest: sub.queue.spec.Name, Key: spec.Key},
		queue:        sub.queue,
		subscription: &subscription{spec: spec, sub: sub},
	}
	old := sub.subscriptions[spec.Key]
	if sub.subscriptions == nil {
		sub.subscriptions = map[string]*binding{}
	}
	sub.subscriptions[spec.Key] = b
	b.source = sub.vhost.exchange(TopicExchange)
	b.source.replace(old, b)
	sub.table.Store(sub.table.Load().replace(old, b))
}

// unsubscribe removes a subscription that exists and returns its record's removal. vhost.mu is held.
func (sub *Subscriber) unsubscribe(key string) []Op {
	old := sub.subscriptions[key]
	delete(sub.subscriptions, key)
	old.source.replace(old, nil)
	sub.table.Store(sub.table.Load().replace(old, nil))
	if !sub.durable {
		return nil
	}
	return []Op{removeOp(sub.subscriptionDefinition(&old.subscription.spec))}
}

// replace exchanges one edge for another; either may be nil.
func (x *Exchange) replace(old, b *binding) {
	table := *x.table.Load()
	if old != nil {
		table = table.without(old)
	}
	if b != nil {
		table = table.with(b)
	}
	x.table.Store(&table)
}

func (t *subscriptionTable) replace(old, b *binding) *subscriptionTable {
	next := &subscriptionTable{list: slices.Clone(t.list), trie: t.trie}
	if old != nil {
		next.list = removed(next.list, old)
		next.trie = next.trie.without(old).(topicRouter) //nolint:forcetypeassert // a topic router makes topic routers
	}
	if b != nil {
		next.list = append(next.list, b)
		next.trie = next.trie.with(b).(topicRouter) //nolint:forcetypeassert // a topic router makes topic routers
	}
	return next
}

// several reports whether a message may match more than one subscription.
func (t *subscriptionTable) several() bool { return len(t.list) > 1 }

// match says how a message that waited in the subscriber's queue reaches it, by the subscriptions there are now. A message whose
// subscription has gone since then is handed over all the same.
func (t *subscriptionTable) match(m *Message) (match Match) {
	var few [8]*binding
	found := t.trie.match(m, few[:0])
	for _, b := range found {
		match.add(&b.subscription.spec, m)
	}
	if len(found) == 0 {
		match.Level = AtLeastOnce
	}
	match.finish(m)
	return match
}

// add takes one more matching subscription into account.
func (x *Match) add(spec *SubscriptionSpec, m *Message) {
	x.Level = max(x.Level, spec.Level)
	x.Retain = x.Retain || spec.AsPublished && m.Retain
	switch {
	case spec.ID == 0 || spec.ID == x.ID || slices.Contains(x.More, spec.ID):
	case x.ID == 0:
		x.ID = spec.ID
	default:
		x.More = append(x.More, spec.ID)
	}
}

// finish brings the level down to the message's.
func (x *Match) finish(m *Message) {
	x.Level = min(x.Level, m.Level())
	x.Retain = x.Retain || m.Replayed
}

// skips reports whether a subscription does not want a message whose key it matches.
func (n *subscription) skips(m *Message, publisher *Link) bool {
	return n.spec.NoSystem && strings.HasPrefix(m.Key, "$") ||
		n.spec.NoLocal && publisher != nil && publisher.sub == n.sub
}
