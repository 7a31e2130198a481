package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	admin "github.com/batonmq/baton/protocols/http"
)

func TestAdmin_Lists(t *testing.T) {
	b := startAdminBroker(t)
	b.deadLetters(t, 2)
	const (
		queues   = "NAME VHOST TYPE READY UNACKED BYTES CONSUMERS IN/S OUT/S POLICY "
		bindings = "SOURCE DESTINATION KIND KEY VHOST "
	)
	b.play(t, []adminStep{
		{"", "queues --match dlq", queues + "dlq / classic 2 0 4 B 0 0.0 0.0 -", false},
		{"", "queues --vhost nope", "vhost 'nope' does not exist", true},
		{"", "exchanges --match headers", "NAME VHOST TYPE DURABLE INTERNAL POLICY UNROUTABLE amq.headers / headers true false - -", false},
		{"", "bindings --vhost / --match x", bindings, false},
		{"", "consumers", "QUEUE VHOST TAG CHANNEL ACK PREFETCH ACTIVITY UNACKED WAITS FOR SINCE", false},
		{"", "sessions", "CLIENT VHOST USER CONNECTED AWAY SINCE EXPIRES SUBSCRIPTIONS MESSAGES UNACKED", false},
		{"", "connections", "NAME USER VHOST PROTOCOL STATE CHANNELS TLS CLIENT SINCE", false},
		{"", "why queue dlq", "queue 'dlq' in vhost '/': 2 messages are ready, and nobody consumes to do: start a consumer", false},
		{"", "why queue orders", "queue 'orders' in vhost '/': nothing stands in its way", false},
		{"", "why", "broker 'node-a': nothing stands in its way", false},
		{"", "why exchange amq.topic", "exchange 'amq.topic' in vhost '/': nothing stands in its way", false},
		{"", "why exchange nope", "there is no such exchange", true},
		{"", "why queue nope", "there is no such queue", true},
		{"", "why session nope", "there is no such session", true},
		{"", "why connection nope", "there is no such connection", true},
		{"", "why queue dlq --vhost nope", "there is no such", true},
		{"", "why publish nope k", "a message to exchange 'nope' in vhost '/' with the routing key 'k': no exchange 'nope' in vhost '/' to do: declare it", false},
		{"", "why publish _ dlq --as adm", "a message to exchange '' in vhost '/' with the routing key 'dlq': it is kept in queues: 'dlq'", false},
		{"", "why publish _ dlq --as nobody", "there is no user 'nobody'", true},
	})
	code, out, _ := adminRun(t, nil, "", "queues", "--admin-socket", b.socket, "--json", "--match", "dlq")
	var rows []map[string]any
	if err := json.Unmarshal([]byte(out), &rows); code != exitOK || err != nil || len(rows) != 1 || rows[0]["messages_ready"] != 2.0 || rows[0]["durable"] != true {
		t.Errorf("exit code %d, %v: %s", code, err, out)
	}
}

// What a client calls itself does not reach the terminal as it is.
func TestAdmin_WhyQuotesNames(t *testing.T) {
	b := startAdminBroker(t)
	s, err := b.Attach("/", core.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const name = "q\x1b[2J"
	if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: name, Args: field.Table{}}); err != nil {
		t.Fatal(err)
	}
	if _, out, errs := adminRun(t, nil, "", "why", "--admin-socket", b.socket, "queue", name); strings.Contains(out+errs, "\x1b") || !strings.Contains(out, `q\x1b[2J`) {
		t.Errorf("%q, %q", out, errs)
	}
}

func TestAdmin_Status(t *testing.T) {
	b := startAdminBroker(t)
	status := func(args ...string) string {
		t.Helper()
		code, out, errs := adminRun(t, nil, "", append([]string{"status", "--admin-socket", b.socket}, args...)...)
		if code != exitOK {
			t.Fatalf("exit code %d: %s", code, errs)
		}
		return out
	}
	for _, want := range []string{"role:        primary, epoch 1", "node-a of node-a", "0 connections", "disk:        5.0 GiB free", "alarms:      none"} {
		if out := status(); !strings.Contains(out, want) {
			t.Errorf("%s\nhas no %q", out, want)
		}
	}
	b.health.Set(admin.State{Role: admin.RoleStandby, Reason: "another node is the primary", Standby: &admin.Standby{
		Primary: "node-b", PrimaryEpoch: 7, Addresses: []string{"amqp://b:5672"}, Eligible: true, BehindBytes: 3 << 20,
	}})
	for _, want := range []string{"role:        standby", "not ready:   another node is the primary", "primary:     node-b, epoch 7, at amqp://b:5672", "eligible:    yes", "behind:      3.0 MiB"} {
		if out := status(); !strings.Contains(out, want) {
			t.Errorf("%s\nhas no %q", out, want)
		}
	}
	var s struct {
		Role    string
		Standby struct{ Primary string }
	}
	if out := status("--json"); json.Unmarshal([]byte(out), &s) != nil || s.Role != "standby" || s.Standby.Primary != "node-b" {
		t.Error(out)
	}
}

// Packages install a page for each command, and completion for shells.
func TestManualPagesAndCompletion(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man")
	code, out, errs := baton(t, nil, "man", dir)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	for page, want := range map[string]string{"baton.1": "message broker", "baton-serve.1": "--data", "baton-why-queue.1": "not consumed"} {
		text, err := os.ReadFile(filepath.Join(dir, page))
		if plain := strings.ReplaceAll(string(text), `\-`, "-"); err != nil || !strings.Contains(plain, want) {
			t.Errorf("%s has no %q: %v (%s)", page, want, err, out)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, out, _ := baton(t, nil, "completion", shell); code != exitOK || !strings.Contains(out, "baton") {
			t.Errorf("%s: exit code %d", shell, code)
		}
	}
}
