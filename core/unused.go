package core

import "time"

// An auto-delete queue goes with its last consumer. When the consumers of a durable one went because the broker did, they may be back soon
// on whichever broker comes next: the queue waits for them.

// unusedGrace is how long a durable auto-delete queue that lost its consumers with the broker waits for one.
const unusedGrace = time.Minute

// noteUse puts on record, once, that an auto-delete queue has had a consumer: a broker that finds it so, and without one, knows that it is
// to go. The consumer does not wait for the record. If the broker dies before that has passed, the queue stays until it is used again. q.mu
// is held.
func (q *Queue) noteUse() {
	if q.used || !q.durable() || !q.spec.AutoDelete {
		return
	}
	q.used = true
	q.vhost.broker.store.Commit([]Op{q.definition()}) // before that of its end, which needs q.mu first
}

// resumeQueues gives the consumers of auto-delete queues their time to come back.
func (b *Broker) resumeQueues() {
	for q := range b.allQueues() {
		q.mu.Lock()
		q.touch()
		q.mu.Unlock()
		if q.used {
			b.after(unusedGrace, func() { q.vhost.deleteUnused(q) })
		}
	}
}

// stopping reports whether consumers end because the broker does.
func (b *Broker) stopping() bool {
	select {
	case <-b.draining:
		return true
	default:
		return false
	}
}
