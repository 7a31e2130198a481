package bridge

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// Message is what a PUBLISH says outside of its property section, but for the
// expiry, which the engine counts down [MQTT-3.3.2-6].
type Message struct {
	QoS    uint8 // with which it was published
	Retain bool
}

// Read returns what a property block says to a receiver before MQTT 5, and how
// it is to be delivered.
func Read(block []byte) (Message, error) {
	if m, ok := readPlain(block); ok {
		return m, nil
	}
	v, err := parseBlock(block)
	return v.message, err
}

// AppendProperties appends the property section that a block stands for, as
// [wire.Delivery] takes it. On error dst is returned as it was given.
func AppendProperties(dst, block []byte) (section []byte, m Message, err error) {
	if m, ok := readPlain(block); ok {
		return dst, m, nil
	}
	v, err := parseBlock(block)
	if err != nil {
		return dst, Message{}, err
	}
	if v.section != nil {
		if p, err := wire.ParseProperties(v.section); err == nil {
			return p.AppendForward(dst), v.message, nil
		}
	}
	return v.appendSection(dst), v.message, nil
}

// readPlain reads a block that has at most a delivery mode.
func readPlain(b []byte) (m Message, ok bool) {
	switch {
	case len(b) == 0 || len(b) == 2 && b[0] == 0 && b[1] == 0:
		return Message{}, true
	case len(b) == 3 && b[0] == byte(field.DeliveryMode>>8) && b[1] == 0:
		if b[2] == field.Persistent {
			m.QoS = 1
		}
		return m, true
	}
	return Message{}, false
}

// view is a block laid open. The slices alias it.
type view struct {
	message        Message
	flags          field.Flags
	contentType    []byte
	headers        field.RawTable
	correlationID  []byte
	replyTo        []byte
	payloadFormat  int8 // -1 for none
	replyKey       []byte
	hasReplyKey    bool
	correlation    []byte // of the header
	hasCorrelation bool
	section        []byte
}

// parseBlock checks a block and lays it open.
func parseBlock(b []byte) (v view, err error) {
	s, err := field.CheckProperties(b)
	if err != nil {
		return view{}, fmt.Errorf("read property block: %w", err)
	}
	v.flags, v.payloadFormat = s.Present, -1
	b = b[2:]
	v.contentType, b = v.short(b, field.ContentType)
	_, b = v.short(b, field.ContentEncoding)
	if v.flags&field.Headers != 0 {
		v.headers, b = s.Headers[4:], b[len(s.Headers):] // without its length
	}
	if v.flags&field.DeliveryMode != 0 {
		if b[0] == field.Persistent {
			v.message.QoS = 1
		}
		b = b[1:]
	}
	if v.flags&field.Priority != 0 {
		b = b[1:]
	}
	v.correlationID, b = v.short(b, field.CorrelationID)
	v.replyTo, _ = v.short(b, field.ReplyTo)
	v.readHeaders()
	return v, nil
}

// short takes the short string f off a checked block, if it is there.
func (v *view) short(b []byte, f field.Flags) (value, rest []byte) {
	if v.flags&f == 0 {
		return nil, b
	}
	end := 1 + int(b[0])
	return b[1:end], b[end:]
}

// Lifetime is a Message Expiry Interval as a duration.
func Lifetime(seconds uint32) time.Duration { return time.Duration(seconds) * time.Second }

// Expiry is the Message Expiry Interval of a message that may wait for left.
// Parts of a second count as one, so that nothing expires early for having
// crossed over.
func Expiry(left time.Duration) uint32 {
	return uint32(min((max(0, left)+time.Second-1)/time.Second, math.MaxUint32))
}

// readHeaders takes the headers that are not user properties. Of headers with
// the same name the first counts.
func (v *view) readHeaders() {
	for key, raw := range v.headers.All() {
		if !reserved(key) {
			continue
		}
		h := header{raw.Kind(), raw.Content()}
		switch string(key) {
		case HeaderPublishQoS:
			// Only what raises a persistent message: 1 is said by the delivery mode.
			if n, ok := h.int(); ok && n == 2 && v.message.QoS == 1 {
				v.message.QoS = 2
			}
		case HeaderRetain:
			v.message.Retain = v.message.Retain || h.kind == 't' && h.value[0] != 0
		case HeaderPayloadFormat:
			if n, ok := h.int(); ok && n >= 0 && n <= 1 && v.payloadFormat < 0 {
				v.payloadFormat = int8(n)
			}
		case HeaderReplyTo:
			if h.isText() && !v.hasReplyKey {
				v.replyKey, v.hasReplyKey = h.value, true
			}
		case HeaderCorrelationID:
			if h.isText() && !v.hasCorrelation {
				v.correlation, v.hasCorrelation = h.value, true
			}
		case HeaderProperties:
			if h.kind == 'x' && v.section == nil {
				v.section = h.value
			}
		}
	}
}

// appendSection appends the property section that the block stands for.
func (v *view) appendSection(dst []byte) []byte {
	if v.payloadFormat >= 0 {
		dst = wire.AppendNumber(dst, wire.PayloadFormat, uint32(v.payloadFormat))
	}
	if v.flags&field.ContentType != 0 && isText(v.contentType) {
		dst = wire.AppendText(dst, wire.ContentType, v.contentType)
	}
	if key, ok := v.replyAddress(); ok {
		dst = appendResponseTopic(dst, key)
	}
	if v.flags&field.CorrelationID != 0 {
		dst = wire.AppendText(dst, wire.CorrelationData, v.correlationID)
	} else if v.hasCorrelation {
		dst = wire.AppendText(dst, wire.CorrelationData, v.correlation)
	}
	var scratch [64]byte
	for key, raw := range v.headers.All() {
		if reserved(key) || !isText(key) {
			continue
		}
		h := header{raw.Kind(), raw.Content()}
		if value, ok := h.appendText(scratch[:0]); ok && isText(value) {
			dst = wire.AppendUser(dst, key, value)
		}
	}
	return dst
}

// appendResponseTopic appends the topic of key, or nothing if it is longer than
// a topic can be.
func appendResponseTopic(dst, key []byte) []byte {
	from := len(dst)
	dst = append(dst, byte(wire.ResponseTopic), 0, 0)
	dst = AppendTopic(dst, key)
	n := len(dst) - from - 3
	if n > math.MaxUint16 {
		return dst[:from]
	}
	binary.BigEndian.PutUint16(dst[from+1:], uint16(n))
	return dst
}

const replyAddressPrefix = "/exchanges/amq.topic/"

// replyAddress returns the routing key that answers go to.
func (v *view) replyAddress() (key []byte, ok bool) {
	if v.hasReplyKey {
		return v.replyKey, true
	}
	address, ok := bytes.CutPrefix(v.replyTo, []byte(replyAddressPrefix))
	if !ok || bytes.IndexByte(address, '/') >= 0 {
		return nil, false
	}
	unescaped, err := url.PathUnescape(string(address))
	return []byte(unescaped), err == nil
}

// isText reports whether b can be an MQTT string.
func isText(b []byte) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }

// header is the value of a header.
type header struct {
	kind  byte // its type's letter; see package field
	value []byte
}

func (h header) isText() bool { return h.kind == 'S' || h.kind == 'x' }

// int returns the value of an integer.
func (h header) int() (n int64, ok bool) {
	be := binary.BigEndian
	switch h.kind {
	case 'b':
		return int64(int8(h.value[0])), true
	case 'B':
		return int64(h.value[0]), true
	case 's':
		return int64(int16(be.Uint16(h.value))), true
	case 'u':
		return int64(be.Uint16(h.value)), true
	case 'I':
		return int64(int32(be.Uint32(h.value))), true
	case 'i':
		return int64(be.Uint32(h.value)), true
	case 'l', 'L', 'T':
		return int64(be.Uint64(h.value)), true
	}
	return 0, false
}

// appendText returns the value as text, in dst unless it is text already. It is
// not ok for types that have no text.
func (h header) appendText(dst []byte) (text []byte, ok bool) {
	if n, ok := h.int(); ok {
		return strconv.AppendInt(dst, n, 10), true
	}
	be := binary.BigEndian
	switch h.kind {
	case 'S':
		return h.value, true
	case 't':
		return strconv.AppendBool(dst, h.value[0] != 0), true
	case 'f':
		return strconv.AppendFloat(dst, float64(math.Float32frombits(be.Uint32(h.value))), 'g', -1, 32), true
	case 'd':
		return strconv.AppendFloat(dst, math.Float64frombits(be.Uint64(h.value)), 'g', -1, 64), true
	case 'D':
		d := field.Decimal{Scale: h.value[0], Value: int32(be.Uint32(h.value[1:]))}
		return append(dst, d.String()...), true
	}
	return nil, false
}
