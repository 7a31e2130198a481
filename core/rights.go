package core

import (
	"slices"
	"strings"
)

// rights are what a session was allowed and will ask for again and again: to publish, and to get. It remembers nothing that it was
// refused.
type rights struct {
	generation uint64    // of the Authorizer, when it was asked
	last       *Exchange // that the session may publish to; nil: none
	topics     bool      // whether it must ask for each key there
	granted    []grant   // the last few, in a ring once they are rightsKept
	oldest     int
}

const (
	// rightsKept is how many grants are remembered; the exchange that was published to last, which most have only one of, comes beside.
	rightsKept = 12

	// longestKept is the longest key that is: AMQP's have no more. A session that remembered MQTT's 64 KiB would hold on to a megabyte.
	longestKept = 255
)

type grant struct {
	class     Class
	right     Right
	name, key string
}

// generation is that of the session's rights.
func (s *Session) generation() uint64 {
	if s.opt.Access == nil {
		return 0
	}
	return s.opt.Access.Generation()
}

// remembered returns what the session may remember, which is nothing if the rights may have changed. There is an Authorizer.
func (s *Session) remembered() *rights {
	if now := s.opt.Access.Generation(); s.rights == nil || s.rights.generation != now {
		s.rights = &rights{generation: now}
	}
	return s.rights
}

// mayPublish asks for what it needs to publish m.
func (s *Session) mayPublish(m *Message) error {
	r := s.remembered()
	// An exchange that has gone may come again as one of topics.
	if x := r.last; x == nil || x.spec.Name != m.Exchange || x.gone.Load() {
		if err := s.allowAgain(r, "publish", grant{class: ExchangeClass, right: Write, name: m.Exchange}); err != nil {
			return err
		}
		if x = s.vhost.exchange(m.Exchange); x == nil || x.spec.Internal {
			return nil // nobody can publish to it
		}
		r.last, r.topics = x, s.topicRules(x)
	}
	if !r.topics {
		return nil
	}
	err := s.allowAgain(r, "publish", grant{class: TopicClass, right: Write, name: m.Exchange, key: m.Key})
	for i := 0; err == nil && i < len(m.Keys); i++ {
		err = s.allowAgain(r, "publish", grant{class: TopicClass, right: Write, name: m.Exchange, key: m.Keys[i]})
	}
	return err
}

// allowAgain is allow for what was granted before, as likely as not.
func (s *Session) allowAgain(r *rights, op string, g grant) error {
	if slices.Contains(r.granted, g) {
		return nil
	}
	if err := s.allow(op, g.class, g.right, g.name, g.key); err != nil {
		return err
	}
	if len(g.key) > longestKept {
		return nil
	}
	g.name, g.key = strings.Clone(g.name), strings.Clone(g.key) // they may be part of a whole message
	if len(r.granted) < rightsKept {
		r.granted = append(r.granted, g)
		return nil
	}
	r.granted[r.oldest] = g
	r.oldest = (r.oldest + 1) % rightsKept
	return nil
}

// mayGet asks for what it needs to get a message.
func (s *Session) mayGet(queue string) error {
	if s.opt.Access == nil {
		return nil
	}
	return s.allowAgain(s.remembered(), "get", grant{class: QueueClass, right: Read, name: queue})
}
