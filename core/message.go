package core

import "sync/atomic"

// Message is one published message. It is built by a front-end, handed over at Publish, and immutable from then on: front-ends,
// queues and the store read it without locks, and any number of queues share one Message.
type Message struct {
	Exchange string // as published; "" is the default exchange
	Key      string // the routing key

	// Props is the property block (package field). It never aliases a read buffer: Publish keeps it.
	Props []byte
	// Body is the payload. It never aliases a read buffer: Publish keeps it.
	Body []byte

	Persistent bool // to be kept across a restart, where the queue is durable
	Priority   uint8

	stored atomic.Bool
}

// Size is the number of bytes the message counts for in memory and disk budgets: its payload, properties and names.
func (m *Message) Size() int {
	return len(m.Body) + len(m.Props) + len(m.Key) + len(m.Exchange)
}

// Stored reports whether the message can be read back from the store: its publish record has passed.
func (m *Message) Stored() bool { return m.stored.Load() }

// MarkStored is called by a Store once the message's publish record has passed, and on every message that the store loads.
func (m *Message) MarkStored() { m.stored.Store(true) }
