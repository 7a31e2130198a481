package wire

import "encoding/binary"

// Whole is a basic.publish with all of its content, as it lies in a read buffer.
// Its slices alias that.
type Whole struct {
	Publish
	Channel    uint16
	Properties []byte // as in ContentHeader
	Body       []byte

	// Span is everything from the first byte of Properties to the last of Body, with
	// the framing in between: one copy of it holds both.
	Span []byte
}

// ParseWhole parses the message that b begins with: method, content header and at
// most one body frame. It returns the bytes that this takes, and 0 wherever anything
// is not as it usually is: frames that have not all arrived, more than one of the
// body, another channel or method in between, a fault. What it is then is found out
// frame by frame, with [ParseFrame], [ParsePublish] and [ParseContentHeader], which
// make the same of all that is accepted here.
func ParseWhole(w *Whole, b []byte, frameMax uint32) (n int) {
	if len(b) < frameHeaderSize {
		return 0
	}
	w.Channel = binary.BigEndian.Uint16(b[1:])
	method, n := w.cutFrame(b, 0, FrameMethod, frameMax)
	if len(method) < 4 || MethodID(binary.BigEndian.Uint32(method)) != BasicPublishID {
		return 0
	}
	header, n := w.cutFrame(b, n, FrameHeader, frameMax)
	if len(header) < contentHeaderSize+2 || binary.BigEndian.Uint32(header) != uint32(ClassBasic)<<16 { // and a weight of 0
		return 0
	}
	var err error
	if w.Publish, err = ParsePublish(method[4:]); err != nil || w.Immediate {
		return 0
	}
	w.Properties, w.Body = header[contentHeaderSize:], nil
	start := n - 1 - len(w.Properties)
	if size := binary.BigEndian.Uint64(header[4:]); size > 0 {
		if w.Body, n = w.cutFrame(b, n, FrameBody, frameMax); uint64(len(w.Body)) != size {
			return 0
		}
	}
	w.Span = b[start : n-1]
	return n
}

// cutFrame returns the payload of the frame that begins at b[off] and the offset of
// the next; nil if it is not one of that type and w's channel, or not all there.
func (w *Whole) cutFrame(b []byte, off int, t FrameType, frameMax uint32) (payload []byte, next int) {
	b = b[off:]
	if len(b) < FrameOverhead || FrameType(b[0]) != t || binary.BigEndian.Uint16(b[1:]) != w.Channel {
		return nil, 0
	}
	total := uint64(binary.BigEndian.Uint32(b[3:])) + FrameOverhead
	if total > uint64(min(len(b), int(frameMax))) || b[total-1] != frameEnd {
		return nil, 0
	}
	return b[frameHeaderSize : total-1 : total-1], off + int(total)
}

// spanGap is what lies between properties and body: the end of one frame and the
// header of the next.
const spanGap = 1 + frameHeaderSize

// Clone returns a copy of properties and body, in one piece of memory.
func (w *Whole) Clone() (properties, body []byte) {
	// Memory that append takes is not cleared before it is written.
	b := append([]byte(nil), w.Span...)
	n := len(w.Properties)
	if len(w.Body) == 0 {
		return b, nil
	}
	return b[:n:n], b[n+spanGap:]
}
