package core

import (
	"errors"
	"log/slog"
)

// What rights that were taken away end of what outlives a connection. A subscriber is looked at when its client comes back, since only a
// session has somebody who can be asked. That of a user who is deleted ends with the user: whoever has the name next is somebody else.

// keptFor returns the subscriptions that a session of the user would find, if it may have the subscriber at all.
func (v *VHost) keptFor(name, user string) (own *subscriptionTable, shared []*member) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if sub := v.subscriber(name); sub != nil && sub.durable && (sub.user == "" || sub.user == user) {
		return sub.table.Load(), sub.members()
	}
	return noSubscriptions, nil
}

// lost is subscriptions that a subscriber may not have any more.
type lost struct {
	own    []*binding
	shared []*member
}

// lostSubscriptions asks about the subscriptions that a session would find of its client's, and returns those that it may not have any
// more, or that are outside of what its link is for. The first answer that cannot be found out ends the questions: a backend that is
// down would be waited for once a subscription. What is not known to be denied stays, as it was allowed when it was made. No lock is
// held.
func (s *Session) lostSubscriptions(spec *SubscriberSpec) (l lost) {
	const op = "link"
	if s.opt.Access == nil && spec.Outside == nil || spec.Fresh {
		return l
	}
	own, shared := s.vhost.keptFor(spec.Name, s.opt.User)
	if own.n+len(shared) == 0 {
		return l
	}
	err := s.allow(op, ExchangeClass, Read, TopicExchange, "")
	all := errors.Is(err, ErrDenied)
	unknown := err != nil && !all
	denied := func(key string) bool {
		switch {
		case all, spec.Outside != nil && spec.Outside(key):
			return true
		case unknown:
			return false
		}
		err := s.allowTopic(op, Read, TopicExchange, key)
		denied := errors.Is(err, ErrDenied)
		unknown = err != nil && !denied
		return denied
	}
	for _, m := range shared {
		if denied(m.spec.Key) {
			l.shared = append(l.shared, m)
		}
	}
	own.all(func(b *binding) bool {
		if denied(b.key) {
			l.own = append(l.own, b)
		}
		return true
	})
	return l
}

// lose ends those of the subscriptions that are still there, and with them what waits for no other: that is dropped when its turn comes,
// but for messages that have an id already, which their client may have [MQTT-4.4.0-1]. It returns what is to be recorded beside the
// subscriber. vhost.mu is held, and there is no link that has started.
func (sub *Subscriber) lose(l lost) (ops []Op) {
	n := 0
	for _, m := range l.shared {
		if sub.member(m.spec.Filter()) == m { // else replaced since, by who was asked about that
			n++
			ops = append(ops, sub.leave(m)...)
		}
	}
	for _, b := range l.own {
		if sub.table.Load().find(b.key) == b {
			n++
			ops = append(ops, sub.unsubscribe(b)...)
		}
	}
	if n == 0 {
		return nil
	}
	q := sub.queue
	q.mu.Lock()
	sub.lostAt = q.lane.next
	q.mu.Unlock()
	v := sub.vhost
	v.broker.opt.Logger.Info("subscriptions ended that their client may not have any more", slog.String("vhost", v.name),
		slog.String("subscriber", sub.name), slog.String("user", sub.user), slog.Int("subscriptions", n))
	return ops
}

// disown has the sessions of a deleted user make nothing that would outlive them.
func (t *sessions) disown(user string) {
	for _, s := range t.list(func(s *Session) bool { return s.opt.User == user }) {
		s.disowned.Store(true)
	}
}

// mayOutlive refuses a session whose user is deleted what would be there for the next user of that name. vhost.mu is held.
func (s *Session) mayOutlive(op string) error {
	if !s.disowned.Load() {
		return nil
	}
	return userGone(op, s.opt.User)
}

func userGone(op, user string) error {
	return &Error{Kind: Closing, Op: op, Name: userName(user), Text: userName(user) + " is deleted"}
}

// forget deletes the subscribers of a user with all that is their own, and what is left of those that have ended: their wills. None of the
// wills is published. The records pass before any that are handed over afterwards. The user's sessions are disowned, so that no subscriber
// comes in between; others get the lock between two units.
func (v *VHost) forget(user string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	u := units{broker: v.broker}
	for name, sub := range v.orphans {
		if sub.user == user {
			delete(v.orphans, name)
			u.add(sub.setWill(nil)...)
		}
	}
	for _, sub := range v.subscribers.Load().all() {
		if sub.user != user || sub.ended {
			continue
		}
		if u.add(sub.remove()...); len(u.ops) == 0 {
			v.mu.Unlock()
			v.mu.Lock()
		}
	}
	u.flush()
}
