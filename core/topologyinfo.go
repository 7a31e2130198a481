package core

import (
	"iter"
	"sync"

	"github.com/batonmq/baton/core/field"
)

// ExchangeInfo describes an exchange.
type ExchangeInfo struct {
	VHost, Name, Kind             string
	Durable, AutoDelete, Internal bool
	Args                          field.Table // not to be changed
	Policy                        PolicyEffect
	Delayed                       int // messages that it keeps back
}

// Exchanges yields the exchanges of a vhost, in no order. The default exchange, whose name is empty, is among them.
func (b *Broker) Exchanges(vhost string) iter.Seq[*Exchange] {
	return func(yield func(*Exchange) bool) {
		v := b.vhost(vhost)
		if v == nil {
			return
		}
		for _, x := range v.exchanges.Load().all() {
			if !yield(x) {
				return
			}
		}
	}
}

// Exchange returns an exchange, nil if there is none of that name.
func (b *Broker) Exchange(vhost, name string) *Exchange {
	if v := b.vhost(vhost); v != nil {
		return v.exchange(name)
	}
	return nil
}

// Name is the exchange's.
func (x *Exchange) Name() string { return x.spec.Name }

// VHost is the name of the vhost that the exchange is in.
func (x *Exchange) VHost() string { return x.vhost.name }

// Info describes the exchange.
func (x *Exchange) Info() ExchangeInfo {
	info := ExchangeInfo{
		VHost: x.vhost.name, Name: x.spec.Name, Kind: x.spec.Kind,
		Durable: x.spec.Durable, AutoDelete: x.spec.AutoDelete, Internal: x.spec.Internal,
		Args: x.spec.Args, Policy: x.governed.Load().effect(),
	}
	if x.delays != nil {
		info.Delayed = x.delays.len()
	}
	return info
}

// Bindings yields the bindings of a vhost, in no order: those of each of its exchanges.
func (b *Broker) Bindings(vhost string) iter.Seq[BindingSpec] {
	return func(yield func(BindingSpec) bool) {
		for x := range b.Exchanges(vhost) {
			for spec := range x.Outbound() {
				if !yield(spec) {
					return
				}
			}
		}
	}
}

// Outbound yields the bindings whose source the exchange is, in no order. The default exchange has one to each queue, and that through which
// subscribers receive has their subscriptions. Arguments are not to be changed.
func (x *Exchange) Outbound() iter.Seq[BindingSpec] {
	return func(yield func(BindingSpec) bool) {
		switch {
		case x.spec.Name == "":
			x.vhost.defaultBindings(yield)
		case !yieldDeclared(&x.vhost.mu, x.outbound, yield):
		case x.spec.Name == TopicExchange:
			x.vhost.subscriptions(yield)
		}
	}
}

// Inbound yields the bindings whose destination the exchange is, in no order. Arguments are not to be changed.
func (x *Exchange) Inbound() iter.Seq[BindingSpec] {
	return func(yield func(BindingSpec) bool) { yieldDeclared(&x.vhost.mu, x.inbound, yield) }
}

// Bindings yields the bindings whose destination the queue is, in no order: that of the default exchange, those that were declared, and a
// subscriber's subscriptions. Arguments are not to be changed.
func (q *Queue) Bindings() iter.Seq[BindingSpec] {
	return func(yield func(BindingSpec) bool) {
		if !yield(q.defaultBinding()) || !yieldDeclared(&q.vhost.mu, q.inbound, yield) {
			return
		}
		switch {
		case q.subscriber != nil:
			q.subscriber.subscriptions(yield)
		case q.isSubscribers():
			q.vhost.shareBindings(func(g *share) bool { return g.queue == q }, yield)
		}
	}
}

// defaultBinding is how the default exchange leads to the queue (AMQP 0-9-1, 2.1.2.4).
func (q *Queue) defaultBinding() BindingSpec {
	return BindingSpec{Dest: q.spec.Name, Key: q.spec.Name}
}

func (v *VHost) defaultBindings(yield func(BindingSpec) bool) {
	for _, q := range v.queues.Load().all() {
		if !yield(q.defaultBinding()) {
			return
		}
	}
}

func yieldDeclared(mu *sync.Mutex, of map[string]*binding, yield func(BindingSpec) bool) bool {
	for b := range stretches(mu, of) {
		if !yield(b.declared.spec) {
			return false
		}
	}
	return true
}

// subscriptions yields those of all subscribers, and those that are shared.
func (v *VHost) subscriptions(yield func(BindingSpec) bool) {
	for _, sub := range v.subscribers.Load().all() {
		if !sub.subscriptions(yield) {
			return
		}
	}
	v.shareBindings(func(*share) bool { return true }, yield)
}

func (sub *Subscriber) subscriptions(yield func(BindingSpec) bool) (more bool) {
	more = true
	sub.table.Load().all(func(b *binding) bool {
		more = yield(b.shown())
		return more
	})
	return more
}

func (v *VHost) shareBindings(which func(*share) bool, yield func(BindingSpec) bool) {
	v.mu.Lock()
	shares := v.shares // made once
	v.mu.Unlock()
	for g := range stretches(&v.mu, shares) {
		if which(g) && !yield(g.edge.shown()) {
			return
		}
	}
}

// shown is a subscription's binding as if it were declared.
func (b *binding) shown() BindingSpec {
	return BindingSpec{Source: b.source.spec.Name, Dest: b.queue.spec.Name, Key: b.key}
}

// stretch is how many values of a map are copied at once: a matter of microseconds.
const stretch = 256

// stretches yields the values of a map that mu guards. mu is held while a stretch of them is copied, and while none is yielded, so that
// whoever wants it never waits for the whole list. What comes or goes meanwhile is seen or is not.
func stretches[K comparable, V any](mu *sync.Mutex, of map[K]V) iter.Seq[V] {
	return func(yield func(V) bool) {
		some := make([]V, 0, stretch)
		mu.Lock()
		for _, v := range of { // with mu held for each step, although not from one to the next
			if some = append(some, v); len(some) < stretch {
				continue
			}
			mu.Unlock()
			if !yieldAll(some, yield) {
				return
			}
			some = some[:0]
			mu.Lock()
		}
		mu.Unlock()
		yieldAll(some, yield)
	}
}

func yieldAll[V any](some []V, yield func(V) bool) bool {
	for _, v := range some {
		if !yield(v) {
			return false
		}
	}
	return true
}
