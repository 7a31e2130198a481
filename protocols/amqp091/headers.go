package amqp091

import (
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// readHeaders acts on the headers that the broker itself goes by. The message has some.
func (p *publication) readHeaders(s *field.Summary) (err error) {
	d := s.Directives()
	p.retain, p.once = d.Retain, d.ExactlyOnce
	var problem string
	if p.keys, problem = d.Keys(p.key); problem != "" {
		return wire.Errorf(wire.PreconditionFailed, wire.BasicPublishID, "%s", problem)
	}
	if d.HidesKeys() {
		p.properties, err = field.AppendWithoutHidden(p.properties[:0], p.properties)
	}
	return err //nolint:wrapcheck // it says what was being done
}
