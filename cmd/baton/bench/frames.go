package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A frame on the wire (AMQP 0-9-1 section 4.2.3):
//
//	0      1         3             7                  size+7 size+8
//	+------+---------+-------------+------------------+------+
//	| type | channel |    size     |     payload      | 0xCE |
//	+------+---------+-------------+------------------+------+
const (
	frameMethod = 1
	frameHeader = 2
	frameBody   = 3

	frameHeaderSize = 7
	frameOverhead   = frameHeaderSize + 1
	frameEnd        = 0xCE
)

// protocolHeader opens a connection (section 4.2.2).
const protocolHeader = "AMQP\x00\x00\x09\x01"

// methodID is a method's class in the high and its index in the low 16 bits, as
// the first four octets of a method frame's payload read.
type methodID uint32

const (
	connectionStart   methodID = 10<<16 | 10
	connectionStartOk methodID = 10<<16 | 11
	connectionTune    methodID = 10<<16 | 30
	connectionTuneOk  methodID = 10<<16 | 31
	connectionOpen    methodID = 10<<16 | 40
	connectionOpenOk  methodID = 10<<16 | 41
	connectionClose   methodID = 10<<16 | 50
	channelOpen       methodID = 20<<16 | 10
	channelOpenOk     methodID = 20<<16 | 11
	channelClose      methodID = 20<<16 | 40
	queueBind         methodID = 50<<16 | 20
	queueBindOk       methodID = 50<<16 | 21
	basicQos          methodID = 60<<16 | 10
	basicQosOk        methodID = 60<<16 | 11
	basicConsume      methodID = 60<<16 | 20
	basicConsumeOk    methodID = 60<<16 | 21
	basicCancel       methodID = 60<<16 | 30
	basicPublish      methodID = 60<<16 | 40
	basicDeliver      methodID = 60<<16 | 60
	basicAck          methodID = 60<<16 | 80
	basicNack         methodID = 60<<16 | 120
	confirmSelect     methodID = 85<<16 | 10
	confirmSelectOk   methodID = 85<<16 | 11
)

const (
	classBasic = 60
	// flagDeliveryMode is the property flag of delivery-mode, basic's fourth
	// property; deliveryPersistent its value for messages that survive a restart.
	flagDeliveryMode   = 1 << 12
	deliveryPersistent = 2
)

func appendFrame(dst []byte, typ byte, channel uint16, payload ...[]byte) []byte {
	size := 0
	for _, p := range payload {
		size += len(p)
	}
	dst = append(dst, typ)
	dst = binary.BigEndian.AppendUint16(dst, channel)
	dst = binary.BigEndian.AppendUint32(dst, uint32(size))
	for _, p := range payload {
		dst = append(dst, p...)
	}
	return append(dst, frameEnd)
}

func appendMethod(dst []byte, channel uint16, id methodID, args []byte) []byte {
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(id))
	return appendFrame(dst, frameMethod, channel, head[:], args)
}

func appendShortstr(dst []byte, s string) []byte {
	return append(append(dst, byte(len(s))), s...)
}

func appendLongstr(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(s))), s...)
}

// message is what a producer publishes, again and again.
type message struct {
	exchange   string   // "": the default exchange
	keys       []string // routing keys, used in turn
	body       []byte
	persistent bool
}

// appendMessage appends the publish method, the content header and as many body
// frames as frameMax asks for (section 4.2.6).
func appendMessage(dst []byte, channel uint16, m message, key string, frameMax int) []byte {
	args := []byte{0, 0}                    // reserved-1
	args = appendShortstr(args, m.exchange) // exchange
	args = appendShortstr(args, key)        // routing-key
	args = append(args, 0)                  // mandatory, immediate
	dst = appendMethod(dst, channel, basicPublish, args)

	header := binary.BigEndian.AppendUint16(nil, classBasic)
	header = binary.BigEndian.AppendUint16(header, 0) // weight
	header = binary.BigEndian.AppendUint64(header, uint64(len(m.body)))
	if m.persistent {
		header = binary.BigEndian.AppendUint16(header, flagDeliveryMode)
		header = append(header, deliveryPersistent)
	} else {
		header = binary.BigEndian.AppendUint16(header, 0)
	}
	dst = appendFrame(dst, frameHeader, channel, header)

	for rest := m.body; len(rest) > 0; {
		n := min(len(rest), frameMax-frameOverhead)
		dst = appendFrame(dst, frameBody, channel, rest[:n])
		rest = rest[n:]
	}
	return dst
}

// appendAck appends a basic.ack; it is the one frame encoded while the clock runs.
func appendAck(dst []byte, channel uint16, tag uint64, multiple bool) []byte {
	dst = append(dst, frameMethod)
	dst = binary.BigEndian.AppendUint16(dst, channel)
	dst = binary.BigEndian.AppendUint32(dst, 4+8+1)
	dst = binary.BigEndian.AppendUint32(dst, uint32(basicAck))
	dst = binary.BigEndian.AppendUint64(dst, tag)
	if multiple {
		return append(dst, 1, frameEnd)
	}
	return append(dst, 0, frameEnd)
}

// frame is one frame as read; its payload is valid until the reader's next fill.
type frame struct {
	typ     byte
	channel uint16
	payload []byte
}

// method splits a method frame's payload.
func (f frame) method() (methodID, []byte, error) {
	if len(f.payload) < 4 {
		return 0, nil, errors.New("method frame without a method")
	}
	return methodID(binary.BigEndian.Uint32(f.payload)), f.payload[4:], nil
}

// frameReader cuts a byte stream into frames. take answers from what is buffered
// and fill reads more, so that a caller can act once per read instead of once per
// frame.
type frameReader struct {
	src  io.Reader
	buf  []byte
	r, w int
}

const (
	// readBuffer holds the largest frame that tune-ok allows (maxFrame) at least
	// twice, so that a frame always fits and a fill is worth its system call.
	readBuffer = 512 << 10
	// smallReadBuffer is that of a connection among many, which agrees to frames
	// of half of it.
	smallReadBuffer = 32 << 10
)

func newFrameReader(src io.Reader, buffer int) *frameReader {
	return &frameReader{src: src, buf: make([]byte, buffer)}
}

// take returns the next whole frame that is buffered, or false.
func (f *frameReader) take() (frame, bool, error) {
	b := f.buf[f.r:f.w]
	if len(b) < frameHeaderSize {
		return frame{}, false, nil
	}
	size := int(binary.BigEndian.Uint32(b[3:7]))
	if size > len(f.buf)-frameOverhead {
		return frame{}, false, fmt.Errorf("frame of %d bytes is larger than was tuned", size)
	}
	if len(b) < size+frameOverhead {
		return frame{}, false, nil
	}
	if b[frameHeaderSize+size] != frameEnd {
		return frame{}, false, fmt.Errorf("frame of type %d ends with %#x instead of %#x", b[0], b[frameHeaderSize+size], frameEnd)
	}
	f.r += size + frameOverhead
	return frame{
		typ:     b[0],
		channel: binary.BigEndian.Uint16(b[1:3]),
		payload: b[frameHeaderSize : frameHeaderSize+size],
	}, true, nil
}

// fill reads once, after moving an unfinished frame to the buffer's start.
func (f *frameReader) fill() error {
	f.w = copy(f.buf, f.buf[f.r:f.w])
	f.r = 0
	n, err := f.src.Read(f.buf[f.w:])
	f.w += n
	if n > 0 {
		return nil
	}
	return err
}

// next returns the next frame, reading as often as it takes.
func (f *frameReader) next() (frame, error) {
	for {
		fr, ok, err := f.take()
		if ok || err != nil {
			return fr, err
		}
		if err := f.fill(); err != nil {
			return frame{}, err
		}
	}
}
