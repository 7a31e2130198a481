package auth

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestPolicyPattern_MatchesWhatErlangMatches(t *testing.T) {
	compilePolicy := PolicyPatterns(nil)
	for _, tt := range erlangMatches {
		matches, err := compilePolicy(tt.pattern)
		if err != nil {
			t.Errorf("%q: %v", tt.pattern, err)
			continue
		}
		for i, text := range erlangTexts {
			if strings.Contains(text, "\n") {
				continue // no name has a line break
			}
			if want := tt.pattern == "" || tt.matches[i] == '1'; matches(text) != want {
				t.Errorf("%q matches %q: %t", tt.pattern, text, !want)
			}
		}
	}
}

func TestPolicyPattern_ThatIsNone(t *testing.T) {
	for _, pattern := range []string{"(", "[a", "\xff", strings.Repeat("a", maxPattern+1)} {
		if _, err := PolicyPatterns(nil)(pattern); !errors.Is(err, ErrPattern) {
			t.Errorf("%.20q: %v", pattern, err)
		}
	}
}

func TestPolicyPattern_ThatTakesTooLongIsNotTriedAgain(t *testing.T) {
	var log bytes.Buffer
	matches, err := PolicyPatterns(slog.New(slog.NewTextHandler(&log, nil)))(`^(?=(a+)+$)`)
	if err != nil {
		t.Fatal(err)
	}
	if slow := strings.Repeat("a", 60) + "!"; matches(slow) || matches("a") {
		t.Error("it matches something")
	}
	if n := strings.Count(log.String(), "too long"); n != 1 {
		t.Errorf("the log tells %d times", n)
	}
}
