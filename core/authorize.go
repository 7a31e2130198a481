package core

import (
	"errors"
	"fmt"
)

// Right is what is to be done with an exchange, a queue or a topic.
type Right uint8

// The rights.
const (
	Configure Right = iota // make, change or delete it
	Write                  // put messages into it
	Read                   // take messages out of it
)

// String returns RabbitMQ's word for the right.
func (r Right) String() string {
	switch r {
	case Configure:
		return "configure"
	case Write:
		return "write"
	case Read:
		return "read"
	}
	return "unknown"
}

// Class is what a request is about.
type Class uint8

// The classes.
const (
	ExchangeClass Class = iota
	QueueClass
	TopicClass // a routing key of a topic exchange
)

// Request asks whether something may be done.
type Request struct {
	Class Class
	Right Right
	VHost string
	Name  string // the exchange's, "amq.default" for the default one, or the queue's
	Key   string // of TopicClass: the routing key, or the binding key
}

// Authorizer decides what one session's user may do. It is asked by any goroutine, under no lock of the engine, and may wait for a
// backend.
type Authorizer interface {
	// Enter returns nil if the user may open the vhost. Errors are as those of Allow.
	Enter(vhost string) error
	// Allow returns nil if r is allowed, an error that wraps ErrDenied if it is not, and any other if that could not be found out.
	Allow(r Request) error
	// Generation tells for how long answers may be remembered: while it does not change.
	Generation() uint64
	// Topics reports whether a topic rule concerns the user at an exchange. If not, TopicClass need not be asked there.
	Topics(vhost, exchange string) bool
}

// ErrDenied is what an Authorizer answers if the user may not do what was asked.
var ErrDenied = errors.New("access denied")

// The checks of the verbs. Each verb asks first and looks afterwards whether what it names exists, as RabbitMQ does; so who may not use
// a name does not learn whether it is taken. No lock is held meanwhile, and nothing has changed yet when a verb is refused.

// allow asks the Authorizer.
func (s *Session) allow(op string, c Class, r Right, name, key string) error {
	a := s.opt.Access
	if a == nil {
		return nil
	}
	if c == ExchangeClass && name == "" {
		name = "amq.default"
	}
	err := a.Allow(Request{Class: c, Right: r, VHost: s.vhost.name, Name: name, Key: key})
	if err == nil {
		return nil
	}
	object := s.vhost.exchangeName(name)
	switch c {
	case ExchangeClass:
	case QueueClass:
		object = s.vhost.queueName(name)
	case TopicClass:
		object = fmt.Sprintf("topic '%s' in %s", key, object)
	}
	return &Error{
		Kind: Refused, Op: op, Name: object, Err: err,
		Text: fmt.Sprintf("%s access to %s refused for %s", r, object, userName(s.opt.User)),
	}
}

// allowTopic asks for a key of an exchange, if that is one of topics and rules for them concern the user.
func (s *Session) allowTopic(op string, r Right, exchange, key string) error {
	if s.opt.Access == nil || !s.topicRules(s.vhost.exchange(exchange)) {
		return nil
	}
	return s.allow(op, TopicClass, r, exchange, key)
}

func (s *Session) topicRules(x *Exchange) bool {
	return x != nil && x.spec.routing() == kindTopic && s.opt.Access.Topics(s.vhost.name, x.spec.Name)
}

// enter asks whether the session's user may open its vhost.
func (s *Session) enter(op string) error {
	if s.opt.Access == nil {
		return nil
	}
	if err := s.opt.Access.Enter(s.vhost.name); err != nil {
		return &Error{Kind: Refused, Op: op, Name: s.vhost.name, Text: s.noEntry(), Err: err}
	}
	return nil
}

func (s *Session) noEntry() string {
	return fmt.Sprintf("access to %s refused for %s", vhostName(s.vhost.name), userName(s.opt.User))
}

// errAskAgain is returned under a lock by a verb that finds something else than what it asked about, which may take more rights: by a
// declaration that would make what existed then, and by a binding to an exchange that was made since, as one of topics perhaps.
var errAskAgain = errors.New("more rights are needed")

// mayDeclareExchange asks for what a declaration needs that gets so far; fresh says that there is no such exchange.
func (s *Session) mayDeclareExchange(spec *ExchangeSpec, fresh bool) error {
	const op = "declare"
	if s.opt.Access == nil || spec.Passive || spec.Name == "" || !isKind(spec.Kind) {
		return nil
	}
	if err := s.allow(op, ExchangeClass, Configure, spec.Name, ""); err != nil {
		return err
	}
	alternate, ok := stringArg(spec.Args, argAlternate)
	if !ok || !fresh || isReserved(spec.Name) {
		return nil
	}
	if err := s.allow(op, ExchangeClass, Read, spec.Name, ""); err != nil {
		return err
	}
	return s.allow(op, ExchangeClass, Write, alternate, "")
}

// mayDeclareQueue asks for what a declaration needs that gets so far; fresh says that there is no such queue.
func (s *Session) mayDeclareQueue(spec *QueueSpec, fresh bool) error {
	const op = "declare"
	if s.opt.Access == nil || spec.Passive || fresh && !spec.named && isReserved(spec.Name) {
		return nil
	}
	if err := s.allow(op, QueueClass, Configure, spec.Name, ""); err != nil {
		return err
	}
	deadLetters, ok := stringArg(spec.Args, argDeadLetters)
	if !ok || !fresh {
		return nil
	}
	if err := s.vhost.mayAddQueue(op, spec.Name); err != nil {
		return err
	}
	if err := s.allow(op, QueueClass, Read, spec.Name, ""); err != nil {
		return err
	}
	return s.allow(op, ExchangeClass, Write, deadLetters, "")
}

// mayBind asks for what it needs to make or to end a binding. x is the source as it was asked about, nil if there is none.
func (s *Session) mayBind(op string, spec *BindingSpec) (x *Exchange, err error) {
	source, dest, class := cleanName(spec.Source), cleanName(spec.Dest), QueueClass
	x = s.vhost.exchange(source)
	if spec.DestExchange {
		class = ExchangeClass
	}
	if s.opt.Access == nil || source == "" || class == ExchangeClass && dest == "" {
		return x, nil
	}
	if err := s.allow(op, class, Write, dest, ""); err != nil {
		return nil, err
	}
	if err := s.allow(op, ExchangeClass, Read, source, ""); err != nil {
		return nil, err
	}
	if s.topicRules(x) {
		err = s.allow(op, TopicClass, Read, source, spec.Key)
	}
	return x, err
}

// mayHaveSubscriber asks for the queue of a subscriber that outlives its link, and for the will.
func (s *Session) mayHaveSubscriber(spec *SubscriberSpec) error {
	const op = "link"
	if s.opt.Access == nil {
		return nil
	}
	if spec.Expiry > 0 {
		for _, right := range []Right{Configure, Write} {
			if err := s.allow(op, QueueClass, right, spec.Queue, ""); err != nil {
				return err
			}
		}
	}
	if spec.Will == nil {
		return nil
	}
	return s.mayLeave(spec.Will)
}

// mayLeave asks for what it needs to publish a will.
func (s *Session) mayLeave(w *Will) error {
	const op = "link"
	m := w.Message
	if err := s.allow(op, ExchangeClass, Write, m.Exchange, ""); err != nil {
		return err
	}
	return s.allowTopic(op, Write, m.Exchange, m.Key)
}

// maySubscribe asks for each subscription; err tells what became of one.
func (l *Link) maySubscribe(specs []SubscriptionSpec, refuse func(i int, err error)) {
	const op = "subscribe"
	s := l.session
	if s.opt.Access == nil {
		return
	}
	err := s.allow(op, ExchangeClass, Read, TopicExchange, "")
	if err == nil {
		err = s.allow(op, QueueClass, Write, l.sub.queue.spec.Name, "")
	}
	for i := range specs {
		each := err
		if each == nil {
			each = s.allowTopic(op, Read, TopicExchange, specs[i].Key)
		}
		if each != nil {
			refuse(i, each)
		}
	}
}
