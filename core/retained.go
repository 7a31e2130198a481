package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// retained is a vhost's retained messages: for each key of the topic exchange the last one that was published to be kept. Each lives
// at a place of a queue that nobody consumes, together with a definition that says which place belongs to which key: the message is
// stored once, whoever else it is for, and its successor ends it. No session has a part in it [MQTT-3.1.1 3.1.2-7], nor has a message
// that is not to be retained [MQTT-3.3.1-8].
type retained struct {
	vhost *VHost

	mu    sync.Mutex // below vhost.mu, above replays.mu and every queue.mu
	id    QueueID    // of that queue; 0 until the first message comes
	next  Seq
	root  retainedNode
	n     int
	ended bool // the vhost was deleted: nothing is kept any more
	cache retainedCache
}

// retainedNode is a word of a key.
type retainedNode struct {
	words map[string]*retainedNode
	at    *retainedMessage
}

type retainedMessage struct {
	key    string
	seq    Seq
	msg    *Message // nil: to be loaded
	over   bool     // it was replaced or cleared
	level  Level    // of msg; known if missed is set
	missed bool     // when it was published, a subscriber for which nobody keeps it could not take it

	expires int64  // as Message.Expires
	alarm   *alarm // of one that expires
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
	var ops []Op
	n := r.node(m.Key, len(m.Body) > 0)
	if n != nil && n.at != nil {
		ops = append(ops, Op{Kind: OpSettle, Queue: r.id, Ranges: []Range{{First: n.at.seq, Last: n.at.seq}}})
		r.close(n.at)
		r.unwatch(n.at)
		r.n--
	}
	if len(m.Body) == 0 {
		if n != nil && n.at != nil {
			r.root.remove(strings.Split(m.Key, topicSeparator))
			ops = append(ops, Op{Kind: OpRemove, Key: r.key(m.Key)})
		}
		publish(nil, ops)
		return
	}
	if r.id == 0 {
		r.id, r.next = r.vhost.broker.newQueueID(), 1
		r.vhost.broker.store.Commit([]Op{r.definition()})
	}
	r.n++
	at := Pair{Queue: r.id, Seq: r.next}
	r.next++
	n.at = &retainedMessage{key: m.Key, seq: at.Seq, level: m.Level(), expires: m.Expires}
	r.keep(n.at, m)
	r.watch(n.at)
	r.shed()
	n.at.missed = publish(&at, append(ops, r.placeDefinition(n.at)))
}

func (r *retained) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

// end returns the place of the next message, which is the first of all before the queue is made, and how many there are.
func (r *retained) end() (next Seq, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(r.next, 1), r.n
}

// successor returns the message that the key of one holds now, nil if there is none. mu is held.
func (r *retained) successor(at *retainedMessage) *retainedMessage {
	if n := r.node(at.key, false); n != nil {
		return n.at
	}
	return nil
}

// node finds the node of a key, and makes it if asked to.
func (r *retained) node(key string, create bool) *retainedNode {
	n := &r.root
	for word := range strings.SplitSeq(key, topicSeparator) {
		next := n.words[word]
		if next == nil {
			if !create {
				return nil
			}
			if n.words == nil {
				n.words = map[string]*retainedNode{}
			}
			next = new(retainedNode)
			n.words[word] = next
		}
		n = next
	}
	return n
}

// remove clears the message under words and drops the nodes that nothing needs any more. It reports whether n is one of them.
func (n *retainedNode) remove(words []string) (empty bool) {
	if len(words) == 0 {
		n.at = nil
	} else if next := n.words[words[0]]; next.remove(words[1:]) {
		delete(n.words, words[0])
	}
	return n.at == nil && len(n.words) == 0
}

// match returns the retained messages whose keys match a subscription's, in the order of their places: those from before upto, as what
// came later was published to the subscriber, and of the later ones those that not everybody got.
func (r *retained) match(spec *SubscriptionSpec, upto Seq) []*retainedMessage {
	var pattern []string
	if spec.Key != "" {
		pattern = strings.Split(spec.Key, topicSeparator)
	}
	var found []*retainedMessage
	r.mu.Lock()
	r.root.match(pattern, func(at *retainedMessage) {
		if (at.seq < upto || at.missing(spec.Level)) && !spec.hides(at.key) {
			found = append(found, at)
		}
	})
	r.mu.Unlock()
	slices.SortFunc(found, func(a, b *retainedMessage) int { return cmp.Compare(a.seq, b.seq) })
	return slices.Compact(found)
}

// match visits the messages that match what is left of the pattern; one that matches in several ways, as often.
func (n *retainedNode) match(pattern []string, visit func(*retainedMessage)) {
	if len(pattern) == 0 {
		if n.at != nil {
			visit(n.at)
		}
		return
	}
	switch pattern[0] {
	case "#":
		n.match(pattern[1:], visit)
		for _, next := range n.words {
			next.match(pattern, visit)
		}
	case "*":
		for _, next := range n.words {
			next.match(pattern[1:], visit)
		}
	default:
		if next := n.words[pattern[0]]; next != nil {
			next.match(pattern[1:], visit)
		}
	}
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
		if at.msg == nil && !at.over || bytes >= readBytes {
			break
		}
		if messages = append(messages, at.msg); at.msg != nil {
			bytes += at.msg.Size()
		}
	}
	if len(messages) > 0 {
		return messages, 0, r.id
	}
	for missing < len(batch) && batch[missing].msg == nil && batch[missing].seq-batch[0].seq < readSpan {
		missing++
	}
	return nil, missing, r.id
}
