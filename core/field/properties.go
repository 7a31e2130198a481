package field

import (
	"encoding/binary"
	"fmt"
)

// Flags says which properties a block holds. The bits are those of the block's
// first two bytes, the highest bit being the first property (AMQP 0-9-1 section
// 4.2.6.1; the properties of class basic).
type Flags uint16

// The fourteen properties, in the order in which a block holds them. The two
// lowest bits are reserved: bit 0 would announce a second flag word, for which
// there are no properties.
const (
	ContentType Flags = 1 << (15 - iota)
	ContentEncoding
	Headers
	DeliveryMode
	Priority
	CorrelationID
	ReplyTo
	Expiration
	MessageID
	Time
	Type
	UserID
	AppID
	ClusterID

	reservedFlags Flags = 1<<2 - 1
)

// Persistent is the DeliveryMode of a message that is to survive a restart.
const Persistent uint8 = 2

// Properties is what a message says about itself besides its body.
type Properties struct {
	// Present says which properties are there. [AppendProperties] also writes
	// those that are not zero, so Present is needed only for a property that
	// is there with its zero value.
	Present Flags

	ContentType     string
	ContentEncoding string
	Headers         Table
	DeliveryMode    uint8
	Priority        uint8
	CorrelationID   string
	ReplyTo         string
	Expiration      string
	MessageID       string
	Timestamp       Timestamp
	Type            string
	UserID          string
	AppID           string
	ClusterID       string
}

// Has reports whether all properties in f are present, as [Properties.Present]
// defines it.
func (p *Properties) Has(f Flags) bool { return p.flags()&f == f }

func (p *Properties) flags() Flags {
	f := p.Present
	set := func(flag Flags, nonzero bool) {
		if nonzero {
			f |= flag
		}
	}
	set(ContentType, p.ContentType != "")
	set(ContentEncoding, p.ContentEncoding != "")
	set(Headers, len(p.Headers) != 0)
	set(DeliveryMode, p.DeliveryMode != 0)
	set(Priority, p.Priority != 0)
	set(CorrelationID, p.CorrelationID != "")
	set(ReplyTo, p.ReplyTo != "")
	set(Expiration, p.Expiration != "")
	set(MessageID, p.MessageID != "")
	set(Time, p.Timestamp != 0)
	set(Type, p.Type != "")
	set(UserID, p.UserID != "")
	set(AppID, p.AppID != "")
	set(ClusterID, p.ClusterID != "")
	return f &^ reservedFlags
}

// AppendProperties appends the property block of p to dst. On error it returns
// dst as it was given.
func AppendProperties(dst []byte, p *Properties) ([]byte, error) {
	w := blockWriter{b: dst, flags: p.flags()}
	w.b = binary.BigEndian.AppendUint16(w.b, uint16(w.flags))
	w.short(ContentType, "content_type", p.ContentType)
	w.short(ContentEncoding, "content_encoding", p.ContentEncoding)
	w.table(Headers, p.Headers)
	w.octet(DeliveryMode, p.DeliveryMode)
	w.octet(Priority, p.Priority)
	w.short(CorrelationID, "correlation_id", p.CorrelationID)
	w.short(ReplyTo, "reply_to", p.ReplyTo)
	w.short(Expiration, "expiration", p.Expiration)
	w.short(MessageID, "message_id", p.MessageID)
	w.time(Time, p.Timestamp)
	w.short(Type, "type", p.Type)
	w.short(UserID, "user_id", p.UserID)
	w.short(AppID, "app_id", p.AppID)
	w.short(ClusterID, "cluster_id", p.ClusterID)
	if w.err != nil {
		return dst, w.err
	}
	return w.b, nil
}

// blockWriter appends the properties that flags names; the first error sticks.
type blockWriter struct {
	b     []byte
	flags Flags
	err   error
}

func (w *blockWriter) wants(f Flags) bool { return w.err == nil && w.flags&f != 0 }

func (w *blockWriter) short(f Flags, name, s string) {
	if !w.wants(f) {
		return
	}
	if w.b, w.err = appendShort(w.b, s); w.err != nil {
		w.err = fmt.Errorf("encode property %s: %w", name, w.err)
	}
}

func (w *blockWriter) octet(f Flags, v uint8) {
	if w.wants(f) {
		w.b = append(w.b, v)
	}
}

func (w *blockWriter) time(f Flags, t Timestamp) {
	if w.wants(f) {
		w.b = binary.BigEndian.AppendUint64(w.b, uint64(t))
	}
}

func (w *blockWriter) table(f Flags, t Table) {
	if !w.wants(f) {
		return
	}
	if w.b, w.err = AppendTable(w.b, t); w.err != nil {
		w.err = fmt.Errorf("encode property headers: %w", w.err)
	}
}

// ParseProperties parses a whole property block. The result shares no memory
// with b.
func ParseProperties(b []byte) (Properties, error) {
	if _, err := CheckProperties(b); err != nil {
		return Properties{}, err
	}
	r := blockReader{flags: Flags(binary.BigEndian.Uint16(b)), b: b[2:]}
	// A composite literal evaluates its function calls in order, which is the
	// order of the block.
	return Properties{
		Present:         r.flags,
		ContentType:     r.short(ContentType),
		ContentEncoding: r.short(ContentEncoding),
		Headers:         r.table(Headers),
		DeliveryMode:    r.octet(DeliveryMode),
		Priority:        r.octet(Priority),
		CorrelationID:   r.short(CorrelationID),
		ReplyTo:         r.short(ReplyTo),
		Expiration:      r.short(Expiration),
		MessageID:       r.short(MessageID),
		Timestamp:       r.time(Time),
		Type:            r.short(Type),
		UserID:          r.short(UserID),
		AppID:           r.short(AppID),
		ClusterID:       r.short(ClusterID),
	}, nil
}

// FindProperty returns the content of one property of a block that has been
// checked: a string's or a table's without its length, any other's as it is. It
// is part of the block.
func FindProperty(b []byte, f Flags) (content []byte, ok bool) {
	if len(b) < 2 {
		return nil, false
	}
	flags := Flags(binary.BigEndian.Uint16(b))
	if flags&f == 0 {
		return nil, false
	}
	b = b[2:]
	for at := ContentType; ; at >>= 1 {
		if flags&at == 0 {
			continue
		}
		var err error
		switch at {
		case Headers:
			content, b, err = cutLong(b)
		case DeliveryMode, Priority:
			content, b, err = cut(b, 1)
		case Time:
			content, b, err = cut(b, 8)
		default:
			content, b, err = cutShort(b)
		}
		if at == f || err != nil {
			return content, err == nil
		}
	}
}

// cut splits b behind n bytes.
func cut(b []byte, n int) (content, rest []byte, err error) {
	if len(b) < n {
		return nil, nil, ErrTruncated
	}
	return b[:n], b[n:], nil
}

// blockReader takes properties off a block that has passed CheckProperties.
type blockReader struct {
	b     []byte
	flags Flags
}

func (r *blockReader) short(f Flags) string {
	if r.flags&f == 0 {
		return ""
	}
	s, rest, _ := cutShort(r.b)
	r.b = rest
	return string(s)
}

func (r *blockReader) octet(f Flags) uint8 {
	if r.flags&f == 0 {
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *blockReader) time(f Flags) Timestamp {
	if r.flags&f == 0 {
		return 0
	}
	v := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return Timestamp(v)
}

func (r *blockReader) table(f Flags) Table {
	if r.flags&f == 0 {
		return nil
	}
	t, rest := parseTable(r.b)
	r.b = rest
	return t
}
