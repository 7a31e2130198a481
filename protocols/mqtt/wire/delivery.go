package wire

import (
	"encoding/binary"
	"math"
)

// Delivery is a PUBLISH to be sent. The fields below PacketID that are not the
// payload are for MQTT 5 only and ignored for a receiver of another version.
type Delivery struct {
	Topic    []byte // may be empty where TopicAlias has been sent with it before
	QoS      uint8
	Dup      bool // ignored with QoS 0 [MQTT-3.3.1-2] [MQTT-4.3.1-1]
	Retain   bool
	PacketID uint16 // ignored with QoS 0 [MQTT-2.2.1-2]

	// Properties is the section that goes to every receiver alike, as
	// [PublishProperties.AppendForward] makes it.
	Properties []byte
	HasExpiry  bool
	Expiry     uint32 // seconds that are left [MQTT-3.3.2-6]
	TopicAlias uint16 // 0 for none
	// SubscriptionIDs are those of the matching subscriptions that have one
	// [MQTT-3.3.4-3]; the others, 0, are left out.
	SubscriptionIDs []uint32

	Payload []byte
}

// Size returns the size of the packet that [Delivery.Append] appends, for
// comparison with the receiver's maximum packet size, or math.MaxInt if there
// can be no such packet.
func (d *Delivery) Size(v Version) int {
	if len(d.Topic) > maxString || uint64(len(d.Payload)) > MaxRemaining {
		return math.MaxInt
	}
	return packetSize(d.length(v, d.sectionSize(v)))
}

// sectionSize returns the size of the property section.
func (d *Delivery) sectionSize(v Version) (n int) {
	if v != V5 {
		return 0
	}
	n = len(d.Properties)
	if d.HasExpiry {
		n += 5
	}
	if d.TopicAlias != 0 {
		n += 3
	}
	for _, id := range d.SubscriptionIDs {
		if id != 0 {
			n += 1 + varintSize(id)
		}
	}
	return n
}

// length returns the remaining length for a property section of that size.
func (d *Delivery) length(v Version, section int) int {
	n := 2 + len(d.Topic) + len(d.Payload)
	if d.QoS > 0 {
		n += 2
	}
	if v == V5 {
		n += varintSize(uint32(min(section, MaxRemaining))) + section
	}
	return n
}

// Append appends the whole packet.
func (d *Delivery) Append(dst []byte, v Version) ([]byte, error) {
	out, err := d.AppendHead(dst, v)
	if err != nil {
		return dst, err
	}
	return append(out, d.Payload...), nil
}

// AppendHead appends the packet up to its payload, for a large payload that is
// then written from where it is.
func (d *Delivery) AppendHead(dst []byte, v Version) ([]byte, error) {
	if len(d.Topic) > maxString {
		return dst, ErrTopicTooLong
	}
	section := d.sectionSize(v)
	length := d.length(v, section)
	if length > MaxRemaining {
		return dst, ErrTooLarge
	}
	first := byte(PUBLISH)<<4 | d.QoS<<1
	if d.Dup && d.QoS > 0 {
		first |= flagDup
	}
	if d.Retain {
		first |= flagRetain
	}
	dst = appendVarint(append(dst, first), uint32(length))
	dst = appendData(dst, d.Topic)
	if d.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, d.PacketID)
	}
	if v == V5 {
		dst = d.appendSection(appendVarint(dst, uint32(section)))
	}
	return dst, nil
}

func (d *Delivery) appendSection(dst []byte) []byte {
	if d.HasExpiry {
		dst = AppendNumber(dst, MessageExpiry, d.Expiry)
	}
	if d.TopicAlias != 0 {
		dst = AppendNumber(dst, TopicAlias, uint32(d.TopicAlias))
	}
	for _, id := range d.SubscriptionIDs {
		if id != 0 {
			dst = AppendNumber(dst, SubscriptionIdentifier, id)
		}
	}
	return append(dst, d.Properties...)
}
