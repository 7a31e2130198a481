package ha_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/ha/hatest"
)

// TestGuard_FailsOnceASuccessorMarkedTheFence freezes the renewals of a primary
// where locks tell nothing, so that a standby takes over from a process that is
// alive and believes that all is well.
func TestGuard_FailsOnceASuccessorMarkedTheFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		disk.NoLocks = true
		a := newBroker(disk)
		frozen, thaw := atomic.Bool{}, make(chan struct{})
		a.files.Before = func(op string) error {
			if frozen.Load() && op == "write data/ha/e0000000001/lease" {
				<-thaw
			}
			return nil
		}
		a.start(t, ha.Options{Node: "a"}, nil)
		zombie := a.serves(t)
		frozen.Store(true)

		b := newBroker(disk)
		var marked atomic.Bool
		b.files.Before = func(op string) error {
			if op == "write data/ha/e0000000001/fence" {
				if err := zombie.Guard(); err != nil {
					t.Errorf("before its fence is marked: %v", err)
				}
				marked.Store(true)
			}
			return nil
		}
		b.start(t, ha.Options{Node: "b", Standby: true}, nil)
		successor := b.serves(t)
		if !marked.Load() {
			t.Fatal("the successor serves without having marked the fence")
		}
		err := zombie.Guard()
		if !errors.Is(err, ha.ErrLost) || !strings.Contains(err.Error(), "superseded by epoch 2") {
			t.Fatalf("the zombie's Guard: %v, want ErrLost naming epoch 2", err)
		}
		if again := zombie.Guard(); again != err { //nolint:errorlint // the very same error, not one like it
			t.Errorf("a second Guard: %v, want the same %v", again, err)
		}
		close(thaw)
		if err := <-a.done; !errors.Is(err, ha.ErrLost) {
			t.Errorf("the zombie's Run returned %v", err)
		}
		if cause, _ := a.ctxErr.Load().(error); !errors.Is(cause, ha.ErrLost) {
			t.Errorf("active's context ended with %v", cause)
		}
		if err := successor.Guard(); err != nil {
			t.Errorf("the successor's Guard: %v", err)
		}
		if err := b.stop(t); err != nil {
			t.Fatal(err)
		}
	})
}

// TestTenure_IsLost covers the signs, other than a mark, that it may be another's
// turn.
func TestTenure_IsLost(t *testing.T) {
	const claim = "data/ha/e0000000001/"
	fail := errors.New("i/o error")
	for _, tc := range []struct {
		name    string
		standby bool
		failOp  string
		harm    func(d *hatest.Disk) error
		want    string // "" : the tenure is kept
	}{
		{name: "a lease write fails", failOp: "write " + claim + "lease", want: "i/o error"},
		{name: "a fence read fails", failOp: "read " + claim + "fence", want: "i/o error"},
		{name: "the claim is removed", harm: func(d *hatest.Disk) error { return d.Remove("data/ha/e0000000001") }, want: "e0000000001/fence"},
		{name: "the fence is another file", harm: func(d *hatest.Disk) error {
			return errors.Join(d.Remove(claim+"fence"), d.Put(claim+"fence", make([]byte, 4096)))
		}, want: "replaced by another file"},
		{name: "one byte of the fence is set", harm: func(d *hatest.Disk) error {
			return d.Edit(claim+"fence", func(b []byte) { b[4095] = 1 })
		}, want: "the fence is marked"},
		{name: "nothing happens", standby: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := hatest.New()
				b := newBroker(disk)
				var failing atomic.Bool
				b.files.Before = func(op string) error {
					if failing.Load() && op == tc.failOp {
						return fail
					}
					return nil
				}
				b.start(t, ha.Options{Node: "a", Standby: tc.standby}, nil)
				tenure := b.serves(t)
				failing.Store(true)
				if tc.harm != nil {
					if err := tc.harm(disk); err != nil {
						t.Fatal(err)
					}
				}
				if tc.want == "" {
					time.Sleep(time.Minute)
					if err := errors.Join(tenure.Err(), tenure.Guard(), b.stop(t)); err != nil {
						t.Errorf("lost: %v", err)
					}
					return
				}
				select {
				case <-tenure.Lost():
				case <-time.After(ttl / 4):
					t.Fatal("not lost after a renewal's time")
				}
				if err := <-b.done; !errors.Is(err, ha.ErrLost) || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("Run returned %v, want ErrLost: %s", err, tc.want)
				}
				if err := tenure.Guard(); !errors.Is(err, ha.ErrLost) {
					t.Errorf("Guard: %v", err)
				}
			})
		})
	}
}

// TestTenure_LateRenewal hangs the lease's writes: with standbys about that is
// the end after a TTL; alone it is a warning.
func TestTenure_LateRenewal(t *testing.T) {
	for _, standby := range []bool{true, false} {
		t.Run(fmt.Sprintf("standby %v", standby), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := hatest.New()
				b := newBroker(disk)
				var hanging atomic.Bool
				resume := make(chan struct{})
				b.files.Before = func(op string) error {
					if hanging.Load() && op == "write data/ha/e0000000001/lease" {
						<-resume
					}
					return nil
				}
				b.start(t, ha.Options{Node: "a", Standby: standby}, nil)
				tenure := b.serves(t)
				hanging.Store(true)
				time.Sleep(ttl + ttl/5)
				if lost := tenure.Guard() != nil; lost != standby {
					t.Errorf("Guard after a ttl without renewal: %v", tenure.Err())
				}
				if standby {
					if err := <-b.done; !errors.Is(err, ha.ErrLost) {
						t.Errorf("Run returned %v while the renewal hangs", err)
					}
				}
				close(resume)
				synctest.Wait()
				if !standby {
					if err := errors.Join(tenure.Guard(), b.stop(t)); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

func TestTenure_EndsWithRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(hatest.New()).start(t, ha.Options{Node: "a"}, nil)
		tenure := b.serves(t)
		if err := b.stop(t); err != nil {
			t.Fatal(err)
		}
		for name, err := range map[string]error{
			"Guard": tenure.Guard(), "NameSegment": tenure.NameSegment(99), "Activate": tenure.Activate(nil), "Err": tenure.Err(),
		} {
			if err == nil {
				t.Errorf("%s after Run returned: no error", name)
			}
		}
	})
}

func TestActivate_RefusesAWrongLineage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		serveOnce(t, disk)
		serveOnce(t, disk)
		opt := ha.Options{Dir: "data", Node: "a", Files: disk.Node()}
		err := ha.Run(t.Context(), opt, nil, func(_ context.Context, tenure *ha.Tenure) error {
			for name, lineage := range map[string][]ha.Seal{
				"without the source":   {sealOf(1)},
				"empty":                nil,
				"descending":           {sealOf(2), sealOf(1)},
				"twice the same":       {sealOf(2), sealOf(2)},
				"beyond the source":    {sealOf(1), sealOf(2), sealOf(3)},
				"longer than its file": make([]ha.Seal, 10000),
			} {
				if err := tenure.Activate(lineage); err == nil {
					t.Errorf("lineage %s: accepted", name)
				}
			}
			if err := tenure.Activate([]ha.Seal{sealOf(2)}); err != nil {
				t.Errorf("a lineage less a reclaimed epoch: %v", err)
			}
			if err := tenure.Activate([]ha.Seal{sealOf(2)}); err == nil {
				t.Error("activated twice")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestRenewals_DoNotWaitForTheDisk: a disk that takes longer than a ttl for a synced write of the lease is slow, and its holder is not
// dead.
func TestRenewals_DoNotWaitForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		a := newBroker(disk)
		slow := atomic.Bool{}
		a.files.Before = func(op string) error {
			if slow.Load() && op == "sync data/ha/e0000000001/lease" {
				time.Sleep(3 * ttl)
			}
			return nil
		}
		a.start(t, ha.Options{Node: "a", Standby: true}, nil)
		tenure := a.serves(t)
		slow.Store(true)
		began := time.Now()
		if err := tenure.NameSegment(99); err != nil {
			t.Errorf("NameSegment: %v", err)
		}
		if time.Since(began) < 3*ttl {
			t.Error("NameSegment returned before the lease was on disk")
		}
		slow.Store(false)
		if err := tenure.Guard(); err != nil {
			t.Errorf("Guard: %v", err)
		}
		if err := a.stop(t); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
