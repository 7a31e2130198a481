package wire

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// validText reports whether b may be a UTF-8 encoded string [MQTT-1.5.4-1]
// [MQTT-1.5.4-2]. A byte order mark is text [MQTT-1.5.4-3], and so are control
// characters, which a sender should only avoid.
func validText(b []byte) bool {
	return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0
}

const (
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special has its high bits set if one of the eight bytes in x is not ASCII or
// is NUL, + or #. It may also be set for a byte next to one, never too seldom.
func special(x uint64) uint64 {
	plus, hash := x^lows*'+', x^lows*'#'
	return (x | (x-lows)&^x | (plus-lows)&^plus | (hash-lows)&^hash) & highs
}

// checkTopic checks a topic name: text [MQTT-3.3.2-1] without wildcards
// [MQTT-3.3.2-2]. Its length is not looked at.
func checkTopic(b []byte) error {
	rest := b
	for len(rest) >= 8 {
		if special(binary.LittleEndian.Uint64(rest)) != 0 {
			return checkAnyTopic(b)
		}
		rest = rest[8:]
	}
	for _, c := range rest {
		if c-1 >= 0x7F || c == '+' || c == '#' { // c-1: NUL is the largest
			return checkAnyTopic(b)
		}
	}
	return nil
}

func checkAnyTopic(b []byte) error {
	switch {
	case !validText(b):
		return errUTF8
	case bytes.ContainsAny(b, "+#"):
		return &Error{TopicNameInvalid, "topic name with a wildcard"}
	}
	return nil
}

// ValidTopic reports whether s can be a topic name (section 4.7): without
// wildcards [MQTT-4.7.0-1], U+0000 [MQTT-4.7.3-2], nor too long [MQTT-4.7.3-3].
func ValidTopic(s string) bool {
	return s != "" && len(s) <= maxString && utf8.ValidString(s) && !strings.ContainsAny(s, "\x00+#")
}

// ValidFilter reports whether s can be a topic filter (section 4.7), also one
// of a shared subscription (section 4.8.2).
func ValidFilter(s string) bool {
	if len(s) > maxString || !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return false
	}
	_, filter, ok := SplitShared(s)
	if !ok || filter == "" { // [MQTT-4.7.3-1]
		return false
	}
	for more := true; more; {
		var level string
		level, filter, more = strings.Cut(filter, "/")
		if level == "#" {
			return !more // [MQTT-4.7.1-1]
		}
		if level != "+" && strings.ContainsAny(level, "+#") { // [MQTT-4.7.1-2]
			return false
		}
	}
	return true
}

const sharePrefix = "$share/"

// SplitShared splits the filter of a shared subscription, $share/name/filter.
// For any other filter share is "". It is not ok where the share name or the
// filter behind it is missing or the name has a wildcard [MQTT-4.8.2-1]
// [MQTT-4.8.2-2].
func SplitShared(s string) (share, filter string, ok bool) {
	if !strings.HasPrefix(s, sharePrefix) {
		return "", s, true
	}
	share, filter, _ = strings.Cut(s[len(sharePrefix):], "/")
	return share, filter, share != "" && filter != "" && !strings.ContainsAny(share, "+#")
}
