package core

import (
	"fmt"
	"sync"
)

// keptBack is definitions that need others, in the order in which they came: blocks of them, because a list of hundreds of thousands that
// grows is copied several times.
type keptBack struct{ blocks [][]Definition }

const keptBackBlock = 1024

func (k *keptBack) add(d *Definition) {
	last := len(k.blocks) - 1
	if last < 0 || len(k.blocks[last]) == keptBackBlock {
		k.blocks = append(k.blocks, make([]Definition, 0, keptBackBlock))
		last++
	}
	k.blocks[last] = append(k.blocks[last], *d)
}

// all yields each definition once, and lets go of those that were yielded.
func (k *keptBack) all(yield func(*Definition) bool) {
	for i, block := range k.blocks {
		for j := range block {
			if !yield(&block[j]) {
				return
			}
		}
		k.blocks[i] = nil
	}
}

// edges puts bindings into the tables of their exchanges, in place, while the recovery reads the next ones. Until close has returned
// the tables are its own.
type edges struct {
	next   []*binding
	full   chan []*binding
	adding sync.WaitGroup
}

const edgeBatch = 512

func newEdges() *edges {
	e := &edges{full: make(chan []*binding, 8)}
	e.adding.Go(func() {
		for list := range e.full {
			for _, b := range list {
				table := b.source.table.Load()
				*table = (*table).adding(b)
			}
		}
	})
	return e
}

func (e *edges) add(b *binding) {
	if e.next == nil {
		e.next = make([]*binding, 0, edgeBatch)
	}
	if e.next = append(e.next, b); len(e.next) == edgeBatch {
		e.full <- e.next
		e.next = nil
	}
}

// close waits until all are in their tables.
func (e *edges) close() {
	e.full <- e.next
	close(e.full)
	e.adding.Wait()
}

// share brings a shared subscription back with its queue. Its members follow.
func (rc *recovery) share(r *reader, d *Definition) {
	v := rc.owner(r)
	spec := SubscriptionSpec{
		Share: read[string](r, "name"), Key: read[string](r, "key"), Queue: read[string](r, "queue"), NoSystem: read[bool](r, "no_system"),
	}
	if r.err != nil {
		return
	}
	q := v.queues.Load().at(spec.Queue)
	if *q != nil {
		r.err = fmt.Errorf("its %s exists and is not the shared subscription's", v.queueName(spec.Queue))
		return
	}
	g := v.newShare(&spec, d.Queue)
	g.queue.restore(&g.queue.lane, d)
	*q = g.queue
}

// member brings a subscriber's part in a shared subscription back.
func (rc *recovery) member(r *reader, sub *Subscriber, spec *SubscriptionSpec) {
	g := sub.vhost.share(spec)
	if g == nil {
		r.err = fmt.Errorf("%w: the shared subscription '%s' to '%s' does not exist", errOrphan, spec.Share, spec.Key)
		return
	}
	if g.levels == [ExactlyOnce + 1]int{} {
		rc.edges.add(&g.edge.binding)
	}
	g.count(spec.Level, 1)
	spec.Queue = g.queue.spec.Name
	sub.replaceMember(nil, &member{share: g, sub: sub, spec: *spec})
}

// dropShares ends the shared subscriptions that have lost their members with the broker before: sessions that ended with it.
func (b *Broker) dropShares() {
	for _, v := range b.vhosts.Load().all() {
		v.mu.Lock()
		for _, g := range v.shares {
			if g.levels == [ExactlyOnce + 1]int{} {
				v.commit(true, g.end()...)
			}
		}
		v.mu.Unlock()
	}
}
