package core

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/core/field"
)

// EventExchange is where the broker publishes what happens in it, if it is to: RabbitMQ's name.
const EventExchange = "amq.rabbitmq.event"

// eventsWaiting is how many events may wait to be published. More are dropped and counted.
const eventsWaiting = 4096

// events publishes what happens in the broker to the event exchange of one vhost. Whoever has something to tell puts it into a list of
// bounded length, under whatever locks, and goes on; one goroutine publishes. As long as nothing is bound to the exchange nothing is made.
type events struct {
	exchange atomic.Pointer[Exchange] // nil: there is none
	waiting  chan event               // nil: nothing is published
	lost     atomic.Uint64            // events that nobody was told
	alarms   Alarms                   // as told last; the minder's alone
}

type event struct {
	key     string
	at      time.Time
	by      string // who did it; empty: the broker
	headers field.Table
}

// heard reports whether something is bound to the event exchange.
func (e *events) heard() bool {
	x := e.exchange.Load()
	if x == nil || e.waiting == nil {
		return false
	}
	table, ok := (*x.table.Load()).(topicRouter)
	return ok && table.root != nil
}

// tell notes an event. It never waits; any lock may be held.
func (e *events) tell(ev event) {
	ev.at = time.Now()
	select {
	case e.waiting <- ev:
	default:
		e.lost.Add(1)
	}
}

// HearsEvents reports whether anybody is told of events: whether it is worth making one.
func (b *Broker) HearsEvents() bool { return b.events.heard() }

// TellEvent publishes an event to who has bound a queue to the event exchange, under RabbitMQ's key and with its headers; by is who has
// brought it about, empty: the broker itself. It never waits: what is too much is dropped, as are events while publishers must wait.
func (b *Broker) TellEvent(key, by string, headers ...field.Field) {
	if b.events.heard() {
		b.events.tell(event{key: key, by: by, headers: headers})
	}
}

// EventsLost is how many events were dropped.
func (b *Broker) EventsLost() uint64 { return b.events.lost.Load() }

// provideEvents makes the exchange unless v has it. It is on no record: bindings of it and to it are, and bring it back where the setting
// has changed since.
func (v *VHost) provideEvents() {
	if v.exchange(EventExchange) == nil {
		v.addExchange(newExchange(v, ExchangeSpec{Name: EventExchange, Kind: "topic", Durable: true, Internal: true}))
	}
}

// teller publishes events until ctx ends. Of those that were lost it speaks when publishers need not wait: one line, however long they did.
func (b *Broker) teller(ctx context.Context) {
	said := uint64(0)
	for {
		select {
		case ev := <-b.events.waiting:
			if !b.publishEvent(&ev) {
				b.events.lost.Add(1)
			}
		case <-ctx.Done():
			return
		}
		if lost := b.events.lost.Load(); lost != said && len(b.events.waiting) == 0 && b.hasRoom() {
			b.opt.Logger.Warn("events were dropped: they came faster than they could be published, or publishers had to wait",
				slog.Uint64("events", lost-said))
			said = lost
		}
	}
}

// publishEvent publishes as a client would that need not wait, and reports whether it did. While publishers must, only alarms are told:
// they are few.
func (b *Broker) publishEvent(ev *event) bool {
	if !b.hasRoom() && !strings.HasPrefix(ev.key, "alarm.") {
		return false
	}
	by := ev.by
	if by == "" {
		by = "rmq-internal"
	}
	headers := append(ev.headers,
		field.Field{Key: "user_who_performed_action", Value: by}, field.Field{Key: "timestamp_in_ms", Value: ev.at.UnixMilli()})
	props, err := field.AppendProperties(nil, &field.Properties{
		Headers: headers, DeliveryMode: field.Persistent, Timestamp: field.Timestamp(ev.at.Unix()),
	})
	if err != nil { // a name that no table can hold
		return false
	}
	b.publishOwn(b.events.exchange.Load().vhost, &Message{Exchange: EventExchange, Key: ev.key, Props: props, Persistent: true})
	return true
}

// publishOwn publishes a message of the broker's own, also to an internal exchange. A full queue that refuses does without.
func (b *Broker) publishOwn(v *VHost, m *Message) {
	s := v.session()
	if !s.routeOn(m) {
		return
	}
	s.push(m)
	if len(s.targets) == 0 {
		return
	}
	u := s.unit()
	_, _ = u.publish(s.targets, nil, m)
	u.commit(nil, 0)
}

// tellAlarms tells of alarms that were set or cleared since. The minder calls it.
func (b *Broker) tellAlarms() {
	now, was := b.Alarms(), b.events.alarms
	b.events.alarms = now
	for _, a := range []struct {
		name    string
		was, is bool
	}{{"memory", was.Memory, now.Memory}, {"disk", was.Disk, now.Disk}} {
		switch {
		case a.is && !a.was:
			b.TellEvent("alarm.set", "", field.Field{Key: "name", Value: a.name}, field.Field{Key: "node", Value: b.opt.Node})
		case a.was && !a.is:
			b.TellEvent("alarm.cleared", "", field.Field{Key: "name", Value: a.name}, field.Field{Key: "node", Value: b.opt.Node})
		}
	}
}

type actorKey struct{}

// WithActor returns a context whose changes of access, policies and the like are an actor's, for events.
func WithActor(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, actorKey{}, name)
}

// actor is whose a change is; empty: the broker's.
func actor(ctx context.Context) string {
	name, _ := ctx.Value(actorKey{}).(string)
	return name
}

// of makes a header.
func of(key string, value any) field.Field { return field.Field{Key: key, Value: value} }
