package ha_test

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/ha/hatest"
)

// TestRelease_ASuccessorDoesNotWaitForTheRest: a primary that has released its epoch promises nothing more, a standby serves while that one
// still closes what nobody waits for, however long that takes, and its Run then ends in order.
func TestRelease_ASuccessorDoesNotWaitForTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		a, b := disk.Node(), newBroker(disk)
		released, rest, ended := make(chan *ha.Tenure), make(chan struct{}), make(chan error, 1)
		go func() {
			ended <- ha.Run(t.Context(), ha.Options{Dir: "data", Node: "a", Standby: true, TTL: ttl, Files: a}, nil,
				func(_ context.Context, tenure *ha.Tenure) error {
					if err := errors.Join(tenure.Activate(history(tenure)), tenure.Settle(), tenure.Release()); err != nil {
						return err
					}
					released <- tenure
					<-rest
					return nil
				})
		}()
		gone := <-released
		if err := gone.Guard(); !errors.Is(err, ha.ErrLost) {
			t.Errorf("a Guard after the release: %v, want ErrLost", err)
		}
		if err := gone.NameSegment(7); !errors.Is(err, ha.ErrLost) || gone.Fresh() {
			t.Errorf("after the release: naming a segment %v, fresh %t", err, gone.Fresh())
		}
		begun := time.Now()
		b.start(t, ha.Options{Node: "b", Standby: true}, nil)
		successor := b.serves(t)
		if took := time.Since(begun); took > ttl/2 {
			t.Errorf("the successor serves after %v", took)
		}
		time.Sleep(10 * ttl)
		select {
		case <-gone.Lost():
			t.Errorf("the rest was cut short: %v", gone.Err())
		default:
		}
		close(rest)
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
		if err := errors.Join(successor.Guard(), b.stop(t)); err != nil {
			t.Error(err)
		}
	})
}

// floorTaken has somebody else be the first to place the floor.
type floorTaken struct{ ha.Files }

func (f floorTaken) Place(temp, path string) error {
	err := f.Files.Place(temp, path)
	if err == nil && filepath.Base(path) == "floor" {
		err = fs.ErrExist
	}
	return err
}

// TestSettle_ASuccessorsFloorWillDo: of a primary that has released before it settled, the successor may have placed the first floor.
func TestSettle_ASuccessorsFloorWillDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := ha.Run(t.Context(), ha.Options{Dir: "data", Node: "a", TTL: ttl, Files: floorTaken{hatest.New().Node()}}, nil,
			func(_ context.Context, tenure *ha.Tenure) error {
				return errors.Join(tenure.Activate(history(tenure)), tenure.Settle())
			})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestConfigHash_IsThatOfTheMoment: a standby that reads another configuration tells of it, and as a primary, too, whatever its claim in
// store had been filled with; and so does a primary that takes another one.
func TestConfigHash_IsThatOfTheMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		a := newBroker(disk).start(t, ha.Options{Node: "a", Standby: true, ConfigHash: hash("c1")}, nil)
		a.serves(t)
		var now atomic.Pointer[string]
		read := func(h string) { now.Store(&h) }
		read("c1")
		b := newBroker(disk).start(t, ha.Options{Node: "b", Standby: true, ConfigHash: func() string { return *now.Load() }}, nil)
		time.Sleep(2 * ttl)
		read("c2")
		time.Sleep(2 * ttl)
		if st := statusOf(t, disk); st.ConfigHash != "c1" || st.Nodes[1].ConfigHash != "c2" {
			t.Errorf("the primary is configured as %s, the standby as %s", st.ConfigHash, st.Nodes[1].ConfigHash)
		}
		if err := a.stop(t); err != nil {
			t.Fatal(err)
		}
		b.serves(t)
		if st := statusOf(t, disk); st.ConfigHash != "c2" {
			t.Errorf("the successor is configured as %s", st.ConfigHash)
		}
		read("c3")
		time.Sleep(ttl)
		if st := statusOf(t, disk); st.ConfigHash != "c3" {
			t.Errorf("the primary that has taken another configuration tells of %s", st.ConfigHash)
		}
		if err := b.stop(t); err != nil {
			t.Fatal(err)
		}
	})
}
