package core_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

// resumed links a client of user u again, after it has subscribed to "open.#" and "secret.#", left, and been sent one message of each.
func resumed(g *guarded, spec core.SubscriberSpec, change func(*recorder)) (*client, []string) {
	g.t.Helper()
	first := linkClient(g.t, g.broker, "e", core.SubscriberSpec{Expiry: core.Forever})
	for _, key := range []string{"open.#", "secret.#"} {
		first.subscribe(g.t, core.SubscriptionSpec{Key: key, Level: core.AtLeastOnce})
	}
	first.session.Close()
	publish(g.t, g.free, &core.Message{Exchange: core.TopicExchange, Key: "secret.before", Persistent: true})
	publish(g.t, g.free, &core.Message{Exchange: core.TopicExchange, Key: "open.before", Persistent: true})
	change(g.rec)
	g.rec.asked = nil
	c := &client{room: -1}
	var err error
	c.session, err = g.broker.Attach("/", core.SessionOptions{Access: g.rec})
	g.must(err)
	g.rec.asked = nil
	spec.Name, spec.Queue, spec.Receiver, spec.Expiry = "e", "subscriber-e", c, core.Forever
	c.link, _, err = c.session.Subscriber(g.t.Context(), spec)
	g.must(err)
	asked := slices.DeleteFunc(slices.Clone(g.rec.asked), func(s string) bool { return !strings.HasPrefix(s, "read ") })
	c.link.Start()
	return c, asked
}

// What a user may not read any more its session does not go on reading when it comes back: neither what is published from then on, nor
// what has been waiting.
func TestResumedSessionKeepsOnlyTheSubscriptionsThatAreStillAllowed(t *testing.T) {
	exchange, open, secret := "read exchange amq.topic", "read topic open.# of amq.topic", "read topic secret.# of amq.topic"
	down := errors.New("backend is down")
	isSecret := func(key string) bool { return strings.HasPrefix(key, "secret.") }
	for _, tt := range []struct {
		name   string
		spec   core.SubscriberSpec
		change func(*recorder)
		asks   []string // in any order
		kept   []string
		got    []string
	}{
		{
			"all rights",
			core.SubscriberSpec{},
			func(*recorder) {},
			[]string{exchange, open, secret},
			[]string{"open.#", "secret.#"},
			[]string{"secret.before=", "open.before=", "secret.after=", "open.after="},
		},
		{
			"no topic rules",
			core.SubscriberSpec{},
			func(r *recorder) { r.noTopics = true },
			[]string{exchange},
			[]string{"open.#", "secret.#"},
			[]string{"secret.before=", "open.before=", "secret.after=", "open.after="},
		},
		{
			"one topic taken away",
			core.SubscriberSpec{},
			func(r *recorder) { r.deny = secret },
			[]string{exchange, open, secret},
			[]string{"open.#"},
			[]string{"open.before=", "open.after="},
		},
		{
			"the exchange taken away",
			core.SubscriberSpec{},
			func(r *recorder) { r.deny = exchange },
			[]string{exchange},
			nil, nil,
		},
		{
			"nobody knows",
			core.SubscriberSpec{},
			func(r *recorder) { r.deny, r.err = exchange, down },
			[]string{exchange},
			[]string{"open.#", "secret.#"},
			[]string{"secret.before=", "open.before=", "secret.after=", "open.after="},
		},
		{
			"one not for the link", // which is not asked about
			core.SubscriberSpec{Outside: isSecret},
			func(*recorder) {},
			[]string{exchange, open},
			[]string{"open.#"},
			[]string{"open.before=", "open.after="},
		},
		{
			"one not for the link, and nobody knows of others",
			core.SubscriberSpec{Outside: isSecret},
			func(r *recorder) { r.deny, r.err = exchange, down },
			[]string{exchange},
			[]string{"open.#"},
			[]string{"open.before=", "open.after="},
		},
		{
			"a session begun anew", core.SubscriberSpec{Fresh: true}, func(r *recorder) { r.deny = secret }, nil, nil, nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuarded(t, "")
			c, asked := resumed(g, tt.spec, tt.change)
			slices.Sort(asked)
			slices.Sort(tt.asks)
			if !slices.Equal(asked, tt.asks) {
				t.Errorf("asked %q, want %q", asked, tt.asks)
			}
			for _, key := range []string{"secret.after", "open.after"} {
				_, err := g.free.Publish(&core.Message{Exchange: core.TopicExchange, Key: key, Persistent: true}, nil, 0)
				g.must(err)
			}
			if got := c.taken(); !slices.Equal(got, tt.got) {
				t.Errorf("got %q, want %q", got, tt.got)
			}
			flush(t, g.free)
			for _, key := range []string{"open.#", "secret.#"} {
				if left := len(recorded(t, g.store, key)) > 0; left != slices.Contains(tt.kept, key) {
					t.Errorf("%s is on record: %t", key, left)
				}
			}
		})
	}
}

// A session of somebody else is not asked about what it cannot have.
func TestSubscriptionsOfAnotherUserAreNotAskedAbout(t *testing.T) {
	g := newGuarded(t, "")
	owner, err := g.broker.Attach("/", core.SessionOptions{User: "owner"})
	g.must(err)
	spec := core.SubscriberSpec{Name: "d", Queue: "mqtt-d", Expiry: core.Forever, Receiver: &quiet{}}
	l, _, err := owner.Subscriber(t.Context(), spec)
	g.must(err)
	subscribeAll(t, l, "a")
	if _, _, err := g.session.Subscriber(t.Context(), spec); core.KindOf(err) != core.Refused {
		t.Errorf("link: %v", err)
	}
	if want := []string{"configure queue mqtt-d", "write queue mqtt-d"}; !slices.Equal(g.rec.asked, want) {
		t.Errorf("asked %q, want %q", g.rec.asked, want)
	}
}

// fillUsers gives alice and bob sessions that outlive their links, enough of alice's that they take several units to delete.
func fillUsers(ctx context.Context, t *testing.T, b *core.Broker) {
	t.Helper()
	for _, user := range []string{"alice", "bob"} {
		if err := second(b.Access().PutUser(ctx, core.User{Name: user, MaxConnections: -1, MaxChannels: -1})); err != nil {
			t.Fatal(err)
		}
		n := 3
		if user == "alice" {
			n = 800
		}
		for i := range n {
			ownedLink(ctx, t, b, user, fmt.Sprintf("%s-%d", user, i)).Detach(true, nil)
		}
	}
}

// ownedLink links a subscriber of a user with one subscription, to "k".
func ownedLink(ctx context.Context, t *testing.T, b *core.Broker, user, name string) *core.Link {
	t.Helper()
	s, err := b.Attach("/", core.SessionOptions{User: user})
	if err != nil {
		t.Fatal(err)
	}
	l, _, err := s.Subscriber(ctx, core.SubscriberSpec{Name: name, Queue: "mqtt-" + name, Expiry: core.Forever, Receiver: &quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := second(l.Subscribe(ctx, []core.SubscriptionSpec{{Key: "k", Level: core.AtLeastOnce}})); err != nil {
		t.Fatal(err)
	}
	return l
}

// Whoever has a deleted user's name next finds none of its sessions, wherever the broker ended meanwhile: as long as any is left, so is
// the user.
func TestSessionsGoWithTheirUserBeforeItsNameIsFree(t *testing.T) {
	units := 0
	for more, n := true, 0; more; n++ {
		disk := prepared(t, func(b *core.Broker) error {
			fillUsers(t.Context(), t, b)
			s := attach(t, b)
			_, err := s.Publish(&core.Message{Exchange: core.TopicExchange, Key: "k", Persistent: true}, nil, 0)
			flush(t, s)
			return err
		})
		var b *core.Broker
		var store *memstore.Store
		b, store, more = crashedAfter(t, disk, n, func(b *core.Broker, ctx context.Context) {
			_, _ = b.Access().DeleteUser(ctx, "alice")
		})
		_, exists := b.Access().User("alice")
		left := len(recorded(t, store, "alice"))
		if exists != more || !exists && left > 0 {
			t.Errorf("after %d units the user exists: %t, with %d records left", n, exists, left)
		}
		if st := b.Stats(); !exists && (st.Subscribers != 3 || st.Subscriptions != 3 || st.Queues != 3 || st.Ready != 3) {
			t.Errorf("of the other user there is left %+v", st)
		}
		units = n
	}
	if units < 3 {
		t.Errorf("the deletion took %d units: the test needs more", units)
	}
}

// Who is connected when its user is deleted loses its session too, and makes none before it has ended.
func TestDeletedUserMakesNoSession(t *testing.T) {
	b := engine(t, core.Options{})
	ctx := t.Context()
	if err := second(b.Access().PutUser(ctx, core.User{Name: "alice", MaxConnections: -1, MaxChannels: -1})); err != nil {
		t.Fatal(err)
	}
	linked, connecting := connected(t, b, "/", "alice"), connected(t, b, "/", "alice")
	spec := core.SubscriberSpec{Name: "a", Queue: "mqtt-a", Expiry: core.Forever, Receiver: &quiet{}}
	l, _, err := linked.session.Subscriber(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	subscribeAll(t, l, "k")
	if err := second(b.Access().DeleteUser(ctx, "alice")); err != nil {
		t.Fatal(err)
	}
	spec.Name, spec.Queue = "b", "mqtt-b"
	_, _, err = connecting.session.Subscriber(ctx, spec)
	checkText(t, err, core.Closing, "user 'alice' is deleted")
	if _, err := l.Subscribe(ctx, []core.SubscriptionSpec{{Key: "k2"}}); !errors.Is(err, core.ErrTakenOver) {
		t.Errorf("subscribe: %v", err)
	}
	if err := second(b.Access().PutUser(ctx, core.User{Name: "alice", MaxConnections: -1, MaxChannels: -1})); err != nil {
		t.Fatal(err)
	}
	linked.session.Close()
	connecting.session.Close()
	if st := b.Stats(); st.Subscribers+st.Subscriptions+st.Queues != 0 {
		t.Errorf("there is left %+v", st)
	}
	_, present, err := connected(t, b, "/", "alice").session.Subscriber(ctx, core.SubscriberSpec{
		Name: "a", Queue: "mqtt-a", Expiry: time.Hour, Receiver: &quiet{},
	})
	if present || err != nil {
		t.Errorf("the new user finds the old one's session: %t, %v", present, err)
	}
}

// What a resumed session has lost stays lost when the broker ends before it was dropped.
func TestWhatWaitedForLostSubscriptionsIsDroppedAfterARestartToo(t *testing.T) {
	ctx := t.Context()
	disk := prepared(t, func(b *core.Broker) error {
		first := linkClient(t, b, "e", core.SubscriberSpec{Expiry: core.Forever})
		for _, key := range []string{"open.#", "secret.#"} {
			first.subscribe(t, core.SubscriptionSpec{Key: key, Level: core.AtLeastOnce})
		}
		first.session.Close()
		s := attach(t, b)
		publish(t, s, &core.Message{Exchange: core.TopicExchange, Key: "secret", Persistent: true})
		publish(t, s, &core.Message{Exchange: core.TopicExchange, Key: "open", Persistent: true})
		rec := &recorder{deny: "read topic secret.# of amq.topic"}
		again, err := b.Attach("/", core.SessionOptions{Access: rec})
		if err != nil {
			return err
		}
		l, _, err := again.Subscriber(ctx, core.SubscriberSpec{
			Name: "e", Queue: "subscriber-e", Expiry: core.Forever, Receiver: &quiet{},
		})
		if err == nil {
			l.Suspend() // before anything is handed over
		}
		return err
	})
	store := memstore.Open(memstore.Options{Disk: disk})
	b, err := core.Open(ctx, store, core.Options{Epoch: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		b.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	c := linkClient(t, b, "e", core.SubscriberSpec{Expiry: core.Forever})
	for len(c.taken()) == 0 { // messages are read back by the broker's loader
		runtime.Gosched()
	}
	flush(t, attach(t, b))
	if got := c.taken(); !slices.Equal(got, []string{"open="}) {
		t.Errorf("got %q, want what is still subscribed to", got)
	}
}
