package wire

import "encoding/binary"

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP.
type Ack struct {
	PacketID uint16
	Reason   ReasonCode // of MQTT 5, else [Success]
	// Properties is the property section: at most one [ReasonString], and user
	// properties. When parsed, it aliases the input.
	Properties []byte
}

// ParseAck parses the body of a PUBACK, PUBREC, PUBREL or PUBCOMP.
func ParseAck(f Frame, v Version) (a Ack, err error) {
	if err := checkDup(f, v); err != nil {
		return Ack{}, err
	}
	b := f.Body
	if len(b) < 2 {
		return Ack{}, errShort
	}
	if a.PacketID = binary.BigEndian.Uint16(b); a.PacketID == 0 {
		return Ack{}, errPacketID // [MQTT-2.2.1-3]
	}
	if len(b) == 2 {
		return a, nil
	}
	if v != V5 {
		return Ack{}, errTrailing
	}
	if a.Reason = ReasonCode(b[2]); !ackReason(f.Type, a.Reason) {
		return Ack{}, errReasonCode // [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
	}
	if len(b) == 3 { // section 3.4.2.2.1: no property length
		return a, nil
	}
	section, rest, err := cutSection(b[3:])
	if err != nil {
		return Ack{}, err
	}
	if len(rest) > 0 {
		return Ack{}, errTrailing
	}
	if len(section) > 0 {
		c := cursor{b: section, owner: ownedBy(f.Type)}
		if err := c.drain(); err != nil {
			return Ack{}, err
		}
		a.Properties = section
	}
	return a, nil
}

// ackReason reports whether an acknowledgement of type t can have reason c.
func ackReason(t PacketType, c ReasonCode) bool {
	if c == Success {
		return true
	}
	if t == PUBREL || t == PUBCOMP {
		return c == PacketIDNotFound
	}
	switch c {
	case NoMatchingSubscribers, UnspecifiedError, ImplementationSpecific, NotAuthorized, TopicNameInvalid,
		PacketIDInUse, QuotaExceeded, PayloadFormatInvalid:
		return true
	default:
		return false
	}
}

// AppendAck appends an acknowledgement of type t. For a receiver of another
// version than 5 only the packet identifier is written. Properties of more than
// 65,535 bytes are left out.
func AppendAck(dst []byte, t PacketType, v Version, a Ack) []byte {
	first := byte(t) << 4
	if t == PUBREL {
		first |= flagsReserved
	}
	section := len(a.Properties)
	if section > maxString {
		section = 0
	}
	switch {
	case v != V5 || a.Reason == Success && section == 0:
		return append(dst, first, 2, byte(a.PacketID>>8), byte(a.PacketID))
	case section == 0:
		return append(dst, first, 3, byte(a.PacketID>>8), byte(a.PacketID), byte(a.Reason))
	}
	dst = appendVarint(append(dst, first), uint32(3+varintSize(uint32(section))+section))
	dst = append(dst, byte(a.PacketID>>8), byte(a.PacketID), byte(a.Reason))
	return append(appendVarint(dst, uint32(section)), a.Properties...)
}

// AckSize returns the size of the packet that [AppendAck] appends.
func AckSize(v Version, a Ack) int {
	section := len(a.Properties)
	if section > maxString {
		section = 0
	}
	switch {
	case v != V5 || a.Reason == Success && section == 0:
		return 4
	case section == 0:
		return 5
	}
	return packetSize(3 + varintSize(uint32(section)) + section)
}
