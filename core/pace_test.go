package core_test

import (
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
)

// One message that matches very many patterns must not keep a processor from all other connections for as long as that takes: it is
// routed in pieces. Where others wait for a lock meanwhile, in one go.
func TestPublishThatTakesLongGivesWay(t *testing.T) {
	const words, patterns = 100, 2000
	passed := 0
	b := engine(t, core.Options{GiveWay: func() { passed++ }})
	s := attach(t, b)
	declare(t, s, false)
	for i := range patterns {
		var p strings.Builder
		for rest := i + 1; rest > 0; rest /= 2 {
			p.WriteString([]string{"a.", "*."}[rest%2])
		}
		p.WriteString("#.a.#")
		if err := s.Bind(t.Context(), core.BindingSpec{Source: core.TopicExchange, Dest: "q", Key: p.String()}); err != nil {
			t.Fatal(err)
		}
	}
	long := strings.Repeat("a.", words-1) + "a"
	for _, tt := range []struct {
		name    string
		message *core.Message
		least   int
		most    int
	}{
		{"many words, many patterns", &core.Message{Exchange: core.TopicExchange, Key: long, Body: []byte("x")}, words * patterns / 16_384 / 2, words * patterns},
		{"kept for its key, under a lock", &core.Message{Exchange: core.TopicExchange, Key: long, Body: []byte("x"), Retain: true}, 0, 0},
		{"few words", &core.Message{Exchange: core.TopicExchange, Key: "b", Body: []byte("x")}, 0, 0},
		{"the default exchange", &core.Message{Key: "q", Body: []byte("x")}, 0, 0},
	} {
		passed = 0
		if _, err := s.Publish(tt.message, nil, 0); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if passed < tt.least || passed > tt.most {
			t.Errorf("%s: gave way %d times, want %d to %d", tt.name, passed, tt.least, tt.most)
		}
	}
}
