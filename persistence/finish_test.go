package persistence

import (
	"errors"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/index"
)

// heldIndex is one whose checkpoints wait.
type heldIndex struct {
	*memIndex
	begun chan struct{} // one is about to be applied
	let   chan struct{} // closed: they may be
}

func (x *heldIndex) Apply(cp *index.Checkpoint) error {
	select {
	case x.begun <- struct{}{}:
	default:
	}
	<-x.let
	return x.memIndex.Apply(cp)
}

// TestFinish_ASuccessorDoesNotWaitForTheIndex: once Finish has returned the journal is complete, whatever the index is doing: a successor
// on another node's index has everything, knows that the end was orderly, and nothing more passes here. Close then leaves this node's
// index as close behind as ever.
func TestFinish_ASuccessorDoesNotWaitForTheIndex(t *testing.T) {
	v := newLives(t)
	slow := &heldIndex{memIndex: newMemIndex(v.fs, v.index), begun: make(chan struct{}, 1), let: make(chan struct{})}
	v.edit = func(opt *Options) { opt.openIndex = func(*Options) (indexer, error) { return slow, nil } }
	s := v.open()
	commit(t, s, define("q", q1), publish(1, "a"))
	s.kick <- struct{}{}
	<-slow.begun
	commit(t, s, publish(2, "b"), settle(1, 1), publish(3, "c"))

	if err := errors.Join(s.Finish(), s.Finish()); err != nil {
		t.Fatal(err)
	}
	if err := tryCommit(s, publish(4, "late")); !errors.Is(err, ErrClosed) {
		t.Errorf("a commit after the end: %v, want ErrClosed", err)
	}
	if err := s.commitOwn(&ownRecords{settled: []core.Pair{{Queue: q1, Seq: 3}}}); !errors.Is(err, ErrClosed) {
		t.Errorf("a record of the store's own after the end: %v, want ErrClosed", err)
	}
	v.ended(s)
	ours := v.index
	v.index, v.edit = newMemIndexDisk(), nil // another node's
	successor := v.open()
	expect(t, tell(t, successor, q1), "2:b*0 3:c*0")
	commit(t, successor, settle(2, 2))

	close(slow.let)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if root := ours.root; root == nil || uint64(root.Position.Epoch) != 1 || root.Position.Offset > successor.Lineage()[0].Offset {
		t.Errorf("this node's index is at %+v, the seal is %+v", root, successor.Lineage())
	}
	v.close(successor)

	v.index = ours
	log := len(v.log.String())
	s = v.open()
	expect(t, tell(t, s, q1), "3:c*0")
	v.close(s)
	if later := v.log.String()[log:]; strings.Contains(later, "rebuilding") {
		t.Errorf("this node's index did not count:\n%s", later)
	}
}

// TestFinish_DuringACheckpoint: the journal may end between any two steps of a checkpoint. What that had taken is not lost to the index.
func TestFinish_DuringACheckpoint(t *testing.T) {
	v := newLives(t)
	s := v.open()
	commit(t, s, define("q", q1), publish(1, "a"))
	cp, err := s.snapshot() // as checkpoint does, whose record then comes too late
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, publish(2, "b"))
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	if err := s.commitOwn(&ownRecords{}); !errors.Is(err, ErrClosed) {
		t.Fatalf("the record of a checkpoint after the end: %v, want ErrClosed", err)
	}
	s.waiting = cp
	if _, err := s.snapshot(); !errors.Is(err, ErrClosed) {
		t.Errorf("a snapshot after the end: %v, want ErrClosed", err)
	}
	v.close(s)
	s = v.open()
	expect(t, tell(t, s, q1), "1:a*0 2:b*0")
	v.close(s)
	if log := v.log.String(); strings.Contains(log, "rebuilding") {
		t.Errorf("rebuilt:\n%s", log)
	}
}
