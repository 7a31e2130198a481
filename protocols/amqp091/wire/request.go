package wire

import "encoding/binary"

// The functions here decode, without allocating, the methods that a client
// sends once per message. They take the arguments that [ParseMethod] split off
// and accept exactly what [DecodeMethod] does.

// Publish is basic.publish. Its slices alias the frame.
type Publish struct {
	Exchange   []byte
	RoutingKey []byte
	Mandatory  bool
	Immediate  bool
}

// ParsePublish decodes the arguments of basic.publish:
//
//	reserved:short exchange:shortstr routing-key:shortstr mandatory:bit immediate:bit
func ParsePublish(args []byte) (Publish, error) {
	// Every length below is a byte, so no sum can overflow.
	if len(args) < 3 {
		return Publish{}, malformed(BasicPublishID, errShort)
	}
	exchangeEnd := 3 + int(args[2])
	if len(args) <= exchangeEnd {
		return Publish{}, malformed(BasicPublishID, errShort)
	}
	keyStart := exchangeEnd + 1
	keyEnd := keyStart + int(args[exchangeEnd])
	if err := checkLength(args, keyEnd+1); err != nil {
		return Publish{}, malformed(BasicPublishID, err)
	}
	bits := args[keyEnd]
	return Publish{
		Exchange:   args[3:exchangeEnd:exchangeEnd],
		RoutingKey: args[keyStart:keyEnd:keyEnd],
		Mandatory:  bits&1 != 0,
		Immediate:  bits&2 != 0,
	}, nil
}

// ParseAck decodes the arguments of basic.ack.
func ParseAck(args []byte) (BasicAck, error) {
	tag, bits, err := parseSettle(args, BasicAckID)
	return BasicAck{DeliveryTag: tag, Multiple: bits&1 != 0}, err
}

// ParseNack decodes the arguments of basic.nack.
func ParseNack(args []byte) (BasicNack, error) {
	tag, bits, err := parseSettle(args, BasicNackID)
	return BasicNack{DeliveryTag: tag, Multiple: bits&1 != 0, Requeue: bits&2 != 0}, err
}

// ParseReject decodes the arguments of basic.reject.
func ParseReject(args []byte) (BasicReject, error) {
	tag, bits, err := parseSettle(args, BasicRejectID)
	return BasicReject{DeliveryTag: tag, Requeue: bits&1 != 0}, err
}

// parseSettle decodes what the three have in common: a delivery tag and bits.
func parseSettle(args []byte, id MethodID) (tag uint64, bits uint8, err error) {
	if err := checkLength(args, 9); err != nil {
		return 0, 0, malformed(id, err)
	}
	return binary.BigEndian.Uint64(args), args[8], nil
}

// checkLength says whether args are as long as what they are to hold.
func checkLength(args []byte, want int) error {
	switch {
	case len(args) < want:
		return errShort
	case len(args) > want:
		return errTrailing
	}
	return nil
}

// ContentHeader is the payload of a content header frame.
type ContentHeader struct {
	Class    uint16
	BodySize uint64
	// Properties is the property flags and list, for field.CheckProperties and
	// field.ParseProperties. It aliases the frame.
	Properties []byte
}

// contentHeaderSize is that of class, weight and body size.
const contentHeaderSize = 12

// ParseContentHeader parses the payload of a content header frame. It does not
// look into the property block; [MalformedProperties] makes an error of what
// package field says of that.
//
//	0          2        4           12               14
//	+----------+--------+-----------+----------------+-----------------+
//	| class-id | weight | body size | property flags | property list...|
//	+----------+--------+-----------+----------------+-----------------+
//	  short      short    longlong     short
func ParseContentHeader(payload []byte) (ContentHeader, error) {
	if len(payload) < contentHeaderSize+2 {
		return ContentHeader{}, Errorf(FrameError, 0, "content header of %d bytes is too short", len(payload))
	}
	if weight := binary.BigEndian.Uint16(payload[2:]); weight != 0 {
		// Section 4.2.6.1: the weight is unused and must be zero. The code is
		// RabbitMQ's, to whom such a header is not a content header.
		return ContentHeader{}, Errorf(UnexpectedFrame, 0, "content header has weight %d instead of 0", weight)
	}
	return ContentHeader{
		Class:      binary.BigEndian.Uint16(payload),
		BodySize:   binary.BigEndian.Uint64(payload[4:]),
		Properties: payload[contentHeaderSize:],
	}, nil
}

// MalformedProperties is the error for a property block that field refused for
// the reason err, of content that followed the given method.
func MalformedProperties(method MethodID, err error) *Error {
	return Errorf(SyntaxError, method, "malformed content properties: %v", err)
}
