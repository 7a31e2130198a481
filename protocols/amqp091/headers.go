package amqp091

import (
	"fmt"
	"slices"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// Headers by which a message asks for what only subscribers know. They have the names under which the other front-end shows them.
const (
	headerRetain = "x-mqtt-retain"      // true: keep the message for its key; an empty body clears what was kept
	headerQoS    = "x-mqtt-publish-qos" // 2: hand a persistent message over exactly once
)

// Headers with further routing keys, arrays of long strings. Nobody but the broker sees the second.
const (
	headerCC  = "CC"
	headerBCC = "BCC"
)

// readHeaders acts on the headers that the broker itself goes by. The message has some.
func (p *publication) readHeaders(s *field.Summary) error {
	var cc, bcc field.Raw
	for name, value := range s.HeaderFields().All() {
		switch string(name) {
		case headerRetain:
			p.retain = value.Kind() == 't' && value.Content()[0] != 0
		case headerQoS:
			n, _ := field.Int(value.Value())
			p.once = n == 2 && p.persistent
		case headerCC:
			if cc == nil { // the first counts
				cc = value
			}
		case headerBCC:
			if bcc == nil {
				bcc = value
			}
		}
	}
	if cc == nil && bcc == nil {
		return nil
	}
	if err := p.addKeys(headerCC, cc); err != nil {
		return err
	}
	if err := p.addKeys(headerBCC, bcc); err != nil {
		return err
	}
	if bcc != nil {
		return p.removeHeader(headerBCC)
	}
	return nil
}

// addKeys takes the routing keys of a header. What is no long string in the array is passed over, as RabbitMQ does.
func (p *publication) addKeys(name string, value field.Raw) error {
	if value == nil {
		return nil
	}
	list, ok := value.Value().([]any)
	if !ok {
		return wire.Errorf(wire.PreconditionFailed, wire.BasicPublishID,
			"invalid message: {unacceptable_type_in_header,%q,%s}", name, field.TypeName(value.Value()))
	}
	for _, v := range list {
		if key, ok := v.(string); ok && key != p.key && !slices.Contains(p.keys, key) {
			p.keys = append(p.keys, key)
		}
	}
	return nil
}

// removeHeader takes a header out of the properties.
func (p *publication) removeHeader(name string) error {
	props, err := field.ParseProperties(p.properties)
	if err != nil {
		return fmt.Errorf("remove header %s: %w", name, err)
	}
	props.Headers = slices.DeleteFunc(props.Headers, func(f field.Field) bool { return f.Key == name })
	if p.properties, err = field.AppendProperties(p.properties[:0], &props); err != nil {
		return fmt.Errorf("remove header %s: %w", name, err)
	}
	return nil
}
