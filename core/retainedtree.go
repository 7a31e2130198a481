package core

import (
	"hash/maphash"
	"strings"
)

// retainedTree finds retained messages by their keys and by patterns. It is a tree of words in which words that nothing parts are one
// node: there may be millions of keys, most of which differ from others in one word. A message that is kept is itself the node of its
// key; only where keys part that are none themselves there are nodes that hold no message. So a key takes one object, and one place in a
// table of those that share the words before it.
type retainedTree struct {
	top *branches
	n   int // messages
}

// get returns the message of a key, nil if there is none.
func (t *retainedTree) get(key string) *retainedMessage {
	for b, from := t.top, 0; b != nil; {
		slot := b.slot(wordAt(key, from), from)
		if slot == nil {
			return nil
		}
		n := *slot
		if len(n.key) >= len(key) {
			if n.key == key && n.holds() {
				return n
			}
			return nil
		}
		if !within(n.key, key) {
			return nil
		}
		b, from = n.below, len(n.key)+1
	}
	return nil
}

// put makes at the message of its key, and returns the one that was it.
func (t *retainedTree) put(at *retainedMessage) (was *retainedMessage) {
	b, from := grown(&t.top), 0
	for {
		slot := b.slot(wordAt(at.key, from), from)
		if slot == nil {
			b.add(at, from)
			t.n++
			return nil
		}
		n := *slot
		common := commonWords(n.key, at.key, from)
		switch common {
		case len(n.key):
			if common < len(at.key) {
				b, from = grown(&n.below), common+1
				continue
			}
			at.key, at.below, n.below = n.key, n.below, nil // one string for all that come and go
			*slot = at
			if n.holds() {
				return n
			}
		case len(at.key):
			grown(&at.below).add(n, common+1)
			*slot = at
		default:
			inner := &retainedMessage{key: n.key[:common]}
			grown(&inner.below).add(n, common+1)
			inner.below.add(at, common+1)
			*slot = inner
		}
		t.n++
		return nil
	}
}

// grown returns the branches at b, made where there are none.
func grown(b **branches) *branches {
	if *b == nil {
		*b = new(branches)
	}
	return *b
}

// remove takes the message of a key out, if there is one, and the nodes that nothing needs any more.
func (t *retainedTree) remove(key string) {
	var above **retainedMessage // the node that b is below
	for b, from := t.top, 0; b != nil; {
		slot := b.slot(wordAt(key, from), from)
		if slot == nil {
			return
		}
		n := *slot
		if len(n.key) < len(key) && within(n.key, key) {
			above, b, from = slot, n.below, len(n.key)+1
			continue
		}
		if n.key != key || !n.holds() {
			return
		}
		t.n--
		*slot = &retainedMessage{key: n.key, below: n.below} // n itself may be in the list of a replay
		if n.below = nil; !shorten(slot) {
			b.drop(slot, from)
			if above != nil {
				shorten(above)
			}
		}
		return
	}
}

// shorten takes out a node that holds no message and parts nothing: what is below it takes its place. It reports false if there is
// nothing below it either.
func shorten(slot **retainedMessage) (stays bool) {
	n := *slot
	if n.below != nil && n.below.n == 0 {
		n.below = nil
	}
	switch {
	case n.holds():
	case n.below == nil:
		return false
	case n.below.n == 1:
		n.below.all(func(only *retainedMessage) { *slot = only })
	}
	return true
}

// match visits the messages that match a pattern; one that matches in several ways, as often.
func (t *retainedTree) match(pattern []string, visit func(*retainedMessage)) {
	if len(pattern) > 0 && t.top != nil {
		t.top.match(0, pattern, visit)
	}
}

// match visits what matches what is left of the pattern, whose first word is to be looked for at from.
func (b *branches) match(from int, pattern []string, visit func(*retainedMessage)) {
	switch pattern[0] {
	case "#", "*":
		b.all(func(n *retainedMessage) { n.match(from, pattern, visit) })
	default:
		if slot := b.slot(pattern[0], from); slot != nil {
			(*slot).match(from, pattern, visit)
		}
	}
}

// match is the same for a node, of whose key the words from from on are to be looked at yet.
func (at *retainedMessage) match(from int, pattern []string, visit func(*retainedMessage)) {
	if from > len(at.key) {
		at.matchEnd(from, pattern, visit)
		return
	}
	if len(pattern) == 0 {
		return
	}
	word := wordAt(at.key, from)
	next := from + len(word) + 1
	switch pattern[0] {
	case "#":
		at.match(from, pattern[1:], visit)
		at.match(next, pattern, visit)
	case "*", word:
		at.match(next, pattern[1:], visit)
	}
}

// matchEnd is match when all words of the node have been looked at.
func (at *retainedMessage) matchEnd(from int, pattern []string, visit func(*retainedMessage)) {
	if len(pattern) == 0 {
		if at.holds() {
			visit(at)
		}
		return
	}
	if pattern[0] == "#" {
		at.matchEnd(from, pattern[1:], visit)
	}
	if at.below != nil {
		at.below.match(from, pattern, visit)
	}
}

// holds reports whether the node is that of a message, and not only where keys part.
func (at *retainedMessage) holds() bool { return at.seq != 0 }

// wordAt returns the word of a key that begins at from.
func wordAt(key string, from int) string {
	if end := strings.Index(key[from:], topicSeparator); end >= 0 {
		return key[from : from+end]
	}
	return key[from:]
}

// within reports whether the words of a shorter key are the first of another.
func within(shorter, key string) bool {
	return key[len(shorter)] == topicSeparator[0] && key[:len(shorter)] == shorter
}

// commonWords returns how long the words are with which both keys begin. The first behind from is the same in both.
func commonWords(a, b string, from int) int {
	short := min(len(a), len(b))
	i := from
	for i < short && a[i] == b[i] {
		i++
	}
	if (i == len(a) || a[i] == topicSeparator[0]) && (i == len(b) || b[i] == topicSeparator[0]) {
		return i
	}
	return strings.LastIndex(a[:i], topicSeparator)
}

// branches are the nodes that follow the same words, each known by the first word of its own, which begins at the same place in all of
// their keys. A few are a list; more a table in which a node stands where the hash of its word says or in the next place that is free; very
// many are parted by their hashes, so that none of the tables is large and no publisher waits for one that grows.
type branches struct {
	nodes  []*retainedMessage
	hashes []uint32 // of a table's nodes: whoever looks for one need not read the others
	n      int
	parts  *[branchParts]branches // instead of nodes
	level  uint8                  // how often they were parted above
}

const (
	branchList  = 8   // nodes of a list
	branchTable = 512 // places of the largest table

	branchBits  = 4
	branchParts = 1 << branchBits
	branchDepth = 5 // how often tables are parted: of the bits of a hash the last ones choose a place
)

//nolint:gochecknoglobals // of this process
var branchSeed = maphash.MakeSeed()

func hashWord(word string) uint32 { return uint32(maphash.String(branchSeed, word)) }

// part returns the part that a hash belongs to.
func (b *branches) part(hash uint32) *branches {
	return &b.parts[hash>>(32-branchBits*(uint(b.level)+1))&(branchParts-1)]
}

// slot returns where the node of a word is, nil if there is none.
func (b *branches) slot(word string, from int) **retainedMessage {
	if b.parts == nil && len(b.nodes) <= branchList {
		for i, n := range b.nodes {
			if wordAt(n.key, from) == word {
				return &b.nodes[i]
			}
		}
		return nil
	}
	hash := hashWord(word)
	for b.parts != nil {
		b = b.part(hash)
	}
	if len(b.nodes) <= branchList {
		for i, n := range b.nodes {
			if wordAt(n.key, from) == word {
				return &b.nodes[i]
			}
		}
		return nil
	}
	mask := uint32(len(b.nodes) - 1)
	for i := hash & mask; b.nodes[i] != nil; i = (i + 1) & mask {
		if b.hashes[i] == hash && wordAt(b.nodes[i].key, from) == word {
			return &b.nodes[i]
		}
	}
	return nil
}

// add puts in a node whose word is not there.
func (b *branches) add(n *retainedMessage, from int) {
	b.insert(n, hashWord(wordAt(n.key, from)), from)
}

func (b *branches) insert(n *retainedMessage, hash uint32, from int) {
	for b.parts != nil {
		b.n++
		b = b.part(hash)
	}
	b.n++
	switch {
	case b.n <= branchList && len(b.nodes) <= branchList:
		b.nodes = append(b.nodes, n)
		return
	case len(b.nodes) <= branchList:
		b.rebuild(4*branchList, from)
	case 4*b.n <= 3*len(b.nodes):
	case len(b.nodes) < branchTable || b.level >= branchDepth:
		b.rebuild(2*len(b.nodes), from)
	default:
		b.split(from)
		b.part(hash).insert(n, hash, from)
		return
	}
	b.place(n, hash)
}

// place puts a node into a table that has room.
func (b *branches) place(n *retainedMessage, hash uint32) {
	mask := uint32(len(b.nodes) - 1)
	i := hash & mask
	for b.nodes[i] != nil {
		i = (i + 1) & mask
	}
	b.nodes[i], b.hashes[i] = n, hash
}

// rebuild makes a list or a table one of size places.
func (b *branches) rebuild(size, from int) {
	nodes, hashes := b.nodes, b.hashes
	b.nodes, b.hashes = make([]*retainedMessage, size), make([]uint32, size)
	for i, n := range nodes {
		switch {
		case n == nil:
		case hashes == nil:
			b.place(n, hashWord(wordAt(n.key, from)))
		default:
			b.place(n, hashes[i])
		}
	}
}

// split parts a table that is full.
func (b *branches) split(from int) {
	nodes, hashes := b.nodes, b.hashes
	b.nodes, b.hashes, b.parts = nil, nil, new([branchParts]branches)
	for i := range b.parts {
		b.parts[i].level = b.level + 1
	}
	for i, n := range nodes {
		if n != nil {
			b.part(hashes[i]).insert(n, hashes[i], from)
		}
	}
}

// drop takes out the node in a slot.
func (b *branches) drop(slot **retainedMessage, from int) {
	hash := hashWord(wordAt((*slot).key, from))
	for b.parts != nil {
		if b.n--; b.n == 0 {
			b.parts = nil
			return
		}
		b = b.part(hash)
	}
	switch b.n--; {
	case b.n == 0:
		b.nodes, b.hashes = nil, nil
		return
	case len(b.nodes) <= branchList:
		last := len(b.nodes) - 1
		*slot, b.nodes[last] = b.nodes[last], nil
		b.nodes = b.nodes[:last]
		return
	}
	// What stands behind and would not be found any more moves up.
	mask := uint32(len(b.nodes) - 1)
	i := hash & mask
	for &b.nodes[i] != slot {
		i = (i + 1) & mask
	}
	for j := i; ; {
		j = (j + 1) & mask
		n := b.nodes[j]
		if n == nil {
			break
		}
		if (j-b.hashes[j])&mask >= (j-i)&mask {
			b.nodes[i], b.hashes[i], i = n, b.hashes[j], j
		}
	}
	b.nodes[i] = nil
	if 8*b.n <= len(b.nodes) && len(b.nodes) > 4*branchList {
		b.rebuild(len(b.nodes)/2, from)
	}
}

// all visits every node.
func (b *branches) all(visit func(*retainedMessage)) {
	if b.parts != nil {
		for i := range b.parts {
			b.parts[i].all(visit)
		}
		return
	}
	for _, n := range b.nodes {
		if n != nil {
			visit(n)
		}
	}
}
