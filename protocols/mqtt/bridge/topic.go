package bridge

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"unicode/utf8"
)

// escape begins a level that stands for a word no level can be.
const escape = `\x`

// ErrFilter is for a filter that has no exact pattern. It is correctly formed
// but not accepted, reason code 0x8F.
var ErrFilter = errors.New("topic filter stands for a routing key that no pattern matches exactly")

// AppendKey appends the routing key of a topic.
func AppendKey[T string | []byte](dst []byte, topic T) []byte {
	from := len(dst)
	dst = append(dst, topic...)
	if swap(dst[from:])&inTopic == 0 {
		return dst
	}
	return appendLevels(dst[:from], []byte(topic))
}

// Key returns the routing key of a topic. It does not allocate if they are the
// same.
func Key(topic string) string {
	if !strings.ContainsAny(topic, `/.*\`) {
		return topic
	}
	return string(AppendKey(nil, topic))
}

// Word returns the word that a text stands for as one level of a topic, and
// nothing where it could not be one, or could be taken for a wildcard.
func Word(level string) string {
	if level == "" || strings.ContainsAny(level, "/+#\x00") || strings.HasPrefix(level, escape) {
		return ""
	}
	return Key(level)
}

// What a byte is to the translation, as bits of classes.
const (
	separator = 1 << iota // slash and dot, which differ in their lowest bit
	inTopic               // a topic with it needs a closer look
	inKey                 // and a key

	wide = utf8.RuneSelf // not in classes: the bit of bytes that are not ASCII
)

var classes = [256]uint8{
	'/': separator, '.': separator,
	'*': inTopic | inKey, '\\': inTopic | inKey,
	'+': inKey, '#': inKey, 0: inKey,
}

// swap makes dots of the slashes in b and slashes of the dots, which is all
// there is to do for nearly every topic and key, and returns the classes of the
// bytes it has seen, and wide.
func swap(b []byte) (seen uint8) {
	for i, c := range b {
		class := classes[c]
		b[i] = c ^ class&separator
		seen |= class | c&wide
	}
	return seen
}

// appendLevels appends the key of a topic, level by level.
func appendLevels(dst, topic []byte) []byte {
	whole := bytes.IndexByte(topic, '/') < 0
	for more := true; more; {
		var level []byte
		level, topic, more = bytes.Cut(topic, []byte("/"))
		dst = appendWord(dst, level, whole)
		if more {
			dst = append(dst, '.')
		}
	}
	return dst
}

// appendWord appends the word that a level stands for. Whole says that the
// level is the whole topic.
func appendWord(dst, level []byte, whole bool) []byte {
	if word, ok := escaped(level, whole); ok {
		return append(dst, word...)
	}
	if string(level) == "*" {
		return append(dst, '+')
	}
	from := len(dst)
	dst = append(dst, level...)
	swap(dst[from:])
	return dst
}

// escaped returns the word of which level is the escaped form, if it is one.
// The words in question are those that cannot be levels themselves: so each
// word has one form.
func escaped(level []byte, whole bool) (word []byte, ok bool) {
	if !bytes.HasPrefix(level, []byte(escape)) {
		return nil, false
	}
	digits := level[len(escape):]
	if len(digits) == 0 {
		return nil, whole // the empty key
	}
	for _, c := range digits {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return nil, false
		}
	}
	word = make([]byte, hex.DecodedLen(len(digits)))
	if _, err := hex.Decode(word, digits); err != nil || bytes.IndexByte(word, '.') >= 0 {
		return nil, false
	}
	return word, !carried(word, whole)
}

// carried reports whether the level of word is word itself, but for slashes and
// a lone plus. The depth of the recursion with escaped is the logarithm of the
// word's length: hexadecimal halves it.
func carried(word []byte, whole bool) bool {
	switch {
	case len(word) == 0:
		return !whole
	case len(word) == 1 && word[0] == '+':
		return true
	case len(word) == 1 && word[0] == '*', bytes.ContainsAny(word, "+#\x00"), !utf8.Valid(word):
		return false
	}
	if !bytes.HasPrefix(word, []byte(escape)) {
		return true
	}
	_, looks := escaped(word, whole) // a slash in it is no digit, so it need not be swapped
	return !looks
}

// AppendTopic appends the topic of a routing key.
func AppendTopic[T string | []byte](dst []byte, key T) []byte {
	from := len(dst)
	dst = append(dst, key...)
	seen := swap(dst[from:])
	if len(key) > 0 && seen&inKey == 0 && (seen&wide == 0 || utf8.Valid(dst[from:])) {
		return dst
	}
	return appendWords(dst[:from], []byte(key))
}

// Topic returns the topic of a routing key. It does not allocate if they are
// the same.
func Topic(key string) string {
	var seen uint8
	for i := range len(key) {
		seen |= classes[key[i]] | key[i]&wide
	}
	if seen == 0 && key != "" {
		return key
	}
	return string(AppendTopic(nil, key))
}

// appendWords appends the topic of a key, word by word.
func appendWords(dst, key []byte) []byte {
	whole := bytes.IndexByte(key, '.') < 0
	for more := true; more; {
		var word []byte
		word, key, more = bytes.Cut(key, []byte("."))
		dst = appendLevel(dst, word, whole)
		if more {
			dst = append(dst, '/')
		}
	}
	return dst
}

// appendLevel appends the level that stands for a word.
func appendLevel(dst, word []byte, whole bool) []byte {
	if !carried(word, whole) {
		return hex.AppendEncode(append(dst, escape...), word)
	}
	if string(word) == "+" {
		return append(dst, '*')
	}
	from := len(dst)
	dst = append(dst, word...)
	swap(dst[from:])
	return dst
}
