package core_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

// An overheard queue holds the events of a broker.
type overheard struct {
	session *core.Session
	queue   string
}

func hear(t *testing.T, b *core.Broker, key string) *overheard {
	t.Helper()
	const queue = "heard"
	s, err := b.Attach("/", core.SessionOptions{User: "listener"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: queue, Durable: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.Bind(t.Context(), core.BindingSpec{Source: core.EventExchange, Dest: queue, Key: key}); err != nil {
		t.Fatal(err)
	}
	return &overheard{s, queue}
}

// next returns what was told, as "key name by".
func (o *overheard) next(t *testing.T) (all []string) {
	t.Helper()
	synctest.Wait()
	for {
		d, _, ok, err := o.session.Get(t.Context(), o.queue, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return all
		}
		p, err := field.ParseProperties(d.Message.Props)
		if err != nil {
			t.Fatal(err)
		}
		name, _ := p.Headers.Get("name")
		if name == nil {
			name, _ = p.Headers.Get("source_name")
		}
		if name == nil {
			name, _ = p.Headers.Get("consumer_tag")
		}
		by, _ := p.Headers.Get("user_who_performed_action")
		if at, ok := p.Headers.Get("timestamp_in_ms"); !ok || at.(int64)/1000 != int64(p.Timestamp) || p.DeliveryMode != field.Persistent || len(d.Message.Body) > 0 {
			t.Errorf("%s: %+v with %q", d.Message.Key, p, d.Message.Body)
		}
		all = append(all, fmt.Sprintf("%s %v %v", d.Message.Key, name, by))
	}
}

func wantEvents(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("told:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEvents_TellWhatHappensUnderRabbitMQsKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{Events: "/", Node: "n"})
		ctx := core.WithActor(t.Context(), "adm")
		o := hear(t, b, "#")
		o.next(t)
		described := 0
		c, err := b.Attach("/", core.SessionOptions{
			User: "app", End: func(error) {},
			Info: func(nameOnly bool) core.ConnectionInfo {
				if !nameOnly {
					described++
				}
				return core.ConnectionInfo{Name: "a -> b"}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		c.TellChannel(1, true)
		for _, err := range []error{
			c.DeclareExchange(t.Context(), core.ExchangeSpec{Name: "x", Kind: "direct"}),
			second(c.DeclareQueue(t.Context(), core.QueueSpec{Name: "q"})),
			second(c.DeclareQueue(t.Context(), core.QueueSpec{Name: "q"})), // is no event
			c.Bind(t.Context(), core.BindingSpec{Source: "x", Dest: "q", Key: "k"}),
			second(b.SetPolicy(ctx, core.Policy{VHost: "/", Name: "p", Pattern: "none", ApplyTo: "queues", Definition: field.Table{{Key: "max-length", Value: int64(1)}}})),
			second(b.ClearPolicy(ctx, "/", "p", false)),
			second(b.Access().PutUser(ctx, core.User{Name: "u", Password: "1", Tags: []string{"management"}})),
			second(b.Access().PutUser(ctx, core.User{Name: "u", Password: "2", Tags: []string{"management"}})),
			second(b.Access().SetPermission(ctx, core.Permission{VHost: "/", User: "u"})),
			second(b.Access().DeleteUser(ctx, "u")),
			second(b.Access().PutVHost(ctx, core.VHostInfo{Name: "v", MaxConnections: -1, MaxQueues: -1})),
			second(b.Access().PutVHost(ctx, core.VHostInfo{Name: "v", MaxConnections: 1, MaxQueues: -1})),
			second(b.Access().DeleteVHost(ctx, "v")),
			c.DeleteExchange(t.Context(), "x", false, false),
			second(c.DeleteQueue(t.Context(), "q", false, false, false)),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
		wantEvents(t, o.next(t),
			"connection.created a -> b app", "channel.created a -> b (1) app", "exchange.created x app", "queue.created q app",
			"binding.created x app", "policy.set p adm", "policy.cleared p adm", "user.created u adm", "user.tags.set u adm",
			"user.password.changed u adm", "permission.created <nil> adm", "user.deleted u adm", "vhost.created v adm",
			"vhost.limits.set limits adm", "vhost.deleted v adm", "exchange.deleted x app", "binding.deleted x app",
			"queue.deleted q app", "connection.closed a -> b app")
		if described != 2 {
			t.Errorf("the connection was described %d times, want once for each event of its own", described)
		}
	})
}

// TestEvents_CostNothingWhenNobodyListens: nothing is made, and nothing waits.
func TestEvents_CostNothingWhenNobodyListens(t *testing.T) {
	for _, opt := range []core.Options{{}, {Events: "/"}} {
		b := engine(t, opt)
		if b.HearsEvents() {
			t.Error("somebody listens")
		}
		if n := testing.AllocsPerRun(100, func() { b.TellEvent("k", "") }); n > 0 {
			t.Errorf("%v allocations", n)
		}
	}
	b := engine(t, core.Options{})
	s, err := b.Attach("/", core.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Bind(t.Context(), core.BindingSpec{Source: core.EventExchange, Dest: "q"})
	if core.KindOf(err) != core.NotFound {
		t.Errorf("without the setting: %v", err)
	}
}

// TestEvents_OfWhoIsNotLetIn: rights that change while a connection is let in end it before it was one.
func TestEvents_OfWhoIsNotLetIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{Events: "/"})
		o := hear(t, b, "#")
		o.next(t)
		_, err := b.Attach("/", core.SessionOptions{User: "app", Access: &revoked{}, Info: func(bool) core.ConnectionInfo { return core.ConnectionInfo{Name: "a -> b"} }})
		if core.KindOf(err) != core.Refused {
			t.Error(err)
		}
		wantEvents(t, o.next(t))
	})
}

// revoked loses the right to enter while it does.
type revoked struct{ asked uint64 }

func (r *revoked) Enter(string) error {
	if r.asked++; r.asked > 1 {
		return core.ErrDenied
	}
	return nil
}
func (r *revoked) Generation() uint64       { return r.asked }
func (*revoked) Allow(core.Request) error   { return nil }
func (*revoked) Topics(string, string) bool { return false }

// TestEvents_OneLineTellsOfThoseThatWereDropped: not one for each, for as long as publishers must wait.
func TestEvents_OneLineTellsOfThoseThatWereDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		b := engine(t, core.Options{Events: "/", Logger: slog.New(slog.NewTextHandler(&log, nil))})
		o := hear(t, b, "k")
		synctest.Wait() // for the event of its binding
		b.SetMemoryAlarm(true)
		for range 3 {
			b.TellEvent("k", "")
			synctest.Wait()
		}
		b.SetMemoryAlarm(false)
		b.TellEvent("k", "")
		if got := o.next(t); len(got) != 1 || b.EventsLost() != 3 {
			t.Errorf("told %q, lost %d", got, b.EventsLost())
		}
		if n := strings.Count(log.String(), "events were dropped"); n != 1 || !strings.Contains(log.String(), "events=3") {
			t.Errorf("%d lines:\n%s", n, log.String())
		}
	})
}

// TestEvents_BindingsSurviveTheSetting: a durable binding opens whether events are told or not.
func TestEvents_BindingsSurviveTheSetting(t *testing.T) {
	disk := memstore.NewDisk()
	store := memstore.Open(memstore.Options{Disk: disk})
	open := func(events string) *core.Broker {
		t.Helper()
		b, err := core.Open(context.WithoutCancel(t.Context()), store, core.Options{Events: events})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := open("/")
	o := hear(t, b, "#")
	if err := o.session.Bind(t.Context(), core.BindingSpec{Source: "amq.topic", Dest: core.EventExchange, DestExchange: true, Key: "#"}); err != nil {
		t.Fatal(err)
	}
	b.Close()
	shut := func() {
		t.Helper()
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, events := range []string{"", "/"} {
		shut()
		store = memstore.Open(memstore.Options{Disk: disk})
		b = open(events)
		if b.HearsEvents() != (events != "") {
			t.Errorf("with the setting %q it hears: %t", events, b.HearsEvents())
		}
		b.Close()
	}
	shut()
}
