package persistence

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal/crashfs"
)

// lives is a store through several processes, on a file system in memory.
type lives struct {
	t      *testing.T
	fs     *crashfs.FS
	index  *memIndexDisk
	log    *syncBuffer
	epoch  uint64
	source *Source
	edit   func(*Options)
	named  uint64
	told   uint64
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newLives(t *testing.T) *lives {
	t.Helper()
	return &lives{t: t, fs: crashfs.New(), index: newMemIndexDisk(), log: &syncBuffer{}}
}

// try opens the next life.
func (v *lives) try() (*Store, error) {
	v.epoch++
	v.named, v.told = 0, 0
	opt := Options{
		Dir: "/store", StoreID: [16]byte{5}, Epoch: v.epoch, Source: v.source, Files: v.fs,
		Logger:      slog.New(slog.NewTextHandler(v.log, nil)),
		NameSegment: func(n uint64) error { v.named = n; return nil },
		Promised:    func(offset uint64, _ time.Time) { v.told = offset },
		SegmentSize: 4096, CheckpointEvery: time.Hour, CheckpointBytes: 1 << 40,
		openIndex: func(*Options) (indexer, error) { return newMemIndex(v.fs, v.index), nil },
	}
	if v.edit != nil {
		v.edit(&opt)
	}
	return Open(v.t.Context(), opt)
}

// open opens the next life and activates it.
func (v *lives) open() *Store {
	v.t.Helper()
	s := v.claim()
	s.Activated()
	return s
}

// claim is open for who recovers before the store is activated, as a broker does.
func (v *lives) claim() *Store {
	v.t.Helper()
	s, err := v.try()
	if err != nil {
		v.t.Fatal(err)
	}
	v.source = &Source{Epoch: v.epoch, Lineage: s.Lineage(), Segment: v.named}
	return s
}

// ended notes what a lease would say of the life that is over.
func (v *lives) ended(s *Store) {
	v.source.Segment, v.source.Promised, v.source.Time = v.named, v.told, s.Now()
}

func (v *lives) close(s *Store) {
	v.t.Helper()
	if err := s.Close(); err != nil {
		v.t.Fatal(err)
	}
	v.ended(s)
}

// kill ends a life without a word. What was synced stays.
func (v *lives) kill(s *Store) {
	v.t.Helper()
	v.ended(s)
	after := v.fs.Clone()
	v.fs.Stop()
	if err := s.Close(); err == nil {
		v.t.Error("closed on a file system that has stopped")
	}
	v.fs = after
}

func commit(t *testing.T, s *Store, ops ...core.Op) {
	t.Helper()
	if err := tryCommit(s, ops...); err != nil {
		t.Fatal(err)
	}
}

func tryCommit(s *Store, ops ...core.Op) error {
	done := make(waiter, 1)
	ops[len(ops)-1].Done = done
	s.Commit(ops)
	return <-done
}

const q1 core.QueueID = 1<<32 | 1

func define(key string, q core.QueueID) core.Op {
	return core.Op{Kind: core.OpDefine, Key: key, Queue: q, Value: []byte("value of " + key)}
}

func publish(seq core.Seq, body string) core.Op {
	return core.Op{Kind: core.OpPublish, Queue: q1, Seq: seq, Msg: &core.Message{Key: "k", Body: []byte(body), Persistent: true}}
}

func settle(first, last core.Seq) core.Op {
	return core.Op{Kind: core.OpSettle, Queue: q1, Ranges: []core.Range{{First: first, Last: last}}}
}

// tell is what a store holds in a queue, in short.
func tell(t *testing.T, s *Store, q core.QueueID) string {
	t.Helper()
	entries, err := s.Load(q, 0, ^core.Seq(0), 1000, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		body := e.Msg.Body
		fmt.Fprintf(&b, "%d:%s*%d ", e.Seq, body[:min(8, len(body))], e.Delivered)
	}
	return strings.TrimSpace(b.String())
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
