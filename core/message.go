package core

import "sync/atomic"

// Message is one published message. It is built by a front-end, handed over at Publish, and immutable from then on: front-ends,
// queues and the store read it without locks, and any number of queues share one Message.
type Message struct {
	Exchange string // as published; "" is the default exchange
	Key      string // the routing key

	// Keys are further routing keys, nil of nearly all messages. Who is reached by several gets the message once; Key is what it sees.
	Keys []string

	// Props is the property block (package field). It never aliases a read buffer: Publish keeps it.
	Props []byte
	// Body is the payload. It never aliases a read buffer: Publish keeps it.
	Body []byte

	Persistent bool // to be kept across a restart, where the queue is durable
	Once       bool // of a persistent message: to be handed over exactly once where the receiver can do that
	Retain     bool // to be kept for its key by the exchange, if that keeps messages; an empty body clears
	Replayed   bool // a retained message that is delivered because somebody subscribed, not because it was published
	Priority   uint8
	Delay      int64 // milliseconds from Arrived on for which the topic exchange, or one that does so, keeps it back; 0: as its properties say
	Arrived    int64 // when it was published, in the unit of Expires; 0: nobody needed to know. Publish sets it
	Expires    int64 // Unix milliseconds of the broker's clock (Store.Now) from which on nobody gets it any more; 0: never

	origin  uint32 // serial of the subscriber that published it; 0: none, or it was read back from the store
	stored  atomic.Bool
	holders atomic.Int32 // entries in memory that hold it
}

// Size is the number of bytes the message counts for in memory and disk budgets: its payload, properties and names.
func (m *Message) Size() int {
	n := len(m.Body) + len(m.Props) + len(m.Key) + len(m.Exchange)
	for _, key := range m.Keys {
		n += len(key)
	}
	return n
}

// messageCost is what a message costs in memory beside its Size.
const messageCost = 128

// held notes one more entry that holds the message, and returns the bytes that this costs: those of the first holder.
func (m *Message) held() int64 {
	if m.holders.Add(1) == 1 {
		return int64(m.Size()) + messageCost
	}
	return 0
}

// let notes that an entry holds the message no more, and returns the bytes that this gives back: those of the last holder.
func (m *Message) let() int64 {
	if m.holders.Add(-1) == 0 {
		return int64(m.Size()) + messageCost
	}
	return 0
}

// mayExpire reports whether some queue may have to drop the message because its time is over.
func (m *Message) mayExpire() bool { return m.Expires|m.Arrived != 0 }

// again is m as it is published again: anew, and by nobody.
func (m *Message) again() *Message {
	return &Message{
		Exchange: m.Exchange, Key: m.Key, Keys: m.Keys, Props: m.Props, Body: m.Body,
		Persistent: m.Persistent, Once: m.Once, Priority: m.Priority, Expires: m.Expires,
	}
}

// Level is how surely the message's publisher wants it handed over.
func (m *Message) Level() Level {
	switch {
	case !m.Persistent:
		return AtMostOnce
	case !m.Once:
		return AtLeastOnce
	}
	return ExactlyOnce
}

// Stored reports whether the message can be read back from the store: its publish record has passed.
func (m *Message) Stored() bool { return m.stored.Load() }

// MarkStored is called by a Store once the message's publish record has passed, and on every message that the store loads.
func (m *Message) MarkStored() { m.stored.Store(true) }
