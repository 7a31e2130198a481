package amqp091_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/auth"
)

// guard is the rules of one user: everything is allowed but one request.
type guard struct {
	deny string // in the words of the reply: "configure access to queue 'q' in vhost '/'"
	err  error  // instead of core.ErrDenied
}

func (g *guard) Authenticate(context.Context, auth.Credentials) (auth.Principal, error) {
	return auth.Principal{Name: "u", Access: func(auth.Variables) core.Authorizer { return g }}, nil
}

func (g *guard) Generation() uint64         { return 1 }
func (g *guard) Topics(string, string) bool { return true }

func (g *guard) Enter(vhost string) error {
	return g.answer(fmt.Sprintf("access to vhost '%s'", vhost))
}

func (g *guard) Allow(r core.Request) error {
	object := map[core.Class]string{core.ExchangeClass: "exchange '%s'", core.QueueClass: "queue '%s'", core.TopicClass: "exchange '%s'"}
	what := fmt.Sprintf(object[r.Class]+" in vhost '%s'", r.Name, r.VHost)
	if r.Class == core.TopicClass {
		what = fmt.Sprintf("topic '%s' in %s", r.Key, what)
	}
	return g.answer(fmt.Sprintf("%s access to %s", r.Right, what))
}

func (g *guard) answer(asked string) error {
	switch {
	case g.deny != asked:
		return nil
	case g.err != nil:
		return g.err
	}
	return fmt.Errorf("rule 7: %w", core.ErrDenied)
}

// guarded is a bed with exchanges t (topic) and f (fanout), bound to each other,
// and the queue q, bound to t and with a message, where g decides.
func guarded(t *testing.T, g *guard, change func(*setup), f func(b *bed)) {
	t.Helper()
	inBubble(t, func(s *setup) {
		s.auth = func(*core.Broker) auth.Authenticator { return g }
		if change != nil {
			change(s)
		}
	}, func(b *bed) {
		free, err := b.broker.Attach("/", core.SessionOptions{})
		if err != nil {
			b.t.Fatal(err)
		}
		ctx := b.t.Context()
		_, declared := free.DeclareQueue(ctx, core.QueueSpec{Name: "q"})
		_, published := free.Publish(&core.Message{Key: "q"}, nil, 0)
		for _, err := range []error{
			free.DeclareExchange(ctx, core.ExchangeSpec{Name: "t", Kind: "topic"}),
			free.DeclareExchange(ctx, core.ExchangeSpec{Name: "f", Kind: "fanout"}),
			declared, published,
			free.Bind(ctx, core.BindingSpec{Source: "t", Dest: "q", Key: "a.b"}),
			free.Bind(ctx, core.BindingSpec{Source: "t", Dest: "f", Key: "a.b", DestExchange: true}),
		} {
			if err != nil {
				b.t.Fatal(err)
			}
		}
		f(b)
	})
}

// TestPermissions: what each verb needs, and what a client hears that lacks it.
// With all it needs the verb is answered; without any one of it the channel is
// closed, the connection goes on.
func TestPermissions(t *testing.T) {
	const inRoot = " in vhost '/'"
	const (
		configureNew = "configure access to exchange 'new'" + inRoot
		configureQ   = "configure access to queue 'q'" + inRoot
		readQ        = "read access to queue 'q'" + inRoot
		writeQ       = "write access to queue 'q'" + inRoot
		readT        = "read access to exchange 't'" + inRoot
		writeT       = "write access to exchange 't'" + inRoot
		writeF       = "write access to exchange 'f'" + inRoot
		readTopic    = "read access to topic 'a.b' in exchange 't'" + inRoot
		writeTopic   = "write access to topic 'a.b' in exchange 't'" + inRoot
	)
	for _, row := range []struct {
		name   string
		method wire.Method
		answer wire.Method // nil: there is none
		needs  []string
	}{
		{
			"exchange.declare", &wire.ExchangeDeclare{Exchange: "new", Type: "direct"}, &wire.ExchangeDeclareOK{},
			[]string{configureNew},
		},
		{
			"exchange.declare of one that exists", &wire.ExchangeDeclare{Exchange: "f", Type: "fanout"}, &wire.ExchangeDeclareOK{},
			[]string{"configure access to exchange 'f'" + inRoot},
		},
		{"exchange.declare, passive", &wire.ExchangeDeclare{Exchange: "f", Passive: true}, &wire.ExchangeDeclareOK{}, nil},
		{
			"exchange.declare with an alternate",
			&wire.ExchangeDeclare{Exchange: "new", Type: "direct", Arguments: field.Table{{Key: "alternate-exchange", Value: "f"}}},
			&wire.ExchangeDeclareOK{},
			[]string{configureNew, "read access to exchange 'new'" + inRoot, writeF},
		},
		{
			"exchange.delete", &wire.ExchangeDelete{Exchange: "f"}, &wire.ExchangeDeleteOK{},
			[]string{"configure access to exchange 'f'" + inRoot},
		},
		{
			"exchange.bind", &wire.ExchangeBind{Source: "t", Destination: "f", RoutingKey: "a.b"}, &wire.ExchangeBindOK{},
			[]string{writeF, readT, readTopic},
		},
		{
			"exchange.unbind", &wire.ExchangeUnbind{Source: "t", Destination: "f", RoutingKey: "a.b"}, &wire.ExchangeUnbindOK{},
			[]string{writeF, readT, readTopic},
		},
		{
			"queue.declare", &wire.QueueDeclare{Queue: "new"}, &wire.QueueDeclareOK{Queue: "new"},
			[]string{"configure access to queue 'new'" + inRoot},
		},
		{
			"queue.declare of one that exists", &wire.QueueDeclare{Queue: "q"}, &wire.QueueDeclareOK{Queue: "q", MessageCount: 1},
			[]string{configureQ},
		},
		{"queue.declare, passive", &wire.QueueDeclare{Queue: "q", Passive: true}, &wire.QueueDeclareOK{Queue: "q", MessageCount: 1}, nil},
		{
			"queue.declare with dead letters",
			&wire.QueueDeclare{Queue: "new", Arguments: field.Table{{Key: "x-dead-letter-exchange", Value: "f"}}},
			&wire.QueueDeclareOK{Queue: "new"},
			[]string{"configure access to queue 'new'" + inRoot, "read access to queue 'new'" + inRoot, writeF},
		},
		{
			"queue.bind", &wire.QueueBind{Queue: "q", Exchange: "t", RoutingKey: "a.b"}, &wire.QueueBindOK{},
			[]string{writeQ, readT, readTopic},
		},
		{
			"queue.bind to another kind", &wire.QueueBind{Queue: "q", Exchange: "f", RoutingKey: "a.b"}, &wire.QueueBindOK{},
			[]string{writeQ, "read access to exchange 'f'" + inRoot},
		},
		{
			"queue.unbind", &wire.QueueUnbind{Queue: "q", Exchange: "t", RoutingKey: "a.b"}, &wire.QueueUnbindOK{},
			[]string{writeQ, readT, readTopic},
		},
		{"queue.purge", &wire.QueuePurge{Queue: "q"}, &wire.QueuePurgeOK{MessageCount: 1}, []string{readQ}},
		{"queue.delete", &wire.QueueDelete{Queue: "q"}, &wire.QueueDeleteOK{MessageCount: 1}, []string{configureQ}},
		{
			"basic.consume", &wire.BasicConsume{Queue: "q", ConsumerTag: "c"}, &wire.BasicConsumeOK{ConsumerTag: "c"},
			[]string{readQ},
		},
		{"basic.get", &wire.BasicGet{Queue: "q"}, &wire.BasicGetOK{DeliveryTag: 1, RoutingKey: "q"}, []string{readQ}},
		{
			"basic.publish", &wire.BasicPublish{Exchange: "t", RoutingKey: "a.b"}, nil,
			[]string{writeT, writeTopic},
		},
		{"basic.publish to another kind", &wire.BasicPublish{Exchange: "f", RoutingKey: "a.b"}, nil, []string{writeF}},
		{
			"basic.publish to the default exchange", &wire.BasicPublish{RoutingKey: "q"}, nil,
			[]string{"write access to exchange 'amq.default'" + inRoot},
		},
		{"basic.cancel", &wire.BasicCancel{ConsumerTag: "c"}, &wire.BasicCancelOK{ConsumerTag: "c"}, nil},
		{"basic.qos", &wire.BasicQos{PrefetchCount: 1}, &wire.BasicQosOK{}, nil},
		{"basic.recover", &wire.BasicRecover{Requeue: true}, &wire.BasicRecoverOK{}, nil},
		{"confirm.select", &wire.ConfirmSelect{}, &wire.ConfirmSelectOK{}, nil},
	} {
		act := func(p *peer) {
			if m, ok := row.method.(*wire.BasicPublish); ok {
				p.publish(1, *m, field.Properties{}, "body")
				return
			}
			p.send(1, row.method)
		}
		t.Run(row.name, func(t *testing.T) {
			// What the table does not name is not needed.
			for _, all := range []string{"", configureNew, configureQ, readQ, writeQ, readT, writeT, writeF, readTopic, writeTopic} {
				if slices.Contains(row.needs, all) {
					continue
				}
				guarded(t, &guard{deny: all}, nil, func(b *bed) {
					p := b.dial().as("u", "", "/")
					p.openChannel(1)
					act(p)
					if row.answer == nil {
						p.call(1, &wire.BasicQos{}, &wire.BasicQosOK{}) // it is what comes next
					} else {
						p.expect(1, row.answer)
					}
				})
			}
			for _, denied := range row.needs {
				guarded(t, &guard{deny: denied}, nil, func(b *bed) {
					p := b.dial().as("u", "", "/")
					p.openChannel(1)
					act(p)
					p.channelClosed(1, 403, "ACCESS_REFUSED - "+denied+" refused for user 'u'", row.method.ID())
				})
			}
		})
	}
}

// TestAVHostThatMayNotBeEntered is 530, as there is no channel to close yet.
func TestAVHostThatMayNotBeEntered(t *testing.T) {
	guarded(t, &guard{deny: "access to vhost '/'"}, nil, func(b *bed) {
		p := b.dial()
		p.login(clientProperties(), "u", "")
		p.next(0) // tune
		p.open("/", 0)
		p.connectionClosed(530, "NOT_ALLOWED - access to vhost '/' refused for user 'u'", wire.ConnectionOpenID)
	})
}

// TestACauseIsLoggedAndNotSent: whoever could not be asked is the operator's
// business.
func TestACauseIsLoggedAndNotSent(t *testing.T) {
	for _, deny := range []string{"access to vhost '/'", "read access to queue 'q' in vhost '/'"} {
		t.Run(deny, func(t *testing.T) {
			log := &logged{}
			g := &guard{deny: deny, err: errors.New("backend 10.1.2.3 is down")}
			guarded(t, g, func(s *setup) { s.server.Log = slog.New(slog.NewTextHandler(log, nil)) }, func(b *bed) {
				p := b.dial()
				p.login(clientProperties(), "u", "")
				p.next(0) // tune
				p.open("/", 0)
				if m, ok := p.next(0).(*wire.ConnectionClose); ok {
					if m.ReplyCode != 530 || m.ReplyText != "NOT_ALLOWED - access to vhost '/' refused for user 'u'" {
						b.t.Errorf("connection closed with %d %s", m.ReplyCode, m.ReplyText)
					}
				} else {
					p.openChannel(1)
					p.send(1, &wire.BasicGet{Queue: "q"})
					p.channelClosed(1, 403, "ACCESS_REFUSED - "+deny+" refused for user 'u'", wire.BasicGetID)
				}
				_ = p.nc.Close()
				synctest.Wait()
			})
			if !strings.Contains(log.String(), "backend 10.1.2.3 is down") {
				t.Errorf("the log does not tell the cause:\n%s", log)
			}
		})
	}
}

// TestAServerNamedQueueIsDeclaredByItsName: the name that it gets counts.
func TestAServerNamedQueueIsDeclaredByItsName(t *testing.T) {
	guarded(t, &guard{}, nil, func(b *bed) {
		p := b.dial().as("u", "", "/")
		p.openChannel(1)
		p.send(1, &wire.QueueDeclare{Exclusive: true})
		ok, is := p.next(1).(*wire.QueueDeclareOK)
		if !is || !strings.HasPrefix(ok.Queue, "amq.gen-") {
			b.t.Fatalf("answer %+v", ok)
		}
	})
}

// TestUserID_Impersonator: only users with the tag may publish in others' names.
func TestUserID_Impersonator(t *testing.T) {
	for _, tags := range [][]string{nil, {"administrator"}, {"management", "impersonator"}} {
		t.Run(strings.Join(tags, " "), func(t *testing.T) {
			users := tokens{"": {Name: "u", Tags: tags}}
			inBubble(t, func(s *setup) { s.auth = users.authenticator }, func(b *bed) {
				p := b.dial().as("u", "", "/")
				p.openChannel(1)
				p.declare(wire.QueueDeclare{Queue: "q"})
				p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{UserID: "other"}, "x")
				if !slices.Contains(tags, "impersonator") {
					p.channelClosed(1, 406, "PRECONDITION_FAILED - user_id property set to 'other' but authenticated user was 'u'",
						wire.BasicPublishID)
					return
				}
				p.call(1, &wire.BasicGet{Queue: "q", NoAck: true}, &wire.BasicGetOK{DeliveryTag: 1, RoutingKey: "q"})
				if props, _ := p.message(1); props.UserID != "other" {
					b.t.Errorf("user_id %q was delivered", props.UserID)
				}
			})
		})
	}
}

// tokens are users by the password that they come with.
type tokens map[string]auth.Principal

func (u tokens) authenticator(*core.Broker) auth.Authenticator { return u }

func (u tokens) Authenticate(_ context.Context, c auth.Credentials) (auth.Principal, error) {
	if p, ok := u[c.Password]; ok {
		return p, nil
	}
	return auth.Principal{}, fmt.Errorf("token of %q: %w", c.Username, auth.ErrBadCredentials)
}

// logged is a log that a test reads.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
