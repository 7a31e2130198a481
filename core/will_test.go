package core_test

import (
	"errors"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
)

// willed links a session of a user to a subscriber with a will.
func willed(t *testing.T, b *core.Broker, user string, access core.Authorizer, spec core.SubscriberSpec) *core.Link {
	t.Helper()
	s, err := b.Attach("/", core.SessionOptions{User: user, Access: access})
	if err != nil {
		t.Fatal(err)
	}
	spec.Queue, spec.Receiver = "subscriber-"+spec.Name, &quiet{}
	spec.Will = &core.Will{Message: &core.Message{Exchange: core.TopicExchange, Key: "wills", Persistent: true}, Delay: time.Hour}
	l, _, err := s.Subscriber(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What a client may not publish any more when its link breaks off, its will does not publish for it. Nor does it stay away because a
// backend does not answer: it was allowed when it was set.
func TestWillIsAskedAboutAgainWhenRightsHaveChanged(t *testing.T) {
	denied := func(request string) func(*recorder) {
		return func(r *recorder) { r.generation, r.deny = r.generation+1, request }
	}
	ends := map[string]func(t *testing.T, b *core.Broker, l *core.Link){
		"broken off": func(_ *testing.T, _ *core.Broker, l *core.Link) { l.Detach(false, nil) },
		"taken over": func(t *testing.T, b *core.Broker, _ *core.Link) {
			t.Helper()
			s, err := b.Attach("/", core.SessionOptions{User: "u"})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.Subscriber(t.Context(), core.SubscriberSpec{
				Name: "c", Queue: "subscriber-c", Fresh: true, Receiver: &quiet{},
			}); err != nil {
				t.Fatal(err)
			}
		},
	}
	for _, tt := range []struct {
		name   string
		change func(*recorder)
		want   uint64
	}{
		{"nothing has changed", func(*recorder) {}, 1},
		{"other rights have changed", func(r *recorder) { r.generation++ }, 1},
		{"the exchange may not be written to", denied("write exchange amq.topic"), 0},
		{"the topic may not be written to", denied("write topic wills of amq.topic"), 0},
		{"it cannot be found out", func(r *recorder) {
			denied("write exchange amq.topic")(r)
			r.err = errors.New("the backend is down")
		}, 1},
	} {
		for how, end := range ends {
			t.Run(tt.name+", "+how, func(t *testing.T) {
				inGate(t, core.Options{}, func(g gated) {
					rec := &recorder{}
					l := willed(g.t, g.broker, "u", rec, core.SubscriberSpec{Name: "c"})
					rec.visit = func(string) { g.broker.Stats(); attach(g.t, g.broker) } // nobody may have to wait for the answer
					tt.change(rec)
					end(g.t, g.broker, l)
					if n := g.broker.Stats().Unroutable; n != tt.want {
						g.t.Errorf("%d wills were published, want %d", n, tt.want)
					}
					flush(g.t, attach(g.t, g.broker))
					if keys := g.store.keys(g.t, 'w'); len(keys) != 0 {
						g.t.Errorf("wills are on record: %q", keys)
					}
				})
			})
		}
	}
}

// Nothing is published in the name of a user who was deleted, also if he was away already, and had left no more than a will.
func TestWillsGoWithTheirUser(t *testing.T) {
	inGate(t, core.Options{}, func(g gated) {
		t, b := g.t, g.broker
		users := []string{"gone", "stays"}
		for _, user := range users {
			if _, err := b.Access().PutUser(t.Context(), core.User{Name: user, MaxConnections: -1, MaxChannels: -1}); err != nil {
				t.Fatal(err)
			}
			willed(t, b, user, nil, core.SubscriberSpec{Name: user + " and comes back", Expiry: core.Forever}).Detach(false, nil)
		}
		b.SetMemoryAlarm(true) // wills that are due wait, of a subscriber that has ended by themselves
		for _, user := range users {
			willed(t, b, user, nil, core.SubscriberSpec{Name: user + " for ever"}).Detach(false, nil)
		}
		if _, err := b.Access().DeleteUser(t.Context(), "gone"); err != nil {
			t.Fatal(err)
		}
		if keys := g.store.keys(t, 'w'); len(keys) != len(users) {
			t.Errorf("wills on record: %q", keys)
		}
		b.SetMemoryAlarm(false)
		time.Sleep(2 * time.Hour)
		if n := b.Stats().Unroutable; n != 2 {
			t.Errorf("%d wills were published, want the two of the user who stays", n)
		}
	})
}
