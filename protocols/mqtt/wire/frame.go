package wire

import "math"

const (
	// MaxRemaining is the largest remaining length (section 2.1.4).
	MaxRemaining = 1<<28 - 1
	// MaxHeader is the size of the longest fixed header.
	MaxHeader = 5
)

// Header is a packet's fixed header.
type Header struct {
	Type   PacketType
	Flags  uint8 // the lower half of the first byte
	Length int   // remaining length: of the body
}

// Frame is one packet. Body aliases the input.
type Frame struct {
	Type  PacketType
	Flags uint8
	Body  []byte
}

// ParseFrame parses the packet at the start of b and returns the n bytes it
// takes; n is 0 while b does not yet hold all of it, and [FrameSize] then says
// how many bytes to wait for. A packet of more than maxPacket bytes, its fixed
// header included, is refused as soon as its length is there, so that no reader
// grows its buffer for it.
func ParseFrame(b []byte, maxPacket uint32) (f Frame, n int, err error) {
	h, n, err := ParseHeader(b, maxPacket)
	if n == 0 || err != nil {
		return Frame{}, 0, err
	}
	end := n + h.Length
	if len(b) < end {
		return Frame{}, 0, nil
	}
	return Frame{Type: h.Type, Flags: h.Flags, Body: b[n:end:end]}, end, nil
}

// FrameSize returns how many bytes the packet at the start of b takes, so that
// a reader can make room for it, or 0 if its length has not arrived: then one
// byte more is needed. It checks nothing: [ParseFrame] has to have returned
// n == 0 for the same b.
func FrameSize(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	length, n, _ := parseVarint(b[1:])
	if n == 0 {
		return 0
	}
	return 1 + n + int(length)
}

// ParseHeader parses the fixed header at the start of b alone and returns the n
// bytes it takes, or 0 while it is incomplete. It is for a reader that takes a
// large payload past its buffer ([ParsePublishHead]).
func ParseHeader(b []byte, maxPacket uint32) (h Header, n int, err error) {
	if len(b) == 0 {
		return Header{}, 0, nil
	}
	h.Type, h.Flags = PacketType(b[0]>>4), b[0]&0xF
	if err := checkFlags(h.Type, h.Flags); err != nil {
		return Header{}, 0, err
	}
	length, n, err := parseVarint(b[1:])
	if n == 0 || err != nil {
		return Header{}, 0, err
	}
	n++
	if uint32(n)+length > maxPacket {
		return Header{}, 0, Errorf(PacketTooLarge, "%s of %d bytes, the limit is %d", h.Type, uint32(n)+length, maxPacket)
	}
	if length > 0 && (h.Type == PINGREQ || h.Type == PINGRESP) {
		return Header{}, 0, errTrailing
	}
	h.Length = int(length)
	return h, n, nil
}

const (
	flagRetain = 1 << 0
	flagQoS    = 3 << 1
	flagDup    = 1 << 3

	// flagsReserved are the flags of PUBREL, SUBSCRIBE and UNSUBSCRIBE: reserved,
	// and in MQTT 3.1 a QoS of 1.
	flagsReserved = 1 << 1
)

// checkFlags refuses what no version allows. DUP on the packets that are not
// PUBLISH is left to where the version is known.
func checkFlags(t PacketType, flags uint8) error {
	switch t {
	case PUBLISH:
		if flags&flagQoS == flagQoS { // [MQTT-3.3.1-4]
			return &Error{MalformedPacket, "PUBLISH with QoS 3"}
		}
		if flags&(flagQoS|flagDup) == flagDup { // [MQTT-3.3.1-2]
			return &Error{ProtocolError, "PUBLISH with DUP and QoS 0"}
		}
		return nil
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		if flags&^flagDup != flagsReserved { // [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]
			return errFlags
		}
		return nil
	case 0:
		return &Error{MalformedPacket, "packet type 0"}
	default:
		if flags != 0 { // [MQTT-2.1.3-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1]
			return errFlags
		}
		return nil
	}
}

// checkDup refuses DUP on a packet that is not PUBLISH, save in MQTT 3.1.
func checkDup(f Frame, v Version) error {
	if f.Flags&flagDup != 0 && v != V31 {
		return errFlags
	}
	return nil
}

// parseVarint parses the variable byte integer at the start of b. n is 0 while
// it is incomplete.
func parseVarint(b []byte) (v uint32, n int, err error) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint32(b[0]), 1, nil
	}
	for i := range min(len(b), 4) {
		v |= uint32(b[i]&0x7F) << (7 * i)
		if b[i] < 0x80 {
			return v, i + 1, nil
		}
	}
	if len(b) >= 4 {
		return 0, 0, errVarint // section 1.5.5: at most four bytes
	}
	return 0, 0, nil
}

func appendVarint(dst []byte, v uint32) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

// varintSize returns the number of bytes that appendVarint appends.
func varintSize(v uint32) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	}
	return 4
}

// packetSize returns the size of the packet whose body has length bytes, or
// math.MaxInt if there can be no such packet.
func packetSize(length int) int {
	if length > MaxRemaining {
		return math.MaxInt
	}
	return 1 + varintSize(uint32(length)) + length
}

// AppendPingresp appends a PINGRESP packet.
func AppendPingresp(dst []byte) []byte { return append(dst, byte(PINGRESP)<<4, 0) }
