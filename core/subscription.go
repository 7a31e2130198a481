package core

import (
	"context"
	"fmt"
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

// systemPrefix begins the keys of what a broker says about itself: who asks for everything does not mean that.
const systemPrefix = "$"

// hides reports whether a subscription does not want a key that its pattern matches.
func (s *SubscriptionSpec) hides(key string) bool {
	return s.NoSystem && strings.HasPrefix(key, systemPrefix)
}

// subscription is what a binding knows that leads to a subscriber.
type subscription struct {
	spec SubscriptionSpec
	sub  *Subscriber
}

// subscriptionTable is an immutable snapshot of a subscriber's subscriptions.
type subscriptionTable struct {
	n    int
	trie topicRouter
}

// Subscribed is what became of one subscription that was asked for.
type Subscribed struct {
	Existed bool  // it replaced one of the same key
	Err     error // it was refused: there is what there was before
}

// Subscribe adds subscriptions, replacing those of the same key, and tells what became of each. It returns when they have passed.
func (l *Link) Subscribe(ctx context.Context, specs []SubscriptionSpec) ([]Subscribed, error) {
	sub := l.sub
	v := sub.vhost
	v.mu.Lock()
	if sub.link.Load() != l {
		v.mu.Unlock()
		return nil, ErrTakenOver
	}
	results := make([]Subscribed, len(specs))
	ops := make([]Op, 0, len(specs)+1)
	for i := range specs {
		_, results[i].Existed = sub.subscriptions[specs[i].Key]
		if !results[i].Existed {
			if results[i].Err = sub.maySubscribe(); results[i].Err != nil {
				continue
			}
		}
		sub.subscribe(specs[i])
		if results[i].Existed {
			sub.replays.adjust(&specs[i])
		}
		if sub.durable {
			ops = append(ops, sub.subscriptionDefinition(&specs[i]))
		}
	}
	p := v.commit(false, append(ops, Op{Kind: OpNone})...)
	v.mu.Unlock()
	return results, p.wait(ctx)
}

// maySubscribe refuses one more subscription to a subscriber that has as many as it may, and one that would be on record when the disk
// is full. vhost.mu is held.
func (sub *Subscriber) maySubscribe() error {
	const op = "subscribe"
	object := fmt.Sprintf("subscriber '%s' in vhost '%s'", sub.name, sub.vhost.name)
	if limit := sub.vhost.broker.opt.Subscriptions; len(sub.subscriptions) >= limit {
		return &Error{
			Kind: Exhausted, Op: op, Name: object,
			Text: fmt.Sprintf("%s has %d subscriptions, the most that one may have; end some first", object, limit),
		}
	}
	if !sub.durable {
		return nil
	}
	return sub.vhost.mayDefine(op, object)
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
	ops := make([]Op, 0, len(keys)+1)
	for _, key := range keys {
		old, ok := sub.subscriptions[key]
		existed = append(existed, ok)
		if !ok {
			continue
		}
		delete(sub.subscriptions, key)
		old.source.replace(old, nil)
		sub.table.Store(sub.table.Load().replace(old, nil))
		sub.replays.cancel(key)
		if sub.durable {
			ops = append(ops, sub.removal(key))
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

// unsubscribeAll removes all subscriptions and returns the removal of their records. vhost.mu is held.
func (sub *Subscriber) unsubscribeAll() []Op {
	if len(sub.subscriptions) == 0 {
		return nil
	}
	x := sub.vhost.exchange(TopicExchange)
	table := *x.table.Load()
	var ops []Op
	for key, b := range sub.subscriptions {
		table = table.without(b)
		if sub.durable {
			ops = append(ops, sub.removal(key))
		}
	}
	x.table.Store(&table)
	sub.subscriptions = nil
	sub.table.Store(&subscriptionTable{})
	return ops
}

// removal ends the record of a subscription.
func (sub *Subscriber) removal(key string) Op {
	return Op{Kind: OpRemove, Key: definitionKey(keySubscription, sub.vhost.name, sub.name, key)}
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
	next := *t
	if old != nil {
		next.n--
		next.trie = next.trie.without(old).(topicRouter) //nolint:forcetypeassert // a topic router makes topic routers
	}
	if b != nil {
		next.n++
		next.trie = next.trie.with(b).(topicRouter) //nolint:forcetypeassert // a topic router makes topic routers
	}
	return &next
}

// several reports whether a message may match more than one subscription.
func (t *subscriptionTable) several() bool { return t.n > 1 }

// match says how a message that waited in the subscriber's queue reaches it, by the subscriptions there are now. A message whose
// subscription has gone since then is handed over all the same.
//
// ![MQTT-3.8.3-3]: who published a message is not on record. Of one that was read back from the store, a subscription with No Local is
// taken to match, beside another that does, although its client has published it: its level and its identifier count.
func (t *subscriptionTable) match(m *Message) (match Match) {
	var few [8]*binding
	wanted := false
	for _, b := range t.trie.match(m, few[:0]) {
		if !b.subscription.skips(m) {
			wanted = true
			match.add(&b.subscription.spec, m)
		}
	}
	if !wanted {
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
func (n *subscription) skips(m *Message) bool {
	return n.spec.hides(m.Key) ||
		n.spec.NoLocal && n.sub.serial == m.origin
}
