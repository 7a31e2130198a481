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
	Share       string // the name of a shared subscription: each message goes to one of those who have it; "": it is the subscriber's own
	Queue       string // the name of a shared subscription's queue, the same for all who have it
	Level       Level  // the surest that is wanted
	NoLocal     bool   // not what the subscriber itself publishes
	AsPublished bool   // show a message as retained if it was published so
	NoSystem    bool   // not keys that begin with $: the pattern begins with a wildcard [MQTT-4.7.2-1]
	ID          uint32 // told with every message that matches; 0: none
}

// Filter names a subscription of a subscriber.
type Filter struct{ Share, Key string }

// Filter is what the subscription is known by.
func (s *SubscriptionSpec) Filter() Filter { return Filter{s.Share, s.Key} }

// systemPrefix begins the keys of what a broker says about itself: who asks for everything does not mean that.
const systemPrefix = "$"

// hides reports whether a subscription does not want a key that its pattern matches.
func (s *SubscriptionSpec) hides(key string) bool {
	return s.NoSystem && strings.HasPrefix(key, systemPrefix)
}

// subscription is what a binding knows that leads to a subscriber, or to a share, and that binding.
type subscription struct {
	binding
	spec  SubscriptionSpec
	sub   *Subscriber // nil: it is a share's
	share *share
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
	Existed  bool  // it replaced one of the same key
	Retained Seq   // what is retained from there on comes as it is published
	Err      error // it was refused: there is what there was before
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
		spec, r := &specs[i], &results[i]
		r.Existed = sub.has(spec.Filter())
		if r.Err == nil && !r.Existed {
			r.Err = sub.maySubscribe(spec)
		}
		if r.Err != nil {
			continue
		}
		if spec.Share != "" {
			sub.join(spec)
		} else if sub.subscribe(*spec); r.Existed {
			sub.replays.adjust(spec)
		}
		if sub.durable {
			ops = append(ops, sub.subscriptionDefinition(spec))
		}
	}
	upto, _ := v.retained.end()
	for i := range results {
		results[i].Retained = upto
	}
	p := v.commit(false, append(ops, Op{Kind: OpNone})...)
	v.mu.Unlock()
	return results, p.wait(ctx)
}

// has reports whether the subscriber has a subscription. vhost.mu is held.
func (sub *Subscriber) has(f Filter) bool {
	if f.Share != "" {
		return sub.member(f) != nil
	}
	return sub.table.Load().find(f.Key) != nil
}

// maySubscribe refuses one more subscription to a subscriber that has as many as it may, one that would be on record when the disk is
// full, and a share that cannot be made. vhost.mu is held.
func (sub *Subscriber) maySubscribe(spec *SubscriptionSpec) error {
	const op = "subscribe"
	object := fmt.Sprintf("subscriber '%s' in vhost '%s'", sub.name, sub.vhost.name)
	if limit := sub.vhost.broker.opt.Subscriptions; sub.table.Load().n+len(sub.members()) >= limit {
		return &Error{
			Kind: Exhausted, Op: op, Name: object,
			Text: fmt.Sprintf("%s has %d subscriptions, the most that one may have; end some first", object, limit),
		}
	}
	if sub.durable {
		if err := sub.vhost.broker.mayDefine(op, object); err != nil {
			return err
		}
	}
	if spec.Share == "" {
		return nil
	}
	return sub.vhost.mayShare(op, spec)
}

// Unsubscribe removes subscriptions and tells which of them existed. No message comes by them any more [MQTT-3.10.4-2]; what has come
// goes on [MQTT-3.10.4-3].
func (l *Link) Unsubscribe(ctx context.Context, filters []Filter) (existed []bool, err error) {
	sub := l.sub
	v := sub.vhost
	v.mu.Lock()
	if sub.link.Load() != l {
		v.mu.Unlock()
		return nil, ErrTakenOver
	}
	ops := make([]Op, 0, len(filters)+1)
	for _, f := range filters {
		had := sub.has(f)
		existed = append(existed, had)
		switch {
		case !had:
		case f.Share != "":
			ops = append(ops, sub.leave(sub.member(f))...)
		default:
			ops = append(ops, sub.unsubscribe(sub.table.Load().find(f.Key))...)
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
	if old == nil {
		sub.vhost.broker.subscriptions.Add(1)
	}
	sub.table.Store(sub.table.Load().replace(old, b))
}

// unsubscribe ends one subscription and returns what is to be recorded. vhost.mu is held.
func (sub *Subscriber) unsubscribe(old *binding) (ops []Op) {
	old.source.replace(old, nil)
	sub.vhost.broker.subscriptions.Add(-1)
	sub.table.Store(sub.table.Load().replace(old, nil))
	sub.replays.cancel(old.key)
	if sub.durable {
		ops = append(ops, sub.removal(Filter{Key: old.key}))
	}
	return ops
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
	sub.vhost.broker.subscriptions.Add(1)
	if sub.table.Load() == noSubscriptions {
		sub.table.Store(new(subscriptionTable))
	}
	sub.table.Load().add(b)
	return b
}

// unsubscribeAll removes all subscriptions and returns the removal of their records. vhost.mu is held.
func (sub *Subscriber) unsubscribeAll() (ops []Op) {
	for _, m := range sub.members() {
		ops = append(ops, sub.leave(m)...)
	}
	if sub.table.Load().n == 0 {
		return ops
	}
	x := sub.vhost.exchange(TopicExchange)
	table := *x.table.Load()
	sub.table.Load().all(func(b *binding) bool {
		table = table.without(b)
		if sub.durable {
			ops = append(ops, sub.removal(Filter{Key: b.key}))
		}
		return true
	})
	x.table.Store(&table)
	sub.vhost.broker.subscriptions.Add(int64(-sub.table.Load().n))
	sub.table.Store(noSubscriptions)
	return ops
}

// removal ends the record of a subscription.
func (sub *Subscriber) removal(f Filter) Op {
	return Op{Kind: OpRemove, Key: sub.subscriptionKey(f)}
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

// matching appends the bindings that m follows [MQTT-3.3.2-3].
func (t *subscriptionTable) matching(m *Message, to []*binding) []*binding {
	for _, b := range t.few {
		if matches(b.key, m.Key) || slices.ContainsFunc(m.Keys, func(key string) bool { return matches(b.key, key) }) {
			to = append(to, b)
		}
	}
	return t.trie.match(m, to, nil)
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

// add takes one more matching subscription into account: the highest level counts [MQTT-3.3.4-2], and what the message was published
// with is shown to who asked for it [MQTT-3.3.1-12] [MQTT-3.3.1-13]. An identifier that several subscriptions have is told as often
// (section 3.3.4).
func (x *Match) add(spec *SubscriptionSpec, m *Message) {
	x.Level = max(x.Level, spec.Level)
	x.Retain = x.Retain || spec.AsPublished && m.Retain
	switch {
	case spec.ID == 0:
	case x.ID == 0:
		x.ID = spec.ID
	default:
		x.More = append(x.More, spec.ID)
	}
}

// finish brings the level down to the message's [MQTT-3.8.4-8].
func (x *Match) finish(m *Message) {
	x.Level = min(x.Level, m.Level())
	x.Retain = x.Retain || m.Replayed
}

// skips reports whether a subscription does not want a message whose key it matches [MQTT-3.8.3-3].
func (n *subscription) skips(m *Message) bool {
	return n.spec.hides(m.Key) ||
		n.spec.NoLocal && n.sub.serial == m.origin
}
