package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// The functions here encode, without allocating if dst has room, what a server
// sends once per message.

// ErrHeaderTooLarge says that a property block does not fit in one frame of the
// receiver's frame_max; a content header cannot be split (section 4.2.6.1).
var ErrHeaderTooLarge = errors.New("content header exceeds frame_max")

// emptyProperties is the property block that has none.
const emptyProperties = "\x00\x00"

// Content is what follows a method that has content. Properties is a property
// block as field.AppendProperties makes it; none at all stands for one that is
// empty. The codec reads both slices and keeps neither.
type Content struct {
	Properties []byte
	Body       []byte
}

// AppendAck appends basic.ack.
func AppendAck(dst []byte, channel uint16, tag uint64, multiple bool) []byte {
	return appendSettle(dst, channel, BasicAckID, tag, bit(multiple, 0))
}

// AppendNack appends basic.nack.
func AppendNack(dst []byte, channel uint16, tag uint64, multiple, requeue bool) []byte {
	return appendSettle(dst, channel, BasicNackID, tag, bit(multiple, 0)|bit(requeue, 1))
}

func appendSettle(dst []byte, channel uint16, id MethodID, tag uint64, bits uint8) []byte {
	const size = 4 + 8 + 1
	var b [frameHeaderSize + size + 1]byte
	putFrameHeader(b[:], FrameMethod, channel, size)
	binary.BigEndian.PutUint32(b[7:], uint32(id))
	binary.BigEndian.PutUint64(b[11:], tag)
	b[19] = bits
	b[20] = frameEnd
	return append(dst, b[:]...)
}

// DeliverSize returns how many bytes [AppendDeliver] appends.
func DeliverSize(m *BasicDeliver, c Content, frameMax uint32) int {
	return deliverFrameSize(m) + c.headerFrameSize() + c.bodyFramesSize(chunkSize(frameMax))
}

// AppendDeliver appends basic.deliver with its content, the body split into
// frames of at most frameMax bytes; a frameMax below [MinFrameMax] counts as
// that. It fails with [ErrStringTooLong] or [ErrHeaderTooLarge], for messages
// that came over another protocol or from a peer with a larger frame_max.
func AppendDeliver(dst []byte, channel uint16, m *BasicDeliver, c Content, frameMax uint32) ([]byte, error) {
	if err := checkDeliver(m, c, frameMax); err != nil {
		return dst, err
	}
	chunk := chunkSize(frameMax)
	size := deliverFrameSize(m) + c.headerFrameSize() + c.bodyFramesSize(chunk)
	dst = slices.Grow(dst, size)
	end := len(dst) + size
	b := dst[len(dst):end]
	b = putDeliver(b, channel, m)
	b = putHeader(b, channel, c)
	putBody(b, channel, c.Body, chunk)
	return dst[:end], nil
}

// AppendDeliverVec is [AppendDeliver] for a body that is worth not copying: it
// appends the framing to buf and, to vec, slices that alternate between that
// framing and c.Body and make up the same bytes. What buf held before is not
// put into vec. Until vec is written the caller may append to buf but must
// neither change nor reuse what buf and c.Body hold.
func AppendDeliverVec(vec [][]byte, buf []byte, channel uint16, m *BasicDeliver, c Content, frameMax uint32) ([][]byte, []byte, error) {
	if err := checkDeliver(m, c, frameMax); err != nil {
		return vec, buf, err
	}
	chunk := chunkSize(frameMax)
	head := deliverFrameSize(m) + c.headerFrameSize()
	start := len(buf)
	buf = slices.Grow(buf, head+c.bodyFramesSize(chunk)-len(c.Body))
	buf = buf[:start+head]
	putHeader(putDeliver(buf[start:], channel, m), channel, c)
	vec, buf = appendBodyVec(vec, buf, start, channel, c.Body, chunk)
	return vec, buf, nil
}

// appendBodyVec appends the framing of a body to buf and, to vec, slices that
// alternate between what buf holds from start on and the body.
func appendBodyVec(vec [][]byte, buf []byte, start int, channel uint16, body []byte, chunk int) ([][]byte, []byte) {
	for len(body) > 0 {
		n := min(len(body), chunk)
		buf = appendFrameHeader(buf, FrameBody, channel, uint32(n))
		vec = append(vec, buf[start:len(buf):len(buf)], body[:n:n])
		start = len(buf)
		buf = append(buf, frameEnd)
		body = body[n:]
	}
	return append(vec, buf[start:len(buf):len(buf)]), buf
}

// AppendVec appends a method with its content as [AppendDeliverVec] does, for
// basic.get-ok and basic.return.
func AppendVec(vec [][]byte, buf []byte, channel uint16, m Method, c Content, frameMax uint32) ([][]byte, []byte, error) {
	if err := c.check(frameMax); err != nil {
		return vec, buf, fmt.Errorf("encode %s: %w", m.ID(), err)
	}
	chunk, start := chunkSize(frameMax), len(buf)
	// At once, so that what is in vec stays where it is.
	buf = slices.Grow(buf, methodMax+c.headerFrameSize()+c.bodyFramesSize(chunk)-len(c.Body))
	out, err := AppendMethod(buf, channel, m)
	if err != nil {
		return vec, buf, err
	}
	head := len(out)
	out = out[:head+c.headerFrameSize()]
	putHeader(out[head:], channel, c)
	vec, out = appendBodyVec(vec, out, start, channel, c.Body, chunk)
	return vec, out, nil
}

// methodMax is the most that a frame with get-ok or return takes: three strings
// and numbers.
const methodMax = FrameOverhead + 4 + 3*(1+maxShortstr) + 16

// AppendReturn appends basic.return with its content; for frameMax and the
// errors see [AppendDeliver].
func AppendReturn(dst []byte, channel uint16, m *BasicReturn, c Content, frameMax uint32) ([]byte, error) {
	e := beginMethod(dst, channel, BasicReturnID)
	m.encode(&e)
	return e.endWithContent(dst, channel, BasicReturnID, c, frameMax)
}

// AppendGetOK appends basic.get-ok with its content; for frameMax and the
// errors see [AppendDeliver].
func AppendGetOK(dst []byte, channel uint16, m *BasicGetOK, c Content, frameMax uint32) ([]byte, error) {
	e := beginMethod(dst, channel, BasicGetOKID)
	m.encode(&e)
	return e.endWithContent(dst, channel, BasicGetOKID, c, frameMax)
}

// AppendPublish appends basic.publish with its content, as a client sends it;
// for frameMax and the errors see [AppendDeliver].
func AppendPublish(dst []byte, channel uint16, m *BasicPublish, c Content, frameMax uint32) ([]byte, error) {
	e := beginMethod(dst, channel, BasicPublishID)
	m.encode(&e)
	return e.endWithContent(dst, channel, BasicPublishID, c, frameMax)
}

// endWithContent closes the method frame that was begun after dst and appends
// the content.
func (e *encoder) endWithContent(dst []byte, channel uint16, id MethodID, c Content, frameMax uint32) ([]byte, error) {
	if err := c.check(frameMax); err != nil {
		e.fail(err)
	}
	out, err := e.end(dst, id)
	if err != nil {
		return dst, err
	}
	chunk := chunkSize(frameMax)
	size := c.headerFrameSize() + c.bodyFramesSize(chunk)
	out = slices.Grow(out, size)
	end := len(out) + size
	putBody(putHeader(out[len(out):end], channel, c), channel, c.Body, chunk)
	return out[:end], nil
}

// chunkSize returns how much of a body goes into one frame.
func chunkSize(frameMax uint32) int {
	return int(min(max(frameMax, MinFrameMax)-FrameOverhead, math.MaxInt32))
}

func checkDeliver(m *BasicDeliver, c Content, frameMax uint32) error {
	if len(m.ConsumerTag) > maxShortstr || len(m.Exchange) > maxShortstr || len(m.RoutingKey) > maxShortstr {
		return ErrStringTooLong
	}
	return c.check(frameMax)
}

func (c Content) check(frameMax uint32) error {
	if contentHeaderSize+len(c.Properties) > chunkSize(frameMax) {
		return ErrHeaderTooLarge
	}
	return nil
}

func (c Content) headerFrameSize() int {
	return FrameOverhead + contentHeaderSize + max(len(c.Properties), len(emptyProperties))
}

func (c Content) bodyFramesSize(chunk int) int {
	if len(c.Body) <= chunk { // spares the usual message a division
		return len(c.Body) + FrameOverhead*min(len(c.Body), 1)
	}
	return len(c.Body) + FrameOverhead*((len(c.Body)-1)/chunk+1)
}

func deliverFrameSize(m *BasicDeliver) int {
	return FrameOverhead + deliverFixedSize + len(m.ConsumerTag) + len(m.Exchange) + len(m.RoutingKey)
}

// deliverFixedSize is that of basic.deliver without its strings: the method id,
// three lengths, the delivery tag and a bit.
const deliverFixedSize = 4 + 3 + 8 + 1

// The put functions write to the start of b, which has room, and return what
// remains of it.

func putDeliver(b []byte, channel uint16, m *BasicDeliver) []byte {
	putFrameHeader(b, FrameMethod, channel, uint32(deliverFrameSize(m)-FrameOverhead))
	binary.BigEndian.PutUint32(b[frameHeaderSize:], uint32(BasicDeliverID))
	b = putShortstr(b[frameHeaderSize+4:], m.ConsumerTag)
	binary.BigEndian.PutUint64(b, m.DeliveryTag)
	b[8] = bit(m.Redelivered, 0)
	b = putShortstr(b[9:], m.Exchange)
	b = putShortstr(b, m.RoutingKey)
	b[0] = frameEnd
	return b[1:]
}

func putShortstr(b []byte, s string) []byte {
	b[0] = byte(len(s))
	return b[1+copy(b[1:], s):]
}

func putHeader(b []byte, channel uint16, c Content) []byte {
	size := c.headerFrameSize() - FrameOverhead
	putFrameHeader(b, FrameHeader, channel, uint32(size))
	binary.BigEndian.PutUint32(b[7:], uint32(ClassBasic)<<16) // and weight 0
	binary.BigEndian.PutUint64(b[11:], uint64(len(c.Body)))
	if len(c.Properties) == 0 {
		copy(b[19:], emptyProperties)
	} else {
		copy(b[19:], c.Properties)
	}
	b[frameHeaderSize+size] = frameEnd
	return b[frameHeaderSize+size+1:]
}

func putBody(b []byte, channel uint16, body []byte, chunk int) {
	for len(body) > 0 {
		n := min(len(body), chunk)
		putFrameHeader(b, FrameBody, channel, uint32(n))
		copy(b[frameHeaderSize:], body[:n])
		b[frameHeaderSize+n] = frameEnd
		b = b[n+FrameOverhead:]
		body = body[n:]
	}
}
