package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// retained is a vhost's retained messages: for each key of the topic exchange the last one that was published to be kept. Each lives
// at a place of a queue that nobody consumes, of which the store knows the keys: the message is stored once, whoever else it is for, and
// its successor ends it. Where the store does not know the key a definition says which place is its. No session has a part in it
// [MQTT-3.1.1 3.1.2-7], nor has a message that is not to be retained [MQTT-3.3.1-8].
type retained struct {
	vhost *VHost

	mu    sync.Mutex // below vhost.mu, above replays.mu and every queue.mu
	id    QueueID    // of that queue; 0 until the first message comes
	next  Seq
	tree  retainedTree
	ended bool // the vhost was deleted: nothing is kept any more
	cache retainedCache
}

// retainedMessage is one that is kept, or was, and the node of its key. There may be millions: what most have no use for is in more.
type retainedMessage struct {
	key    string
	seq    Seq       // 0: there is none, keys only part here
	below  *branches // of the keys that this one is the beginning of
	more   *retainedMore
	over   bool  // it was replaced or cleared
	level  Level // of the message; known if missed is set
	missed bool  // when it was published, a subscriber for which nobody keeps it could not take it
}

// retainedMore is what is known of a message that is in memory or that expires.
type retainedMore struct {
	msg     *Message // nil: to be loaded
	expires int64    // as Message.Expires
	alarm   *alarm   // of one that expires
}

// newRetained returns a message that is to be kept at a place, and which expires then.
func newRetained(key string, seq Seq, expires int64) *retainedMessage {
	at := &retainedMessage{key: key, seq: seq}
	if expires != 0 {
		at.more = &retainedMore{expires: expires}
	}
	return at
}

// message returns the message if it is in memory.
func (at *retainedMessage) message() *Message {
	if at.more == nil {
		return nil
	}
	return at.more.msg
}

// expires is as Message.Expires.
func (at *retainedMessage) expires() int64 {
	if at.more == nil {
		return 0
	}
	return at.more.expires
}

// missing reports whether a subscription of this level may have missed the message when it was published.
func (at *retainedMessage) missing(level Level) bool {
	return at.missed && min(at.level, level) == AtMostOnce
}

// set makes m the message of its key [MQTT-3.3.1-5], or clears that if m is empty [MQTT-3.3.1-6] [MQTT-3.3.1-7]. publish publishes it, with its place and what is to be recorded
// with it, and tells whether somebody missed it. The lock is held throughout: keys and records change in one order, and who is sent
// what is kept and who is sent what is published see that order, too.
func (r *retained) set(m *Message, publish func(at *Pair, ops []Op) (missed bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		publish(nil, nil)
		return
	}
	if len(m.Body) == 0 {
		publish(nil, r.remove(r.tree.get(m.Key)))
		return
	}
	if r.id == 0 {
		r.id, r.next = KeyedID(r.vhost.broker.newQueueID()), 1
		r.vhost.broker.store.Commit([]Op{r.definition()})
	}
	at := newRetained(m.Key, r.next, m.Expires)
	at.level = m.Level()
	r.next++
	var ops []Op
	if was := r.tree.put(at); was != nil {
		ops = append(ops, r.settle(was))
		r.close(was)
	}
	r.keep(at, m)
	r.watch(at)
	r.shed()
	if !r.known(at.key) {
		ops = append(ops, r.placeDefinition(at))
	}
	at.missed = publish(&Pair{Queue: r.id, Seq: at.seq}, ops)
}

// known reports whether the store says at which place the message of a key lives.
func (r *retained) known(key string) bool { return r.id.Keyed() && len(key) <= MaxKey }

// remove clears what is kept at at, if anything is, and returns what records that. mu is held.
func (r *retained) remove(at *retainedMessage) []Op {
	if at == nil {
		return nil
	}
	r.close(at)
	r.tree.remove(at.key)
	ops := []Op{r.settle(at)}
	if !r.known(at.key) {
		ops = append(ops, Op{Kind: OpRemove, Key: r.key(at.key)})
	}
	return ops
}

// settle ends the place of at.
func (r *retained) settle(at *retainedMessage) Op {
	return Op{Kind: OpSettle, Queue: r.id, Ranges: []Range{{First: at.seq, Last: at.seq}}}
}

func (r *retained) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tree.n
}

// end returns the place of the next message, which is the first of all before the queue is made, and how many there are.
func (r *retained) end() (next Seq, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(r.next, 1), r.tree.n
}

// successor returns the message that the key of one holds now, nil if there is none. mu is held.
func (r *retained) successor(at *retainedMessage) *retainedMessage { return r.tree.get(at.key) }

// match returns the retained messages whose keys match a subscription's, in the order of their places: those from before upto, as what
// came later was published to the subscriber, and of the later ones those that not everybody got.
func (r *retained) match(spec *SubscriptionSpec, upto Seq) []*retainedMessage {
	var pattern []string
	if spec.Key != "" {
		pattern = strings.Split(spec.Key, topicSeparator)
	}
	var found []*retainedMessage
	r.mu.Lock()
	r.tree.match(pattern, func(at *retainedMessage) {
		if (at.seq < upto || at.missing(spec.Level)) && !spec.hides(at.key) {
			found = append(found, at)
		}
	})
	r.mu.Unlock()
	slices.SortFunc(found, func(a, b *retainedMessage) int { return cmp.Compare(a.seq, b.seq) })
	return slices.Compact(found)
}

// What is read from the store at once.
const (
	readSpan  = 256       // places
	readBytes = 128 << 10 // after which it ends
)

// read returns the messages of the first of a batch: as many as are in memory, or, if the first is not, what the store gives at once.
// nil stands for one that was replaced, or is damaged, which the store has said. No lock is held.
func (r *retained) read(batch []*retainedMessage) ([]*Message, error) {
	messages, missing, id := r.inMemory(batch)
	if missing == 0 {
		return messages, nil
	}
	batch = batch[:missing]
	last := batch[missing-1].seq
	entries, err := r.vhost.broker.store.Load(id, batch[0].seq, last, readSpan, readBytes)
	if err != nil {
		return nil, fmt.Errorf("read the retained message of %q back: %w", batch[0].key, err)
	}
	if len(entries) > 0 {
		last = entries[len(entries)-1].Seq // there may be more behind it
	}
	for _, at := range batch {
		if at.seq > last {
			break
		}
		for len(entries) > 0 && entries[0].Seq < at.seq {
			entries = entries[1:]
		}
		var m *Message
		if len(entries) > 0 && entries[0].Seq == at.seq {
			m = entries[0].Msg
		}
		messages = append(messages, m)
	}
	r.keepRead(batch, messages)
	return messages, nil
}

// inMemory returns the messages of a batch up to the first that is to be read from the store. If that is the very first, missing tells
// how many are to be read with it.
func (r *retained) inMemory(batch []*retainedMessage) (messages []*Message, missing int, id QueueID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	bytes := 0
	for _, at := range batch {
		m := at.message()
		if m == nil && !at.over || bytes >= readBytes {
			break
		}
		if messages = append(messages, m); m != nil {
			bytes += m.Size()
		}
	}
	if len(messages) > 0 {
		return messages, 0, r.id
	}
	for missing < len(batch) && batch[missing].message() == nil && batch[missing].seq-batch[0].seq < readSpan {
		missing++
	}
	return nil, missing, r.id
}
