package auth

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/quick"

	"github.com/dlclark/regexp2/v2"
)

// What Erlang's re:run(Text, Pattern, [{capture, none}]) said, which is what
// RabbitMQ asks (Erlang/OTP 25): one digit for each of the texts.
var (
	erlangTexts = []string{
		"", "app", "APP-1", "app-1", "amq.default", "amq.topic", "my.app", "dev.q1", "q1", "a.b", "aa", "ab",
		"aab", "123", "secret.x", "orders.dlq", "xxx", "app\n", "a\nc", "a.c", "é", "abc", "aabb", "aaab",
	}
	erlangMatches = []struct{ pattern, matches string }{
		{``, "100000000000000000000000"}, // RabbitMQ asks "^$" instead
		{`.*`, "111111111111111111111111"},
		{`^$`, "100000000000000000000000"},
		{`^app`, "010100000000000001000000"},
		{`app`, "010100100000000001000000"},
		{`^app-.*$`, "000100000000000000000000"},
		{`^(amq\.default|app\..*)$`, "000010000000000000000000"},
		{`^(?!amq\.).*`, "111100111111111111111111"},
		{`^(?!secret).*$`, "111111111111110111011111"},
		{`^(?:(?!\.dlq$).)*$`, "111111111111111011011111"},
		{`(?<=dev\.)q1$`, "000000010000000000000000"},
		{`^(a|b)\1$`, "000000000010000000000000"},
		{`^\w+$`, "010000001011110011000111"},
		{`^\d{3}$`, "000000000000010000000000"},
		{`^[[:alpha:]]+$`, "010000000011100011000111"},
		{`(?i)^APP`, "011100000000000001000000"},
		{`^a++b`, "000000000001100000000111"},
		{`^\Qa.b\E$`, "000000000100000000000000"},
		{`^(?>a+)b$`, "000000000001100000000001"},
		{`^x{3,}$`, "000000000000000010000000"},
		{`^[^.]+\.[^.]+$`, "000011110100001100010000"},
		{`^a.c$`, "000000000000000000010100"},
		{`^(?=.*q)(?=.*1).*$`, "000000011000000000000000"},
		{`^(?!x)\w+$`, "010000001011110001000111"},
		{`a{,3}$`, "000000000000000000000000"},
		{"^(?x) a p p # text\n", "010100000000000001000000"},
		{`^(?<n>a)\k<n>$`, "000000000010000000000000"},
		{`^(?P<n>a)(?P=n)$`, "000000000010000000000000"},
		{`^\x61pp`, "010100000000000001000000"},
		{`\Aapp\z`, "010000000000000000000000"},
		{`\Aapp\Z`, "010000000000000001000000"},
	}
)

func TestPattern_MatchesWhatErlangMatches(t *testing.T) {
	for _, tt := range erlangMatches {
		if err := ValidatePattern(tt.pattern); err != nil {
			t.Errorf("ValidatePattern(%q) = %v", tt.pattern, err)
			continue
		}
		c, err := compile(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range erlangTexts {
			got, err := c.matches(text)
			if err != nil {
				t.Fatal(err)
			}
			want := tt.matches[i] == '1'
			// "$" before a final line break is one that Erlang finds and we do not.
			if got != want && (got || !strings.Contains(text, "\n")) {
				t.Errorf("%q in %q: %v, and Erlang says %v", tt.pattern, text, got, want)
			}
		}
	}
}

func TestValidatePattern_SaysWhatIsWrong(t *testing.T) {
	for _, tt := range []struct{ pattern, want string }{
		{"(", "missing closing )"},
		{"*", "missing"},
		{"[a", "]"},
		{"a\xff", "not UTF-8"},
		{strings.Repeat("a", maxPattern+1), "more than 16384"},
		{`^\h(?=x)`, `\h is not supported`},
		{`^(?!x)\R`, `\R is not supported`},
		{`^(a(?1)?b)$`, "unrecognized"},
		{`^(?|a|b)$`, "unrecognized"},
	} {
		if err := ValidatePattern(tt.pattern); !errors.Is(err, ErrPattern) || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(tt.want)) {
			t.Errorf("ValidatePattern(%.40q) = %v, want ErrPattern with %q", tt.pattern, err, tt.want)
		}
	}
}

func TestPatterns_InvalidOneDeniesAndIsLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	p := newPatterns(slog.New(slog.NewTextHandler(&log, nil)))
	for range 3 {
		if p.match("(", "(") {
			t.Error("an invalid pattern matches")
		}
	}
	if n := strings.Count(log.String(), "cannot be used"); n != 1 {
		t.Errorf("%d lines about one invalid pattern: %s", n, &log)
	}
}

func TestPatterns_EndlessBacktrackingDenies(t *testing.T) {
	t.Cleanup(regexp2.StopTimeoutClock)
	var log bytes.Buffer
	p := newPatterns(slog.New(slog.NewTextHandler(&log, nil)))
	if p.match(`^(?=(a+)+$)(a|aa)+$`, strings.Repeat("a", 4000)+"!") {
		t.Error("matches")
	}
	if !strings.Contains(log.String(), "took too long") {
		t.Errorf("log is %q", &log)
	}
}

func TestExpand(t *testing.T) {
	values := map[string]string{"client_id": "c-1", "username": "u.x", "vhost": "/"}
	for _, tt := range []struct {
		pattern string
		yes, no []string
	}{
		{`^{client_id}$`, []string{"c-1"}, []string{"", "c-1x", "{client_id}"}},
		{`^{username}\.{client_id}\..*`, []string{"u.x.c-1.t"}, []string{"uyx.c-1.t", "u.x.c-2.t"}},
		{`^{vhost}{vhost}$`, []string{"//"}, []string{"/"}},
		{`^{unknown}$`, []string{"{unknown}"}, []string{"unknown"}},
		{`^\{client_id}$`, []string{"{client_id}"}, []string{"c-1"}},
		{`^\\{client_id}$`, []string{`\c-1`}, []string{"c-1"}},
		{`^[{username}]+$`, []string{"u", ".", "x.u"}, []string{"y", "{"}},
		{`^(?!{client_id}).*$`, []string{"c-2"}, []string{"c-1", "c-10"}},
		{`^no variable$`, []string{"no variable"}, []string{"c-1"}},
	} {
		pattern, ok := expand(tt.pattern, func(name string) string { return values[name] })
		if !ok {
			t.Errorf("expand(%q) has no value", tt.pattern)
			continue
		}
		c, err := compile(pattern)
		if err != nil {
			t.Errorf("expand(%q) = %q: %v", tt.pattern, pattern, err)
			continue
		}
		for want, texts := range map[bool][]string{true: tt.yes, false: tt.no} {
			for _, text := range texts {
				if got, err := c.matches(text); got != want || err != nil {
					t.Errorf("%q with %v in %q: %v, %v; want %v", tt.pattern, values, text, got, err, want)
				}
			}
		}
	}
}

func TestExpand_NeedsAValueThatCanBeMatched(t *testing.T) {
	for name, value := range map[string]string{
		"none":     "",
		"too long": strings.Repeat("x", maxVariable+1),
		"not text": "a\xffb",
	} {
		for pattern, want := range map[string]bool{"{client_id}": false, "^x{client_id}|.*": false, "no variable {": true} {
			got, ok := expand(pattern, func(string) string { return value })
			if ok != want || (want && got != pattern) {
				t.Errorf("%s: expand(%q) = %q, %v; want %v", name, pattern, got, ok, want)
			}
		}
	}
}

// Whatever a client calls itself, its name stands for itself alone, in both
// engines and wherever it is spliced in.
func TestExpand_ValuesAreLiteral(t *testing.T) {
	contexts := []struct {
		pattern string // whose whole match is the value between < and >
		class   bool   // any character of the value
	}{
		{pattern: `^<{client_id}>$`},
		{pattern: `^(?!never)<{client_id}>$`},
		{pattern: `(?x)^ < {client_id} > $`},
		{pattern: `(?x)^(?!never) < {client_id} > $`},
		{pattern: `^<[{client_id}]>$`, class: true},
		{pattern: `^(?!never)<[{client_id}]>$`, class: true},
	}
	check := func(value string) error {
		value = strings.ToValidUTF8(value, "?")
		if value == "" || len(value) > maxVariable {
			return nil
		}
		for _, tt := range contexts {
			pattern, ok := expand(tt.pattern, func(string) string { return value })
			if !ok {
				return fmt.Errorf("%q: no value", tt.pattern)
			}
			c, err := compile(pattern)
			if err != nil {
				return fmt.Errorf("%q: %w", tt.pattern, err)
			}
			texts := map[string]bool{"<" + value + ">": true, "<" + value + "x>": false, "<>": false, "": false, "anything": false}
			if tt.class {
				texts = map[string]bool{"<>": false, "": false, "anything": false}
				for _, r := range value {
					texts["<"+string(r)+">"] = true
				}
				for _, r := range "-^]\\aZ0 é" {
					texts["<"+string(r)+">"] = strings.ContainsRune(value, r)
				}
			}
			for text, want := range texts {
				got, err := c.matches(text)
				if err != nil {
					return fmt.Errorf("%q with %q in %q: %w", tt.pattern, value, text, err)
				}
				if got != want {
					return fmt.Errorf("%q with %q in %q: %v, want %v", tt.pattern, value, text, got, want)
				}
			}
		}
		return nil
	}
	for _, value := range []string{
		".*", ".", "|", "a|b", "^", "$", "(", ")", "[", "]", "a-z", "^a", `\`, `\E`, `\Q`, `\w`, "{client_id}", "{username}",
		"#", "a #b", " ", "\n", "\t", "\u00a0", "\u2028", "é", "日本", "😀", "x{2}", "?", "+", "*", "(?i)", "/", "\x00", "K",
		regexp.QuoteMeta("."), "}", "{", "-",
	} {
		if err := check(value); err != nil {
			t.Error(err)
		}
	}
	literal := func(value string) bool {
		err := check(value)
		if err != nil {
			t.Error(err)
		}
		return err == nil
	}
	if err := quick.Check(literal, &quick.Config{MaxCount: 200}); err != nil {
		t.Error(err)
	}
}

func FuzzPattern(f *testing.F) {
	for _, tt := range erlangMatches {
		f.Add(tt.pattern, "app", "client")
	}
	f.Add(`^{client_id}{2}[{client_id}]`, "xx", "a-z")
	f.Fuzz(func(t *testing.T, pattern, text, client string) {
		c, err := compile(pattern)
		if (err == nil) != (c != nil) || (err != nil && !errors.Is(err, ErrPattern)) {
			t.Fatalf("compile(%q) = %v, %v", pattern, c, err)
		}
		if err == nil && c.plain != nil {
			_, _ = c.matches(text)
		}
		expanded, ok := expand(pattern, func(string) string { return client })
		if ok && c != nil && variableFree(pattern) && expanded != pattern {
			t.Errorf("expand(%q) = %q without a variable", pattern, expanded)
		}
	})
}

func variableFree(pattern string) bool {
	for _, name := range []string{"{client_id}", "{username}", "{vhost}"} {
		if strings.Contains(pattern, name) {
			return false
		}
	}
	return true
}

func BenchmarkPatterns_Match(b *testing.B) {
	p := newPatterns(slog.New(slog.DiscardHandler))
	for _, pattern := range []string{"^app\\..*$", "^(?!amq\\.).*$"} {
		b.Run(pattern, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !p.match(pattern, "app.orders.created") {
					b.Fatal("no match")
				}
			}
		})
	}
}
