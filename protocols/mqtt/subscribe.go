package mqtt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/wire"
	"github.com/batonmq/baton/protocols/outbox"
)

// Values of Retain Handling (section 3.8.3.1).
const (
	sendRetained      = 0
	sendRetainedIfNew = 1
)

// subscribe acts on SUBSCRIBE: each filter for itself [MQTT-3.8.4-5], with one
// SUBACK [MQTT-3.8.4-1] that has a reason for each [MQTT-3.8.4-6].
func (c *conn) subscribe(ctx context.Context, f wire.Frame) error {
	p, err := wire.DecodeSubscribe(f, c.version)
	if err != nil {
		return err
	}
	if err := c.offersSubscription(&p); err != nil {
		return err
	}
	ack := wire.SubscribeAck{PacketID: p.PacketID, Reasons: make([]wire.ReasonCode, len(p.Subscriptions))} // [MQTT-3.8.4-2] [MQTT-2.2.1-6]
	specs := make([]core.SubscriptionSpec, 0, len(p.Subscriptions))
	asked := make([]int, 0, len(p.Subscriptions)) // index of specs in Subscriptions
	for i := range p.Subscriptions {
		s := &p.Subscriptions[i]
		filter, reason := c.coreFilter(s.Filter)
		if reason == wire.Success {
			reason = c.srv.offersFilter(s.Filter)
		}
		if ack.Reasons[i] = reason; reason != wire.Success {
			continue
		}
		qos := c.srv.granted(s.QoS)
		ack.Reasons[i] = wire.ReasonCode(qos) // what was granted [MQTT-3.8.4-7] [MQTT-3.9.3-2]
		_, topics, _ := wire.SplitShared(s.Filter)
		specs = append(specs, core.SubscriptionSpec{
			Key: filter.Key, Share: filter.Share, Queue: sharedQueue(filter), Level: core.Level(qos), // [MQTT-4.8.2-3]
			NoLocal: s.NoLocal || c.bridge && filter.Share == "", AsPublished: s.RetainAsPublished || c.bridge,
			NoSystem: bridge.LeadingWildcard(topics), ID: p.Identifier,
		})
		asked = append(asked, i)
	}
	results, err := c.link.Subscribe(ctx, specs) // [MQTT-3.8.4-3]
	if err != nil {
		return err
	}
	var denied denials
	for i := range results {
		if err := results[i].Err; err != nil {
			ack.Reasons[asked[i]] = reasonCode(core.KindOf(err)) // table 3-8; before version 5 any is 0x80
			denied.add(specs[i].Key, err)
		}
	}
	denied.log(c)
	if c.explains {
		ack.ReasonString = denied.reason()
	}
	c.out.Append(func(b *outbox.Buffer) { b.B, err = wire.AppendSuback(b.B, c.version, ack, c.acceptMax) })
	if err != nil {
		return unsendable(wire.SUBACK, err)
	}
	if c.srv.opt.NoRetain {
		return nil
	}
	for i, spec := range specs {
		handling := p.Subscriptions[asked[i]].RetainHandling
		if spec.Share != "" { // section 4.8.2: no retained messages are sent
			continue
		}
		if results[i].Err == nil && (handling == sendRetained || handling == sendRetainedIfNew && !results[i].Existed) { // [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] [MQTT-3.8.4-4]
			c.link.SendRetained(spec, results[i].Retained)
			c.greet(p.Subscriptions[asked[i]].Filter, &spec)
		}
	}
	return nil
}

// denials are the filters of one SUBSCRIBE that were refused: one line in the
// log, however many there are.
type denials struct {
	n       int
	pattern string // the first
	err     error
}

func (d *denials) add(pattern string, err error) {
	if d.n++; d.n == 1 {
		d.pattern, d.err = pattern, err
	}
}

// reason is the reason string of the SUBACK; empty for none.
func (d *denials) reason() string {
	if e := fault(d.err); e != nil {
		return clipped(e.Text)
	}
	return ""
}

func (d *denials) log(c *conn) {
	if d.n > 0 {
		c.log().Warn("subscription refused", slog.Int("filters", d.n), slog.String("pattern", clipped(d.pattern)), errAttr(d.err))
	}
}

// coreFilter returns what the engine knows a filter by, or why it cannot be
// subscribed to.
func (c *conn) coreFilter(filter string) (f core.Filter, reason wire.ReasonCode) {
	if !wire.ValidFilter(filter) || tooDeep(filter) { // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
		return f, wire.TopicFilterInvalid
	}
	share, topics, _ := wire.SplitShared(filter)
	topics, ok := c.mounted(topics)
	if !ok {
		return f, wire.TopicFilterInvalid
	}
	pattern, err := bridge.Pattern(topics)
	if err != nil || errors.Is(c.reserved(pattern), errMounted) {
		return f, wire.TopicFilterInvalid
	}
	return core.Filter{Share: share, Key: pattern}, wire.Success
}

// sharedQueue names the queue of a shared subscription, by which policies and
// operators know it: after what it is, or, where that is too long to be the
// name of a queue, after its hash.
func sharedQueue(f core.Filter) string {
	if f.Share == "" {
		return ""
	}
	name := sharedPrefix + f.Share + "/" + f.Key
	if len(name) > maxQueueName {
		sum := sha256.Sum256([]byte(name))
		name = sharedPrefix + hex.EncodeToString(sum[:])
	}
	return name
}

const (
	// sharedPrefix begins the name of a shared subscription's queue. A share name
	// has no slash, so that no two have one name.
	sharedPrefix = "mqtt-shared-"

	// maxQueueName is what AMQP can name (section 4.2.5.3: a short string).
	maxQueueName = 255
)

// unsubscribe acts on UNSUBSCRIBE: each filter for itself, with one UNSUBACK
// [MQTT-3.10.4-6] that says what became of each [MQTT-3.11.3-2].
func (c *conn) unsubscribe(ctx context.Context, f wire.Frame) error {
	p, err := wire.DecodeUnsubscribe(f, c.version)
	if err != nil {
		return err
	}
	ack := wire.SubscribeAck{PacketID: p.PacketID, Reasons: make([]wire.ReasonCode, len(p.Filters))}
	filters := make([]core.Filter, 0, len(p.Filters))
	asked := make([]int, 0, len(p.Filters)) // index of filters in Filters
	for i, filter := range p.Filters {
		f, reason := c.coreFilter(filter)
		if ack.Reasons[i] = reason; reason == wire.Success {
			filters = append(filters, f)
			asked = append(asked, i)
		}
	}
	existed, err := c.link.Unsubscribe(ctx, filters) // [MQTT-3.10.4-1]
	if err != nil {
		return err
	}
	for i, ok := range existed {
		if !ok {
			ack.Reasons[asked[i]] = wire.NoSubscriptionExisted
		}
	}
	c.out.Append(func(b *outbox.Buffer) { b.B, err = wire.AppendUnsuback(b.B, c.version, ack, c.acceptMax) }) // [MQTT-3.10.4-4] [MQTT-3.10.4-5]
	if err != nil {
		return unsendable(wire.UNSUBACK, err)
	}
	return nil
}

// unsendable is the end of a connection whose client accepts no packet as large
// as the answer it has asked for.
func unsendable(t wire.PacketType, err error) error {
	return fmt.Errorf("%w: %w", wire.Errorf(wire.PacketTooLarge, "%s is larger than the client accepts", t), err)
}
