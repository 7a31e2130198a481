package core_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

// slowStore counts what is read from it, and lets the test come between the reading and what follows.
type slowStore struct {
	*memstore.Store
	most   atomic.Int64 // bytes of one Load
	total  atomic.Int64 // of all
	onLoad func()
}

func (s *slowStore) Load(queue core.QueueID, from, to core.Seq, maxEntries, maxBytes int) ([]core.Entry, error) {
	entries, err := s.Store.Load(queue, from, to, maxEntries, maxBytes)
	var n int64
	for _, e := range entries {
		n += int64(e.Msg.Size())
	}
	s.most.Store(max(s.most.Load(), n)) // one goroutine loads
	s.total.Add(n)
	if s.onLoad != nil {
		s.onLoad()
	}
	return entries, err
}

// keeper opens an engine that has kept messages retained since before its start, so that none is in memory.
func keeper(t *testing.T, opt core.Options, keep ...*core.Message) (*core.Broker, *slowStore) {
	t.Helper()
	first := memstore.Open(memstore.Options{})
	b, err := core.Open(t.Context(), first, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := attach(t, b)
	for _, m := range keep {
		m.Exchange, m.Retain = core.TopicExchange, true
		if _, err := s.Publish(m, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	b.Close()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	store := &slowStore{Store: memstore.Open(memstore.Options{Disk: first.Disk()})}
	opt.Epoch = 2
	if b, err = core.Open(t.Context(), store, opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, store
}

// client is a subscriber's receiver that notes what it is given.
type client struct {
	mu     sync.Mutex
	room   int // messages until it is full; negative: never
	got    []string
	ids    []uint32 // subscription identifiers, as they came
	unread []uint16 // what is to be acknowledged

	session *core.Session
	link    *core.Link
}

func linkClient(tb testing.TB, b *core.Broker, name string, spec core.SubscriberSpec) *client {
	tb.Helper()
	c := &client{room: -1, session: attach(tb, b)}
	spec.Name, spec.Queue, spec.Receiver = name, "subscriber-"+name, c
	var err error
	if c.link, _, err = c.session.Subscriber(tb.Context(), spec); err != nil {
		tb.Fatal(err)
	}
	c.link.Start()
	return c
}

func (c *client) Ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.room != 0
}

func (c *client) Push(m *core.Message, match *core.Match) { c.take(m, match, 0) }

func (c *client) Send(m *core.Message, id uint16, match *core.Match, _ bool) { c.take(m, match, id) }

func (c *client) take(m *core.Message, match *core.Match, id uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.room > 0 {
		c.room--
	}
	c.got = append(c.got, m.Key+"="+string(m.Body[:min(len(m.Body), 8)]))
	c.ids = append(append(c.ids, match.ID), match.More...)
	if id != 0 {
		c.unread = append(c.unread, id)
	}
}

func (c *client) Release(uint16) {}
func (c *client) TakenOver()     {}

// free makes room for n more messages.
func (c *client) free(n int) {
	c.mu.Lock()
	c.room = n
	c.mu.Unlock()
	c.session.Resume()
}

// ack answers for all that has come, and returns their number.
func (c *client) ack() int {
	c.mu.Lock()
	unread := c.unread
	c.unread = nil
	c.mu.Unlock()
	for _, id := range unread {
		c.link.Ack(id)
	}
	return len(unread)
}

func (c *client) taken() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

func (c *client) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := c.taken(); !slices.Equal(got, want) {
		t.Fatalf("the client was sent %v, not %v", got, want)
	}
}

// subscribe subscribes and has what is kept sent.
func (c *client) subscribe(t *testing.T, spec core.SubscriptionSpec) {
	t.Helper()
	results, err := c.link.Subscribe(t.Context(), []core.SubscriptionSpec{spec})
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Err != nil {
		t.Fatal(results[0].Err)
	}
	c.link.SendRetained(spec, results[0].Retained)
}

// What is retained between a subscription and the sending of what is retained has come as it was published, and comes no second time:
// not if it is the first of all, either.
func TestRetainedAfterTheSubscriptionComesOnce(t *testing.T) {
	for name, before := range map[string][]*core.Message{"none before": nil, "one before": {value("a", "before", core.AtMostOnce)}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _ := keeper(t, core.Options{}, before...)
				c := linkClient(t, b, "c", core.SubscriberSpec{})
				spec := core.SubscriptionSpec{Key: "#", Level: core.AtMostOnce}
				results, err := c.link.Subscribe(t.Context(), []core.SubscriptionSpec{spec})
				if err != nil {
					t.Fatal(err)
				}
				m := value("b", "after", core.AtMostOnce)
				m.Exchange, m.Retain = core.TopicExchange, true
				if _, err := c.session.Publish(m, nil, 0); err != nil {
					t.Fatal(err)
				}
				c.expect(t, "b=after")
				c.link.SendRetained(spec, results[0].Retained)
				want := []string{"b=after"}
				for range before {
					want = append(want, "a=before")
				}
				c.expect(t, want...)
			})
		})
	}
}

// However many messages are retained, no more than some megabytes of them are in memory, and all come to who subscribes: after they were
// published, after they were read, after some were replaced and cleared, and after a restart.
func TestRetainedMessagesLeaveMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, size, limit = 96, 1 << 20, 32<<20 + 2<<20
		store := memstore.Open(memstore.Options{})
		b, err := core.Open(t.Context(), store, core.Options{})
		if err != nil {
			t.Fatal(err)
		}
		bounded := func(when string, least int64) {
			t.Helper()
			if bytes := b.Stats().RetainedBytes; bytes > limit || bytes < least {
				t.Errorf("%d bytes are in memory %s", bytes, when)
			}
		}
		all := func(name string, want int) {
			t.Helper()
			c := linkClient(t, b, name, core.SubscriberSpec{})
			c.subscribe(t, core.SubscriptionSpec{Key: "#", Level: core.AtMostOnce})
			synctest.Wait()
			if got := len(c.taken()); got != want {
				t.Errorf("%d messages came, want %d", got, want)
			}
			c.link.Detach(false, nil)
		}
		s := attach(t, b)
		set := func(i, size int) {
			m := value("k"+strconv.Itoa(i), strings.Repeat("v", size), core.AtMostOnce)
			m.Exchange, m.Retain = core.TopicExchange, true
			publish(t, s, m)
			flush(t, s)
		}
		for i := range n {
			set(i, size)
		}
		bounded("when all are published", 16<<20)
		all("first", n)
		bounded("when all were read", 16<<20)
		for i := range n / 2 {
			set(i, 0)
		}
		for range 1000 {
			set(n, 10) // one that changes often leaves nothing behind
		}
		bounded("when half are cleared", 1<<20)
		all("second", n/2+1)
		b.Close()
		if b, err = core.Open(t.Context(), store, core.Options{Epoch: 2}); err != nil {
			t.Fatal(err)
		}
		bounded("after a restart", 0)
		all("third", n/2+1)
		bounded("when they were read back", 16<<20)
		b.Close()
		_ = store.Close()
	})
}

func value(key, body string, level core.Level) *core.Message {
	return &core.Message{
		Exchange: core.TopicExchange, Key: key, Body: []byte(body), Retain: true,
		Persistent: level >= core.AtLeastOnce, Once: level >= core.ExactlyOnce,
	}
}

func publishAll(t *testing.T, s *core.Session, messages ...*core.Message) {
	t.Helper()
	for _, m := range messages {
		if _, err := s.Publish(m, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// values makes n messages of n keys, of two sizes in turn.
func values(n int, level core.Level, sizes ...int) []*core.Message {
	list := make([]*core.Message, n)
	for i := range list {
		body := make([]byte, sizes[i%len(sizes)])
		copy(body, fmt.Sprintf("%08d", i))
		list[i] = value("k."+strconv.Itoa(i), string(body), level)
	}
	return list
}

func TestReplayPassesOverWhatIsReplacedWhileItIsRead(t *testing.T) {
	for level := core.AtMostOnce; level <= core.ExactlyOnce; level++ {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, store := keeper(t, core.Options{}, value("a", "old", level), value("b", "same", level))
				s := attach(t, b)
				c := linkClient(t, b, "c", core.SubscriberSpec{Expiry: core.Forever})
				store.onLoad = func() {
					store.onLoad = nil
					publishAll(t, s, value("a", "new", level))
				}
				c.subscribe(t, core.SubscriptionSpec{Key: "#", Level: level})
				c.expect(t, "a=new", "b=same")
			})
		})
	}
}

func TestReplaySendsWhatTheClientHadNoRoomFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := keeper(t, core.Options{}, values(3, core.AtMostOnce, 8)...)
		s := attach(t, b)
		c := linkClient(t, b, "c", core.SubscriberSpec{})
		c.room = 1
		c.subscribe(t, core.SubscriptionSpec{Key: "#"})
		c.expect(t, "k.0=00000000")
		publishAll(t, s, value("k.1", "lost", core.AtMostOnce), value("k.2", "", core.AtMostOnce))
		c.free(-1)
		c.expect(t, "k.0=00000000", "k.1=lost")
	})
}

// TestLastSeenIsWhatIsKept has a publisher and a subscriber race for each of many keys.
func TestLastSeenIsWhatIsKept(t *testing.T) {
	const keys = 1000
	for level := core.AtMostOnce; level <= core.AtLeastOnce; level++ {
		synctest.Test(t, func(t *testing.T) {
			b := engine(t, core.Options{})
			s := attach(t, b)
			publishAll(t, s, values(keys, level, 8)...)
			c := linkClient(t, b, "c", core.SubscriberSpec{})
			turn := make(chan int)
			go func() {
				for i := range turn {
					publishAll(t, s, value("k."+strconv.Itoa(i), "new", level))
				}
			}()
			for i := range keys {
				turn <- i
				c.subscribe(t, core.SubscriptionSpec{Key: "k." + strconv.Itoa(i), Level: level})
			}
			close(turn)
			synctest.Wait()
			last := map[string]string{}
			for _, m := range c.taken() {
				key, body, _ := strings.Cut(m, "=")
				last[key] = body
			}
			for i := range keys {
				if body := last["k."+strconv.Itoa(i)]; body != "new" {
					t.Errorf("level %d: the last that was seen of key %d is %q", level, i, body)
				}
			}
		})
	}
}

// TestReplayIsBoundedInMemory replays 100,000 messages, half of which are read from the store, to a client that reads slowly.
func TestReplayIsBoundedInMemory(t *testing.T) {
	const n = 100_000
	synctest.Test(t, func(t *testing.T) {
		b, store := keeper(t, core.Options{}, values(n, core.AtLeastOnce, 2<<10, 16)...)
		c := linkClient(t, b, "c", core.SubscriberSpec{})
		c.room = 100
		c.subscribe(t, core.SubscriptionSpec{Key: "#"})
		synctest.Wait()
		if loaded := store.total.Load(); loaded > 1<<20 {
			t.Fatalf("%d bytes were read for a client that has room for 100 messages", loaded)
		}
		for len(c.taken()) < n {
			before := len(c.taken())
			c.free(10_000)
			synctest.Wait()
			if len(c.taken()) == before {
				t.Fatalf("no more than %d messages came", before)
			}
		}
		if most := store.most.Load(); most > 256<<10 {
			t.Errorf("%d bytes were read at once", most)
		}
		if st := b.Stats(); st.HeldBytes > 1<<16 || st.Ready != 0 {
			t.Errorf("%d bytes and %d messages wait in queues", st.HeldBytes, st.Ready)
		}
		checkOrder(t, c.taken(), n)
	})
}

func checkOrder(t *testing.T, got []string, n int) {
	t.Helper()
	if len(got) != n {
		t.Fatalf("%d messages came, not %d", len(got), n)
	}
	for i, m := range got {
		if want := fmt.Sprintf("k.%d=%08d", i, i); m != want {
			t.Fatalf("message %d is %s, not %s", i, m, want)
		}
	}
}

func TestReplayToAQueueThatIsNotKeptFillsItALittle(t *testing.T) {
	const n = 2_000
	synctest.Test(t, func(t *testing.T) {
		b, _ := keeper(t, core.Options{}, values(n, core.AtLeastOnce, 2<<10, 16)...)
		c := linkClient(t, b, "c", core.SubscriberSpec{Window: 10})
		c.subscribe(t, core.SubscriptionSpec{Key: "#", Level: core.AtLeastOnce})
		for synctest.Wait(); c.ack() > 0; synctest.Wait() {
			if ready := b.Stats().Ready; ready > 64 {
				t.Fatalf("%d messages wait in the queue", ready)
			}
		}
		checkOrder(t, c.taken(), n)
	})
}

func TestReplayToADurableQueueNeedsNoLink(t *testing.T) {
	const n = 10_000
	synctest.Test(t, func(t *testing.T) {
		b, _ := keeper(t, core.Options{PendingLimit: 16 << 10, PageAt: 1 << 20}, values(n, core.AtLeastOnce, 2<<10, 16)...)
		c := linkClient(t, b, "c", core.SubscriberSpec{Expiry: core.Forever, Window: 10})
		c.subscribe(t, core.SubscriptionSpec{Key: "#", Level: core.AtLeastOnce})
		c.link.Detach(true, nil)
		c.session.Close()
		synctest.Wait()
		if held := b.Stats().HeldBytes; held > 2<<20 {
			t.Errorf("%d bytes wait in memory", held)
		}
		again := linkClient(t, b, "c", core.SubscriberSpec{Expiry: core.Forever})
		for synctest.Wait(); again.ack() > 0; synctest.Wait() {
		}
		if got := len(again.taken()); got != n {
			t.Errorf("%d messages came, not %d", got, n)
		}
	})
}

func TestReplayWaitsForMemoryAsPublishersDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := keeper(t, core.Options{MemoryBudget: 64 << 10}, values(100, core.AtLeastOnce, 16)...)
		s := attach(t, b)
		declare(t, s, false)
		publish(t, s, &core.Message{Key: "q", Body: make([]byte, 64<<10)})
		c := linkClient(t, b, "c", core.SubscriberSpec{Expiry: core.Forever})
		c.subscribe(t, core.SubscriptionSpec{Key: "#", Level: core.AtLeastOnce})
		c.expect(t)
		if _, _, ok, err := s.Get(t.Context(), "q", true); !ok || err != nil {
			t.Fatal(ok, err)
		}
		synctest.Wait()
		checkOrder(t, c.taken(), 100)
	})
}

func TestReplayEndsWithItsSubscription_MQTT_3_10_4_2(t *testing.T) { // [MQTT-3.10.4-2]
	synctest.Test(t, func(t *testing.T) {
		b, _ := keeper(t, core.Options{}, values(1000, core.AtMostOnce, 16)...)
		c := linkClient(t, b, "c", core.SubscriberSpec{})
		c.room = 10
		c.subscribe(t, core.SubscriptionSpec{Key: "#", ID: 1})
		c.subscribe(t, core.SubscriptionSpec{Key: "k.7", ID: 2})
		synctest.Wait()
		if _, err := c.link.Unsubscribe(t.Context(), []core.Filter{{Key: "#"}}); err != nil {
			t.Fatal(err)
		}
		c.free(-1)
		synctest.Wait()
		if got := c.taken(); len(got) != 11 || got[10] != "k.7=00000007" || c.ids[10] != 2 {
			t.Errorf("sent: %v, for subscriptions %v", got, c.ids)
		}
	})
}

func TestReplayBeginsAnewWithItsSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := keeper(t, core.Options{}, values(200, core.AtMostOnce, 16)...)
		c := linkClient(t, b, "c", core.SubscriberSpec{})
		c.room = 10
		c.subscribe(t, core.SubscriptionSpec{Key: "#"})
		synctest.Wait()
		c.subscribe(t, core.SubscriptionSpec{Key: "#"})
		c.free(-1)
		synctest.Wait()
		checkOrder(t, c.taken()[10:], 200)
	})
}

func TestReplayFollowsTheSubscriptionsLevel_MQTT_3_8_4_8(t *testing.T) { // [MQTT-3.8.4-8]
	synctest.Test(t, func(t *testing.T) {
		b, _ := keeper(t, core.Options{}, values(200, core.AtLeastOnce, 16)...)
		c := linkClient(t, b, "c", core.SubscriberSpec{Window: 10})
		c.subscribe(t, core.SubscriptionSpec{Key: "#", Level: core.AtLeastOnce, ID: 1})
		synctest.Wait()
		if _, err := c.link.Subscribe(t.Context(), []core.SubscriptionSpec{{Key: "#", ID: 2}}); err != nil { // and no retained messages
			t.Fatal(err)
		}
		most := 0
		for synctest.Wait(); ; synctest.Wait() {
			n := c.ack()
			if n == 0 {
				break
			}
			most += n
		}
		if got := len(c.taken()); got != 200 || most != 10 {
			t.Errorf("%d messages came, %d of them to be answered, not 10", got, most)
		}
		if c.ids[199] != 2 {
			t.Errorf("the last came for subscription %d", c.ids[199])
		}
	})
}

func TestReplayToANewLinkIsNotThatOfTheOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := keeper(t, core.Options{}, values(200, core.AtMostOnce, 16)...)
		old := linkClient(t, b, "c", core.SubscriberSpec{Expiry: core.Forever})
		old.room = 10
		old.subscribe(t, core.SubscriptionSpec{Key: "#"})
		synctest.Wait()
		c := linkClient(t, b, "c", core.SubscriberSpec{Expiry: core.Forever})
		old.session.Close()
		synctest.Wait()
		c.expect(t)
		c.subscribe(t, core.SubscriptionSpec{Key: "k.3"})
		c.expect(t, "k.3=00000003")
		if got := len(old.taken()); got != 10 {
			t.Errorf("%d messages went to the old link", got)
		}
	})
}

func TestReplayCarriesItsOwnSubscriptionsIdentifier_MQTT_3_3_4_3(t *testing.T) { // [MQTT-3.3.4-3]
	for level := core.AtMostOnce; level <= core.AtLeastOnce; level++ {
		synctest.Test(t, func(t *testing.T) {
			b, _ := keeper(t, core.Options{}, values(3, level, 16)...)
			c := linkClient(t, b, "c", core.SubscriberSpec{Expiry: core.Forever})
			if _, err := c.link.Subscribe(t.Context(), []core.SubscriptionSpec{{Key: "k.#", Level: level, ID: 9}}); err != nil {
				t.Fatal(err)
			}
			c.subscribe(t, core.SubscriptionSpec{Key: "#", Level: level, ID: 1})
			c.subscribe(t, core.SubscriptionSpec{Key: "k.1", Level: level})
			synctest.Wait()
			if want := []uint32{1, 1, 1, 0}; !slices.Equal(c.ids, want) {
				t.Errorf("level %d: subscriptions %v, not %v", level, c.ids, want)
			}
		})
	}
}

// TestReplayOfLargeMessagesToAQueueThatIsNotKept: one of them waits in the queue at a time, and the rest of them come.
func TestReplayOfLargeMessagesToAQueueThatIsNotKept(t *testing.T) {
	const n, size = 50, 300 << 10
	synctest.Test(t, func(t *testing.T) {
		b, store := keeper(t, core.Options{}, values(n, core.AtLeastOnce, size, 16, 16, size, 16)...)
		c := linkClient(t, b, "c", core.SubscriberSpec{Window: 1})
		c.subscribe(t, core.SubscriptionSpec{Key: "#", Level: core.AtLeastOnce})
		for synctest.Wait(); c.ack() > 0; synctest.Wait() {
			if st := b.Stats(); st.HeldBytes > 2*size+64<<10 { // one that waits, and one that is out
				t.Fatalf("%d bytes are held for a client with a window of one message", st.HeldBytes)
			}
		}
		checkOrder(t, c.taken(), n)
		if total := store.total.Load(); total > 2*n*size {
			t.Errorf("%d bytes were read for %d messages", total, n)
		}
	})
}

// TestReplayOfALargeMessageDoesNotStarve: behind what has come meanwhile, of which there may always be some.
func TestReplayOfALargeMessageDoesNotStarve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := keeper(t, core.Options{}, value("k", strings.Repeat("x", 100<<10), core.AtLeastOnce))
		c := linkClient(t, b, "c", core.SubscriberSpec{Window: 1})
		c.subscribe(t, core.SubscriptionSpec{Key: "live", Level: core.AtLeastOnce})
		s := attach(t, b)
		for range 3 {
			publishAll(t, s, &core.Message{Exchange: core.TopicExchange, Key: "live", Persistent: true, Body: []byte("m")})
		}
		c.subscribe(t, core.SubscriptionSpec{Key: "k", Level: core.AtLeastOnce})
		synctest.Wait()
		publishAll(t, s, &core.Message{Exchange: core.TopicExchange, Key: "live", Persistent: true, Body: []byte("late")})
		for synctest.Wait(); c.ack() > 0; synctest.Wait() {
		}
		c.expect(t, "live=m", "live=m", "live=m", "k=xxxxxxxx", "live=late")
	})
}

// TestReplayToAQueueThatIsNotKeptWaitsForMemory: it must not be what keeps publishers waiting.
func TestReplayToAQueueThatIsNotKeptWaitsForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := keeper(t, core.Options{MemoryBudget: 64 << 10}, values(100, core.AtLeastOnce, 16)...)
		s := attach(t, b)
		declare(t, s, false)
		publish(t, s, &core.Message{Key: "q", Body: make([]byte, 64<<10)})
		c := linkClient(t, b, "c", core.SubscriberSpec{})
		c.subscribe(t, core.SubscriptionSpec{Key: "#", Level: core.AtLeastOnce})
		c.expect(t)
		if _, _, ok, err := s.Get(t.Context(), "q", true); !ok || err != nil {
			t.Fatal(ok, err)
		}
		time.Sleep(2 * time.Second)
		for synctest.Wait(); c.ack() > 0; synctest.Wait() {
		}
		checkOrder(t, c.taken(), 100)
	})
}

// TestReplayHoldsUpNothingElse: neither messages that wait for their records, nor queues that are read back.
func TestReplayHoldsUpNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, store := keeper(t, core.Options{}, value("k", "kept", core.AtMostOnce))
		other := linkClient(t, b, "other", core.SubscriberSpec{Expiry: core.Forever})
		other.subscribe(t, core.SubscriptionSpec{Key: "o", Level: core.ExactlyOnce})
		synctest.Wait()
		held := make(chan struct{})
		goOn := sync.OnceFunc(func() { close(held) })
		t.Cleanup(goOn)
		store.onLoad = func() { <-held }
		c := linkClient(t, b, "c", core.SubscriberSpec{})
		c.subscribe(t, core.SubscriptionSpec{Key: "k"})
		synctest.Wait()
		publishAll(t, attach(t, b), &core.Message{
			Exchange: core.TopicExchange, Key: "o", Body: []byte("once"), Persistent: true, Once: true,
		})
		other.expect(t, "o=once")
		goOn()
		c.expect(t, "k=kept")
	})
}

// TestReplayOfALinkThatIsGoneReadsNothing: what clients asked for that have gone since must not hold up those that are there.
func TestReplayOfALinkThatIsGoneReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, store := keeper(t, core.Options{}, value("a", "12345678", core.AtLeastOnce), value("b", "12345678", core.AtLeastOnce))
		goOn := make(chan struct{})
		store.onLoad = func() { store.onLoad = nil; <-goOn }
		first := linkClient(t, b, "first", core.SubscriberSpec{})
		first.subscribe(t, core.SubscriptionSpec{Key: "a", Level: core.AtLeastOnce})
		synctest.Wait()
		read := store.total.Load()
		for _, expiry := range []time.Duration{0, core.Forever} {
			gone := linkClient(t, b, fmt.Sprint("gone ", expiry), core.SubscriberSpec{Expiry: expiry})
			gone.subscribe(t, core.SubscriptionSpec{Key: "b", Level: core.AtMostOnce})
			gone.link.Detach(true, nil)
			gone.session.Close()
		}
		close(goOn)
		first.expect(t, "a=12345678")
		if now := store.total.Load(); now != read {
			t.Errorf("%d bytes were read for links that are gone", now-read)
		}
	})
}
