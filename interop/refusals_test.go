package interop

import (
	"errors"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// culprit is the client that makes a mistake.
type culprit struct {
	t  *testing.T
	ch *amqp.Channel
}

// TestRefusals: a mistake ends its channel, or its connection, with the protocol's
// code and a text that names the object; and nothing else ends.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		code  int
		texts []string
		// connection tells that the mistake costs the connection.
		connection bool
		// do makes the mistake. A refusal that has no answer arrives later.
		do func(c culprit) error
	}{
		"passive declare of a missing queue": {code: amqp.NotFound, texts: []string{"no queue 'interop.none' in vhost '/'"}, do: func(c culprit) error {
			_, err := c.ch.QueueDeclarePassive("interop.none", false, false, false, false, nil)
			return err
		}},
		"passive declare of a missing exchange": {code: amqp.NotFound, texts: []string{"no exchange 'interop.none' in vhost '/'"}, do: func(c culprit) error {
			return c.ch.ExchangeDeclarePassive("interop.none", "direct", false, false, false, false, nil)
		}},
		"bind to a missing exchange": {code: amqp.NotFound, texts: []string{"no exchange 'interop.none'"}, do: func(c culprit) error {
			return c.ch.QueueBind(queueOf(c.t, c.ch), "k", "interop.none", false, nil)
		}},
		"consume from a missing queue": {code: amqp.NotFound, texts: []string{"no queue 'interop.none'"}, do: func(c culprit) error {
			_, err := c.ch.Consume("interop.none", "", false, false, false, false, nil)
			return err
		}},
		"publish to a missing exchange": {code: amqp.NotFound, texts: []string{"no exchange 'interop.none'"}, do: func(c culprit) error {
			return c.ch.Publish("interop.none", "", false, false, amqp.Publishing{})
		}},
		"redeclare a queue with another durability": {code: amqp.PreconditionFailed, texts: []string{"inequivalent arg 'durable' for queue '", "received 'true' but current is 'false'"}, do: func(c culprit) error {
			// Not exclusive: that would force the queue to be transient both times.
			name := unique(c.t)
			_, err := c.ch.QueueDeclare(name, false, true, false, false, nil)
			must(c.t, err)
			c.t.Cleanup(func() {
				_, err := channel(c.t, sharedURL(c.t)).QueueDelete(name, false, false, false)
				must(c.t, err)
			})
			_, err = c.ch.QueueDeclare(name, true, true, false, false, nil)
			return err
		}},
		"redeclare an exchange with another argument": {code: amqp.PreconditionFailed, texts: []string{"inequivalent arg 'alternate-exchange' for exchange '", "received 'amq.topic' but current is 'amq.fanout'"}, do: func(c culprit) error {
			name := unique(c.t)
			c.t.Cleanup(func() { must(c.t, channel(c.t, sharedURL(c.t)).ExchangeDelete(name, false, false)) })
			must(c.t, c.ch.ExchangeDeclare(name, "direct", false, false, false, false, amqp.Table{"alternate-exchange": "amq.fanout"}))
			return c.ch.ExchangeDeclare(name, "direct", false, false, false, false, amqp.Table{"alternate-exchange": "amq.topic"})
		}},
		"redeclare an exchange with another type": {code: amqp.PreconditionFailed, texts: []string{"inequivalent arg 'type' for exchange 'amq.direct'", "received 'topic' but current is 'direct'"}, do: func(c culprit) error {
			return c.ch.ExchangeDeclare("amq.direct", "topic", true, false, false, false, nil)
		}},
		"a queue with a reserved name": {code: amqp.AccessRefused, texts: []string{"queue name 'amq.mine' contains reserved prefix 'amq.*'"}, do: func(c culprit) error {
			_, err := c.ch.QueueDeclare("amq.mine", false, false, true, false, nil)
			return err
		}},
		"bind to the default exchange": {code: amqp.AccessRefused, texts: []string{"operation not permitted on the default exchange"}, do: func(c culprit) error {
			return c.ch.QueueBind(queueOf(c.t, c.ch), "k", "", false, nil)
		}},
		"another connection's exclusive queue": {code: amqp.ResourceLocked, texts: []string{"cannot obtain exclusive access to locked queue '"}, do: func(c culprit) error {
			q := queueOf(c.t, channel(c.t, sharedURL(c.t)))
			_, err := c.ch.Consume(q, "", false, false, false, false, nil)
			return err
		}},
		"a second consumer beside an exclusive one": {code: amqp.AccessRefused, texts: []string{"in exclusive use"}, do: func(c culprit) error {
			q := queueOf(c.t, c.ch)
			_, err := c.ch.Consume(q, "", false, true, false, false, nil)
			must(c.t, err)
			_, err = c.ch.Consume(q, "", false, false, false, false, nil)
			return err
		}},
		"delete a queue in use": {code: amqp.PreconditionFailed, texts: []string{"in use"}, do: func(c culprit) error {
			q := queueOf(c.t, c.ch)
			consume(c.t, c.ch, q, true)
			_, err := c.ch.QueueDelete(q, true, false, false)
			return err
		}},
		"delete a queue that is not empty": {code: amqp.PreconditionFailed, texts: []string{"not empty"}, do: func(c culprit) error {
			q := queueOf(c.t, c.ch)
			publish(c.t, c.ch, "", q, "m")
			_, err := c.ch.QueueDelete(q, false, true, false)
			return err
		}},
		"acknowledge an unknown tag": {code: amqp.PreconditionFailed, texts: []string{"unknown delivery tag 42"}, do: func(c culprit) error {
			return c.ch.Ack(42, false)
		}},
		"acknowledge twice": {code: amqp.PreconditionFailed, texts: []string{"unknown delivery tag 1"}, do: func(c culprit) error {
			q := queueOf(c.t, c.ch)
			publish(c.t, c.ch, "", q, "m")
			d := get(c.t, c.ch, q)
			must(c.t, d.Ack(false))
			return d.Ack(false)
		}},
		"an expiration that is no number": {code: amqp.PreconditionFailed, texts: []string{"invalid expiration 'soon'"}, do: func(c culprit) error {
			return c.ch.Publish("", queueOf(c.t, c.ch), false, false, amqp.Publishing{Expiration: "soon"})
		}},
		"another's user id": {code: amqp.PreconditionFailed, texts: []string{"user_id property set to 'root' but authenticated user was 'guest'"}, do: func(c culprit) error {
			return c.ch.Publish("", queueOf(c.t, c.ch), false, false, amqp.Publishing{UserId: "root"})
		}},
		"a consumer tag used twice": {code: amqp.NotAllowed, connection: true, texts: []string{"attempt to reuse consumer tag 'tag'"}, do: func(c culprit) error {
			q := queueOf(c.t, c.ch)
			_, err := c.ch.Consume(q, "tag", false, false, false, false, nil)
			must(c.t, err)
			_, err = c.ch.Consume(q, "tag", false, false, false, false, nil)
			return err
		}},
		"immediate": {code: amqp.NotImplemented, connection: true, texts: []string{"immediate=true"}, do: func(c culprit) error {
			return c.ch.Publish("", queueOf(c.t, c.ch), false, true, amqp.Publishing{})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, sharedURL(t))
			ch, witness := openChannel(t, conn), openChannel(t, conn)
			closed := ch.NotifyClose(make(chan *amqp.Error, 1))
			err := tt.do(culprit{t, ch})
			if err == nil {
				err = within(t, "the refusal", closed)
			}
			expectRefusal(t, err, tt.code, tt.texts...)
			if tt.connection {
				if !conn.IsClosed() {
					t.Error("the connection lives on")
				}
				return
			}
			settled(t, witness) // the connection's other channel works
			// The number may be used again: the library gives out the lowest free one.
			settled(t, openChannel(t, conn))
		})
	}
}

func TestLoginIsRefused(t *testing.T) {
	t.Parallel()
	uri, err := amqp.ParseURI(sharedURL(t))
	must(t, err)
	for name, tt := range map[string]struct {
		change func(*amqp.URI)
		code   int
	}{
		"wrong password": {func(u *amqp.URI) { u.Password = "wrong" }, amqp.AccessRefused},
		"unknown user":   {func(u *amqp.URI) { u.Username = "nobody" }, amqp.AccessRefused},
		"unknown vhost":  {func(u *amqp.URI) { u.Vhost = "nowhere" }, amqp.NotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := uri
			tt.change(&u)
			conn, err := amqp.Dial(u.String())
			if err == nil {
				t.Fatalf("let in (%v)", conn.Close())
			}
			// The library replaces the broker's refusal of credentials by its own error
			// with the same code, so that the text is not the broker's.
			if e, ok := errors.AsType[*amqp.Error](err); !ok || e.Code != tt.code {
				t.Errorf("error %v, want code %d", err, tt.code)
			}
		})
	}
}
