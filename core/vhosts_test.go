package core_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

// fillVHost makes something of every kind in a vhost named "doomed", enough that it takes several units to delete it. What it leaves open
// is the sessions.
func fillVHost(ctx context.Context, t *testing.T, b *core.Broker) {
	t.Helper()
	a := b.Access()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(second(a.PutVHost(ctx, core.VHostInfo{Name: "doomed", MaxConnections: -1, MaxQueues: -1})))
	for _, user := range []string{"alice", "bob"} {
		must(second(a.PutUser(ctx, core.User{Name: user, MaxConnections: -1, MaxChannels: -1})))
		must(second(a.SetPermission(ctx, core.Permission{VHost: "doomed", User: user})))
		must(second(a.SetPermission(ctx, core.Permission{VHost: "/", User: user})))
		must(second(a.SetTopicPermission(ctx, core.TopicPermission{VHost: "doomed", User: user, Exchange: "amq.topic"})))
	}
	must(second(b.SetParameter(ctx, core.Parameter{VHost: "doomed", Component: "c", Name: "n", Value: []byte("1")})))
	s, err := b.Attach("doomed", core.SessionOptions{User: "alice"})
	must(err)
	must(s.DeclareExchange(ctx, core.ExchangeSpec{Name: "x", Kind: "fanout", Durable: true}))
	must(s.Bind(ctx, core.BindingSpec{Source: "amq.topic", Dest: "amq.fanout", DestExchange: true}))
	for i := range 700 {
		name := fmt.Sprintf("q%d", i)
		_, err := s.DeclareQueue(ctx, core.QueueSpec{Name: name, Durable: true, NoWait: true})
		must(err)
		must(s.Bind(ctx, core.BindingSpec{Source: "x", Dest: name, NoWait: true}))
		must(second(s.Publish(&core.Message{Key: name, Persistent: true}, nil, 0)))
	}
	will := &core.Will{Message: &core.Message{Exchange: core.TopicExchange, Key: "wills"}, Delay: time.Hour}
	for _, expiry := range []time.Duration{core.Forever, 0} {
		s, err := b.Attach("doomed", core.SessionOptions{User: "alice"})
		must(err)
		l, _, err := s.Subscriber(ctx, core.SubscriberSpec{
			Name: "c" + expiry.String(), Queue: "mqtt-" + expiry.String(), Expiry: expiry, Will: will, Receiver: &quiet{},
		})
		must(err)
		must(second(l.Subscribe(ctx, []core.SubscriptionSpec{{Key: "k", Level: core.ExactlyOnce}})))
		l.Start()
		m := core.Message{Exchange: core.TopicExchange, Key: "k", Body: []byte("m"), Persistent: true, Once: true, Retain: true}
		must(l.PublishOnce(&m, 7, nil, 0, 0))
	}
	flush(t, s)
}

// A vhost goes with all that is in it, wherever the broker ends meanwhile, and with nothing that is not.
func TestDeletionOfVHostGoesOnAfterACrash(t *testing.T) {
	units := 0
	for more, n := true, 0; more; n++ {
		disk := prepared(t, func(b *core.Broker) error {
			fillVHost(t.Context(), t, b)
			s := attach(t, b)
			declare(t, s, true)
			publish(t, s, &core.Message{Key: "q", Persistent: true})
			flush(t, s)
			return nil
		})
		var b *core.Broker
		var store *memstore.Store
		b, store, more = crashedAfter(t, disk, n, func(b *core.Broker, ctx context.Context) {
			_, _ = b.Access().DeleteVHost(ctx, "doomed")
		})
		flush(t, attach(t, b))
		if exists := b.HasVHost("doomed"); exists != (n == 0) {
			t.Errorf("after %d units the vhost exists: %t", n, exists)
		}
		st := b.Stats()
		if n == 0 {
			continue
		}
		if left := recorded(t, store, "doomed"); len(left) > 0 {
			t.Errorf("after %d units %d records are left: %s", n, len(left), left[0])
		}
		if st.Queues != 1 || st.Ready != 1 || st.Retained != 0 || len(b.Access().Permissions()) != 2 || len(b.Access().TopicPermissions()) != 0 {
			t.Errorf("after %d units there are %d permissions and %+v", n, len(b.Access().Permissions()), st)
		}
		units = n
	}
	if units < 4 {
		t.Errorf("the deletion took %d units: the test needs more", units)
	}
}

// Who uses a vhost while it is deleted is told to end, finds nothing, and leaves nothing behind: no record and no memory.
func TestVHostDeletedUnderLoadLeavesNothing(t *testing.T) {
	store := memstore.Open(memstore.Options{})
	b, err := core.Open(t.Context(), store, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fillVHost(t.Context(), t, b)
	var clients, begun sync.WaitGroup
	for i := range 4 {
		ended := make(chan error, 1)
		s, err := b.Attach("doomed", core.SessionOptions{User: "alice", End: func(reason error) { ended <- reason }})
		if err != nil {
			t.Fatal(err)
		}
		begun.Add(1)
		clients.Go(func() { busyClient(t, s, i, begun.Done, ended) })
	}
	begun.Wait()
	if existed, err := b.Access().DeleteVHost(t.Context(), "doomed"); !existed || err != nil {
		t.Fatal(existed, err)
	}
	if created, err := b.Access().PutVHost(t.Context(), core.VHostInfo{Name: "doomed", MaxConnections: -1, MaxQueues: -1}); !created || err != nil {
		t.Fatal(created, err)
	}
	clients.Wait()
	st := b.Stats()
	if st.Exchanges != 14 || st.Queues+st.Consumers+st.Subscribers+st.Retained+st.Ready+st.Unsettled != 0 || st.HeldBytes != 0 {
		t.Errorf("the new vhost is not empty: %+v", st)
	}
	if n := len(b.Sessions()); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	b.Close()
	disk := store.Disk()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store = memstore.Open(memstore.Options{Disk: disk})
	if b, err = core.Open(t.Context(), store, core.Options{Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if left := recorded(t, store, "doomed"); len(left) != 1 {
		t.Errorf("records of the new vhost: %q, want its own alone", left)
	}
}

// busyClient uses all that leaves something behind until it is told to end, and once more after that.
func busyClient(t *testing.T, s *core.Session, i int, begun func(), ended chan error) {
	t.Helper()
	ctx := t.Context()
	name := fmt.Sprintf("client%d", i)
	var reason error
	for round := 0; ; round++ {
		last := reason != nil
		l, _, err := s.Subscriber(ctx, core.SubscriberSpec{
			Name: name, Queue: "mqtt-" + name, Expiry: core.Forever, Receiver: &quiet{},
			Will: &core.Will{Message: &core.Message{Exchange: core.TopicExchange, Key: "k", Retain: true, Body: []byte("w")}},
		})
		if err == nil {
			_, _ = l.Subscribe(ctx, []core.SubscriptionSpec{{Key: "k", Level: core.ExactlyOnce}})
			l.Start()
			l.SendRetained(core.SubscriptionSpec{Key: "k", Level: core.ExactlyOnce}, 0)
			m := core.Message{Exchange: core.TopicExchange, Key: "k", Body: []byte("m"), Persistent: true, Once: true, Retain: true}
			_ = l.PublishOnce(&m, uint16(round%100)+1, nil, 0, 0)
		} else if last && core.KindOf(err) != core.Closing {
			t.Errorf("link after the end: %v", err)
		}
		queue := fmt.Sprintf("%s-%d", name, round)
		for _, err := range []error{
			s.DeclareExchange(ctx, core.ExchangeSpec{Name: queue, Kind: "topic", Durable: true}),
			second(s.DeclareQueue(ctx, core.QueueSpec{Name: queue, Durable: true})),
			second(s.DeclareQueue(ctx, core.QueueSpec{Name: queue + "-own", Exclusive: true})),
			s.Bind(ctx, core.BindingSpec{Source: "amq.topic", Dest: "amq.fanout", DestExchange: true, Key: queue}),
		} {
			if last && core.KindOf(err) != core.Closing {
				t.Errorf("made after the end: %v", err)
			}
		}
		_, _ = s.Publish(&core.Message{Key: queue, Persistent: true}, nil, 0)
		_, _ = s.Publish(&core.Message{Exchange: core.TopicExchange, Key: "r" + name, Body: []byte("m"), Retain: true}, nil, 0)
		_, _ = s.Consume(ctx, core.ConsumerSpec{Queue: queue, NoAck: true, Receiver: &discard{}})
		if last {
			break
		}
		if round == 0 {
			begun()
		}
		select {
		case reason = <-ended:
		default:
		}
	}
	if core.KindOf(reason) != core.Closing {
		t.Errorf("told to end because of %v", reason)
	}
	s.Close()
}

// The default vhost can be deleted too, and stays so over restarts, until somebody makes it again.
func TestDefaultVHostStaysDeleted(t *testing.T) {
	disk := prepared(t, func(b *core.Broker) error { return second(b.Access().DeleteVHost(t.Context(), "/")) })
	for epoch := uint32(2); epoch < 5; epoch++ {
		store := memstore.Open(memstore.Options{Disk: disk})
		b, err := core.Open(t.Context(), store, core.Options{Epoch: epoch})
		if err != nil {
			t.Fatal(err)
		}
		if exists := b.HasVHost("/"); exists != (epoch == 4) {
			t.Errorf("the vhost exists: %t", exists)
		}
		if _, err := b.Attach("/", core.SessionOptions{}); (core.KindOf(err) == core.NotFound) != (epoch < 4) {
			t.Errorf("attach: %v", err)
		}
		if epoch == 3 {
			if err := second(b.Access().PutVHost(t.Context(), core.VHostInfo{Name: "/", MaxConnections: -1, MaxQueues: -1})); err != nil {
				t.Fatal(err)
			}
		}
		b.Close()
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A vhost that an older version recorded has no limits, and a new one every predeclared exchange.
func TestVHostOfAnOlderVersionHasNoLimits(t *testing.T) {
	store := memstore.Open(memstore.Options{})
	value, err := field.AppendTable(nil, field.Table{{Key: "name", Value: "old"}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(completion, 1)
	store.Commit([]core.Op{{Kind: core.OpDefine, Key: "v\x03old", Value: value, Done: done}})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	b, err := core.Open(t.Context(), store, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	info, ok := b.Access().VHost("old")
	if !ok || info.MaxConnections != -1 || info.MaxQueues != -1 {
		t.Errorf("%+v", info)
	}
}

func TestVHostTakesNoMoreQueuesThanItMay(t *testing.T) {
	b := engine(t, core.Options{})
	ctx := t.Context()
	if err := second(b.Access().PutVHost(ctx, core.VHostInfo{Name: "v", MaxConnections: -1, MaxQueues: 2})); err != nil {
		t.Fatal(err)
	}
	s, err := b.Attach("v", core.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "a"} {
		if _, err := s.DeclareQueue(ctx, core.QueueSpec{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = s.DeclareQueue(ctx, core.QueueSpec{Name: "c"})
	checkText(t, err, core.Exhausted, "cannot declare queue 'c': queue limit in vhost 'v' (2) is reached")
	_, _, err = s.Subscriber(ctx, core.SubscriberSpec{Name: "m", Queue: "mqtt-m", Receiver: &quiet{}})
	checkText(t, err, core.Exhausted, "cannot declare queue 'mqtt-m': queue limit in vhost 'v' (2) is reached")
	rec := &recorder{} // the limit comes before the rights that dead letters take
	if s, err = b.Attach("v", core.SessionOptions{Access: rec}); err != nil {
		t.Fatal(err)
	}
	_, err = s.DeclareQueue(ctx, core.QueueSpec{Name: "c", Args: field.Table{{Key: "x-dead-letter-exchange", Value: "x"}}})
	if core.KindOf(err) != core.Exhausted || len(rec.asked) != 2 {
		t.Errorf("%v, asked %q", err, rec.asked)
	}
	if err := second(b.Access().PutVHost(ctx, core.VHostInfo{Name: "v", MaxConnections: -1, MaxQueues: 3})); err != nil {
		t.Fatal(err)
	}
	if _, _, err = s.Subscriber(ctx, core.SubscriberSpec{Name: "m", Queue: "mqtt-m", Receiver: &quiet{}}); err != nil {
		t.Errorf("within the new limit: %v", err)
	}
}

// checkText compares what a client is told.
func checkText(t *testing.T, err error, kind core.Kind, text string) {
	t.Helper()
	var got string
	if e, ok := err.(*core.Error); ok { //nolint:errorlint // not wrapped
		got = e.Text
	}
	if core.KindOf(err) != kind || got != text {
		t.Errorf("%v, want %s: %s", err, kind, text)
	}
}

// changeVHost makes a vhost or deletes one. It waits for nothing: what it records passes when the script says so.
func (s *script) changeVHost(d *datadriven.TestData) error {
	ctx, cancel := context.WithCancel(s.t.Context())
	cancel()
	name, what := str(d, "name", ""), "created"
	var changed bool
	var err error
	if d.Cmd == "put-vhost" {
		changed, err = s.broker.Access().PutVHost(ctx, core.VHostInfo{Name: name, MaxConnections: -1, MaxQueues: num(d, "max-queues", -1)})
	} else {
		what = "existed"
		changed, err = s.broker.Access().DeleteVHost(ctx, name)
	}
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	s.printf("%s=%t", what, changed)
	return err
}
