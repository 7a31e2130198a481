package wire

import "encoding/binary"

// ShortAck is the size of an acknowledgement that is a packet identifier and
// nothing else.
const ShortAck = 4

// AppendPubackRun appends the identifiers of the PUBACKs that b begins with to
// ids, up to its capacity: of those that are a [ShortAck] each. What it stops at,
// also an identifier that is none, is for [ParseFrame] and [ParseAck] to judge.
func AppendPubackRun(ids []uint16, b []byte) []uint16 {
	for len(b) >= ShortAck && b[0] == byte(PUBACK)<<4 && b[1] == 2 && len(ids) < cap(ids) {
		id := binary.BigEndian.Uint16(b[2:])
		if id == 0 { // [MQTT-2.2.1-3]
			break
		}
		ids, b = append(ids, id), b[ShortAck:]
	}
	return ids
}
