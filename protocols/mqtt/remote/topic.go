package remote

import (
	"errors"
	"fmt"
	"strings"

	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// Direction is where messages are carried.
type Direction uint8

// The directions, which are bits.
const (
	Out Direction = 1 << iota
	In
	Both = Out | In
)

// A Topic is a rule: what to carry, where, and how it is called there.
type Topic struct {
	// Pattern is a topic filter. LocalPrefix and RemotePrefix stand before it, here
	// and there; one is taken off and the other put on. It is empty for one topic,
	// whose names are the prefixes.
	Pattern                   string
	Direction                 Direction
	QoS                       uint8 // the highest
	LocalPrefix, RemotePrefix string
}

// ParseTopic reads a rule in the words of Mosquitto's configuration:
//
//	PATTERN [out|in|both [QOS [LOCAL-PREFIX [REMOTE-PREFIX]]]]
//
// The direction is out and the QoS 0 where they are left out. "" is an empty word.
func ParseTopic(line string) (Topic, error) {
	words := strings.Fields(line)
	for i, w := range words {
		if w == `""` {
			words[i] = ""
		}
	}
	t := Topic{Direction: Out}
	if len(words) == 0 || len(words) > 5 {
		return t, fmt.Errorf("topic %q is not PATTERN [out|in|both [QOS [LOCAL-PREFIX [REMOTE-PREFIX]]]]", line)
	}
	words = append(words, make([]string, 5-len(words))...)
	t.Pattern, t.LocalPrefix, t.RemotePrefix = words[0], words[3], words[4]
	switch words[1] {
	case "", "out":
	case "in":
		t.Direction = In
	case "both":
		t.Direction = Both
	default:
		return t, fmt.Errorf("topic %q: the direction %q is none of out, in and both", line, words[1])
	}
	switch words[2] {
	case "", "0":
	case "1":
		t.QoS = 1
	case "2":
		t.QoS = 2
	default:
		return t, fmt.Errorf("topic %q: the QoS %q is none of 0, 1 and 2", line, words[2])
	}
	if err := t.validate(); err != nil {
		return t, fmt.Errorf("topic %q: %w", line, err)
	}
	return t, nil
}

func (t *Topic) validate() error {
	for _, p := range []string{t.LocalPrefix, t.RemotePrefix} {
		if p != "" && !wire.ValidTopic(p) {
			return fmt.Errorf("the prefix %q cannot begin a topic", p)
		}
	}
	for _, f := range []string{t.local(), t.far()} {
		if share, _, _ := wire.SplitShared(f); share != "" || !wire.ValidFilter(f) {
			return fmt.Errorf("%q is not a topic filter", f)
		}
		if strings.Count(f, "/") >= maxLevels {
			return fmt.Errorf("the filter has more than %d levels", maxLevels)
		}
	}
	if t.Direction&Both == 0 || t.QoS > 2 {
		return errors.New("its direction or its QoS does not exist")
	}
	if _, err := bridge.Pattern(t.local()); err != nil {
		return err
	}
	return nil
}

// local and far are the rule's filters.
func (t *Topic) local() string { return t.LocalPrefix + t.Pattern }
func (t *Topic) far() string   { return t.RemotePrefix + t.Pattern }

// outward returns what a topic is called there, by the first rule that carries it out.
func outward(rules []Topic, topic string) (string, bool) {
	for i := range rules {
		if t := &rules[i]; t.Direction&Out != 0 && bridge.Match(t.local(), topic) {
			return moved(topic, t.LocalPrefix, t.RemotePrefix)
		}
	}
	return "", false
}

// inward returns what a topic of the far broker is called here.
func inward(rules []Topic, topic string) (string, bool) {
	for i := range rules {
		if t := &rules[i]; t.Direction&In != 0 && bridge.Match(t.far(), topic) {
			return moved(topic, t.RemotePrefix, t.LocalPrefix)
		}
	}
	return "", false
}

// moved exchanges the prefix of a topic. The parent of a/#, which is a, lacks the slash
// of the prefix a/: so does its name there. There may be none.
func moved(topic, from, to string) (string, bool) {
	rest, ok := strings.CutPrefix(topic, from)
	if !ok && topic+"/" == from {
		rest = ""
		to, ok = strings.CutSuffix(to, "/")
	}
	moved := to + rest
	return moved, ok && wire.ValidTopic(moved) && strings.Count(moved, "/") < maxLevels
}

// maxLevels is how many levels a topic may have, as for clients.
const maxLevels = 256
