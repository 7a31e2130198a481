package core_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

// gated is a broker in a bubble on a store whose commits the test controls.
type gated struct {
	t      *testing.T
	broker *core.Broker
	store  *gatedStore
}

func inGate(t *testing.T, opt core.Options, f func(g gated)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := &gatedStore{Store: memstore.Open(memstore.Options{})}
		f(gated{t, opened(t, store, opt), store})
	})
}

// send publishes n messages of a size to "k".
func send(t *testing.T, b *core.Broker, n, size int, m *core.Message) {
	t.Helper()
	s := attach(t, b)
	for range n {
		next := &core.Message{
			Exchange: core.TopicExchange, Key: "k", Body: make([]byte, size),
			Persistent: m.Persistent, Once: m.Once, Expires: m.Expires,
		}
		if _, err := s.Publish(next, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
}

// What a client that does not outlive its connection has not answered for is given up, and so is its memory.
func TestLinkThatEndsItsSubscriberFreesWhatWasOut(t *testing.T) {
	inGate(t, core.Options{}, func(g gated) {
		t, b := g.t, g.broker
		client := &quiet{}
		s, _ := linked(t, b, core.SubscriberSpec{Receiver: client})
		send(t, b, 10, 8<<10, &core.Message{Persistent: true})
		if n := len(client.take()); n != 10 {
			t.Fatalf("%d messages are out, want 10", n)
		}
		s.Close()
		if st := b.Stats(); st.HeldBytes != 0 || st.OpenBytes != 0 || st.Unsettled != 0 {
			t.Errorf("held %d, open %d bytes, %d unsettled after the end", st.HeldBytes, st.OpenBytes, st.Unsettled)
		}
	})
}

// All clients that do not answer hold no more than the budget for that, but for a floor each; what others settle lets them go on.
func TestSlowLinksShareTheBudgetOfOpenBytes(t *testing.T) {
	const size = 8 << 10
	inGate(t, core.Options{OpenBytes: size}, func(g gated) {
		t, b := g.t, g.broker
		client := &quiet{}
		s, l := linked(t, b, core.SubscriberSpec{Expiry: core.Forever, Receiver: client})
		send(t, b, 2*core.OpenFloor, size, &core.Message{Persistent: true})
		sent := client.take()
		if len(sent) != core.OpenFloor {
			t.Fatalf("%d messages are out, want %d", len(sent), core.OpenFloor)
		}
		for _, id := range sent[:10] {
			if !l.Ack(id) {
				t.Fatalf("id %d is not out", id)
			}
		}
		synctest.Wait()
		if n := len(client.take()); n != 10 {
			t.Errorf("%d messages followed 10 that were answered for", n)
		}
		s.Close()
		if st := b.Stats(); st.OpenBytes != 0 || st.Unsettled != 0 || st.Ready != 2*core.OpenFloor-10 {
			t.Errorf("open %d bytes, %d unsettled, %d ready after the end", st.OpenBytes, st.Unsettled, st.Ready)
		}
	})
}

// Messages that wait for the record of their id go into the outbox all at once: they count for it before.
func TestMessagesInPassingAreBounded(t *testing.T) {
	const size, n = 32 << 10, 20
	inGate(t, core.Options{}, func(g gated) {
		t, b, store := g.t, g.broker, g.store
		client := &quiet{full: true}
		s, _ := linked(t, b, core.SubscriberSpec{Expiry: core.Forever, Receiver: client})
		send(t, b, n, size, &core.Message{Persistent: true, Once: true})
		release := store.hold()
		client.mu.Lock()
		client.full = false
		client.mu.Unlock()
		s.Resume()
		if st := b.Stats(); st.Unsettled < 2 || st.Unsettled > 8 {
			t.Errorf("%d messages of 32 KiB wait for their records, want 256 KiB at most", st.Unsettled)
		}
		release()
		synctest.Wait()
		if got := len(client.take()); got != n {
			t.Errorf("%d messages were sent in the end, want %d", got, n)
		}
	})
}

// A full disk refuses what would take more of it, and disturbs nobody; who is there may come back and take what waits.
func TestFullDiskRefusesNewSubscribersAndWills(t *testing.T) {
	will := &core.Will{Message: &core.Message{Exchange: core.TopicExchange, Key: "wills"}}
	for _, tt := range []struct {
		name    string
		known   bool // the subscriber is there
		spec    core.SubscriberSpec
		refused bool
	}{
		{"a subscriber that outlives its link", false, core.SubscriberSpec{Expiry: time.Hour}, true},
		{"one that ends with it", false, core.SubscriberSpec{}, false},
		{"one that is there", true, core.SubscriberSpec{Expiry: time.Hour}, false},
		{"one that is there, anew", true, core.SubscriberSpec{Expiry: time.Hour, Fresh: true}, false},
		{"a will", true, core.SubscriberSpec{Expiry: time.Hour, Will: will}, true},
		{"a will of one that ends with its link", false, core.SubscriberSpec{Will: will}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inGate(t, core.Options{}, func(g gated) {
				t, b, store := g.t, g.broker, g.store
				var l *core.Link
				if tt.known {
					_, l = linked(t, b, core.SubscriberSpec{Expiry: time.Hour})
				}
				store.SetSpace(core.Space{Level: core.SpaceFull})
				tt.spec.Name, tt.spec.Queue, tt.spec.Receiver = "c", "subscriber-c", &quiet{}
				_, _, err := attach(t, b).Subscriber(t.Context(), tt.spec)
				if refused := core.KindOf(err) == core.Exhausted; err == nil == tt.refused || err != nil && !refused {
					t.Errorf("got %v, want refused: %t", err, tt.refused)
				}
				if tt.refused && l != nil {
					if _, err := l.Unsubscribe(t.Context(), []core.Filter{{Key: "k"}}); err != nil {
						t.Errorf("the link there is was disturbed: %v", err)
					}
				}
			})
		})
	}
}

// A connect that is given up before it is on record leaves no link and no will [MQTT-3.1.2-7].
func TestConnectGivenUpHasNoWill(t *testing.T) {
	inGate(t, core.Options{}, func(g gated) {
		t, b, store := g.t, g.broker, g.store
		release := store.hold()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		will := &core.Will{Message: &core.Message{Exchange: core.TopicExchange, Key: "wills"}}
		s := attach(t, b)
		_, _, err := s.Subscriber(ctx, core.SubscriberSpec{Name: "w", Queue: "subscriber-w", Will: will, Receiver: &quiet{}})
		if err == nil {
			t.Fatal("accepted before it is on record")
		}
		s.Close()
		release()
		flush(t, s)
		if st := b.Stats(); st.Unroutable != 0 || st.Subscribers != 0 {
			t.Errorf("%d messages were published, %d subscribers are there", st.Unroutable, st.Subscribers)
		}
		if keys := store.keys(t, 'w'); len(keys) != 0 {
			t.Errorf("wills are on record: %q", keys)
		}
	})
}

// A connect that is overtaken before it is answered is not accepted, and has no will either.
func TestConnectOvertakenIsNotAccepted(t *testing.T) {
	inGate(t, core.Options{}, func(g gated) {
		t, b, store := g.t, g.broker, g.store
		release := store.hold()
		errs := make(chan error, 2)
		for i := range 2 {
			will := &core.Will{Message: &core.Message{Exchange: core.TopicExchange, Key: "wills", Body: []byte{byte(i)}}}
			s := attach(t, b)
			go func() {
				_, _, err := s.Subscriber(t.Context(), core.SubscriberSpec{
					Name: "w", Queue: "subscriber-w", Will: will, Expiry: time.Hour, Receiver: &quiet{},
				})
				errs <- err
			}()
			synctest.Wait()
		}
		release()
		got := []error{<-errs, <-errs}
		if !slices.Contains(got, core.ErrTakenOver) || !slices.Contains(got, nil) {
			t.Errorf("the two connects are answered with %v", got)
		}
		if n := b.Stats().Unroutable; n != 0 {
			t.Errorf("%d wills were published", n)
		}
	})
}

// A will that comes due while publishers must wait, waits: until they go on, or until its owner is back, who must not lose it.
func TestWillWaitsWhilePublishersMust(t *testing.T) {
	for name, ends := range map[string]struct {
		expiry time.Duration
		end    func(t *testing.T, b *core.Broker, filler *core.Session)
	}{
		"until they go on": {time.Hour, func(t *testing.T, _ *core.Broker, filler *core.Session) {
			t.Helper()
			if _, err := filler.PurgeQueue(t.Context(), "q", false); err != nil {
				t.Error(err)
			}
			time.Sleep(2 * time.Second)
		}},
		"until they go on, without its subscriber": {0, func(t *testing.T, _ *core.Broker, filler *core.Session) {
			t.Helper()
			if _, err := filler.PurgeQueue(t.Context(), "q", false); err != nil {
				t.Error(err)
			}
			time.Sleep(2 * time.Second)
		}},
		"until its owner is back": {time.Hour, func(t *testing.T, b *core.Broker, _ *core.Session) {
			t.Helper()
			linked(t, b, core.SubscriberSpec{Expiry: time.Hour})
		}},
		"until its owner is back, without its subscriber": {0, func(t *testing.T, b *core.Broker, _ *core.Session) {
			t.Helper()
			linked(t, b, core.SubscriberSpec{Expiry: time.Hour})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inGate(t, core.Options{MemoryBudget: 64 << 10}, func(g gated) {
				t, b, store := g.t, g.broker, g.store
				will := &core.Will{Message: &core.Message{Exchange: core.TopicExchange, Key: "wills"}}
				_, l := linked(t, b, core.SubscriberSpec{Expiry: ends.expiry, Will: will})
				filler := attach(t, b)
				declare(t, filler, false)
				publish(t, filler, &core.Message{Key: "q", Body: make([]byte, 128<<10)})
				l.Detach(false, nil)
				time.Sleep(10 * time.Second)
				if n := b.Stats().Unroutable; n != 0 {
					t.Fatalf("%d wills were published while publishers wait", n)
				}
				ends.end(t, b, filler)
				if n := b.Stats().Unroutable; n != 1 {
					t.Errorf("%d wills were published in the end", n)
				}
				flush(t, filler)
				if keys := store.keys(t, 'w'); len(keys) != 0 {
					t.Errorf("wills are on record: %q", keys)
				}
			})
		})
	}
}

// A message that expires while it is carried gives its id back, unless it went out exactly once: then it does not expire
// [MQTT-4.3.3-7].
func TestExpiryOfCarriedMessages(t *testing.T) {
	inGate(t, core.Options{}, func(g gated) {
		t, b := g.t, g.broker
		client := &quiet{}
		s, _ := linked(t, b, core.SubscriberSpec{Expiry: core.Forever, Receiver: client})
		soon := s.ExpiresAfter(time.Minute)
		send(t, b, 1, 1, &core.Message{Persistent: true, Expires: soon})
		send(t, b, 1, 1, &core.Message{Persistent: true, Once: true, Expires: soon})
		if got := client.take(); !slices.Equal(got, []uint16{1, 2}) {
			t.Fatalf("sent %v", got)
		}
		s.Close()
		time.Sleep(time.Hour)
		_, l := linked(t, b, core.SubscriberSpec{Expiry: core.Forever, Receiver: client})
		if got := client.take(); !slices.Equal(got, []uint16{2}) {
			t.Errorf("sent again %v, want what was sent exactly once", got)
		}
		if n := l.ReservedForTest(); n != 0 {
			t.Errorf("%d ids are reserved for messages that wait", n)
		}
	})
}

// What is to be sent at least once does not overtake what is to be sent exactly once, and waits for the record of its id: on this link and on
// the next, which is handed both again, in this order [MQTT-3.1.1 4.6.0-1].
func TestLevelsDoNotOvertakeEachOther(t *testing.T) {
	inGate(t, core.Options{}, func(g gated) {
		t, b, store := g.t, g.broker, g.store
		client := &quiet{}
		s, _ := linked(t, b, core.SubscriberSpec{Expiry: core.Forever, Receiver: client})
		release := store.hold()
		for i := range 6 {
			send(t, b, 1, 1, &core.Message{Persistent: true, Once: i%2 == 1})
		}
		if got := client.take(); !slices.Equal(got, []uint16{1}) {
			t.Errorf("sent %v before the record, want what needs none", got)
		}
		release()
		synctest.Wait()
		if got := client.take(); !slices.Equal(got, []uint16{2, 3, 4, 5, 6}) {
			t.Errorf("sent %v", got)
		}
		s.Close()
		linked(t, b, core.SubscriberSpec{Expiry: core.Forever, Receiver: client})
		synctest.Wait()
		if got := client.take(); !slices.Equal(got, []uint16{1, 2, 3, 4, 5, 6}) {
			t.Errorf("sent again %v", got)
		}
	})
}

// A message that is missing from the store while it is carried exactly once: its client may have it, and is asked to forget the id.
func TestIDOfAMissingMessageIsReleased(t *testing.T) {
	inGate(t, core.Options{PageAt: 1}, func(g gated) {
		t, b, store := g.t, g.broker, g.store
		client := &quiet{}
		s, _ := linked(t, b, core.SubscriberSpec{Expiry: core.Forever, Receiver: client})
		send(t, b, 1, 8<<10, &core.Message{Persistent: true})
		send(t, b, 2, 8<<10, &core.Message{Persistent: true, Once: true})
		if got := client.take(); !slices.Equal(got, []uint16{1, 2, 3}) {
			t.Fatalf("sent %v", got)
		}
		s.Close()
		time.Sleep(2 * time.Second) // memory is short: nobody needs them there
		store.lose(2)
		s, _ = linked(t, b, core.SubscriberSpec{Expiry: core.Forever, Receiver: client})
		synctest.Wait()
		if got := client.take(); !slices.Equal(got, []uint16{1, 3}) {
			t.Fatalf("sent again %v, want what is left", got)
		}
		s.Close()
		_, l := linked(t, b, core.SubscriberSpec{Expiry: core.Forever, Receiver: client})
		synctest.Wait()
		if got := fmt.Sprint(client.released, client.take()); got != "[2] [1 3]" {
			t.Errorf("released and sent: %s", got)
		}
		if !l.Released(2) || l.Released(2) {
			t.Error("the id is not released once")
		}
		flush(t, attach(t, b))
		if keys := store.keys(t, 'i'); len(keys) != 1 {
			t.Errorf("ids on record: %q", keys)
		}
	})
}

// A subscriber of a version that recorded no user belongs to the first who comes.
func TestSubscriberWithoutAUserIsTheFirstComers(t *testing.T) {
	disk := memstore.NewDisk()
	life := func(f func(b *core.Broker, store *gatedStore)) {
		store := &gatedStore{Store: memstore.Open(memstore.Options{Disk: disk})}
		b, err := core.Open(t.Context(), store, core.Options{})
		if err != nil {
			t.Fatal(err)
		}
		f(b, store)
		b.Close()
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	link := func(b *core.Broker, user string) error {
		s, err := b.Attach("/", core.SessionOptions{User: user})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = s.Subscriber(t.Context(), core.SubscriberSpec{
			Name: "c", Queue: "subscriber-c", Expiry: core.Forever, Receiver: &quiet{},
		})
		return err
	}
	life(func(b *core.Broker, store *gatedStore) {
		if err := link(b, "alice"); err != nil {
			t.Fatal(err)
		}
		for d, err := range store.Recover(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if d.Key[0] != 's' {
				continue
			}
			table, _, err := field.ParseTable(d.Value)
			if err != nil {
				t.Fatal(err)
			}
			table = slices.DeleteFunc(table, func(f field.Field) bool { return f.Key == "user" })
			value, err := field.AppendTable(nil, table)
			if err != nil {
				t.Fatal(err)
			}
			store.Commit([]core.Op{{Kind: core.OpDefine, Key: d.Key, Queue: d.Queue, Value: value}})
		}
	})
	life(func(b *core.Broker, _ *gatedStore) {
		if err := link(b, "bob"); err != nil {
			t.Error(err)
		}
	})
	life(func(b *core.Broker, _ *gatedStore) {
		if err := link(b, "alice"); core.KindOf(err) != core.Refused {
			t.Errorf("a third user got %v", err)
		}
		if err := link(b, "bob"); err != nil {
			t.Error(err)
		}
	})
}
