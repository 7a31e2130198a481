package bridge

import (
	"encoding/binary"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// The headers that stand for what has no AMQP property.
const (
	HeaderCorrelationID = "x-correlation-id"
	HeaderReplyTo       = "x-reply-to-topic"
	HeaderPublishQoS    = "x-mqtt-publish-qos"
	HeaderRetain        = "x-mqtt-retain"
	HeaderPayloadFormat = "x-mqtt-payload-format"
	HeaderProperties    = "x-mqtt-properties"
)

func reserved(name []byte) bool {
	if len(name) < len(HeaderRetain) || name[0] != 'x' {
		return false
	}
	switch string(name) {
	case HeaderCorrelationID, HeaderReplyTo, HeaderPublishQoS, HeaderRetain, HeaderPayloadFormat, HeaderProperties:
		return true
	}
	return false
}

const maxShort = 255

// plainBlocks are the blocks of messages without properties, by QoS and RETAIN.
var plainBlocks = [3][2][]byte{
	{makeBlock(0, false), makeBlock(0, true)},
	{makeBlock(1, false), makeBlock(1, true)},
	{makeBlock(2, false), makeBlock(2, true)},
}

func makeBlock(qos uint8, retain bool) []byte {
	return slices.Clip(AppendBlock(nil, qos, retain, &wire.PublishProperties{}))
}

// Block returns the property block of a message. It does not alias p, and must
// not be written to: messages without properties share theirs.
func Block(qos uint8, retain bool, p *wire.PublishProperties) []byte {
	if len(p.Section) > 0 {
		return AppendBlock(make([]byte, 0, len(p.Section)+64), qos, retain, p)
	}
	i := 0
	if retain {
		i = 1
	}
	return plainBlocks[min(qos, 2)][i]
}

// AppendBlock appends the property block of a message. Topic alias and will
// delay are not properties of a message and left out.
func AppendBlock(dst []byte, qos uint8, retain bool, p *wire.PublishProperties) []byte {
	w := blockWriter{start: len(dst), b: append(dst, 0, 0), flags: field.DeliveryMode}
	if p.Has(wire.ContentType) && fitsContentType(p.ContentType) {
		w.short(field.ContentType, p.ContentType)
	}
	w.headers(qos, retain, p)
	w.b = append(w.b, min(qos, 1)+1) // 1 is transient, 2 persistent
	if p.Has(wire.CorrelationData) && fitsCorrelationID(p.CorrelationData) {
		w.short(field.CorrelationID, p.CorrelationData)
	}
	if p.Has(wire.MessageExpiry) {
		var digits [20]byte
		w.short(field.Expiration, strconv.AppendUint(digits[:0], uint64(p.Expiry)*1000, 10))
	}
	binary.BigEndian.PutUint16(w.b[w.start:], uint16(w.flags))
	return w.b
}

// fitsContentType holds content_type to ASCII, because AMQP 1.0 has a symbol
// there.
func fitsContentType(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return len(b) <= maxShort
}

func fitsCorrelationID(b []byte) bool { return len(b) <= maxShort && utf8.Valid(b) }

// blockWriter appends the properties of a block, in the block's order, and
// collects their flags.
type blockWriter struct {
	b     []byte
	start int
	flags field.Flags
}

func (w *blockWriter) short(f field.Flags, v []byte) {
	w.flags |= f
	w.b = append(append(w.b, byte(len(v))), v...)
}

// headers appends the headers table if there is anything in it.
func (w *blockWriter) headers(qos uint8, retain bool, p *wire.PublishProperties) {
	length := len(w.b)
	w.b = append(w.b, 0, 0, 0, 0)
	from := len(w.b)
	if qos == 2 {
		w.key(HeaderPublishQoS)
		w.b = append(w.b, 'B', 2)
	}
	if retain {
		w.key(HeaderRetain)
		w.b = append(w.b, 't', 1)
	}
	if len(p.Section) > 0 {
		w.propertyHeaders(p)
	}
	if len(w.b) == from {
		w.b = w.b[:length]
		return
	}
	w.flags |= field.Headers
	binary.BigEndian.PutUint32(w.b[length:], uint32(len(w.b)-from))
}

func (w *blockWriter) propertyHeaders(p *wire.PublishProperties) {
	if p.Has(wire.PayloadFormat) {
		w.key(HeaderPayloadFormat)
		w.b = append(w.b, 'B', p.PayloadFormat)
	}
	if p.Has(wire.ResponseTopic) {
		w.key(HeaderReplyTo)
		at := w.openLong('S')
		w.b = AppendKey(w.b, p.ResponseTopic)
		w.closeLong(at)
	}
	if p.Has(wire.CorrelationData) && !fitsCorrelationID(p.CorrelationData) {
		w.key(HeaderCorrelationID)
		w.long('S', p.CorrelationData)
	}
	if !w.userHeaders(p) || !fitsContentType(p.ContentType) {
		w.key(HeaderProperties)
		at := w.openLong('x')
		w.b = p.AppendForward(w.b)
		w.closeLong(at)
	}
}

// userHeaders appends the user properties that can be headers and reports
// whether all can.
func (w *blockWriter) userHeaders(p *wire.PublishProperties) (all bool) {
	all = true
	if !p.Has(wire.User) {
		return all
	}
	for name, value := range wire.UserProperties(p.Section) {
		if len(name) > maxShort || reserved(name) {
			all = false
			continue
		}
		w.b = append(append(w.b, byte(len(name))), name...)
		w.long('S', value)
	}
	return all
}

func (w *blockWriter) key(name string) { w.b = append(append(w.b, byte(len(name))), name...) }

func (w *blockWriter) long(kind byte, v []byte) {
	at := w.openLong(kind)
	w.b = append(w.b, v...)
	w.closeLong(at)
}

// openLong begins a value whose length closeLong fills in.
func (w *blockWriter) openLong(kind byte) (at int) {
	w.b = append(w.b, kind, 0, 0, 0, 0)
	return len(w.b)
}

func (w *blockWriter) closeLong(at int) {
	binary.BigEndian.PutUint32(w.b[at-4:], uint32(len(w.b)-at))
}
