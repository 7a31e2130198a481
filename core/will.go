package core

import (
	"errors"
	"fmt"
	"time"
)

// Will is a message that is published when its owner goes without a goodbye. Whether the owner may publish it is asked when it is set, and
// again when he goes if rights have changed since; what is taken away later, while it is delayed, does not concern it. One that comes due while publishers must wait is tried
// again every willRetry, and published at once when its owner comes back: it must neither be lost nor be what fills the broker up when
// very many owners go at the same time.
type Will struct {
	Message *Message
	Delay   time.Duration // that the owner has to come back before it is published

	Lifetime *time.Duration // after which the message expires, from its publication on; nil: never
}

// checkWill refuses a will that no definition can hold.
func checkWill(w *Will) error {
	const most = MaxValue / 2
	if w == nil || w.Message.Size() <= most {
		return nil
	}
	return &Error{
		Kind: TooLarge, Op: "link", Name: "a will",
		Text: fmt.Sprintf("the will is larger (%d bytes) than a will may be (%d bytes)", w.Message.Size(), most),
	}
}

// willGrace is how long a subscriber that had a link when the broker died has to come back before its will is published: its client
// may be as alive as ever.
const willGrace = time.Minute

// willRetry is how long a will waits that is due while publishers must wait.
const willRetry = time.Second

// setWill replaces the will, or clears it, and returns the record of that. vhost.mu is held.
func (sub *Subscriber) setWill(w *Will) []Op {
	stopTimer(&sub.willTimer)
	sub.willDue = false
	had := sub.will != nil
	sub.will = w
	switch {
	case w != nil:
		return []Op{sub.willDefinition()}
	case had:
		return []Op{{Kind: OpRemove, Key: sub.key(keyWill)}}
	}
	return nil
}

// isSilenced reports that there is a will which may not be published any more, as rights have changed since it was set. One of which that
// cannot be found out may: it was allowed then. No lock is held.
func (l *Link) isSilenced() bool {
	v, s := l.sub.vhost, l.session
	v.mu.Lock()
	will, allowed, holds := l.sub.will, l.allowed, l.holds()
	v.mu.Unlock()
	return holds && will != nil && allowed != s.generation() && errors.Is(s.mayLeave(will), ErrDenied)
}

// silenced returns the link of a subscriber if it is so.
func (v *VHost) silenced(name string) *Link {
	if sub := v.subscriber(name); sub != nil {
		if l := sub.link.Load(); l != nil && l.isSilenced() {
			return l
		}
	}
	return nil
}

func (sub *Subscriber) willDelay() time.Duration {
	if sub.will == nil {
		return 0
	}
	return sub.will.Delay
}

// armWill has the will, if there is one [MQTT-3.1.1 3.1.2-12], come due after d without a link [MQTT-3.1.2-8]. vhost.mu is held.
func (sub *Subscriber) armWill(d time.Duration) {
	switch {
	case sub.will == nil:
		return
	case d <= 0:
		sub.comeDue()
		return
	}
	var t *time.Timer
	t = sub.vhost.broker.after(d, func() {
		sub.vhost.mu.Lock()
		defer sub.vhost.mu.Unlock()
		if sub.willTimer == t {
			sub.willTimer = nil
			sub.comeDue()
		}
	})
	sub.willTimer = t
}

// comeDue publishes the will, or lets it wait while publishers must. vhost.mu is held.
func (sub *Subscriber) comeDue() {
	if sub.vhost.broker.hasRoom() {
		sub.publishWill()
		return
	}
	sub.willDue = true
	sub.armWill(willRetry)
}

// settleWill deals with the will of a subscriber that has ended, as a connection of its name has come: if that is its owner's it is
// forgotten, unless it was due. It returns what is to be recorded. vhost.mu is held.
func (sub *Subscriber) settleWill(user string) []Op {
	if sub.willDue || sub.user != "" && sub.user != user {
		sub.publishWill()
		return nil
	}
	delete(sub.vhost.orphans, sub.name)
	return sub.setWill(nil)
}

// publishWill publishes the will, as it is retained or not [MQTT-3.1.2-14] [MQTT-3.1.2-15], and clears it in one unit
// [MQTT-3.1.2-10]. vhost.mu is held.
func (sub *Subscriber) publishWill() {
	m := sub.will.Message
	if life := sub.will.Lifetime; life != nil {
		m.Expires = sub.vhost.broker.now() + life.Milliseconds()
	}
	ops := sub.setWill(nil)
	if sub.vhost.orphans[sub.name] == sub {
		delete(sub.vhost.orphans, sub.name)
	}
	s := sub.vhost.session()
	s.extra = ops
	// The exchange is always there; a will that reaches nobody is over all the same.
	if n, err := s.Publish(m, nil, 0); n == 0 || err != nil {
		s.Confirm(nil, 0)
	}
}
