package persistence

import (
	"errors"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/index"
)

// slowIndex is an index whose checkpoints take as long as a test wants.
type slowIndex struct {
	indexer
	begun chan struct{} // gets a token when a checkpoint is to be written,
	goOn  chan struct{} // which waits for one here,
	dead  chan struct{} // or until this is closed
}

func (x *slowIndex) Apply(cp *index.Checkpoint) error {
	x.begun <- struct{}{}
	select {
	case <-x.goOn:
		return x.indexer.Apply(cp)
	case <-x.dead:
		return errors.New("killed")
	}
}

// TestPublishersWaitForSlowCheckpoints: what a start would have to read again is bounded, also where the index is slower than the
// publishers; and whoever waited goes on when it has caught up.
func TestPublishersWaitForSlowCheckpoints(t *testing.T) {
	v := newLives(t)
	slow := &slowIndex{begun: make(chan struct{}, 100), goOn: make(chan struct{}, 100), dead: make(chan struct{})}
	v.edit = func(o *Options) {
		o.CheckpointBytes, o.TailBytes = 8<<10, 32<<10
		open := o.openIndex
		o.openIndex = func(o *Options) (indexer, error) {
			x, err := open(o)
			slow.indexer = x
			return slow, err
		}
	}
	s := v.open()
	commit(t, s, define("q", q1))
	body, seq := strings.Repeat("x", 1000), core.Seq(0)
	grow := func(messages int) {
		t.Helper()
		for range messages {
			seq++
			commit(t, s, publish(seq, body))
		}
	}
	behind := func(want bool, when string) {
		t.Helper()
		if s.Space().Behind != want {
			t.Errorf("publishers wait: %v, want %v: %s, a start would read %d bytes", !want, want, when, s.tail())
		}
	}
	grow(10)
	<-slow.begun // and it takes its time
	grow(15)
	behind(false, "below the bound")
	grow(10)
	behind(true, "above the bound")
	slow.goOn <- struct{}{}
	<-slow.begun // the first is done, and the next one holds what came meanwhile
	behind(true, "when it has only begun to catch up")
	slow.goOn <- struct{}{}
	for s.tail() > 16<<10 { // until the one that was let go is done
		commit(t, s, core.Op{Kind: core.OpNone})
	}
	behind(false, "when it has caught up")
	grow(40)
	close(slow.dead)
	v.kill(s)

	slow.dead = make(chan struct{})
	s = v.open()
	behind(true, "after a start that had to read more than it may")
	<-slow.begun // at once
	close(slow.goOn)
	for s.tail() > 16<<10 {
		commit(t, s, core.Op{Kind: core.OpNone})
	}
	behind(false, "when that is saved")
	v.close(s)
}
