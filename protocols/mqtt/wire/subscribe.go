package wire

import "strings"

// Subscribe is a SUBSCRIBE. It shares no memory with its input.
type Subscribe struct {
	PacketID       uint16
	Subscriptions  []Subscription // at least one
	Identifier     uint32         // subscription identifier, 0 for none
	UserProperties []UserProperty
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
	PacketID       uint16
	Filters        []string // at least one
	UserProperties []UserProperty
}

// The subscription options (section 3.8.3.1).
const (
	optionQoS            = 3 << 0
	optionNoLocal        = 1 << 2
	optionRetainHandling = 3 << 4
	optionReserved       = 3 << 6
)

// DecodeSubscribe decodes a SUBSCRIBE.
func DecodeSubscribe(f Frame, v Version) (Subscribe, error) {
	c := bodyCheck{b: f.Body, err: checkDup(f, v)}
	c.head(SUBSCRIBE, v)
	n := 0
	for ; c.err == nil && (n == 0 || len(c.rest()) > 0); n++ {
		filter := c.filter(n)
		c.options(v, filter)
	}
	if c.err != nil {
		return Subscribe{}, c.err
	}
	body := f.Body
	if v == V31 {
		body = maskOptions(body)
	}
	pk, err := decode(SUBSCRIBE, v, body)
	if err != nil {
		return Subscribe{}, err
	}
	s := Subscribe{
		PacketID:       pk.PacketID,
		Subscriptions:  make([]Subscription, len(pk.Filters)),
		UserProperties: fromUser(pk.Properties.User),
	}
	if len(pk.Properties.SubscriptionIdentifier) > 0 {
		s.Identifier = uint32(pk.Properties.SubscriptionIdentifier[0])
	}
	for i, sub := range pk.Filters {
		s.Subscriptions[i] = Subscription{
			Filter:            strings.Clone(sub.Filter),
			QoS:               sub.Qos,
			NoLocal:           sub.NoLocal,
			RetainAsPublished: sub.RetainAsPublished,
			RetainHandling:    sub.RetainHandling,
		}
	}
	return s, nil
}

// head checks the packet identifier and the properties.
func (c *bodyCheck) head(t PacketType, v Version) {
	if c.short() == 0 {
		c.fail(errPacketID) // [MQTT-2.2.1-3]
	}
	if v == V5 {
		c.properties(ownedBy(t))
	}
}

// filter checks the filter that n others precede. That there is one at all is
// [MQTT-3.8.3-2] and [MQTT-3.10.3-2].
func (c *bodyCheck) filter(n int) []byte {
	switch {
	case c.err != nil:
	case n == 0 && len(c.rest()) == 0:
		c.fail(&Error{ProtocolError, "no topic filter"})
	case n == MaxItems:
		c.fail(errTooMany)
	}
	return c.text() // [MQTT-3.8.3-1] [MQTT-3.10.3-1]
}

func (c *bodyCheck) options(v Version, filter []byte) {
	o := c.octet()
	if c.err != nil {
		return
	}
	switch {
	case v == V31:
		o &= optionQoS // the rest is unused
	case v == V311 && o&^optionQoS != 0, o&optionReserved != 0: // [MQTT-3.8.3-5]
		c.fail(errReserved)
	}
	switch {
	case o&optionQoS == optionQoS:
		c.fail(&Error{ProtocolError, "subscription with QoS 3"})
	case o&optionRetainHandling == optionRetainHandling:
		c.fail(&Error{ProtocolError, "subscription with retain handling 3"})
	case o&optionNoLocal != 0 && strings.HasPrefix(string(filter), sharePrefix): // [MQTT-3.8.3-4]
		c.fail(&Error{ProtocolError, "no local on a shared subscription"})
	}
}

// maskOptions returns a body that has been checked with the bits cleared that
// MQTT 3.1 does not use.
func maskOptions(body []byte) []byte {
	body = append([]byte{}, body...)
	for rest := body[2:]; len(rest) > 0; rest = rest[1:] {
		_, rest, _ = cutData(rest)
		rest[0] &= optionQoS
	}
	return body
}

// DecodeUnsubscribe decodes an UNSUBSCRIBE.
func DecodeUnsubscribe(f Frame, v Version) (Unsubscribe, error) {
	c := bodyCheck{b: f.Body, err: checkDup(f, v)}
	c.head(UNSUBSCRIBE, v)
	for n := 0; c.err == nil && (n == 0 || len(c.rest()) > 0); n++ {
		c.filter(n)
	}
	if c.err != nil {
		return Unsubscribe{}, c.err
	}
	pk, err := decode(UNSUBSCRIBE, v, f.Body)
	if err != nil {
		return Unsubscribe{}, err
	}
	u := Unsubscribe{
		PacketID:       pk.PacketID,
		Filters:        make([]string, len(pk.Filters)),
		UserProperties: fromUser(pk.Properties.User),
	}
	for i, sub := range pk.Filters {
		u.Filters[i] = strings.Clone(sub.Filter)
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
