package core

import (
	"encoding/binary"
	"iter"
	"time"

	"github.com/batonmq/baton/core/field"
)

// QueueInfo describes a queue as it was at one moment.
type QueueInfo struct {
	VHost, Name                    string
	Type                           string // ClassicType or QuorumType
	Durable, AutoDelete, Exclusive bool
	Owner                          *Session    // of an exclusive queue, if its connection is there
	Subscriber                     string      // whose queue it is, with its subscriptions as bindings; empty: nobody's
	Shared                         bool        // it is a shared subscription's
	Args                           field.Table // not to be changed
	Policy                         PolicyEffect
	Settings                       *QueueSettings // what both amount to; nil: nothing. Not to be changed

	QueueStats
	InMemory      int   // of what waits, or comes back, those that are not in the store alone
	InMemoryBytes int64 // the sum of their bodies' sizes
	HeadTime      int64 // Unix seconds that the next message's publisher gave it; 0: none, or it is not in memory

	Consumers         int
	ExclusiveConsumer bool      // the one there is lets no other beside it
	SingleActive      bool      // one of them is active at a time
	ActiveTag         string    // that one's tag, if it has one
	Stalled           bool      // it has consumers and messages, and none of the consumers can take one
	StalledSince      time.Time // if it is: when one took a message, or tried to, last
	Capacity          float64   // how much of the last minute, about, a consumer could take what was ready; 0 without consumers
}

// Memory is about how many bytes of memory the queue's messages take.
func (i *QueueInfo) Memory() int64 {
	return i.InMemoryBytes + int64(i.InMemory+i.Unsettled)*(entryCost+messageCost)
}

// Queues yields the queues of a vhost, in no order.
func (b *Broker) Queues(vhost string) iter.Seq[*Queue] {
	return func(yield func(*Queue) bool) {
		v := b.vhost(vhost)
		if v == nil {
			return
		}
		for _, q := range v.queues.Load().all() {
			if !yield(q) {
				return
			}
		}
	}
}

// AllQueues yields the queues of all vhosts, in no order.
func (b *Broker) AllQueues() iter.Seq[*Queue] { return b.allQueues() }

// Queue returns a queue, nil if there is none of that name.
func (b *Broker) Queue(vhost, name string) *Queue {
	if v := b.vhost(vhost); v != nil {
		return v.queue(name)
	}
	return nil
}

// Name is the queue's.
func (q *Queue) Name() string { return q.spec.Name }

// IsSubscribers reports whether the queue is a subscriber's, or a shared subscription's.
func (q *Queue) IsSubscribers() bool { return q.isSubscribers() }

// VHost is the name of the vhost that the queue is in.
func (q *Queue) VHost() string { return q.vhost.name }

// Info describes the queue. false: it is gone.
func (q *Queue) Info() (info QueueInfo, ok bool) {
	info = QueueInfo{
		VHost: q.vhost.name, Name: q.spec.Name, Type: ClassicType,
		Durable: q.spec.Durable, AutoDelete: q.spec.AutoDelete, Exclusive: q.spec.Exclusive,
		Owner: q.owner, Args: q.spec.Args, Policy: q.governed.Load().effect(), Settings: q.settings.Load(),
	}
	if t, _ := stringArg(q.spec.Args, argQueueType); t == QuorumType {
		info.Type = QuorumType
	}
	if q.isSubscribers() {
		q.describeOwner(&info)
	}
	head, ok := q.count(&info)
	info.HeadTime = publishedAt(head)
	return info, ok
}

// describeOwner tells whose the queue is. One that outlives connections is no connection's own.
func (q *Queue) describeOwner(info *QueueInfo) {
	if info.Shared = q.subscriber == nil; info.Shared {
		info.Durable, info.Exclusive = q.isDurable(), false
		return
	}
	info.Subscriber = q.subscriber.name
	if info.Exclusive = !info.Durable; !info.Exclusive {
		return
	}
	if l := q.subscriber.link.Load(); l != nil {
		info.Owner = l.session
	}
}

// count copies what the queue's lock guards, and returns the properties of the next message if that is at hand.
func (q *Queue) count(info *QueueInfo) (head []byte, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	info.QueueStats = q.stats
	info.InMemory, info.InMemoryBytes = q.stats.Ready, q.stats.ReadyBytes
	for l := range q.lanes {
		info.InMemory -= l.cold.n
		info.InMemoryBytes -= l.cold.bytes
	}
	info.Consumers, info.SingleActive = len(q.consumers), q.single
	info.ExclusiveConsumer = q.exclusive && len(q.consumers) > 0
	if since, stalled := q.stalled(); stalled {
		info.Stalled, info.StalledSince = true, q.vhost.broker.trouble.at(since)
	}
	info.Capacity = q.capacity()
	if q.active != nil && !q.active.retired {
		info.ActiveTag = q.active.spec.Tag
	} else if info.ExclusiveConsumer {
		info.ActiveTag = q.consumers[0].spec.Tag
	}
	if e := q.front().peek(); e != nil {
		head = e.msg.Props
	}
	return head, !q.deleted
}

// publishedAt is the timestamp of a message with these properties, 0 if it has none.
func publishedAt(props []byte) int64 {
	if len(props) == 0 {
		return 0
	}
	content, ok := field.FindProperty(props, field.Time)
	if !ok || len(content) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(content))
}

// ConsumerInfo describes a consumer.
type ConsumerInfo struct {
	Tag       string
	Session   *Session // whose it is
	Channel   uint16   // its number; 0: its protocol has none
	NoAck     bool
	Exclusive bool
	Single    bool // one consumer of the queue is active at a time
	Active    bool // it may be served: where one consumer is active at a time it is that one
	Prefetch  int  // deliveries that it may have outstanding, by its own limit; 0: it has none
	Priority  int64
	Args      field.Table // not to be changed

	Unacked int       // deliveries that its client has not answered for; of a subscriber: all that it has
	Lack    Lack      // why it can be given no more
	Since   time.Time // since when; zero: it can
}

// Consumers returns the queue's consumers, in the order of their making.
func (q *Queue) Consumers() []ConsumerInfo {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.consumers) == 0 {
		return nil
	}
	infos := make([]ConsumerInfo, len(q.consumers))
	for i, c := range q.consumers {
		infos[i] = ConsumerInfo{
			Tag: c.spec.Tag, Session: c.session, Channel: c.spec.Channel, NoAck: c.spec.NoAck, Exclusive: c.spec.Exclusive,
			Single: q.single, Active: !c.retired && (!q.single || q.active == c), Prefetch: c.prefetch(), Priority: c.priority, Args: c.spec.Args,
		}
		if !c.spec.NoAck {
			infos[i].Unacked = int(c.spec.Window.used.Load())
		}
		if !c.listed && c.lack != LacksNothing {
			infos[i].Lack, infos[i].Since = c.lack, q.vhost.broker.trouble.at(c.since)
		}
	}
	return infos
}

// prefetch is the limit that the client has set for the consumer alone; 0: none.
func (c *Consumer) prefetch() int {
	if c.lent || c.spec.NoAck {
		return 0
	}
	return int(c.spec.Window.limit.Load())
}
