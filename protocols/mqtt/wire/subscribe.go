package wire

import "strings"

// Subscribe is a SUBSCRIBE. It shares no memory with its input.
type Subscribe struct {
	PacketID      uint16
	Subscriptions []Subscription // at least one
	Identifier    uint32         // subscription identifier, 0 for none
}

// Subscription is one topic filter of a SUBSCRIBE with its options. The filter
// may be malformed, see [ValidFilter].
type Subscription struct {
	Filter            string
	QoS               uint8
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    uint8 // 0 send, 1 send if new, 2 do not send
}

// Unsubscribe is an UNSUBSCRIBE. It shares no memory with its input.
type Unsubscribe struct {
	PacketID uint16
	Filters  []string // at least one
}

// The subscription options (section 3.8.3.1).
const (
	optionQoS               = 3 << 0
	optionNoLocal           = 1 << 2
	optionRetainAsPublished = 1 << 3
	optionRetainHandling    = 3 << 4
	optionReserved          = 3 << 6
)

// DecodeSubscribe decodes a SUBSCRIBE.
func DecodeSubscribe(f Frame, v Version) (s Subscribe, err error) {
	d := body{b: f.Body, err: checkDup(f, v)}
	s.PacketID, s.Identifier = d.head(SUBSCRIBE, v)
	s.Subscriptions = make([]Subscription, 0, d.filters(1))
	for d.moreFilters(len(s.Subscriptions)) {
		filter := d.text() // [MQTT-3.8.3-1]
		s.Subscriptions = append(s.Subscriptions, newSubscription(filter, d.options(v, filter)))
	}
	if d.err != nil {
		return Subscribe{}, d.err
	}
	return s, nil
}

// head takes the packet identifier and the properties, of which the subscription
// identifier is told.
func (d *body) head(t PacketType, v Version) (id uint16, identifier uint32) {
	if id = d.short(); id == 0 {
		d.fail(errPacketID) // [MQTT-2.2.1-3]
	}
	if v == V5 {
		d.properties(ownedBy(t), func(c *cursor) {
			if c.id == SubscriptionIdentifier {
				identifier = c.num
			}
		})
	}
	return id, identifier
}

// filters is how many filters follow, each with so many bytes of options. Room is
// made for them at once: a list that grows would take several times as much, and
// there may be very many.
func (d *body) filters(options int) (n int) {
	if d.err != nil {
		return 0
	}
	for b, ok := d.b, true; ok && len(b) > 0 && n < MaxItems; n++ {
		if _, b, ok = cutData(b); ok {
			b = b[min(options, len(b)):]
		}
	}
	return n
}

// moreFilters reports whether there is a filter that n others precede. That there
// is one at all is [MQTT-3.8.3-2] and [MQTT-3.10.3-2].
func (d *body) moreFilters(n int) bool {
	switch {
	case d.err != nil:
	case n == 0 && len(d.b) == 0:
		d.fail(&Error{ProtocolError, "no topic filter"})
	case n == MaxItems && len(d.b) > 0:
		d.fail(errTooMany)
	}
	return d.err == nil && len(d.b) > 0
}

// options takes the subscription options of a filter.
func (d *body) options(v Version, filter []byte) uint8 {
	o := d.octet()
	if d.err != nil {
		return 0
	}
	switch {
	case v == V31:
		o &= optionQoS // the rest is unused
	case v == V311 && o&^optionQoS != 0, o&optionReserved != 0: // [MQTT-3.8.3-5]
		d.fail(errReserved)
	}
	switch {
	case o&optionQoS == optionQoS:
		d.fail(&Error{ProtocolError, "subscription with QoS 3"})
	case o&optionRetainHandling == optionRetainHandling:
		d.fail(&Error{ProtocolError, "subscription with retain handling 3"})
	case o&optionNoLocal != 0 && strings.HasPrefix(string(filter), sharePrefix): // [MQTT-3.8.3-4]
		d.fail(&Error{ProtocolError, "no local on a shared subscription"})
	}
	return o
}

// newSubscription copies a filter: subscriptions outlive their packet, each for itself.
func newSubscription(filter []byte, options uint8) Subscription {
	return Subscription{
		Filter:            string(filter),
		QoS:               options & optionQoS,
		NoLocal:           options&optionNoLocal != 0,
		RetainAsPublished: options&optionRetainAsPublished != 0,
		RetainHandling:    options & optionRetainHandling >> 4,
	}
}

// DecodeUnsubscribe decodes an UNSUBSCRIBE.
func DecodeUnsubscribe(f Frame, v Version) (u Unsubscribe, err error) {
	d := body{b: f.Body, err: checkDup(f, v)}
	u.PacketID, _ = d.head(UNSUBSCRIBE, v)
	u.Filters = make([]string, 0, d.filters(0))
	for d.moreFilters(len(u.Filters)) {
		u.Filters = append(u.Filters, string(d.text())) // [MQTT-3.10.3-1]
	}
	if d.err != nil {
		return Unsubscribe{}, d.err
	}
	return u, nil
}

// SubscribeAck is a SUBACK or an UNSUBACK.
type SubscribeAck struct {
	PacketID uint16
	// Reasons has one code for each filter, in order [MQTT-3.9.3-1]
	// [MQTT-3.11.3-1]. An UNSUBACK
	// before MQTT 5 does not show them.
	Reasons        []ReasonCode
	ReasonString   string
	UserProperties []UserProperty
}

// AppendSuback appends a SUBACK of at most limit bytes, where 0 is no limit.
// Before MQTT 5 every failure is 0x80 [MQTT-3.1.1 3.9.3-2].
func AppendSuback(dst []byte, v Version, a SubscribeAck, limit uint32) ([]byte, error) {
	return appendSubscribeAck(dst, SUBACK, v, a, limit)
}

// AppendUnsuback appends an UNSUBACK of at most limit bytes, where 0 is no
// limit.
func AppendUnsuback(dst []byte, v Version, a SubscribeAck, limit uint32) ([]byte, error) {
	return appendSubscribeAck(dst, UNSUBACK, v, a, limit)
}

func appendSubscribeAck(dst []byte, t PacketType, v Version, a SubscribeAck, limit uint32) ([]byte, error) {
	pk := packet(t, v)
	pk.PacketID = a.PacketID
	pk.ReasonCodes = make([]byte, len(a.Reasons))
	for i, r := range a.Reasons {
		if v != V5 && r.Failed() {
			r = UnspecifiedError
		}
		pk.ReasonCodes[i] = byte(r)
	}
	pk.Properties.ReasonString = a.ReasonString
	pk.Properties.User = toUser(a.UserProperties)
	return encode(dst, pk, limit)
}
