package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// An ACL file's rules become the two patterns of a topic permission at amq.topic.
//
// Who publishes is asked about the key of a topic. Its pattern matches the keys of
// the topics that Mosquitto would allow: one of the rules matches, and no deny.
//
// Who subscribes is asked about the binding pattern of a filter, where Mosquitto
// lets everybody subscribe to everything and looks at each message. The pattern
// allows a filter if every topic that it matches is one of a rule's, and none is one
// of a deny's: nobody gets what Mosquitto would not have delivered.
//
// As in Mosquitto a user's own rules come before those for everybody, and a deny
// before what is allowed beside it.

// What stands for %c and %u while a filter is translated: characters that no text
// has a meaning for.
const (
	clientMark = "\U000F0001"
	userMark   = "\U000F0002"
)

// aclPatterns returns the patterns of a topic permission that say what the rules do.
func aclPatterns(own, everybody []aclRule) (write, read string, err error) {
	var first, second ruleGroup
	for _, r := range own {
		first.add(r)
	}
	for _, r := range everybody {
		second.add(r)
	}
	write = combine(first.write, first.denyWrite, second.write, second.denyWrite)
	read = combine(first.read, first.denyRead, second.read, second.denyRead)
	for _, p := range []string{write, read} {
		if err := auth.ValidatePattern(p); err != nil {
			return "", "", err
		}
	}
	return write, read, nil
}

// A ruleGroup is what rules are as expressions, each from the beginning of a key.
type ruleGroup struct{ write, denyWrite, read, denyRead []string }

func (g *ruleGroup) add(r aclRule) {
	if r.access == aclDeny {
		g.denyWrite = append(g.denyWrite, keysOf(r.words))
		g.denyRead = append(g.denyRead, filtersThatMeet(r.words))
	}
	if r.access&aclWrite != 0 {
		g.write = append(g.write, keysOf(r.words))
	}
	if r.access&aclRead != 0 {
		g.read = append(g.read, filtersWithin(r.words))
	}
}

// combine makes one pattern: what is not denied, and allowed, or neither denied nor
// allowed but by the second group likewise. The empty pattern allows nothing.
func combine(allow, deny, allowSecond, denySecond []string) string {
	if len(allowSecond) > 0 && len(denySecond) > 0 {
		allowSecond = []string{"(?!" + strings.Join(denySecond, "|") + ")(?:" + strings.Join(allowSecond, "|") + ")"}
	}
	all := append(append([]string(nil), allow...), allowSecond...)
	if len(all) == 0 {
		return ""
	}
	pattern := "^"
	if len(deny) > 0 {
		pattern += "(?!" + strings.Join(deny, "|") + ")"
	}
	if len(all) == 1 {
		return pattern + all[0]
	}
	return pattern + "(?:" + strings.Join(all, "|") + ")"
}

// filterWords returns the words of a filter's binding pattern, in which marks stand
// for variables.
func filterWords(filter string, variables bool) ([]string, error) {
	if strings.Contains(filter, clientMark) || strings.Contains(filter, userMark) || !wire.ValidFilter(filter) {
		return nil, fmt.Errorf("%q is not a topic filter", filter)
	}
	if variables {
		filter = strings.NewReplacer("%c", clientMark, "%u", userMark).Replace(filter)
	}
	pattern, err := bridge.Pattern(filter)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", filter, err)
	}
	words := strings.Split(pattern, ".")
	if len(words) == 2 && words[0] == anyWord && words[1] == anyWords { // every topic has a first level
		words = words[1:]
	}
	return words, nil
}

// The wildcards of a binding pattern.
const (
	anyWord  = "*"
	anyWords = "#"
)

// literal is a word that stands for itself, but for variables.
func literal(word string) string {
	return strings.NewReplacer(clientMark, "{client_id}", userMark, "{username}").Replace(regexp.QuoteMeta(word))
}

// keysOf matches the keys that words do. Topics with a $ at their beginning are not
// those of a wildcard there [MQTT-4.7.2-1].
func keysOf(words []string) string {
	return wordByWord(words, func(first bool, word string) string {
		switch {
		case word != anyWord:
			return literal(word)
		case first:
			return "(?:[^.$][^.]*)?"
		}
		return "[^.]*"
	})
}

// filtersWithin matches the binding patterns that match nothing words do not. A word
// # in those stands for any number of words, which are within # alone.
func filtersWithin(words []string) string {
	return wordByWord(words, func(first bool, word string) string {
		switch {
		case word != anyWord:
			return literal(word)
		case first:
			return "(?:[^.$#][^.]*|#[^.]+)?"
		}
		return "(?:[^.#][^.]*|#[^.]+)?"
	})
}

// wordByWord joins the expressions of words. # takes also its parent.
func wordByWord(words []string, expression func(first bool, word string) string) string {
	var b strings.Builder
	for i, word := range words {
		switch {
		case word == anyWords && i == 0:
			return "(?:[^$]|$)"
		case word == anyWords:
			return b.String() + "(?:[.]|$)"
		case i > 0:
			b.WriteString("[.]")
		}
		b.WriteString(expression(i == 0, word))
	}
	return b.String() + "$"
}

// filtersThatMeet matches the binding patterns that match something words do: at
// each word they agree or one has a wildcard, and where one ends the other does, or
// goes on with # alone, which takes the parent.
func filtersThatMeet(words []string) string {
	rest := "(?:[.]#)?$" // of the other, behind the last word
	for i, word := range slices.Backward(words) {
		if word == anyWords {
			rest = "(?:[.]|$)"
			if i == 0 {
				rest = "(?:[^$]|$)"
			}
			continue
		}
		same, wild := literal(word), "[*]"
		if word == anyWord {
			same, wild = "[^.]*", ""
		}
		whole := "#$|"
		if i == 0 {
			switch {
			case word == anyWord:
				same = "(?:[^.$][^.]*)?"
			case strings.HasPrefix(word, "$"): // which a wildcard does not take
				whole, wild = "", ""
			}
		}
		if wild != "" {
			same = "(?:" + same + "|" + wild + ")"
		}
		rest = "(?:" + whole + same + rest + ")"
		if i > 0 {
			rest = "[.]" + rest
		}
	}
	return rest
}
