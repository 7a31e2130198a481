package bridge

import (
	"bytes"
	"strings"
)

// Pattern returns the binding pattern of a topic filter, which stands for that
// filter alone [MQTT-4.7.3-4]. The filter of a shared
// subscription is to be given without $share and the share's name.
func Pattern(filter string) (string, error) {
	if !strings.ContainsAny(filter, `/.+*\`) {
		return filter, nil
	}
	rest := []byte(filter)
	whole := bytes.IndexByte(rest, '/') < 0
	if first, ok := strings.CutSuffix(filter, "/#"); ok && ambiguous([]byte(first)) {
		return "", ErrFilter
	}
	pattern := make([]byte, 0, len(filter))
	for more := true; more; {
		var level []byte
		level, rest, more = bytes.Cut(rest, []byte("/"))
		switch string(level) {
		case "+":
			pattern = append(pattern, '*')
		case "#":
			pattern = append(pattern, '#')
		default:
			from := len(pattern)
			pattern = appendWord(pattern, level, whole)
			if word := string(pattern[from:]); word == "*" || word == "#" {
				return "", ErrFilter
			}
		}
		if more {
			pattern = append(pattern, '.')
		}
	}
	return string(pattern), nil
}

// ambiguous reports whether level stands for one word as a whole topic and for
// another as a part of one. Followed by /# it is to match both.
func ambiguous(level []byte) bool {
	if !bytes.HasPrefix(level, []byte(escape)) || bytes.IndexByte(level, '/') >= 0 {
		return false
	}
	return !bytes.Equal(appendWord(nil, level, true), appendWord(nil, level, false))
}

// Hidden reports whether a topic, or its key, must be kept from a subscription
// whose filter matches it [MQTT-4.7.2-1].
func Hidden(filter, topic string) bool {
	return topic != "" && topic[0] == '$' && LeadingWildcard(filter)
}

// LeadingWildcard reports whether the first level of a filter is a wildcard:
// only then can [Hidden] be true of it.
func LeadingWildcard(filter string) bool {
	return filter != "" && (filter[0] == '+' || filter[0] == '#') && (len(filter) == 1 || filter[1] == '/')
}

// Match reports whether an MQTT filter matches a topic name (section 4.7),
// [Hidden] included. It is for single questions; many filters belong into the
// engine's topic matching.
func Match(filter, topic string) bool {
	if Hidden(filter, topic) {
		return false
	}
	for {
		level, filters, moreFilters := strings.Cut(filter, "/")
		if level == "#" {
			return true
		}
		name, topics, moreTopics := strings.Cut(topic, "/")
		if level != "+" && level != name {
			return false
		}
		if !moreTopics {
			return !moreFilters || filters == "#" // the parent
		}
		if !moreFilters {
			return false
		}
		filter, topic = filters, topics
	}
}
