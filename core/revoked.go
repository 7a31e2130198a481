package core

import (
	"errors"
	"log/slog"
)

// What rights that were taken away end of what outlives a connection. A subscriber is looked at when its client comes back, since only a
// session has somebody who can be asked. That of a user who is deleted ends with the user: whoever has the name next is somebody else.

// keptFor returns the subscriptions that a session of the user would find, if it may have the subscriber at all.
func (v *VHost) keptFor(name, user string) *subscriptionTable {
	v.mu.Lock()
	defer v.mu.Unlock()
	if sub := v.subscriber(name); sub != nil && sub.durable && (sub.user == "" || sub.user == user) {
		return sub.table.Load()
	}
	return noSubscriptions
}

// lostSubscriptions asks about the subscriptions that a session would find of its client's, and returns those that it may not have any
// more. The first answer that cannot be found out ends the questions: a backend that is down would be waited for once a subscription. What
// is not known to be denied stays, as it was allowed when it was made. No lock is held.
func (s *Session) lostSubscriptions(spec *SubscriberSpec) (lost []*binding) {
	const op = "link"
	if s.opt.Access == nil || spec.Fresh {
		return nil
	}
	kept := s.vhost.keptFor(spec.Name, s.opt.User)
	if kept.n == 0 {
		return nil
	}
	err := s.allow(op, ExchangeClass, Read, TopicExchange, "")
	all := errors.Is(err, ErrDenied)
	if err != nil && !all {
		return nil
	}
	kept.all(func(b *binding) bool {
		if !all {
			err = s.allowTopic(op, Read, TopicExchange, b.key)
		}
		denied := errors.Is(err, ErrDenied)
		if denied {
			lost = append(lost, b)
		}
		return err == nil || denied
	})
	return lost
}

// lose ends those of the subscriptions that are still there, and with them what waits for no other: that is dropped when its turn comes,
// but for messages that have an id already, which their client may have [MQTT-4.4.0-1]. It returns what is to be recorded beside the
// subscriber. vhost.mu is held, and there is no link that has started.
func (sub *Subscriber) lose(lost []*binding) (ops []Op) {
	for _, b := range lost {
		if sub.table.Load().find(b.key) != b {
			continue // replaced since, by who was asked about that
		}
		b.source.replace(b, nil)
		sub.table.Store(sub.table.Load().replace(b, nil))
		sub.replays.cancel(b.key)
		ops = append(ops, sub.removal(b.key))
	}
	if len(ops) == 0 {
		return nil
	}
	q := sub.queue
	q.mu.Lock()
	sub.lostAt = q.lane.next
	q.mu.Unlock()
	v := sub.vhost
	v.broker.opt.Logger.Info("subscriptions ended, since their user may not read what they ask for any more", slog.String("vhost", v.name),
		slog.String("subscriber", sub.name), slog.String("user", sub.user), slog.Int("subscriptions", len(ops)))
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
