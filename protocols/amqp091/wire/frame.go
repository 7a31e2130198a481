package wire

import (
	"encoding/binary"
	"math"
)

// FrameType is the first byte of a frame.
type FrameType uint8

// The frame types (section 4.2.3).
const (
	FrameMethod    FrameType = 1
	FrameHeader    FrameType = 2
	FrameBody      FrameType = 3
	FrameHeartbeat FrameType = 8
)

const (
	frameEnd        = 0xCE
	frameHeaderSize = 7

	// FrameOverhead is what a frame adds to its payload.
	FrameOverhead = frameHeaderSize + 1
	// MinFrameMax is the least frame_max a peer may ask for, and the one that
	// holds until tune-ok (section 4.2.3, frame-min-size).
	MinFrameMax = 4096
)

// Frame is one frame. Payload aliases the input.
type Frame struct {
	Type    FrameType
	Channel uint16
	Payload []byte
}

// ParseFrame parses the frame at the start of b and returns the n bytes it
// takes; n is 0 while b does not yet hold all of it. A frame that announces
// more than frameMax bytes is refused as soon as its size is there, so that no
// reader grows its buffer for it. Peers without a limit use math.MaxUint32.
func ParseFrame(b []byte, frameMax uint32) (f Frame, n int, err error) {
	if len(b) < frameHeaderSize {
		if len(b) > 0 && !validType(FrameType(b[0])) {
			return Frame{}, 0, errFrameType(b[0])
		}
		return Frame{}, 0, nil
	}
	if !validType(FrameType(b[0])) {
		return Frame{}, 0, errFrameType(b[0])
	}
	size := binary.BigEndian.Uint32(b[3:])
	// In 64 bits: size+FrameOverhead may not fit in 32.
	total := uint64(size) + FrameOverhead
	if total > uint64(frameMax) || total > math.MaxInt {
		return Frame{}, 0, Errorf(FrameError, 0, "frame of %d bytes exceeds frame_max of %d", total, frameMax)
	}
	if uint64(len(b)) < total {
		return Frame{}, 0, nil
	}
	n = int(total)
	if b[n-1] != frameEnd {
		return Frame{}, 0, Errorf(FrameError, 0, "frame ends in octet %#02x instead of 0xce", b[n-1])
	}
	return Frame{
		Type:    FrameType(b[0]),
		Channel: binary.BigEndian.Uint16(b[1:]),
		Payload: b[frameHeaderSize : n-1 : n-1],
	}, n, nil
}

// FrameSize returns how many bytes the frame at the start of b takes, so that a
// reader can make room for it, or 0 if its size has not arrived. It checks
// nothing: [ParseFrame] has to have returned n == 0 for the same b.
func FrameSize(b []byte) int {
	if len(b) < frameHeaderSize {
		return 0
	}
	return int(binary.BigEndian.Uint32(b[3:])) + FrameOverhead
}

func validType(t FrameType) bool {
	return FrameMethod <= t && t <= FrameBody || t == FrameHeartbeat
}

func errFrameType(t byte) *Error { return Errorf(FrameError, 0, "unknown frame type %d", t) }

// AppendHeartbeat appends a heartbeat frame.
func AppendHeartbeat(dst []byte) []byte {
	return append(dst, byte(FrameHeartbeat), 0, 0, 0, 0, 0, 0, frameEnd)
}

func appendFrameHeader(dst []byte, t FrameType, channel uint16, size uint32) []byte {
	return append(dst, byte(t), byte(channel>>8), byte(channel),
		byte(size>>24), byte(size>>16), byte(size>>8), byte(size))
}

// putFrameHeader writes a frame header to the start of b.
func putFrameHeader(b []byte, t FrameType, channel uint16, size uint32) {
	_ = b[frameHeaderSize-1]
	b[0] = byte(t)
	binary.BigEndian.PutUint16(b[1:], channel)
	binary.BigEndian.PutUint32(b[3:], size)
}
