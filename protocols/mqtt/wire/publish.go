package wire

import "encoding/binary"

// Publish is a PUBLISH as it arrived. All slices alias the input.
type Publish struct {
	Topic      []byte // empty where a topic alias stands for it
	PacketID   uint16 // 0 with QoS 0
	QoS        uint8
	Dup        bool
	Retain     bool
	Properties PublishProperties
	Payload    []byte
}

// PublishProperties are the properties of a PUBLISH or of a will. The slices
// alias the section they were parsed from.
type PublishProperties struct {
	// Section is the property section as it came, nil where there is none.
	Section []byte

	ContentType     []byte
	ResponseTopic   []byte
	CorrelationData []byte
	Expiry          uint32 // seconds
	Delay           uint32 // seconds, of a will
	TopicAlias      uint16 // 0 for none
	PayloadFormat   uint8  // 1 says that the payload is UTF-8 text

	present uint64
}

// Has reports whether the property id is there, also with an empty or zero
// value.
func (p *PublishProperties) Has(id Property) bool { return p.present&(1<<id) != 0 }

// perHop are the properties that belong to one connection or that change on the
// way: the next hop writes its own.
const perHop uint64 = 1<<MessageExpiry | 1<<TopicAlias | 1<<SubscriptionIdentifier | 1<<WillDelay

// AppendForward appends the properties that have to reach the subscribers
// unaltered [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17]
// [MQTT-3.3.2-20] and in order [MQTT-3.3.2-18] [MQTT-3.1.3-10]: all but the
// expiry, topic alias and will delay. The result is what [Delivery.Properties] takes.
func (p *PublishProperties) AppendForward(dst []byte) []byte {
	if p.present&perHop == 0 {
		return append(dst, p.Section...)
	}
	for b := p.Section; len(b) > 0; {
		rest, ok := skipProperty(b)
		if !ok {
			break
		}
		if perHop&(1<<b[0]) == 0 {
			dst = append(dst, b[:len(b)-len(rest)]...)
		}
		b = rest
	}
	return dst
}

// ParsePublish parses the body of a PUBLISH.
func ParsePublish(f Frame, v Version) (p Publish, err error) {
	n, err := p.parseHead(f.Flags, f.Body, len(f.Body), v)
	if err != nil {
		return Publish{}, err
	}
	p.Payload = f.Body[n:]
	return p, nil
}

// ParsePublishHead parses a PUBLISH up to its payload from b, the bytes behind
// the fixed header h that have arrived. It returns the n bytes it has taken;
// the payload is the h.Length-n bytes that follow and Payload is nil. n is 0
// while the head is incomplete: then at least one byte more is needed.
func ParsePublishHead(h Header, b []byte, v Version) (p Publish, n int, err error) {
	b = b[:min(len(b), h.Length)]
	n, err = p.parseHead(h.Flags, b, h.Length, v)
	if n == 0 || err != nil {
		return Publish{}, 0, err
	}
	return p, n, nil
}

// parseHead parses the topic name, packet identifier and properties of a body
// of length bytes, of which those in b have arrived, and returns their size, or
// 0 if b ends before them.
func (p *Publish) parseHead(flags uint8, b []byte, length int, v Version) (n int, err error) {
	if len(b) < 2 {
		return 0, more(2, length)
	}
	n = 2 + int(binary.BigEndian.Uint16(b))
	topicEnd := n
	if flags&flagQoS != 0 {
		n += 2
	}
	if len(b) < n {
		return 0, more(n, length)
	}
	p.Topic = b[2:topicEnd:topicEnd]
	p.QoS = flags & flagQoS >> 1
	p.Dup, p.Retain = flags&flagDup != 0, flags&flagRetain != 0
	if p.QoS > 0 {
		if p.PacketID = binary.BigEndian.Uint16(b[topicEnd:]); p.PacketID == 0 {
			return 0, errPacketID // [MQTT-2.2.1-3]
		}
	}
	if v == V5 {
		if n, err = p.parseSection(b, n, length); n == 0 || err != nil {
			return 0, err
		}
	}
	// Looked at only when the whole head is there: bytes that come one at a time
	// are not looked at again and again.
	if err := checkTopic(p.Topic); err != nil {
		return 0, err
	}
	if len(p.Topic) == 0 && p.Properties.TopicAlias == 0 { // [MQTT-4.7.3-1], section 3.3.2.1
		return 0, &Error{ProtocolError, "PUBLISH without a topic name"}
	}
	return n, nil
}

// parseSection parses the property section at b[n:].
func (p *Publish) parseSection(b []byte, n, length int) (end int, err error) {
	if len(b) > n && b[n] == 0 {
		return n + 1, nil
	}
	size, m, err := parseVarint(b[n:])
	if err != nil {
		return 0, err
	}
	if m == 0 {
		return 0, more(len(b)+1, length)
	}
	if m != varintSize(size) { // [MQTT-1.5.5-1]
		return 0, errVarint
	}
	// The sum fits an int of 32 bits: each part is less than 2^28.
	if end = n + m + int(size); len(b) < end {
		return 0, more(end, length)
	}
	p.Properties, err = parseProperties(b[n+m:end:end], ownedBy(PUBLISH))
	return end, err
}

// more returns the error for a body that would have to be at least need bytes
// long, or nil if it is and they have only not arrived.
func more(need, length int) error {
	if need > length {
		return errShort
	}
	return nil
}

// ParseProperties parses a property section that was kept, such as that of a
// will.
func ParseProperties(section []byte) (PublishProperties, error) {
	return parseProperties(section, ownedBy(PUBLISH)|ofWill)
}

func parseProperties(section []byte, o owner) (PublishProperties, error) {
	p := PublishProperties{Section: section}
	c := cursor{b: section, owner: o}
	for c.next() {
		switch c.id {
		case PayloadFormat:
			p.PayloadFormat = uint8(c.num)
		case MessageExpiry:
			p.Expiry = c.num
		case ContentType:
			p.ContentType = c.text
		case ResponseTopic:
			p.ResponseTopic = c.text
		case CorrelationData:
			p.CorrelationData = c.text
		case TopicAlias:
			p.TopicAlias = uint16(c.num)
		case WillDelay:
			p.Delay = c.num
		default: // a user property, which stays in the section
		}
	}
	if c.err != nil {
		return PublishProperties{}, c.err
	}
	p.present = c.seen
	return p, nil
}
