package core

import (
	"slices"
	"strings"
)

// topicRouter follows the bindings whose pattern matches the routing key: words separated by dots, * for exactly one word, # for any
// number of words, also none (AMQP 0-9-1, 3.1.3.3). It is a trie of words with path copying: cost grows with the words of the key and
// with the matches, not with the number of bindings.
type topicRouter struct{ root *topicNode }

// topicNode is immutable.
type topicNode struct {
	words pmap[*topicNode]
	star  *topicNode // under *
	hash  *topicNode // under #
	here  []*binding // patterns that end here
}

const topicSeparator = "."

func (r topicRouter) match(m *Message, to []*binding, p *pace) []*binding {
	if r.root == nil {
		return to
	}
	to = r.matchKey(m.Key, to, p)
	if m.Keys != nil {
		for _, key := range m.Keys {
			to = r.matchKey(key, to, p)
		}
		to = uniqueBindings(to)
	}
	return to
}

// matchKey walks the trie with all words at once: in active are the nodes reached by exactly the words so far, in sticky those under a #
// that was reached, which may take any number of words and so are never left. A node has one way into it, so that none is reached
// twice by one word; and whatever the patterns are, the work is at most words times nodes. Patterns that end in # cost that of their
// other words alone.
func (r topicRouter) matchKey(key string, to []*binding, p *pace) []*binding {
	var buf [3][8]*topicNode
	active, next, sticky := buf[0][:0], buf[1][:0], stickyNodes{list: buf[2][:0]}
	active, sticky = r.root.enter(active, sticky)
	for end := key == ""; !end; {
		var word hashedWord
		word.text, key, end = cutWord(key)
		next = next[:0]
		waiting := sticky.list // what a # is reached by now takes only the words to come
		for _, n := range active {
			next, sticky = n.step(&word, next, sticky)
		}
		for _, n := range waiting {
			next, sticky = n.step(&word, next, sticky)
		}
		if p != nil {
			p.did(len(active) + len(waiting))
		}
		active, next = next, active
	}
	for _, n := range active {
		to = append(to, n.here...)
	}
	for _, n := range sticky.list {
		to = append(to, n.here...)
	}
	if sticky.more != nil {
		for _, n := range sticky.more.leaves {
			to = append(to, n.here...)
		}
	}
	return to
}

// hashedWord is a word of a key that may be looked up under many nodes.
type hashedWord struct {
	text   string
	hash   uint64
	hashed bool
}

// under returns the node of the word.
func (w *hashedWord) under(words *pmap[*topicNode]) (*topicNode, bool) {
	if words.root == nil {
		return nil, false
	}
	if !w.hashed {
		w.hash, w.hashed = pmapHash(w.text), true
	}
	return words.find(w.text, w.hash)
}

// enter adds n to the nodes reached, and what follows a # there to those that stay.
func (n *topicNode) enter(active []*topicNode, sticky stickyNodes) ([]*topicNode, stickyNodes) {
	if n.hash != nil {
		sticky = sticky.with(n.hash)
	}
	return append(active, n), sticky
}

// step enters the nodes that word leads to.
func (n *topicNode) step(word *hashedWord, next []*topicNode, sticky stickyNodes) ([]*topicNode, stickyNodes) {
	if child, ok := word.under(&n.words); ok {
		next, sticky = child.enter(next, sticky)
	}
	if n.star != nil {
		next, sticky = n.star.enter(next, sticky)
	}
	return next, sticky
}

// stickyNodes is a set in the order in which it was filled. It is handed on by value: a pointer to it would cost every match an
// allocation.
type stickyNodes struct {
	list []*topicNode
	more *stickySet // once the list is too long to be looked through for each node
}

// A stickySet is what a long list of stickyNodes has beside it.
type stickySet struct {
	leaves []*topicNode            // nodes that lead nowhere, which need not be stepped from: not in the list
	seen   map[*topicNode]struct{} // all that are below a node of the list, and so may be reached again; nil: none is
}

// with adds n, in place.
func (s stickyNodes) with(n *topicNode) stickyNodes {
	const long = 32
	if len(s.list) < long && s.more == nil {
		if !slices.Contains(s.list, n) {
			s.list = append(s.list, n)
		}
		return s
	}
	return s.withMore(n)
}

// withMore is with for a long list.
func (s stickyNodes) withMore(n *topicNode) stickyNodes {
	if s.more == nil {
		if slices.Contains(s.list, n) {
			return s
		}
		s.more = newStickySet(s.list)
	}
	if s.more.has(n) {
		return s
	}
	if n.leads() {
		s.more.watch()
		s.list = append(s.list, n)
	} else {
		s.more.leaves = append(s.more.leaves, n)
	}
	return s
}

func newStickySet(list []*topicNode) *stickySet {
	s := new(stickySet)
	if slices.ContainsFunc(list, (*topicNode).leads) {
		s.watch()
		for _, n := range list {
			s.seen[n] = struct{}{}
		}
	}
	return s
}

// watch begins to tell whether nodes are reached again: from now on there is one that they may be below.
func (s *stickySet) watch() {
	if s.seen == nil {
		s.seen = make(map[*topicNode]struct{})
	}
}

// has reports whether n was reached before, and notes that it is now.
func (s *stickySet) has(n *topicNode) bool {
	if s.seen == nil {
		return false
	}
	_, there := s.seen[n]
	s.seen[n] = struct{}{}
	return there
}

// leads reports whether anything follows n.
func (n *topicNode) leads() bool { return n.star != nil || n.hash != nil || n.words.len() > 0 }

func (r topicRouter) with(b *binding) router {
	return topicRouter{root: r.root.with(b.key, b.key == "", b)}
}

func (r topicRouter) without(b *binding) router {
	return topicRouter{root: r.root.without(b.key, b.key == "", b)}
}

func (r topicRouter) adding(b *binding) router {
	if r.root == nil {
		r.root = new(topicNode)
	}
	r.root.add(b)
	return r
}

// cutWord splits the first word off a key that has one; end says that it was the last. A whole key that is empty has no word, as
// RabbitMQ has it, but "a." has two, the second empty.
func cutWord(key string) (word, rest string, end bool) {
	word, rest, more := strings.Cut(key, topicSeparator)
	return word, rest, !more
}

// with returns the node with b's pattern added below it. Runs of # are one #: they match the same and would multiply the work.
func (n *topicNode) with(pattern string, end bool, b *binding) *topicNode {
	next := new(topicNode)
	if n != nil {
		*next = *n
	}
	if end {
		next.here = appended(next.here, b)
		return next
	}
	word, rest, last := cutPattern(pattern)
	switch word {
	case "*":
		next.star = next.star.with(rest, last, b)
	case "#":
		next.hash = next.hash.with(rest, last, b)
	default:
		child, _ := next.words.get(word)
		next.words = next.words.with(word, child.with(rest, last, b))
	}
	return next
}

// add adds b's pattern below the node, in place.
func (n *topicNode) add(b *binding) {
	for pattern, end := b.key, b.key == ""; !end; {
		var word string
		word, pattern, end = cutPattern(pattern)
		next := n.next(word)
		if *next == nil {
			*next = new(topicNode)
		}
		n = *next
	}
	n.here = append(n.here, b)
}

// next returns where the node is that follows under a word of a pattern, for a change in place.
func (n *topicNode) next(word string) **topicNode {
	switch word {
	case "*":
		return &n.star
	case "#":
		return &n.hash
	}
	return n.words.at(word)
}

// find returns the binding of a pattern, nil when there is none. A run of # is another pattern than one #, although both end here.
func (n *topicNode) find(pattern string) *binding {
	for rest, end := pattern, pattern == ""; n != nil && !end; {
		var word string
		word, rest, end = cutPattern(rest)
		switch word {
		case "*":
			n = n.star
		case "#":
			n = n.hash
		default:
			n, _ = n.words.get(word)
		}
	}
	if n == nil {
		return nil
	}
	for _, b := range n.here {
		if b.key == pattern {
			return b
		}
	}
	return nil
}

// all yields every binding at and below the node.
func (n *topicNode) all(yield func(*binding) bool) bool {
	if n == nil {
		return true
	}
	for _, b := range n.here {
		if !yield(b) {
			return false
		}
	}
	for _, child := range n.words.all() {
		if !child.all(yield) {
			return false
		}
	}
	return n.star.all(yield) && n.hash.all(yield)
}

// without returns the node without b's pattern, nil when nothing is left of it.
func (n *topicNode) without(pattern string, end bool, b *binding) *topicNode {
	if n == nil {
		return nil
	}
	next := *n
	if end {
		next.here = removed(next.here, b)
		return next.orNil()
	}
	word, rest, last := cutPattern(pattern)
	switch word {
	case "*":
		next.star = next.star.without(rest, last, b)
	case "#":
		next.hash = next.hash.without(rest, last, b)
	default:
		child, _ := next.words.get(word)
		if child = child.without(rest, last, b); child != nil {
			next.words = next.words.with(word, child)
		} else {
			next.words = next.words.without(word)
		}
	}
	return next.orNil()
}

func (n *topicNode) orNil() *topicNode {
	if len(n.here) == 0 && n.star == nil && n.hash == nil && n.words.len() == 0 {
		return nil
	}
	return n
}

// cutPattern is cutWord that takes a run of # as one.
func cutPattern(pattern string) (word, rest string, end bool) {
	word, rest, end = cutWord(pattern)
	for word == "#" && !end {
		next, after, last := cutWord(rest)
		if next != "#" {
			break
		}
		rest, end = after, last
	}
	return word, rest, end
}

// untaken is a key or a pattern of which some words were taken.
type untaken struct {
	rest string
	end  bool
}

func (u untaken) cut() (word string, _ untaken) {
	word, rest, end := cutWord(u.rest)
	return word, untaken{rest, end}
}

// matches reports whether a topic pattern matches key, without a trie. Where it does not go on, the # that was met last takes one
// more word; an earlier one need not, as what it could take the last one can.
func matches(pattern, key string) bool {
	p, k := untaken{pattern, pattern == ""}, untaken{key, key == ""}
	var behind, left untaken // the last #, and what it has left of the key
	hash := false
	for !p.end || !k.end {
		if !p.end {
			word, rest := p.cut()
			if word == "#" {
				p, hash = rest, true
				behind, left = p, k
				continue
			}
			if !k.end {
				if next, after := k.cut(); word == "*" || word == next {
					p, k = rest, after
					continue
				}
			}
		}
		if !hash || left.end {
			return false
		}
		_, left = left.cut()
		p, k = behind, left
	}
	return true
}
