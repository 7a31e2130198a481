package core

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
)

// VHost is a name space of exchanges, queues and bindings. Changes take its lock; routing reads snapshots without it.
type VHost struct {
	broker *Broker
	name   string
	info   atomic.Pointer[VHostInfo] // changes under Access.mu
	going  bool                      // at recovery: its deletion was not finished

	// guarded by sessions.mu
	sessions int  // that are listed
	closed   bool // none can be opened any more

	dedups dedups // what exchanges and queues remember of messages

	mu          sync.Mutex // guards changes of everything below; held while their records are committed, so that both have one order
	exchanges   atomic.Pointer[pmap[*Exchange]]
	queues      atomic.Pointer[pmap[*Queue]]
	subscribers atomic.Pointer[pmap[*Subscriber]]
	policies    atomic.Pointer[policies]
	parameters  atomic.Pointer[parameters]
	pairs       map[[2]*policy]*governed // of policies that apply to something now
	shares      map[shareName]*share     // nil until there is one
	retained    retained
	orphans     map[string]*Subscriber // of which only a will is left; by name
	ended       bool                   // it was deleted: nothing more is made in it
}

// DefaultVHost is the name of the vhost that a new store has.
const DefaultVHost = "/"

// newVHost makes a vhost with the exchanges that every vhost has (AMQP 0-9-1, 3.1.3; amq.rabbitmq.trace is RabbitMQ's).
func newVHost(b *Broker, info VHostInfo) *VHost {
	v := &VHost{broker: b, name: info.Name}
	v.info.Store(&info)
	v.exchanges.Store(&pmap[*Exchange]{})
	v.queues.Store(&pmap[*Queue]{})
	v.subscribers.Store(&pmap[*Subscriber]{})
	v.policies.Store(&policies{})
	v.parameters.Store(&parameters{})
	v.retained.vhost = v
	for _, spec := range []ExchangeSpec{
		{Name: "", Kind: "direct"},
		{Name: "amq.direct", Kind: "direct"},
		{Name: "amq.fanout", Kind: "fanout"},
		{Name: TopicExchange, Kind: "topic"},
		{Name: "amq.headers", Kind: "headers"},
		{Name: "amq.match", Kind: "headers"},
		{Name: "amq.rabbitmq.trace", Kind: "topic", Internal: true},
	} {
		spec.Durable = true
		v.addExchange(newExchange(v, spec))
	}
	if v.name == b.opt.Events {
		v.provideEvents()
	}
	return v
}

// addOrphan keeps a subscriber that has ended until its will is published.
func (v *VHost) addOrphan(sub *Subscriber) {
	if v.orphans == nil {
		v.orphans = map[string]*Subscriber{}
	}
	v.orphans[sub.name] = sub
}

// predeclared reports whether every vhost has an exchange of this name, or has the broker make it where it is wanted; such exchanges need no definition.
func predeclared(name string) bool {
	switch name {
	case "", "amq.direct", "amq.fanout", TopicExchange, "amq.headers", "amq.match", "amq.rabbitmq.trace", EventExchange:
		return true
	}
	return false
}

func (v *VHost) exchange(name string) *Exchange {
	x, _ := v.exchanges.Load().get(name)
	return x
}

func (v *VHost) queue(name string) *Queue {
	q, _ := v.queues.Load().get(name)
	return q
}

// addExchange and addQueue show what has been made, as policies want it.
func (v *VHost) addExchange(x *Exchange) {
	x.govern()
	next := v.exchanges.Load().with(x.spec.Name, x)
	v.exchanges.Store(&next)
}

func (v *VHost) addQueue(q *Queue) {
	q.govern()
	v.broker.churn.created.Add(1)
	v.broker.stirs.begin(q)
	next := v.queues.Load().with(q.spec.Name, q)
	v.queues.Store(&next)
}

// exchangeName and queueName print objects as RabbitMQ does.
func (v *VHost) exchangeName(name string) string {
	return fmt.Sprintf("exchange '%s' in vhost '%s'", name, v.name)
}

func (v *VHost) queueName(name string) string {
	return fmt.Sprintf("queue '%s' in vhost '%s'", name, v.name)
}

func (v *VHost) noExchange(op, name string) error {
	object := v.exchangeName(name)
	return &Error{Kind: NotFound, Op: op, Name: object, Text: "no " + object}
}

func (v *VHost) noQueue(op, name string) error {
	object := v.queueName(name)
	return &Error{Kind: NotFound, Op: op, Name: object, Text: "no " + object}
}

// reservedName refuses to make objects whose names begin with amq.
func reservedName(op, class, object, name string) error {
	if !isReserved(name) {
		return nil
	}
	return &Error{
		Kind: Refused, Op: op, Name: object,
		Text: fmt.Sprintf("%s name '%s' contains reserved prefix 'amq.*'", class, name),
	}
}

func isReserved(name string) bool { return strings.HasPrefix(name, "amq.") }

// mayAddQueue refuses one more queue than the vhost may have.
func (v *VHost) mayAddQueue(op, name string) error {
	limit := v.info.Load().MaxQueues
	if limit < 0 || v.queues.Load().len() < limit {
		return nil
	}
	return &Error{
		Kind: Exhausted, Op: op, Name: v.queueName(name),
		Text: fmt.Sprintf("cannot declare queue '%s': queue limit in vhost '%s' (%d) is reached", name, v.name, limit),
	}
}

// deletion collects what goes when an object is deleted: an exchange or queue takes its bindings along, the last binding of an
// auto-delete exchange that exchange, and so on. Everything goes in one commit. mu is held throughout.
type deletion struct {
	vhost *VHost
	by    string // whose it is, for events; empty: the broker's
	ops   []Op
}

// queue takes away a queue that has ended.
func (d *deletion) queue(q *Queue) {
	next := d.vhost.queues.Load().without(q.spec.Name)
	d.vhost.queues.Store(&next)
	if !q.isSubscribers() {
		d.vhost.tell("queue.deleted", d.by, of("name", q.spec.Name))
	}
	for id, b := range q.inbound {
		d.binding(id, b)
	}
	d.ops = append(d.ops, d.vhost.forgetIDs(dedupOwner{name: q.spec.Name})...)
	if q.durable() {
		d.ops = append(d.ops, q.removal()...)
	}
}

func (d *deletion) exchange(x *Exchange) {
	if d.vhost.exchange(x.spec.Name) != x {
		return // already gone in this deletion
	}
	next := d.vhost.exchanges.Load().without(x.spec.Name)
	d.vhost.exchanges.Store(&next)
	x.end()
	d.vhost.tell("exchange.deleted", d.by, of("name", x.spec.Name))
	for id, b := range x.outbound {
		d.binding(id, b)
	}
	for id, b := range x.inbound {
		d.binding(id, b)
	}
	if x.delays != nil {
		d.ops = append(d.ops, x.delays.end()...)
	}
	d.ops = append(d.ops, d.vhost.forgetIDs(dedupOwner{exchange: true, name: x.spec.Name})...)
	if x.spec.Durable {
		d.ops = append(d.ops, removeOp(x.definition()))
	}
}

func (d *deletion) binding(id string, b *binding) {
	x := b.source
	if x.outbound[id] != b {
		return
	}
	x.detach(id, b)
	b.tell(d.vhost, "binding.deleted", d.by)
	if b.declared.durable {
		d.ops = append(d.ops, removeOp(b.definition(d.vhost, id)))
	}
	if x.spec.AutoDelete && len(x.outbound) == 0 {
		d.exchange(x)
	}
}

// commit records the deletion, if anything of it was on record; mu is still held.
func (d *deletion) commit() { d.vhost.commit(true, d.ops...) }

// deleteUnused deletes an auto-delete queue that has no consumer any more, unless that is so because the broker stops.
func (v *VHost) deleteUnused(q *Queue) {
	if v.broker.stopping() {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.queue(q.spec.Name) != q {
		return
	}
	if _, err := q.end(true, false); err != nil {
		return // somebody consumes it again
	}
	d := deletion{vhost: v}
	d.queue(q)
	d.commit()
}

// deleteExclusive deletes a session's exclusive queue.
func (v *VHost) deleteExclusive(q *Queue) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.queue(q.spec.Name) != q {
		return
	}
	_, _ = q.end(false, false) // without conditions it never refuses
	d := deletion{vhost: v, by: q.owner.opt.User}
	d.queue(q)
	d.commit()
}
