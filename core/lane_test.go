package core_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

// A queue hands out what a plain list would, and knows how much waits, whatever is put back, purged, in the store alone or recovered.
func TestQueueEqualsPlainList(t *testing.T) { equalsPlainList(t, nil) }

// One with priorities hands out what a list would that is sorted by them.
func TestPriorityQueueEqualsSortedList(t *testing.T) {
	equalsPlainList(t, field.Table{{Key: "x-max-priority", Value: int32(modelPriorities)}})
}

// modelPriorities is the largest priority that makes a difference in the model.
const modelPriorities = 4

func equalsPlainList(t *testing.T, args field.Table) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(undated{t}, func(rt *rapid.T) {
			m := &queueModel{t: t, rt: rt, disk: memstore.NewDisk(), args: args}
			m.open()
			defer m.shut()
			for range rapid.IntRange(1, 60).Draw(rt, "steps") {
				m.step()
				m.compare()
			}
		})
	})
}

// undated is a test whose deadline may not be asked for, since it runs in a bubble.
type undated struct{ rapid.TB }

// queueModel is queue q of an engine, and the list of what it should hold.
type queueModel struct {
	t       *testing.T
	rt      *rapid.T
	disk    *memstore.Disk
	args    field.Table // the queue's
	store   *memstore.Store
	broker  *core.Broker
	session *core.Session
	epoch   uint32
	made    int
	waiting []modelled
	out     []modelled // as core.Delivery is in held
	held    []core.Delivery
}

// modelled is a message as the model knows it.
type modelled struct {
	n        int
	priority uint8 // that counts
	size     int
	durable  bool
}

func (m *queueModel) open() {
	m.epoch++
	m.store = memstore.Open(memstore.Options{Disk: m.disk})
	b, err := core.Open(m.t.Context(), m.store, core.Options{Epoch: m.epoch, PageAt: 4 << 10})
	if err != nil {
		m.rt.Fatal(err)
	}
	m.broker, m.session = b, attach(m.t, b)
	if _, err := m.session.DeclareQueue(m.t.Context(), core.QueueSpec{Name: "q", Durable: true, Args: m.args}); err != nil {
		m.rt.Fatal(err)
	}
}

func (m *queueModel) shut() {
	m.session.Close(m.held...)
	m.broker.Close()
	if err := m.store.Close(); err != nil {
		m.rt.Fatal(err)
	}
}

// largeBody is that of messages of which few are loaded at once.
var largeBody [100 << 10]byte

func (m *queueModel) step() {
	switch rapid.IntRange(0, 9).Draw(m.rt, "step") {
	case 0, 1, 2:
		durable := rapid.IntRange(0, 3).Draw(m.rt, "transient") > 0
		for range rapid.IntRange(1, 40).Draw(m.rt, "messages") {
			m.publish(durable, rapid.SampledFrom([]int{0, 7, 300, len(largeBody)}).Draw(m.rt, "size"),
				rapid.Uint8Range(0, modelPriorities+2).Draw(m.rt, "priority"))
		}
	case 3, 4, 5:
		for range rapid.IntRange(1, 40).Draw(m.rt, "gets") {
			m.get()
		}
	case 6:
		m.settle(core.Accept)
	case 7:
		m.settle(core.Requeue)
	case 8:
		time.Sleep(2 * time.Second) // what can leave memory does
	case 9:
		if rapid.Bool().Draw(m.rt, "restart") {
			m.restart()
		} else {
			m.purge()
		}
	}
}

func (m *queueModel) publish(durable bool, size int, priority uint8) {
	m.made++
	msg := &core.Message{Key: "q", Props: fmt.Append(nil, m.made), Body: largeBody[:size], Persistent: durable, Priority: priority}
	if n, err := m.session.Publish(msg, nil, 0); err != nil || n != 1 {
		m.rt.Fatalf("publish: routed to %d queues, %v", n, err)
	}
	if priority = min(priority, modelPriorities); m.args == nil {
		priority = 0
	}
	m.waiting = append(m.waiting, modelled{n: m.made, priority: priority, size: len(msg.Body), durable: durable})
	m.sort()
}

func (m *queueModel) get() {
	flush(m.t, m.session) // what has not passed cannot be read back
	d, _, ok, err := m.session.Get(m.t.Context(), "q", false)
	if err != nil {
		m.rt.Fatal(err)
	}
	if !ok {
		if len(m.waiting) > 0 {
			m.rt.Fatalf("got nothing, want message %d", m.waiting[0].n)
		}
		return
	}
	if want := fmt.Sprint(m.waiting[0].n); string(d.Message.Props) != want {
		m.rt.Fatalf("got message %s, want %s", d.Message.Props, want)
	}
	m.held, m.out, m.waiting = append(m.held, d), append(m.out, m.waiting[0]), m.waiting[1:]
}

// settle takes some of what is out, in any order.
func (m *queueModel) settle(o core.Outcome) {
	for range rapid.IntRange(0, len(m.held)).Draw(m.rt, "settled") {
		i := rapid.IntRange(0, len(m.held)-1).Draw(m.rt, "which")
		if rapid.Bool().Draw(m.rt, "unloaded") {
			m.held[i].Unload()
		}
		m.session.Settle(m.held[i:i+1], o)
		if o == core.Requeue {
			m.waiting = append(m.waiting, m.out[i])
		}
		m.held, m.out = slices.Delete(m.held, i, i+1), slices.Delete(m.out, i, i+1)
	}
	m.sort()
}

func (m *queueModel) sort() {
	slices.SortFunc(m.waiting, func(a, b modelled) int { return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.n, b.n)) })
}

func (m *queueModel) purge() {
	n, err := m.session.PurgeQueue(m.t.Context(), "q", false)
	if err != nil || n != len(m.waiting) {
		m.rt.Fatalf("purged %d of %d messages, %v", n, len(m.waiting), err)
	}
	m.waiting = nil
}

// restart leaves what is durable, and what was out waits again.
func (m *queueModel) restart() {
	m.shut()
	m.waiting = slices.DeleteFunc(append(m.waiting, m.out...), func(w modelled) bool { return !w.durable })
	m.held, m.out = nil, nil
	m.sort()
	m.open()
}

func (m *queueModel) compare() {
	var bytes int64
	for _, w := range m.waiting {
		bytes += int64(w.size)
	}
	if st := m.broker.Stats(); st.Ready != len(m.waiting) || st.ReadyBytes != bytes || st.Unsettled != len(m.held) {
		m.rt.Fatalf("%d messages of %d bytes wait and %d are out, want %d of %d and %d", st.Ready, st.ReadyBytes, st.Unsettled,
			len(m.waiting), bytes, len(m.held))
	}
}
