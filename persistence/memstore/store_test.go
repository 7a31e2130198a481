package memstore_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

// The one queue of these tests.
const (
	key = "queue/q"
	id  = core.QueueID(1)<<32 | 1
)

// results records Completions.
type results struct {
	tags []uint64
	errs []error
}

func (r *results) Complete(tag uint64, err error) {
	r.tags = append(r.tags, tag)
	r.errs = append(r.errs, err)
}

func define() core.Op { return core.Op{Kind: core.OpDefine, Key: key, Queue: id} }

func publish(seq core.Seq, done core.Completion) core.Op {
	m := &core.Message{Body: []byte("body"), Persistent: true}
	return core.Op{Kind: core.OpPublish, Queue: id, Seq: seq, Msg: m, Done: done, Tag: uint64(seq)}
}

func load(t *testing.T, s *memstore.Store) []core.Entry {
	t.Helper()
	entries, err := s.Load(id, 1, 1<<62, 1<<20, 1<<30)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return entries
}

func TestManualPassesOnlyOnFlush(t *testing.T) {
	s := memstore.Open(memstore.Options{Manual: true})
	defer s.Close()
	var r results
	op := publish(1, &r)
	s.Commit([]core.Op{define(), op})
	s.Commit([]core.Op{publish(2, &r)})
	if len(r.tags) != 0 || len(load(t, s)) != 0 || s.Waiting() != 2 || op.Msg.Stored() {
		t.Fatalf("passed before Flush: tags %v, %d waiting", r.tags, s.Waiting())
	}
	if !s.FlushOne() || len(r.tags) != 1 || len(load(t, s)) != 1 || !op.Msg.Stored() {
		t.Fatalf("FlushOne passed tags %v", r.tags)
	}
	if n := s.Flush(); n != 1 || len(r.tags) != 2 || s.Pending() != 0 {
		t.Fatalf("Flush passed %d, tags %v, %d bytes pending", n, r.tags, s.Pending())
	}
	if s.FlushOne() {
		t.Fatal("FlushOne found a commit where none waits")
	}
}

func TestCrashKeepsOnlyWhatPassed(t *testing.T) {
	s := memstore.Open(memstore.Options{Manual: true})
	var r results
	s.Commit([]core.Op{define(), publish(1, &r)})
	s.Flush()
	s.Commit([]core.Op{publish(2, &r)})
	s.Crash()
	s.Flush()
	s.Commit([]core.Op{publish(3, &r)})
	if len(r.tags) != 1 {
		t.Fatalf("completions after the crash: %v", r.tags)
	}
	next := memstore.Open(memstore.Options{Disk: s.Disk(), Manual: true})
	defer next.Close()
	entries := load(t, next)
	if len(entries) != 1 || entries[0].Seq != 1 || entries[0].Delivered != 1 {
		t.Fatalf("after the crash: %+v, want place 1, delivered once", entries)
	}
}

func TestFailReachesEveryCommitThatWaits(t *testing.T) {
	boom := errors.New("boom")
	s := memstore.Open(memstore.Options{Manual: true})
	var r results
	s.Commit([]core.Op{define(), publish(1, &r)})
	s.Flush()
	s.Commit([]core.Op{publish(2, &r), publish(3, &r)})
	s.Fail(boom)
	s.Fail(errors.New("too late"))
	s.Commit([]core.Op{publish(4, &r)})
	s.Flush()
	for i, want := range []error{nil, boom, boom, boom} {
		if !errors.Is(r.errs[i], want) {
			t.Errorf("completion %d: %v, want %v", r.tags[i], r.errs[i], want)
		}
	}
	<-s.Failed()
	if err := s.Close(); !errors.Is(err, boom) || !errors.Is(s.Err(), boom) {
		t.Errorf("Close: %v, Err: %v, want both boom", err, s.Err())
	}
	next := memstore.Open(memstore.Options{Disk: s.Disk()})
	defer next.Close()
	if entries := load(t, next); len(entries) != 1 || entries[0].Delivered != 1 {
		t.Errorf("after the failure: %+v, want place 1, delivered once", entries)
	}
}

func TestSecondStoreFencesTheFirst(t *testing.T) {
	first := memstore.Open(memstore.Options{Manual: true})
	second := memstore.Open(memstore.Options{Disk: first.Disk(), Manual: true})
	defer second.Close()
	var r results
	first.Commit([]core.Op{publish(1, &r)})
	first.Flush()
	if len(r.errs) != 1 || !errors.Is(r.errs[0], memstore.ErrFenced) || !errors.Is(first.Err(), memstore.ErrFenced) {
		t.Fatalf("the first store's commit: %v, Err %v", r.errs, first.Err())
	}
}

func TestCommitAfterCloseIsAnswered(t *testing.T) {
	s := memstore.Open(memstore.Options{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var r results
	s.Commit([]core.Op{publish(1, &r)})
	if len(r.errs) != 1 || !errors.Is(r.errs[0], memstore.ErrClosed) {
		t.Fatalf("completions %v, want ErrClosed", r.errs)
	}
}

func TestCommitterPassesByItselfInsideABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.Open(memstore.Options{})
		var r results
		s.Commit([]core.Op{define(), publish(1, &r)})
		s.Commit([]core.Op{publish(2, &r)})
		synctest.Wait()
		if len(r.tags) != 2 || len(load(t, s)) != 2 {
			t.Errorf("passed %v", r.tags)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestClockGoesOnWhereTheLastStoreStopped(t *testing.T) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	host := noon
	clock := func() time.Time { return host }
	s := memstore.Open(memstore.Options{Now: clock})
	if got := s.Now(); !got.Equal(noon) {
		t.Fatalf("Now = %v", got)
	}
	s.Crash()
	host = noon.Add(-time.Hour) // the next host is behind
	s = memstore.Open(memstore.Options{Disk: s.Disk(), Now: clock})
	defer s.Close()
	if got := s.Now(); got.Before(noon) {
		t.Fatalf("Now stepped back to %v", got)
	}
	host = host.Add(time.Minute)
	if got := s.Now(); !got.Equal(noon.Add(time.Minute)) {
		t.Fatalf("Now = %v, want a minute later", got)
	}
	host = host.Add(-time.Second) // the host's clock is set back while the store is open
	if got := s.Now(); !got.Equal(noon.Add(time.Minute)) {
		t.Fatalf("Now stepped back to %v", got)
	}
}

func TestRecoverStopsWithItsContext(t *testing.T) {
	s := memstore.Open(memstore.Options{Manual: true})
	defer s.Close()
	s.Commit([]core.Op{define()})
	s.Flush()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	yielded := 0
	for d, err := range s.Recover(ctx) {
		if yielded++; !errors.Is(err, context.Canceled) {
			t.Fatalf("Recover yielded %+v, %v", d, err)
		}
	}
	if yielded != 1 {
		t.Fatalf("Recover yielded %d times, want its context's error once", yielded)
	}
}
