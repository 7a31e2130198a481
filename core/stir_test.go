package core_test

import (
	"slices"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
)

// checkSums compares the sums that Stats keeps with those of all queues. A script calls it after each of its commands, which is what makes
// sure that nothing changes a queue's numbers behind the back of stirs.
func (s *script) checkSums(after string) {
	s.t.Helper()
	sum, consumers, subscriptions := s.broker.SumForTest()
	is := s.broker.Stats()
	if is.Consumers != consumers || is.Subscriptions != subscriptions {
		s.t.Errorf("after %s: %d consumers and %d subscriptions, want %d and %d", after, is.Consumers, is.Subscriptions, consumers, subscriptions)
	}
	if is.Ready != sum.Ready || is.ReadyBytes != sum.ReadyBytes || is.Unsettled != sum.Unsettled || is.Resting != sum.Resting {
		s.t.Errorf("after %s: %+v, want the lengths of %+v", after, is.QueueStats, sum)
	}
	if is.Published < sum.Published || is.Settled < sum.Settled || is.Delivered < sum.Delivered || is.Expired < sum.Expired || is.Overflowed < sum.Overflowed ||
		is.Discarded < sum.Discarded || is.Got+is.GotAuto+is.GotNothing < sum.Got+sum.GotAuto+sum.GotNothing {
		s.t.Errorf("after %s: %+v, want at least the counters of %+v", after, is.QueueStats, sum)
	}
	s.commands++
	if s.commands%3 == 0 {
		s.broker.Look(time.UnixMilli(int64(s.commands)), core.Look{})
	}
}

// look returns which queues have moved, and by how many publications, and how many connections.
func look(b *core.Broker, at int64) (queues map[string]uint64, sessions []core.Traffic) {
	queues = map[string]uint64{}
	b.Look(time.UnixMilli(at), core.Look{
		Queue:   func(q *core.Queue, was, is core.QueueStats) { queues[q.Name()] += is.Published - was.Published },
		Session: func(_ *core.Session, was, is core.Traffic) { sessions = append(sessions, was, is) },
	})
	return queues, sessions
}

func TestLookTellsWhatHasMoved(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	declare(t, s, false)
	if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: "still"}); err != nil {
		t.Fatal(err)
	}
	if q, _ := look(b, 1000); len(q) != 0 {
		t.Errorf("queues that were made have moved: %v", q)
	}
	want := func(what string, at int64, n uint64) {
		t.Helper()
		if q, _ := look(b, at); len(q) > 1 || q["q"] != n || n > 0 && len(q) == 0 {
			t.Errorf("%s: %v, want %d", what, q, n)
		}
	}
	publish(t, s, &core.Message{Key: "q"})
	publish(t, s, &core.Message{Key: "q"})
	want("published twice", 2000, 2)
	want("not since", 3000, 0)
	publish(t, s, &core.Message{Key: "q"})
	if st := b.Stats(); st.Published != 3 || st.Ready != 3 {
		t.Errorf("between two looks: %+v", st.QueueStats)
	}
	want("and once more", 4000, 1)
	if at := b.Queue("/", "q").Stirred(); !at.Equal(time.UnixMilli(3000)) {
		t.Errorf("the queue has moved in the turn that began at %v", at)
	}
	if at := b.Queue("/", "still").Stirred(); !at.Equal(time.UnixMilli(1000)) {
		t.Errorf("the other one was made before %v", at)
	}
	if _, err := s.DeleteQueue(t.Context(), "q", false, false, false); err != nil {
		t.Fatal(err)
	}
	if st := b.Stats(); st.Published != 3 || st.Ready != 0 || st.Discarded != 0 {
		t.Errorf("of a queue that is gone, counters stay and lengths do not: %+v", st.QueueStats)
	}
	look(b, 5000)
	if st := b.Stats(); st.Published != 3 || st.Ready != 0 {
		t.Errorf("and so it is when that was told: %+v", st.QueueStats)
	}
}

func TestLookTellsWhichConnectionsHaveMoved(t *testing.T) {
	b := engine(t, core.Options{})
	var carried core.Traffic
	s, err := b.Attach("/", core.SessionOptions{User: "guest", Traffic: func() core.Traffic { return carried }, End: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := func(at int64, want ...core.Traffic) {
		t.Helper()
		if _, got := look(b, at); !slices.Equal(got, want) {
			t.Errorf("at %d: %v, want %v", at, got, want)
		}
	}
	carried = core.Traffic{BytesIn: 1}
	want(1000, core.Traffic{}, core.Traffic{BytesIn: 1}) // it is new
	want(2000)
	carried.BytesOut = 2
	s.Moved()
	s.Moved()
	want(3000, core.Traffic{BytesIn: 1}, core.Traffic{BytesIn: 1, BytesOut: 2})
	want(4000)
}
