package core

import "github.com/batonmq/baton/core/field"

// What is told of each kind of object: RabbitMQ's keys and headers. Where RabbitMQ prints a term of Erlang, such as an argument, it is a
// table here; there are no process identifiers, and a connection, a channel and a consumer are told by their names.

// tell tells of something in the vhost.
func (v *VHost) tell(key, by string, headers ...field.Field) {
	if v.broker.events.heard() {
		v.broker.TellEvent(key, by, append(headers, of("vhost", v.name))...)
	}
}

func (x *Exchange) tellCreated(by string) {
	if !x.vhost.broker.events.heard() {
		return
	}
	s := &x.spec
	x.vhost.tell("exchange.created", by, of("name", s.Name), of("type", s.Kind), of("durable", s.Durable), of("auto_delete", s.AutoDelete),
		of("internal", s.Internal), of("arguments", table(s.Args)), of("policy", ""))
}

func (q *Queue) tellCreated(by string) {
	if !q.vhost.broker.events.heard() {
		return
	}
	s := &q.spec
	owner := ""
	if q.owner != nil {
		owner = q.owner.Name()
	}
	q.vhost.tell("queue.created", by, of("name", s.Name), of("durable", s.Durable), of("auto_delete", s.AutoDelete),
		of("arguments", table(s.Args)), of("exclusive", s.Exclusive), of("owner_pid", owner))
}

func (b *binding) tell(v *VHost, key, by string) {
	if !v.broker.events.heard() || b.declared == nil {
		return
	}
	s, kind := &b.declared.spec, "queue"
	if s.DestExchange {
		kind = "exchange"
	}
	v.tell(key, by, of("source_name", s.Source), of("source_kind", "exchange"), of("destination_name", s.Dest), of("destination_kind", kind),
		of("routing_key", s.Key), of("arguments", table(s.Args)))
}

// table is a table that is there.
func table(t field.Table) field.Table {
	if t == nil {
		return field.Table{}
	}
	return t
}

func (c *Consumer) tell(key string) {
	b := c.session.broker
	if !b.events.heard() || c.queue.isSubscribers() {
		return
	}
	headers := []field.Field{of("consumer_tag", c.spec.Tag), of("channel", c.session.channelName(c.spec.Channel)), of("queue", c.queue.spec.Name)}
	if key == "consumer.created" {
		prefetch := 0
		if w := c.spec.Window; w != nil && !c.open {
			prefetch = int(w.limit.Load())
		}
		headers = append(headers, of("exclusive", c.spec.Exclusive), of("ack_required", !c.spec.NoAck), of("prefetch_count", int64(prefetch)),
			of("arguments", table(c.spec.Args)))
	}
	c.queue.vhost.tell(key, c.session.opt.User, headers...)
}
