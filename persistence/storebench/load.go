package storebench

import (
	"fmt"
	"sync"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence"
)

const (
	queue core.QueueID = 1<<32 | 1
	// bodyBytes is the body of a message.
	bodyBytes = 1024
	propBytes = 16
	// settleBatch is how many messages one settle ends, as consumers that acknowledge several at a time do.
	settleBatch = 50
)

// round is a Completion that tells when all of a round have passed.
type round struct {
	mu   sync.Mutex
	left int
	err  error
	done chan struct{}
}

// Complete implements core.Completion.
func (r *round) Complete(_ uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.err = err
	}
	if r.left--; r.left == 0 {
		r.done <- struct{}{}
	}
}

// load publishes messages, one commit each, in rounds. Where writes are told, a round is committed while the one before is being written,
// so that it becomes a group; otherwise when the one before the last has passed.
type load struct {
	s      *persistence.Store
	writes <-chan struct{} // a group has begun to be written; nil: not told
	msgs   []*core.Message
	rounds [2]round // this one and the one before, in turns
	turn   int
	at     core.Seq // the next place
	ended  core.Seq // all below are settled
	elide  bool     // settle at once instead of after the promise
	op     [1]core.Op
	ranges [1]core.Range
}

func newLoad(s *persistence.Store, size int, writes <-chan struct{}) (*load, error) {
	l := &load{s: s, writes: writes, at: 1, ended: 1, elide: writes == nil}
	for range size {
		l.msgs = append(l.msgs, &core.Message{
			Key: "bench", Persistent: true, Props: make([]byte, propBytes), Body: make([]byte, bodyBytes),
		})
	}
	for i := range l.rounds {
		l.rounds[i].done = make(chan struct{}, 1)
	}
	defined := &round{left: 1, done: make(chan struct{}, 1)}
	s.Commit([]core.Op{{Kind: core.OpDefine, Key: "bench", Queue: queue, Value: []byte("bench"), Done: defined}})
	<-defined.done
	l.rounds[1].done <- struct{}{} // there is none before the first
	return l, defined.err
}

// run commits rounds for a turn, waits for the last one, and returns how many messages they had.
func (l *load) run() (messages int, err error) {
	for start := time.Now(); time.Since(start) < turn; {
		if err := l.round(); err != nil {
			return messages, err
		}
		messages += len(l.msgs)
	}
	before := &l.rounds[1-l.turn]
	<-before.done
	before.done <- struct{}{}
	return messages, before.err
}

// round commits one round and waits for the one before.
func (l *load) round() error {
	this, before := &l.rounds[l.turn], &l.rounds[1-l.turn]
	l.turn = 1 - l.turn
	this.left = len(l.msgs)
	if keep := core.Seq(3 * len(l.msgs)); !l.elide && l.at-l.ended >= keep {
		l.settle(l.ended + core.Seq(len(l.msgs))) // the oldest of three rounds, which has passed
	}
	for _, m := range l.msgs {
		l.op[0] = core.Op{Kind: core.OpPublish, Queue: queue, Seq: l.at, Msg: m, Done: this, Tag: uint64(l.at)}
		l.s.Commit(l.op[:])
		l.at++
		if l.elide && l.at-l.ended >= settleBatch {
			l.settle(l.at)
		}
	}
	if l.writes != nil {
		select {
		case <-l.writes:
		case <-l.s.Failed():
		}
	}
	<-before.done
	if before.err != nil {
		return fmt.Errorf("commit: %w", before.err)
	}
	return nil
}

// settle ends all places below to.
func (l *load) settle(to core.Seq) {
	l.ranges[0] = core.Range{First: l.ended, Last: to - 1}
	l.op[0] = core.Op{Kind: core.OpSettle, Queue: queue, Ranges: l.ranges[:]}
	l.s.Commit(l.op[:])
	l.ended = to
}
