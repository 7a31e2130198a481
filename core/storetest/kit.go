package storetest

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
)

// patience is how long the suite waits for something that a correct store does in milliseconds. It never passes in a test that passes.
const patience = time.Minute

// everything is a bound that bounds nothing.
const everything = math.MaxInt32

// kit is one test's store and the means to use it.
type kit struct {
	*testing.T
	h  Harness
	s  core.Store
	id core.QueueID // the last id given out

	recovered []core.Definition // what the store recovered when it was opened
}

// open opens the store and recovers, as a broker does before all else.
func (k *kit) open() {
	k.Helper()
	k.s = k.h.Open(k.T)
	k.recovered = nil
	for d, err := range k.s.Recover(k.Context()) {
		if err != nil {
			k.Fatalf("Recover: %v", err)
		}
		k.recovered = append(k.recovered, d)
	}
}

// end ends the last store of a test.
func (k *kit) end() {
	if k.s != nil {
		k.h.Crash(k.T, k.s)
		k.s = nil
	}
}

func (k *kit) crash() {
	k.h.Crash(k.T, k.s)
	k.open()
}

func (k *kit) reopen() {
	k.Helper()
	if err := k.s.Close(); err != nil {
		k.Fatalf("Close: %v", err)
	}
	k.open()
}

// always runs check on the store as it is, and as bothEnds does.
func (k *kit) always(check func(how string)) {
	k.Helper()
	check("before the end")
	k.bothEnds(check)
}

// bothEnds runs check after a clean end of the store, and after unclean ones.
func (k *kit) bothEnds(check func(how string)) {
	k.Helper()
	k.reopen()
	check("after a clean end")
	k.crash()
	check("after an unclean end")
	k.crash()
	check("after another unclean end")
}

// newID returns an id that the test has not used.
func (k *kit) newID() core.QueueID {
	k.id++
	return core.QueueID(1)<<32 | k.id
}

// queue defines a queue under key and returns its id.
func (k *kit) queue(key string) core.QueueID {
	k.Helper()
	id := k.newID()
	k.pass(define(key, key, id))
	return id
}

func define(key, value string, id core.QueueID) core.Op {
	return core.Op{Kind: core.OpDefine, Key: key, Value: []byte(value), Queue: id}
}

func remove(key string, id core.QueueID) core.Op {
	return core.Op{Kind: core.OpRemove, Key: key, Queue: id}
}

func publish(id core.QueueID, seq core.Seq, body string, more ...core.Pair) core.Op {
	m := &core.Message{Exchange: "ex", Key: "key", Props: []byte("props"), Body: []byte(body), Persistent: true}
	return core.Op{Kind: core.OpPublish, Queue: id, Seq: seq, Msg: m, More: more}
}

func settle(id core.QueueID, ranges ...core.Range) core.Op {
	return core.Op{Kind: core.OpSettle, Queue: id, Ranges: ranges}
}

func mark(id core.QueueID, ranges ...core.Range) core.Op {
	return core.Op{Kind: core.OpMark, Queue: id, Ranges: ranges}
}

// one is the range of a single place.
func one(seq core.Seq) core.Range { return core.Range{First: seq, Last: seq} }

// promise is a Completion that can be waited for.
type promise chan error

// Complete implements core.Completion.
func (p promise) Complete(_ uint64, err error) { p <- err }

// commit commits ops as one unit, with a promise behind them.
func (k *kit) commit(ops ...core.Op) promise {
	p := make(promise, 1)
	k.s.Commit(append(ops, core.Op{Kind: core.OpNone, Done: p}))
	return p
}

// pass commits ops as one unit and waits until it has passed.
func (k *kit) pass(ops ...core.Op) {
	k.Helper()
	k.await(k.commit(ops...))
}

// await waits for p and expects no error.
func (k *kit) await(p promise) {
	k.Helper()
	if err := k.outcome(p); err != nil {
		k.Fatalf("a commit did not pass: %v", err)
	}
}

// outcome waits for p.
func (k *kit) outcome(p promise) error {
	k.Helper()
	select {
	case err := <-p:
		return err
	case <-time.After(patience):
		k.Fatalf("a commit was not answered")
		return nil
	}
}

// recoverOne returns the definition of key, as it was when the store was opened.
func (k *kit) recoverOne(key string) core.Definition {
	k.Helper()
	for _, d := range k.recovered {
		if d.Key == key {
			return d
		}
	}
	k.Fatalf("%q was not recovered", key)
	return core.Definition{}
}

// load returns every live entry of a queue.
func (k *kit) load(id core.QueueID) []core.Entry {
	k.Helper()
	return k.loadRange(id, 1, math.MaxInt64)
}

// loadRange returns every live entry with a place in from ≤ seq ≤ to.
func (k *kit) loadRange(id core.QueueID, from, to core.Seq) []core.Entry {
	k.Helper()
	entries, err := k.s.Load(id, from, to, everything, everything)
	if err != nil {
		k.Fatalf("Load: %v", err)
	}
	return entries
}

// bodies expects a queue to hold these places and bodies, as "seq:body", in this order.
func (k *kit) bodies(how string, id core.QueueID, want ...string) {
	k.Helper()
	var got []string
	for _, e := range k.load(id) {
		got = append(got, fmt.Sprintf("%d:%s", e.Seq, e.Msg.Body))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		k.Fatalf("%s, queue %x holds %v, want %v", how, id, got, want)
	}
}

// sameMessage says what is different between two messages; "" when nothing is. Nil and empty slices are the same.
func sameMessage(got, want *core.Message) string {
	switch {
	case got.Exchange != want.Exchange || got.Key != want.Key:
		return fmt.Sprintf("names %q, %q, want %q, %q", got.Exchange, got.Key, want.Exchange, want.Key)
	case !slices.Equal(got.Keys, want.Keys):
		return fmt.Sprintf("further keys %q, want %q", got.Keys, want.Keys)
	case !bytes.Equal(got.Props, want.Props):
		return fmt.Sprintf("%d bytes of properties, want other %d", len(got.Props), len(want.Props))
	case !bytes.Equal(got.Body, want.Body):
		return fmt.Sprintf("%d bytes of body, want other %d", len(got.Body), len(want.Body))
	case got.Once != want.Once || got.Retain != want.Retain || got.Replayed != want.Replayed:
		return fmt.Sprintf("once %v, retain %v, replayed %v, want %v, %v, %v",
			got.Once, got.Retain, got.Replayed, want.Once, want.Retain, want.Replayed)
	case got.Arrived != want.Arrived || got.Delay != want.Delay:
		return fmt.Sprintf("arrived at %d and is delayed by %d, want %d and %d", got.Arrived, got.Delay, want.Arrived, want.Delay)
	case got.Expires != want.Expires:
		return fmt.Sprintf("expires at %d, want %d", got.Expires, want.Expires)
	case got.Persistent != want.Persistent || got.Priority != want.Priority:
		return fmt.Sprintf("persistent %v, priority %d, want %v, %d", got.Persistent, got.Priority, want.Persistent, want.Priority)
	}
	return ""
}

// log is a Completion that notes what it was given, and the order.
type log struct {
	mu   sync.Mutex
	tags []uint64
	errs []error
}

// Complete implements core.Completion.
func (l *log) Complete(tag uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tags = append(l.tags, tag)
	l.errs = append(l.errs, err)
}

// seen returns a copy of the tags so far.
func (l *log) seen() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]uint64(nil), l.tags...)
}
