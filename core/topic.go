package core

import "strings"

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

func (r topicRouter) match(m *Message, to []*binding) []*binding {
	if r.root == nil {
		return to
	}
	from := len(to)
	to = r.root.match(m.Key, m.Key == "", to)
	return unique(to, from)
}

func (r topicRouter) with(b *binding) router {
	return topicRouter{root: r.root.with(b.spec.Key, b.spec.Key == "", b)}
}

func (r topicRouter) without(b *binding) router {
	return topicRouter{root: r.root.without(b.spec.Key, b.spec.Key == "", b)}
}

// cutWord splits the first word off a key that has one; end says that it was the last. A whole key that is empty has no word, as
// RabbitMQ has it, but "a." has two, the second empty.
func cutWord(key string) (word, rest string, end bool) {
	word, rest, more := strings.Cut(key, topicSeparator)
	return word, rest, !more
}

// match appends what matches the words of key from here on; end says that none is left.
func (n *topicNode) match(key string, end bool, to []*binding) []*binding {
	if n.hash != nil {
		to = n.hash.matchHash(key, end, to)
	}
	if end {
		return append(to, n.here...)
	}
	word, rest, last := cutWord(key)
	if next, ok := n.words.get(word); ok {
		to = next.match(rest, last, to)
	}
	if n.star != nil {
		to = n.star.match(rest, last, to)
	}
	return to
}

// matchHash appends what matches after a #, which may take any number of the words that are left.
func (n *topicNode) matchHash(key string, end bool, to []*binding) []*binding {
	// A pattern that ends with # takes everything; this is also where a # that stands before other words takes the whole rest.
	if n.words.len() == 0 && n.star == nil && n.hash == nil {
		return append(to, n.here...)
	}
	for {
		to = n.match(key, end, to)
		if end {
			return to
		}
		_, key, end = cutWord(key)
	}
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

// unique drops repeated bindings from list[from:]: several paths through # reach the same pattern.
func unique(list []*binding, from int) []*binding {
	found := list[from:]
	if len(found) < 2 {
		return list
	}
	if len(found) > 32 {
		return append(list[:from], uniqueByMap(found)...)
	}
	kept := found[:0]
outer:
	for _, b := range found {
		for _, k := range kept {
			if k == b {
				continue outer
			}
		}
		kept = append(kept, b)
	}
	return list[:from+len(kept)]
}

func uniqueByMap(found []*binding) []*binding {
	seen := make(map[*binding]struct{}, len(found))
	kept := found[:0]
	for _, b := range found {
		if _, ok := seen[b]; !ok {
			seen[b] = struct{}{}
			kept = append(kept, b)
		}
	}
	return kept
}
