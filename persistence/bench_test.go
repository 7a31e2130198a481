package persistence

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal"
)

// noSync is the operating system's files without waiting for the medium: what remains is the CPU that the store and the kernel take.
type noSync struct{ journal.Files }

type noSyncFile struct{ journal.File }

func (n noSync) Create(path string) (journal.File, error) {
	f, err := n.Files.Create(path)
	return noSyncFile{f}, err
}

func (noSyncFile) Sync() error { return nil }

// OpenAhead keeps zeros out of what is measured.
func (noSync) OpenAhead(string) (journal.File, error) { return nil, errors.ErrUnsupported }

// sink takes written bytes and keeps none: what remains is the store's own CPU.
type sink struct{ journal.Files }

type sinkFile struct{ journal.File }

func (n sink) Create(path string) (journal.File, error) {
	f, err := n.Files.Create(path)
	return sinkFile{f}, err
}

func (sink) OpenAhead(string) (journal.File, error) { return nil, errors.ErrUnsupported }

func (sinkFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (sinkFile) Sync() error                            { return nil }

func openBench(tb testing.TB, files journal.Files) *Store {
	tb.Helper()
	s, err := Open(tb.Context(), Options{
		Dir: tb.TempDir(), StoreID: [16]byte{9}, Epoch: 1, Files: files,
		CheckpointEvery: time.Hour, CheckpointBytes: 1 << 50,
		openIndex: func(*Options) (indexer, error) { return newMemIndex(nil, newMemIndexDisk()), nil },
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// countdown is a Completion that tells when n of them have come.
type countdown struct {
	mu   sync.Mutex
	left int
	err  error
	done chan struct{}
}

func (c *countdown) Complete(_ uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.err = err
	}
	if c.left--; c.left == 0 {
		c.done <- struct{}{}
	}
}

// load publishes messages of 1 KiB one commit each, in rounds of n. A round is gathered while the one before is being written, and
// settles what an earlier one held, so that the queue stays short.
type load struct {
	s     *Store
	group int
	msgs  []*core.Message
	done  [2]countdown // of this round and the one before, in turns
	turn  int
	seq   core.Seq
	op    [1]core.Op
	rng   [1]core.Range
}

const benchQueue core.QueueID = 1<<32 | 1

func newLoad(tb testing.TB, s *Store, group int) *load {
	tb.Helper()
	if err := s.commitDefine("q", benchQueue); err != nil {
		tb.Fatal(err)
	}
	l := &load{s: s, group: group, seq: 1}
	for i := range l.done {
		l.done[i].done = make(chan struct{}, 1)
	}
	l.done[1].done <- struct{}{} // there is no round before the first
	for i := range group {
		l.msgs = append(l.msgs, &core.Message{Exchange: "", Key: "bench", Props: make([]byte, 16), Body: make([]byte, 1024), Priority: uint8(i)})
	}
	return l
}

func (s *Store) commitDefine(key string, queue core.QueueID) error {
	done := make(waiter, 1)
	s.Commit([]core.Op{{Kind: core.OpDefine, Key: key, Queue: queue, Value: []byte("v"), Done: done}})
	return <-done
}

// round commits one group's worth of messages and waits for the one before.
func (l *load) round() error {
	done, before := &l.done[l.turn], &l.done[1-l.turn]
	l.turn = 1 - l.turn
	done.left = l.group
	if l.seq > core.Seq(3*l.group) {
		first := l.seq - core.Seq(3*l.group)
		l.rng[0] = core.Range{First: first, Last: first + core.Seq(l.group) - 1}
		l.op[0] = core.Op{Kind: core.OpSettle, Queue: benchQueue, Ranges: l.rng[:]}
		l.s.Commit(l.op[:])
	}
	for _, m := range l.msgs {
		l.op[0] = core.Op{Kind: core.OpPublish, Queue: benchQueue, Seq: l.seq, Msg: m, Done: done, Tag: uint64(l.seq)}
		l.s.Commit(l.op[:])
		l.seq++
	}
	<-before.done
	return before.err
}

// BenchmarkCommit is the store's cost of one durable 1 KiB message, from Commit to Complete. "store" is the store alone, "kernel" adds
// the write into the page cache, "disk" the wait for the medium.
func BenchmarkCommit(b *testing.B) {
	for _, files := range []struct {
		name  string
		files journal.Files
	}{{"store", sink{journal.OSFiles()}}, {"kernel", noSync{journal.OSFiles()}}, {"disk", journal.OSFiles()}} {
		for _, group := range []int{16, 128} {
			b.Run(fmt.Sprintf("%s/group=%d", files.name, group), func(b *testing.B) {
				l := newLoad(b, openBench(b, files.files), group)
				for range 20 {
					if err := l.round(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportAllocs()
				cpu := processCPU()
				rounds := 0
				groups := l.s.Stats().Groups
				for b.Loop() {
					if rounds%group == 0 {
						if err := l.round(); err != nil {
							b.Fatal(err)
						}
					}
					rounds++
				}
				b.SetBytes(1024)
				b.ReportMetric(float64(processCPU()-cpu)/float64(rounds), "cpu-ns/op")
				b.ReportMetric(float64(rounds)/float64(l.s.Stats().Groups-groups), "msgs/group")
			})
		}
	}
}

// TestCommitAllocates nothing per message once its arrays have grown.
func TestCommitAllocates(t *testing.T) {
	l := newLoad(t, openBench(t, sink{journal.OSFiles()}), 128)
	for range 50 {
		if err := l.round(); err != nil {
			t.Fatal(err)
		}
	}
	perRound := testing.AllocsPerRun(50, func() {
		if err := l.round(); err != nil {
			t.Error(err)
		}
	})
	// A chunk of the live map begins every eighth round.
	if perMessage := perRound / 128; perMessage > 0.02 {
		t.Errorf("%.3f allocations per message, want none in the steady state", perMessage)
	}
}

func BenchmarkLoad(b *testing.B) {
	s := openBench(b, noSync{journal.OSFiles()})
	l := newLoad(b, s, 128)
	for range 2 {
		if err := l.round(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n%128 == 0 {
			got, err := s.Load(benchQueue, 1, 128, 128, 1<<20)
			if err != nil || len(got) != 128 {
				b.Fatal(len(got), err)
			}
		}
		n++
	}
}
