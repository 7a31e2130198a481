package main

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TestEvents_TellOfClients: an AMQP client hears of another's login, connection and channel, by the names that lists show.
func TestEvents_TellOfClients(t *testing.T) {
	r := startServe(t, t.TempDir(), "--config", writeFile(t, "baton.yaml", "events: /\n"))
	ch, err := r.dial(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	q, err := ch.QueueDeclare("", false, false, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"user.authentication.*", "connection.*", "channel.*"} {
		if err := ch.QueueBind(q.Name, key, "amq.rabbitmq.event", false, nil); err != nil {
			t.Fatal(err)
		}
	}
	heard, err := ch.Consume(q.Name, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	other := r.dial(t)
	if _, err := other.Channel(); err != nil {
		t.Fatal(err)
	}
	name := other.LocalAddr().String() + " -> " + other.RemoteAddr().String()
	_ = other.Close()
	if _, err := amqp.Dial("amqp://guest:wrong@" + r.addr(t, "amqp") + "/"); err == nil {
		t.Error("a wrong password is let in")
	}
	for _, want := range []struct{ key, name string }{
		{"user.authentication.success", "guest"},
		{"connection.created", name},
		{"channel.created", name + " (1)"},
		{"channel.closed", name + " (1)"},
		{"connection.closed", name},
		{"user.authentication.failure", "guest"},
	} {
		d := <-heard
		if d.RoutingKey != want.key || d.Headers["name"] != want.name || d.DeliveryMode != amqp.Persistent || d.Headers["timestamp_in_ms"] == nil {
			t.Errorf("heard %s with %v, want %s of %s", d.RoutingKey, d.Headers, want.key, want.name)
		}
	}
}
