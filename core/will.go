package core

import (
	"fmt"
	"time"
)

// Will is a message that is published when its owner goes without a goodbye.
type Will struct {
	Message *Message
	Delay   time.Duration // that the owner has to come back before it is published
}

// checkWill refuses a will that no definition can hold.
func checkWill(w *Will) error {
	const most = MaxValue / 2
	if w == nil || w.Message.Size() <= most {
		return nil
	}
	return &Error{
		Kind: TooLarge, Op: "link subscriber", Name: "a will",
		Text: fmt.Sprintf("the will is larger (%d bytes) than a will may be (%d bytes)", w.Message.Size(), most),
	}
}

// willGrace is how long a subscriber that had a link when the broker died has to come back before its will is published: its client
// may be as alive as ever.
const willGrace = time.Minute

// setWill replaces the will, or clears it, and returns the record of that. vhost.mu is held.
func (sub *Subscriber) setWill(w *Will) []Op {
	stopTimer(&sub.willTimer)
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

func (sub *Subscriber) willDelay() time.Duration {
	if sub.will == nil {
		return 0
	}
	return sub.will.Delay
}

// armWill publishes the will after d without a link. vhost.mu is held.
func (sub *Subscriber) armWill(d time.Duration) {
	switch {
	case sub.will == nil:
		return
	case d <= 0:
		sub.publishWill()
		return
	}
	var t *time.Timer
	t = sub.vhost.broker.after(d, func() {
		sub.vhost.mu.Lock()
		defer sub.vhost.mu.Unlock()
		if sub.willTimer == t {
			sub.willTimer = nil
			sub.publishWill()
		}
	})
	sub.willTimer = t
}

// publishWill publishes the will and clears it in one unit. vhost.mu is held.
func (sub *Subscriber) publishWill() {
	m := sub.will.Message
	sub.will = nil
	if sub.vhost.orphans[sub.name] == sub {
		delete(sub.vhost.orphans, sub.name)
	}
	s := Session{broker: sub.vhost.broker, vhost: sub.vhost}
	s.extra = []Op{{Kind: OpRemove, Key: sub.key(keyWill)}}
	// The exchange is always there; a will that reaches nobody is over all the same.
	if n, err := s.Publish(m, nil, 0); n == 0 || err != nil {
		s.Confirm(nil, 0)
	}
}
