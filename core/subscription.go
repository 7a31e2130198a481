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

// subscription is what a binding knows that leads to a subscriber, and that binding.
type subscription struct {
	binding
	spec SubscriptionSpec
	sub  *Subscriber
}

// subscriptionTable is an immutable snapshot of a subscriber's subscriptions: few of them as a list, which a hundred thousand
// subscribers can afford, more as a trie.
type subscriptionTable struct {
	n    int
	few  []*binding
	trie topicRouter
}

// fewSubscriptions is how long the list may be: comparing with so many patterns takes about as long as walking the trie.
const fewSubscriptions = 8

//nolint:gochecknoglobals // the table of subscribers without a subscription; never changed
var noSubscriptions = new(subscriptionTable)

// Subscribed is what became of one subscription that was asked for.
type Subscribed struct {
	Existed bool  // it replaced one of the same key
	Err     error // it was refused: there is what there was before
}

// Subscribe adds subscriptions, replacing those of the same key, and tells what became of each. It returns when they have passed.
func (l *Link) Subscribe(ctx context.Context, specs []SubscriptionSpec) ([]Subscribed, error) {
	sub := l.sub
	v := sub.vhost
	results := make([]Subscribed, len(specs))
	l.maySubscribe(specs, func(i int, err error) { results[i].Err = err })
	v.mu.Lock()
	if sub.link.Load() != l {
		v.mu.Unlock()
		return nil, ErrTakenOver
	}
	ops := make([]Op, 0, len(specs)+1)
	for i := range specs {
		results[i].Existed = sub.table.Load().find(specs[i].Key) != nil
		if results[i].Err != nil {
			continue
		}
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
	if limit := sub.vhost.broker.opt.Subscriptions; sub.table.Load().n >= limit {
		return &Error{
			Kind: Exhausted, Op: op, Name: object,
			Text: fmt.Sprintf("%s has %d subscriptions, the most that one may have; end some first", object, limit),
		}
	}
	if !sub.durable {
		return nil
	}
	return sub.vhost.broker.mayDefine(op, object)
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
		old := sub.table.Load().find(key)
		existed = append(existed, old != nil)
		if old == nil {
			continue
		}
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
	old, b := sub.table.Load().find(spec.Key), sub.newSubscription(spec)
	b.source.replace(old, b)
	sub.table.Store(sub.table.Load().replace(old, b))
}

// newSubscription makes the edge from the topic exchange.
func (sub *Subscriber) newSubscription(spec SubscriptionSpec) *binding {
	n := &subscription{
		binding: binding{key: spec.Key, source: sub.vhost.exchange(TopicExchange), queue: sub.queue}, spec: spec, sub: sub,
	}
	n.subscription = n
	return &n.binding
}

// resubscribe is subscribe for a subscriber that nobody can see yet, which has no subscription of that key: its table is changed in place.
// The edge that it returns is to be added to the exchange's.
func (sub *Subscriber) resubscribe(spec SubscriptionSpec) *binding {
	b := sub.newSubscription(spec)
	if sub.table.Load() == noSubscriptions {
		sub.table.Store(new(subscriptionTable))
	}
	sub.table.Load().add(b)
	return b
}

// unsubscribeAll removes all subscriptions and returns the removal of their records. vhost.mu is held.
func (sub *Subscriber) unsubscribeAll() []Op {
	if sub.table.Load().n == 0 {
		return nil
	}
	x := sub.vhost.exchange(TopicExchange)
	table := *x.table.Load()
	var ops []Op
	sub.table.Load().all(func(b *binding) bool {
		table = table.without(b)
		if sub.durable {
			ops = append(ops, sub.removal(b.key))
		}
		return true
	})
	x.table.Store(&table)
	sub.table.Store(noSubscriptions)
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

// replace exchanges one binding for another; either may be nil.
func (t *subscriptionTable) replace(old, b *binding) *subscriptionTable {
	next := &subscriptionTable{n: t.n, trie: t.trie}
	if t.trie.root == nil {
		next.few = slices.DeleteFunc(append(make([]*binding, 0, len(t.few)+1), t.few...), func(o *binding) bool { return o == old })
	} else if old != nil {
		next.trie = t.trie.without(old).(topicRouter) //nolint:forcetypeassert // a topic router makes topic routers
	}
	if old != nil {
		next.n--
	}
	switch {
	case b == nil:
	case next.trie.root == nil:
		next.add(b)
	default:
		next.n++
		next.trie = next.trie.with(b).(topicRouter) //nolint:forcetypeassert // a topic router makes topic routers
	}
	return next
}

// add adds b to a table that nobody else has and that shares no trie.
func (t *subscriptionTable) add(b *binding) {
	t.n++
	if t.trie.root == nil && len(t.few) < fewSubscriptions {
		t.few = append(t.few, b)
		return
	}
	t.trie = t.trie.adding(b).(topicRouter) //nolint:forcetypeassert // a topic router makes topic routers
	for _, o := range t.few {
		t.trie = t.trie.adding(o).(topicRouter) //nolint:forcetypeassert // a topic router makes topic routers
	}
	t.few = nil
}

// find returns the binding of a key, nil when there is none.
func (t *subscriptionTable) find(key string) *binding {
	for _, b := range t.few {
		if b.key == key {
			return b
		}
	}
	return t.trie.root.find(key)
}

func (t *subscriptionTable) all(yield func(*binding) bool) {
	for _, b := range t.few {
		if !yield(b) {
			return
		}
	}
	t.trie.root.all(yield)
}

// matching appends the bindings that m follows.
func (t *subscriptionTable) matching(m *Message, to []*binding) []*binding {
	for _, b := range t.few {
		if matches(b.key, m.Key) || slices.ContainsFunc(m.Keys, func(key string) bool { return matches(b.key, key) }) {
			to = append(to, b)
		}
	}
	return t.trie.match(m, to)
}

// several reports whether a message may match more than one subscription.
func (t *subscriptionTable) several() bool { return t.n > 1 }

// match says how a message that waited in the subscriber's queue reaches it, by the subscriptions there are now. A message whose
// subscription has gone since then, so that it is not wanted any more, is handed over all the same, but for Subscriber.lostAt.
//
// ![MQTT-3.8.3-3]: who published a message is not on record. Of one that was read back from the store, a subscription with No Local is
// taken to match, beside another that does, although its client has published it: its level and its identifier count.
func (t *subscriptionTable) match(m *Message) (match Match, wanted bool) {
	var few [8]*binding
	for _, b := range t.matching(m, few[:0]) {
		if !b.subscription.skips(m) {
			wanted = true
			match.add(&b.subscription.spec, m)
		}
	}
	if !wanted {
		match.Level = AtLeastOnce
	}
	match.finish(m)
	return match, wanted
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
