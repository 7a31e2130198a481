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
