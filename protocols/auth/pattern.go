package auth

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

const (
	maxPattern   = 16 << 10 // bytes of a permission's pattern
	maxVariable  = 1 << 10  // bytes of a value that stands for a variable
	maxCached    = 1 << 10  // bytes of a pattern that is worth remembering compiled
	manyPatterns = 4096     // compiled patterns

	// perlTimeout bounds a match with backtracking. Its clock ticks ten times a
	// second, so a match may take twice as long.
	perlTimeout = 100 * time.Millisecond
)

// ErrPattern is a permission's pattern that is not a regular expression.
var ErrPattern = errors.New("invalid pattern")

// ValidatePattern says what is wrong with a pattern of a permission or of a
// topic permission: nil, or ErrPattern with the reason.
func ValidatePattern(pattern string) error {
	if len(pattern) > maxPattern {
		return fmt.Errorf("%w: %d bytes are more than %d", ErrPattern, len(pattern), maxPattern)
	}
	_, err := compile(pattern)
	return err
}

// A compiled pattern is a regular expression of one of two engines: Go's, which
// takes linear time, wherever that knows the syntax, else one that backtracks.
type compiled struct {
	plain *regexp.Regexp
	perl  *regexp2.Regexp // where plain is nil
}

// compile reads a pattern. The empty one matches the empty text alone: RabbitMQ
// reads it as "^$".
func compile(pattern string) (*compiled, error) {
	if pattern == "" {
		pattern = "^$"
	}
	if !utf8.ValidString(pattern) {
		return nil, fmt.Errorf("%w: it is not UTF-8", ErrPattern)
	}
	plain, err := regexp.Compile(pattern)
	if err == nil {
		return &compiled{plain: plain}, nil
	}
	if escape := unknownEscape(pattern); escape != "" {
		return nil, fmt.Errorf("%w %q: %s is not supported", ErrPattern, pattern, escape)
	}
	// RE2 keeps character classes and "$" as they are in the other engine.
	perl, err := regexp2.Compile(pattern, regexp2.RE2)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPattern, err)
	}
	perl.MatchTimeout = perlTimeout
	return &compiled{perl: perl}, nil
}

// matches says whether the pattern is found anywhere in the text.
func (c *compiled) matches(text string) (bool, error) {
	if c.plain != nil {
		return c.plain.MatchString(text), nil
	}
	return c.perl.MatchString(text)
}

// unknownEscape returns the first escape whose meaning is not PCRE's in the
// engine that backtracks: it would take \h for a letter without a word.
func unknownEscape(pattern string) string {
	for i := 0; i+1 < len(pattern); i++ {
		if pattern[i] != '\\' {
			continue
		}
		i++
		c := pattern[i]
		isLetter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if isLetter && !strings.ContainsRune("AabBcdDeEfGknpPQrsStwWxzZ", rune(c)) {
			return pattern[i-1 : i+1]
		}
	}
	return ""
}

// patterns remembers compiled patterns, and those that do not compile. All
// sessions share it.
type patterns struct {
	log   *slog.Logger
	cache *recent[string, *compiled] // nil values: do not compile
}

func newPatterns(log *slog.Logger) *patterns {
	return &patterns{log: log, cache: newRecent[string, *compiled](manyPatterns)}
}

// match says whether the pattern is found in the text. What cannot be found out
// is not found: the reason is for the log, and an administrator to mend.
func (p *patterns) match(pattern, text string) bool {
	c, ok := p.cache.get(pattern)
	if !ok {
		c = p.compile(pattern)
	}
	if c == nil {
		return false
	}
	found, err := c.matches(text)
	if err != nil {
		p.log.Warn("a permission's pattern took too long and denies", slog.String("pattern", pattern), slog.Any("err", err))
		return false
	}
	return found
}

// compile compiles the pattern and remembers it, unless it is so long that many
// of it would be a burden. One that does not compile is logged once, not for
// every request.
func (p *patterns) compile(pattern string) *compiled {
	c, err := compile(pattern)
	if err != nil {
		p.log.Error("a permission's pattern cannot be used and denies", slog.String("pattern", pattern), slog.Any("err", err))
	}
	if len(pattern) <= maxCached {
		p.cache.put(pattern, c)
	}
	return c
}

// expand replaces the variables of a topic permission by values that stand for
// themselves alone, wherever in the pattern they are. It reports false where a
// variable has no value that could be matched: none, one that is too long, or
// one that is not text.
//
// RabbitMQ splices values in as they are, so that a client whose id is ".*" is
// let into every topic of a pattern like "^{client_id}$". It also leaves a
// variable without a value as it is written, which matches nothing either.
func expand(pattern string, value func(name string) string) (string, bool) {
	if !strings.Contains(pattern, "{") {
		return pattern, true
	}
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		if pattern[i] == '\\' && i+1 < len(pattern) {
			b.WriteString(pattern[i : i+2]) // an escaped brace opens no variable
			i++
			continue
		}
		name := variable(pattern[i:])
		if name == "" {
			b.WriteByte(pattern[i])
			continue
		}
		v := value(name)
		if v == "" || len(v) > maxVariable || !utf8.ValidString(v) {
			return "", false
		}
		quote(&b, v)
		i += len(name) + 1
	}
	return b.String(), true
}

// variable returns the name of the variable that s starts with.
func variable(s string) string {
	for _, name := range [...]string{"client_id", "username", "vhost"} {
		if strings.HasPrefix(s, "{"+name+"}") {
			return name
		}
	}
	return ""
}

// quote writes every character by its code. That is literal also where
// regexp.QuoteMeta is not: in a character class, in a group with the flag x,
// and after a backslash or a brace of the pattern.
func quote(b *strings.Builder, s string) {
	for _, r := range s {
		b.WriteString(`\x{`)
		b.WriteString(strconv.FormatInt(int64(r), 16))
		b.WriteByte('}')
	}
}
