package core

import "github.com/batonmq/baton/core/field"

// origin is where a message died first.
type origin struct{ queue, exchange, key string }

// originOf reads it from the headers that dead letters get: the queue from x-first-death-queue, and from the entry of that death in x-death how the message
// was published. ok is false for a message that is no dead letter.
func originOf(m *Message) (o origin, ok bool) {
	props, err := field.ParseProperties(m.Props)
	if err != nil {
		return o, false
	}
	headers := props.Headers
	if o.queue, ok = stringArg(headers, headerFirstDeath+"queue"); !ok {
		return o, false
	}
	o.exchange = textOf(headers, headerFirstDeath+"exchange")
	reason := textOf(headers, headerFirstDeath+"reason")
	o.key = o.queue
	deaths, _ := deathsOf(headers)
	for _, v := range deaths {
		death, _ := v.(field.Table)
		if textOf(death, "queue") != o.queue || textOf(death, "reason") != reason {
			continue
		}
		keys, _ := death.Get("routing-keys")
		if l, _ := keys.([]any); len(l) > 0 {
			if key, isText := l[0].(string); isText {
				o.key = key
			}
		}
	}
	return o, true
}
