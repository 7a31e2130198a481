package core_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

// shareKey has a link share the messages of a key.
func shareKey(t *testing.T, l *core.Link, key string, level core.Level) {
	t.Helper()
	results, err := l.Subscribe(t.Context(), []core.SubscriptionSpec{{Share: "g", Queue: "share-" + key, Key: key, Level: level}})
	if err != nil || results[0].Err != nil {
		t.Fatal(err, results[0].Err)
	}
}

// Who has not got what waits for itself alone takes no message of a share that would become its own: another member gets it, or it waits.
func TestShareExactlyOnceGoesToWhoHasNothingWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{})
		busy := linkClient(t, b, "busy", core.SubscriberSpec{Window: 2})
		subscribeLevel(t, busy.link, "own", core.ExactlyOnce)
		shareKey(t, busy.link, "k", core.ExactlyOnce)
		s := attach(t, b)
		for range 3 {
			publish(t, s, once("own"))
		}
		publish(t, s, once("k"))
		busy.expect(t, "own=m", "own=m")
		busy.answer(t, 1) // which leaves credit for either
		busy.expect(t, "own=m", "own=m", "own=m")
		busy.answer(t, 1)
		busy.expect(t, "own=m", "own=m", "own=m", "k=m")
		publish(t, s, once("own"))
		idle := linkClient(t, b, "idle", core.SubscriberSpec{})
		shareKey(t, idle.link, "k", core.ExactlyOnce)
		publish(t, s, once("k"))
		idle.expect(t, "k=m")
	})
}

// A client whose every id waits for it has none for a share, until it has been handed that.
func TestShareWaitsForIDs(t *testing.T) {
	const all = 65_535
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{OpenBytes: 1 << 30})
		client := &quiet{}
		s, l := linked(t, b, core.SubscriberSpec{Expiry: time.Hour, Receiver: client})
		shareKey(t, l, "shared", core.AtLeastOnce)
		send(t, b, all, 0, &core.Message{Persistent: true})
		if n := len(client.take()); n != all {
			t.Fatalf("%d messages are out", n)
		}
		s.Close()
		client = &quiet{full: true}
		s = attach(t, b)
		l, _, err := s.Subscriber(t.Context(), core.SubscriberSpec{Name: "c", Queue: "subscriber-c", Expiry: time.Hour, Receiver: client})
		if err != nil {
			t.Fatal(err)
		}
		l.Start()
		p := attach(t, b)
		publish(t, p, &core.Message{Exchange: core.TopicExchange, Key: "shared", Persistent: true})
		client.mu.Lock()
		client.full = false
		client.mu.Unlock()
		s.Resume()
		synctest.Wait()
		ids := client.take()
		if len(ids) != all {
			t.Fatalf("%d messages are out again", len(ids))
		}
		if !l.Ack(ids[0]) {
			t.Error("an id is not out")
		}
		synctest.Wait()
		if n := len(client.take()); n != 1 {
			t.Errorf("%d messages followed", n)
		}
	})
}

// subscribeLevel subscribes to one key.
func subscribeLevel(t *testing.T, l *core.Link, key string, level core.Level) {
	t.Helper()
	if _, err := l.Subscribe(t.Context(), []core.SubscriptionSpec{{Key: key, Level: level}}); err != nil {
		t.Fatal(err)
	}
}

// answer takes the first n messages of level 2 to their end.
func (c *client) answer(t *testing.T, n int) {
	t.Helper()
	c.mu.Lock()
	ids := c.unread[:n]
	c.unread = c.unread[n:]
	c.mu.Unlock()
	for _, id := range ids {
		done := make(completion, 1)
		if known, err := c.link.Received(id, done, 0); !known || err != nil {
			t.Fatal(id, known, err)
		}
		if err := <-done; err != nil || !c.link.Released(id) {
			t.Fatal(id, err)
		}
	}
}

// shareModel is members of a share that come and go, and a broker that dies, at random.
type shareModel struct {
	t       *testing.T
	rng     *rand.Rand
	disk    *memstore.Disk
	store   *memstore.Store
	broker  *core.Broker
	epoch   uint32
	members []*shareMember
	sent    int

	mu    sync.Mutex
	taken map[string]int  // by body: by how many clients, or how often in one session
	first map[string]bool // was promised to the publisher
}

// shareMember is a client that keeps its session.
type shareMember struct {
	model   *shareModel
	name    string
	session *core.Session
	link    *core.Link // nil: it is away
	open    []shareAnswer
	has     map[uint16]string // ids under which it has a message of level 2, until they are released
	release []uint16
}

type shareAnswer struct {
	id   uint16
	once bool
	body string
}

func (c *shareMember) Ready() bool { return true }
func (c *shareMember) Push(*core.Message, *core.Match) {
	c.model.t.Error("a message that is kept was pushed")
}
func (c *shareMember) TakenOver() {}

func (c *shareMember) Send(msg *core.Message, id uint16, match *core.Match, _ bool) {
	c.model.mu.Lock()
	defer c.model.mu.Unlock()
	body := string(msg.Body)
	once := match.Level == core.ExactlyOnce
	c.open = append(c.open, shareAnswer{id, once, body})
	if _, again := c.has[id]; once && again {
		return
	}
	if once {
		c.has[id] = body
	}
	c.model.taken[body]++
}

func (c *shareMember) Release(id uint16) {
	c.model.mu.Lock()
	defer c.model.mu.Unlock()
	c.release = append(c.release, id)
}

// Complete notes that the message that was published as the tag-th is on record.
func (m *shareModel) Complete(tag uint64, err error) {
	if err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.first[body(int(tag))] = true
	}
}

func body(n int) string {
	if n%2 == 0 {
		return fmt.Sprintf("once %d", n)
	}
	return fmt.Sprintf("least %d", n)
}

func (m *shareModel) start() {
	m.epoch++
	m.store = memstore.Open(memstore.Options{Disk: m.disk})
	b, err := core.Open(m.t.Context(), m.store, core.Options{Epoch: m.epoch})
	if err != nil {
		m.t.Fatal(err)
	}
	m.broker = b
}

func (m *shareModel) crash() {
	m.disk = m.store.Disk()
	m.store.Crash()
	m.broker.Close()
	for _, c := range m.members {
		c.link, c.open, c.release = nil, nil, nil
	}
	m.start()
}

func (m *shareModel) publish() {
	m.sent++
	s := attach(m.t, m.broker)
	msg := &core.Message{Exchange: core.TopicExchange, Key: "k", Persistent: true, Once: m.sent%2 == 0, Body: []byte(body(m.sent))}
	if _, err := s.Publish(msg, m, uint64(m.sent)); err != nil {
		m.t.Fatal(err)
	}
}

func (c *shareMember) come() {
	c.session = attach(c.model.t, c.model.broker)
	l, present, err := c.session.Subscriber(c.model.t.Context(), core.SubscriberSpec{
		Name: c.name, Queue: "subscriber-" + c.name, Expiry: core.Forever, Window: 3, Receiver: c,
	})
	if err != nil {
		c.model.t.Fatal(err)
	}
	c.link = l
	l.Start()
	if !present {
		shareKey(c.model.t, l, "k", core.ExactlyOnce)
	}
}

func (c *shareMember) leave() {
	c.session.Close()
	synctest.Wait()
	c.model.mu.Lock()
	defer c.model.mu.Unlock()
	c.link, c.open, c.release = nil, nil, nil
}

// answer answers the first message that is open, or releases the first id.
func (c *shareMember) answer() bool {
	c.model.mu.Lock()
	var a shareAnswer
	var release uint16
	switch {
	case len(c.release) > 0:
		release, c.release = c.release[0], c.release[1:]
		delete(c.has, release)
	case len(c.open) > 0:
		a, c.open = c.open[0], c.open[1:]
	}
	c.model.mu.Unlock()
	switch {
	case release != 0:
		c.link.Released(release)
	case a.once:
		done := make(completion, 1)
		known, err := c.link.Received(a.id, done, 0)
		if !known || err != nil {
			c.model.t.Fatal(a, known, err)
		}
		if err := <-done; err != nil {
			c.model.t.Fatal(err)
		}
		c.Release(a.id)
	case a.id != 0:
		if !c.link.Ack(a.id) {
			c.model.t.Fatalf("%v is not out", a)
		}
	default:
		return false
	}
	return true
}

// What a publisher was promised reaches a member at least once, and one of them exactly once that is to, whatever befalls members and broker.
func TestShareAgainstModel(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 15
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &shareModel{t: t, rng: rand.New(rand.NewPCG(uint64(seed), 1)), taken: map[string]int{}, first: map[string]bool{}}
				m.start()
				for _, name := range []string{"a", "b", "c"} {
					c := &shareMember{model: m, name: name, has: map[uint16]string{}}
					m.members = append(m.members, c)
					c.come()
				}
				for range 300 {
					m.step()
				}
				m.finish()
			})
		})
	}
}

func (m *shareModel) step() {
	c := m.members[m.rng.IntN(len(m.members))]
	switch n := m.rng.IntN(20); {
	case n < 7:
		m.publish()
	case n == 7 && m.rng.IntN(4) == 0:
		m.crash()
	case n < 10 && c.link == nil:
		c.come()
	case n < 10:
		c.leave()
	case c.link != nil:
		c.answer()
	}
	if m.rng.IntN(3) > 0 {
		synctest.Wait()
	}
}

// finish has everybody come and answer everything, and compares.
func (m *shareModel) finish() {
	synctest.Wait()
	for _, c := range m.members {
		if c.link == nil {
			c.come()
		}
	}
	for busy := true; busy; {
		synctest.Wait()
		busy = false
		for _, c := range m.members {
			for c.answer() {
				busy = true
			}
		}
	}
	st := m.broker.Stats()
	if st.Ready+st.Unsettled != 0 || st.HeldBytes > 16<<10 || st.OpenBytes != 0 {
		m.t.Errorf("%d wait, %d are out, %d bytes are held, %d open", st.Ready, st.Unsettled, st.HeldBytes, st.OpenBytes)
	}
	for n := 1; n <= m.sent; n++ {
		times, promised := m.taken[body(n)], m.first[body(n)]
		if promised && times == 0 || n%2 == 0 && times > 1 {
			m.t.Errorf("%q was taken %d times, promised: %t", body(n), times, promised)
		}
	}
	m.broker.Close()
	_ = m.store.Close()
}
