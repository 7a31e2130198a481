package main

import (
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
)

func TestAdmin_Delayed(t *testing.T) {
	b := startAdminBroker(t)
	s, err := b.Attach("/", core.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.DeclareExchange(t.Context(), core.ExchangeSpec{
		Name: "later", Kind: "x-delayed-message", Durable: true, Args: field.Table{{Key: "x-delayed-type", Value: "fanout"}},
	}); err != nil {
		t.Fatal(err)
	}
	props, err := field.AppendProperties(nil, &field.Properties{Headers: field.Table{{Key: "x-delay", Value: int64(3_600_000)}}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Publish(&core.Message{Exchange: "later", Key: "k", Props: props, Body: []byte("body"), Persistent: true}, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	_, stdout, _ := adminRun(t, nil, "", "exchange", "delayed", "list", "later", "--count", "1", "--admin-socket", b.socket)
	lines := strings.Split(stdout, "\n")
	if len(lines) < 3 || !strings.HasPrefix(lines[0], "ID") || !strings.HasPrefix(lines[1], "1 ") || !strings.HasSuffix(lines[1], "body") || lines[2] != "1 of 2 messages" {
		t.Errorf("%q", stdout)
	}
	b.play(t, []adminStep{
		{"", "exchange delayed list nope", "no exchange 'nope' in vhost '/'", true},
		{"", "exchange delayed list amq.direct", "keeps no messages back", true},
	})
	for _, step := range []struct{ args, want string }{
		{"exchange delayed cancel later 1", "message 1 of exchange 'later' is cancelled"},
		{"exchange delayed cancel later 1", "exchange 'later' in vhost '/' keeps no message 1 back (any more)"},
	} {
		_, stdout, stderr := adminRun(t, nil, "", append(strings.Fields(step.args), "--admin-socket", b.socket)...)
		if !strings.Contains(stdout+stderr, step.want) {
			t.Errorf("%s: %q, %q, want %q", step.args, stdout, stderr, step.want)
		}
	}
}
