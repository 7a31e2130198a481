package core_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

// recorder is an Authorizer that writes down what it is asked, and allows all but what it is told to deny.
type recorder struct {
	asked      []string
	deny       string
	err        error // instead of ErrDenied
	generation uint64
	noTopics   bool
	visit      func(r string) // called while the answer is awaited
}

func (r *recorder) Enter(vhost string) error { return r.answer("enter " + vhost) }
func (r *recorder) Generation() uint64       { return r.generation }

func (r *recorder) Topics(string, string) bool { return !r.noTopics }

func (r *recorder) Allow(q core.Request) error {
	class := map[core.Class]string{core.ExchangeClass: "exchange", core.QueueClass: "queue", core.TopicClass: "topic"}[q.Class]
	asked := fmt.Sprintf("%s %s %s", q.Right, class, q.Name)
	if q.Class == core.TopicClass {
		asked = fmt.Sprintf("%s topic %s of %s", q.Right, q.Key, q.Name)
	}
	if q.VHost != "/" {
		asked += " in vhost " + q.VHost
	}
	return r.answer(asked)
}

func (r *recorder) answer(asked string) error {
	r.asked = append(r.asked, asked)
	if r.visit != nil {
		r.visit(asked)
	}
	switch {
	case asked != r.deny:
		return nil
	case r.err != nil:
		return r.err
	}
	return fmt.Errorf("rule 7: %w", core.ErrDenied)
}

// guarded is a broker with a few objects, and a session on it whose user is asked about.
type guarded struct {
	t       *testing.T
	broker  *core.Broker
	store   *memstore.Store
	rec     *recorder
	session *core.Session
	free    *core.Session // may do everything
	link    *core.Link
}

func newGuarded(t *testing.T, deny string) *guarded {
	t.Helper()
	store := memstore.Open(memstore.Options{})
	b, err := core.Open(t.Context(), store, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	g := &guarded{t: t, broker: b, store: store, rec: &recorder{}, free: attach(t, b)}
	for _, x := range []core.ExchangeSpec{{Name: "x", Kind: "topic"}, {Name: "y", Kind: "fanout"}} {
		x.Durable = true
		g.must(g.free.DeclareExchange(t.Context(), x))
	}
	_, err = g.free.DeclareQueue(t.Context(), core.QueueSpec{Name: "q", Durable: true})
	g.must(err)
	g.must(g.free.Bind(t.Context(), core.BindingSpec{Source: "x", Dest: "q", Key: "a.#"}))
	publish(t, g.free, &core.Message{Key: "q", Persistent: true})
	if g.session, err = b.Attach("/", core.SessionOptions{User: "u", Access: g.rec}); err != nil {
		t.Fatal(err)
	}
	g.link, _, err = g.session.Subscriber(t.Context(), core.SubscriberSpec{Name: "c", Queue: "mqtt-c", Receiver: &quiet{}})
	g.must(err)
	g.rec.asked, g.rec.deny = nil, deny
	g.rec.visit = func(string) { // an answer may take long: nobody may have to wait for it
		g.must(g.free.DeclareExchange(context.Background(), core.ExchangeSpec{Name: "x", Passive: true}))
		b.Stats()
	}
	return g
}

func (g *guarded) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// state is what a refusal must not change.
func (g *guarded) state() string {
	flush(g.t, g.free)
	st := g.broker.Stats()
	st.Pending = 0
	var s strings.Builder
	fmt.Fprintf(&s, "%+v\n", st)
	for d, err := range g.store.Recover(g.t.Context()) {
		g.must(err)
		fmt.Fprintf(&s, "%q %x %d\n", d.Key, d.Value, d.Count)
	}
	return s.String()
}

// What each verb asks, in this order. An empty list: nothing.
var verbs = []struct {
	name string
	do   func(g *guarded) error
	asks []string
}{
	{"exchange.declare", func(g *guarded) error {
		return g.session.DeclareExchange(g.t.Context(), core.ExchangeSpec{Name: "new", Kind: "direct", Durable: true})
	}, []string{"configure exchange new"}},
	{"exchange.declare of one that exists", func(g *guarded) error {
		return g.session.DeclareExchange(g.t.Context(), core.ExchangeSpec{Name: "y", Kind: "fanout", Durable: true})
	}, []string{"configure exchange y"}},
	{"exchange.declare passive", func(g *guarded) error {
		return g.session.DeclareExchange(g.t.Context(), core.ExchangeSpec{Name: "x", Passive: true})
	}, nil},
	{"exchange.declare with an alternate", func(g *guarded) error {
		return g.session.DeclareExchange(g.t.Context(), core.ExchangeSpec{
			Name: "new", Kind: "direct", Args: field.Table{{Key: "alternate-exchange", Value: "ae"}},
		})
	}, []string{"configure exchange new", "read exchange new", "write exchange ae"}},
	{"exchange.delete", func(g *guarded) error {
		return g.session.DeleteExchange(g.t.Context(), "y", false, false)
	}, []string{"configure exchange y"}},
	{"exchange.delete of a missing one", func(g *guarded) error {
		return g.session.DeleteExchange(g.t.Context(), "none", false, false)
	}, []string{"configure exchange none"}},
	{"queue.declare", func(g *guarded) error {
		_, err := g.session.DeclareQueue(g.t.Context(), core.QueueSpec{Name: "new\n", Durable: true})
		return err
	}, []string{"configure queue new"}},
	{"queue.declare of one that exists", func(g *guarded) error {
		_, err := g.session.DeclareQueue(g.t.Context(), core.QueueSpec{Name: "q", Durable: true})
		return err
	}, []string{"configure queue q"}},
	{"queue.declare passive", func(g *guarded) error {
		_, err := g.session.DeclareQueue(g.t.Context(), core.QueueSpec{Name: "q", Passive: true})
		return err
	}, nil},
	{"queue.delete", func(g *guarded) error {
		_, err := g.session.DeleteQueue(g.t.Context(), "q", false, false, false)
		return err
	}, []string{"configure queue q"}},
	{"queue.purge", func(g *guarded) error {
		_, err := g.session.PurgeQueue(g.t.Context(), "q", false)
		return err
	}, []string{"read queue q"}},
	{"queue.bind", func(g *guarded) error {
		return g.session.Bind(g.t.Context(), core.BindingSpec{Source: "y", Dest: "q", Key: "k"})
	}, []string{"write queue q", "read exchange y"}},
	{"queue.bind to topics", func(g *guarded) error {
		return g.session.Bind(g.t.Context(), core.BindingSpec{Source: "x", Dest: "q", Key: "k.*"})
	}, []string{"write queue q", "read exchange x", "read topic k.* of x"}},
	{"queue.unbind from topics", func(g *guarded) error {
		return g.session.Unbind(g.t.Context(), core.BindingSpec{Source: "x", Dest: "q", Key: "a.#"})
	}, []string{"write queue q", "read exchange x", "read topic a.# of x"}},
	{"exchange.bind", func(g *guarded) error {
		return g.session.Bind(g.t.Context(), core.BindingSpec{Source: "x", Dest: "y", DestExchange: true, Key: "k"})
	}, []string{"write exchange y", "read exchange x", "read topic k of x"}},
	{"exchange.unbind", func(g *guarded) error {
		return g.session.Unbind(g.t.Context(), core.BindingSpec{Source: "x", Dest: "y", DestExchange: true, Key: "k"})
	}, []string{"write exchange y", "read exchange x", "read topic k of x"}},
	{"basic.publish to the default exchange", func(g *guarded) error {
		_, err := g.session.Publish(&core.Message{Key: "q", Persistent: true}, nil, 0)
		return err
	}, []string{"write exchange amq.default"}},
	{"basic.publish", func(g *guarded) error {
		_, err := g.session.Publish(&core.Message{Exchange: "y", Key: "k"}, nil, 0)
		return err
	}, []string{"write exchange y"}},
	{"basic.publish to topics", func(g *guarded) error {
		_, err := g.session.Publish(&core.Message{Exchange: "x", Key: "a.b", Persistent: true}, nil, 0)
		return err
	}, []string{"write exchange x", "write topic a.b of x"}},
	{"basic.publish with several keys to topics", func(g *guarded) error {
		_, err := g.session.Publish(&core.Message{Exchange: "x", Key: "a", Keys: []string{"b", "c"}}, nil, 0)
		return err
	}, []string{"write exchange x", "write topic a of x", "write topic b of x", "write topic c of x"}},
	{"publish of a retained message", func(g *guarded) error {
		_, err := g.session.Publish(&core.Message{Exchange: core.TopicExchange, Key: "a", Body: []byte("m"), Retain: true}, nil, 0)
		return err
	}, []string{"write exchange amq.topic", "write topic a of amq.topic"}},
	{"publish exactly once", func(g *guarded) error {
		done := make(completion, 1)
		err := g.link.PublishOnce(&core.Message{Exchange: core.TopicExchange, Key: "a", Once: true}, 1, done, 1, 2)
		if err == nil {
			err = <-done
		}
		return err
	}, []string{"write exchange amq.topic", "write topic a of amq.topic"}},
	{"basic.get", func(g *guarded) error {
		_, _, _, err := g.session.Get(g.t.Context(), "q", true)
		return err
	}, []string{"read queue q"}},
	{"basic.consume", func(g *guarded) error {
		_, err := g.session.Consume(g.t.Context(), core.ConsumerSpec{Queue: "q", NoAck: true, Receiver: &onePerRoom{}})
		return err
	}, []string{"read queue q"}},
	{"connect of a session that ends with it", func(g *guarded) error {
		_, _, err := g.session.Subscriber(g.t.Context(), core.SubscriberSpec{Name: "d", Queue: "mqtt-d", Receiver: &quiet{}})
		return err
	}, nil},
	{"connect of a session that stays, with a will", func(g *guarded) error {
		_, _, err := g.session.Subscriber(g.t.Context(), core.SubscriberSpec{
			Name: "d", Queue: "mqtt-d", Expiry: core.Forever, Receiver: &quiet{},
			Will: &core.Will{Message: &core.Message{Exchange: core.TopicExchange, Key: "w"}},
		})
		return err
	}, []string{"configure queue mqtt-d", "write queue mqtt-d", "write exchange amq.topic", "write topic w of amq.topic"}},
	{"subscribe", func(g *guarded) error {
		results, err := g.link.Subscribe(g.t.Context(), []core.SubscriptionSpec{{Key: "a.*", Level: core.AtLeastOnce}})
		g.must(err)
		return results[0].Err
	}, []string{"read exchange amq.topic", "write queue mqtt-c", "read topic a.* of amq.topic"}},
}

func TestVerbsAskForTheirRightsInOrderAndRefusalsChangeNothing(t *testing.T) {
	for _, tt := range verbs {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuarded(t, "")
			g.must(tt.do(g))
			if !slices.Equal(g.rec.asked, tt.asks) {
				t.Errorf("asked %q, want %q", g.rec.asked, tt.asks)
			}
			for i, deny := range tt.asks {
				g := newGuarded(t, deny)
				before := g.state()
				err := tt.do(g)
				if want := tt.asks[:i+1]; !slices.Equal(g.rec.asked, want) {
					t.Errorf("without %q: asked %q, want %q", deny, g.rec.asked, want)
				}
				checkRefusal(t, err, deny)
				if after := g.state(); after != before {
					t.Errorf("refused for lack of %q, and yet changed\n%s\nto\n%s", deny, before, after)
				}
			}
		})
	}
}

// checkRefusal compares an error with RabbitMQ's text for a request.
func checkRefusal(t *testing.T, err error, request string) {
	t.Helper()
	right, rest, _ := strings.Cut(request, " ")
	class, name, _ := strings.Cut(rest, " ")
	object := fmt.Sprintf("%s '%s'", class, name)
	if key, exchange, ok := strings.Cut(name, " of "); ok {
		object = fmt.Sprintf("topic '%s' in exchange '%s'", key, exchange)
	}
	want := fmt.Sprintf("%s access to %s in vhost '/' refused for user 'u'", right, object)
	e, ok := errors.AsType[*core.Error](err)
	if !ok || e.Kind != core.Refused || e.Text != want || !errors.Is(err, core.ErrDenied) {
		t.Errorf("without %q: %#v, want %q", request, err, want)
	}
}

// Who cannot be found out about is refused, and the log learns why.
func TestBackendFailureRefuses(t *testing.T) {
	g := newGuarded(t, "read queue q")
	g.rec.err = errors.New("backend is down")
	_, err := g.session.PurgeQueue(t.Context(), "q", false)
	if core.KindOf(err) != core.Refused || !errors.Is(err, g.rec.err) || errors.Is(err, core.ErrDenied) {
		t.Errorf("purge: %v", err)
	}
}

func TestRefusedSubscriptionIsRefusedAlone(t *testing.T) {
	g := newGuarded(t, "read topic secret of amq.topic")
	results, err := g.link.Subscribe(t.Context(), []core.SubscriptionSpec{{Key: "a"}, {Key: "secret"}, {Key: "b"}})
	g.must(err)
	for i, refused := range []bool{false, true, false} {
		if (results[i].Err != nil) != refused {
			t.Errorf("subscription %d: %v", i, results[i].Err)
		}
	}
	if n := g.broker.Stats().Subscriptions; n != 2 {
		t.Errorf("%d subscriptions, want 2", n)
	}
}

// A queue that the broker names is asked for by that name.
func TestServerNamedQueueIsAskedForByItsName(t *testing.T) {
	g := newGuarded(t, "")
	info, err := g.session.DeclareQueue(t.Context(), core.QueueSpec{})
	g.must(err)
	if want := []string{"configure queue " + info.Name}; !slices.Equal(g.rec.asked, want) || !strings.HasPrefix(info.Name, "amq.gen-") {
		t.Errorf("asked %q, want %q", g.rec.asked, want)
	}
}

// What existed when a declaration asked, and does not when it is made, takes the rights of a new one.
func TestDeclarationOfWhatVanishesMeanwhileAsksForMore(t *testing.T) {
	g := newGuarded(t, "")
	g.rec.visit = func(string) {
		if len(g.rec.asked) == 1 {
			g.must(g.free.DeleteExchange(t.Context(), "y", false, false))
		}
	}
	g.must(g.session.DeclareExchange(t.Context(), core.ExchangeSpec{
		Name: "y", Kind: "fanout", Args: field.Table{{Key: "alternate-exchange", Value: "ae"}},
	}))
	want := []string{"configure exchange y", "configure exchange y", "read exchange y", "write exchange ae"}
	if !slices.Equal(g.rec.asked, want) {
		t.Errorf("asked %q, want %q", g.rec.asked, want)
	}
}

// A queue's dead letters take the right to put them where they go, of a new queue only.
func TestDeadLettersTakeMoreRights(t *testing.T) {
	args := field.Table{{Key: "x-dead-letter-exchange", Value: "dlx"}}
	for queue, want := range map[string][]string{
		"new": {"configure queue new", "read queue new", "write exchange dlx"},
		"q":   {"configure queue q"},
	} {
		g := newGuarded(t, "write exchange dlx")
		_, err := g.session.DeclareQueue(t.Context(), core.QueueSpec{Name: queue, Durable: true, Args: args})
		if err == nil {
			t.Errorf("%s was declared", queue)
		}
		if !slices.Equal(g.rec.asked, want) {
			t.Errorf("asked %q, want %q", g.rec.asked, want)
		}
	}
}

// published publishes to an exchange and returns what was asked meanwhile.
func (g *guarded) published(exchange, key string) []string {
	g.t.Helper()
	g.rec.asked = nil
	_, err := g.session.Publish(&core.Message{Exchange: exchange, Key: key}, nil, 0)
	g.must(err)
	return g.rec.asked
}

func (g *guarded) expect(got []string, want ...string) {
	g.t.Helper()
	if !slices.Equal(got, want) {
		g.t.Errorf("asked %q, want %q", got, want)
	}
}

func TestPublisherIsAskedAboutOnceAGeneration(t *testing.T) {
	g := newGuarded(t, "")
	g.expect(g.published("y", "k"), "write exchange y")
	g.expect(g.published("y", "other"))
	g.expect(g.published("x", "a"), "write exchange x", "write topic a of x")
	g.expect(g.published("y", "k"))
	g.expect(g.published("x", "a"))
	g.expect(g.published("x", "b"), "write topic b of x")
	g.rec.generation++
	g.expect(g.published("x", "b"), "write exchange x", "write topic b of x")
	g.rec.generation, g.rec.noTopics = g.rec.generation+1, true
	g.expect(g.published("x", "c"), "write exchange x")
	g.expect(g.published("x", "d"))
}

// However many keys there are, few are remembered.
func TestFewKeysAreRemembered(t *testing.T) {
	const keys = 20
	g := newGuarded(t, "")
	for range 2 {
		for i := range keys {
			key := fmt.Sprintf("k%d", i)
			if got := g.published("x", key); !slices.Contains(got, fmt.Sprintf("write topic %s of x", key)) {
				t.Fatalf("%s was remembered over %d others", key, keys-1)
			}
		}
	}
	g.expect(g.published("x", fmt.Sprintf("k%d", keys-1)))
}

// Nor long ones: those of MQTT have 64 KiB, and idle sessions are many.
func TestLongKeysAreNotRemembered(t *testing.T) {
	g := newGuarded(t, "")
	for length, want := range map[int]int{255: 1, 256: 2} {
		key, n := strings.Repeat("k", length), 0
		for range 2 {
			for _, asked := range g.published("x", key) {
				if strings.HasPrefix(asked, "write topic k") {
					n++
				}
			}
		}
		if n != want {
			t.Errorf("a key of %d bytes was asked about %d times in 2, want %d", length, n, want)
		}
	}
}

func TestRefusalsAreNotRemembered(t *testing.T) {
	g := newGuarded(t, "write exchange y")
	for range 2 {
		if _, err := g.session.Publish(&core.Message{Exchange: "y"}, nil, 0); core.KindOf(err) != core.Refused {
			t.Errorf("publish: %v", err)
		}
	}
	g.expect(g.rec.asked, "write exchange y", "write exchange y")
	g.rec.deny = ""
	g.expect(g.published("y", "k"), "write exchange y")
}

// Who may configure an exchange may not get around the rules of its topics by making it again.
func TestExchangeMadeAgainAsTopicsIsAskedAboutAnew(t *testing.T) {
	g := newGuarded(t, "")
	g.expect(g.published("y", "k"), "write exchange y")
	g.must(g.free.DeleteExchange(t.Context(), "y", false, false))
	g.must(g.free.DeclareExchange(t.Context(), core.ExchangeSpec{Name: "y", Kind: "topic"}))
	g.expect(g.published("y", "k"), "write topic k of y")
}

// Nor may who binds while an exchange is being made get around the rules of its topics.
func TestBindingToExchangeMadeMeanwhileIsAskedAboutAnew(t *testing.T) {
	for name, before := range map[string]string{"none before": "new", "one of another type before": "y"} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t, "read topic # of "+before)
			g.rec.visit = func(asked string) {
				if asked == "read exchange "+before {
					g.rec.visit = nil
					g.must(g.free.DeleteExchange(t.Context(), before, false, false))
					g.must(g.free.DeclareExchange(t.Context(), core.ExchangeSpec{Name: before, Kind: "topic"}))
				}
			}
			err := g.session.Bind(t.Context(), core.BindingSpec{Source: before, Dest: "q", Key: "#"})
			if core.KindOf(err) != core.Refused {
				t.Errorf("bind: %v, after %q", err, g.rec.asked)
			}
		})
	}
}

// First the right, then whether it exists: who may not write does not learn which exchanges there are.
func TestPublishToMissingExchange(t *testing.T) {
	g := newGuarded(t, "write exchange none")
	_, err := g.session.Publish(&core.Message{Exchange: "none"}, nil, 0)
	if core.KindOf(err) != core.Refused {
		t.Errorf("without the right: %v", err)
	}
	g.rec.deny = ""
	if _, err = g.session.Publish(&core.Message{Exchange: "none"}, nil, 0); core.KindOf(err) != core.NotFound {
		t.Errorf("with the right: %v", err)
	}
}

func TestRightsPrintAsInRabbitMQ(t *testing.T) {
	got := []string{core.Configure.String(), core.Write.String(), core.Read.String(), core.Right(9).String()}
	if want := []string{"configure", "write", "read", "unknown"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

// Rights cost who publishes next to nothing: compare with BenchmarkPublishDeliverTransient.
func BenchmarkPublishDeliverWithRights(b *testing.B) {
	broker := engine(b, core.Options{})
	s, err := broker.Attach("/", core.SessionOptions{User: "u", Access: &recorder{noTopics: true}})
	if err != nil {
		b.Fatal(err)
	}
	benchmarkPublish(b, s)
}
