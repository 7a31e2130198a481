package field

import "encoding/binary"

// Summary is what a broker needs to know of a message's properties to route,
// keep and expire it. The slices alias the block that was checked and are nil
// where the property is absent; [Summary.Present] tells absent from empty.
type Summary struct {
	Present    Flags
	Persistent bool  // DeliveryMode is 2
	Priority   uint8 // 0 if absent

	Headers    []byte // raw table, for ParseTable and Lookup
	ReplyTo    []byte
	Expiration []byte
	UserID     []byte

	afterReplyTo int // how many bytes of the block follow ReplyTo
}

// Has reports whether all properties in f are present.
func (s *Summary) Has(f Flags) bool { return s.Present&f == f }

// HeaderFields is the headers, none if there is no such property. They are part
// of the block.
func (s *Summary) HeaderFields() RawTable {
	if len(s.Headers) == 0 {
		return nil
	}
	return RawTable(s.Headers[4:]) // behind the length
}

// HasPriority reports whether the message carries a priority: an absent one
// and 0 rank alike but are told apart where properties are shown.
func (s *Summary) HasPriority() bool { return s.Present&Priority != 0 }

// CheckProperties validates a whole property block, the headers' values
// included, without allocating. It accepts exactly what [ParseProperties] does.
func CheckProperties(b []byte) (s Summary, err error) {
	if len(b) < 2 {
		return Summary{}, ErrTruncated
	}
	flags := Flags(binary.BigEndian.Uint16(b))
	if flags&reservedFlags != 0 {
		return Summary{}, ErrFlags
	}
	s.Present = flags
	b = b[2:]

	if b, err = s.checkLeading(b); err != nil {
		return Summary{}, err
	}
	// Most messages end here: the properties behind priority are the rarer.
	if flags&(Priority-1) != 0 {
		if b, err = s.checkTrailing(b); err != nil {
			return Summary{}, err
		}
	}
	if len(b) != 0 {
		return Summary{}, ErrTrailing
	}
	return s, nil
}

// checkLeading checks content_type up to priority.
func (s *Summary) checkLeading(b []byte) (rest []byte, err error) {
	if s.Present&ContentType != 0 {
		if _, b, err = cutShort(b); err != nil {
			return nil, err
		}
	}
	if s.Present&ContentEncoding != 0 {
		if _, b, err = cutShort(b); err != nil {
			return nil, err
		}
	}
	if s.Present&Headers != 0 {
		if rest, err = CheckTable(b); err != nil {
			return nil, err
		}
		s.Headers, b = b[:len(b)-len(rest)], rest
	}
	if s.Present&DeliveryMode != 0 {
		if len(b) == 0 {
			return nil, ErrTruncated
		}
		s.Persistent, b = b[0] == Persistent, b[1:]
	}
	if s.Present&Priority != 0 {
		if len(b) == 0 {
			return nil, ErrTruncated
		}
		s.Priority, b = b[0], b[1:]
	}
	return b, nil
}

// checkTrailing checks correlation_id up to cluster_id.
func (s *Summary) checkTrailing(b []byte) (rest []byte, err error) {
	for f := CorrelationID; f >= ClusterID; f >>= 1 {
		if s.Present&f == 0 {
			continue
		}
		if f == Time {
			if len(b) < 8 {
				return nil, ErrTruncated
			}
			b = b[8:]
			continue
		}
		var content []byte
		if content, b, err = cutShort(b); err != nil {
			return nil, err
		}
		switch f {
		case ReplyTo:
			s.ReplyTo, s.afterReplyTo = content, len(b)
		case Expiration:
			s.Expiration = content
		case UserID:
			s.UserID = content
		default: // the others are not kept
		}
	}
	return b, nil
}

// AppendWithReplyTo appends to dst the block that s is of, with another reply_to
// in place of the one that it has. It fails on one that is too long.
func (s *Summary) AppendWithReplyTo(dst, block []byte, replyTo string) ([]byte, error) {
	end := len(block) - s.afterReplyTo
	start := end - len(s.ReplyTo) - 1 // of its length
	out, err := appendShort(append(dst, block[:start]...), replyTo)
	if err != nil {
		return dst, err
	}
	return append(out, block[end:]...), nil
}
