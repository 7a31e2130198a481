package core

// SetWindowForTest changes the credit of a consumer whose window the test did not keep.
func (c *Consumer) SetWindowForTest(limit int) { c.spec.Window.SetLimit(limit) }

// AlarmsForTest is how many alarms are set.
func (b *Broker) AlarmsForTest() int {
	b.expiries.mu.Lock()
	defer b.expiries.mu.Unlock()
	return len(b.expiries.heap)
}

// ReservedForTest is how many ids wait with messages that went out before.
func (l *Link) ReservedForTest() int {
	l.sub.mu.Lock()
	defer l.sub.mu.Unlock()
	return len(l.sub.reserved) + len(l.sub.carried)
}

// SumForTest walks all queues and adds up what Stats keeps sums of; the counters are without those of queues that are gone.
func (b *Broker) SumForTest() (sum QueueStats, consumers, subscriptions int) {
	for q := range b.allQueues() {
		q.mu.Lock()
		sum.add(q.stats)
		consumers += len(q.consumers)
		if q.subscriber != nil {
			subscriptions += q.subscriber.table.Load().n + len(q.subscriber.members())
		}
		q.mu.Unlock()
	}
	return sum, consumers, subscriptions
}
