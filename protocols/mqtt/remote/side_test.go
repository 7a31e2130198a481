package remote_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/auth/authtest"
	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/mqtt"
	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/remote"
)

// side is a broker, local or far. It speaks MQTT over pipes, and can crash and come
// back with what it had on record.
type side struct {
	t    *testing.T
	name string
	disk *memstore.Disk
	wrap func(core.Store) core.Store // nil: the broker has the store as it is

	store   *memstore.Store
	broker  *core.Broker
	server  *mqtt.Server
	session *core.Session
	ctx     context.Context //nolint:containedctx // what Serve is given, until the side ends
	stop    context.CancelCauseFunc
	serving sync.WaitGroup
	up      atomic.Bool

	bridges []*remote.Bridge
}

func newSide(t *testing.T, name string) *side {
	t.Helper()
	s := &side{t: t, name: name, disk: memstore.NewDisk()}
	s.open()
	t.Cleanup(func() {
		for _, b := range s.bridges {
			b.Cut()
		}
		if s.up.Load() {
			s.end()
		}
	})
	return s
}

func (s *side) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(s.t.Output(), nil)).With(slog.String("side", s.name))
}

func (s *side) open() {
	s.t.Helper()
	s.store = memstore.Open(memstore.Options{Disk: s.disk})
	var store core.Store = s.store
	if s.wrap != nil {
		store = s.wrap(store)
	}
	var err error
	if s.broker, err = core.Open(s.t.Context(), store, core.Options{}); err != nil {
		s.t.Fatal(err)
	}
	access := s.broker.Access()
	if _, err := access.PutUser(s.t.Context(), core.User{Name: "guest", MaxConnections: -1, MaxChannels: -1}); err != nil {
		s.t.Fatal(err)
	}
	if _, err := access.SetPermission(s.t.Context(), core.Permission{VHost: "/", User: "guest", Configure: ".*", Write: ".*", Read: ".*"}); err != nil {
		s.t.Fatal(err)
	}
	accounts, err := auth.NewAccounts(auth.AccountsOptions{Users: access})
	if err != nil {
		s.t.Fatal(err)
	}
	opt := mqtt.Options{Broker: s.broker, Auth: authtest.Guest{}, Log: s.log()}
	if opt.Anonymous, err = auth.NewAnonymous(accounts, "guest"); err != nil {
		s.t.Fatal(err)
	}
	if s.server, err = mqtt.New(opt); err != nil {
		s.t.Fatal(err)
	}
	if s.session, err = s.broker.Attach("/", core.SessionOptions{}); err != nil {
		s.t.Fatal(err)
	}
	s.ctx, s.stop = context.WithCancelCause(context.Background())
	s.up.Store(true)
}

// end ends the broker as a lost lease does: without a word, its store first.
func (s *side) end() {
	s.up.Store(false)
	s.store.Crash()
	s.stop(listen.ErrCut)
	s.serving.Wait()
	s.broker.Close()
}

// crash ends the broker and its bridges; restart brings it back without these.
func (s *side) crash() {
	for _, b := range s.bridges {
		b.Cut()
	}
	s.bridges = nil
	s.end()
}

func (s *side) restart() {
	s.t.Helper()
	s.crash()
	s.open()
}

// dial opens a connection to the side.
func (s *side) dial() (net.Conn, error) {
	if !s.up.Load() {
		return nil, errors.New("connection refused")
	}
	near, far := net.Pipe()
	s.serving.Go(func() { s.server.Serve(s.ctx, near) })
	return far, nil
}

// bridge starts a bridge from s to far.
func (s *side) bridge(far *side, change func(*remote.Options), topics ...string) *remote.Bridge {
	s.t.Helper()
	return s.bridgeBy(func() (net.Conn, error) { return far.dial() }, change, topics...)
}

func (s *side) bridgeBy(dial func() (net.Conn, error), change func(*remote.Options), topics ...string) *remote.Bridge {
	s.t.Helper()
	opt := remote.Options{
		Broker: s.broker, Name: "b", Addresses: []string{"mqtt://far"}, ClientID: "bridge-of-" + s.name, Log: s.log(),
		Dial: func(context.Context, string, string) (net.Conn, error) { return dial() },
	}
	for _, line := range topics {
		topic, err := remote.ParseTopic(line)
		if err != nil {
			s.t.Fatal(err)
		}
		opt.Topics = append(opt.Topics, topic)
	}
	if change != nil {
		change(&opt)
	}
	b, err := remote.Start(s.t.Context(), opt)
	if err != nil {
		s.t.Fatal(err)
	}
	s.bridges = append(s.bridges, b)
	return b
}

// passed is a Completion that tells when it is.
type passed chan error

func (p passed) Complete(_ uint64, err error) { p <- err }

// publish publishes a message as an MQTT client does, and waits until it is on record.
func (s *side) publish(topic, body string, qos uint8, retain bool) {
	s.t.Helper()
	done := make(passed, 1)
	m := message(topic, body, qos, retain)
	routed, err := s.session.Publish(m, done, 0)
	if err == nil && routed == 0 {
		s.session.Confirm(done, 0)
	}
	if err == nil {
		err = <-done
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func message(topic, body string, qos uint8, retain bool) *core.Message {
	m := &core.Message{
		Exchange: core.TopicExchange, Key: bridge.Key(topic), Body: []byte(body), Props: bridge.Block(qos, retain, &noProperties),
		Persistent: qos > 0, Once: qos == 2, Retain: retain,
	}
	return m
}

// observe makes a queue that gets all messages from now on; seen takes them from it.
func (s *side) observe() {
	s.t.Helper()
	_, err := s.session.DeclareQueue(s.t.Context(), core.QueueSpec{Name: "observer", Durable: true})
	if err == nil {
		err = s.session.Bind(s.t.Context(), core.BindingSpec{Source: core.TopicExchange, Dest: "observer", Key: "#"})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// seen returns the messages that have come to the observer, in their order, once all is quiet.
func (s *side) seen() (all []string) {
	s.t.Helper()
	synctest.Wait()
	for {
		d, _, ok, err := s.session.Get(s.t.Context(), "observer", true)
		if err != nil {
			s.t.Fatal(err)
		}
		if !ok {
			return all
		}
		m, err := bridge.Read(d.Message.Props)
		if err != nil {
			s.t.Fatal(err)
		}
		text := fmt.Sprintf("%s %s q%d", bridge.Topic(d.Message.Key), d.Message.Body, m.QoS)
		if m.Retain {
			text += " retain"
		}
		all = append(all, text)
	}
}

// expect wants the observer to have seen these messages, and no others.
func (s *side) expect(want ...string) {
	s.t.Helper()
	if got := s.seen(); strings.Join(got, ", ") != strings.Join(want, ", ") {
		s.t.Errorf("%s has seen %q, want %q", s.name, got, want)
	}
}

// settle lets time pass until the bridge must be connected, however long it has waited.
func settle() {
	time.Sleep(2 * time.Minute)
	synctest.Wait()
}
