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
	if o.queue, ok = stringArg(headers, "x-first-death-queue"); !ok {
		return o, false
	}
	o.exchange, _ = stringArg(headers, "x-first-death-exchange")
	reason, _ := stringArg(headers, "x-first-death-reason")
	o.key = o.queue
	deaths, _ := headers.Get("x-death")
	list, _ := deaths.([]any)
	for _, v := range list {
		death, _ := v.(field.Table)
		if q, _ := stringArg(death, "queue"); q != o.queue {
			continue
		}
		if r, _ := stringArg(death, "reason"); r != reason {
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
