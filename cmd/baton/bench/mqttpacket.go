package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A control packet on the wire (MQTT 5.0 section 2.1, the same in 3.1.1):
//
//	0             1            2-5          remaining length
//	+------+------+------------+------------------+
//	| type | flags| remaining  | variable header, |
//	|      |      | length     | payload          |
//	+------+------+------------+------------------+
const (
	mqttConnect    = 1 << 4
	mqttConnack    = 2 << 4
	mqttPublish    = 3 << 4
	mqttPuback     = 4 << 4
	mqttPubrec     = 5 << 4
	mqttPubrel     = 6<<4 | 2 // its reserved flags are 0010
	mqttPubcomp    = 7 << 4
	mqttSubscribe  = 8<<4 | 2
	mqttSuback     = 9 << 4
	mqttPingreq    = 12 << 4
	mqttPingresp   = 13 << 4
	mqttDisconnect = 14 << 4

	mqttTypeMask = 0xf0
)

// mqttVersion is the protocol level that CONNECT announces.
type mqttVersion byte

const (
	mqtt311 mqttVersion = 4
	mqtt5   mqttVersion = 5
)

func (v mqttVersion) String() string {
	if v == mqtt5 {
		return "5.0"
	}
	return "3.1.1"
}

// Properties of MQTT 5 that the generator sends or heeds.
const (
	propertySessionExpiry  = 0x11
	propertyReceiveMaximum = 0x21
)

func appendVarint(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func appendPacket(dst []byte, head byte, body []byte) []byte {
	return append(appendVarint(append(dst, head), len(body)), body...)
}

func appendString(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// mqttLogin is what CONNECT says.
type mqttLogin struct {
	version        mqttVersion
	clientID       string
	user, password string // sent if user is not empty
	clean          bool
	// keep makes an MQTT 5 session outlive its connection; before MQTT 5 clean
	// alone decides that.
	keep      bool
	keepAlive uint16 // seconds; 0: none
}

func appendConnect(dst []byte, l mqttLogin) []byte {
	body := append(appendString(nil, "MQTT"), byte(l.version))
	var flags byte
	if l.clean {
		flags |= 1 << 1
	}
	if l.user != "" {
		flags |= 1<<7 | 1<<6
	}
	body = binary.BigEndian.AppendUint16(append(body, flags), l.keepAlive)
	if l.version == mqtt5 {
		var props []byte
		if l.keep {
			props = binary.BigEndian.AppendUint32(append(props, propertySessionExpiry), 3600)
		}
		body = append(appendVarint(body, len(props)), props...)
	}
	body = appendString(body, l.clientID)
	if l.user != "" {
		body = appendString(appendString(body, l.user), l.password)
	}
	return appendPacket(dst, mqttConnect, body)
}

func appendSubscribe(v mqttVersion, filter string, qos byte) []byte {
	body := []byte{0, 1} // the packet identifier
	if v == mqtt5 {
		body = append(body, 0) // no properties
	}
	return appendPacket(nil, mqttSubscribe, append(appendString(body, filter), qos))
}

// mqttMessage is what a publisher publishes, again and again.
type mqttMessage struct {
	topic string
	qos   byte
	body  []byte
}

// appendPublish also returns where in the packet its identifier is, for the caller
// to fill in if the QoS has one.
func appendPublish(dst []byte, v mqttVersion, m mqttMessage) (packet []byte, idAt int) {
	body := appendString(nil, m.topic)
	idAt = len(body)
	if m.qos > 0 {
		body = append(body, 0, 0)
	}
	if v == mqtt5 {
		body = append(body, 0) // no properties
	}
	start := len(dst)
	dst = appendPacket(dst, mqttPublish|m.qos<<1, append(body, m.body...))
	header := len(dst) - start - len(body) - len(m.body)
	return dst, header + idAt
}

// appendMQTTAck appends one of the four acknowledgements; MQTT 5 lets success go
// without saying (section 3.4.2.1).
func appendMQTTAck(dst []byte, head byte, id uint16) []byte {
	return append(dst, head, 2, byte(id>>8), byte(id))
}

// mqttPacket is one packet as read; its body is valid until the reader's next fill.
type mqttPacket struct {
	head byte
	body []byte
}

// id returns an acknowledgement's packet identifier, or the error that its reason
// code is.
func (p mqttPacket) id() (uint16, error) {
	if len(p.body) < 2 {
		return 0, fmt.Errorf("packet of type %d is cut short", p.head>>4)
	}
	if len(p.body) > 2 && p.body[2] >= 0x80 {
		return 0, fmt.Errorf("broker refused a message with reason %#x in a packet of type %d", p.body[2], p.head>>4)
	}
	return binary.BigEndian.Uint16(p.body), nil
}

// publishID returns a PUBLISH's identifier: it follows the topic.
func (p mqttPacket) publishID() (uint16, error) {
	if len(p.body) < 2 {
		return 0, errShortPublish
	}
	topic := int(binary.BigEndian.Uint16(p.body))
	if len(p.body) < 2+topic+2 {
		return 0, errShortPublish
	}
	return binary.BigEndian.Uint16(p.body[2+topic:]), nil
}

var errShortPublish = errors.New("PUBLISH is cut short")

// mqttReader cuts a byte stream into packets, as frameReader does into frames.
type mqttReader struct {
	src  io.Reader
	buf  []byte
	r, w int
}

func newMQTTReader(src io.Reader, buffer int) *mqttReader {
	return &mqttReader{src: src, buf: make([]byte, buffer)}
}

// take returns the next whole packet that is buffered, or false.
func (m *mqttReader) take() (mqttPacket, bool, error) {
	b := m.buf[m.r:m.w]
	size, at := 0, 1
	for shift := 0; ; shift += 7 {
		if at >= len(b) {
			return mqttPacket{}, false, nil
		}
		if shift > 21 {
			return mqttPacket{}, false, errors.New("remaining length of more than four bytes")
		}
		c := b[at]
		at++
		size |= int(c&0x7f) << shift
		if c < 0x80 {
			break
		}
	}
	if at+size > len(m.buf) {
		if at+size > maxMQTTPacket {
			return mqttPacket{}, false, fmt.Errorf("packet of %d bytes, far more than was published", size)
		}
		m.buf = append(m.buf, make([]byte, at+size-len(m.buf))...)
		return mqttPacket{}, false, nil
	}
	if len(b) < at+size {
		return mqttPacket{}, false, nil
	}
	m.r += at + size
	return mqttPacket{head: b[0], body: b[at : at+size]}, true, nil
}

// maxMQTTPacket is the largest message that options allow, and its topic.
const maxMQTTPacket = 64<<20 + 1<<16

// fill reads once, after moving an unfinished packet to the buffer's start.
func (m *mqttReader) fill() error {
	m.w = copy(m.buf, m.buf[m.r:m.w])
	m.r = 0
	n, err := m.src.Read(m.buf[m.w:])
	m.w += n
	if n > 0 {
		return nil
	}
	return err
}

// next returns the next packet, reading as often as it takes.
func (m *mqttReader) next() (mqttPacket, error) {
	for {
		p, ok, err := m.take()
		if ok || err != nil {
			return p, err
		}
		if err := m.fill(); err != nil {
			return mqttPacket{}, err
		}
	}
}
