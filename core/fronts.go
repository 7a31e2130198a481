package core

import (
	"context"
	"fmt"
	"time"
)

// What is over leaves a queue without anybody asking, which takes an alarm for its next message. After a start no message is in memory; so
// the next one of each queue that has any is looked at once, in the background, some at a time: a start does not wait for it, and what it
// serves hardly notices.

const (
	frontsAtOnce = 64
	frontsPause  = 10 * time.Millisecond
)

// lookAtFronts sets the alarms of queues that were recovered with messages.
func (b *Broker) lookAtFronts(ctx context.Context) {
	n := 0
	for q := range b.allQueues() {
		looked, err := q.lookAtFront()
		if err != nil {
			b.fail(err)
			return
		}
		if n += looked; n >= frontsAtOnce {
			n = 0
			select {
			case <-time.After(frontsPause):
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// lookAtFront sets the alarm for what is next in the store, and returns how many messages it has read for that.
func (q *Queue) lookAtFront() (read int, err error) {
	q.mu.Lock()
	var colds []want
	for l := range q.lanes {
		if l.cold.n > 0 && l.peek() == nil {
			colds = append(colds, want{lane: l, from: l.cold.from, to: l.cold.to})
		}
	}
	q.mu.Unlock()
	for _, w := range colds {
		entries, err := q.vhost.broker.store.Load(w.lane.id, w.from, w.to, 1, 1)
		if err != nil {
			return read, fmt.Errorf("read the next message of %s: %w", q.vhost.queueName(q.spec.Name), err)
		}
		if read++; len(entries) > 0 {
			q.watchCold(w.lane, &entries[0])
		}
	}
	return read, nil
}

// watchCold has the expirer come for a message that is in the store alone, unless others are in front of it by now.
func (q *Queue) watchCold(l *lane, next *Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted || l.cold.n == 0 || l.peek() != nil {
		return
	}
	if at := q.expiry(l, &entry{seq: next.Seq, msg: next.Msg}); at != 0 && (q.alarmed == 0 || at < q.alarmed) {
		q.alarmAt(at)
	}
}
