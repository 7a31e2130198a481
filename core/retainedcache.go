package core

// Retained messages are many, and most are asked for by nobody for long. Those that came last are in memory, as many as fit; the others are
// read from the store when a subscription asks for them. Reading does not push out: whoever reads through all of them would only take the
// place of those that come and go.

// retainedInMemory is how many bytes of retained messages are in memory, over all vhosts, as soon as those beyond can be read back.
const retainedInMemory = 32 << 20

// retainedCache is what of one vhost's retained messages is in memory.
type retainedCache struct {
	list deque[*retainedMessage] // oldest first; some have let go of their message since
	n    int                     // of the list that have not
}

// keep has at keep m in memory. mu is held.
func (r *retained) keep(at *retainedMessage, m *Message) {
	if at.more == nil {
		at.more = new(retainedMore)
	}
	at.more.msg = m
	r.cache.list.pushBack(at)
	r.cache.n++
	r.vhost.broker.retainedBytes.Add(int64(m.Size()) + messageCost)
}

// letGo takes the message of at out of memory. mu is held.
func (r *retained) letGo(at *retainedMessage) {
	m := at.message()
	if m == nil {
		return
	}
	r.vhost.broker.retainedBytes.Add(-int64(m.Size()) - messageCost)
	if at.more.msg = nil; at.more.expires == 0 {
		at.more = nil
	}
	r.cache.n--
}

// close says that at is no longer what its key holds. A replay may hold on to at for long, and needs no message of it. mu is held.
func (r *retained) close(at *retainedMessage) {
	at.over = true
	r.unwatch(at)
	r.letGo(at)
}

// shed lets go of the oldest messages beyond what may be in memory that can be read back. mu is held.
func (r *retained) shed() {
	c := &r.cache
	for c.list.len() > 0 {
		at := *c.list.at(0)
		if m := at.message(); m != nil {
			if r.vhost.broker.retainedBytes.Load() <= retainedInMemory || !m.Stored() {
				break
			}
			r.letGo(at)
		}
		c.list.popFront()
	}
	if c.list.len() <= 2*c.n+dequeMin {
		return
	}
	for range c.list.len() { // most have let go, behind one that has not
		if at := c.list.popFront(); at.message() != nil {
			c.list.pushBack(at)
		}
	}
}

// keepRead keeps messages that were read from the store, while there is room. mu is not held.
func (r *retained) keepRead(batch []*retainedMessage, messages []*Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, m := range messages {
		at := batch[i]
		if m != nil && at.message() == nil && !at.over && r.vhost.broker.retainedBytes.Load()+int64(m.Size())+messageCost <= retainedInMemory {
			r.keep(at, m)
		}
	}
}
