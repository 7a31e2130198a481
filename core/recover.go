package core

import (
	"context"
	"fmt"

	"github.com/batonmq/baton/core/field"
)

// recover rebuilds the vhosts from the store's definitions. They come in the order of their making, queues last; bindings need both
// ends, so they are kept back until all ends exist. Messages stay where they are: each queue begins with its whole backlog cold.
func (b *Broker) recover(ctx context.Context) error {
	bindings := map[string]reader{}
	for d, err := range b.store.Recover(ctx) {
		if err != nil {
			return fmt.Errorf("recover definitions: %w", err)
		}
		r := readDefinition(&d)
		switch {
		case d.Key == "":
			r.err = fmt.Errorf("definition has no key")
		case d.Key[0] == keyVHost:
			if name := read[string](&r, "name"); r.err == nil && b.vhost(name) == nil {
				b.addVHost(newVHost(b, name))
			}
		case d.Key[0] == keyExchange:
			b.recoverExchange(&r)
		case d.Key[0] == keyQueue:
			b.recoverQueue(&r, &d)
		case d.Key[0] == keyBinding:
			bindings[d.Key] = r
		default:
			r.err = fmt.Errorf("definition is of an unknown kind: a newer version of the broker wrote it")
		}
		if r.err != nil {
			return fmt.Errorf("recover definition %q: %w", d.Key, r.err)
		}
	}
	for key, r := range bindings {
		if err := b.recoverBinding(&r); err != nil {
			return fmt.Errorf("recover definition %q: %w", key, err)
		}
	}
	return nil
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
		vhost: v, id: d.Queue, next: max(1, d.Next), inbound: map[string]*binding{},
		spec: QueueSpec{
			Name: read[string](r, "name"), Durable: true,
			AutoDelete: read[bool](r, "auto_delete"), Args: read[field.Table](r, "arguments"),
		},
	}
	if r.err != nil {
		return
	}
	if d.Count > 0 {
		q.cold = coldRange{from: 1, to: d.Next - 1, n: int(d.Count)}
		q.stats.Ready = int(d.Count)
	}
	v.addQueue(q)
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

	QueueStats        // sums over all queues; the counters include queues that are gone
	Unroutable uint64 // messages that reached no queue
	HeldBytes  int64  // messages in memory
	Blocked    bool   // publishers must wait
	Pending    int64  // bytes that are not durable yet
	Space      Space
}

// Stats counts. Its cost grows with the number of queues.
func (b *Broker) Stats() Stats {
	st := Stats{
		Unroutable: b.unroutable.Load(), HeldBytes: b.held.Load(), Blocked: !b.open(),
		Pending: b.store.Pending(), Space: b.store.Space(),
	}
	st.QueueStats = b.past.get()
	for _, v := range b.vhosts.Load().all() {
		st.VHosts++
		st.Exchanges += v.exchanges.Load().len()
		st.Queues += v.queues.Load().len()
	}
	for q := range b.allQueues() {
		q.mu.Lock()
		st.add(q.stats)
		st.Consumers += len(q.consumers)
		q.mu.Unlock()
	}
	return st
}
