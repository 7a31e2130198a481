package field

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Headers by which a message asks for what only subscribers know. They have the
// names under which the other front-end shows them.
const (
	headerRetain = "x-mqtt-retain"      // true: keep the message for its key; an empty body clears what was kept
	headerQoS    = "x-mqtt-publish-qos" // 2: hand a persistent message over exactly once
)

// Headers with further routing keys, arrays of long strings. Nobody but the broker
// sees the second.
const (
	headerCC  = "CC"
	headerBCC = "BCC"
)

// Directives are what the headers of a message ask of the broker.
type Directives struct {
	Retain      bool // keep it for its key
	ExactlyOnce bool // hand it over so, where it is persistent

	cc, bcc Raw // of several the first; nil: none
}

// Directives reads those headers that the broker itself goes by.
func (s *Summary) Directives() (d Directives) {
	for name, value := range s.HeaderFields().All() {
		switch string(name) {
		case headerRetain:
			d.Retain = value.Kind() == 't' && value.Content()[0] != 0
		case headerQoS:
			n, _ := Int(value.Value())
			d.ExactlyOnce = n == 2 && s.Persistent
		case headerCC:
			if d.cc == nil {
				d.cc = value
			}
		case headerBCC:
			if d.bcc == nil {
				d.bcc = value
			}
		}
	}
	return d
}

// Keys returns the routing keys that a message with this one has beside it, or
// says in RabbitMQ's words what is wrong with the headers that have them. What is
// no long string in them is passed over, as RabbitMQ does.
func (d *Directives) Keys(key string) (keys []string, problem string) {
	for _, h := range []struct {
		name  string
		value Raw
	}{{headerCC, d.cc}, {headerBCC, d.bcc}} {
		if h.value == nil {
			continue
		}
		list, ok := h.value.Value().([]any)
		if !ok {
			return nil, fmt.Sprintf("invalid message: {unacceptable_type_in_header,%q,%s}", h.name, TypeName(h.value.Value()))
		}
		for _, v := range list {
			if other, ok := v.(string); ok && other != key && !slices.Contains(keys, other) {
				keys = append(keys, other)
			}
		}
	}
	return keys, ""
}

// HidesKeys reports whether there is a header that nobody but the broker is to see.
func (d *Directives) HidesKeys() bool { return d.bcc != nil }

// AppendWithoutHidden appends a property block without that header.
func AppendWithoutHidden(dst, block []byte) ([]byte, error) {
	p, err := ParseProperties(block)
	if err != nil {
		return dst, fmt.Errorf("remove header %s: %w", headerBCC, err)
	}
	p.Headers = slices.DeleteFunc(p.Headers, func(f Field) bool { return f.Key == headerBCC })
	if dst, err = AppendProperties(dst, &p); err != nil {
		return dst, fmt.Errorf("remove header %s: %w", headerBCC, err)
	}
	return dst, nil
}

// ParseExpiration reads an expiration, which is a number of milliseconds written
// in decimal of at most ten years, or says in RabbitMQ's words what is wrong with it.
func ParseExpiration(s string) (lifetime time.Duration, problem string) {
	const most = 10 * 365 * 24 * 60 * 60 * 1000
	digits := 0
	if s != "" && (s[0] == '-' || s[0] == '+') {
		digits = 1
	}
	start := digits
	for digits < len(s) && '0' <= s[digits] && s[digits] <= '9' {
		digits++
	}
	if digits == start {
		return 0, "no_integer"
	}
	if digits < len(s) {
		return 0, `{leftover_string,"` + s[digits:] + `"}`
	}
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case n < 0:
		return 0, "{value_negative," + s + "}"
	case err != nil || n > most:
		return 0, "{value_too_large," + s + "}"
	}
	return time.Duration(n) * time.Millisecond, ""
}
