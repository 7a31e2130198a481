package persistence

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal"
)

const (
	reopenSessions = 100_000
	reopenFilters  = 3 // subscriptions of each session
	reopenMessages = 5 // that wait for it
)

// BenchmarkReopenSessions opens store and engine over what a crash left of sessions that are away: what a start with many of them costs
// without a process around it. A fifth of the messages is younger than the last checkpoint, and the collector is set as it is while
// a broker starts.
func BenchmarkReopenSessions(b *testing.B) {
	built := filepath.Join(b.TempDir(), "built")
	source := leaveSessions(b, built, reopenSessions)
	benchReopen(b, built, source, reopenSessions, func(st core.Stats) bool {
		return st.Subscribers == reopenSessions && st.Ready == reopenSessions*reopenMessages
	})
}

const (
	reopenRetained = 1_000_000
	retainedBody   = 200
)

// BenchmarkReopenRetained is the same for retained messages, a tenth of which is younger than the last checkpoint.
func BenchmarkReopenRetained(b *testing.B) {
	built := filepath.Join(b.TempDir(), "built")
	source := leaveRetained(b, built, reopenRetained)
	benchReopen(b, built, source, reopenRetained, func(st core.Stats) bool { return st.Retained == reopenRetained })
}

// benchReopen opens copies of what is in built, which holds n of what is measured.
func benchReopen(b *testing.B, built string, source *Source, n int, whole func(core.Stats) bool) {
	b.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	var cpu time.Duration
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		dir := filepath.Join(b.TempDir(), fmt.Sprint(i))
		if err := os.CopyFS(dir, os.DirFS(built)); err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := processCPU()
		b.StartTimer()
		s, engine := reopenStore(b, Options{Dir: dir, StoreID: [16]byte{9}, Epoch: 2, Source: source})
		b.StopTimer()
		cpu += processCPU() - began
		if st := engine.Stats(); !whole(st) {
			b.Fatalf("what came back is %+v", st)
		}
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(n), "allocated-B/each")
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "heap-B/each")
		engine.Close()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(cpu.Milliseconds())/float64(b.N), "cpu-ms/op")
}

// reopenStore opens a store and the engine on it.
func reopenStore(b *testing.B, opt Options) (*Store, *core.Broker) {
	b.Helper()
	s, err := Open(b.Context(), opt)
	if err != nil {
		b.Fatal(err)
	}
	engine, err := core.Open(b.Context(), s, core.Options{Epoch: uint32(opt.Epoch)})
	if err != nil {
		b.Fatal(err)
	}
	return s, engine
}

// leaveSessions makes a store with n sessions in dir, as a crash leaves it, and returns what its successor continues.
func leaveSessions(b *testing.B, dir string, n int) *Source {
	b.Helper()
	s, engine, leave := beginToLeave(b)
	checkpoint := func() {
		if err := s.checkpoint(); err != nil {
			b.Fatal(err)
		}
	}
	var g errgroup.Group
	g.SetLimit(256)
	for i := range n {
		g.Go(func() error { return leaveSession(b.Context(), engine, i) })
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	checkpoint()
	publisher, err := engine.Attach(core.DefaultVHost, core.SessionOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for round := range reopenMessages {
		if round == reopenMessages-1 {
			checkpoint()
		}
		for i := range n {
			if err := publisher.Admit(b.Context(), 0); err != nil {
				b.Fatal(err)
			}
			m := &core.Message{
				Exchange: core.TopicExchange, Key: sessionKey(i, round%reopenFilters), Persistent: true, Body: []byte("a message that waits"),
			}
			if routed, err := publisher.Publish(m, nil, 0); routed != 1 || err != nil {
				b.Fatalf("routed to %d, %v", routed, err)
			}
		}
	}
	return leave(dir)
}

// beginToLeave opens a store that leave copies to a directory, as a crash leaves it, with everything passed, and closes.
func beginToLeave(b *testing.B) (s *Store, engine *core.Broker, leave func(dir string) *Source) {
	b.Helper()
	live := filepath.Join(b.TempDir(), "live")
	var named uint64
	s, engine = reopenStore(b, Options{
		Dir: live, StoreID: [16]byte{9}, Epoch: 1, Files: noSync{journal.OSFiles()},
		NameSegment: func(n uint64) error { named = n; return nil },
	})
	return s, engine, func(dir string) *Source {
		if err := s.commitOwn(nil); err != nil { // everything before has passed
			b.Fatal(err)
		}
		if err := os.CopyFS(dir, os.DirFS(live)); err != nil {
			b.Fatal(err)
		}
		source := &Source{Epoch: 1, Lineage: s.Lineage(), Segment: named}
		engine.Close()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		return source
	}
}

// leaveRetained makes a store with n retained messages in dir, as a crash leaves it, and returns what its successor continues.
func leaveRetained(b *testing.B, dir string, n int) *Source {
	b.Helper()
	s, engine, leave := beginToLeave(b)
	publisher, err := engine.Attach(core.DefaultVHost, core.SessionOptions{})
	if err != nil {
		b.Fatal(err)
	}
	body := make([]byte, retainedBody)
	for i := range n {
		if i == n/10*9 {
			if err := s.checkpoint(); err != nil {
				b.Fatal(err)
			}
		}
		if err := publisher.Admit(b.Context(), 0); err != nil {
			b.Fatal(err)
		}
		m := &core.Message{Exchange: core.TopicExchange, Key: fmt.Sprintf("fleet.d%07d.state", i), Persistent: true, Retain: true, Body: body}
		if _, err := publisher.Publish(m, nil, 0); err != nil {
			b.Fatal(err)
		}
	}
	return leave(dir)
}

func sessionKey(i, filter int) string { return fmt.Sprintf("session.%d.%d", i, filter) }

// leaveSession makes one session with its subscriptions, and goes away.
func leaveSession(ctx context.Context, engine *core.Broker, i int) error {
	session, err := engine.Attach(core.DefaultVHost, core.SessionOptions{User: "guest"})
	if err != nil {
		return err
	}
	name := fmt.Sprintf("session-%d", i)
	l, _, err := session.Subscriber(ctx, core.SubscriberSpec{
		Name: name, Queue: "mqtt-subscription-" + name + "qos1", Expiry: core.Forever, Receiver: nobody{},
	})
	if err != nil {
		return err
	}
	var specs [reopenFilters]core.SubscriptionSpec
	for f := range specs {
		specs[f] = core.SubscriptionSpec{Key: sessionKey(i, f), Level: core.AtLeastOnce}
	}
	if _, err := l.Subscribe(ctx, specs[:]); err != nil {
		return err
	}
	l.Detach(true, nil)
	return nil
}

// nobody takes nothing.
type nobody struct{}

func (nobody) Ready() bool                                   { return false }
func (nobody) Push(*core.Message, *core.Match)               {}
func (nobody) Send(*core.Message, uint16, *core.Match, bool) {}
func (nobody) Release(uint16)                                {}
func (nobody) TakenOver()                                    {}
