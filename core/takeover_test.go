package core_test

import (
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

// gatedStore is a store whose commits the test controls: it lets something happen while a chosen one is under way, as far as whoever
// commits lets it, or holds them back. It can lose messages.
type gatedStore struct {
	*memstore.Store

	mu      sync.Mutex
	match   func(op *core.Op) bool
	action  func()
	done    chan struct{} // of the action
	holding bool
	held    [][]core.Op
	lost    core.Seq // of any queue; 0: none
}

func (s *gatedStore) Commit(ops []core.Op) {
	s.mu.Lock()
	match := s.match
	s.mu.Unlock()
	if match != nil && slices.ContainsFunc(ops, func(op core.Op) bool { return match(&op) }) {
		s.mu.Lock()
		s.match = nil
		s.mu.Unlock()
		go func() {
			defer close(s.done)
			s.action()
		}()
		// What nothing holds back is through long before this ends; what is held back waits for this commit.
		for range 2_000 {
			runtime.Gosched()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.holding {
		s.Store.Commit(ops)
		return
	}
	ops = slices.Clone(ops)
	for i := range ops {
		ops[i].Ranges = slices.Clone(ops[i].Ranges)
	}
	s.held = append(s.held, ops)
}

// hold holds commits back from now on, until what it returns is called.
func (s *gatedStore) hold() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holding = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.holding = false
		for _, ops := range s.held {
			s.Store.Commit(ops)
		}
		s.held = nil
	}
}

// lose makes the message at a place missing.
func (s *gatedStore) lose(at core.Seq) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = at
}

func (s *gatedStore) Load(queue core.QueueID, from, to core.Seq, maxEntries, maxBytes int) ([]core.Entry, error) {
	entries, err := s.Store.Load(queue, from, to, maxEntries, maxBytes)
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(entries, func(e core.Entry) bool { return e.Seq == s.lost }), err
}

// during has action run while the next commit of an op that matches is under way, and returns what tells its end.
func (s *gatedStore) during(match func(op *core.Op) bool, action func()) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.match, s.action, s.done = match, action, make(chan struct{})
	return s.done
}

// keys are the keys that are on record, of one kind.
func (s *gatedStore) keys(t *testing.T, kind byte) (keys []string) {
	t.Helper()
	for d, err := range s.Recover(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Key[0] == kind {
			keys = append(keys, d.Key)
		}
	}
	return keys
}

// opened opens a broker on a store.
func opened(t *testing.T, store *gatedStore, opt core.Options) *core.Broker {
	t.Helper()
	b, err := core.Open(t.Context(), store, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// quiet is a client that takes all and says nothing; its test looks at ids.
type quiet struct {
	mu       sync.Mutex
	full     bool
	sent     []uint16
	again    []bool
	released []uint16
}

func (q *quiet) Ready() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.full
}

func (*quiet) Push(*core.Message, *core.Match) {}
func (*quiet) TakenOver()                      {}

func (q *quiet) Send(_ *core.Message, id uint16, _ *core.Match, again bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sent, q.again = append(q.sent, id), append(q.again, again)
}

func (q *quiet) Release(id uint16) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.released = append(q.released, id)
}

func (q *quiet) take() (sent []uint16) {
	q.mu.Lock()
	defer q.mu.Unlock()
	sent, q.sent, q.again = q.sent, nil, nil
	return sent
}

// linked returns a started link with a subscription of level 2 to "k".
func linked(t *testing.T, b *core.Broker, spec core.SubscriberSpec) (*core.Session, *core.Link) {
	t.Helper()
	s := attach(t, b)
	spec.Name, spec.Queue = "c", "subscriber-c"
	if spec.Receiver == nil {
		spec.Receiver = &quiet{}
	}
	l, _, err := s.Subscriber(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Subscribe(t.Context(), []core.SubscriptionSpec{{Key: "k", Level: core.ExactlyOnce}}); err != nil {
		t.Fatal(err)
	}
	l.Start()
	return s, l
}

func once(key string) *core.Message {
	return &core.Message{Exchange: core.TopicExchange, Key: key, Persistent: true, Once: true, Body: []byte("m")}
}

// deliver has m sent to the link that subscribes to its key, and returns when the client has it.
func deliver(t *testing.T, b *core.Broker, m *core.Message) {
	t.Helper()
	s := attach(t, b)
	if _, err := s.Publish(m, nil, 0); err != nil {
		t.Error(err)
	}
	synctest.Wait()
}

// TestVerbOfAnOldLinkDoesNotReachTheNext has a newcomer take the subscriber over, forget it, and use the same id, while the old link's
// verb commits. What is on record in the end is the newcomer's.
func TestVerbOfAnOldLinkDoesNotReachTheNext(t *testing.T) {
	commits := func(kind core.OpKind, key byte) func(*core.Op) bool {
		return func(op *core.Op) bool { return op.Kind == kind && op.Key != "" && op.Key[0] == key }
	}
	nothing := func(*testing.T, *core.Broker, *core.Link) {}
	publishOnce := func(t *testing.T, _ *core.Broker, l *core.Link) {
		t.Helper()
		if err := l.PublishOnce(once("nowhere"), 9, nil, 0, 0); err != nil {
			t.Error(err)
		}
	}
	deliverOnce := func(t *testing.T, b *core.Broker, _ *core.Link) {
		t.Helper()
		deliver(t, b, once("k"))
	}
	receive := func(t *testing.T, b *core.Broker, l *core.Link) {
		t.Helper()
		deliver(t, b, once("k"))
		if known, err := l.Received(1, nil, 0); !known {
			t.Error("the client's answer is to nothing:", err)
		}
	}
	for _, tt := range []struct {
		name   string
		before func(*testing.T, *core.Broker, *core.Link) // the verb
		next   func(*testing.T, *core.Broker, *core.Link) // what the newcomer does
		commit func(*core.Op) bool
		verb   func(*core.Link)
		kind   byte // of the records to be counted
		want   int
	}{
		{
			"PublishOnce", nothing, nothing, commits(core.OpDefine, 'r'),
			func(l *core.Link) { _ = l.PublishOnce(once("nowhere"), 9, nil, 0, 0) }, 'r', 0,
		},
		{
			"ReleaseReceived", publishOnce, publishOnce, commits(core.OpRemove, 'r'),
			func(l *core.Link) { _ = l.ReleaseReceived(9, nil, 0, 0) }, 'r', 1,
		},
		{"Received", deliverOnce, deliverOnce, commits(core.OpDefine, 'i'), func(l *core.Link) { _, _ = l.Received(1, nil, 0) }, 'i', 1},
		{"Refused", deliverOnce, deliverOnce, commits(core.OpRemove, 'i'), func(l *core.Link) { l.Refused(1) }, 'i', 1},
		{"Released", receive, deliverOnce, commits(core.OpRemove, 'i'), func(l *core.Link) { l.Released(1) }, 'i', 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &gatedStore{Store: memstore.Open(memstore.Options{})}
				b := opened(t, store, core.Options{})
				_, l := linked(t, b, core.SubscriberSpec{Expiry: core.Forever})
				tt.before(t, b, l)
				took := store.during(tt.commit, func() {
					_, next := linked(t, b, core.SubscriberSpec{Expiry: core.Forever, Fresh: true})
					tt.next(t, b, next)
				})
				tt.verb(l)
				<-took
				flush(t, attach(t, b))
				if keys := store.keys(t, tt.kind); len(keys) != tt.want {
					t.Errorf("%d records of kind %c are left, want %d: %q", len(keys), tt.kind, tt.want, keys)
				}
			})
		})
	}
}
