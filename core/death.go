package core

import "github.com/batonmq/baton/core/field"

// What a dead letter says of itself, in RabbitMQ's headers. x-death has a table for each queue and reason that a message died in and of,
// the last one first, with how often it did. x-first-death-… and x-last-death-… name one of them without a search.

const (
	headerDeath      = "x-death"
	headerFirstDeath = "x-first-death-"
	headerLastDeath  = "x-last-death-"
	headerCC         = "CC"
)

// death is why, where and when a message died.
type death struct {
	queue  string
	reason reason
	time   field.Timestamp
}

// deadLetter returns m as it goes on after a death: to another exchange, with another key if there is one, and without an expiration, which
// would end it there, too. deaths are all that it died of, the last one first.
func deadLetter(m *Message, d death, exchange string, key *string) (next *Message, deaths []any) {
	p, err := field.ParseProperties(m.Props)
	if err != nil { // nobody can have published it
		p = field.Properties{}
	}
	headers := d.mark(p.Headers, m, p.Expiration, p.Has(field.Expiration))
	deaths, _ = deathsOf(headers)
	next = m.again()
	next.Exchange, next.Expires = exchange, 0
	if key != nil {
		next.Key, next.Keys = *key, nil
		headers = without(headers, headerCC)
	}
	p.Headers, p.Expiration = headers, ""
	p.Present &^= field.Expiration
	if next.Props, err = field.AppendProperties(nil, &p); err != nil {
		next.Props = m.Props // nobody can have published headers that cannot be encoded
	}
	return next, deaths
}

// mark returns the headers of a message with one more death.
func (d death) mark(headers field.Table, m *Message, expiration string, expires bool) field.Table {
	reason := d.reason.String()
	deaths, known := deathsOf(headers)
	if !known {
		headers = d.name(headers, headerFirstDeath, m.Exchange)
	}
	headers = d.name(headers, headerLastDeath, m.Exchange)
	last := field.Table{
		{Key: "count", Value: int64(1)},
		{Key: "reason", Value: reason},
		{Key: "queue", Value: d.queue},
		{Key: "time", Value: d.time},
		{Key: "exchange", Value: m.Exchange},
		{Key: "routing-keys", Value: routingKeys(m.Key, headers)},
	}
	if expires {
		last = append(last, field.Field{Key: "original-expiration", Value: expiration})
	}
	list := make([]any, 1, len(deaths)+1)
	list[0] = last
	for _, v := range deaths {
		if t, ok := v.(field.Table); ok && textOf(t, "queue") == d.queue && textOf(t, "reason") == reason {
			list[0] = again(t)
		} else {
			list = append(list, v)
		}
	}
	return with(headers, headerDeath, list)
}

// name sets the three headers that name a death.
func (d death) name(headers field.Table, prefix, exchange string) field.Table {
	headers = with(headers, prefix+"exchange", exchange)
	headers = with(headers, prefix+"queue", d.queue)
	return with(headers, prefix+"reason", d.reason.String())
}

// again returns an entry of x-death with one more death.
func again(t field.Table) field.Table {
	count, _ := t.Get("count")
	n, _ := field.Int(count)
	return with(t, "count", n+1)
}

// deathsOf returns what x-death holds, and whether there is any.
func deathsOf(headers field.Table) (deaths []any, known bool) {
	v, known := headers.Get(headerDeath)
	deaths, _ = v.([]any) // anything else is a client's own
	return deaths, known
}

// isCycle reports whether a message that died of these has been in a queue before, and was not rejected since: nobody would ever stop it.
func isCycle(deaths []any, queue string) bool {
	for _, v := range deaths {
		t, ok := v.(field.Table)
		if !ok || textOf(t, "reason") == rejected.String() {
			return false // a client has had a hand in it
		}
		if textOf(t, "queue") == queue {
			return true
		}
	}
	return false
}

// routingKeys returns the keys that a message was published with.
func routingKeys(key string, headers field.Table) []any {
	keys := []any{key}
	v, _ := headers.Get(headerCC)
	more, _ := v.([]any)
	for _, k := range more {
		if s, ok := k.(string); ok {
			keys = append(keys, s)
		}
	}
	return keys
}

func textOf(t field.Table, key string) string {
	s, _ := stringArg(t, key)
	return s
}

// with returns a copy of t in which key has this value.
func with(t field.Table, key string, value any) field.Table {
	next := append(make(field.Table, 0, len(t)+1), t...)
	for i := range next {
		if next[i].Key == key {
			next[i].Value = value
			return next
		}
	}
	return append(next, field.Field{Key: key, Value: value})
}

// without returns a copy of t that lacks key.
func without(t field.Table, key string) field.Table {
	next := make(field.Table, 0, len(t))
	for _, f := range t {
		if f.Key != key {
			next = append(next, f)
		}
	}
	return next
}
