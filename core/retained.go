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
// stored once, whoever else it is for, and its successor ends it.
type retained struct {
	vhost *VHost

	mu   sync.Mutex // above every queue.mu
	id   QueueID    // of that queue; 0 until the first message comes
	next Seq
	root retainedNode
	n    int
	big  deque[*retainedMessage] // with messages too large to stay in memory, oldest first
}

// retainedNode is a word of a key.
type retainedNode struct {
	words map[string]*retainedNode
	at    *retainedMessage
}

type retainedMessage struct {
	key string
	seq Seq
	msg *Message // nil: to be loaded
}

// retainCached is the largest message that stays in memory.
const retainCached = 1 << 10

// set makes m the message of its key, or clears that if m is empty, and passes what is to be recorded to commit, whose first op is
// m's own publish if there is one. The lock is held throughout, so that keys and records change in one order.
func (r *retained) set(m *Message, commit func(at *Pair, ops []Op)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ops []Op
	n := r.node(m.Key, len(m.Body) > 0)
	if n != nil && n.at != nil {
		ops = append(ops, Op{Kind: OpSettle, Queue: r.id, Ranges: []Range{{First: n.at.seq, Last: n.at.seq}}})
	}
	if len(m.Body) == 0 {
		if n != nil && n.at != nil {
			r.root.remove(strings.Split(m.Key, topicSeparator))
			r.n--
			ops = append(ops, Op{Kind: OpRemove, Key: r.key(m.Key)})
		}
		commit(nil, ops)
		return
	}
	if r.id == 0 {
		r.id, r.next = r.vhost.broker.newQueueID(), 1
		r.vhost.broker.store.Commit([]Op{r.definition()})
	}
	if n.at == nil {
		r.n++
	}
	at := Pair{Queue: r.id, Seq: r.next}
	r.next++
	n.at = &retainedMessage{key: m.Key, seq: at.Seq, msg: m}
	r.shed(n.at)
	commit(&at, append(ops, r.placeDefinition(m.Key, at.Seq)))
}

func (r *retained) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

// shed lets go of large messages that can be read back, and notes one more that will be.
func (r *retained) shed(at *retainedMessage) {
	for r.big.len() > 0 {
		if m := (*r.big.at(0)).msg; m != nil && !m.Stored() {
			break
		}
		r.big.popFront().msg = nil
	}
	if len(at.msg.Body) > retainCached {
		r.big.pushBack(at)
	}
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

// match returns the retained messages whose keys match a pattern.
func (r *retained) match(spec *SubscriptionSpec) ([]*Message, error) {
	r.mu.Lock()
	var found []*retainedMessage
	var pattern []string
	if spec.Key != "" {
		pattern = strings.Split(spec.Key, topicSeparator)
	}
	r.root.match(pattern, map[*retainedNode]bool{}, func(n *retainedNode) {
		if !spec.NoSystem || !strings.HasPrefix(n.at.key, "$") {
			found = append(found, n.at)
		}
	})
	id := r.id
	r.mu.Unlock()
	slices.SortFunc(found, func(a, b *retainedMessage) int { return cmp.Compare(a.seq, b.seq) })
	messages := make([]*Message, 0, len(found))
	for _, at := range found {
		m, err := r.load(id, at)
		if err != nil {
			return nil, err
		}
		if m != nil {
			messages = append(messages, m)
		}
	}
	return messages, nil
}

// match visits each node that holds a message and matches what is left of the pattern, once.
func (n *retainedNode) match(pattern []string, seen map[*retainedNode]bool, visit func(*retainedNode)) {
	if len(pattern) == 0 {
		if n.at != nil && !seen[n] {
			seen[n] = true
			visit(n)
		}
		return
	}
	switch pattern[0] {
	case "#":
		n.match(pattern[1:], seen, visit)
		for _, next := range n.words {
			next.match(pattern, seen, visit)
		}
	case "*":
		for _, next := range n.words {
			next.match(pattern[1:], seen, visit)
		}
	default:
		if next := n.words[pattern[0]]; next != nil {
			next.match(pattern[1:], seen, visit)
		}
	}
}

// load returns the message at a place: from memory, or from the store. nil means that it was replaced meanwhile. A message that can be
// read back leaves memory unless it is small.
func (r *retained) load(id QueueID, at *retainedMessage) (*Message, error) {
	r.mu.Lock()
	m := at.msg
	if m != nil && len(m.Body) > retainCached && m.Stored() {
		at.msg = nil
	}
	r.mu.Unlock()
	if m != nil {
		return m, nil
	}
	entries, err := r.vhost.broker.store.Load(id, at.seq, at.seq, 1, 1)
	if err != nil {
		return nil, fmt.Errorf("read the retained message of %q back: %w", at.key, err)
	}
	if len(entries) == 0 {
		return nil, nil //nolint:nilnil // replaced, or damaged, which the store has said
	}
	m = entries[0].Msg
	if len(m.Body) <= retainCached {
		r.mu.Lock()
		at.msg = m
		r.mu.Unlock()
	}
	return m, nil
}

// SendRetained sends the retained messages that match a subscription. They go through the subscriber's queue, and so within its window.
func (l *Link) SendRetained(spec SubscriptionSpec) error {
	messages, err := l.sub.vhost.retained.match(&spec)
	if err != nil {
		return err
	}
	for _, m := range messages {
		replay := &Message{
			Exchange: m.Exchange, Key: m.Key, Props: m.Props, Body: m.Body, Priority: m.Priority,
			Persistent: m.Persistent && spec.Level >= AtLeastOnce, Once: m.Once && spec.Level >= ExactlyOnce,
			Retain: true, Replayed: true,
		}
		l.session.publishOne(l.sub.queue, replay, nil, 0)
	}
	return nil
}
