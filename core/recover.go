package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/batonmq/baton/core/field"
)

// recover rebuilds the vhosts from the store's definitions. They come in the order of their making, queues last. What belongs to a
// queue or a subscriber is kept back until those exist. Messages stay where they are: each queue begins with its whole backlog cold.
func (b *Broker) recover(ctx context.Context) error {
	var late []lateDefinition
	for d, err := range b.store.Recover(ctx) {
		if err != nil {
			return fmt.Errorf("recover definitions: %w", err)
		}
		r := readDefinition(&d)
		var kind byte
		if d.Key != "" {
			kind = d.Key[0]
		}
		switch kind {
		case keyVHost:
			if name := read[string](&r, "name"); r.err == nil && b.vhost(name) == nil {
				b.addVHost(newVHost(b, name))
			}
		case keyExchange:
			b.recoverExchange(&r)
		case keyQueue:
			b.recoverQueue(&r, &d)
		case keySubscriber:
			b.recoverSubscriber(&r, &d)
		case keyKept:
			b.recoverKept(&r, &d)
		case keyBinding, keySubscription, keyOutgoing, keyReceived, keyWill, keyRetained:
			late = append(late, lateDefinition{key: d.Key, reader: r})
		default:
			r.err = fmt.Errorf("definition is of an unknown kind: a newer version of the broker wrote it")
		}
		if r.err != nil {
			return fmt.Errorf("recover definition %q: %w", d.Key, r.err)
		}
	}
	for i := range late {
		err := b.recoverLate(&late[i])
		if errors.Is(err, errOrphan) {
			b.dropOrphan(late[i].key, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("recover definition %q: %w", late[i].key, err)
		}
	}
	b.resumeSubscribers()
	return nil
}

// errOrphan is what is wrong with a record of a subscriber that is gone: a connection that was being taken over made it last.
var errOrphan = errors.New("it belongs to no subscriber")

// dropOrphan removes a record that has lost its subscriber, which nothing else would do.
func (b *Broker) dropOrphan(key string, why error) {
	b.opt.Logger.Warn("removing a record of a subscriber that is gone", slog.String("key", fmt.Sprintf("%q", key)), slog.Any("reason", why))
	b.store.Commit([]Op{{Kind: OpRemove, Key: key}})
}

// lateDefinition is a definition that needs others.
type lateDefinition struct {
	key    string
	reader reader
}

func (b *Broker) recoverLate(d *lateDefinition) error {
	r := &d.reader
	switch d.key[0] {
	case keyBinding:
		return b.recoverBinding(r)
	case keySubscription:
		b.recoverSubscription(r)
	case keyOutgoing:
		b.recoverOutgoing(r)
	case keyReceived:
		if sub, id := b.subscriber(r), read[uint16](r, "id"); r.err == nil {
			sub.receive(id)
		}
	case keyWill:
		b.recoverWill(r)
	case keyRetained:
		b.recoverRetained(r)
	}
	return r.err
}

// owner returns the vhost that a definition names.
func (b *Broker) owner(r *reader) *VHost {
	name := read[string](r, "vhost")
	v := b.vhost(name)
	if v == nil && r.err == nil {
		r.err = fmt.Errorf("its vhost '%s' does not exist", name)
	}
	return v
}

func (b *Broker) recoverExchange(r *reader) {
	v := b.owner(r)
	spec := ExchangeSpec{
		Name: read[string](r, "name"), Kind: read[string](r, "kind"), Durable: true,
		AutoDelete: read[bool](r, "auto_delete"), Internal: read[bool](r, "internal"),
		Args: read[field.Table](r, "arguments"),
	}
	if _, ok := newRouter(spec.Kind); !ok && r.err == nil {
		r.err = fmt.Errorf("unknown exchange type '%s'", spec.Kind)
	}
	if r.err == nil {
		v.addExchange(newExchange(v, spec))
	}
}

func (b *Broker) recoverQueue(r *reader, d *Definition) {
	v := b.owner(r)
	q := &Queue{
		vhost: v, id: d.Queue, inbound: map[string]*binding{},
		spec: QueueSpec{
			Name: read[string](r, "name"), Durable: true,
			AutoDelete: read[bool](r, "auto_delete"), Args: read[field.Table](r, "arguments"),
		},
	}
	if r.err != nil {
		return
	}
	q.restore(d)
	v.addQueue(q)
}

// restore gives a queue its places back.
func (q *Queue) restore(d *Definition) {
	q.next = max(1, d.Next)
	if d.Count > 0 {
		q.cold = coldRange{from: 1, to: d.Next - 1, n: int(d.Count)}
		q.stats.Ready = int(d.Count)
	}
}

func (b *Broker) recoverBinding(r *reader) error {
	v := b.owner(r)
	spec := BindingSpec{
		Source: read[string](r, "source"), Dest: read[string](r, "destination"),
		DestExchange: read[bool](r, "to_exchange"), Key: read[string](r, "key"),
		Args: read[field.Table](r, "arguments"),
	}
	if r.err != nil {
		return r.err
	}
	s := Session{broker: b, vhost: v}
	bound, id, err := s.newBinding("recover binding", spec)
	if err != nil {
		return err
	}
	bound.source.attach(id, bound)
	return nil
}

// recoverSubscriber brings a subscriber back with its queue. It is away now, since it was, or since the broker died.
func (b *Broker) recoverSubscriber(r *reader, d *Definition) {
	v := b.owner(r)
	sub := &Subscriber{
		vhost: v, name: read[string](r, "name"), durable: true, expiry: time.Duration(read[int64](r, "expiry_ns")), away: b.store.Now(),
	}
	sub.user, _ = readOptional[string](r, "user") // versions before it was recorded let anyone have it
	queue, away := read[string](r, "queue"), read[int64](r, "away_ms")
	if r.err != nil {
		return
	}
	if away != 0 {
		sub.away = time.UnixMilli(away)
	}
	sub.linked = away == 0
	if v.queue(queue) != nil {
		r.err = fmt.Errorf("its %s exists and is not the subscriber's", v.queueName(queue))
		return
	}
	v.addSubscriber(sub, queue, d.Queue)
	sub.queue.restore(d)
}

// subscriber returns the subscriber that a definition names.
func (b *Broker) subscriber(r *reader) *Subscriber {
	v, name := b.owner(r), read[string](r, "subscriber")
	if r.err != nil {
		return nil
	}
	sub := v.subscriber(name)
	if sub == nil {
		r.err = fmt.Errorf("%w: '%s' does not exist", errOrphan, name)
	}
	return sub
}

func (b *Broker) recoverSubscription(r *reader) {
	sub := b.subscriber(r)
	spec := SubscriptionSpec{
		Key: read[string](r, "key"), Level: Level(read[uint8](r, "level")), NoLocal: read[bool](r, "no_local"),
		AsPublished: read[bool](r, "as_published"), NoSystem: read[bool](r, "no_system"), ID: read[uint32](r, "id"),
	}
	if r.err == nil {
		sub.subscribe(spec)
	}
}

// recoverOutgoing brings back an id that a message went out under. New ids start far away from it.
func (b *Broker) recoverOutgoing(r *reader) {
	sub, id, place := b.subscriber(r), read[uint16](r, "id"), Seq(read[int64](r, "place"))
	switch {
	case r.err != nil:
		return
	case place == 0:
		sub.keepReleased(id, true)
	default:
		sub.carry(place, carried{id: id, level: ExactlyOnce, recorded: true})
	}
	sub.lastID = max(sub.lastID, id+1<<15)
}

// recoverWill brings a will back. That of a subscriber which did not outlive its link has an owner that ended with the broker: only
// the will is left of it.
func (b *Broker) recoverWill(r *reader) {
	v, name := b.owner(r), read[string](r, "subscriber")
	user, _ := readOptional[string](r, "user")
	level := Level(read[uint8](r, "level"))
	will := &Will{
		Delay: time.Duration(read[int64](r, "delay_ms")) * time.Millisecond,
		Message: &Message{
			Exchange: read[string](r, "exchange"), Key: read[string](r, "key"),
			Props: read[[]byte](r, "properties"), Body: read[[]byte](r, "body"),
			Persistent: level >= AtLeastOnce, Once: level >= ExactlyOnce, Retain: read[bool](r, "retain"),
		},
	}
	if ms, ok := readOptional[int64](r, "lifetime_ms"); ok {
		life := time.Duration(ms) * time.Millisecond
		will.Lifetime = &life
	}
	if r.err != nil {
		return
	}
	sub := v.subscriber(name)
	if sub == nil {
		sub = &Subscriber{vhost: v, name: name, user: user, ended: true, linked: true}
		sub.table.Store(&subscriptionTable{})
		v.addOrphan(sub)
	}
	sub.will = will
}

func (b *Broker) recoverKept(r *reader, d *Definition) {
	if v := b.owner(r); r.err == nil {
		v.retained.id, v.retained.next = d.Queue, max(1, d.Next)
	}
}

func (b *Broker) recoverRetained(r *reader) {
	v, key, place := b.owner(r), read[string](r, "key"), Seq(read[int64](r, "place"))
	expires, _ := readOptional[int64](r, "expires_ms")
	if r.err == nil {
		at := &retainedMessage{key: key, seq: place, expires: expires}
		v.retained.node(key, true).at = at
		v.retained.n++
		v.retained.watch(at)
	}
}

// resumeSubscribers starts the clocks of the subscribers that are away. Those that had a link when the broker died, and their wills,
// get a grace to come back.
func (b *Broker) resumeSubscribers() {
	now := b.store.Now()
	resume := func(sub *Subscriber) {
		gone := now.Sub(sub.away)
		if sub.will != nil {
			if sub.linked {
				sub.armWill(max(willGrace, sub.will.Delay))
			} else {
				sub.armWill(min(sub.will.Delay, sub.expiry) - gone)
			}
		}
		if !sub.ended && sub.expiry != Forever {
			sub.armExpiry(max(time.Second, sub.expiry-gone))
		}
		sub.linked = false
	}
	for _, v := range b.vhosts.Load().all() {
		v.mu.Lock()
		for _, sub := range v.subscribers.Load().all() {
			resume(sub)
		}
		for _, sub := range v.orphans {
			resume(sub)
		}
		v.mu.Unlock()
	}
}

// allQueues yields every queue of every vhost.
func (b *Broker) allQueues() func(yield func(*Queue) bool) {
	return func(yield func(*Queue) bool) {
		for _, v := range b.vhosts.Load().all() {
			for _, q := range v.queues.Load().all() {
				if !yield(q) {
					return
				}
			}
		}
	}
}

// Stats is a snapshot of the engine's counters.
type Stats struct {
	VHosts, Exchanges, Queues, Consumers int
	Subscribers, Subscriptions, Retained int

	QueueStats        // sums over all queues; the counters include queues that are gone
	Unroutable uint64 // messages that reached nobody
	Dropped    uint64 // messages that nobody keeps, for subscribers that were away or slow
	HeldBytes  int64  // of messages that wait in memory
	OpenBytes  int64  // of messages outstanding with consumers without a prefetch limit
	Blocked    bool   // publishers must wait
	Pending    int64  // bytes that are not durable yet
	Space      Space
}

// Stats counts. Its cost grows with the number of queues.
func (b *Broker) Stats() Stats {
	st := Stats{
		Unroutable: b.unroutable.Load(), Dropped: b.dropped.Load(), HeldBytes: b.held.Load(), OpenBytes: b.openBytes.Load(), Blocked: !b.open(),
		Pending: b.store.Pending(), Space: b.store.Space(),
	}
	st.QueueStats = b.past.get()
	for _, v := range b.vhosts.Load().all() {
		st.VHosts++
		st.Exchanges += v.exchanges.Load().len()
		st.Queues += v.queues.Load().len()
		st.Subscribers += v.subscribers.Load().len()
		st.Retained += v.retained.len()
	}
	for q := range b.allQueues() {
		q.mu.Lock()
		st.add(q.stats)
		st.Consumers += len(q.consumers)
		if q.subscriber != nil {
			st.Subscriptions += q.subscriber.table.Load().n
		}
		q.mu.Unlock()
	}
	return st
}
