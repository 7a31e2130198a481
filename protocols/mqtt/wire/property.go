package wire

import (
	"encoding/binary"
	"iter"
	"math"
)

// maxString is the length of the longest string or binary datum.
const maxString = math.MaxUint16

// MaxItems is how many filters, and how many user properties, a packet may
// hold.
const MaxItems = 1 << 16

// Property is the identifier of a property (section 2.2.2.2).
type Property uint8

// The properties.
const (
	PayloadFormat          Property = 1
	MessageExpiry          Property = 2
	ContentType            Property = 3
	ResponseTopic          Property = 8
	CorrelationData        Property = 9
	SubscriptionIdentifier Property = 11
	SessionExpiry          Property = 17
	AssignedClientID       Property = 18
	ServerKeepAlive        Property = 19
	AuthenticationMethod   Property = 21
	AuthenticationData     Property = 22
	RequestProblemInfo     Property = 23
	WillDelay              Property = 24
	RequestResponseInfo    Property = 25
	ResponseInfo           Property = 26
	ServerReference        Property = 28
	ReasonString           Property = 31
	ReceiveMaximum         Property = 33
	TopicAliasMaximum      Property = 34
	TopicAlias             Property = 35
	MaximumQoS             Property = 36
	RetainAvailable        Property = 37
	User                   Property = 38
	MaximumPacketSize      Property = 39
	WildcardAvailable      Property = 40
	SubscriptionIDs        Property = 41
	SharedAvailable        Property = 42
)

// valueType is how a property's value is written (section 1.5).
type valueType uint8

const (
	noValue valueType = iota
	octetValue
	shortValue
	longValue
	varintValue
	textValue
	binaryValue
	pairValue
)

// owner is a set of what may carry a property: packet types as bits, and the
// will in bit 0, which no packet has.
type owner uint16

const ofWill owner = 1

func ownedBy(types ...PacketType) (o owner) {
	for _, t := range types {
		o |= 1 << t
	}
	return o
}

// definition is a row of table 2-4 of section 2.2.2.2.
type definition struct {
	value    valueType
	owners   owner
	servers  owner  // what only a server may say it in
	least    uint32 // of a number
	most     uint32 // of a number, 0 for any
	repeats  bool
	breaking ReasonCode // for a number out of range
}

// definitions lists what a client may send; CONNACK, SUBACK and UNSUBACK are
// not read.
var definitions = [...]definition{
	PayloadFormat:          {value: octetValue, owners: ownedBy(PUBLISH) | ofWill, most: 1, breaking: ProtocolError},
	MessageExpiry:          {value: longValue, owners: ownedBy(PUBLISH) | ofWill},
	ContentType:            {value: textValue, owners: ownedBy(PUBLISH) | ofWill}, // [MQTT-3.3.2-19]
	ResponseTopic:          {value: textValue, owners: ownedBy(PUBLISH) | ofWill},
	CorrelationData:        {value: binaryValue, owners: ownedBy(PUBLISH) | ofWill},
	SubscriptionIdentifier: {value: varintValue, owners: ownedBy(SUBSCRIBE), servers: ownedBy(PUBLISH), least: 1, breaking: ProtocolError},
	SessionExpiry:          {value: longValue, owners: ownedBy(CONNECT, DISCONNECT)},
	AssignedClientID:       {value: textValue},
	ServerKeepAlive:        {value: shortValue},
	AuthenticationMethod:   {value: textValue, owners: ownedBy(CONNECT, AUTH)},
	AuthenticationData:     {value: binaryValue, owners: ownedBy(CONNECT, AUTH)},
	RequestProblemInfo:     {value: octetValue, owners: ownedBy(CONNECT), most: 1, breaking: ProtocolError},
	WillDelay:              {value: longValue, owners: ofWill},
	RequestResponseInfo:    {value: octetValue, owners: ownedBy(CONNECT), most: 1, breaking: ProtocolError},
	ResponseInfo:           {value: textValue},
	ServerReference:        {value: textValue, servers: ownedBy(DISCONNECT)},
	ReasonString:           {value: textValue, owners: ownedBy(PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT, AUTH)},
	ReceiveMaximum:         {value: shortValue, owners: ownedBy(CONNECT), least: 1, breaking: ProtocolError},
	TopicAliasMaximum:      {value: shortValue, owners: ownedBy(CONNECT)},
	TopicAlias:             {value: shortValue, owners: ownedBy(PUBLISH), least: 1, breaking: TopicAliasInvalid}, // [MQTT-3.3.2-8]
	MaximumQoS:             {value: octetValue},
	RetainAvailable:        {value: octetValue},
	User: {value: pairValue, repeats: true, owners: ofWill | ownedBy(CONNECT, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP,
		SUBSCRIBE, UNSUBSCRIBE, DISCONNECT, AUTH)},
	MaximumPacketSize: {value: longValue, owners: ownedBy(CONNECT), least: 1, breaking: ProtocolError},
	WildcardAvailable: {value: octetValue},
	SubscriptionIDs:   {value: octetValue},
	SharedAvailable:   {value: octetValue},
}

// cursor takes properties off a section and checks them on the way. The fields
// below err are those of the property that next has taken.
type cursor struct {
	b     []byte
	owner owner
	seen  uint64
	users int
	err   error

	id    Property
	num   uint32
	text  []byte // text, binary, or a pair's name
	value []byte // a pair's value
}

func (c *cursor) fail(err error) bool {
	c.err = err
	return false
}

// next takes one property and reports whether there was one.
func (c *cursor) next() bool {
	if len(c.b) == 0 {
		return false
	}
	id := Property(c.b[0]) // a variable byte integer, but all there are take one byte
	if int(id) >= len(definitions) || definitions[id].value == noValue {
		return c.fail(Errorf(MalformedPacket, "property %d does not exist", id))
	}
	d := &definitions[id]
	if d.servers&c.owner != 0 { // [MQTT-3.3.4-6], section 3.14.2.2.5
		return c.fail(Errorf(ProtocolError, "property %d is not one of this packet from a client", id))
	}
	if d.owners&c.owner == 0 { // section 2.2.2.2
		return c.fail(Errorf(MalformedPacket, "property %d is not one of this packet", id))
	}
	if c.seen&(1<<id) != 0 && !d.repeats {
		return c.fail(Errorf(ProtocolError, "property %d is there twice", id))
	}
	c.seen |= 1 << id
	c.id, c.b = id, c.b[1:]
	return c.take(d)
}

// drain takes all properties and returns the first fault.
func (c *cursor) drain() error {
	for more := true; more; {
		more = c.next()
	}
	return c.err
}

// take takes a value of d's type.
func (c *cursor) take(d *definition) bool {
	switch d.value {
	case binaryValue:
		c.text = c.cut()
	case textValue:
		c.text = c.cutText()
		switch {
		case c.err != nil:
		case c.id == ResponseTopic:
			return c.checkResponseTopic()
		case c.id == AuthenticationMethod && len(c.text) == 0: // no name is the name of none [MQTT-4.12.0-1]
			return c.fail(&Error{BadAuthenticationMethod, "authentication method without a name"})
		}
	case pairValue:
		c.text, c.value = c.cutText(), c.cutText() // [MQTT-1.5.7-1]
		if c.users++; c.users > MaxItems && c.err == nil {
			c.err = errTooMany
		}
	default:
		return c.takeNumber(d)
	}
	return c.err == nil
}

func (c *cursor) takeNumber(d *definition) bool {
	v, size := number(c.b, d.value)
	if size == 0 {
		if d.value == varintValue {
			return c.fail(errVarint)
		}
		return c.fail(errShort)
	}
	c.num, c.b = v, c.b[size:]
	if v < d.least || d.most > 0 && v > d.most {
		return c.fail(Errorf(d.breaking, "property %d cannot be %d", c.id, v))
	}
	return true
}

// number reads a number off b; size is 0 if there is none.
func number(b []byte, t valueType) (v uint32, size int) {
	switch {
	case t == varintValue:
		v, size, _ = parseVarint(b)
		if size != varintSize(v) { // [MQTT-1.5.5-1]
			return 0, 0
		}
		return v, size
	case t == octetValue && len(b) >= 1:
		return uint32(b[0]), 1
	case t == shortValue && len(b) >= 2:
		return uint32(binary.BigEndian.Uint16(b)), 2
	case t == longValue && len(b) >= 4:
		return binary.BigEndian.Uint32(b), 4
	}
	return 0, 0
}

// cut takes a datum with a length in front.
func (c *cursor) cut() []byte {
	data, rest, ok := cutData(c.b)
	if !ok {
		c.fail(errShort)
		return nil
	}
	c.b = rest
	return data
}

func (c *cursor) cutText() []byte {
	b := c.cut()
	if c.err == nil && !validText(b) {
		c.fail(errUTF8)
	}
	return b
}

// checkResponseTopic obeys [MQTT-3.3.2-13] and [MQTT-3.3.2-14].
func (c *cursor) checkResponseTopic() bool {
	if len(c.text) == 0 || checkTopic(c.text) != nil {
		return c.fail(&Error{ProtocolError, "response topic is not a topic name"})
	}
	return true
}

// cutData splits b behind a datum that a 16-bit length precedes.
func cutData(b []byte) (data, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	end := 2 + int(binary.BigEndian.Uint16(b))
	if len(b) < end {
		return nil, nil, false
	}
	return b[2:end:end], b[end:], true
}

// cutSection splits b behind a property section that its length precedes, if
// only to say that it is empty [MQTT-2.2.2-1].
func cutSection(b []byte) (section, rest []byte, err error) {
	length, n, err := parseVarint(b)
	if err != nil {
		return nil, nil, err
	}
	if n == 0 || uint64(length) > uint64(len(b)-n) {
		return nil, nil, errShort
	}
	if n != varintSize(length) { // [MQTT-1.5.5-1]
		return nil, nil, errVarint
	}
	end := n + int(length)
	return b[n:end:end], b[end:], nil
}

// UserProperties returns the user properties of a section that a Parse function
// has accepted, in their order.
func UserProperties(section []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for b := section; len(b) > 0; {
			rest, ok := skipProperty(b)
			if !ok {
				return
			}
			if Property(b[0]) == User {
				name, value, _ := cutData(b[1:])
				if value, _, _ = cutData(value); !yield(name, value) {
					return
				}
			}
			b = rest
		}
	}
}

// MapResponseTopic returns a section that a Parse function has accepted with another
// response topic, or without one where to is not ok: section itself, if it has none.
func MapResponseTopic(section []byte, to func(topic []byte) (mapped []byte, ok bool)) []byte {
	for b := section; len(b) > 0; {
		rest, ok := skipProperty(b)
		if !ok {
			break
		}
		if Property(b[0]) == ResponseTopic {
			out := make([]byte, 0, len(section)+32)
			out = append(out, section[:len(section)-len(b)]...)
			topic, _, _ := cutData(b[1:])
			if topic, ok = to(topic); ok {
				out = AppendText(out, ResponseTopic, topic)
			}
			return append(out, rest...) // there is only one
		}
		b = rest
	}
	return section
}

// skipProperty returns what follows the first property of a section that has
// been accepted. Its value is not checked again, but nothing beyond the section
// is read whatever is in it.
func skipProperty(b []byte) (rest []byte, ok bool) {
	if int(b[0]) >= len(definitions) {
		return nil, false
	}
	value := definitions[b[0]].value
	b = b[1:]
	switch value {
	case textValue, binaryValue:
		_, rest, ok = cutData(b)
		return rest, ok
	case pairValue:
		if _, rest, ok = cutData(b); ok {
			_, rest, ok = cutData(rest)
		}
		return rest, ok
	default:
		_, size := number(b, value)
		return b[size:], size > 0
	}
}

// AppendNumber appends a property with a value of one, two or four bytes.
func AppendNumber(dst []byte, id Property, v uint32) []byte {
	dst = append(dst, byte(id))
	switch definitions[id].value {
	case octetValue:
		return append(dst, byte(v))
	case shortValue:
		return binary.BigEndian.AppendUint16(dst, uint16(v))
	case varintValue:
		return appendVarint(dst, v)
	default:
		return binary.BigEndian.AppendUint32(dst, v)
	}
}

// AppendText appends a property that is text or binary. More than 65,535 bytes
// are not written: dst is returned as it was given.
func AppendText[T string | []byte](dst []byte, id Property, v T) []byte {
	if len(v) > maxString {
		return dst
	}
	return appendData(append(dst, byte(id)), v)
}

// AppendUser appends a user property, or nothing if name or value has more than
// 65,535 bytes.
func AppendUser[T string | []byte](dst []byte, name, value T) []byte {
	if len(name) > maxString || len(value) > maxString {
		return dst
	}
	return appendData(appendData(append(dst, byte(User)), name), value)
}

// appendData appends v, which has at most 65,535 bytes, with its length.
func appendData[T string | []byte](dst []byte, v T) []byte {
	dst = append(dst, byte(len(v)>>8), byte(len(v)))
	return append(dst, v...)
}
