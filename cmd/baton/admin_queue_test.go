package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
)

// deadLetters makes queues, and in dlq n messages that died in orders.
func (b *adminBroker) deadLetters(t *testing.T, n int) {
	t.Helper()
	s, err := b.Attach("/", core.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, name := range []string{"dlq", "orders", "other"} {
		if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: name, Durable: true}); err != nil {
			t.Fatal(err)
		}
	}
	props, err := field.AppendProperties(nil, &field.Properties{Headers: field.Table{
		{Key: "x-first-death-queue", Value: "orders"}, {Key: "x-first-death-reason", Value: "expired"}, {Key: "x-first-death-exchange", Value: ""},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := s.Publish(&core.Message{Key: "dlq", Props: props, Body: fmt.Appendf(nil, "m%d", i+1), Persistent: true}, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAdmin_Messages(t *testing.T) {
	b := startAdminBroker(t)
	b.deadLetters(t, 7)
	const head = "POSITION SIZE TRIES EXCHANGE ROUTING KEY DIED BODY "
	b.play(t, []adminStep{
		{"", "queue browse dlq --count 2 --body 1", head + `1 2 0 "" dlq expired in orders m 2 2 0 "" dlq expired in orders m There may be more: --after 2`, false},
		{"", "queue browse dlq --after 6", head + `7 2 0 "" dlq expired in orders m7`, false},
		{"", "queue browse nope", "no queue 'nope' in vhost '/'", true},
		{"", "queue browse dlq --vhost nope", "there is no such virtual host", true},
		{"", "queue browse dlq --after x", "after is not a position", true},
		{"", "queue delete-message dlq 3 5", "the message at position 3 of queue 'dlq' is deleted the message at position 5 of queue 'dlq' is deleted", false},
		{"", "queue delete-message dlq 3", "no message waits at position 3 of queue 'dlq' in vhost '/'", true},
		{"", "queue move dlq", "at least one of the flags", true},
		{"", "queue move dlq --to-queue dlq", "messages cannot be moved from a queue to itself", true},
		{"", "queue move dlq --to-queue other --count 1", "1 messages moved", false},
		{"", "queue move dlq --to-exchange _ --to-routing-key other --position 4", "1 messages moved, 1 others stay", false},
		{"", "queue move dlq --to-exchange amq.fanout", "0 messages moved, 3 stay because nothing takes them", false},
		{"", "queue redrive dlq --dry-run", "3 messages would be moved", false},
		{"", "queue redrive dlq --reason rejected", "0 messages moved, 3 others stay", false},
		{"", "queue redrive dlq --died-in orders --header x-first-death-reason=expired --exchange _ --routing-key dlq", "3 messages moved", false},
		{"", "queue redrive dlq --rate -1", "may not be negative", true},
		{"", "queue redrive other", "2 messages moved", false},
		{"", "queue browse orders --body 0", head + `1 2 0 "" orders expired in orders "" 2 2 0 "" orders expired in orders "" 3 2 0 "" orders expired in orders ""` +
			` 4 2 0 "" orders expired in orders "" 5 2 0 "" orders expired in orders ""`, false},
	})
}

// A redrive of more than one request moves all that waited, at no more than the rate.
func TestAdmin_RedriveInSteps(t *testing.T) {
	b := startAdminBroker(t)
	b.deadLetters(t, 2500)
	begun := time.Now()
	code, stdout, stderr := adminRun(t, nil, "", "queue", "redrive", "dlq", "--count", "3", "--rate", "10", "--json", "--admin-socket", b.socket)
	var sum transferred
	if err := json.Unmarshal([]byte(stdout), &sum); err != nil || code != exitOK || sum != (transferred{Waiting: 2500, Moved: 3, More: true}) {
		t.Fatal(code, stdout, stderr, err)
	}
	if took := time.Since(begun); took < 200*time.Millisecond {
		t.Errorf("3 messages at 10 in a second took %s", took)
	}
	b.play(t, []adminStep{{"", "queue redrive dlq", "2497 messages moved", false}})
}

func TestTransfer_StopsWhenItIsInterrupted(t *testing.T) {
	b := startAdminBroker(t)
	b.deadLetters(t, 50)
	ctx, cancel := context.WithCancel(t.Context())
	tr := transfer{rate: 1}
	cmd := queueCommand(&adminFlags{})
	cmd.SetContext(ctx)
	f := &adminFlags{socket: b.socket}
	asked, err := f.broker(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer asked.http.CloseIdleConnections()
	cancel()
	if err := tr.pace(asked, time.Now(), 1000); err == nil {
		t.Error("it waits, and nobody wants it to")
	}
	if err := tr.run(asked, "/api/queues/%2F/dlq/redrive"); err == nil || strings.Contains(err.Error(), "were moved") {
		t.Error(err)
	}
}
